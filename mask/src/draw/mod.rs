//! Drawing group elements from the key stream, by rejection (spec section 5).
//!
//! Candidate k of a vector sits at a fixed place of the stream, so that any stretch of candidates can be
//! drawn by itself; only which number of the vector it becomes depends on what was accepted before.

mod lanes;
mod sieve;
mod tops;

use std::ops::Range;

use super::element::Element;
use super::group::{with_elements, Elements, Group};
use super::keystream::{Key, BLOCK};
use super::seed::MaskSeed;
use crate::simd::Level;

/// A place in a key stream, from where numbers are drawn one after another. Small, since sum
/// participants hold thousands.
#[derive(Clone)]
pub(crate) struct Draws {
    seed: MaskSeed,
    /// The next unread 32-bit word.
    word: u64,
}

/// What a sieve did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Drawn {
    /// How many numbers it wrote.
    numbers: usize,
    /// How many candidates are used up.
    candidates: u64,
}

/// Where a sieve takes candidates from.
struct Source<'a> {
    level: Level,
    key: &'a Key,
    /// The first word of the first candidate.
    word: u64,
    /// How many candidates there are.
    candidates: u64,
}

impl Draws {
    /// The beginning of a stream.
    pub(crate) fn new(seed: &MaskSeed) -> Self {
        Draws { seed: seed.clone(), word: 0 }
    }

    /// Draws the next numbers.
    pub(crate) fn fill<E: Element>(&mut self, group: &Group<E>, out: &mut [E]) {
        self.fill_at(Level::detected(), group, out);
    }

    fn fill_at<E: Element>(&mut self, level: Level, group: &Group<E>, out: &mut [E]) {
        let key = Key::new(&self.seed);
        let mut filled = 0;
        while filled < out.len() {
            let source = Source { level, key: &key, word: self.word, candidates: u64::MAX };
            let drawn = sieve::draw(&source, group, &mut out[filled..]);
            filled += drawn.numbers;
            self.word = self.word.wrapping_add(drawn.candidates.wrapping_mul(words(group)));
        }
    }

    /// Adds the next numbers to sums, of a [word group](Group::is_word). False, with nothing changed, for any other and
    /// where the numbers begin in the middle of a word.
    pub(crate) fn add<E: Element>(&mut self, group: &Group<E>, sums: &mut [E]) -> bool {
        self.add_at(Level::detected(), group, sums)
    }

    fn add_at<E: Element>(&mut self, level: Level, group: &Group<E>, sums: &mut [E]) -> bool {
        let at = self.word.wrapping_mul(4);
        let added = group.is_word() && E::add_stream(level, &Key::new(&self.seed), at, sums);
        if added {
            self.word = self.word.wrapping_add(words(group).wrapping_mul(sums.len() as u64));
        }
        added
    }

    /// Appends the numbers that a range of candidates gives; those from the present place on are counted
    /// from 0.
    fn stretch_at<E: Element>(
        &self,
        level: Level,
        group: &Group<E>,
        candidates: Range<u64>,
        out: &mut Vec<E>,
    ) {
        let key = Key::new(&self.seed);
        let mut next = candidates.start;
        while next < candidates.end {
            let left = candidates.end - next;
            // Room for what is to be expected and some more, so that one turn nearly always does.
            let expected = left as f64 * group.acceptance();
            let room = (expected + 6.0 * expected.sqrt() + 8.0).min(left as f64) as usize;
            let start = out.len();
            out.resize(start + room, E::default());
            let word = self.word.wrapping_add(next.wrapping_mul(words(group)));
            let source = Source { level, key: &key, word, candidates: left };
            let drawn = sieve::draw(&source, group, &mut out[start..]);
            out.truncate(start + drawn.numbers);
            next += drawn.candidates;
        }
    }
}

/// Words of one candidate.
fn words<E>(group: &Group<E>) -> u64 {
    group.draw_stride as u64 / 4
}

/// The masks of one seed: the unit's number, and then the vector's numbers in order.
#[derive(Clone)]
pub(crate) struct MaskStream {
    /// Where the vector begins.
    vector: Draws,
    /// The vector's next number.
    next: Draws,
    unit: Elements,
}

impl MaskStream {
    /// `unit` is a single number of the unit's group, for instance 0, and is replaced.
    pub(crate) fn new(seed: &MaskSeed, mut unit: Elements) -> Self {
        let mut next = Draws::new(seed);
        with_elements!(&mut unit, unit => next.fill(&unit.group, &mut unit.vector));
        MaskStream { vector: next.clone(), next, unit }
    }

    /// The unit's mask.
    pub(crate) fn unit(&self) -> &Elements {
        &self.unit
    }

    /// Draws the next numbers of the vector. Best in pieces of some thousand: each one begins and ends
    /// inside of a batch of key stream, the rest of which is made in vain.
    pub(crate) fn fill<E: Element>(&mut self, group: &Group<E>, out: &mut [E]) {
        self.next.fill(group, out);
    }

    /// Adds the next numbers of the vector to sums, if that can be done without drawing them: see [`Draws::add`]. No
    /// key stream is made in vain for pieces of whole KiB from [`Self::offset_in_block`] on.
    pub(crate) fn add<E: Element>(&mut self, group: &Group<E>, sums: &mut [E]) -> bool {
        self.next.add(group, sums)
    }

    /// How many bytes of its block of the key stream lie before the vector's next number.
    pub(crate) fn offset_in_block(&self) -> usize {
        (self.next.word.wrapping_mul(4) % BLOCK as u64) as usize
    }

    /// How many of the vector's candidates are used up.
    pub(crate) fn place<E: Element>(&self, group: &Group<E>) -> u64 {
        self.next.word.wrapping_sub(self.vector.word) / words(group)
    }

    /// Goes on with another of the vector's candidates.
    pub(crate) fn seek<E: Element>(&mut self, group: &Group<E>, candidate: u64) {
        self.next.word = self.vector.word.wrapping_add(candidate.wrapping_mul(words(group)));
    }

    /// Appends the numbers that a range of the vector's candidates gives, in order. Has nothing to do with
    /// [`fill`](Self::fill): any thread may do any range. The vector is what the ranges 0..a, a..b and so on
    /// give, one after another; of n candidates about n * `Group::acceptance` are accepted.
    ///
    /// Reserve room in `out`: a vector that grows leaves copies behind that are not wiped.
    pub(crate) fn stretch<E: Element>(
        &self,
        group: &Group<E>,
        candidates: Range<u64>,
        out: &mut Vec<E>,
    ) {
        self.vector.stretch_at(Level::detected(), group, candidates, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{MaskConfig, MaskConfigPair};
    use super::super::group::with_element_type;
    use super::super::keystream::tests::oracle;
    use super::*;
    use chacha20::cipher::{KeyIvInit, StreamCipher};
    use num_bigint::BigUint;
    use proptest::prelude::*;

    /// The rule of the specification word for word.
    fn naive(seed: &MaskSeed, config: MaskConfigPair, length: usize) -> Vec<BigUint> {
        let mut cipher = chacha20::ChaCha20Legacy::new(seed.as_bytes().into(), &[0; 8].into());
        let mut draw = |config: MaskConfig| {
            let order = config.order();
            // In a word group, whose order no word can be: the bytes of the largest number.
            let top = if config.group_type().is_word() { &order - 1u32 } else { order.clone() };
            let len = top.to_bytes_le().len();
            loop {
                let mut bytes = vec![0; len.div_ceil(4) * 4];
                cipher.apply_keystream(&mut bytes);
                let number = BigUint::from_bytes_le(&bytes[..len]);
                if number < order {
                    return number;
                }
            }
        };
        let unit = draw(config.unit);
        std::iter::once(unit).chain((0..length).map(|_| draw(config.vect))).collect()
    }

    /// The same, in pieces.
    fn drawn(
        level: Level,
        seed: &MaskSeed,
        config: MaskConfigPair,
        pieces: &[usize],
    ) -> Vec<BigUint> {
        let mut draws = Draws::new(seed);
        let mut numbers = Vec::new();
        for (config, pieces) in [(config.unit, &[1][..]), (config.vect, pieces)] {
            with_element_type!(config, E => {
                let group = Group::<E>::new(config);
                for &len in pieces {
                    let mut piece = vec![E::default(); len];
                    draws.fill_at(level, &group, &mut piece);
                    numbers.extend(piece.iter().map(|number| number.to_biguint()));
                }
            });
        }
        numbers
    }

    #[test]
    fn all_configs_draw_as_specified_at_every_level() {
        for (i, config) in MaskConfig::all().enumerate() {
            let seed = MaskSeed::new([i as u8; 32]);
            let expected = naive(&seed, config.into(), 200);
            for &level in Level::available() {
                let (one, cut) = (&[200][..], &[0, 1, 15, 16, 17, 63, 88][..]);
                assert_eq!(drawn(level, &seed, config.into(), one), expected, "{config} {level:?}");
                assert_eq!(drawn(level, &seed, config.into(), cut), expected, "{config} {level:?}");
            }
        }
    }

    /// The vector begins at any word of the stream, with any order.
    #[test]
    fn unit_and_vector_may_have_different_configs() {
        let all: Vec<_> = MaskConfig::all().collect();
        for (i, &vect) in all.iter().enumerate() {
            let config = MaskConfigPair { vect, unit: all[(i * 7 + 100) % all.len()] };
            let seed = MaskSeed::new([i as u8; 32]);
            let expected = naive(&seed, config, 40);
            for &level in Level::available() {
                assert_eq!(drawn(level, &seed, config, &[10, 30]), expected, "{config} {level:?}");
            }
            let stream = MaskStream::new(&seed, Elements::zeros(config.unit, 1));
            assert_eq!(stream.unit().first(), expected[0]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn pieces_of_any_length_make_up_the_vector(
            seed: [u8; 32],
            vect in 0..MaskConfig::all().count(),
            unit in 0..MaskConfig::all().count(),
            pieces in prop::collection::vec(0usize..500, 1..6),
        ) {
            let config = |i| MaskConfig::all().nth(i).unwrap();
            let config = MaskConfigPair { vect: config(vect), unit: config(unit) };
            let seed = MaskSeed::new(seed);
            let expected = naive(&seed, config, pieces.iter().sum());
            for &level in Level::available() {
                prop_assert!(drawn(level, &seed, config, &pieces) == expected, "{} {:?}", config, level);
            }
        }
    }

    /// Draws that cross the 2^32nd block.
    #[test]
    fn streams_go_on_above_32_bits_of_blocks() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap();
        let group = Group::<u64>::new(config);
        let first = (1u64 << 32) - 40;
        let seed = MaskSeed::new([3; 32]);
        let bytes = oracle(&seed, first, 200);
        for skipped in 0..4 {
            let expected: Vec<u64> = bytes[4 * skipped..]
                .chunks_exact(8)
                .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()) & group.draw_mask)
                .filter(|number| *number < group.order)
                .collect();
            for &level in Level::available() {
                let mut draws = Draws { seed: seed.clone(), word: 16 * first + skipped as u64 };
                let mut out = vec![0; expected.len()];
                draws.fill_at(level, &group, &mut out);
                assert_eq!(out, expected);
            }
        }
    }

    /// Any cut of the candidates gives the same vector.
    #[test]
    fn stretches_make_up_the_vector() {
        let all: Vec<_> = MaskConfig::all().collect();
        for (i, &vect) in all.iter().enumerate().step_by(7) {
            let unit = Elements::zeros(all[all.len() - 1 - i], 1);
            let stream = MaskStream::new(&MaskSeed::new([i as u8; 32]), unit);
            with_element_type!(vect, E => {
                let group = Group::<E>::new(vect);
                for &level in Level::available() {
                    let mut pieces: Vec<E> = Vec::new();
                    let cuts = [0, 0, 1, 2, 131, 1500, 4001];
                    for (&start, &end) in cuts.iter().zip(&cuts[1..]) {
                        stream.vector.stretch_at(level, &group, start..end, &mut pieces);
                    }
                    let mut whole = vec![E::default(); pieces.len()];
                    stream.clone().fill(&group, &mut whole);
                    assert!(pieces == whole, "{vect} {level:?}");
                    let expected = 4001.0 * group.acceptance();
                    assert!((pieces.len() as f64 - expected).abs() <= 6.0 * expected.sqrt(), "{vect}");
                }
            });
        }
    }

    /// What no random stream would show.
    #[test]
    fn only_the_order_and_above_are_rejected() {
        // In a word group nothing is.
        for config in MaskConfig::all().filter(|config| !config.group_type().is_word()) {
            let order = config.order();
            let top = BigUint::from(256u32).pow(config.bytes_per_draw() as u32) - 1u32;
            let accepted = [BigUint::default(), &order - 1u32, 1u32.into()];
            let rejected = [&order + 1u32, order.clone(), top];
            with_element_type!(config, E => {
                let group = Group::<E>::new(config);
                // The rest of the last word is thrown away, whatever it is.
                let mut stream = vec![0xff; 6 * group.draw_stride];
                let candidates = accepted.iter().zip(&rejected).flat_map(|(a, r)| [a, r]);
                for (piece, number) in stream.chunks_exact_mut(group.draw_stride).zip(candidates) {
                    let bytes = number.to_bytes_le();
                    piece[..group.draw_bytes].fill(0);
                    piece[..bytes.len()].copy_from_slice(&bytes);
                }
                for &level in Level::available() {
                    let mut out = [E::default(); 4];
                    let drawn = sieve::sift(level, &stream, 6, &group, &mut out);
                    assert_eq!(drawn, Drawn { numbers: 3, candidates: 6 });
                    let numbers: Vec<_> = out[..3].iter().map(|number| number.to_biguint()).collect();
                    assert_eq!(numbers, accepted, "{config}");
                    // Full, so the candidate after the last accepted one is not used up.
                    let drawn = sieve::sift(level, &stream, 6, &group, &mut out[..2]);
                    assert_eq!(drawn, Drawn { numbers: 2, candidates: 3 });
                }
            });
        }
    }
}
