//! Filtered output, kept up to a number of bytes: when more comes, the oldest goes, and is counted.

use std::collections::VecDeque;

use crate::policy::Chunk;

/// The output of one stream. Holds nothing but [`Chunk`]s' bytes, and never more than its limit.
#[derive(Debug)]
pub struct Buffer {
    kept: VecDeque<u8>,
    limit: usize,
    total: u64,
}

/// A position in a stream: bytes since its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

/// A part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How many bytes that were asked for are gone, from before the first of these.
    pub dropped: u64,
}

impl Buffer {
    /// An empty buffer for at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { kept: VecDeque::new(), limit, total: 0 }
    }

    /// Adds to the end.
    pub fn push(&mut self, chunk: &Chunk) {
        self.push_bytes(chunk.bytes());
    }

    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let recent = &bytes[bytes.len().saturating_sub(self.limit)..];
        let surplus = (self.kept.len() + recent.len()).saturating_sub(self.limit);
        self.kept.drain(..surplus);
        self.kept.extend(recent);
    }

    /// All bytes that ever came.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many bytes are gone.
    pub fn dropped(&self) -> u64 {
        self.total - self.kept.len() as u64
    }

    /// The end of the stream so far.
    pub fn end(&self) -> Cursor {
        Cursor(self.total)
    }

    /// Everything that is kept.
    pub fn all(&self) -> Excerpt {
        self.since(Cursor(0))
    }

    /// Everything from `cursor` on.
    pub fn since(&self, cursor: Cursor) -> Excerpt {
        let dropped = self.dropped();
        let from = usize::try_from(cursor.0.saturating_sub(dropped)).unwrap_or(usize::MAX).min(self.kept.len());
        Excerpt { bytes: self.kept.range(from..).copied().collect(), dropped: dropped.saturating_sub(cursor.0) }
    }

    /// The last `lines` lines; a last line without a newline counts.
    pub fn tail(&self, lines: usize) -> Excerpt {
        let ends = self.kept.iter().enumerate().rev().skip(1).filter(|(_, byte)| **byte == b'\n');
        let from = ends.map(|(at, _)| at + 1).nth(lines.saturating_sub(1)).unwrap_or(0);
        let dropped = if from == 0 { self.dropped() } else { 0 };
        Excerpt { bytes: self.kept.range(from..).copied().collect(), dropped }
    }
}
