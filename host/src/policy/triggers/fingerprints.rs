//! The search for four bytes out of each trigger, at many gigabytes a second.
//!
//! Teddy's idea (Geoffrey Langdale's, from Hyperscan): sixteen-entry tables, looked up by the two halves of a byte, tell for 32 bytes
//! at once which of eight groups of fingerprints a position may begin; four positions together leave few that do not. The packed
//! searcher of `aho-corasick` does the same from a trigger's first bytes and for 64 patterns in a pass. Here the four rarest bytes
//! of a trigger count, either case of a letter costs nothing, and one pass serves 24 groups, made so that few
//! bytes of ordinary output look like a member; on the default triggers that is several
//! times as fast (`docs/benchmarks.md`).

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
    tables: [Tables; SETS],
}

/// For each of the four bytes and each half of it: the groups that have it, a bit each.
#[derive(Clone, Copy, Default)]
struct Tables {
    low: [[u8; 16]; BYTES],
    high: [[u8; 16]; BYTES],
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
        Self { lists, tables: tables(members) }
    }

    /// The fingerprints that stand at the beginning of `bytes`, which are at least [`LEAST_BYTES`].
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
        let find = |at| begin(at).map(|begin| Find { begin, at });
        match self.next_in_blocks(haystack, from, &find) {
            Blocks::Found(find) => Some(find),
            Blocks::NoneBefore(from) => (from..(haystack.len() + 1).saturating_sub(LEAST_BYTES)).find_map(find),
        }
    }

    /// Looks through as many whole blocks as the processor can look through at once.
    #[cfg(target_arch = "x86_64")]
    fn next_in_blocks(&self, haystack: &[u8], from: usize, find: &impl Fn(usize) -> Option<Find>) -> Blocks {
        if !is_x86_feature_detected!("avx2") {
            return Blocks::NoneBefore(from);
        }
        #[expect(unsafe_code, reason = "instructions that not every processor has are behind an unsafe call")]
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe {
            avx2::next(self, haystack, from, find)
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn next_in_blocks(&self, _haystack: &[u8], from: usize, _find: &impl Fn(usize) -> Option<Find>) -> Blocks {
        Blocks::NoneBefore(from)
    }
}

/// What looking through whole blocks brought.
enum Blocks {
    Found(Find),
    /// None stands before here, where byte by byte must be looked on.
    NoneBefore(usize),
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
/// `_` counts for less than it is: what it stands in is hardly ever a word that is common by itself, as `PASS` is.
fn commonness(byte: u8) -> u64 {
    const LETTERS: [u64; 26] =
        [80, 15, 28, 43, 125, 22, 20, 60, 70, 2, 8, 40, 24, 67, 75, 19, 1, 60, 63, 91, 28, 10, 24, 2, 20, 1];
    match byte {
        b'a'..=b'z' => LETTERS[usize::from(byte - b'a')],
        b' ' => 150,
        b'0'..=b'9' | b'-' | b'.' | b'/' | b':' => 25,
        b'A'..=b'Z' | b'_' => 5,
        _ => 1,
    }
}

/// What the tables know of a group: for each of the four bytes, the halves that its members have there, a bit each. They take any
/// lower half with any upper, so the more members, the more bytes look like one.
#[derive(Clone, Copy, Default)]
struct Group([(u16, u16); BYTES]);

impl Group {
    fn of(text: &[u8], ignore_case: bool) -> Self {
        let halves = |byte: u8| (1 << (byte & 15), 1 << (byte >> 4));
        let either = |byte: u8| {
            let (lower, upper) = (halves(byte.to_ascii_lowercase()), halves(byte.to_ascii_uppercase()));
            (lower.0 | upper.0, lower.1 | upper.1)
        };
        Self(std::array::from_fn(|at| match text.get(at) {
            Some(byte) if ignore_case => either(*byte),
            Some(byte) => halves(*byte),
            None => (u16::MAX, u16::MAX),
        }))
    }

    fn with(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| (self.0[at].0 | other.0[at].0, self.0[at].1 | other.0[at].1)))
    }

    /// How often ordinary output looks like a member: the product of what the four bytes match.
    fn cost(self) -> u64 {
        let matched = |(low, high): (u16, u16)| -> u64 {
            let is_matched = |byte: &u8| low >> (byte & 15) & 1 == 1 && high >> (byte >> 4) & 1 == 1;
            (0..=u8::MAX).filter(is_matched).map(commonness).sum()
        };
        self.0.into_iter().map(matched).product()
    }
}

/// Spreads the fingerprints over groups so that little looks like a member: the commonest first, each to where it adds least.
fn groups(mut members: Vec<Group>) -> Vec<Group> {
    members.sort_by_key(|member| std::cmp::Reverse(member.cost()));
    let mut groups = vec![Group::default(); GROUPS];
    for member in members {
        let added = |group: &&mut Group| group.with(member).cost() - group.cost();
        if let Some(group) = groups.iter_mut().min_by_key(added) {
            *group = group.with(member);
        }
    }
    groups
}

fn tables(members: Vec<Group>) -> [Tables; SETS] {
    let mut tables = [Tables::default(); SETS];
    for (index, Group(bytes)) in groups(members).into_iter().enumerate() {
        let table = &mut tables[index / 8];
        for (at, (low, high)) in bytes.into_iter().enumerate() {
            for half in 0..16 {
                table.low[at][half] |= u8::from(low >> half & 1 == 1) << (index % 8);
                table.high[at][half] |= u8::from(high >> half & 1 == 1) << (index % 8);
            }
        }
    }
    tables
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{BYTES, Blocks, Find, Fingerprints, SETS, Tables, four};

    const BLOCK: usize = 32;
    /// Two blocks, and what the last positions in them see behind.
    const PAIR: usize = 2 * BLOCK + BYTES - 1;

    /// The tables of one set in registers: for each byte of a fingerprint its lower and its upper half.
    type Set = [(__m256i, __m256i); BYTES];

    /// Looks through all pairs of blocks that the haystack has whole.
    #[target_feature(enable = "avx2")]
    pub(super) fn next(
        fingerprints: &Fingerprints,
        haystack: &[u8],
        from: usize,
        find: &impl Fn(usize) -> Option<Find>,
    ) -> Blocks {
        // No closures in what is done for each block: one would not be compiled into what calls it, for want of the feature there.
        let tables = &fingerprints.tables;
        let sets = [set(&tables[0]), set(&tables[1]), set(&tables[2])];
        let mut at = from;
        while let Some(pair) = haystack.get(at..).and_then(<[u8]>::first_chunk::<PAIR>) {
            let (first, second) = (groups::<0>(&sets, pair), groups::<BLOCK>(&sets, pair));
            let both = _mm256_or_si256(first, second);
            if _mm256_testz_si256(both, both) == 0 {
                let mut found = u64::from(positions(first)) | u64::from(positions(second)) << BLOCK;
                while found != 0 {
                    let candidate = found.trailing_zeros() as usize;
                    // Most are none, and the call takes the tables out of the registers.
                    if fingerprints.has(four(&pair[candidate..]))
                        && let Some(find) = find(at + candidate)
                    {
                        return Blocks::Found(find);
                    }
                    found &= found - 1;
                }
            }
            at += 2 * BLOCK;
        }
        Blocks::NoneBefore(at)
    }

    /// A bit for each position that some group is possible at.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn positions(groups: __m256i) -> u32 {
        !_mm256_movemask_epi8(_mm256_cmpeq_epi8(groups, _mm256_setzero_si256())).cast_unsigned()
    }

    #[target_feature(enable = "avx2")]
    fn set(Tables { low, high }: &Tables) -> Set {
        [
            (twice(&low[0]), twice(&high[0])),
            (twice(&low[1]), twice(&high[1])),
            (twice(&low[2]), twice(&high[2])),
            (twice(&low[3]), twice(&high[3])),
        ]
    }

    /// For each of the 32 positions from `AT` on: not 0 if some group's tables agree on all four bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn groups<const AT: usize>(sets: &[Set; SETS], pair: &[u8; PAIR]) -> __m256i {
        let (first, second) = (halves(load(pair, AT)), halves(load(pair, AT + 1)));
        let (third, fourth) = (halves(load(pair, AT + 2)), halves(load(pair, AT + 3)));
        let mut any = _mm256_setzero_si256();
        for set in sets {
            let head = _mm256_and_si256(agree(set[0], first), agree(set[1], second));
            let rest = _mm256_and_si256(agree(set[2], third), agree(set[3], fourth));
            any = _mm256_or_si256(any, _mm256_and_si256(head, rest));
        }
        any
    }

    /// The groups that both halves of a byte are in.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn agree(table: (__m256i, __m256i), halves: (__m256i, __m256i)) -> __m256i {
        _mm256_and_si256(_mm256_shuffle_epi8(table.0, halves.0), _mm256_shuffle_epi8(table.1, halves.1))
    }

    /// The lower and the upper half of each byte.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(bytes: __m256i) -> (__m256i, __m256i) {
        let mask = _mm256_set1_epi8(15);
        (_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(pair: &[u8; PAIR], at: usize) -> __m256i {
        let block: &[u8; BLOCK] =
            pair[at..].first_chunk().expect("at most BLOCK and three more, and so far behind there are 32 bytes");
        #[expect(unsafe_code, reason = "a load takes a pointer")]
        // SAFETY: the pointer is to 32 bytes, and this load wants no alignment.
        unsafe {
            _mm256_loadu_si256(block.as_ptr().cast())
        }
    }

    /// A table for each of the two halves that a shuffle works on.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn twice(table: &[u8; 16]) -> __m256i {
        #[expect(unsafe_code, reason = "a load takes a pointer")]
        // SAFETY: the pointer is to 16 bytes, and this load wants no alignment.
        let half = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        _mm256_broadcastsi128_si256(half)
    }
}
