//! Four blocks side by side, with WebAssembly's vectors.

use core::arch::wasm32::*;

use super::sift::Lanes;
use crate::keystream::wasm::state4;
use crate::keystream::Key;

/// What a module has that is compiled with them.
#[derive(Clone, Copy)]
pub(super) struct Simd128;

impl Lanes for Simd128 {
    const BLOCKS: usize = 4;

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
        let words = state4(key, first);
        let (mask, top) = (u32x4_splat(mask), u32x4_splat(top));
        let mut passed = u32x4_splat(0);
        for (i, draw) in words.chunks_exact(WORDS).enumerate() {
            let lanes = u32x4_le(v128_and(draw[WORDS - 1], mask), top);
            passed = v128_or(passed, v128_and(lanes, u32x4_splat(1 << i)));
        }
        for (store, word) in store.chunks_exact_mut(4).zip(words) {
            // SAFETY: there is room for 16 bytes, and the instruction needs no alignment.
            unsafe { v128_store(store.as_mut_ptr().cast(), word) };
        }
        // The low bytes of all lanes.
        let passed = u16x8_narrow_i32x4(passed, passed);
        let passed = u32x4_extract_lane::<0>(u8x16_narrow_i16x8(passed, passed));
        [u64::from(passed), 0]
    }
}
