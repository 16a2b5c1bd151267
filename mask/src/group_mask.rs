//! A member's work in the Sum2 phase of PET v2: the masks of all updates, added up, less the noise of its group.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use super::config::MaskConfigPair;
use super::element::Element;
use super::group::{with_elements, Elements};
use super::noise::{DiscreteGaussian, Noise, NoiseSeed, NOISE_BLOCK};
use super::object::MaskObject;
use super::seed::MaskSeed;
use super::sum::{MaskSum, MaskSumPart};
use crate::simd::Level;

/// How much longer the noise of a weight takes than a number of a mask, about: so that steps take their time.
const NOISE_COST: usize = 128;

/// Blocks of noise that a part makes at most: its memory is bounded by 2 or 4 MiB.
const PART_BLOCKS: u64 = 512;

/// The mask of a group: the sum of the masks of many seeds, less the group's noise.
///
/// In steps, and shared out among threads with [`split`](Self::split); the result is the same whatever the steps, the threads and
/// their order, also the noise. Memory: one vector of numbers. Everything is wiped on drop.
///
/// ```
/// use pet_mask::{GroupMask, MaskConfig, MaskSeed};
/// use pet_mask::noise::{Noise, NoiseSeed};
///
/// let config: MaskConfig = "Word32/F32/B0/M3".parse()?;
/// let seeds = (0..3).map(|i| MaskSeed::new([i; 32]));
/// let noise = Noise::new(config, 1000, 4000)?;
/// let mask = GroupMask::new(config.into(), 1000, seeds)?.with_noise(&noise, NoiseSeed::new([7; 32]))?;
/// let bytes = mask.finish().to_bytes()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GroupMask {
    noise: Option<(DiscreteGaussian, NoiseSeed)>,
    seeds: usize,
    stage: Stage,
}

enum Stage {
    Sum(MaskSum),
    Noise(Noising),
}

/// Taking off noise.
struct Noising {
    object: MaskObject,
    /// Blocks that are left to do.
    left: VecDeque<Range<u64>>,
    /// Blocks of parts that are not back yet.
    lent: Vec<Range<u64>>,
}

/// Why there is no such mask. The round's settings are at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupMaskError {
    /// Another group than Word32 or Word64.
    #[error("the masks of groups can only be made in a word group, and the round has {0}: its settings need the group type Word32 or Word64")]
    NoWordGroup(MaskConfigPair),
    /// The mask of no update.
    #[error("there is no seed whose mask could be added")]
    NoSeed,
    /// The noise is that of another config or length.
    #[error("the noise is for models of another config or length than the round's")]
    OtherNoise,
}

/// Shows the shape and the progress: the rest is secret.
impl fmt::Debug for GroupMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = self.progress();
        write!(f, "GroupMask({} seeds, {done} of {total} numbers)", self.seeds)
    }
}

impl GroupMask {
    /// Begins with the seeds of all updates, for models of `length` weights.
    ///
    /// # Errors
    /// If there is no seed, or the configs are not of word groups.
    pub fn new(
        config: MaskConfigPair,
        length: usize,
        seeds: impl IntoIterator<Item = MaskSeed>,
    ) -> Result<Self, GroupMaskError> {
        if !(config.vect.group_type().is_word() && config.unit.group_type().is_word()) {
            return Err(GroupMaskError::NoWordGroup(config));
        }
        let mut count = 0;
        let mut sum = MaskSum::new(config, length);
        sum.add_seeds(seeds.into_iter().inspect(|_| count += 1));
        if count == 0 {
            return Err(GroupMaskError::NoSeed);
        }
        Ok(GroupMask { noise: None, seeds: count, stage: Stage::Sum(sum) })
    }

    /// Takes this noise off as well: that of the seed, which all members of the group find.
    ///
    /// # Errors
    /// If the noise is for another config or length.
    pub fn with_noise(mut self, noise: &Noise, seed: NoiseSeed) -> Result<Self, GroupMaskError> {
        let Stage::Sum(sum) = &self.stage else { return Err(GroupMaskError::OtherNoise) };
        if noise.config() != sum.config().vect || noise.length() != sum.len() {
            return Err(GroupMaskError::OtherNoise);
        }
        self.noise = Some((noise.gaussian(), seed));
        Ok(self)
    }

    /// Adds at most `max_numbers` more numbers, as [`MaskSum::step`], or makes the noise of fewer weights in about the same time
    /// (of a block at least, about 0.1 ms); returns whether all is done.
    pub fn step(&mut self, max_numbers: usize) -> bool {
        match &mut self.stage {
            Stage::Sum(sum) => {
                if sum.step(max_numbers) {
                    self.begin_noise();
                }
            }
            Stage::Noise(noising) => {
                noising.call_back();
                if let Some((gaussian, seed)) = &self.noise {
                    let blocks = (max_numbers / (NOISE_COST * NOISE_BLOCK)).max(1);
                    for _ in 0..blocks {
                        let Some(block) = noising.next_block() else { break };
                        take_off(
                            &mut noising.object.vector,
                            block * NOISE_BLOCK as u64,
                            *gaussian,
                            seed,
                            block,
                        );
                    }
                }
            }
        }
        self.is_done()
    }

    fn is_done(&self) -> bool {
        match &self.stage {
            Stage::Sum(_) => false,
            Stage::Noise(noising) => noising.left.is_empty() && noising.lent.is_empty(),
        }
    }

    fn begin_noise(&mut self) {
        let Stage::Sum(sum) = &mut self.stage else { return };
        let none = MaskSum::new(sum.config(), 0);
        let object = std::mem::replace(sum, none).finish();
        let blocks = match self.noise {
            Some(_) => object.len().div_ceil(NOISE_BLOCK) as u64,
            None => 0,
        };
        let left = (blocks > 0).then_some(0..blocks).into_iter().collect();
        self.stage = Stage::Noise(Noising { object, left, lent: Vec::new() });
    }

    /// Splits off the next work as up to `parts` parts, which can run at the same time: all of them are to be handed back to
    /// [`absorb`](Self::absorb), and then there may be more. None where it takes a step first, or nothing is left. A part that is not
    /// back when something else is asked is done again, and not taken any more.
    pub fn split(&mut self, parts: usize) -> Vec<GroupMaskPart> {
        match &mut self.stage {
            Stage::Sum(sum) => {
                sum.split(parts).into_iter().map(|part| GroupMaskPart(Part::Sum(part))).collect()
            }
            Stage::Noise(noising) => match &self.noise {
                Some((gaussian, seed)) if parts > 1 => noising.split(parts, *gaussian, seed),
                _ => Vec::new(),
            },
        }
    }

    /// Takes back a part of this mask, and does what the part has not.
    pub fn absorb(&mut self, part: GroupMaskPart) {
        match (&mut self.stage, part.0) {
            (Stage::Sum(sum), Part::Sum(part)) => sum.absorb(part),
            (Stage::Noise(noising), Part::Noise(part)) => noising.absorb(part),
            // Given up long ago.
            _ => {}
        }
    }

    /// The progress: numbers added, and numbers of all seeds (saturating). The noise of a weight counts as 128 numbers, which take
    /// about as long.
    pub fn progress(&self) -> (usize, usize) {
        let of_noise = |length: usize| match self.noise {
            Some(_) => length.saturating_mul(NOISE_COST),
            None => 0,
        };
        match &self.stage {
            Stage::Sum(sum) => {
                let (done, total) = sum.progress();
                (done, total.saturating_add(of_noise(sum.len())))
            }
            Stage::Noise(noising) => {
                let length = noising.object.len();
                let total = length.saturating_mul(self.seeds).saturating_add(of_noise(length));
                let blocks = noising.left.iter().chain(&noising.lent);
                let left = blocks.map(|blocks| weights(blocks, length).len()).sum();
                (total.saturating_sub(of_noise(left)), total)
            }
        }
    }

    /// The mask; does what is left.
    pub fn finish(mut self) -> MaskObject {
        while !self.step(usize::MAX) {}
        match self.stage {
            Stage::Noise(noising) => noising.object,
            Stage::Sum(_) => unreachable!("step has said that all is done"),
        }
    }
}

/// The weights of some blocks of noise.
fn weights(blocks: &Range<u64>, length: usize) -> Range<usize> {
    let at = |block: u64| length.min((block as usize).saturating_mul(NOISE_BLOCK));
    at(blocks.start)..at(blocks.end)
}

/// Takes a block's noise off the numbers from `start` on.
fn take_off(
    numbers: &mut Elements,
    start: u64,
    gaussian: DiscreteGaussian,
    seed: &NoiseSeed,
    block: u64,
) {
    fn of<E: Element>(numbers: &mut [E], gaussian: DiscreteGaussian, seed: &NoiseSeed, block: u64) {
        let mut numbers = numbers.iter_mut();
        let mut next = numbers.next();
        gaussian.each_in_block(Level::detected(), seed, block, |y| {
            if let Some(number) = next.take() {
                // Modulo the word, as all of a word group is.
                *number = number.wrapping_sub(E::from_words(&[y as u64]));
                next = numbers.next();
            }
            next.is_some()
        });
    }
    with_elements!(numbers, numbers => {
        let all = numbers.vector.get_mut(start as usize..).unwrap_or_default();
        let len = all.len().min(NOISE_BLOCK);
        if len > 0 {
            of(&mut all[..len], gaussian, seed, block);
        }
    });
}

impl Noising {
    fn call_back(&mut self) {
        for blocks in self.lent.drain(..).rev() {
            self.left.push_front(blocks);
        }
    }

    fn next_block(&mut self) -> Option<u64> {
        let blocks = self.left.front_mut()?;
        let block = blocks.next();
        if blocks.is_empty() {
            self.left.pop_front();
        }
        block
    }

    fn split(
        &mut self,
        parts: usize,
        gaussian: DiscreteGaussian,
        seed: &NoiseSeed,
    ) -> Vec<GroupMaskPart> {
        self.call_back();
        let left: u64 = self.left.iter().map(|blocks| blocks.end - blocks.start).sum();
        if left < 2 {
            return Vec::new();
        }
        let share = left.div_ceil(parts as u64).min(PART_BLOCKS);
        let mut pieces = Vec::new();
        while pieces.len() < parts {
            let Some(blocks) = self.left.front_mut() else { break };
            let piece = blocks.start..blocks.end.min(blocks.start + share);
            blocks.start = piece.end;
            if blocks.is_empty() {
                self.left.pop_front();
            }
            let len = weights(&piece, self.object.len()).len();
            pieces.push(GroupMaskPart(Part::Noise(NoisePart {
                blocks: piece.clone(),
                next: piece.start,
                numbers: Elements::zeros(self.object.config.vect, len),
                gaussian,
                seed: seed.clone(),
            })));
            self.lent.push(piece);
        }
        pieces
    }

    fn absorb(&mut self, mut part: NoisePart) {
        let Some(at) = self.lent.iter().position(|lent| *lent == part.blocks) else { return };
        self.lent.swap_remove(at);
        while !part.step() {}
        let start = weights(&part.blocks, self.object.len()).start;
        self.object.vector.add_at(start, &part.numbers);
    }
}

/// A part of the work on a [`GroupMask`], for any thread. Everything is wiped on drop.
pub struct GroupMaskPart(Part);

enum Part {
    Sum(MaskSumPart),
    Noise(NoisePart),
}

/// The noise of some blocks.
struct NoisePart {
    blocks: Range<u64>,
    next: u64,
    /// Zeros, less the noise.
    numbers: Elements,
    gaussian: DiscreteGaussian,
    seed: NoiseSeed,
}

impl NoisePart {
    /// Makes the noise of the next block.
    fn step(&mut self) -> bool {
        if self.next < self.blocks.end {
            let start = (self.next - self.blocks.start) * NOISE_BLOCK as u64;
            take_off(&mut self.numbers, start, self.gaussian, &self.seed, self.next);
            self.next += 1;
        }
        self.next == self.blocks.end
    }
}

/// Shows the progress: the rest is secret.
impl fmt::Debug for GroupMaskPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = self.progress();
        write!(f, "GroupMaskPart({done} of {total} numbers)")
    }
}

impl GroupMaskPart {
    /// As [`GroupMask::step`], on this part.
    pub fn step(&mut self, max_numbers: usize) -> bool {
        match &mut self.0 {
            Part::Sum(part) => part.step(max_numbers),
            Part::Noise(part) => {
                let blocks = (max_numbers / (NOISE_COST * NOISE_BLOCK)).max(1);
                (0..blocks).any(|_| part.step())
            }
        }
    }

    /// The progress, as [`GroupMask::progress`] counts.
    pub fn progress(&self) -> (usize, usize) {
        match &self.0 {
            Part::Sum(part) => part.progress(),
            Part::Noise(part) => {
                let total = part.numbers.len();
                let done = total.min((part.next - part.blocks.start) as usize * NOISE_BLOCK);
                (done * NOISE_COST, total * NOISE_COST)
            }
        }
    }

    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Part::Sum(part) => part.bytes(),
            Part::Noise(part) => {
                with_elements!(&part.numbers, numbers => size_of_val(&numbers.vector[..]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MaskConfig;
    use crate::derive_mask;
    use num_bigint::{BigInt, BigUint};
    use proptest::prelude::*;

    fn config(name: &str) -> MaskConfig {
        name.parse().unwrap()
    }

    fn seeds(count: usize) -> Vec<MaskSeed> {
        (0..count).map(|i| MaskSeed::new([i as u8 + 1; 32])).collect()
    }

    /// With big integers.
    fn naive(
        config: MaskConfigPair,
        length: usize,
        seeds: &[MaskSeed],
        noise: Option<(&Noise, &NoiseSeed)>,
    ) -> MaskObject {
        let order = BigInt::from(config.vect.order());
        let mut vector = vec![BigInt::default(); length];
        let mut unit = BigUint::default();
        for seed in seeds {
            let mask = derive_mask(seed, config, length);
            vector.iter_mut().zip(mask.numbers()).for_each(|(sum, n)| *sum += BigInt::from(n));
            unit = (unit + mask.unit()) % config.unit.order();
        }
        if let Some((noise, seed)) = noise {
            for (block, numbers) in vector.chunks_mut(NOISE_BLOCK).enumerate() {
                let mut taken_off = vec![0; numbers.len()];
                noise.gaussian().fill_block(seed, block as u64, &mut taken_off);
                numbers.iter_mut().zip(taken_off).for_each(|(sum, y)| *sum -= y);
            }
        }
        let vector: Vec<BigUint> = vector
            .into_iter()
            .map(|n| (((n % &order) + &order) % &order).magnitude().clone())
            .collect();
        MaskObject::from_numbers(config, &vector, unit).unwrap()
    }

    /// In parts, some of which are lost; `last_first` hands the others back the other way round.
    fn shared_out(mut mask: GroupMask, parts: usize, step: usize, lose: bool) -> MaskObject {
        let mut turn = 0;
        loop {
            let pieces = mask.split(parts);
            if pieces.is_empty() {
                if mask.step(step) {
                    return mask.finish();
                }
                continue;
            }
            turn += 1;
            for (i, mut piece) in pieces.into_iter().enumerate() {
                // Half done, or done, or lost.
                if i % 2 == 0 {
                    while !piece.step(step) {}
                    let (done, total) = piece.progress();
                    assert_eq!(done, total);
                    assert!(piece.bytes() <= 8 * NOISE_BLOCK * PART_BLOCKS as usize);
                }
                if !(lose && turn % 3 == 1 && i == 1) {
                    mask.absorb(piece);
                }
            }
            let (done, total) = mask.progress();
            assert!(done <= total);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn it_is_the_sum_less_the_noise_whatever_the_steps_and_parts(
            count in 1usize..8, length in 0usize..40_000, z in 500u32..50_000, seed: [u8; 32], wide: bool, with_noise: bool,
            step in 1usize..1 << 19, parts in 2usize..6,
        ) {
            let config = config(if wide { "Word64/F32/B0/M3" } else { "Word32/F32/B0/M3" });
            let (seeds, noise_seed) = (seeds(count), NoiseSeed::new(seed));
            let noise = Noise::new(config, length, z).unwrap();
            let begin = || {
                let mask = GroupMask::new(config.into(), length, seeds.iter().cloned()).unwrap();
                if with_noise { mask.with_noise(&noise, noise_seed.clone()).unwrap() } else { mask }
            };
            let expected = naive(config.into(), length, &seeds, with_noise.then_some((&noise, &noise_seed)));
            prop_assert_eq!(&begin().finish(), &expected);
            let mut stepped = begin();
            let mut before = stepped.progress();
            while !stepped.step(step) {
                let now = stepped.progress();
                prop_assert!(now.0 >= before.0 && now.1 == before.1, "{:?} {:?}", before, now);
                before = now;
            }
            let (done, total) = stepped.progress();
            prop_assert_eq!(done, total);
            prop_assert_eq!(&stepped.finish(), &expected);
            prop_assert_eq!(&shared_out(begin(), parts, step, false), &expected);
            prop_assert_eq!(&shared_out(begin(), parts, step, true), &expected);
        }
    }

    #[test]
    fn parts_that_come_too_late_are_not_taken() {
        let config = config("Word32/F32/B0/M3");
        let (seeds, noise) = (seeds(2), Noise::new(config, 9000, 4000).unwrap());
        let seed = || NoiseSeed::new([1; 32]);
        let expected = naive(config.into(), 9000, &seeds, Some((&noise, &seed())));
        let mut mask =
            GroupMask::new(config.into(), 9000, seeds).unwrap().with_noise(&noise, seed()).unwrap();
        while matches!(mask.stage, Stage::Sum(_)) {
            mask.step(usize::MAX);
        }
        let late = mask.split(2);
        assert_eq!(late.len(), 2);
        // Given up: all is done here, and once.
        while !mask.step(1) {}
        late.into_iter().for_each(|part| mask.absorb(part));
        assert!(mask.split(2).is_empty());
        assert_eq!(mask.finish(), expected);
    }

    #[test]
    fn what_is_no_mask_of_a_group_is_refused_by_name() {
        for config in MaskConfig::all() {
            let pair = config.into();
            let found = GroupMask::new(pair, 3, seeds(1)).map(|_| ());
            let expected = if config.group_type().is_word() {
                Ok(())
            } else {
                Err(GroupMaskError::NoWordGroup(pair))
            };
            assert_eq!(found, expected, "{config}");
        }
        let word32 = config("Word32/F32/B0/M3");
        let none = GroupMask::new(word32.into(), 3, []).map(|_| ());
        assert_eq!(none, Err(GroupMaskError::NoSeed));
        for (other, length) in [("Word64/F32/B0/M3", 3), ("Word32/F32/B0/M3", 4)] {
            let noise = Noise::new(config(other), length, 1000).unwrap();
            let mask = GroupMask::new(word32.into(), 3, seeds(1)).unwrap();
            let refused = mask.with_noise(&noise, NoiseSeed::new([1; 32])).map(|_| ());
            assert_eq!(refused, Err(GroupMaskError::OtherNoise));
        }
    }

    #[test]
    fn debug_shows_no_numbers() {
        let config = config("Word32/F32/B0/M3");
        let noise = Noise::new(config, 3000, 1000).unwrap();
        let mask = GroupMask::new(config.into(), 3000, seeds(2)).unwrap();
        let mut mask = mask.with_noise(&noise, NoiseSeed::new([1; 32])).unwrap();
        assert_eq!(format!("{mask:?}"), "GroupMask(2 seeds, 0 of 390000 numbers)");
        while matches!(mask.stage, Stage::Sum(_)) {
            mask.step(usize::MAX);
        }
        assert_eq!(format!("{mask:?}"), "GroupMask(2 seeds, 6000 of 390000 numbers)");
        let part = mask.split(2).remove(0);
        assert_eq!(format!("{part:?}"), "GroupMaskPart(0 of 262144 numbers)");
    }
}
