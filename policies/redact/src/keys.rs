//! Private keys over many lines. What follows the first line is judged in logical lines, which end at a newline or at an
//! escaped one (`\n` in a string), so that a key inside one JSON string and a key in a file are the same thing.

use crate::text::Text;

/// Most logical lines of a key; a key of 16384 bits has 200.
const MAX_LINES: u8 = 240;

/// Most lines in a row that can not be part of a key, and are shown, before the key is taken to have ended without its last
/// line. A log may be mixed with a key, and a key that was cut must not keep the filter busy.
const MAX_FOREIGN: u8 = 4;

/// Inside a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The first line ended with a newline, which was passed on.
    newline_passed: bool,
    /// A newline was swallowed that what is shown next must stand behind.
    newline_owed: bool,
    /// Part of the body was seen.
    in_body: bool,
    /// Logical lines seen.
    lines: u8,
    /// Lines in a row that were no part of the key.
    foreign: u8,
}

/// What becomes of the bytes of one logical line inside a key.
pub enum Step {
    /// Up to here is part of the key, which goes on.
    Within(usize, Key),
    /// Up to here is part of the key, which ends.
    Ends(usize),
    /// The rest of the line is no part of the key, which may go on in the next one.
    Foreign(Option<Key>),
}

/// Whether this is the first line of a key in the place of a value, or what is left of one.
pub fn may_begin(value: &[u8]) -> bool {
    let behind = Text::of(value).from(Text::of(value).run(0, |byte| byte == b'-'));
    let openings = [&b"BEGIN "[..], b" BEGIN ", b"[redacted: private-key]"];
    value.starts_with(b"----") && openings.iter().any(|opening| behind.starts_with(opening))
}

/// Where the first line of a private key, whose `BEGIN ` stands at `at`, ends: behind the dashes.
pub fn begins(text: Text, at: usize) -> Option<usize> {
    let label = at + b"BEGIN ".len();
    let end = text.run_within(label, 65, is_label);
    // Between its words `column` puts more blanks than one.
    let words: Vec<_> = text.between(label, end).split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    let is_private = words.windows(2).any(|pair| pair == [&b"PRIVATE"[..], b"KEY"]);
    let dashes = text.run(end, |byte| byte == b'-');
    let before = text.before(at).trim_ascii_end();
    (is_private && end - label <= 64 && before.ends_with(b"----") && dashes >= end + 4).then_some(dashes)
}

impl Key {
    const BEGUN: Self = Self { newline_passed: false, newline_owed: false, in_body: false, lines: 0, foreign: 0 };

    /// After a first line that ends at `at`, of which the logical line ends at `next`: where the body begins and the key; none if
    /// the rest of the line is no part of a key, which may then begin in the next line.
    pub fn open(text: Text, at: usize, next: usize) -> Result<(usize, Self), Self> {
        let rest = text.between(at, next);
        let newline_passed = rest.ends_with(b"\n");
        match classify(rest, false) {
            Line::Blank if newline_passed => Ok((next - newline_width(rest), Self { newline_passed, ..Self::BEGUN })),
            Line::Blank => Ok((next, Self::BEGUN)),
            Line::Body | Line::Header | Line::End(_) => Ok((at, Self::BEGUN)),
            Line::Foreign if end_in_line(text, at).is_some() => Ok((at, Self::BEGUN)),
            Line::Foreign | Line::Begin => Err(Self::in_next_line()),
        }
    }

    /// A key whose first line stands in a line of which nothing more is shown.
    pub fn in_next_line() -> Self {
        Self { newline_passed: true, ..Self::BEGUN }
    }

    /// A key in base64 whose first line was replaced: what comes in the next lines belongs to it as long as it looks so.
    pub fn wrapped() -> Self {
        Self { newline_passed: true, in_body: true, ..Self::BEGUN }
    }

    /// Whether the newline that ends the first line is passed on.
    pub fn passes_newline(&self) -> bool {
        self.newline_passed
    }

    /// Whether a newline belongs in front of what is shown next.
    pub fn owes_newline(&self) -> bool {
        self.newline_owed
    }

    /// Judges the logical line from `at` to `next`.
    pub fn step(self, text: Text, at: usize, next: usize) -> Step {
        let line = text.between(at, next);
        if self.lines == MAX_LINES {
            return Step::Foreign(None);
        }
        let newline_owed = line.ends_with(b"\n") && !self.newline_passed;
        let key = Self { newline_owed, lines: self.lines + 1, ..self };
        match classify(line, self.in_body) {
            Line::End(end) => Step::Ends(self.behind_end(text, at + end)),
            Line::Body => Step::Within(next, Self { foreign: 0, in_body: true, ..key }),
            Line::Header => Step::Within(next, key),
            Line::Blank if self.foreign == 0 => Step::Within(next, key),
            Line::Blank => Step::Foreign(Some(key.shown())),
            Line::Begin => Step::Foreign(None),
            Line::Foreign => {
                end_in_line(text, at).map_or_else(|| Step::Foreign(key.doubted()), |end| Step::Ends(self.behind_end(text, end)))
            }
        }
    }

    /// After a line that was shown.
    fn shown(self) -> Self {
        Self { newline_passed: true, newline_owed: false, ..self }
    }

    /// After a line that was no part of it; none if there were too many.
    fn doubted(self) -> Option<Self> {
        let foreign = self.foreign + 1;
        (foreign < MAX_FOREIGN).then(|| Self { foreign, ..self.shown() })
    }

    /// The newline of the first line stands for that of the last one.
    fn behind_end(self, text: Text, end: usize) -> usize {
        let rest = text.run(end, |byte| b" \t\r$".contains(&byte));
        if self.newline_passed && text.byte(rest) == Some(b'\n') { rest + 1 } else { end }
    }
}

/// What a logical line is, read as a part of a key.
enum Line {
    Blank,
    /// Stands before the body.
    Header,
    Body,
    /// The last line; the key ends behind this many bytes.
    End(usize),
    /// Another first line.
    Begin,
    Foreign,
}

fn classify(line: &[u8], in_body: bool) -> Line {
    if let Some(end) = end_of_key(line) {
        return Line::End(end);
    }
    if contains(line, b"-BEGIN ") || contains(line, b"- BEGIN ") {
        return Line::Begin;
    }
    let bare = trim(line);
    match bare {
        b"" => Line::Blank,
        _ if !in_body && is_header(bare) => Line::Header,
        _ if is_body(bare, in_body) => Line::Body,
        _ => Line::Foreign,
    }
}

fn end_of_key(line: &[u8]) -> Option<usize> {
    let text = Text::of(line);
    let at = dashes(text, 0).find(|at| is_last_line(text.from(*at)))?;
    let label = text.run(at + 2, is_label);
    Some(text.run(label, |byte| byte == b'-'))
}

/// Where dashes stand from `at` on.
fn dashes(text: Text, at: usize) -> impl Iterator<Item = usize> {
    let next = move |at: usize| Some(text.run(at, |byte| byte != b'-')).filter(|at| *at < text.0.len());
    std::iter::successors(next(at), move |at| next(at + 1))
}

fn is_last_line(text: &[u8]) -> bool {
    text.starts_with(b"-END ") || text.starts_with(b"- END ")
}

/// Where a key in the line at `at` ends, whatever stands before its last line.
fn end_in_line(text: Text, at: usize) -> Option<usize> {
    let mut end = at;
    while text.byte(end).is_some_and(|byte| byte != b'\n') && !text.from(end).starts_with(b"BEGIN ") {
        if is_last_line(text.from(end)) {
            return end_of_key(text.from(end)).map(|length| end + length);
        }
        end = text.run(end + 1, |byte| !b"-B\n".contains(&byte));
    }
    None
}

/// Whether a private key begins in this text behind `from` and does not end in it.
pub fn is_left_open(text: Text, from: usize) -> bool {
    let first = (from..text.0.len()).rfind(|at| text.from(*at).starts_with(b"BEGIN ") && begins(text, *at).is_some());
    first.is_some_and(|first| end_of_key(text.from(first)).is_none())
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
}

/// Without what stands around a line of a key in source code, listings and logs.
fn trim(line: &[u8]) -> &[u8] {
    let is_around = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`,;+()|<>{}[].-$".contains(byte);
    let mut line = without_escape(line);
    while let [rest @ .., last] = line
        && is_around(last)
    {
        line = rest.strip_suffix(b"^M").unwrap_or(rest);
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

/// `Proc-Type: 4,ENCRYPTED`.
fn is_header(line: &[u8]) -> bool {
    let name = Text::of(line).run(0, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
    line[0].is_ascii_uppercase() && line[name..].starts_with(b":")
}

/// Ends in a long run of base64, whatever stands before it in a listing, or holds a longer one, or is a short last line of it.
fn is_body(line: &[u8], in_body: bool) -> bool {
    let start = Text::of(line).run_back(line.len(), is_base64);
    let run = line.len() - start;
    let pure = start == 0 && !line.contains(&b'\\');
    let short = run.is_multiple_of(4) || line.starts_with(b"=") || (in_body && run < 16);
    run >= 16 || (pure && short) || holds_body(line) || is_listed(&line[..start], run, in_body)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=\\".contains(&byte)
}

/// A run of base64 that is no word and hardly a path.
fn holds_body(line: &[u8]) -> bool {
    line.split(|byte| !is_base64(*byte)).any(|run| run.len() >= 40)
}

/// A short last line in a listing with numbers or file names: `12:Ag==`, and `12-Ag==` as searches show what is around a find.
fn is_listed(before: &[u8], run: usize, in_body: bool) -> bool {
    let joins = |byte: &u8| byte.is_ascii_digit() || b":|".contains(byte) || in_body && *byte == b'-';
    run.is_multiple_of(4) && run > 0 && before.trim_ascii_end().last().is_some_and(joins) && !before.trim_ascii().contains(&b' ')
}

/// Where the logical line at `at` ends: behind the newline or the escaped one.
pub fn logical_end(text: Text, at: usize) -> usize {
    let mut end = at;
    loop {
        end = text.run(end, |byte| byte != b'\\' && byte != b'\n');
        match text.from(end) {
            [] => return end,
            [b'\n', ..] => return end + 1,
            [_, b'n' | b'r', ..] => return end + 2,
            [..] => end += 1,
        }
    }
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
