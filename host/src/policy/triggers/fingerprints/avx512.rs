//! Sixty-four positions at once: a byte of a fingerprint is one look into a table of 64 entries, by its lower six bits.

use std::arch::x86_64::*;

use super::{BLOCK, BLOCKS, BYTES, CHUNK, Group, Place, SETS};

/// For each of the four bytes: the groups that have a byte with these lower six bits, a bit each.
pub(super) struct Tables([[[u8; 64]; BYTES]; SETS]);

impl Tables {
    /// None if the processor has not what it takes.
    pub(super) fn new(members: &[Group]) -> Option<Self> {
        (is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vbmi")).then(|| {
            let mut tables = [[[0; 64]; BYTES]; SETS];
            for (index, Group(places)) in super::groups(members, Place::has_low_six).iter().enumerate() {
                for (table, place) in tables[index / 8].iter_mut().zip(places) {
                    for (bits, entry) in table.iter_mut().enumerate() {
                        *entry |= u8::from(place.low_six >> bits & 1 == 1) << (index % 8);
                    }
                }
            }
            Self(tables)
        })
    }

    /// A bit for each position in the chunk that some group is possible at.
    pub(super) fn candidates(&self, chunk: &[u8; CHUNK]) -> [u64; BLOCKS] {
        #[expect(unsafe_code, reason = "instructions that not every processor has are behind an unsafe call")]
        // SAFETY: the processor has them, or `new` had given nothing.
        unsafe {
            candidates(&self.0, chunk)
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn candidates(tables: &[[[u8; 64]; BYTES]; SETS], chunk: &[u8; CHUNK]) -> [u64; BLOCKS] {
    // No closures: one that is handed to a function without the features would not be compiled into it.
    let sets = [set(&tables[0]), set(&tables[1]), set(&tables[2])];
    let mut candidates = [0; BLOCKS];
    for (block, candidates) in candidates.iter_mut().enumerate() {
        let at = block * BLOCK;
        let bytes = [load(&chunk[at..]), load(&chunk[at + 1..]), load(&chunk[at + 2..]), load(&chunk[at + 3..])];
        let mut any = _mm512_setzero_si512();
        for set in &sets {
            let head = _mm512_and_si512(_mm512_permutexvar_epi8(bytes[0], set[0]), _mm512_permutexvar_epi8(bytes[1], set[1]));
            let rest = _mm512_and_si512(_mm512_permutexvar_epi8(bytes[2], set[2]), _mm512_permutexvar_epi8(bytes[3], set[3]));
            any = _mm512_or_si512(any, _mm512_and_si512(head, rest));
        }
        *candidates = _mm512_test_epi8_mask(any, any);
    }
    candidates
}

#[inline]
#[target_feature(enable = "avx512f")]
fn set(tables: &[[u8; 64]; BYTES]) -> [__m512i; BYTES] {
    [load(&tables[0]), load(&tables[1]), load(&tables[2]), load(&tables[3])]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8]) -> __m512i {
    let block: &[u8; BLOCK] = bytes.first_chunk().expect("a chunk goes on behind its last block, and a table has 64 bytes");
    #[expect(unsafe_code, reason = "a load takes a pointer")]
    // SAFETY: the pointer is to 64 bytes, and this load wants no alignment.
    unsafe {
        _mm512_loadu_si512(block.as_ptr().cast())
    }
}
