//! One stream of a job: its beginning and its end, and how much fell out between them.

use bytes::Bytes;

use super::{
    Excerpt, Gap, Part, Stamp,
    stretch::{Block, Mark, Stretch},
};

/// The beginning gets this share of the limit, the end the rest: what a program says first explains what it says last.
const HEAD_SHARE: usize = 4;
/// Bytes per arrival at least, on average: knowing when each byte came must not cost more than the bytes. What comes in smaller
/// parts is kept for a shorter time.
const BYTES_PER_ARRIVAL: usize = 64;
/// So many arrivals are kept in any case.
const FEW_ARRIVALS: usize = 4096;

/// The output of one stream, never more than its limit.
#[derive(Debug)]
pub struct Track {
    head: Stretch,
    tail: Stretch,
    limit: usize,
}

impl Track {
    pub(super) fn new(limit: usize) -> Self {
        Self { head: Stretch::default(), tail: Stretch::default(), limit }
    }

    /// One of so many bytes, all of which fell out. How many lines they were is not known.
    pub(super) fn gone(total: u64) -> Self {
        let tail = Stretch::at(Mark { at: total, line: 0 });
        Self { head: Stretch::default(), tail, limit: 0 }
    }

    /// Adds to the end; `merged` is where it stands in the order of both streams.
    pub(super) fn push(&mut self, bytes: &Bytes, merged: u64, stamp: Stamp) {
        let head_limit = self.limit / HEAD_SHARE;
        let is_in_head = self.gap_and_tail() == 0 && self.head.arrival_count() < arrivals_of(head_limit);
        let room = if is_in_head { head_limit.saturating_sub(self.head.len()).min(bytes.len()) } else { 0 };
        self.head.push(bytes.slice(..room), merged, stamp);
        if self.gap_and_tail() == 0 {
            self.tail = Stretch::at(self.head.end());
        }
        self.tail.push(bytes.slice(room..), merged + room as u64, stamp);
        self.give_back(self.kept().saturating_sub(self.limit));
        while self.tail.arrival_count() > arrivals_of(self.limit - head_limit) {
            self.tail.drop_front(self.tail.oldest_arrival());
        }
    }

    /// Nothing more will come.
    pub(super) fn close(&mut self) {
        self.head.close();
        self.tail.close();
    }

    /// What came that is not in the beginning, in bytes.
    fn gap_and_tail(&self) -> u64 {
        self.tail.end().at.saturating_sub(self.head.end().at)
    }

    /// Drops the oldest bytes that are not of the beginning, and then those of the beginning.
    pub(super) fn give_back(&mut self, count: usize) {
        let of_tail = count.min(self.tail.len());
        self.tail.drop_front(of_tail);
        if count > of_tail {
            // All of the end is gone; what is left of the beginning is its latest part.
            self.head.drop_front(count - of_tail);
        }
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// All bytes that ever came.
    pub fn total(&self) -> u64 {
        self.tail.end().at.max(self.head.end().at)
    }

    fn end(&self) -> Mark {
        if self.gap_and_tail() == 0 { self.head.end() } else { self.tail.end() }
    }

    /// Lines so far; a last one without a newline counts.
    pub fn lines(&self) -> u64 {
        let last = if self.tail.len() > 0 { &self.tail } else { &self.head };
        self.end().line + u64::from(self.total() > 0 && !last.ends_with_newline())
    }

    /// Up to `most` bytes from a position on.
    pub fn read(&self, from: u64, most: usize) -> Excerpt {
        let mut excerpt = Excerpt { parts: Vec::new(), next: from.min(self.total()) };
        let mut before = Mark::default();
        for stretch in [&self.head, &self.tail] {
            if excerpt.len() < most {
                excerpt.skip(before, stretch.start());
            }
            if excerpt.next < stretch.end().at {
                excerpt.add(stretch.read(excerpt.next, most - excerpt.len()));
            }
            before = stretch.end();
        }
        if excerpt.len() < most {
            excerpt.skip(before, self.end());
        }
        excerpt
    }

    /// Where the last `lines` lines begin; a last line without a newline counts. If that fell out: where the gap begins.
    pub fn tail_from(&self, lines: u64) -> u64 {
        let line = self.lines().saturating_sub(lines);
        if line > self.tail.start().line && self.tail.len() > 0 {
            self.tail.line(line)
        } else if line <= self.head.end().line {
            self.head.line(line)
        } else {
            self.head.end().at
        }
    }

    /// Where that begins which came at this time or later: behind the last that is known to have come before. What fell out between
    /// the two may have come at either time.
    pub fn since(&self, stamp: Stamp) -> u64 {
        let before = self.tail.arrived_before(stamp).or_else(|| self.head.arrived_before(stamp));
        before.map_or(0, |(_, end)| end)
    }

    pub(super) fn stretches(&self) -> [&Stretch; 2] {
        [&self.head, &self.tail]
    }

    /// All that is kept, cheap to take along: a search must not hold up the job.
    pub(in crate::jobs) fn blocks(&self) -> Vec<Block> {
        self.head.blocks().chain(self.tail.blocks()).collect()
    }
}

fn arrivals_of(limit: usize) -> usize {
    (limit / BYTES_PER_ARRIVAL).max(FEW_ARRIVALS)
}

impl Excerpt {
    fn add(&mut self, bytes: Vec<u8>) {
        self.next += bytes.len() as u64;
        self.extend(bytes);
    }

    /// Passes over what fell out between two positions. How many lines that are is known if all of it is passed over.
    fn skip(&mut self, from: Mark, to: Mark) {
        if self.next < to.at {
            let lines = (self.next == from.at).then(|| to.line - from.line);
            self.parts.push(Part::Gap(Gap { bytes: to.at - self.next, lines }));
            self.next = to.at;
        }
    }
}
