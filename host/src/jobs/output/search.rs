//! Lines of a job's output that match a pattern.

use std::collections::VecDeque;

use regex::bytes::Regex;
use tokio_util::sync::CancellationToken;

use super::{end_of_character, stretch::Block, unfinished_character};
use crate::jobs::StreamName;

/// Longer lines are searched in parts of this size; what is cut does not begin a line, so that `^` is not found there.
const MOST_LINE_BYTES: usize = 1 << 20;
/// Most bytes that are shown of a line.
const MOST_SHOWN_BYTES: usize = 1024;
/// No more is found once what is shown has so many bytes.
const MOST_FOUND_BYTES: usize = 1 << 20;
/// What is shown of a long line begins this many bytes before the match.
const SHOWN_BEFORE: usize = 128;

/// What is sought.
#[derive(Clone, Debug)]
pub struct Search {
    /// The pattern, applied line by line.
    pub pattern: Regex,
    /// Lines to show before and after each match.
    pub context: usize,
    /// Matches at most.
    pub limit: usize,
    /// Cancelled when nobody waits for the result any more.
    pub abandoned: CancellationToken,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The lines that match, in their order.
    pub matches: Vec<Match>,
    /// Whether there are more.
    pub is_cut: bool,
    /// Bytes that fell out before they could be searched.
    pub dropped: u64,
}

impl Found {
    /// Adds what was found in another stream.
    pub(crate) fn add(&mut self, other: Self, limit: usize) {
        self.matches.extend(other.matches);
        self.is_cut |= other.is_cut || self.matches.len() > limit;
        self.matches.truncate(limit);
    }
}

/// A line that matches.
#[derive(Debug)]
pub struct Match {
    /// Its stream.
    pub name: StreamName,
    /// The line.
    pub line: Line,
    /// Lines before it.
    pub before: Vec<Line>,
    /// Lines after it.
    pub after: Vec<Line>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1, counted from the beginning of the stream.
    pub number: u64,
    /// Its text, without its end; of a long one a part.
    pub text: Vec<u8>,
}

impl Search {
    /// Searches one stream, from its beginning.
    pub(in crate::jobs) fn run(&self, name: StreamName, blocks: impl Iterator<Item = Block>) -> Found {
        let mut finder = Finder { search: self, name, found: Found::default(), recent: VecDeque::new(), open: 0, shown: 0 };
        let mut line = Vec::new();
        let (mut number, mut next) = (1, 0);
        // Bytes of the line that were looked at with the part before.
        let mut seen = 0;
        for Block { start, bytes, .. } in blocks {
            if start.at != next && !line.is_empty() {
                // What fell out parts a line.
                finder.look(number, &line, seen);
                line.clear();
                seen = 0;
            }
            if line.is_empty() {
                number = start.line + 1;
            }
            next = start.at + bytes.len() as u64;
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                let is_whole = part.ends_with(b"\n");
                if is_whole && line.is_empty() {
                    finder.look(number, part, 0);
                } else {
                    line.extend_from_slice(part);
                    if is_whole || line.len() >= MOST_LINE_BYTES {
                        finder.look(number, &line, seen);
                        // The last byte tells the next part that it does not begin the line.
                        seen = usize::from(!is_whole);
                        line.drain(..line.len() - seen);
                    }
                }
                number += u64::from(is_whole);
                if finder.is_done() {
                    return finder.found;
                }
            }
        }
        if line.len() > seen {
            finder.look(number, &line, seen);
        }
        finder.found
    }
}

struct Finder<'a> {
    search: &'a Search,
    name: StreamName,
    found: Found,
    /// The lines before the next, as many as are shown.
    recent: VecDeque<Line>,
    /// The first match that has yet to get lines after it.
    open: usize,
    /// Bytes of all that is shown.
    shown: usize,
}

impl Finder<'_> {
    /// Looks at a line, but for its first `seen` bytes.
    fn look(&mut self, number: u64, line: &[u8], seen: usize) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let found = self.search.pattern.find_at(line, seen.min(line.len())).map(|found| found.start());
        let is_full = self.found.matches.len() >= self.search.limit || self.shown >= MOST_FOUND_BYTES;
        let is_wanted = found.is_some() && !is_full;
        self.found.is_cut |= found.is_some() && !is_wanted;
        if !is_wanted && self.search.context == 0 {
            return;
        }
        let shown = Line { number, text: excerpt(&line[seen.min(line.len())..], found.unwrap_or(seen).saturating_sub(seen)) };
        for open in &mut self.found.matches[self.open..] {
            self.shown += shown.text.len();
            open.after.push(shown.clone());
        }
        let has_all = |found: &Match| found.after.len() >= self.search.context;
        self.open += self.found.matches[self.open..].iter().take_while(|found| has_all(found)).count();
        if is_wanted {
            let before = self.recent.iter().cloned().collect::<Vec<_>>();
            self.shown += before.iter().chain([&shown]).map(|line| line.text.len()).sum::<usize>();
            self.found.matches.push(Match { name: self.name, line: shown.clone(), before, after: Vec::new() });
            self.open += usize::from(self.search.context == 0);
        }
        self.recent.push_back(shown);
        if self.recent.len() > self.search.context {
            self.recent.pop_front();
        }
    }

    /// There are more than wanted, and none lacks lines after it; or nobody waits.
    fn is_done(&self) -> bool {
        self.search.abandoned.is_cancelled() || self.found.is_cut && self.open == self.found.matches.len()
    }
}

/// A part of a line, from one character to another.
fn excerpt(line: &[u8], at: usize) -> Vec<u8> {
    if line.len() <= MOST_SHOWN_BYTES {
        return line.to_vec();
    }
    let from = at.saturating_sub(SHOWN_BEFORE);
    let shown = &line[from..line.len().min(from + MOST_SHOWN_BYTES)];
    let begin = if from > 0 { end_of_character(shown) } else { 0 };
    let end = if from + shown.len() < line.len() { shown.len() - unfinished_character(shown) } else { shown.len() };
    shown[begin..end.max(begin)].to_vec()
}
