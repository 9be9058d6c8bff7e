//! A part of a stream on its way through the filters, which no filter that passes it has to copy.

use bytes::{BufMut, Bytes};

/// Most new bytes of one piece, as it is read and as a filter is given it.
pub const PIECE_BYTES: usize = 64 * 1024;
/// Room in front for what a filter kept back of the piece before: less than the longest trigger, unless an escape parts one.
const HEADROOM: usize = 64;

/// Some bytes of a stream, not filtered yet.
pub struct Piece {
    bytes: Vec<u8>,
    /// Where they begin; what stands before is room.
    start: usize,
}

impl Piece {
    /// A piece to be read into.
    pub fn to_fill() -> Self {
        let mut bytes = Vec::with_capacity(HEADROOM + PIECE_BYTES);
        bytes.resize(HEADROOM, 0);
        Self { bytes, start: HEADROOM }
    }

    /// Room for what is to be read: 64 KiB, if nothing was before.
    pub fn room(&mut self) -> impl BufMut {
        let room = PIECE_BYTES.saturating_sub(self.bytes().len());
        (&mut self.bytes).limit(room)
    }

    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Puts bytes in front.
    pub(super) fn prepend(&mut self, head: &[u8]) {
        match self.start.checked_sub(head.len()) {
            Some(start) => {
                self.bytes[start..self.start].copy_from_slice(head);
                self.start = start;
            }
            None => *self = Self::from([head, self.bytes()].concat()),
        }
    }

    /// Drops all but the first `length` bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(self.start + length);
    }

    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from(self.bytes).slice(self.start..)
    }
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }
}
