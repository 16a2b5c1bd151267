//! Which candidates' last words are not above that of the largest number.

use super::super::group::Group;
#[cfg(neon)]
use crate::simd::Neon;
#[cfg(avx)]
use crate::simd::{Avx2, Avx512};

/// A way to compare them.
pub(super) trait Tops: Copy {
    /// Looks at the last words of `count` candidates, the first one at `bytes[at..]`; the bit of the n-th
    /// 32-bit word from there is set if it is the last word of one of them and not too large. All must lie in
    /// 64 words.
    fn pass<E>(self, bytes: &[u8], at: usize, count: usize, group: &Group<E>) -> u64;
}

/// One by one.
#[derive(Clone, Copy)]
pub(super) struct PlainTops;

impl Tops for PlainTops {
    #[inline(always)]
    fn pass<E>(self, bytes: &[u8], at: usize, count: usize, group: &Group<E>) -> u64 {
        let bytes = &bytes[at..];
        let mut passed = 0;
        for i in 0..count {
            let at = i * group.draw_stride;
            let word = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            let word = u32::from_le_bytes(word.unwrap_or_default()) & group.draw_top_mask;
            passed |= u64::from(word <= group.draw_top) << (at / 4);
        }
        passed
    }
}

#[cfg(simd128)]
pub(super) use wasm::WasmTops as PortableTops;
/// What is used where the processor is not asked.
#[cfg(not(simd128))]
pub(super) use PlainTops as PortableTops;

/// Bits 0, `words`, 2 * `words` and so on, `count` of them.
#[cfg(any(vector_instructions, simd128))]
#[inline(always)]
fn every(words: usize, count: usize) -> u64 {
    let all = match words {
        2 => 0x5555_5555_5555_5555,
        3 => 0x9249_2492_4924_9249,
        4 => 0x1111_1111_1111_1111,
        _ => (0..64).step_by(words).fold(0, |bits, bit| bits | 1 << bit),
    };
    let last = words * (count - 1);
    all & (u64::MAX >> (63 - last))
}

/// All words are compared, and the bits of the others are dropped.
#[cfg(any(vector_instructions, simd128))]
macro_rules! vector_tops {
    ($witness:ty, $compare:path) => {
        impl Tops for $witness {
            #[inline(always)]
            fn pass<E>(self, bytes: &[u8], at: usize, count: usize, group: &Group<E>) -> u64 {
                let window = bytes.get(at..at + 256).and_then(|bytes| bytes.try_into().ok());
                match window {
                    // For long draws most words would be compared in vain.
                    Some(window) if count > 4 => {
                        let passed = $compare(self, window, group.draw_top_mask, group.draw_top);
                        passed & every(group.draw_stride / 4, count)
                    }
                    _ => PlainTops.pass(bytes, at, count, group),
                }
            }
        }
    };
}

#[cfg(avx)]
vector_tops!(Avx2, x86::pass_avx2);
#[cfg(avx)]
vector_tops!(Avx512, x86::pass_avx512);
#[cfg(neon)]
vector_tops!(Neon, neon::pass);

#[cfg(neon)]
mod neon;

#[cfg(avx)]
#[allow(clippy::incompatible_msrv, reason = "left out by an older compiler: build.rs")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::simd::{Avx2, Avx512};

    /// The bits of those of 64 words whose masked value is at most `top`.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(super) fn pass_avx512(_: Avx512, words: &[u8; 256], mask: u32, top: u32) -> u64 {
        // SAFETY: the witness shows that the processor has the instructions.
        unsafe { compare_avx512(words, mask, top) }
    }

    /// The same.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(super) fn pass_avx2(_: Avx2, words: &[u8; 256], mask: u32, top: u32) -> u64 {
        // SAFETY: the witness shows that the processor has the instructions.
        unsafe { compare_avx2(words, mask, top) }
    }

    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
    #[allow(unsafe_code)]
    fn compare_avx512(words: &[u8; 256], mask: u32, top: u32) -> u64 {
        let (mask, top) = (_mm512_set1_epi32(mask as i32), _mm512_set1_epi32(top as i32));
        let mut passed = 0;
        for (i, words) in words.chunks_exact(64).enumerate() {
            // SAFETY: these are 64 bytes, and the instruction needs no alignment.
            let words = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
            let bits = _mm512_cmple_epu32_mask(_mm512_and_si512(words, mask), top);
            passed |= u64::from(bits) << (16 * i);
        }
        passed
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    #[allow(unsafe_code)]
    fn compare_avx2(words: &[u8; 256], mask: u32, top: u32) -> u64 {
        let (mask, top) = (_mm256_set1_epi32(mask as i32), _mm256_set1_epi32(top as i32));
        let mut passed = 0;
        for (i, words) in words.chunks_exact(32).enumerate() {
            // SAFETY: these are 32 bytes, and the instruction needs no alignment.
            let words = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
            let words = _mm256_and_si256(words, mask);
            let least = _mm256_cmpeq_epi32(_mm256_min_epu32(words, top), words);
            let bits = _mm256_movemask_ps(_mm256_castsi256_ps(least));
            passed |= u64::from(bits as u32) << (8 * i);
        }
        passed
    }
}

#[cfg(simd128)]
mod wasm {
    use core::arch::wasm32::*;

    use super::{every, Group, PlainTops, Tops};

    /// With WebAssembly's 128-bit vectors, four words at a time.
    #[derive(Clone, Copy)]
    pub(in super::super) struct WasmTops;

    vector_tops!(WasmTops, pass);

    #[inline(always)]
    fn pass(_: WasmTops, words: &[u8; 256], mask: u32, top: u32) -> u64 {
        let (mask, top) = (u32x4_splat(mask), u32x4_splat(top));
        let mut passed = 0;
        for (i, words) in words.chunks_exact(16).enumerate() {
            let mut whole = [0; 16];
            whole.copy_from_slice(words);
            let number = |at: usize| {
                u64::from_le_bytes([
                    whole[at],
                    whole[at + 1],
                    whole[at + 2],
                    whole[at + 3],
                    whole[at + 4],
                    whole[at + 5],
                    whole[at + 6],
                    whole[at + 7],
                ])
            };
            let words = v128_and(u64x2(number(0), number(8)), mask);
            passed |= u64::from(i32x4_bitmask(u32x4_le(words, top))) << (4 * i);
        }
        passed
    }
}
