//! Lines without what sets colours in them, as they are judged: `grep` and others put it into the midst of words. And without the
//! zeros of UTF-16, at every second byte, so that such text is judged like any other.

use std::ops::Range;

use crate::text::{Text, replacement};

/// What begins such a sequence: an escape, the same in one character of eight bits, the return from a second set of characters, and
/// half of a character in UTF-16.
const STARTS: &[u8] = &[0x1b, 0x9b, 0xc2, 0x0f, 0];

/// Most bytes between the two first and the last one of what sets colours: both of 24 bits, an underline, and more.
const MOST_PARAMETERS: usize = 96;

/// Most bytes of a title or a link.
const MOST_NAMED: usize = 2048;

/// How what parts words begins, where the host looks for it. A title does not: it stands in front of a prompt, which would wait
/// for the line's end.
pub const TRIGGERS: &[&str] = &[
    "\x1b[m", "\x1b[K", "\x1b[;", "\x1b[:", "\x1b[0", "\x1b[1", "\x1b[2", "\x1b[3", "\x1b[4", "\x1b[5", "\x1b[6", "\x1b[7",
    "\x1b[8", "\x1b[9", "\x1b(A", "\x1b(B", "\x1b(0", "\x1b)A", "\x1b)B", "\x1b)0", "\x1b]8;",
];

/// Something that is left out of a line: what stands in front of one byte.
#[derive(Clone, Copy)]
pub struct Gap {
    /// Where that byte stands in what is left of the line.
    pub at: usize,
    /// How many bytes were left out up to here, with it.
    left_out: usize,
}

/// A piece of a line, taken apart.
pub struct Line {
    /// What stood before the piece, and the piece without what sets colours.
    pub bytes: Vec<u8>,
    /// In order, one in each place.
    gaps: Vec<Gap>,
    /// Where in the piece the texts of titles and links stand, which are no part of what is read.
    pub named: Vec<Range<usize>>,
    /// How long what stood before the piece is.
    begins: usize,
}

impl Line {
    /// `is_parted`: the context ends with what sets a colour. `goes_on`: the piece may end within a sequence, which is then no part
    /// of it.
    pub fn of(context: &[u8], is_parted: bool, piece: &[u8], goes_on: bool) -> Self {
        let mut bytes = Vec::with_capacity(context.len() + piece.len());
        bytes.extend_from_slice(context);
        let mut line = Self { bytes, gaps: Vec::new(), named: Vec::new(), begins: context.len() };
        if is_parted {
            line.leave_out(0);
        }
        let mut at = 0;
        while at < piece.len() {
            let start = piece[at..].iter().position(|byte| STARTS.contains(byte)).map_or(piece.len(), |next| at + next);
            line.bytes.extend_from_slice(&piece[at..start]);
            at = match if is_half(piece, start) { whole(1) } else { sequence(&piece[start..]) } {
                Sequence::Cut if goes_on => break,
                Sequence::Whole { length, text } => {
                    line.leave_out(length);
                    line.named.extend((!text.is_empty()).then(|| start + text.start..start + text.end));
                    start + length
                }
                Sequence::Cut | Sequence::None => {
                    line.bytes.extend(piece.get(start));
                    start + 1
                }
            };
        }
        line
    }

    /// What is judged.
    pub fn text(&self) -> Text<'_> {
        Text::new(&self.bytes, &self.gaps)
    }

    fn leave_out(&mut self, length: usize) {
        let (at, left_out) = (self.bytes.len(), self.left_out() + length);
        match self.gaps.last_mut() {
            Some(gap) if gap.at == at => gap.left_out = left_out,
            _ => self.gaps.push(Gap { at, left_out }),
        }
    }

    fn left_out(&self) -> usize {
        self.gaps.last().map_or(0, |gap| gap.left_out)
    }

    /// Where in the piece the byte at `at` stands, with what sets colours in front of it.
    pub fn place(&self, at: usize) -> usize {
        self.behind(at, self.gaps.partition_point(|gap| gap.at < at))
    }

    /// Where in the piece the byte at `at` itself stands; where the piece ends, but for a sequence that is cut, if there is none.
    pub fn place_of_byte(&self, at: usize) -> usize {
        self.behind(at, self.gaps.partition_point(|gap| gap.at <= at))
    }

    fn behind(&self, at: usize, gaps: usize) -> usize {
        at - self.begins + gaps.checked_sub(1).map_or(0, |last| self.gaps[last].left_out)
    }

    /// Whether something sets a colour at the end.
    pub fn ends_parted(&self) -> bool {
        self.gaps.last().is_some_and(|gap| gap.at == self.bytes.len())
    }
}

/// Whether a zero stands at `at` that is half of a character: there is another one two bytes before or behind it, and none between. Or
/// half of one beside what was taken out, or of the line's end.
fn is_half(piece: &[u8], at: usize) -> bool {
    let is_pair = |first: Option<usize>| match first.and_then(|first| piece.get(first..first + 3)) {
        Some([0, between, 0]) => *between != 0,
        _ => false,
    };
    let is_marked = || match piece[at + 1..].first() {
        Some(b'\n') => true,
        Some(b'[') => replacement(&piece[at + 1..]) > 0,
        _ => piece[..at].ends_with(b"]"),
    };
    piece.get(at) == Some(&0) && (is_pair(Some(at)) || is_pair(at.checked_sub(2)) || is_marked())
}

/// Whether what is left out in front of this one of the bytes of a line sets a colour, and is not half of a character.
pub fn sets_colour(gaps: &[Gap], gap: usize) -> bool {
    let before = gap.checked_sub(1).map_or(0, |before| gaps[before].left_out);
    gaps[gap].left_out - before != 1
}

/// These bytes without what sets colours.
pub fn without(bytes: &[u8]) -> Vec<u8> {
    Line::of(b"", false, bytes, false).bytes
}

/// What stands at a [start](STARTS).
enum Sequence {
    /// Something else.
    None,
    /// What may become one with the next bytes.
    Cut,
    /// As many bytes, with a text in them if they have one, such as the address of a link.
    Whole { length: usize, text: Range<usize> },
}

/// A sequence that sets a colour, a set of characters, a title or a link, or erases the rest of the line, as programs put around
/// what they point out.
fn sequence(bytes: &[u8]) -> Sequence {
    match bytes {
        [0x0f, ..] => whole(1),
        [0x1b | 0xc2] | [0x1b, b'(' | b')' | b']'] => Sequence::Cut,
        [0x1b, b'(' | b')', b'0' | b'A' | b'B', ..] => whole(3),
        [0x1b, b']', b'0'..=b'9', ..] => named(bytes),
        [0x1b, b'[', ..] | [0xc2, 0x9b, ..] => colour(bytes, 2),
        [0x9b, ..] => colour(bytes, 1),
        _ => Sequence::None,
    }
}

fn whole(length: usize) -> Sequence {
    Sequence::Whole { length, text: 0..0 }
}

fn colour(bytes: &[u8], from: usize) -> Sequence {
    let is_parameter = |byte: &&u8| byte.is_ascii_digit() || b";:".contains(byte);
    let end = from + bytes[from..].iter().take(MOST_PARAMETERS).take_while(is_parameter).count();
    match bytes.get(end) {
        Some(b'm' | b'K') => whole(end + 1),
        None => Sequence::Cut,
        Some(_) => Sequence::None,
    }
}

fn named(bytes: &[u8]) -> Sequence {
    let end = 2 + bytes[2..].iter().take(MOST_NAMED).take_while(|byte| **byte >= b' ').count();
    match &bytes[end..] {
        [0x07, ..] => Sequence::Whole { length: end + 1, text: 2..end },
        [0x1b, b'\\', ..] => Sequence::Whole { length: end + 2, text: 2..end },
        [] | [0x1b] => Sequence::Cut,
        _ => Sequence::None,
    }
}
