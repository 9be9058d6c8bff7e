//! Looking at the bytes of a line.

#[cfg(test)]
thread_local! {
    /// How many bytes were looked at in runs.
    pub static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A piece of a line with what stands before it.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub &'a [u8]);

/// A secret in a [`Text`]: from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'r> {
    /// Where it begins.
    pub start: usize,
    /// Where it ends; never before `start`.
    pub end: usize,
    /// What it is; stands in the replacement.
    pub rule: &'r str,
}

impl<'a> Text<'a> {
    /// What stands before `at`.
    pub fn before(self, at: usize) -> &'a [u8] {
        &self.0[..at.min(self.0.len())]
    }

    /// What stands from `at` on.
    pub fn from(self, at: usize) -> &'a [u8] {
        self.0.get(at..).unwrap_or_default()
    }

    /// The bytes from `start` to before `end`, or none.
    pub fn between(self, start: usize, end: usize) -> &'a [u8] {
        self.0.get(start..end).unwrap_or_default()
    }

    /// The same without what stands from `end` on.
    pub fn until(self, end: usize) -> Self {
        Self(self.before(end))
    }

    /// What stands before `at` in its line, without blanks around it; of a long line the last part of that.
    pub fn opening(self, at: usize) -> &'a [u8] {
        const LONGEST: usize = 128;
        let before = self.before(at);
        before[before.len().saturating_sub(LONGEST)..].trim_ascii()
    }

    /// The byte at `at`.
    pub fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    /// Where the run of such bytes that begins at `at` ends; at least `at`.
    pub fn run(self, at: usize, is: impl Fn(u8) -> bool) -> usize {
        self.run_within(at, usize::MAX, is)
    }

    /// Like [`Text::run`], but looks no further than `limit` bytes.
    pub fn run_within(self, at: usize, limit: usize, is: impl Fn(u8) -> bool) -> usize {
        let length = self.from(at).iter().take(limit).take_while(|byte| is(**byte)).count();
        #[cfg(test)]
        LOOKED_AT.set(LOOKED_AT.get() + length);
        at + length
    }

    /// Like [`Text::run_back`], but looks no further than `limit` bytes.
    pub fn run_back_within(self, at: usize, limit: usize, is: impl Fn(u8) -> bool) -> usize {
        at - self.before(at).iter().rev().take(limit).take_while(|byte| is(**byte)).count()
    }

    /// Where the run of such bytes that ends before `at` begins.
    pub fn run_back(self, at: usize, is: impl Fn(u8) -> bool) -> usize {
        at - self.before(at).iter().rev().take_while(|byte| is(**byte)).count()
    }

    /// Behind the blanks at `at`, and what sets colours between them.
    pub fn blanks(self, at: usize) -> usize {
        let mut end = at;
        loop {
            let blank = self.run(end, |byte| byte == b' ' || byte == b'\t');
            end = self.sequences(blank);
            if end == blank {
                return end;
            }
        }
    }

    /// Behind the sequence at `at` that sets a colour, a set of characters or a title, or erases the rest of the line, as programs put
    /// around what they point out; `at` if there is none.
    pub fn sequence(self, at: usize) -> usize {
        const LONGEST: usize = 24;
        let parameters = match self.from(at) {
            [0x1b, b'[', ..] | [0xc2, 0x9b, ..] => at + 2,
            [0x9b, ..] => at + 1,
            [0x1b, b'(' | b')', b'0' | b'A' | b'B', ..] => return at + 3,
            [0x1b, b']', ..] => return self.title(at),
            _ => return at,
        };
        let end = self.run_within(parameters, LONGEST, |byte| byte.is_ascii_digit() || b";:".contains(&byte));
        if matches!(self.byte(end), Some(b'm' | b'K')) { end + 1 } else { at }
    }

    /// Behind the sequence at `at` that sets a title or a link; `at` if it does not end.
    fn title(self, at: usize) -> usize {
        const LONGEST: usize = 256;
        let end = self.run_within(at + 2, LONGEST, |byte| byte >= b' ');
        match self.from(end) {
            [0x07, ..] => end + 1,
            [0x1b, b'\\', ..] => end + 2,
            _ => at,
        }
    }

    /// Behind all such sequences at `at`.
    pub fn sequences(self, at: usize) -> usize {
        let mut end = at;
        loop {
            let next = self.sequence(end);
            if next == end {
                return end;
            }
            end = next;
        }
    }

    /// Whether `at` is a line's end.
    pub fn is_end(self, at: usize) -> bool {
        matches!(self.byte(at), None | Some(b'\n' | b'\r'))
    }
}

/// The last run of certain bytes that was looked for, so that each is gone through once: what begins within it ends with it.
#[derive(Default)]
pub struct Run {
    from: usize,
    end: usize,
}

impl Run {
    /// Where the run that begins at `at` ends, which `find` says if it is not known.
    pub fn end(&mut self, at: usize, find: impl FnOnce() -> usize) -> usize {
        if !(self.from..self.end).contains(&at) {
            *self = Self { from: at, end: find() };
        }
        self.end
    }
}

/// A text without what sets colours in it, as `grep` does in the midst of a name.
pub struct Plain {
    bytes: Vec<u8>,
    /// Where each byte stands in the text.
    origin: Vec<usize>,
}

impl Plain {
    /// None if nothing sets colours. `goes_on`: at its end a sequence may be cut.
    pub fn of(text: Text, goes_on: bool) -> Option<Self> {
        if !text.0.iter().any(|byte| STARTS.contains(byte)) {
            return None;
        }
        let (mut plain, mut at) = (Self { bytes: Vec::new(), origin: Vec::new() }, 0);
        while let Some(byte) = text.byte(at) {
            let behind = text.sequences(at);
            let is_begun = |rest: &[u8]| rest.iter().all(|byte| byte.is_ascii_digit() || b"[;:".contains(byte));
            if goes_on && STARTS.contains(&byte) && is_begun(text.from(at + 1)) {
                break;
            }
            if behind == at {
                plain.bytes.push(byte);
                plain.origin.push(at);
            }
            at = behind.max(at + 1);
        }
        (plain.bytes.len() < text.0.len()).then_some(plain)
    }

    /// What is left.
    pub fn text(&self) -> Text<'_> {
        Text(&self.bytes)
    }

    /// Where the byte at `at` of the text stands; of what sets colours, where what follows it does.
    pub fn place(&self, at: usize) -> usize {
        self.origin.partition_point(|origin| *origin < at)
    }

    /// Whether the byte at `at` of the text is one of these.
    pub fn has(&self, at: usize) -> bool {
        self.origin.binary_search(&at).is_ok()
    }

    /// The place in the text of what was found.
    pub fn original<'r>(&self, found: &Found<'r>) -> Found<'r> {
        let start = self.origin.get(found.start).copied();
        Found { start: start.unwrap_or_else(|| self.end(found.start)), end: self.end(found.end), rule: found.rule }
    }

    /// Where in the text the part ends that ends before `end`.
    pub fn end(&self, end: usize) -> usize {
        end.checked_sub(1).and_then(|last| self.origin.get(last)).map_or(0, |last| last + 1)
    }
}

/// What a sequence that sets colours begins with.
const STARTS: [u8; 2] = [0x1b, 0x9b];

/// Whether all of these bytes are one replacement of this filter.
pub fn is_replacement(bytes: &[u8]) -> bool {
    replacement(bytes) == bytes.len() && !bytes.is_empty()
}

/// How many bytes at the beginning are a replacement of this filter, such as `[redacted: jwt]`; 0 if none are.
pub fn replacement(bytes: &[u8]) -> usize {
    let Some(rest) = bytes.strip_prefix(b"[redacted: ") else {
        return 0;
    };
    let name = rest.iter().take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || **byte == b'-').count();
    if (1..=64).contains(&name) && rest.get(name) == Some(&b']') { b"[redacted: ]".len() + name } else { 0 }
}
