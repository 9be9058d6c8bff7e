//! The ways in which a stream is cut: what a filter makes of it must not depend on them.

use super::Numbers;

/// Longest stream that is cut in every way there is, in bytes.
const ALL_WAYS_UP_TO: usize = 10;
/// Most places of a single cut in a longer one.
const MOST_PLACES: usize = 512;
/// Longest stream that is also given byte by byte.
const BYTE_BY_BYTE_UP_TO: usize = 4096;
/// Ways at random.
const AT_RANDOM: usize = 16;
/// Bytes that all ways together may give to the filters.
const MOST_BYTES: usize = 16 << 20;

/// A way to cut a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// Where: offsets, ascending, each inside the stream.
    pub at: Vec<usize>,
    /// Whether nothing comes for a while behind each piece.
    pub pauses: bool,
}

impl Cuts {
    /// The pieces of a stream.
    pub fn pieces<'s>(&self, stream: &'s [u8]) -> Vec<&'s [u8]> {
        let ends = self.at.iter().copied().chain([stream.len()]);
        let mut begin = 0;
        ends.map(|end| &stream[std::mem::replace(&mut begin, end)..end]).collect()
    }
}

impl std::fmt::Display for Cuts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at: Vec<_> = self.at.iter().take(10).map(usize::to_string).collect();
        let more = if self.at.len() > 10 { ", …" } else { "" };
        let pauses = if self.pauses { ", with a pause behind each piece" } else { "" };
        write!(f, "cut at {}{more}{pauses}", at.join(", "))
    }
}

/// The ways for a stream of this length: all if it is short, else a cut in each place, byte by byte, and some at random.
pub fn ways(length: usize, numbers: &mut Numbers) -> Vec<Cuts> {
    if length < 2 {
        return Vec::new();
    }
    let inside = 1..length;
    if length <= ALL_WAYS_UP_TO {
        let cut = |way: usize| inside.clone().filter(|at| way & (1 << (at - 1)) != 0).collect();
        return (1..1 << (length - 1)).map(|way| Cuts { at: cut(way), pauses: way % 2 == 0 }).collect();
    }
    let most = MOST_PLACES.min(MOST_BYTES / length).max(1);
    let step = length.div_ceil(most);
    let mut ways: Vec<Cuts> = inside.clone().step_by(step).map(|at| Cuts { at: vec![at], pauses: false }).collect();
    if length <= BYTE_BY_BYTE_UP_TO {
        ways.push(Cuts { at: inside.clone().collect(), pauses: false });
    }
    for way in 0..AT_RANDOM {
        let mut at: Vec<usize> = (0..1 + numbers.below(8)).map(|_| 1 + numbers.below(length - 1)).collect();
        at.sort_unstable();
        at.dedup();
        ways.push(Cuts { at, pauses: way % 2 == 0 });
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_stream_is_cut_in_every_way() {
        let ways = ways(4, &mut Numbers::new());
        assert_eq!(ways.len(), 7);
        assert!(ways.iter().any(|way| way.at == [1, 2, 3]));
    }

    #[test]
    fn pieces_are_the_stream() {
        let stream: Vec<u8> = (0..200).collect();
        for way in ways(stream.len(), &mut Numbers::new()) {
            assert_eq!(way.pieces(&stream).concat(), stream, "{way}");
            assert!(way.pieces(&stream).len() > 1);
        }
    }

    #[test]
    fn a_long_stream_does_not_take_for_ever() {
        let ways = ways(16 << 20, &mut Numbers::new());
        assert!(ways.len() < 32, "{}", ways.len());
    }
}
