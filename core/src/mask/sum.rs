//! Deriving masks and adding them up: the work of a sum participant (spec section 5).

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

use super::config::MaskConfigPair;
use super::draw::MaskStream;
use super::group::{with_elements, Elements};
use super::object::MaskObject;
use super::seed::MaskSeed;

/// Numbers drawn at a time: they fit the L1 cache.
const BLOCK: usize = 512;

/// What beginning a seed costs, as a number of numbers: its first batch of key stream is made whole.
const SEED_COST: usize = 512;

/// Adds up the masks of many seeds, in steps.
///
/// Memory: one vector of numbers, however many seeds. To use several cores, give each its own sum of a
/// part of the seeds and [`merge`](Self::merge) them. Everything is wiped on drop.
pub struct MaskSum {
    config: MaskConfigPair,
    vector: Elements,
    /// A single number.
    unit: Elements,
    /// What the unit of every seed is drawn to.
    no_unit: Elements,
    waiting: VecDeque<MaskSeed>,
    /// The seed at work, and how many of its numbers are added.
    current: Option<(MaskStream, usize)>,
    seeds_done: usize,
}

/// Two sums that do not belong to the same round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sums of masks of different configs or lengths cannot be merged")]
pub struct SumMismatch;

/// Shows the shape and the progress: the rest is secret.
impl fmt::Debug for MaskSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = self.progress();
        write!(f, "MaskSum({}, {done} of {total} numbers)", self.config)
    }
}

impl MaskSum {
    /// The sum of no masks, for models of `length` weights.
    pub fn new(config: MaskConfigPair, length: usize) -> Self {
        MaskSum {
            config,
            vector: Elements::zeros(config.vect, length),
            unit: Elements::zeros(config.unit, 1),
            no_unit: Elements::zeros(config.unit, 1),
            waiting: VecDeque::new(),
            current: None,
            seeds_done: 0,
        }
    }

    /// Queues the masks of these seeds; [`step`](Self::step) adds them.
    pub fn add_seeds(&mut self, seeds: impl IntoIterator<Item = MaskSeed>) {
        self.waiting.extend(seeds);
    }

    /// Adds at most `max_numbers` more numbers; returns whether all queued masks are added.
    ///
    /// Beginning a seed counts as 512 of them, so that a step takes its time however short the models
    /// are.
    pub fn step(&mut self, max_numbers: usize) -> bool {
        let mut budget = max_numbers;
        while budget > 0 {
            let (mut stream, begun) = match self.current.take() {
                Some(current) => current,
                None => match self.waiting.pop_front() {
                    Some(seed) => {
                        budget = budget.saturating_sub(SEED_COST);
                        (MaskStream::new(&seed, self.no_unit.clone()), 0)
                    }
                    None => break,
                },
            };
            let done = self.vector.len().min(begun.saturating_add(budget));
            self.add_range(&mut stream, begun..done);
            budget -= done - begun;
            if done < self.vector.len() {
                self.current = Some((stream, done));
            } else {
                self.unit.add(stream.unit());
                self.seeds_done += 1;
            }
        }
        self.current.is_none() && self.waiting.is_empty()
    }

    /// Adds the stream's next numbers to those of a range.
    fn add_range(&mut self, stream: &mut MaskStream, range: Range<usize>) {
        with_elements!(&mut self.vector, sums => {
            let group = *sums.group;
            let mut block = Zeroizing::new(vec![group.max; BLOCK.min(range.len())]);
            for sums in sums.vector[range].chunks_mut(BLOCK) {
                let masks = &mut block[..sums.len()];
                stream.fill(&group, masks);
                for (sum, mask) in sums.iter_mut().zip(masks) {
                    *sum = group.add(*sum, *mask);
                }
            }
        });
    }

    /// Numbers added, and in all of the seeds so far (saturating).
    pub fn progress(&self) -> (usize, usize) {
        let length = self.vector.len();
        let begun = self.current.as_ref().map_or(0, |(_, done)| *done);
        let seeds = self.seeds_done + usize::from(self.current.is_some()) + self.waiting.len();
        (self.seeds_done.saturating_mul(length).saturating_add(begun), seeds.saturating_mul(length))
    }

    /// Takes over another sum, done or not: its masks, and the seeds that are still queued there.
    ///
    /// # Errors
    /// If config or length differ; nothing has changed then.
    pub fn merge(&mut self, mut other: MaskSum) -> Result<(), SumMismatch> {
        if self.config != other.config || self.vector.len() != other.vector.len() {
            return Err(SumMismatch);
        }
        // A mask half added there can only be completed there.
        while let Some((_, done)) = &other.current {
            let rest = other.vector.len() - done;
            other.step(rest);
        }
        self.vector.add(&other.vector);
        self.unit.add(&other.unit);
        self.seeds_done += other.seeds_done;
        self.waiting.append(&mut other.waiting);
        Ok(())
    }

    /// The sum of the masks; adds what is still queued.
    pub fn finish(mut self) -> MaskObject {
        while !self.step(usize::MAX) {}
        MaskObject { config: self.config, vector: self.vector, unit: self.unit }
    }
}

/// The mask of one seed, for a model of `length` weights.
pub fn derive_mask(seed: &MaskSeed, config: MaskConfigPair, length: usize) -> MaskObject {
    let mut sum = MaskSum::new(config, length);
    sum.add_seeds([seed.clone()]);
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::super::config::MaskConfig;
    use super::*;
    use num_bigint::BigUint;

    fn seeds(count: u8) -> Vec<MaskSeed> {
        (0..count).map(|i| MaskSeed::new([i; 32])).collect()
    }

    fn naive(config: MaskConfigPair, length: usize, seeds: &[MaskSeed]) -> MaskObject {
        let mut vector = vec![BigUint::default(); length];
        let mut unit = BigUint::default();
        for seed in seeds {
            let mask = derive_mask(seed, config, length);
            for (sum, number) in vector.iter_mut().zip(mask.numbers()) {
                *sum = (&*sum + number) % config.vect.order();
            }
            unit = (unit + mask.unit()) % config.unit.order();
        }
        MaskObject::from_numbers(config, &vector, unit).unwrap()
    }

    #[test]
    fn all_configs_add_up() {
        for config in MaskConfig::all() {
            let config = config.into();
            let mut sum = MaskSum::new(config, 5);
            sum.add_seeds(seeds(7));
            assert_eq!(sum.finish(), naive(config, 5, &seeds(7)), "{config}");
        }
    }

    #[test]
    fn steps_and_parts_do_not_matter() {
        let config = MaskConfig::from_bytes([0, 1, 6, 9]).unwrap().into();
        let length = 2 * BLOCK + 3;
        let expected = naive(config, length, &seeds(4));
        for step in [1, 7, BLOCK, length, 3 * length] {
            let mut sum = MaskSum::new(config, length);
            sum.add_seeds(seeds(4));
            let mut steps = 1;
            while !sum.step(step) {
                steps += 1;
                let (done, total) = sum.progress();
                assert!(done < total && total == 4 * length);
                assert!(done <= (steps - 1) * step);
            }
            // No seed's beginning makes a step longer; the last one of a step makes it shorter.
            assert!((4 * length).div_ceil(step) <= steps);
            assert!(steps <= (4 * (length + SEED_COST)).div_ceil(step));
            assert_eq!(sum.progress(), (4 * length, 4 * length));
            assert_eq!(sum.finish(), expected);
        }
        // The other part is half done, in the middle of a mask and with another in the queue.
        let mut sum = MaskSum::new(config, length);
        sum.add_seeds(seeds(4)[..1].to_vec());
        let mut other = MaskSum::new(config, length);
        other.add_seeds(seeds(4)[1..].to_vec());
        other.step(length + 5);
        sum.step(3);
        sum.merge(other).unwrap();
        assert_eq!(sum.finish(), expected);
    }

    #[test]
    fn models_without_weights_have_units() {
        let config = MaskConfig::from_bytes([2, 0, 0, 3]).unwrap().into();
        let mut sum = MaskSum::new(config, 0);
        assert!(sum.step(1));
        sum.add_seeds(seeds(3));
        assert!(!sum.step(SEED_COST + 1));
        assert!(sum.step(1));
        assert_eq!(sum.finish(), naive(config, 0, &seeds(3)));
    }

    /// A step is short even where there are many seeds for short models.
    #[test]
    fn seeds_count() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap().into();
        let mut sum = MaskSum::new(config, 3);
        sum.add_seeds(seeds(100));
        let mut seeds_begun = 0;
        while !sum.step(4 * SEED_COST) {
            let (done, _) = sum.progress();
            assert!(done.div_ceil(3) - seeds_begun <= 4);
            seeds_begun = done.div_ceil(3);
        }
        assert!(seeds_begun > 90);
    }

    #[test]
    fn other_rounds_are_not_merged() {
        let config: MaskConfigPair = MaskConfig::from_bytes([2, 0, 0, 3]).unwrap().into();
        let other = MaskConfig::from_bytes([2, 0, 0, 6]).unwrap().into();
        let mut sum = MaskSum::new(config, 2);
        assert_eq!(sum.merge(MaskSum::new(config, 3)), Err(SumMismatch));
        assert_eq!(sum.merge(MaskSum::new(other, 2)), Err(SumMismatch));
        assert_eq!(sum.merge(MaskSum::new(config, 2)), Ok(()));
    }
}
