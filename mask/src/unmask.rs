//! Unmasking an aggregate (spec section 5): to the round's data type, and to the old exact form.
//!
//! `weight = (n / E - count * A) / S` and `S = n_unit / E1 - count * A1`. With X = n - count*A*E and
//! U = n_unit - count*A1*E1, both integers, that is `X * p / q` where `p / q = E1 / (E * U)` in lowest
//! terms is the same for all weights.

mod factors;
#[cfg(test)]
mod groups;
mod lowest;
mod nearest;
mod noisy;
mod number;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigUint;
use num_rational::BigRational;

use self::factors::Factors;
use self::lowest::Ratios;
use self::nearest::{Scale, BLOCK};
pub use self::noisy::{NoisyUnmaskError, NoisyUnmaskPart, NoisyUnmasker};
use self::number::Number;
use super::aggregation::{Aggregation, UnmaskError};
use super::group::{with_elements, Group, Numbers};
use super::object::{MaskObjectError, MaskObjectPart, MaskObjectView};
use crate::model::ratio::write_count;
use crate::model::weight::{with_weights, FromRatio};
use crate::model::{Model, OutOfRange};
use crate::simd::{Kernel, Level};

/// A weight of the global model that is beyond the range of the round's data type.
///
/// It can happen only at the very ends of the range (Bmax), where rounded-down scalars let an average come
/// out slightly too large. The exact form has it nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("weight {index} of the global model: {source}")]
#[non_exhaustive]
pub struct WeightOutOfRange {
    /// The index of the first one.
    pub index: usize,
    /// The range.
    pub source: OutOfRange,
}

/// A global model.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Unmasked {
    /// The weights in the round's data type: floats correctly rounded, integers truncated toward zero.
    pub model: Result<Model, WeightOutOfRange>,
    /// The exact weights in the old form (see [`crate::model::ratio`]); empty if only the model was wanted.
    pub ratios: Vec<u8>,
}

/// Shows no weights.
impl fmt::Debug for Unmasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unmasked({:?}, {} bytes of ratios)", self.model, self.ratios.len())
    }
}

/// About how many bytes a part of the work leaves, at most.
const PART_BYTES: usize = 1 << 20;

/// Unmasks an aggregate, in steps, to the model alone or to both forms of it.
///
/// To use several threads: [`split`](Self::split), [`UnmaskPart::step`] on any threads,
/// [`absorb`](Self::absorb) in the order of the parts, and that again until there are no more parts. The result
/// is the same.
///
/// Memory: the output, and what parts are around.
pub struct Unmasker {
    source: Arc<Source>,
    output: Output,
}

/// Some weights of the model, for another thread.
pub struct UnmaskPart {
    source: Arc<Source>,
    output: Output,
}

/// What is read.
struct Source {
    aggregation: Arc<Aggregation>,
    /// At least one.
    masks: Vec<Bytes>,
    factors: Factors,
    scale: Scale,
    /// None if only the model is wanted.
    ratios: Option<Ratios>,
    level: Level,
}

/// What is written.
struct Output {
    range: Range<usize>,
    done: usize,
    model: Result<Model, WeightOutOfRange>,
    ratios: Vec<u8>,
    error: Option<UnmaskError>,
}

/// Shows the shape and the progress.
impl fmt::Debug for Unmasker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unmasker({:?}, {} weights done)", self.source.aggregation, self.output.done)
    }
}

/// Shows the weights and the progress.
impl fmt::Debug for UnmaskPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output { range, done, .. } = &self.output;
        write!(f, "UnmaskPart(weights {range:?}, done up to {done})")
    }
}

impl Unmasker {
    /// Begins to unmask to both forms of the model, with a mask in its form on the wire. The time does not
    /// depend on the model's length.
    ///
    /// # Errors
    /// If there are no or too many models, the mask does not fit, the scalars' sum is zero or impossible, or
    /// there is not enough memory for the global model.
    pub fn new(
        aggregation: impl Into<Arc<Aggregation>>,
        mask: impl Into<Bytes>,
    ) -> Result<Self, UnmaskError> {
        Self::with_forms(aggregation.into(), vec![mask.into()], true, Level::detected())
    }

    /// Begins to unmask to the model alone, which takes a small part of the time: [`Unmasked::ratios`] will
    /// be empty.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn model_only(
        aggregation: impl Into<Arc<Aggregation>>,
        mask: impl Into<Bytes>,
    ) -> Result<Self, UnmaskError> {
        Self::with_forms(aggregation.into(), vec![mask.into()], false, Level::detected())
    }

    /// Begins to unmask to the model alone what is under the masks of several groups: each is the sum of one group's masks of the
    /// same models. (If groups have added noise: [`NoisyUnmasker`].)
    ///
    /// # Errors
    /// As [`new`](Self::new), for each of the masks; and if there is none.
    pub fn of_groups(
        aggregation: impl Into<Arc<Aggregation>>,
        masks: Vec<Bytes>,
    ) -> Result<Self, UnmaskError> {
        Self::with_forms(aggregation.into(), masks, false, Level::detected())
    }

    fn with_forms(
        aggregation: Arc<Aggregation>,
        masks: Vec<Bytes>,
        ratios: bool,
        level: Level,
    ) -> Result<Self, UnmaskError> {
        let views = check_masks(&aggregation, &masks)?;
        let factors = Factors::new(&aggregation, &views)?;
        let ratios = ratios.then(|| Ratios::new(&factors));
        let scale = Scale::new(&factors);
        let len = aggregation.len();
        let source = Source { aggregation, masks, factors, scale, ratios, level };
        let mut output = source.output(0..len)?;
        if source.ratios.is_some() {
            write_count(len, &mut output.ratios);
        }
        Ok(Unmasker { source: Arc::new(source), output })
    }

    /// Unmasks at most `max_weights` more; returns whether it is done. An error also ends it.
    pub fn step(&mut self, max_weights: usize) -> bool {
        self.output.step(&self.source, max_weights)
    }

    /// The progress: weights done, and weights in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.output.done, self.output.range.end)
    }

    /// Whether threads that share the work are done sooner than one. Where the arithmetic is quick (numbers of one
    /// machine word to 32-bit weights, or written in the old form) they are not: memory takes the time, and what parts have made is
    /// moved once more.
    pub fn gains_from_threads(&self) -> bool {
        fn is_quick<E: Number, W: FromRatio>(_: &Numbers<E>, _: &[W], ratios: bool) -> bool {
            E::WORDS == 1 && (W::FROM_DOUBLE || ratios)
        }
        let Ok(model) = &self.output.model else { return false };
        !with_elements!(&self.source.aggregation.object().vector, sums => {
            with_weights!(model, weights => {
                is_quick(sums, weights, self.source.ratios.is_some())
            })
        })
    }

    /// Splits off the next weights, as up to `parts` pieces of work for any threads; none once nothing is left.
    /// Pieces are not all that is left: they are small enough to bound the memory that they take together.
    ///
    /// Nothing is lost if a part is: what is not absorbed is still left to do here.
    pub fn split(&self, parts: usize) -> Vec<UnmaskPart> {
        let Output { done, range, .. } = &self.output;
        let left = if self.output.is_done() { 0 } else { range.end - done };
        let size = left.div_ceil(parts.max(1)).min(self.source.part_len());
        let ranges = (0..parts).map(|i| {
            let at = |i: usize| range.end.min(done + i * size);
            at(i)..at(i + 1)
        });
        let parts = ranges.take_while(|range| !range.is_empty()).map(|range| {
            let output = self.source.output(range).ok()?;
            Some(UnmaskPart { source: self.source.clone(), output })
        });
        // Without memory for parts it goes on without.
        parts.collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// Takes back a part, and does what the part has not done. Parts come in the order of
    /// [`split`](Self::split); one that is not the next is dropped, and its weights are left to do.
    pub fn absorb(&mut self, mut part: UnmaskPart) {
        while !part.step(usize::MAX) {}
        if Arc::ptr_eq(&part.source, &self.source) && part.output.range.start == self.output.done {
            self.output.append(part.output);
        }
    }

    /// The global model; unmasks what is left of it.
    ///
    /// # Errors
    /// If a number of the mask is not below its order, or the sum of the weights is not one that models within
    /// the bounds have.
    pub fn finish(mut self) -> Result<Unmasked, UnmaskError> {
        self.step(usize::MAX);
        match self.output.error {
            Some(error) => Err(error),
            None => Ok(Unmasked { model: self.output.model, ratios: self.output.ratios }),
        }
    }
}

/// Checks that masks fit an aggregate, as far as that takes no time.
fn check_masks<'a>(
    aggregation: &Aggregation,
    masks: &'a [Bytes],
) -> Result<Vec<MaskObjectView<'a>>, UnmaskError> {
    if masks.is_empty() {
        return Err(UnmaskError::NoMask);
    }
    let check = |mask: &'a Bytes| {
        let view = MaskObjectView::parse_exact(mask)?;
        aggregation.validate_mask_shape(&view)?;
        view.check_unit()?;
        Ok(view)
    };
    masks.iter().map(check).collect()
}

impl UnmaskPart {
    /// Unmasks at most `max_weights` more; returns whether it is done.
    pub fn step(&mut self, max_weights: usize) -> bool {
        self.output.step(&self.source, max_weights)
    }

    /// The progress: weights done, and weights in all.
    pub fn progress(&self) -> (usize, usize) {
        let Output { range, done, .. } = &self.output;
        (done - range.start, range.len())
    }
}

impl Output {
    fn step(&mut self, source: &Source, max_weights: usize) -> bool {
        if self.error.is_none() {
            let range = self.done..self.range.end.min(self.done.saturating_add(max_weights));
            self.done = range.end;
            self.error = source.unmask(range, self).err();
        }
        self.is_done()
    }

    fn is_done(&self) -> bool {
        self.error.is_some() || self.done == self.range.end
    }

    /// Appends what follows.
    fn append(&mut self, next: Output) {
        self.done = next.done;
        self.error = next.error;
        self.ratios.extend_from_slice(&next.ratios);
        match (&mut self.model, next.model) {
            (Ok(model), Ok(next)) => model.append(&next),
            (Ok(_), Err(error)) => self.model = Err(error),
            // The first one counts.
            (Err(_), _) => {}
        }
    }
}

impl Source {
    fn max_weight_len(&self) -> usize {
        match &self.ratios {
            Some(_) => self.factors.max_weight_len(),
            None => 0,
        }
    }

    /// How many weights a part has, at most.
    fn part_len(&self) -> usize {
        (PART_BYTES / (self.max_weight_len() + 8)).next_multiple_of(BLOCK)
    }

    /// Room for the weights of a range.
    fn output(&self, range: Range<usize>) -> Result<Output, UnmaskError> {
        let len = range.len();
        // Never more than this, so that no step has to move what is there already. Memory that is not
        // used in the end is not touched either.
        let bytes = match self.ratios {
            Some(_) => self.max_weight_len().saturating_mul(len).saturating_add(8),
            None => 0,
        };
        let mut model = Model::empty(self.aggregation.config().vect.data_type);
        let mut ratios = Vec::new();
        ratios
            .try_reserve_exact(bytes)
            .and_then(|()| model.try_reserve_exact(len))
            .map_err(|_| UnmaskError::OutOfMemory { len, bytes })?;
        Ok(Output { done: range.start, range, model: Ok(model), ratios, error: None })
    }

    fn unmask(&self, range: Range<usize>, output: &mut Output) -> Result<(), UnmaskError> {
        let views = self.masks.iter().map(|mask| MaskObjectView::parse_exact(mask));
        let masks =
            views.map(|view| Ok(view?.vector())).collect::<Result<Vec<_>, UnmaskError>>()?;
        with_elements!(&self.aggregation.object().vector, sums => {
            self.unmask_numbers(sums, &masks, range, output)
        })
    }

    fn unmask_numbers<E: Number>(
        &self,
        sums: &Numbers<E>,
        masks: &[&[u8]],
        range: Range<usize>,
        output: &mut Output,
    ) -> Result<(), UnmaskError> {
        let (mut block, mut loaded) = ([E::default(); BLOCK], [E::default(); BLOCK]);
        let most = E::from_biguint(&self.factors.most);
        let [mask, more @ ..] = masks else { return Err(UnmaskError::NoMask) };
        for start in range.clone().step_by(BLOCK) {
            let sums_range = start..range.end.min(start + BLOCK);
            let (sums, group) = (&sums.vector[sums_range.clone()], *sums.group);
            let numbers = &mut block[..sums.len()];
            let bytes = sums_range.start * group.wire_bytes..sums_range.end * group.wire_bytes;
            // What is left is looked at once the last mask is off.
            let masks = &mask[bytes.clone()];
            let left = if more.is_empty() { most } else { group.max };
            let mut good = E::run(self.level, Subtract { group, most: left, sums, masks, numbers });
            for mask in more {
                let loaded = &mut loaded[..sums.len()];
                E::run(self.level, Load { group, bytes: &mask[bytes.clone()], numbers: loaded });
                good &= group.is_word() || group.all_below(self.level, loaded);
                group.sub_all(self.level, numbers, loaded);
            }
            if !more.is_empty() {
                good &= Group { max: most, ..group }.all_below(self.level, numbers);
            }
            if !good {
                let masks: Vec<_> = masks_in(masks, more, bytes).collect();
                return Err(self.first_error(start, group, most, &masks, numbers));
            }
            if let Ok(model) = &mut output.model {
                let pushed = with_weights!(model, weights => {
                    nearest::push(self.level, &self.factors, self.scale, numbers, weights)
                });
                if let Err((index, source)) = pushed {
                    output.model = Err(WeightOutOfRange { index: start + index, source });
                }
            }
            if let Some(ratios) = &self.ratios {
                ratios.write(self.level, &self.factors, numbers, &mut output.ratios);
            }
        }
        Ok(())
    }
}

impl Source {
    /// What is wrong with the first number of a block that is.
    #[cold]
    fn first_error<E: Number>(
        &self,
        start: usize,
        group: Group<E>,
        most: E,
        masks: &[&[u8]],
        numbers: &[E],
    ) -> UnmaskError {
        let part = MaskObjectPart::Vector;
        let below = |index: usize| masks.iter().all(|masks| group.load(masks, index) <= group.max);
        let good = |index: &usize| below(*index) && numbers[*index] <= most;
        let at = (0..numbers.len()).take_while(good).count();
        let index = start + at;
        if at < numbers.len() && below(at) {
            let nb_models = self.aggregation.nb_models();
            UnmaskError::ImpossibleSum { part, index, nb_models }
        } else {
            MaskObjectError::NotBelowOrder { part, index }.into()
        }
    }
}

/// Takes masks off.
struct Subtract<'a, E> {
    group: Group<E>,
    /// The largest number that the models can have added up to.
    most: E,
    sums: &'a [E],
    /// As they travel.
    masks: &'a [u8],
    numbers: &'a mut [E],
}

impl<E: Number> Kernel for Subtract<'_, E> {
    /// Are all masks below the order, and all sums possible?
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { group, most, sums, masks, numbers } = self;
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = group.load(masks, index);
        }
        // Apart from the loads, so that this one becomes vector instructions.
        let mut good = true;
        for (number, &sum) in numbers.iter_mut().zip(sums) {
            good &= number.at_most(group.max);
            *number = group.sub(sum, *number);
            good &= number.at_most(most);
        }
        good
    }
}

/// The same numbers of all masks.
fn masks_in<'a>(
    first: &'a [u8],
    more: &'a [&'a [u8]],
    bytes: Range<usize>,
) -> impl Iterator<Item = &'a [u8]> {
    std::iter::once(first).chain(more.iter().map(move |mask| &mask[bytes.clone()]))
}

/// Reads numbers as they travel.
struct Load<'a, E> {
    group: Group<E>,
    bytes: &'a [u8],
    numbers: &'a mut [E],
}

impl<E: Number> Kernel for Load<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { group, bytes, numbers } = self;
        if group.wire_bytes == E::BYTES {
            for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(E::BYTES)) {
                *number = E::load(bytes, 0, E::BYTES, group.wire_mask);
            }
        } else {
            for (index, number) in numbers.iter_mut().enumerate() {
                *number = group.load(bytes, index);
            }
        }
    }
}

/// Unmasks to exact weights at once (slow: for tests and tools).
///
/// # Errors
/// As [`Unmasker`].
pub fn unmask_ratios(
    aggregation: &Aggregation,
    mask: &MaskObjectView<'_>,
) -> Result<Vec<BigRational>, UnmaskError> {
    aggregation.validate_unmasking(mask)?;
    let factors = Factors::new(aggregation, std::slice::from_ref(mask))?;
    let group_order = aggregation.config().vect.order();
    let numbers = aggregation.object().numbers();
    let chunks = mask.vector().chunks_exact(mask.config().vect.bytes_per_number());
    let weights = numbers.iter().zip(chunks).enumerate().map(|(index, (sum, mask))| {
        let number = (sum + &group_order - BigUint::from_bytes_le(mask)) % &group_order;
        if number > factors.most {
            let (part, nb_models) = (MaskObjectPart::Vector, aggregation.nb_models());
            return Err(UnmaskError::ImpossibleSum { part, index, nb_models });
        }
        Ok(factors.weight(number))
    });
    weights.collect()
}

#[cfg(test)]
mod tests;
