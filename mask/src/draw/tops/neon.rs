//! Comparing with Neon.

use std::arch::aarch64::*;

use crate::simd::Neon;

/// The bits of those of 64 words whose masked value is at most `top`.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn pass(_: Neon, words: &[u8; 256], mask: u32, top: u32) -> u64 {
    // SAFETY: the witness shows that the processor has the instructions.
    unsafe { compare(words, mask, top) }
}

#[inline]
#[target_feature(enable = "neon")]
fn compare(words: &[u8; 256], mask: u32, top: u32) -> u64 {
    let (mask, top) = (vdupq_n_u32(mask), vdupq_n_u32(top));
    // Bit i for the byte at i, in either half.
    let bits = vcreate_u8(0x8040_2010_0804_0201);
    let bits = vcombine_u8(bits, bits);
    let mut passed = [vdupq_n_u8(0); 4];
    for (passed, words) in passed.iter_mut().zip(words.chunks_exact(64)) {
        let lanes = [0, 1, 2, 3].map(|i| vcleq_u32(vandq_u32(load(&words[16 * i..]), mask), top));
        // Half of each lane says the same, and half of that: 16 bytes in order.
        let low = vuzp1q_u16(vreinterpretq_u16_u32(lanes[0]), vreinterpretq_u16_u32(lanes[1]));
        let high = vuzp1q_u16(vreinterpretq_u16_u32(lanes[2]), vreinterpretq_u16_u32(lanes[3]));
        let bytes = vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
        *passed = vandq_u8(bytes, bits);
    }
    // Three times the sums of neighbours: the bits of eight words in each byte.
    let [a, b, c, d] = passed;
    let sums = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)))
}

#[inline]
#[target_feature(enable = "neon")]
#[allow(unsafe_code)]
fn load(words: &[u8]) -> uint32x4_t {
    // SAFETY: these are 16 bytes, and the instruction needs no alignment.
    vreinterpretq_u32_u8(unsafe { vld1q_u8(words[..16].as_ptr()) })
}
