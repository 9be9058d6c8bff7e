//! A part of a stream without a gap: its bytes in blocks, how many lines stand before each, and when they came.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::Stamp;

/// Chunks of so many bytes are kept as they came, others are put together: what a chunk stands in may be 64 KiB and somewhat more,
/// and one byte must not keep that.
const WHOLE_BYTES: usize = 48 * 1024;
/// What comes without a break within so many milliseconds counts as having come at once.
const AT_ONCE_MS: u32 = 10;

/// Bytes of a stream from one position to another. In memory that is not more than half as much again, and a piece.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    /// The oldest first.
    blocks: VecDeque<Block>,
    /// Small chunks behind the blocks.
    recent: Vec<u8>,
    arrivals: VecDeque<Arrival>,
    start: Mark,
    /// Where `recent` begins.
    recent_from: Mark,
    end: Mark,
}

/// A position in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::jobs) struct Mark {
    /// Bytes before it.
    pub(super) at: u64,
    /// Newlines before it.
    pub(super) line: u64,
}

impl Mark {
    fn behind(self, bytes: &[u8]) -> Self {
        Self { at: self.at + bytes.len() as u64, line: self.line + newlines(bytes) }
    }
}

/// Bytes that are kept in one piece.
#[derive(Clone, Debug, Default)]
pub(in crate::jobs) struct Block {
    pub(super) start: Mark,
    pub(super) bytes: Bytes,
    /// Bytes of memory that they hold.
    room: usize,
}

impl Block {
    pub(super) fn new(start: Mark, bytes: Bytes) -> Self {
        Self { start, room: bytes.len(), bytes }
    }

    /// The position behind it.
    pub(super) fn next(&self) -> u64 {
        self.start.at + self.bytes.len() as u64
    }

    /// The same, with its line. Looks at all bytes.
    pub(super) fn end(&self) -> Mark {
        self.start.behind(&self.bytes)
    }

    /// Drops bytes from the beginning. Memory is given back once most of it is not used any more.
    fn advance(&mut self, count: usize) {
        self.start = self.start.behind(&self.bytes[..count]);
        self.bytes.advance(count);
        if self.bytes.len() < self.room / 2 {
            *self = Self::new(self.start, Bytes::copy_from_slice(&self.bytes));
        }
    }
}

/// How many bytes of a stream of so many stand neither in these blocks nor among its first `written`.
pub(in crate::jobs) fn missing(blocks: &[Block], total: u64, written: u64) -> u64 {
    let starts = blocks.iter().map(|block| block.start.at).chain([total]);
    let ends = [0].into_iter().chain(blocks.iter().map(Block::next));
    ends.zip(starts).map(|(from, to)| to - written.clamp(from, to)).sum()
}

/// Bytes that came together; they reach to the next arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Where they begin in the stream.
    pub(super) start: u64,
    /// Where they begin in the order of both streams.
    pub(super) merged: u64,
    pub(super) stamp: Stamp,
}

impl Stretch {
    /// An empty one, at this position.
    pub(super) fn at(start: Mark) -> Self {
        Self { start, recent_from: start, end: start, ..Self::default() }
    }

    pub(super) fn start(&self) -> Mark {
        self.start
    }

    pub(super) fn end(&self) -> Mark {
        self.end
    }

    pub(super) fn len(&self) -> usize {
        usize::try_from(self.end.at - self.start.at).unwrap_or(usize::MAX)
    }

    /// Adds to the end.
    pub(super) fn push(&mut self, bytes: Bytes, merged: u64, stamp: Stamp) {
        if bytes.is_empty() {
            return;
        }
        self.note_arrival(Arrival { start: self.end.at, merged, stamp });
        let start = self.end;
        self.end = start.behind(&bytes);
        if bytes.len() < WHOLE_BYTES {
            self.recent.extend_from_slice(&bytes);
            if self.recent.len() >= WHOLE_BYTES {
                self.close_recent(self.end);
            }
        } else {
            self.close_recent(self.end);
            self.blocks.push_back(Block::new(start, bytes));
        }
    }

    fn note_arrival(&mut self, arrival: Arrival) {
        let joins = self.arrivals.back().is_some_and(|last| {
            let is_next = last.merged + (arrival.start - last.start) == arrival.merged;
            is_next && arrival.stamp.0.saturating_sub(last.stamp.0) < AT_ONCE_MS
        });
        if !joins {
            self.arrivals.push_back(arrival);
        }
    }

    /// Gives back memory that was meant for more to come.
    pub(super) fn close(&mut self) {
        self.recent.shrink_to_fit();
        self.arrivals.shrink_to_fit();
    }

    /// How many arrivals are told apart.
    pub(super) fn arrival_count(&self) -> usize {
        self.arrivals.len()
    }

    /// Bytes of the oldest arrival.
    pub(super) fn oldest_arrival(&self) -> usize {
        let end = self.arrivals.get(1).map_or(self.end.at, |second| second.start);
        usize::try_from(end - self.start.at).unwrap_or(usize::MAX)
    }

    fn close_recent(&mut self, next: Mark) {
        if !self.recent.is_empty() {
            // What follows is likely to be as much.
            let room = Vec::with_capacity(self.recent.capacity());
            let mut closed = std::mem::replace(&mut self.recent, room);
            closed.shrink_to_fit();
            self.blocks.push_back(Block::new(self.recent_from, closed.into()));
        }
        self.recent_from = next;
    }

    /// Drops bytes from the beginning.
    pub(super) fn drop_front(&mut self, count: usize) {
        let mut count = count.min(self.len());
        while count > 0
            && let Some(oldest) = self.blocks.front_mut()
        {
            if count < oldest.bytes.len() {
                oldest.advance(count);
                self.start = oldest.start;
                count = 0;
            } else {
                count -= oldest.bytes.len();
                self.blocks.pop_front();
                self.start = self.blocks.front().map_or(self.recent_from, |next| next.start);
            }
        }
        if count > 0 {
            self.start = self.recent_from.behind(&self.recent[..count]);
            self.recent_from = self.start;
            self.recent.drain(..count);
        }
        self.forget_arrivals();
    }

    fn forget_arrivals(&mut self) {
        let gone = self.arrivals.partition_point(|arrival| arrival.start <= self.start.at).saturating_sub(1);
        self.arrivals.drain(..gone);
        if let Some(first) = self.arrivals.front_mut() {
            first.merged += self.start.at - first.start;
            first.start = self.start.at;
        }
    }

    /// Copies up to `most` bytes from a position on, which lies in this stretch.
    pub(super) fn read(&self, from: u64, most: usize) -> Vec<u8> {
        let to = self.end.at.min(from.saturating_add(most as u64));
        let mut bytes = Vec::with_capacity(usize::try_from(to.saturating_sub(from)).unwrap_or(0));
        let first = self.blocks.partition_point(|block| block.start.at <= from).saturating_sub(1);
        for (start, part) in self.parts(first) {
            if start >= to {
                break;
            }
            let within = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX).min(part.len());
            bytes.extend_from_slice(&part[within(from)..within(to)]);
        }
        bytes
    }

    /// What is kept from a block on, each part with its position.
    fn parts(&self, first: usize) -> impl Iterator<Item = (u64, &[u8])> {
        let blocks = self.blocks.range(first..).map(|block| (block.start.at, &block.bytes[..]));
        blocks.chain(std::iter::once((self.recent_from.at, &self.recent[..])))
    }

    /// Where the line begins that has so many newlines before it, of which there are enough in the stream. What does not lie in
    /// this stretch is sought at its beginning. Looks at one block.
    pub(super) fn line(&self, line: u64) -> u64 {
        if line <= self.start.line {
            return self.start.at;
        }
        let (start, bytes) = if line > self.recent_from.line {
            (self.recent_from, &self.recent[..])
        } else {
            let holder = self.blocks.partition_point(|block| block.start.line < line).saturating_sub(1);
            self.blocks.get(holder).map_or((self.recent_from, &self.recent[..]), |block| (block.start, &block.bytes[..]))
        };
        let nth = usize::try_from(line - start.line - 1).unwrap_or(usize::MAX);
        memchr::memchr_iter(b'\n', bytes).nth(nth).map_or(self.end.at, |at| start.at + at as u64 + 1)
    }

    pub(super) fn ends_with_newline(&self) -> bool {
        self.recent.last().or_else(|| self.blocks.back()?.bytes.last()) == Some(&b'\n')
    }

    /// All that is kept, without a copy but for the most recent.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Block> {
        let recent = Block::new(self.recent_from, Bytes::copy_from_slice(&self.recent));
        self.blocks.iter().cloned().chain((!recent.bytes.is_empty()).then_some(recent))
    }

    /// What came, each with where it ends in the stream, from a position in the order of both streams on.
    pub(super) fn arrivals(&self, merged: u64) -> impl Iterator<Item = (Arrival, u64)> {
        let first = self.arrivals.partition_point(|arrival| arrival.merged <= merged).saturating_sub(1);
        let ends = self.arrivals.range(self.arrivals.len().min(first + 1)..).map(|next| next.start);
        self.arrivals.range(first..).copied().zip(ends.chain(std::iter::once(self.end.at)))
    }

    /// The last of which all came before this time, and where it ends in the stream.
    pub(super) fn arrived_before(&self, stamp: Stamp) -> Option<(Arrival, u64)> {
        let later = self.arrivals.partition_point(|arrival| arrival.stamp.0.saturating_add(AT_ONCE_MS) <= stamp.0);
        let last = self.arrivals.get(later.checked_sub(1)?)?;
        Some((*last, self.arrivals.get(later).map_or(self.end.at, |next| next.start)))
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
