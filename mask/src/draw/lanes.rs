//! Draws of two and four words straight from the registers in which the key stream is made.
//!
//! There each vector holds the same word of several blocks. Candidates that begin at an even word (for four
//! words: at a multiple of four) have their last words in the same vectors in all blocks. So they are
//! compared before the words are put into the stream's order, which then only those few need that pass.

#[cfg(not(vector_instructions))]
pub(super) fn draw<E>(
    _: &super::Source<'_>,
    _: &super::super::group::Group<E>,
    _: &mut [E],
) -> Option<super::Drawn> {
    None
}

#[cfg(vector_instructions)]
pub(super) use x86::draw;

#[cfg(vector_instructions)]
#[allow(clippy::incompatible_msrv, reason = "left out by an older compiler: build.rs")]
mod x86 {
    use std::arch::x86_64::*;

    use zeroize::Zeroize;

    use super::super::super::element::Element;
    use super::super::super::group::Group;
    use super::super::super::keystream::x86::{state16, state8};
    use super::super::super::keystream::Key;
    use super::super::{Drawn, Source};
    use crate::simd::{Avx2, Avx512, Kernel, Level};

    /// As [`sieve::draw`](super::super::sieve::draw); nothing if it is not for this.
    pub(in super::super) fn draw<E: Element>(
        source: &Source<'_>,
        group: &Group<E>,
        out: &mut [E],
    ) -> Option<Drawn> {
        // What accepts everything needs all words in order.
        if group.accepts_all() || !source.word.is_multiple_of(group.draw_stride as u64 / 4) {
            return None;
        }
        let level = source.level;
        match (level, group.draw_stride) {
            (Level::Avx512(lanes), 8) => {
                Some(level.run(Sift::<_, _, 2> { lanes, source, group, out }))
            }
            (Level::Avx512(lanes), 16) => {
                Some(level.run(Sift::<_, _, 4> { lanes, source, group, out }))
            }
            (Level::Avx2(lanes), 8) => {
                Some(level.run(Sift::<_, _, 2> { lanes, source, group, out }))
            }
            (Level::Avx2(lanes), 16) => {
                Some(level.run(Sift::<_, _, 4> { lanes, source, group, out }))
            }
            _ => None,
        }
    }

    /// Blocks side by side.
    trait Lanes: Copy {
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

    impl Lanes for Avx512 {
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

    impl Lanes for Avx2 {
        const BLOCKS: usize = 8;

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
            unsafe { screen8::<WORDS>(key, first, mask, top, store) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
    #[allow(unsafe_code)]
    fn screen16<const WORDS: usize>(
        key: &Key,
        first: u64,
        mask: u32,
        top: u32,
        store: &mut [u32; 256],
    ) -> [u64; 2] {
        let words = state16(key, first);
        let (mask, top) = (_mm512_set1_epi32(mask as i32), _mm512_set1_epi32(top as i32));
        let mut passed = _mm512_setzero_si512();
        for (i, draw) in words.chunks_exact(WORDS).enumerate() {
            let lanes = _mm512_cmple_epu32_mask(_mm512_and_si512(draw[WORDS - 1], mask), top);
            passed = _mm512_mask_or_epi32(passed, lanes, passed, _mm512_set1_epi32(1 << i));
        }
        for (store, word) in store.chunks_exact_mut(16).zip(words) {
            // SAFETY: there is room for 64 bytes, and the instruction needs no alignment.
            unsafe { _mm512_storeu_si512(store.as_mut_ptr().cast(), word) }
        }
        let passed = _mm512_cvtepi32_epi8(passed);
        [_mm_cvtsi128_si64(passed) as u64, _mm_extract_epi64::<1>(passed) as u64]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    #[allow(unsafe_code)]
    fn screen8<const WORDS: usize>(
        key: &Key,
        first: u64,
        mask: u32,
        top: u32,
        store: &mut [u32; 256],
    ) -> [u64; 2] {
        let words = state8(key, first);
        let (mask, top) = (_mm256_set1_epi32(mask as i32), _mm256_set1_epi32(top as i32));
        let mut passed = _mm256_setzero_si256();
        for (i, draw) in words.chunks_exact(WORDS).enumerate() {
            let word = _mm256_and_si256(draw[WORDS - 1], mask);
            let lanes = _mm256_cmpeq_epi32(_mm256_min_epu32(word, top), word);
            let bit = _mm256_and_si256(lanes, _mm256_set1_epi32(1 << i));
            passed = _mm256_or_si256(passed, bit);
        }
        for (store, word) in store.chunks_exact_mut(8).zip(words) {
            // SAFETY: there is room for 32 bytes, and the instruction needs no alignment.
            unsafe { _mm256_storeu_si256(store.as_mut_ptr().cast(), word) }
        }
        // The low bytes of four lanes each, in both halves.
        let passed = _mm256_packus_epi32(passed, passed);
        let passed = _mm256_packus_epi16(passed, passed);
        let low = _mm256_extract_epi32::<0>(passed) as u32;
        let high = _mm256_extract_epi32::<4>(passed) as u32;
        [u64::from(low) | u64::from(high) << 32, 0]
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
        use super::super::super::super::config::MaskConfig;
        use super::super::super::super::keystream::blocks;
        use super::super::super::super::MaskSeed;
        use super::super::super::sieve::sift;
        use super::*;

        #[test]
        fn draws_of_two_and_four_words_go_this_way() {
            let key = Key::new(&MaskSeed::new([7; 32]));
            // 45, 128 and 88 bits, and 64 bits that are all numbers.
            let groups = [[1, 0, 0, 3], [1, 1, 6, 12], [1, 1, 0, 6], [17, 0, 0, 3]]
                .map(|bytes| Group::<u128>::new(MaskConfig::from_bytes(bytes).unwrap()));
            assert_eq!(groups.map(|group| group.draw_stride), [8, 16, 12, 8]);
            for &level in Level::available() {
                for (group, words) in groups.iter().zip([2, 4, 3, 2]) {
                    for word in 0..8 {
                        let source = Source { level, key: &key, word, candidates: 40 };
                        let mut out = [0; 50];
                        let drawn = draw(&source, group, &mut out);
                        let fits = level != Level::Portable && words != 3 && !group.accepts_all();
                        assert_eq!(drawn.is_some(), fits && word % words == 0, "{level:?} {word}");
                        let Some(drawn) = drawn else { continue };
                        // All candidates, and as many numbers of them as the other sieve finds.
                        let mut stream = vec![0; 64 * 64];
                        blocks(level, &key, 0, &mut stream);
                        let mut expected = [0; 50];
                        let bytes = &stream[4 * word as usize..];
                        let sifted = sift(Level::Portable, bytes, 40, group, &mut expected);
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
}
