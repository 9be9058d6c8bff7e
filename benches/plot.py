"""Line charts as SVG, by the standard library alone."""

from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 320, 70, 40, 30
COLOURS = ["#1f6feb", "#d1242f", "#2da44e"]


def chart(path, title, x_label, series):
    """Draws `series`, lists of (x, y) by name with their unit, each against an axis from zero; writes the file."""
    x_most = max(x for points in series.values() for x, _ in points) or 1
    y_most = max(y for points in series.values() for _, y in points) * 1.1 or 1
    at = lambda x, y: (LEFT + x / x_most * (WIDTH - LEFT - 20), HEIGHT - BOTTOM - y / y_most * (HEIGHT - BOTTOM - TOP))
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/><text x="{LEFT}" y="18" font-size="14">{title}</text>')
    for step in range(5):
        x, y = x_most * step / 4, y_most * step / 4
        (tick_x, _), (_, tick_y) = at(x, 0), at(0, y)
        parts.append(f'<line x1="{LEFT}" y1="{tick_y:.1f}" x2="{WIDTH - 20}" y2="{tick_y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{tick_y + 4:.1f}" text-anchor="end">{y:.4g}</text>')
        parts.append(f'<text x="{tick_x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:.4g}</text>')
    parts.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{x_label}</text>')
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(x, y) for x, y in points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{WIDTH - 24}" y="{TOP + 14 + 16 * index}" text-anchor="end" fill="{colour}">{name}</text>')
    parts.append("</svg>")
    Path(path).write_text("\n".join(parts) + "\n")
