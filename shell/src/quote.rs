//! Words as the shell needs them written.

/// The word itself if the shell takes it as it stands anywhere behind a program, else in single quotes.
pub fn quote(text: &str) -> String {
    let mut out = String::new();
    push_quoted(text, &mut out);
    out
}

/// [`quote`], behind what is written already.
pub(crate) fn push_quoted(text: &str, out: &mut String) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) { out.push_str(text) } else { push_single(text, out) }
}

/// As the first word of a command, where some words are reserved and others would assign.
pub(crate) fn push_program(text: &str, out: &mut String) {
    const RESERVED: [&str; 17] = [
        "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select", "then", "time",
        "until", "while",
    ];
    if RESERVED.contains(&text) || text.contains('=') { push_single(text, out) } else { push_quoted(text, out) }
}

/// In single quotes, whatever it is.
pub(crate) fn push_single(text: &str, out: &mut String) {
    out.push('\'');
    for (at, part) in text.split('\'').enumerate() {
        if at > 0 {
            out.push_str(r"'\''");
        }
        out.push_str(part);
    }
    out.push('\'');
}

/// As it must stand in a pattern, to mean itself.
pub(crate) fn in_pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !"_.".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
