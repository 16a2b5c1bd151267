//! Eight blocks side by side, and sixteen.

use std::arch::x86_64::*;

use super::sift::Lanes;
use crate::keystream::x86::{state16, state8};
use crate::keystream::Key;
use crate::simd::{Avx2, Avx512};

impl Lanes for Avx512 {
    const BLOCKS: usize = 16;

    #[inline(always)]
    #[allow(unsafe_code)]
    fn screen<const WORDS: usize>(
        self,
        key: &Key,
        first: u64,
        mask: u32,
        top: u32,
        store: &mut [u32; 256],
    ) -> [u64; 2] {
        // SAFETY: the witness shows that the processor has the instructions.
        unsafe { screen16::<WORDS>(key, first, mask, top, store) }
    }
}

impl Lanes for Avx2 {
    const BLOCKS: usize = 8;

    #[inline(always)]
    #[allow(unsafe_code)]
    fn screen<const WORDS: usize>(
        self,
        key: &Key,
        first: u64,
        mask: u32,
        top: u32,
        store: &mut [u32; 256],
    ) -> [u64; 2] {
        // SAFETY: the witness shows that the processor has the instructions.
        unsafe { screen8::<WORDS>(key, first, mask, top, store) }
    }
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
#[allow(unsafe_code)]
fn screen16<const WORDS: usize>(
    key: &Key,
    first: u64,
    mask: u32,
    top: u32,
    store: &mut [u32; 256],
) -> [u64; 2] {
    let words = state16(key, first);
    let (mask, top) = (_mm512_set1_epi32(mask as i32), _mm512_set1_epi32(top as i32));
    let mut passed = _mm512_setzero_si512();
    for (i, draw) in words.chunks_exact(WORDS).enumerate() {
        let lanes = _mm512_cmple_epu32_mask(_mm512_and_si512(draw[WORDS - 1], mask), top);
        passed = _mm512_mask_or_epi32(passed, lanes, passed, _mm512_set1_epi32(1 << i));
    }
    for (store, word) in store.chunks_exact_mut(16).zip(words) {
        // SAFETY: there is room for 64 bytes, and the instruction needs no alignment.
        unsafe { _mm512_storeu_si512(store.as_mut_ptr().cast(), word) }
    }
    let passed = _mm512_cvtepi32_epi8(passed);
    [_mm_cvtsi128_si64(passed) as u64, _mm_extract_epi64::<1>(passed) as u64]
}

#[inline]
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)]
fn screen8<const WORDS: usize>(
    key: &Key,
    first: u64,
    mask: u32,
    top: u32,
    store: &mut [u32; 256],
) -> [u64; 2] {
    let words = state8(key, first);
    let (mask, top) = (_mm256_set1_epi32(mask as i32), _mm256_set1_epi32(top as i32));
    let mut passed = _mm256_setzero_si256();
    for (i, draw) in words.chunks_exact(WORDS).enumerate() {
        let word = _mm256_and_si256(draw[WORDS - 1], mask);
        let lanes = _mm256_cmpeq_epi32(_mm256_min_epu32(word, top), word);
        let bit = _mm256_and_si256(lanes, _mm256_set1_epi32(1 << i));
        passed = _mm256_or_si256(passed, bit);
    }
    for (store, word) in store.chunks_exact_mut(8).zip(words) {
        // SAFETY: there is room for 32 bytes, and the instruction needs no alignment.
        unsafe { _mm256_storeu_si256(store.as_mut_ptr().cast(), word) }
    }
    // The low bytes of four lanes each, in both halves.
    let passed = _mm256_packus_epi32(passed, passed);
    let passed = _mm256_packus_epi16(passed, passed);
    let low = _mm256_extract_epi32::<0>(passed) as u32;
    let high = _mm256_extract_epi32::<4>(passed) as u32;
    [u64::from(low) | u64::from(high) << 32, 0]
}
