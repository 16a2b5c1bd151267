//! Draws of two and four words straight from the registers in which the key stream is made, with WebAssembly's vectors:
//! what [`lanes`](super::lanes) says, four blocks at a time.

use core::arch::wasm32::*;

use zeroize::Zeroize;

use super::super::element::Element;
use super::super::group::Group;
use super::super::keystream::wasm::state4;
use super::{Drawn, Source};

/// Blocks side by side.
const BLOCKS: usize = 4;

/// As [`sieve::draw`](super::sieve::draw); nothing if it is not for this.
pub(super) fn draw<E: Element>(
    source: &Source<'_>,
    group: &Group<E>,
    out: &mut [E],
) -> Option<Drawn> {
    // What accepts everything needs all words in order.
    if group.accepts_all() || source.word % (group.draw_stride as u64 / 4) != 0 {
        return None;
    }
    match group.draw_stride {
        8 => Some(sift::<E, 2>(source, group, out)),
        16 => Some(sift::<E, 4>(source, group, out)),
        _ => None,
    }
}

/// The words of some blocks, wiped on drop: word i of block j at index i * BLOCKS + j.
struct Store([u32; 16 * BLOCKS]);

impl Drop for Store {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whether the last words of candidates are not too large: that of candidate i of block j is bit 8 * j + i.
#[inline(always)]
fn screen<const WORDS: usize>(words: &[v128; 16], mask: v128, top: v128) -> u32 {
    let mut passed = u32x4_splat(0);
    for (i, draw) in words.chunks_exact(WORDS).enumerate() {
        let lanes = u32x4_le(v128_and(draw[WORDS - 1], mask), top);
        passed = v128_or(passed, v128_and(lanes, u32x4_splat(1 << i)));
    }
    // The low bytes of all lanes.
    let passed = u16x8_narrow_i32x4(passed, passed);
    u32x4_extract_lane::<0>(u8x16_narrow_i16x8(passed, passed))
}

#[allow(unsafe_code)]
fn sift<E: Element, const WORDS: usize>(
    source: &Source<'_>,
    group: &Group<E>,
    out: &mut [E],
) -> Drawn {
    let in_block = 16 / WORDS;
    let masks = [0, 1].map(|i| match group.draw_bytes.saturating_sub(8 * i) {
        0 => 0,
        bytes => u64::MAX >> (64 - 8 * bytes.min(8)),
    });
    let (mask, top) = (u32x4_splat(group.draw_top_mask), u32x4_splat(group.draw_top));
    let mut store = Store([0; 16 * BLOCKS]);
    let mut block = source.word / 16;
    // Candidates before the first in its block, and candidates before the block at hand, counted from there.
    let skipped = source.word as usize % 16 / WORDS;
    let mut before = 0;
    let end = source.candidates.saturating_add(skipped as u64);
    let mut next = 0;
    while before < end {
        let words = state4(source.key, block);
        let mut passed = screen::<WORDS>(&words, mask, top);
        for (store, word) in store.0.chunks_exact_mut(BLOCKS).zip(words) {
            // SAFETY: there is room for 16 bytes, and the instruction needs no alignment.
            unsafe { v128_store(store.as_mut_ptr().cast(), word) };
        }
        if before == 0 {
            passed &= u32::MAX << skipped;
        }
        let left = end - before;
        if left < (BLOCKS * in_block) as u64 {
            // Bit of the first candidate that is none any more.
            let left = left as usize;
            passed &= (1u32 << (left / in_block * 8 + left % in_block)) - 1;
        }
        while passed != 0 {
            let bit = passed.trailing_zeros() as usize;
            let (lane, i) = (bit / 8, bit % 8);
            passed &= passed - 1;
            let word = |w: usize| store.0[((i * WORDS + w) * BLOCKS + lane) & 63];
            let pair = |w: usize| u64::from(word(w)) | u64::from(word(w + 1)) << 32;
            let number = match WORDS {
                2 => E::from_words(&[pair(0) & masks[0]]),
                _ => E::from_words(&[pair(0) & masks[0], pair(2) & masks[1]]),
            };
            // As in the other sieve: written in any case, and kept by moving on.
            out[next] = number;
            next += usize::from(number.at_most(group.max));
            if next == out.len() {
                let used = before + (lane * in_block + i) as u64 + 1;
                return Drawn { numbers: next, candidates: used - skipped as u64 };
            }
        }
        block = block.wrapping_add(BLOCKS as u64);
        before += (BLOCKS * in_block) as u64;
    }
    Drawn { numbers: next, candidates: before.min(end) - skipped as u64 }
}

#[cfg(test)]
mod tests {
    use super::super::super::config::MaskConfig;
    use super::super::super::keystream::{blocks, Key};
    use super::super::super::MaskSeed;
    use super::super::sieve;
    use super::*;
    use crate::simd::Level;

    #[test]
    fn draws_of_two_and_four_words_go_this_way() {
        let key = Key::new(&MaskSeed::new([7; 32]));
        // 45, 128 and 88 bits, and 64 bits that are all numbers.
        let groups = [[1, 0, 0, 3], [1, 1, 6, 12], [1, 1, 0, 6], [17, 0, 0, 3]]
            .map(|bytes| Group::<u128>::new(MaskConfig::from_bytes(bytes).unwrap()));
        for (group, words) in groups.iter().zip([2, 4, 3, 2]) {
            for (word, candidates) in (0..8).flat_map(|word| [1, 7, 40].map(|count| (word, count)))
            {
                let source = Source { level: Level::Portable, key: &key, word, candidates };
                let mut out = [0; 50];
                let drawn = draw(&source, group, &mut out);
                let fits = words != 3 && !group.accepts_all() && word % words == 0;
                assert_eq!(drawn.is_some(), fits, "{word}");
                let Some(drawn) = drawn else { continue };
                // All candidates, and as many numbers of them as the other sieve finds.
                let mut stream = vec![0; 64 * 64];
                blocks(Level::Portable, &key, 0, &mut stream);
                let mut expected = [0; 50];
                let bytes = &stream[4 * word as usize..];
                let sifted =
                    sieve::sift(Level::Portable, bytes, candidates as usize, group, &mut expected);
                assert_eq!(drawn, sifted);
                assert_eq!(out[..drawn.numbers], expected[..drawn.numbers]);
            }
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn store_is_wiped() {
        let mut store = std::mem::ManuallyDrop::new(Store([7; 16 * BLOCKS]));
        // SAFETY: it is dropped once, and holds plain integers, which are there after that.
        unsafe { std::mem::ManuallyDrop::drop(&mut store) };
        assert!(store.0.iter().all(|&word| word == 0));
    }
}
