//! Lines of a job's output that match a pattern.

use std::collections::VecDeque;

use regex::bytes::Regex;
use tokio_util::sync::CancellationToken;

use super::stretch::Block;
use crate::jobs::StreamName;

/// Longer lines are searched in parts of this size.
const MOST_LINE_BYTES: usize = 1 << 20;
/// Most bytes that are shown of a line.
const MOST_SHOWN_BYTES: usize = 1024;
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
    pub(in crate::jobs) fn run(&self, name: StreamName, blocks: &[Block]) -> Found {
        let mut finder = Finder { search: self, name, found: Found::default(), recent: VecDeque::new(), open: 0 };
        let mut line = Vec::new();
        let (mut number, mut next) = (1, 0);
        for Block { start, bytes } in blocks {
            if start.at != next && !line.is_empty() {
                // What fell out parts a line.
                finder.look(number, &line);
                line.clear();
            }
            if line.is_empty() {
                number = start.line + 1;
            }
            next = start.at + bytes.len() as u64;
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                let is_whole = part.ends_with(b"\n");
                if is_whole && line.is_empty() {
                    finder.look(number, part);
                } else {
                    line.extend_from_slice(part);
                    if is_whole || line.len() >= MOST_LINE_BYTES {
                        finder.look(number, &line);
                        line.clear();
                    }
                }
                number += u64::from(is_whole);
                if finder.is_done() {
                    return finder.found;
                }
            }
        }
        if !line.is_empty() {
            finder.look(number, &line);
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
}

impl Finder<'_> {
    fn look(&mut self, number: u64, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let found = self.search.pattern.find(line).map(|found| found.start());
        let is_wanted = found.is_some() && self.found.matches.len() < self.search.limit;
        self.found.is_cut |= found.is_some() && !is_wanted;
        if !is_wanted && self.search.context == 0 {
            return;
        }
        let shown = Line { number, text: excerpt(line, found.unwrap_or(0)) };
        for open in &mut self.found.matches[self.open..] {
            open.after.push(shown.clone());
        }
        let is_full = |found: &Match| found.after.len() >= self.search.context;
        self.open += self.found.matches[self.open..].iter().take_while(|found| is_full(found)).count();
        if is_wanted {
            let before = self.recent.iter().cloned().collect();
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

fn excerpt(line: &[u8], at: usize) -> Vec<u8> {
    let from = if line.len() > MOST_SHOWN_BYTES { at.saturating_sub(SHOWN_BEFORE) } else { 0 };
    line[from..line.len().min(from + MOST_SHOWN_BYTES)].to_vec()
}
