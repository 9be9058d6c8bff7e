//! Thirty-two positions at once: a byte of a fingerprint is two looks into tables of 16 entries, by its lower and its upper half.

use std::arch::x86_64::*;

use super::{BLOCK, BLOCKS, BYTES, CHUNK, Group, Place, SETS};

const HALF_BLOCK: usize = BLOCK / 2;

/// For each of the four bytes and each half of it: the groups that have it, a bit each.
#[derive(Clone, Copy, Default)]
struct Halves {
    low: [[u8; 16]; BYTES],
    high: [[u8; 16]; BYTES],
}

/// The tables of all groups.
pub(super) struct Tables([Halves; SETS]);

/// Those of one set in registers: for each byte of a fingerprint its lower and its upper half.
type Set = [(__m256i, __m256i); BYTES];

impl Tables {
    /// None if the processor has not what it takes.
    pub(super) fn new(members: &[Group]) -> Option<Self> {
        is_x86_feature_detected!("avx2").then(|| {
            let mut tables = [Halves::default(); SETS];
            for (index, Group(places)) in super::groups(members, Place::has_halves).iter().enumerate() {
                let table = &mut tables[index / 8];
                for (at, place) in places.iter().enumerate() {
                    for half in 0..16 {
                        table.low[at][half] |= u8::from(place.low >> half & 1 == 1) << (index % 8);
                        table.high[at][half] |= u8::from(place.high >> half & 1 == 1) << (index % 8);
                    }
                }
            }
            Self(tables)
        })
    }

    /// A bit for each position in the chunk that some group is possible at.
    pub(super) fn candidates(&self, chunk: &[u8; CHUNK]) -> [u64; BLOCKS] {
        #[expect(unsafe_code, reason = "instructions that not every processor has are behind an unsafe call")]
        // SAFETY: the processor has AVX2, or `new` had given nothing.
        unsafe {
            candidates(&self.0, chunk)
        }
    }
}

#[target_feature(enable = "avx2")]
fn candidates(tables: &[Halves; SETS], chunk: &[u8; CHUNK]) -> [u64; BLOCKS] {
    // No closures: one that is handed to a function without the feature would not be compiled into it.
    let sets = [set(&tables[0]), set(&tables[1]), set(&tables[2])];
    let mut candidates = [0; BLOCKS];
    for (block, candidates) in candidates.iter_mut().enumerate() {
        let (first, second) = (groups(&sets, chunk, block * BLOCK), groups(&sets, chunk, block * BLOCK + HALF_BLOCK));
        let both = _mm256_or_si256(first, second);
        if _mm256_testz_si256(both, both) == 0 {
            *candidates = u64::from(positions(first)) | u64::from(positions(second)) << HALF_BLOCK;
        }
    }
    candidates
}

/// A bit for each position that some group is possible at.
#[inline]
#[target_feature(enable = "avx2")]
fn positions(groups: __m256i) -> u32 {
    !_mm256_movemask_epi8(_mm256_cmpeq_epi8(groups, _mm256_setzero_si256())).cast_unsigned()
}

#[target_feature(enable = "avx2")]
fn set(Halves { low, high }: &Halves) -> Set {
    [
        (twice(&low[0]), twice(&high[0])),
        (twice(&low[1]), twice(&high[1])),
        (twice(&low[2]), twice(&high[2])),
        (twice(&low[3]), twice(&high[3])),
    ]
}

/// For each of the 32 positions from `at` on: not 0 if some group's tables agree on all four bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn groups(sets: &[Set; SETS], chunk: &[u8; CHUNK], at: usize) -> __m256i {
    let (first, second) = (halves(load(&chunk[at..])), halves(load(&chunk[at + 1..])));
    let (third, fourth) = (halves(load(&chunk[at + 2..])), halves(load(&chunk[at + 3..])));
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
fn load(bytes: &[u8]) -> __m256i {
    let block: &[u8; HALF_BLOCK] = bytes.first_chunk().expect("a chunk goes on behind its last block");
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
