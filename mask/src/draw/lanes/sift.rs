//! Candidates that pass the comparison become numbers.

use zeroize::Zeroize;

use super::super::{Drawn, Source};
use crate::element::Element;
use crate::group::Group;
use crate::keystream::Key;
use crate::simd::{Kernel, Level};

/// As [`sieve::draw`](super::super::sieve::draw); nothing if it is not for this.
pub(in super::super) fn draw<E: Element>(
    source: &Source<'_>,
    group: &Group<E>,
    out: &mut [E],
) -> Option<Drawn> {
    // What accepts everything needs all words in order.
    // (`is_multiple_of` would take a newer compiler than WebAssembly's loops do.)
    #[allow(clippy::manual_is_multiple_of)]
    if group.accepts_all() || source.word % (group.draw_stride as u64 / 4) != 0 {
        return None;
    }
    match source.level {
        #[cfg(simd128)]
        Level::Portable => draw_with(super::wasm::Simd128, source, group, out),
        #[cfg(not(simd128))]
        Level::Portable => None,
        #[cfg(avx)]
        Level::Avx2(lanes) => draw_with(lanes, source, group, out),
        #[cfg(avx)]
        Level::Avx512(lanes) => draw_with(lanes, source, group, out),
        #[cfg(neon)]
        Level::Neon(lanes) => draw_with(lanes, source, group, out),
    }
}

fn draw_with<E: Element, L: Lanes>(
    lanes: L,
    source: &Source<'_>,
    group: &Group<E>,
    out: &mut [E],
) -> Option<Drawn> {
    match group.draw_stride {
        8 => Some(source.level.run(Sift::<_, _, 2> { lanes, source, group, out })),
        16 => Some(source.level.run(Sift::<_, _, 4> { lanes, source, group, out })),
        _ => None,
    }
}

/// Blocks side by side.
pub(super) trait Lanes: Copy {
    /// How many.
    const BLOCKS: usize;

    /// Makes the blocks from `first` on, word i of block j at index i * BLOCKS + j. Returns for each
    /// candidate of `WORDS` words whether its last word, masked, is at most `top`: that of candidate i of
    /// block j is bit 8 * j + i.
    fn screen<const WORDS: usize>(
        self,
        key: &Key,
        first: u64,
        mask: u32,
        top: u32,
        store: &mut [u32; 256],
    ) -> [u64; 2];
}

/// The words of some blocks, wiped on drop.
#[repr(align(64))]
struct Store([u32; 256]);

impl Drop for Store {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

struct Sift<'a, E, L, const WORDS: usize> {
    lanes: L,
    source: &'a Source<'a>,
    group: &'a Group<E>,
    out: &'a mut [E],
}

impl<E: Element, L: Lanes, const WORDS: usize> Kernel for Sift<'_, E, L, WORDS> {
    type Output = Drawn;

    #[inline(always)]
    fn run(self) -> Drawn {
        let Sift { lanes, source, group, out } = self;
        let in_block = 16 / WORDS;
        let masks = [0, 1].map(|i| match group.draw_bytes.saturating_sub(8 * i) {
            0 => 0,
            bytes => u64::MAX >> (64 - 8 * bytes.min(8)),
        });
        let mut store = Store([0; 256]);
        let mut block = source.word / 16;
        // Candidates before the first in its block, and candidates before the block at hand, counted from
        // there.
        let skipped = source.word as usize % 16 / WORDS;
        let mut before = 0;
        let end = source.candidates.saturating_add(skipped as u64);
        let mut next = 0;
        while before < end {
            let (mask, top) = (group.draw_top_mask, group.draw_top);
            let mut passed = lanes.screen::<WORDS>(source.key, block, mask, top, &mut store.0);
            if before == 0 {
                passed[0] &= u64::MAX << skipped;
            }
            let left = end - before;
            if left < (L::BLOCKS * in_block) as u64 {
                // Bit of the first candidate that is none any more.
                let left = left as usize;
                let bit = left / in_block * 8 + left % in_block;
                let keep = u128::MAX >> 1 >> (127 - bit);
                passed[0] &= keep as u64;
                passed[1] &= (keep >> 64) as u64;
            }
            for (half, mut passed) in passed.into_iter().enumerate() {
                while passed != 0 {
                    let bit = 64 * half + passed.trailing_zeros() as usize;
                    let (lane, i) = (bit / 8, bit % 8);
                    passed &= passed - 1;
                    let word = |w: usize| store.0[((i * WORDS + w) * L::BLOCKS + lane) & 255];
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
            }
            block = block.wrapping_add(L::BLOCKS as u64);
            before += (L::BLOCKS * in_block) as u64;
        }
        Drawn { numbers: next, candidates: before.min(end) - skipped as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sieve::sift;
    use super::*;
    use crate::keystream::blocks;
    use crate::{MaskConfig, MaskSeed};

    #[test]
    fn draws_of_two_and_four_words_go_this_way() {
        let key = Key::new(&MaskSeed::new([7; 32]));
        // 45, 128 and 88 bits, and 64 bits that are all numbers.
        let groups = [[1, 0, 0, 3], [1, 1, 6, 12], [1, 1, 0, 6], [17, 0, 0, 3]]
            .map(|bytes| Group::<u128>::new(MaskConfig::from_bytes(bytes).unwrap()));
        assert_eq!(groups.map(|group| group.draw_stride), [8, 16, 12, 8]);
        for &level in Level::available() {
            for (group, words) in groups.iter().zip([2, 4, 3, 2]) {
                for (word, count) in (0..8).flat_map(|word| [1, 7, 40].map(|count| (word, count))) {
                    let source = Source { level, key: &key, word, candidates: count };
                    let mut out = [0; 50];
                    let drawn = draw(&source, group, &mut out);
                    let here = level != Level::Portable || cfg!(simd128);
                    let fits = here && words != 3 && !group.accepts_all();
                    assert_eq!(drawn.is_some(), fits && word % words == 0, "{level:?} {word}");
                    let Some(drawn) = drawn else { continue };
                    // All candidates, and as many numbers of them as the other sieve finds.
                    let mut stream = vec![0; 64 * 64];
                    blocks(level, &key, 0, &mut stream);
                    let mut expected = [0; 50];
                    let bytes = &stream[4 * word as usize..];
                    let sifted = sift(Level::Portable, bytes, count as usize, group, &mut expected);
                    assert_eq!(drawn, sifted);
                    assert_eq!(out[..drawn.numbers], expected[..drawn.numbers]);
                }
            }
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn store_is_wiped() {
        let mut store = std::mem::ManuallyDrop::new(Store([7; 256]));
        // SAFETY: it is dropped once, and holds plain integers, which are there after that.
        unsafe { std::mem::ManuallyDrop::drop(&mut store) };
        assert!(store.0.iter().all(|&word| word == 0));
    }
}
