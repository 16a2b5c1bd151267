//! The coordinator's long work.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::optimizer::{OptimizeError, Optimized, Optimizing, Plan};
use super::{PartFault, PartId, Rejection, Verified};
use crate::job::{JobKind, Progress, Work};
use crate::mask::{
    Aggregation, MaskConfigPair, MaskObjectView, RangeSum, UnmaskError, UnmaskPart, Unmasked,
    Unmasker,
};

/// How many numbers are added in a step: about a millisecond's work.
const ADDED_PER_STEP: usize = 1 << 20;
/// How many numbers are at least added by a part of a job: a few hundred microseconds' work, so that handing it to
/// another thread, and moving what that has added up, are worth it.
const ADDED_PER_PART: usize = 1 << 19;
/// How many weights are unmasked in a step.
const UNMASKED_PER_STEP: usize = 4096;

/// What a coordinator's job has done. Opaque: it is handed back to the machine.
pub enum Outcome {
    #[doc(hidden)]
    Summed(RangeSum),
    #[doc(hidden)]
    Aggregated(Arc<Aggregation>),
    #[doc(hidden)]
    UnmaskedRange(UnmaskPart),
    #[doc(hidden)]
    Unmasked(Result<Unmasked, UnmaskError>),
    #[doc(hidden)]
    Optimized(Result<Box<Optimized>, OptimizeError>),
    #[doc(hidden)]
    Assembled(Result<Verified, Rejection>),
    #[doc(hidden)]
    Merged(Result<Arc<Aggregation>, (PartId, PartFault)>),
    #[doc(hidden)]
    Released,
}

impl Outcome {
    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Aggregated(sum) | Self::Merged(Ok(sum)) => {
                sum.len() * sum.config().vect.bytes_per_number()
            }
            Self::Unmasked(Ok(unmasked)) => {
                unmasked.ratios.len() + unmasked.model.as_ref().map_or(0, |model| model.len() * 8)
            }
            Self::Optimized(Ok(optimized)) => optimized.bytes(),
            _ => 0,
        }
    }
}

/// Adds masked models to a copy of an aggregate. The aggregate itself stays as it is until the
/// machine replaces it, so that a lost job loses nothing and a snapshot can be taken at any time.
pub(crate) struct Aggregate {
    models: Models,
    sum: RangeSum,
}

/// What is added up.
#[derive(Clone)]
struct Models {
    config: MaskConfigPair,
    length: usize,
    /// What there is already; nothing before the first update.
    base: Option<Arc<Aggregation>>,
    /// Mask objects in wire form, all checked against the round before.
    updates: Arc<[Bytes]>,
}

impl Models {
    fn views(&self) -> impl Iterator<Item = MaskObjectView<'_>> + Clone {
        self.updates.iter().filter_map(|bytes| {
            let view = MaskObjectView::parse_exact(bytes);
            debug_assert!(view.is_ok(), "only verified objects get here");
            view.ok()
        })
    }

    /// Adds the next numbers; true once there are no more.
    fn step(&self, sum: &mut RangeSum) -> bool {
        let max = (ADDED_PER_STEP / self.updates.len().max(1)).max(1024);
        sum.step(self.base.as_deref(), self.views(), max);
        sum.rest().is_empty()
    }

    /// How many numbers are added where there are so many sums.
    fn work(&self, sums: usize) -> usize {
        sums.saturating_mul(self.updates.len())
    }
}

impl Aggregate {
    pub(crate) fn new(
        config: MaskConfigPair,
        length: usize,
        base: Option<Arc<Aggregation>>,
        updates: Vec<Bytes>,
    ) -> Self {
        let models = Models { config, length, base, updates: updates.into() };
        // Room for the sums is made by whoever does the first of them.
        Self { models, sum: RangeSum::new(config, 0..length, 0) }
    }
}

impl Work<Outcome> for Aggregate {
    fn kind(&self) -> JobKind {
        JobKind::Aggregate
    }

    fn step(&mut self) -> bool {
        let length = self.models.length;
        if self.sum.rest() == (0..length) {
            self.sum = RangeSum::new(self.models.config, 0..length, length);
        }
        self.models.step(&mut self.sum)
    }

    fn progress(&self) -> Progress {
        progress(&self.sum, self.models.length)
    }

    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let Range { start, end } = self.sum.rest();
        let parts = parts.min(self.models.work(end - start) / ADDED_PER_PART);
        if parts < 2 {
            return Vec::new();
        }
        let at =
            |part: usize| start + ((end - start) as u128 * part as u128 / parts as u128) as usize;
        (0..parts)
            .map(|part| -> Box<dyn Work<Outcome>> {
                let range = at(part)..at(part + 1);
                // The others' sums are put behind the first's.
                let capacity = if range.start == 0 { self.models.length } else { range.len() };
                let len = range.len();
                let sum = RangeSum::new(self.models.config, range, capacity);
                Box::new(AggregateRange { models: self.models.clone(), len, sum })
            })
            .collect()
    }

    fn absorb(&mut self, part: Outcome) {
        if let Outcome::Summed(sum) = part {
            self.sum.append(sum);
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        let Self { models, sum } = *self;
        let mut sum = sum.finish(models.base.as_deref());
        models.views().for_each(|view| sum.add_unit(&view));
        Outcome::Aggregated(Arc::new(sum))
    }
}

fn progress(sum: &RangeSum, total: usize) -> Progress {
    Progress { done: (total - sum.rest().len()) as u64, total: total as u64 }
}

/// Does that for a range of the weights.
struct AggregateRange {
    models: Models,
    len: usize,
    sum: RangeSum,
}

impl Work<Outcome> for AggregateRange {
    fn kind(&self) -> JobKind {
        JobKind::Aggregate
    }

    fn step(&mut self) -> bool {
        self.models.step(&mut self.sum)
    }

    fn progress(&self) -> Progress {
        progress(&self.sum, self.len)
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Summed(self.sum)
    }
}

/// Takes the mask off the aggregate, and then makes the step of an optimiser, if there is a plan for one.
pub(super) enum Unmask {
    Begin { aggregation: Arc<Aggregation>, mask: Bytes, plan: Option<Plan> },
    Run(Box<Unmasker>, Option<Plan>),
    Optimize(Box<Optimizing>),
    Failed(UnmaskError),
    NoStep(OptimizeError),
}

impl Unmask {
    pub(super) fn new(
        aggregation: Arc<Aggregation>,
        mask: Bytes,
        plan: impl Into<Option<Plan>>,
    ) -> Self {
        Self::Begin { aggregation, mask, plan: plan.into() }
    }

    fn begin(
        aggregation: Arc<Aggregation>,
        mask: Bytes,
        plan: Option<Plan>,
    ) -> Result<Self, UnmaskError> {
        let unmasker = match plan {
            None => Unmasker::new(aggregation, mask)?,
            // The old form of the mean is of no use.
            Some(_) => Unmasker::model_only(aggregation, mask)?,
        };
        Ok(Self::Run(Box::new(unmasker), plan))
    }
}

impl Work<Outcome> for Unmask {
    fn kind(&self) -> JobKind {
        JobKind::Unmask
    }

    fn step(&mut self) -> bool {
        match self {
            Self::Begin { aggregation, mask, plan } => {
                *self = Self::begin(aggregation.clone(), mask.clone(), plan.take())
                    .unwrap_or_else(Self::Failed);
            }
            Self::Run(unmasker, plan) => {
                if !unmasker.step(UNMASKED_PER_STEP) {
                    return false;
                }
                let Some(plan) = plan.take() else { return true };
                let unmasker = std::mem::replace(self, Self::NoStep(OptimizeError::NoWeight));
                let Self::Run(unmasker, _) = unmasker else { return true };
                *self = match unmasker.finish() {
                    Ok(mean) => match Optimizing::new(plan, mean.model) {
                        Ok(optimizing) => Self::Optimize(Box::new(optimizing)),
                        Err(error) => Self::NoStep(error),
                    },
                    Err(error) => Self::Failed(error),
                };
            }
            Self::Optimize(optimizing) => return optimizing.step(UNMASKED_PER_STEP),
            Self::Failed(_) | Self::NoStep(_) => {}
        }
        matches!(self, Self::Failed(_) | Self::NoStep(_))
    }

    fn progress(&self) -> Progress {
        let (done, total) = match self {
            Self::Begin { aggregation, plan, .. } => (0, twice(aggregation.len(), plan.is_some())),
            Self::Run(unmasker, plan) => {
                let (done, total) = unmasker.progress();
                (done, twice(total, plan.is_some()))
            }
            Self::Optimize(optimizing) => {
                let (done, total) = optimizing.progress();
                (total + done, twice(total, true))
            }
            Self::Failed(_) | Self::NoStep(_) => (1, 1),
        };
        Progress { done: done as u64, total: total as u64 }
    }

    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let Self::Run(unmasker, _) = self else { return Vec::new() };
        let (done, total) = unmasker.progress();
        let parts = parts.min((total - done) / UNMASKED_PER_STEP);
        if parts < 2 || !unmasker.gains_from_threads() {
            return Vec::new();
        }
        let boxed = |part| -> Box<dyn Work<Outcome>> { Box::new(UnmaskRange(part)) };
        unmasker.split(parts).into_iter().map(boxed).collect()
    }

    fn absorb(&mut self, part: Outcome) {
        if let (Self::Run(unmasker, _), Outcome::UnmaskedRange(part)) = (self, part) {
            unmasker.absorb(part);
        }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        match *self {
            Self::Run(unmasker, _) => Outcome::Unmasked(unmasker.finish()),
            Self::Optimize(optimizing) => Outcome::Optimized(optimizing.finish().map(Box::new)),
            Self::Failed(error) => Outcome::Unmasked(Err(error)),
            Self::NoStep(error) => Outcome::Optimized(Err(error)),
            // `step` leaves this stage.
            Self::Begin { .. } => unreachable!("the job is not done"),
        }
    }
}

/// Each number is unmasked, and then a step is made with it.
fn twice(numbers: usize, has_step: bool) -> usize {
    if has_step {
        numbers.saturating_mul(2)
    } else {
        numbers
    }
}

/// Does that for a range of the weights.
struct UnmaskRange(UnmaskPart);

impl Work<Outcome> for UnmaskRange {
    fn kind(&self) -> JobKind {
        JobKind::Unmask
    }

    fn step(&mut self) -> bool {
        self.0.step(UNMASKED_PER_STEP)
    }

    fn progress(&self) -> Progress {
        let (done, total) = self.0.progress();
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::UnmaskedRange(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Job, JobId};
    use crate::mask::{derive_mask, mask_model, MaskConfig, MaskSeed, MaskSum};
    use crate::model::{Model, Scalar};

    fn mask(seed: u8, config: MaskConfigPair, length: usize) -> Bytes {
        derive_mask(&MaskSeed::new([seed; 32]), config, length).to_bytes().unwrap().into()
    }

    /// Does `steps` steps, and then all there is in parts; returns how many of those there were.
    fn run(work: impl Work<Outcome> + 'static, steps: usize, parts: usize) -> (Outcome, usize) {
        let mut job = Job::new(JobId(0), work);
        for _ in 0..steps {
            job.step();
        }
        let mut count = 0;
        let done = job.run(
            parts,
            || false,
            |pieces| {
                count += pieces.len();
                assert!(pieces.len() <= parts);
                Some(pieces.into_iter().map(|piece| piece.finish()).collect())
            },
        );
        (done.unwrap().handed_in().1, count)
    }

    #[test]
    fn updates_are_added_in_steps_and_parts() {
        let length = ADDED_PER_STEP + 3;
        for name in ["Prime/F32/B0/M3", "Word32/F32/B0/M3"] {
            let config: MaskConfigPair = name.parse::<MaskConfig>().unwrap().into();
            let updates: Vec<_> = (0..4).map(|seed| mask(seed, config, length)).collect();
            let mut expected = Aggregation::new(config, length);
            for update in &updates {
                expected.aggregate(&MaskObjectView::parse_exact(update).unwrap()).unwrap();
            }
            let mut base = Aggregation::new(config, length);
            base.aggregate(&MaskObjectView::parse_exact(&updates[0]).unwrap()).unwrap();
            let base = Arc::new(base);
            for (with_base, steps, parts, count) in [
                (false, 0, 1, 0),
                (true, 0, 2, 2),
                (false, 0, 3, 3),
                (true, 1, 7, 4),
                (true, 9, 2, 0),
            ] {
                let (base, updates) = match with_base {
                    true => (Some(base.clone()), updates[1..].to_vec()),
                    false => (None, updates.clone()),
                };
                let job = Aggregate::new(config, length, base, updates);
                match run(job, steps, parts) {
                    (Outcome::Aggregated(sum), found) => {
                        assert_eq!(found, count);
                        assert!(*sum == expected, "{name}, {steps} steps, {parts} parts");
                    }
                    _ => panic!("another outcome"),
                }
            }
        }
    }

    #[test]
    fn little_work_is_not_shared_out() {
        let config: MaskConfigPair = "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap().into();
        let updates = vec![mask(1, config, 100), mask(2, config, 100)];
        assert_eq!(run(Aggregate::new(config, 100, None, updates), 0, 8).1, 0);
    }

    #[test]
    fn models_are_unmasked_in_steps_and_parts() {
        let length = 5 * UNMASKED_PER_STEP + 7;
        for (name, is_shared_out) in [("Prime/F32/Bmax/M3", true), ("Prime/F32/B0/M3", false)] {
            let config: MaskConfigPair = name.parse::<MaskConfig>().unwrap().into();
            let mut masks = MaskSum::new(config, length);
            masks.add_seeds([MaskSeed::new([9; 32])]);
            let mut sum = Aggregation::new(config, length);
            let (one, model) = (Scalar::one(), Model::F32(vec![0.25; length]));
            let masked = mask_model(&MaskSeed::new([9; 32]), config, &one, &model).unwrap().0;
            sum.aggregate(&MaskObjectView::parse_exact(&masked).unwrap()).unwrap();
            let (sum, masks) = (Arc::new(sum), Bytes::from(masks.finish().to_bytes().unwrap()));
            let expected = Unmasker::new(sum.clone(), masks.clone()).unwrap().finish();
            for (steps, parts, is_long) in
                [(0, 1, false), (0, 2, true), (2, 4, true), (0, 100, true), (10, 4, false)]
            {
                let job = Unmask::new(sum.clone(), masks.clone(), None);
                match run(job, steps, parts) {
                    (Outcome::Unmasked(found), pieces) => {
                        assert!(found == expected, "{name}, {steps} steps, {parts} parts");
                        assert_eq!(
                            pieces > 1,
                            is_long && is_shared_out,
                            "{steps} steps, {parts} parts"
                        );
                    }
                    _ => panic!("another outcome"),
                }
            }
        }
    }
}
