//! Words as the shell needs them written.

/// The word itself if the shell takes it as it stands anywhere behind a program, else in single quotes.
pub fn quote(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) { text.to_owned() } else { single(text) }
}

/// As the first word of a command, where some words are reserved and others would assign.
pub(crate) fn quote_program(text: &str) -> String {
    const RESERVED: [&str; 17] = [
        "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select", "then", "time",
        "until", "while",
    ];
    if RESERVED.contains(&text) || text.contains('=') { single(text) } else { quote(text) }
}

/// In single quotes, whatever it is.
pub(crate) fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
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
