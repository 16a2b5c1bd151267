//! ChaCha20 with Neon: four blocks at a time.
//!
//! There are 32 registers, so that all words of four blocks and what is computed with them stay in these. Rotating by 16 is one
//! instruction, by 8 as well (a table look-up), by 12 and 7 two.

use std::arch::aarch64::*;

use super::combine::{ADD32, ADD64, WRITE, XOR};
use super::vectors::{rounds, write4};
use super::{Combine, Key, BLOCK};
use crate::simd::Neon;

#[allow(unsafe_code)]
pub(super) fn blocks<C: Combine>(_: Neon, key: &Key, first: u64, out: &mut [u8]) {
    // SAFETY: the witness shows that the processor has the instructions.
    unsafe { blocks4::<C>(key, first, out) }
}

#[target_feature(enable = "neon")]
fn blocks4<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    for (i, out) in out.chunks_exact_mut(4 * BLOCK).enumerate() {
        let words = state4(key, first.wrapping_add(4 * i as u64));
        write4!(words, out, C, store, vzip1q_u32, vzip2q_u32, low64, high64);
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
    rounds!(&initial, vaddq_u32, veorq_u32, rotate)
}

#[inline]
#[target_feature(enable = "neon")]
fn rotate<const N: i32>(x: uint32x4_t) -> uint32x4_t {
    match N {
        16 => vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(x))),
        12 => vsriq_n_u32::<20>(vshlq_n_u32::<12>(x), x),
        8 => {
            let bytes = [vcreate_u8(0x0605_0407_0201_0003), vcreate_u8(0x0e0d_0c0f_0a09_080b)];
            let bytes = vcombine_u8(bytes[0], bytes[1]);
            vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(x), bytes))
        }
        7 => vsriq_n_u32::<25>(vshlq_n_u32::<7>(x), x),
        _ => unreachable!("ChaCha rotates by 16, 12, 8 and 7 bits"),
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn low64(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    vreinterpretq_u32_u64(vzip1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)))
}

#[inline]
#[target_feature(enable = "neon")]
fn high64(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    vreinterpretq_u32_u64(vzip2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)))
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
