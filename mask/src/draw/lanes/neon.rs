//! Four blocks side by side, four times.

use std::arch::aarch64::*;

use super::sift::Lanes;
use crate::keystream::neon::state4;
use crate::keystream::Key;
use crate::simd::Neon;

impl Lanes for Neon {
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

#[inline]
#[target_feature(enable = "neon")]
#[allow(unsafe_code)]
fn screen16<const WORDS: usize>(
    key: &Key,
    first: u64,
    mask: u32,
    top: u32,
    store: &mut [u32; 256],
) -> [u64; 2] {
    let (mask, top) = (vdupq_n_u32(mask), vdupq_n_u32(top));
    let mut passed = [vdupq_n_u32(0); 4];
    for (i, passed) in passed.iter_mut().enumerate() {
        let words = state4(key, first.wrapping_add(4 * i as u64));
        // From the last candidate to the first, whose bit is the lowest: each is put in below the others.
        for draw in words.chunks_exact(WORDS).rev() {
            let lanes = vcleq_u32(vandq_u32(draw[WORDS - 1], mask), top);
            *passed = vsliq_n_u32::<1>(lanes, *passed);
        }
        for (row, word) in store.chunks_exact_mut(16).zip(words) {
            // SAFETY: there is room for four words, and the instruction needs no alignment.
            unsafe { vst1q_u32(row[4 * i..4 * i + 4].as_mut_ptr(), word) }
        }
    }
    // The low byte of each lane.
    let [a, b, c, d] = passed.map(|lanes| vreinterpretq_u16_u32(lanes));
    let (low, high) = (vuzp1q_u16(a, b), vuzp1q_u16(c, d));
    let bytes = vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
    let bytes = vreinterpretq_u64_u8(bytes);
    [vgetq_lane_u64::<0>(bytes), vgetq_lane_u64::<1>(bytes)]
}
