//! ChaCha20 with WebAssembly's 128-bit vectors: four blocks at a time.
//!
//! Whether a module may use them is settled when it is compiled (`-C target-feature=+simd128`): there is nothing to ask at run
//! time, so this takes the place of the loop in plain Rust.

use core::arch::wasm32::*;

use super::vectors::{rounds, write4};
use super::{Combine, Key, BLOCK};

pub(super) fn blocks<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    for (i, out) in out.chunks_exact_mut(4 * BLOCK).enumerate() {
        let words = state4(key, first.wrapping_add(4 * i as u64));
        write4!(words, out, C, store, low32, high32, low64, high64);
    }
}

/// The words of four blocks, the first in the lowest lanes.
#[inline(always)]
pub(crate) fn state4(key: &Key, first: u64) -> [v128; 16] {
    let counters: [u64; 4] = std::array::from_fn(|lane| first.wrapping_add(lane as u64));
    let low = counters.map(|counter| counter as u32);
    let high = counters.map(|counter| (counter >> 32) as u32);
    let mut initial = key.0.map(|word| u32x4_splat(word));
    initial[12] = u32x4(low[0], low[1], low[2], low[3]);
    initial[13] = u32x4(high[0], high[1], high[2], high[3]);
    rounds!(&initial, i32x4_add, v128_xor, rotate)
}

#[inline(always)]
fn rotate<const N: u32>(x: v128) -> v128 {
    match N {
        // (The same for 8 takes longer in V8 11: a shuffle of bytes has to load its pattern each time.)
        16 => i16x8_shuffle::<1, 0, 3, 2, 5, 4, 7, 6>(x, x),
        _ => v128_or(u32x4_shl(x, N), u32x4_shr(x, 32 - N)),
    }
}

#[inline(always)]
fn low32(a: v128, b: v128) -> v128 {
    i32x4_shuffle::<0, 4, 1, 5>(a, b)
}

#[inline(always)]
fn high32(a: v128, b: v128) -> v128 {
    i32x4_shuffle::<2, 6, 3, 7>(a, b)
}

#[inline(always)]
fn low64(a: v128, b: v128) -> v128 {
    i64x2_shuffle::<0, 2>(a, b)
}

#[inline(always)]
fn high64(a: v128, b: v128) -> v128 {
    i64x2_shuffle::<1, 3>(a, b)
}

/// Combines a vector of the stream with what is there.
#[inline(always)]
#[allow(unsafe_code)]
fn store<C: Combine>(out: &mut [u8], value: v128) {
    let mut stream = [0; 16];
    // SAFETY: there are 16 bytes, and the instruction needs no alignment.
    unsafe { v128_store(stream.as_mut_ptr().cast(), value) };
    // (Compiled for vectors, it goes from register to register.)
    C::combine(&mut out[..16], &stream);
}
