//! ChaCha20 with WebAssembly's 128-bit vectors: four blocks at a time.
//!
//! Whether a module may use them is settled when it is compiled (`-C target-feature=+simd128`): there is nothing to ask at run
//! time, so this takes the place of the loop in plain Rust.

use core::arch::wasm32::*;

use super::{Combine, Key, BLOCK};

/// A double round on a state of vectors.
macro_rules! double_round {
    ($s:ident) => {
        double_round!(@four $s, [0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15]);
        double_round!(@four $s, [0 5 10 15] [1 6 11 12] [2 7 8 13] [3 4 9 14]);
    };
    (@four $s:ident, $([$a:literal $b:literal $c:literal $d:literal])*) => {
        $($s[$a] = i32x4_add($s[$a], $s[$b]);)*
        $($s[$d] = rotate::<16>(v128_xor($s[$d], $s[$a]));)*
        $($s[$c] = i32x4_add($s[$c], $s[$d]);)*
        $($s[$b] = rotate::<12>(v128_xor($s[$b], $s[$c]));)*
        $($s[$a] = i32x4_add($s[$a], $s[$b]);)*
        $($s[$d] = rotate::<8>(v128_xor($s[$d], $s[$a]));)*
        $($s[$c] = i32x4_add($s[$c], $s[$d]);)*
        $($s[$b] = rotate::<7>(v128_xor($s[$b], $s[$c]));)*
    };
}

pub(super) fn blocks<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    for (i, out) in out.chunks_exact_mut(4 * BLOCK).enumerate() {
        let words = state4(key, first.wrapping_add(4 * i as u64));
        for (column, words) in words.chunks_exact(4).enumerate() {
            let (a, b, c, d) = (words[0], words[1], words[2], words[3]);
            let (ab, cd) = (low32(a, b), low32(c, d));
            store::<C>(&mut out[16 * column..], low64(ab, cd));
            store::<C>(&mut out[BLOCK + 16 * column..], high64(ab, cd));
            let (ab, cd) = (high32(a, b), high32(c, d));
            store::<C>(&mut out[2 * BLOCK + 16 * column..], low64(ab, cd));
            store::<C>(&mut out[3 * BLOCK + 16 * column..], high64(ab, cd));
        }
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
    let mut s = initial;
    for _ in 0..10 {
        double_round!(s);
    }
    for (word, initial) in s.iter_mut().zip(initial) {
        *word = i32x4_add(*word, initial);
    }
    s
}

#[inline(always)]
fn rotate<const N: u32>(x: v128) -> v128 {
    match N {
        // (The same for 8 takes longer in V8 11: a shuffle of bytes has to load its pattern each time.)
        16 => i16x8_shuffle::<1, 0, 3, 2, 5, 4, 7, 6>(x, x),
        _ => v128_or(u32x4_shl(x, N), u32x4_shr(x, 32 - N)),
    }
}

// Two vectors' lower or upper halves, one after the other, by 32 or 64 bits.

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
