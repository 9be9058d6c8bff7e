//! Looking at the bytes of a line.

use crate::colours::{Gap, sets_colour};

#[cfg(test)]
thread_local! {
    /// How many bytes were looked at in runs.
    pub static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A piece of a line with what stands before it, without what sets colours, and where that stood.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub &'a [u8], &'a [Gap]);

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
    /// A text in which nothing was left out.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes, &[])
    }

    /// A text and where something was left out of it, in order.
    pub fn new(bytes: &'a [u8], gaps: &'a [Gap]) -> Self {
        Self(bytes, gaps)
    }

    /// Whether something sets a colour in front of the byte at `at`, as around a word of its own.
    pub fn is_parted(self, at: usize) -> bool {
        self.1.binary_search_by_key(&at, |gap| gap.at).is_ok_and(|gap| sets_colour(self.1, gap))
    }

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
        Self(self.before(end), self.1)
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

    /// Behind the blanks at `at`.
    pub fn blanks(self, at: usize) -> usize {
        self.run(at, |byte| byte == b' ' || byte == b'\t')
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
