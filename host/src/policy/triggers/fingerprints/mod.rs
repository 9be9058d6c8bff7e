//! The search for four bytes out of each trigger, at many gigabytes a second.
//!
//! Teddy's idea (Geoffrey Langdale's, from Hyperscan): small tables, looked up by the halves of a byte, tell for 32 bytes at once
//! which of eight groups of fingerprints a position may begin; four positions together leave few that do not. The packed searcher
//! of `aho-corasick` does the same from a trigger's first bytes and for 64 patterns in a pass. Here the four rarest bytes of a
//! trigger count, either case of a letter costs nothing, and one pass serves 24 groups, made so that few bytes of ordinary output
//! look like a member; on the default triggers that is several times as fast (`docs/benchmarks.md`). Processors with AVX-512 VBMI
//! look up six bits of a byte instead of its halves, for 64 bytes at once.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use super::Trigger;

/// Bytes of a fingerprint. The fourth of a trigger of three bytes may be any.
const BYTES: usize = 4;
/// The length of the shortest trigger; fingerprints are listed by so many bytes.
pub(super) const LEAST_BYTES: usize = 3;
/// How far from a trigger's beginning its fingerprint may be. Small, since so far the search looks on behind a find for one that
/// begins earlier.
pub(super) const MOST_OFFSET: usize = 8;
/// Groups, eight to each set of tables.
const GROUPS: usize = 24;
const SETS: usize = GROUPS / 8;
/// Lists that fingerprints are spread over by their hash.
const LISTS: usize = 4096;
/// Positions that are told in one number.
const BLOCK: usize = 64;
/// Blocks that are looked through before the first find in them is taken.
const BLOCKS: usize = 8;
/// They, and what the last positions in them see behind.
const CHUNK: usize = BLOCKS * BLOCK + BYTES - 1;

/// One trigger's fingerprint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fingerprint {
    /// Index of the trigger.
    pub(super) trigger: u16,
    /// Where in the trigger it stands.
    pub(super) offset: u8,
    word: Word,
}

/// The bytes of a fingerprint, compared at once: what is not in the mask may be anything.
#[derive(Clone, Copy, Debug)]
struct Word {
    bytes: u32,
    mask: u32,
}

impl Word {
    fn new(text: &[u8], ignore_case: bool) -> Self {
        const CASE: u8 = b'a' ^ b'A';
        let mask = |byte: &u8| if ignore_case && byte.is_ascii_alphabetic() { !CASE } else { u8::MAX };
        let mask = four(&text.iter().map(mask).collect::<Vec<_>>());
        Self { bytes: four(text) & mask, mask }
    }

    fn is(self, bytes: u32) -> bool {
        bytes & self.mask == self.bytes
    }
}

/// The first four bytes as a number; what is missing is 0.
#[inline]
fn four(bytes: &[u8]) -> u32 {
    let whole = bytes.first_chunk().copied();
    u32::from_le_bytes(whole.unwrap_or_else(|| std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0))))
}

/// A trigger that was found.
#[derive(Clone, Copy)]
pub(super) struct Find {
    /// Where it begins.
    pub(super) begin: usize,
    /// Where its fingerprint stands.
    pub(super) at: usize,
}

/// All fingerprints, ready to be searched for.
pub(super) struct Fingerprints {
    lists: Vec<Vec<Fingerprint>>,
    tables: Tables,
}

/// What tells where a fingerprint may stand, as the processor can use it.
enum Tables {
    #[cfg(target_arch = "x86_64")]
    Avx512(Box<avx512::Tables>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Box<avx2::Tables>),
    /// Nothing: it may stand everywhere.
    Plain,
}

impl Tables {
    #[cfg(target_arch = "x86_64")]
    fn new(members: &[Group]) -> Self {
        let avx512 = avx512::Tables::new(members).map(|tables| Self::Avx512(Box::new(tables)));
        let avx2 = || avx2::Tables::new(members).map(|tables| Self::Avx2(Box::new(tables)));
        avx512.or_else(avx2).unwrap_or(Self::Plain)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn new(_members: &[Group]) -> Self {
        Self::Plain
    }

    /// A bit for each position of the chunk at which a fingerprint may stand.
    fn candidates(&self, chunk: &[u8; CHUNK]) -> [u64; BLOCKS] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(tables) => tables.candidates(chunk),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(tables) => tables.candidates(chunk),
            Self::Plain => [u64::MAX; BLOCKS],
        }
    }
}

impl Fingerprints {
    pub(super) fn new(triggers: &[Trigger]) -> Self {
        let mut lists = vec![Vec::new(); LISTS];
        let mut members = Vec::new();
        for (trigger, index) in triggers.iter().zip(0..) {
            let offset = rarest(&trigger.text);
            let text = window(&trigger.text, usize::from(offset));
            lists[hash(four(text))].push(Fingerprint { trigger: index, offset, word: Word::new(text, trigger.ignore_case) });
            members.push(Group::of(text, trigger.ignore_case));
        }
        Self { lists, tables: Tables::new(&members) }
    }

    /// The fingerprints that stand at the beginning of `bytes`.
    pub(super) fn at(&self, bytes: &[u8]) -> impl Iterator<Item = &Fingerprint> {
        let there = four(bytes);
        self.lists[hash(there)].iter().filter(move |fingerprint| fingerprint.word.is(there))
    }

    /// Whether a fingerprint is these bytes.
    #[inline]
    fn has(&self, there: u32) -> bool {
        self.lists[hash(there)].iter().any(|fingerprint| fingerprint.word.is(there))
    }

    /// The first position from `from` on at which a fingerprint may stand and of which `begin` knows where its trigger begins.
    pub(super) fn next(&self, haystack: &[u8], from: usize, begin: impl Fn(usize) -> Option<usize>) -> Option<Find> {
        let mut at = from;
        while at < haystack.len() {
            let find = match haystack[at..].first_chunk() {
                Some(chunk) => self.next_in(chunk, at, &begin),
                None => self.next_in(&filled_up(&haystack[at..]), at, &begin),
            };
            if find.is_some() {
                return find;
            }
            at += BLOCKS * BLOCK;
        }
        None
    }

    /// The first in a chunk, which begins at `from`.
    fn next_in(&self, chunk: &[u8; CHUNK], from: usize, begin: &impl Fn(usize) -> Option<usize>) -> Option<Find> {
        for (block, mut candidates) in self.tables.candidates(chunk).into_iter().enumerate() {
            while candidates != 0 {
                let at = block * BLOCK + candidates.trailing_zeros() as usize;
                // Most are none.
                if self.has(four(&chunk[at..]))
                    && let Some(begin) = begin(from + at)
                {
                    return Some(Find { begin, at: from + at });
                }
                candidates &= candidates - 1;
            }
        }
        None
    }
}

/// The end of a text with zeros behind it. What is found among those stands nowhere in the text.
fn filled_up(text: &[u8]) -> [u8; CHUNK] {
    let mut chunk = [0; CHUNK];
    chunk[..text.len()].copy_from_slice(text);
    chunk
}

/// Of the first three bytes, whatever their case.
#[inline]
fn hash(bytes: u32) -> usize {
    const CASES: u32 = 0x2020_2020;
    let mixed = ((bytes | CASES) << 8).wrapping_mul(0x9e37_79b1);
    (mixed >> (u32::BITS - LISTS.ilog2())) as usize
}

/// The bytes of a text that may be its fingerprint, from `offset` on: three if it has no more.
fn window(text: &[u8], offset: usize) -> &[u8] {
    &text[offset..text.len().min(offset + BYTES)]
}

/// Where in a text the bytes stand that are rarest in what jobs print.
fn rarest(text: &[u8]) -> u8 {
    let offsets = 0..=text.len().saturating_sub(BYTES).min(MOST_OFFSET);
    let cost = |offset: &usize| window(text, *offset).iter().map(|byte| commonness(*byte)).product::<u64>();
    let offset = offsets.min_by_key(cost).unwrap_or(0);
    u8::try_from(offset).expect("at most MOST_OFFSET")
}

/// How common a byte is in output, roughly, in thousandths: letters as in English text, the rest by the look of build logs.
/// `_` and `:` count for less than they are: what they stand in is hardly ever a word that is common by itself, as `PASS` is; and
/// `p` for more than in English: programs speak of paths, packages and what passed.
fn commonness(byte: u8) -> u64 {
    const LETTERS: [u64; 26] =
        [80, 15, 28, 43, 125, 22, 20, 60, 70, 2, 8, 40, 24, 67, 75, 30, 1, 60, 63, 91, 28, 10, 24, 2, 20, 1];
    match byte {
        b'a'..=b'z' => LETTERS[usize::from(byte - b'a')],
        b' ' => 150,
        b'0'..=b'9' | b'-' | b'.' | b'/' => 25,
        b'A'..=b'Z' | b'_' => 5,
        b':' => 4,
        _ => 1,
    }
}

/// What the tables know of a group, for each of the four bytes.
#[derive(Clone, Copy, Default)]
struct Group([Place; BYTES]);

/// The lower halves, the upper halves and the lower six bits that the members of a group have in one place, a bit each. Tables take
/// any lower half with any upper one, and any upper two bits with the lower six; so the more members, the more bytes look like one.
#[derive(Clone, Copy, Default)]
struct Place {
    low: u16,
    high: u16,
    low_six: u64,
}

impl Place {
    const ANY: Self = Self { low: u16::MAX, high: u16::MAX, low_six: u64::MAX };

    fn of(byte: u8) -> Self {
        Self { low: 1 << (byte & 15), high: 1 << (byte >> 4), low_six: 1 << (byte & 63) }
    }

    fn or(self, other: Self) -> Self {
        Self { low: self.low | other.low, high: self.high | other.high, low_six: self.low_six | other.low_six }
    }

    /// Whether tables of halves take a byte for a member's.
    fn has_halves(self, byte: u8) -> bool {
        self.low >> (byte & 15) & 1 == 1 && self.high >> (byte >> 4) & 1 == 1
    }

    /// Whether tables of six bits do.
    fn has_low_six(self, byte: u8) -> bool {
        self.low_six >> (byte & 63) & 1 == 1
    }

    /// How common the bytes are that tables take for a member's.
    fn cost(self, takes: Takes) -> u64 {
        (0..=u8::MAX).filter(|byte| takes(self, *byte)).map(commonness).sum()
    }
}

impl Group {
    fn of(text: &[u8], ignore_case: bool) -> Self {
        let either = |byte: u8| Place::of(byte.to_ascii_lowercase()).or(Place::of(byte.to_ascii_uppercase()));
        Self(std::array::from_fn(|at| match text.get(at) {
            Some(byte) if ignore_case => either(*byte),
            Some(byte) => Place::of(*byte),
            None => Place::ANY,
        }))
    }

    fn with(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].or(other.0[at])))
    }

    /// How often ordinary output looks like a member: the product of what the four bytes match.
    fn cost(self, takes: Takes) -> u64 {
        self.0.into_iter().map(|place| place.cost(takes)).product()
    }
}

/// Whether tables of some kind take a byte for one that members of a group have in a place.
type Takes = fn(Place, u8) -> bool;

/// Spreads the fingerprints over groups so that little looks like a member to tables of this kind: the commonest first, each to
/// where it adds least.
fn groups(members: &[Group], takes: Takes) -> Vec<Group> {
    let mut members = members.to_vec();
    members.sort_by_key(|member| std::cmp::Reverse(member.cost(takes)));
    let mut groups = vec![Group::default(); GROUPS];
    let mut costs = [0; GROUPS];
    for member in members {
        let costs_with = std::array::from_fn::<_, GROUPS, _>(|at| groups[at].with(member).cost(takes));
        let at = (0..GROUPS).min_by_key(|at| costs_with[*at] - costs[*at]).expect("there are groups");
        (groups[at], costs[at]) = (groups[at].with(member), costs_with[at]);
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that this processor can use.
    fn all_tables(members: &[Group]) -> Vec<Tables> {
        let mut all = vec![Tables::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(avx512::Tables::new(members).map(|tables| Tables::Avx512(Box::new(tables))));
            all.extend(avx2::Tables::new(members).map(|tables| Tables::Avx2(Box::new(tables))));
        }
        all
    }

    proptest! {
        // Grouping is slow without optimisation.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_tables_miss_a_fingerprint(
            texts in prop::collection::vec(("[ -~\\x00\u{e4}]{3,4}", any::<bool>()), 1..40),
            mut text in prop::collection::vec(any::<u8>(), CHUNK),
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..20),
        ) {
            for (which, at) in &places {
                let (member, at) = (&which.get(&texts).0.as_bytes(), at.index(CHUNK - BYTES - 2));
                text[at..at + member.len()].copy_from_slice(member);
            }
            let triggers: Vec<_> = texts
                .into_iter()
                .map(|(text, ignore_case)| Trigger { text: text.into_bytes(), ignore_case })
                .collect();
            let fingerprints = Fingerprints::new(&triggers);
            let windows = triggers.iter().map(|trigger| {
                let text = window(&trigger.text, usize::from(rarest(&trigger.text)));
                Group::of(text, trigger.ignore_case)
            });
            let chunk = text.first_chunk().unwrap();
            for tables in all_tables(&windows.collect::<Vec<_>>()) {
                let candidates = tables.candidates(chunk);
                for at in (0..BLOCKS * BLOCK).filter(|at| fingerprints.has(four(&chunk[*at..]))) {
                    prop_assert!(candidates[at / BLOCK] >> (at % BLOCK) & 1 == 1, "position {at}");
                }
            }
        }
    }

    #[test]
    fn zeros_behind_a_text_are_none_of_it() {
        let fingerprints = Fingerprints::new(&[Trigger { text: vec![0; 3], ignore_case: false }]);
        let triggers = [&b"x\0\0"[..], b"", b"\0"];
        for text in triggers {
            let begin = |at: usize| text.get(at..at + 3).map(|_| at);
            assert!(fingerprints.next(text, 0, begin).is_none(), "{text:?}");
        }
    }
}
