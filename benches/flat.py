#!/usr/bin/env python3
"""Runs jobs one after another through one portcullis and plots what it holds: memory and descriptors must stay flat.

    cargo build --release
    benches/flat.py --gate target/release/portcullis --plot docs/plots/flat.svg

--jobs N says how many (10000). Needs Linux (/proc) and Python 3.10 or newer, nothing else.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from plot import chart
from side_by_side import CONFIG, Server

SAMPLES = 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gate", required=True, help="the portcullis binary")
    parser.add_argument("--plot", required=True, help="the SVG to write")
    parser.add_argument("--jobs", type=int, default=10_000)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp()).resolve()
    (scratch / "root").mkdir()
    config = scratch / "config.toml"
    config.write_text(CONFIG.format(output_bytes=65536).replace("keep_finished = 10000", "keep_finished = 100"))
    config.chmod(0o600)
    environment = {"PATH": os.environ["PATH"], "HOME": str(scratch)}
    server = Server([str(Path(options.gate).resolve()), "--config", str(config), "serve"], scratch / "root", environment)
    memory, descriptors = [], []
    for done in range(1, options.jobs + 1):
        server.wait(server.start("true"))
        if done % max(1, options.jobs // SAMPLES) == 0:
            memory.append((done, server.resident_mb()))
            descriptors.append((done, server.descriptors()))
    server.close()
    chart(options.plot, "One server, one job after another", "jobs", {"memory, MB": memory, "descriptors": descriptors})
    for name, points in (("memory, MB", memory), ("descriptors", descriptors)):
        print(f"{name}: {points[0][1]:.1f} after {points[0][0]} jobs, {points[-1][1]:.1f} after {points[-1][0]}")
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
