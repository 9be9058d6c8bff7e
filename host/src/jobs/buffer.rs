//! Filtered output, kept up to a number of bytes: when more comes, the oldest goes, and is counted.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::policy::Chunk;

/// Chunks of so many bytes are kept as they came, others are put together: what a chunk stands in may be 64 KiB and somewhat
/// more, and one byte must not keep that.
const WHOLE_BYTES: usize = 48 * 1024;

/// The output of one stream. Holds nothing but [`Chunk`]s' bytes, and never more than its limit; in memory that is not more than half
/// as much again, and a piece.
#[derive(Debug)]
pub struct Buffer {
    /// The oldest first.
    blocks: VecDeque<Bytes>,
    /// Small chunks behind the blocks.
    recent: Vec<u8>,
    kept: usize,
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
        Self { blocks: VecDeque::new(), recent: Vec::new(), kept: 0, limit, total: 0 }
    }

    /// Adds to the end.
    pub fn push(&mut self, chunk: &Chunk) {
        self.push_bytes(chunk.bytes());
    }

    pub(super) fn push_bytes(&mut self, bytes: &Bytes) {
        self.total += bytes.len() as u64;
        self.kept += bytes.len();
        if bytes.len() < WHOLE_BYTES {
            self.recent.extend_from_slice(bytes);
        }
        if bytes.len().max(self.recent.len()) >= WHOLE_BYTES {
            self.close_recent();
        }
        if bytes.len() >= WHOLE_BYTES {
            self.blocks.push_back(bytes.clone());
        }
        self.shrink();
    }

    fn close_recent(&mut self) {
        if !self.recent.is_empty() {
            self.blocks.push_back(Bytes::copy_from_slice(&self.recent));
            self.recent.clear();
        }
    }

    /// Drops what is beyond the limit from the beginning.
    fn shrink(&mut self) {
        let mut surplus = self.kept.saturating_sub(self.limit);
        self.kept -= surplus;
        while surplus > 0
            && let Some(oldest) = self.blocks.front_mut()
        {
            let dropped = surplus.min(oldest.len());
            oldest.advance(dropped);
            surplus -= dropped;
            if oldest.is_empty() {
                self.blocks.pop_front();
            }
        }
        self.recent.drain(..surplus);
    }

    /// What is kept, in its order.
    fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.blocks.iter().map(|block| &block[..]).chain(std::iter::once(&self.recent[..]))
    }

    /// All bytes that ever came.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many bytes are gone.
    pub fn dropped(&self) -> u64 {
        self.total - self.kept as u64
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
        let from = usize::try_from(cursor.0.saturating_sub(dropped)).unwrap_or(usize::MAX).min(self.kept);
        Excerpt { bytes: self.from(from), dropped: dropped.saturating_sub(cursor.0) }
    }

    /// The last `lines` lines; a last line without a newline counts.
    pub fn tail(&self, lines: usize) -> Excerpt {
        let from = self.line_ends().nth(lines.saturating_sub(1)).unwrap_or(0);
        let dropped = if from == 0 { self.dropped() } else { 0 };
        Excerpt { bytes: self.from(from), dropped }
    }

    /// Where lines end but for the last one, counted in what is kept, the last first.
    fn line_ends(&self) -> impl Iterator<Item = usize> {
        let mut begin = self.kept;
        let ends = self.parts().rev().flat_map(move |part| {
            begin -= part.len();
            memchr::memrchr_iter(b'\n', part).map(move |at| begin + at + 1)
        });
        ends.skip_while(|end| *end == self.kept)
    }

    /// What is kept, without the first `skipped` bytes.
    fn from(&self, skipped: usize) -> Vec<u8> {
        let mut skipped = skipped;
        let mut bytes = Vec::with_capacity(self.kept - skipped);
        for part in self.parts() {
            let (gone, rest) = part.split_at(skipped.min(part.len()));
            skipped -= gone.len();
            bytes.extend_from_slice(rest);
        }
        bytes
    }
}
