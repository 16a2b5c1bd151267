//! ChaCha20 with Neon: four blocks at a time.
//!
//! There are 32 registers, so that all words of four blocks and what is computed with them stay in these. Rotating by 16 is one
//! instruction, by 8 as well (a table look-up), by 12 and 7 two.

use std::arch::aarch64::*;

use super::combine::{ADD32, ADD64, WRITE, XOR};
use super::{Combine, Key, BLOCK};
use crate::simd::Neon;

/// Four of them side by side, so that no instruction has to wait for the one before it. (A function would not always be
/// inlined, and then all words go through memory.)
macro_rules! quarter_rounds {
    ($s:ident, $by8:ident, $([$a:literal $b:literal $c:literal $d:literal])*) => {
        $($s[$a] = vaddq_u32($s[$a], $s[$b]);)*
        $($s[$d] = rotate16(veorq_u32($s[$d], $s[$a]));)*
        $($s[$c] = vaddq_u32($s[$c], $s[$d]);)*
        $($s[$b] = rotate::<12, 20>(veorq_u32($s[$b], $s[$c]));)*
        $($s[$a] = vaddq_u32($s[$a], $s[$b]);)*
        $($s[$d] = rotate8(veorq_u32($s[$d], $s[$a]), $by8);)*
        $($s[$c] = vaddq_u32($s[$c], $s[$d]);)*
        $($s[$b] = rotate::<7, 25>(veorq_u32($s[$b], $s[$c]));)*
    };
}

#[allow(unsafe_code)]
pub(super) fn blocks<C: Combine>(_: Neon, key: &Key, first: u64, out: &mut [u8]) {
    // SAFETY: the witness shows that the processor has the instructions.
    unsafe { blocks4::<C>(key, first, out) }
}

#[target_feature(enable = "neon")]
fn blocks4<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    for (i, out) in out.chunks_exact_mut(4 * BLOCK).enumerate() {
        let words = state4(key, first.wrapping_add(4 * i as u64));
        for (column, words) in words.chunks_exact(4).enumerate() {
            for (block, words) in
                transpose4([words[0], words[1], words[2], words[3]]).into_iter().enumerate()
            {
                store::<C>(&mut out[BLOCK * block + 16 * column..], words);
            }
        }
    }
}

/// The words of four blocks, the first in the lowest lanes.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn state4(key: &Key, first: u64) -> [uint32x4_t; 16] {
    let lanes = vcombine_u32(vcreate_u32(1 << 32), vcreate_u32(3 << 32 | 2));
    let start = vdupq_n_u32(first as u32);
    let low = vaddq_u32(start, lanes);
    // All ones where there is a carry, which is -1.
    let carry = vcltq_u32(low, start);
    let high = vsubq_u32(vdupq_n_u32((first >> 32) as u32), carry);
    let mut initial = key.0.map(|word| vdupq_n_u32(word));
    initial[12] = low;
    initial[13] = high;
    let by8 = vcombine_u8(vcreate_u8(0x0605_0407_0201_0003), vcreate_u8(0x0e0d_0c0f_0a09_080b));
    let mut s = initial;
    for _ in 0..10 {
        quarter_rounds!(s, by8, [0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15]);
        quarter_rounds!(s, by8, [0 5 10 15] [1 6 11 12] [2 7 8 13] [3 4 9 14]);
    }
    for (word, initial) in s.iter_mut().zip(initial) {
        *word = vaddq_u32(*word, initial);
    }
    s
}

#[inline]
#[target_feature(enable = "neon")]
fn rotate16(x: uint32x4_t) -> uint32x4_t {
    vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(x)))
}

#[inline]
#[target_feature(enable = "neon")]
fn rotate8(x: uint32x4_t, by8: uint8x16_t) -> uint32x4_t {
    vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(x), by8))
}

/// Rotates by `LEFT` bits to the left, which is 32 - `RIGHT`.
#[inline]
#[target_feature(enable = "neon")]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: uint32x4_t) -> uint32x4_t {
    vsriq_n_u32::<RIGHT>(vshlq_n_u32::<LEFT>(x), x)
}

/// From one word of all blocks in a vector to four words of one block.
#[inline]
#[target_feature(enable = "neon")]
fn transpose4([a, b, c, d]: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
    let (ab, cd) = (vzip1q_u32(a, b), vzip1q_u32(c, d));
    let (ab, cd) = (vreinterpretq_u64_u32(ab), vreinterpretq_u64_u32(cd));
    let (first, second) = (vzip1q_u64(ab, cd), vzip2q_u64(ab, cd));
    let (ab, cd) = (vzip2q_u32(a, b), vzip2q_u32(c, d));
    let (ab, cd) = (vreinterpretq_u64_u32(ab), vreinterpretq_u64_u32(cd));
    let (third, fourth) = (vzip1q_u64(ab, cd), vzip2q_u64(ab, cd));
    [first, second, third, fourth].map(|block| vreinterpretq_u32_u64(block))
}

/// Combines a vector of the stream with what is there.
#[inline]
#[target_feature(enable = "neon")]
#[allow(unsafe_code)]
fn store<C: Combine>(out: &mut [u8], value: uint32x4_t) {
    let out = out[..16].as_mut_ptr();
    let value = vreinterpretq_u8_u32(value);
    // SAFETY: there are 16 bytes, and the instructions need no alignment.
    unsafe {
        let value = match C::KIND {
            WRITE => value,
            XOR => veorq_u8(vld1q_u8(out), value),
            ADD32 => {
                let sum =
                    vaddq_u32(vreinterpretq_u32_u8(vld1q_u8(out)), vreinterpretq_u32_u8(value));
                vreinterpretq_u8_u32(sum)
            }
            ADD64 => {
                let sum =
                    vaddq_u64(vreinterpretq_u64_u8(vld1q_u8(out)), vreinterpretq_u64_u8(value));
                vreinterpretq_u8_u64(sum)
            }
            _ => unreachable!("there is no other way to combine"),
        };
        vst1q_u8(out, value);
    }
}
