//! Private keys over many lines. What follows the first line is judged in logical lines, which end at a newline or at an
//! escaped one (`\n` in a string), so that a key inside one JSON string and a key in a file are the same thing.

use crate::text::Text;

/// Most lines without content in a row inside a key.
const MAX_BLANK: u8 = 3;

/// Inside a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The first line ended with a newline, which was passed on.
    newline_passed: bool,
    /// Lines without content just seen.
    blank: u8,
}

/// What becomes of the bytes of one logical line inside a key.
pub enum Step {
    /// Up to here is part of the key, which goes on.
    Within(usize, Key),
    /// Up to here is part of the key, which ends.
    Ends(usize),
    /// This is no part of a key any more.
    Foreign,
}

/// Where the first line of a private key, whose `BEGIN ` stands at `at`, ends: behind the dashes.
pub fn begins(text: Text, at: usize) -> Option<usize> {
    let label = at + b"BEGIN ".len();
    let end = text.run_within(label, 65, is_label);
    let is_private = contains(text.between(label, end), b"PRIVATE KEY");
    let dashes = text.run(end, |byte| byte == b'-');
    let before = text.before(at).trim_ascii_end();
    (is_private && end - label <= 64 && before.ends_with(b"----") && dashes >= end + 4).then_some(dashes)
}

impl Key {
    /// After a first line that ends at `at`: where the body begins, whether a newline is passed on, and the key; none if what
    /// follows in the line is no part of a key, so that only the first line is replaced.
    pub fn open(text: Text, at: usize) -> Option<(usize, Self)> {
        let next = logical_end(text, at);
        let rest = text.between(at, next);
        let newline_passed = rest.ends_with(b"\n");
        let key = Self { newline_passed, blank: 0 };
        match classify(rest) {
            Line::Blank if newline_passed => Some((at + rest.len() - newline_width(rest), key)),
            Line::Blank => Some((next, key)),
            Line::Body | Line::End(_) => Some((at, Self { newline_passed: false, blank: 0 })),
            Line::Foreign => None,
        }
    }

    /// Whether the newline at `at` ends the first line and is passed on.
    pub fn passes_newline(&self) -> bool {
        self.newline_passed
    }

    /// Judges the logical line at `at`.
    pub fn step(self, text: Text, at: usize) -> Step {
        let next = logical_end(text, at);
        let line = text.between(at, next);
        match classify(line) {
            Line::End(end) => Step::Ends(self.behind_end(text, at + end)),
            Line::Body => Step::Within(next, Self { blank: 0, ..self }),
            Line::Blank if self.blank < MAX_BLANK => Step::Within(next, Self { blank: self.blank + 1, ..self }),
            Line::Blank | Line::Foreign => Step::Foreign,
        }
    }

    /// The newline of the first line stands for that of the last one.
    fn behind_end(self, text: Text, end: usize) -> usize {
        let rest = text.run(end, |byte| b" \t\r".contains(&byte));
        if self.newline_passed && text.byte(rest) == Some(b'\n') { rest + 1 } else { end }
    }
}

/// What a logical line is, read as a part of a key.
enum Line {
    Blank,
    Body,
    /// The last line; the key ends behind this many bytes.
    End(usize),
    Foreign,
}

fn classify(line: &[u8]) -> Line {
    if let Some(end) = end_of_key(line) {
        return Line::End(end);
    }
    if contains(line, b"-BEGIN ") || contains(line, b"- BEGIN ") {
        return Line::Foreign;
    }
    let bare = trim(line);
    match bare {
        b"" => Line::Blank,
        _ if is_header(bare) || is_body(bare) => Line::Body,
        _ => Line::Foreign,
    }
}

fn end_of_key(line: &[u8]) -> Option<usize> {
    let text = Text(line);
    let at = find(line, b"-END ").map(|at| at + 5).or_else(|| find(line, b"- END ").map(|at| at + 6))?;
    let label = text.run(at, is_label);
    Some(text.run(label, |byte| byte == b'-'))
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
}

/// Without what stands around a line of a key in source code, listings and logs.
fn trim(line: &[u8]) -> &[u8] {
    let is_around = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`,;+()|<>{}[].-".contains(byte);
    let mut line = without_escape(line);
    while let [rest @ .., last] = line
        && is_around(last)
    {
        line = rest;
    }
    while let [first, rest @ ..] = line
        && is_around(first)
    {
        line = rest;
    }
    line
}

fn without_escape(line: &[u8]) -> &[u8] {
    match line {
        [rest @ .., b'\\', b'n' | b'r'] => without_escape(rest),
        [rest @ .., b'\\' | b'\n' | b'\r'] => without_escape(rest),
        _ => line,
    }
}

fn is_header(line: &[u8]) -> bool {
    const HEADERS: [&[u8]; 7] = [b"Proc-Type:", b"DEK-Info:", b"Version:", b"Comment:", b"Hash:", b"Charset:", b"MessageID:"];
    HEADERS.iter().any(|header| line.starts_with(header))
}

/// Ends in a long run of base64, whatever stands before it in a listing, or is a short last line of it.
fn is_body(line: &[u8]) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\\".contains(&byte);
    let start = Text(line).run_back(line.len(), is_base64);
    let run = line.len() - start;
    let pure = start == 0 && !line.contains(&b'\\');
    run >= 16 || (pure && (run.is_multiple_of(4) || line.starts_with(b"="))) || is_listed(&line[..start], run)
}

/// A short last line in a listing with numbers or file names: `12:Ag==`.
fn is_listed(before: &[u8], run: usize) -> bool {
    run.is_multiple_of(4)
        && run > 0
        && before.trim_ascii_end().last().is_some_and(|byte| byte.is_ascii_digit() || b":|".contains(byte))
        && !before.trim_ascii().contains(&b' ')
}

/// Where the logical line at `at` ends: behind the newline or the escaped one.
fn logical_end(text: Text, at: usize) -> usize {
    let mut end = at;
    while let Some(byte) = text.byte(end) {
        end += 1;
        let escaped = byte == b'\\' && matches!(text.byte(end), Some(b'n' | b'r'));
        if escaped {
            return end + 1;
        }
        if byte == b'\n' {
            break;
        }
    }
    end
}

fn newline_width(line: &[u8]) -> usize {
    if line.ends_with(b"\r\n") { 2 } else { 1 }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    find(bytes, part).is_some()
}
