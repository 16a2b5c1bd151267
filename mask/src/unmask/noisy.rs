//! From a sum with noise to the next global model.
//!
//! Each number of the sum is `n·B·E` plus the sum of the rounded differences plus the noise, modulo the order q. The shift
//! `n·B·E` is taken off first, modulo q, and what is left is lifted to the integers between -q/2 (not included) and q/2. The other way
//! round, lifting before the shift is taken off, what must fit below q/2 would be *twice* n·E and the noise: with the head-room that
//! is [checked](crate::noise::HeadRoom), sums would come out wrong by q.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::super::aggregation::{Aggregation, UnmaskError};
use super::super::config::{BoundType, DataType, MaskConfig};
use super::super::element::Element;
use super::super::group::{Elements, Numbers};
use super::super::object::MaskObjectView;
use super::check_masks;
use crate::model::Model;

/// Why there is no next global model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoisyUnmaskError {
    /// As without noise.
    #[error(transparent)]
    Unmask(#[from] UnmaskError),
    /// The round's config is none for noise.
    #[error("there is no noise with {0}: it takes the group type Word32 or Word64, the bound type B0, and floats")]
    NoConfigForNoise(MaskConfig),
    /// C is not above 0, or not finite.
    #[error("the clipping norm must be above 0 and finite, and is {0:?}")]
    Norm(f64),
    /// The previous global model is another than the one that the round has started from.
    #[error("the previous global model has {found_len} {found} weights, and the round {expected_len} {expected} weights")]
    OtherPrevious {
        /// The round's type.
        expected: DataType,
        /// The round's length.
        expected_len: usize,
        /// The model's type.
        found: DataType,
        /// The model's length.
        found_len: usize,
    },
    /// A weight is beyond the range of its type: the models have diverged.
    #[error("weight {index} of the next global model is not a finite number")]
    NotFinite {
        /// The index of the first one.
        index: usize,
    },
}

/// Makes the next global model of a round with noise, in steps: the previous one plus C times the mean difference.
///
/// The mean is over the number of models; the sum of their scalars, which are all 1, is not asked: a single wrong one would fail the
/// round. There is no check of ranges either, as noise has none.
///
/// For each weight, in doubles and in this order: `mean = d / (E·n)`, `next = previous + C·mean`, where d is the unmasked sum, rounded
/// to a double if it is longer; then once to the round's type. So everybody who recomputes it finds the same bits.
///
/// To use several threads: as [`Unmasker`](super::Unmasker).
pub struct NoisyUnmasker {
    source: Arc<Source>,
    output: Output,
}

/// Some weights of the model, for another thread.
pub struct NoisyUnmaskPart {
    source: Arc<Source>,
    output: Output,
}

struct Source {
    aggregation: Arc<Aggregation>,
    masks: Vec<Bytes>,
    clip: f64,
    previous: Option<Arc<Model>>,
    /// E·n.
    divisor: f64,
}

struct Output {
    range: Range<usize>,
    done: usize,
    model: Model,
    error: Option<NoisyUnmaskError>,
}

/// Weights that are made at a time.
const BLOCK: usize = 512;

/// Weights of a part, at most.
const PART: usize = 256 << 10;

/// Shows the shape and the progress.
impl fmt::Debug for NoisyUnmasker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoisyUnmasker({:?}, {} weights done)", self.source.aggregation, self.output.done)
    }
}

/// Shows the weights and the progress.
impl fmt::Debug for NoisyUnmaskPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output { range, done, .. } = &self.output;
        write!(f, "NoisyUnmaskPart(weights {range:?}, done up to {done})")
    }
}

impl NoisyUnmasker {
    /// Begins with the sum of the masked differences, the masks of all groups, the clipping norm C, and the model that the round
    /// has started from: none for the first round, whose differences are the models themselves.
    ///
    /// # Errors
    /// If there are no or too many models, a mask does not fit, the config is none for noise, C is no norm, or the previous model
    /// does not fit.
    pub fn new(
        aggregation: impl Into<Arc<Aggregation>>,
        masks: Vec<Bytes>,
        clip: f64,
        previous: Option<Arc<Model>>,
    ) -> Result<Self, NoisyUnmaskError> {
        let aggregation = aggregation.into();
        let config = aggregation.config().vect;
        let floats = matches!(config.data_type(), DataType::F32 | DataType::F64);
        if !(config.group_type().is_word() && config.bound_type() == BoundType::B0 && floats) {
            return Err(NoisyUnmaskError::NoConfigForNoise(config));
        }
        if !(clip > 0.0 && clip.is_normal()) {
            return Err(NoisyUnmaskError::Norm(clip));
        }
        if let Some(model) = &previous {
            let (expected, expected_len) = (config.data_type(), aggregation.len());
            let (found, found_len) = (model.data_type(), model.len());
            if (expected, expected_len) != (found, found_len) {
                return Err(NoisyUnmaskError::OtherPrevious {
                    expected,
                    expected_len,
                    found,
                    found_len,
                });
            }
        }
        check_masks(&aggregation, &masks)?;
        // A power of two times an integer: exact.
        let step = u64::try_from(config.exp_shift()).unwrap_or(u64::MAX);
        let divisor = step as f64 * aggregation.nb_models() as f64;
        let len = aggregation.len();
        let source = Source { aggregation, masks, clip, previous, divisor };
        let output = source.output(0..len)?;
        Ok(NoisyUnmasker { source: Arc::new(source), output })
    }

    /// Makes at most `max_weights` more; returns whether it is done. An error also ends it.
    pub fn step(&mut self, max_weights: usize) -> bool {
        self.output.step(&self.source, max_weights)
    }

    /// The progress: weights done, and weights in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.output.done, self.output.range.end)
    }

    /// Splits off the next weights, as up to `parts` pieces of work for any threads; none once nothing is left. Nothing is lost if
    /// a part is: what is not absorbed is still left to do here.
    pub fn split(&self, parts: usize) -> Vec<NoisyUnmaskPart> {
        let Output { done, range, .. } = &self.output;
        let left = if self.output.is_done() { 0 } else { range.end - done };
        let size = left.div_ceil(parts.max(1)).min(PART);
        let ranges = (0..parts).map(|i| {
            let at = |i: usize| range.end.min(done + i * size);
            at(i)..at(i + 1)
        });
        let parts = ranges.take_while(|range| !range.is_empty()).map(|range| {
            let output = self.source.output(range).ok()?;
            Some(NoisyUnmaskPart { source: self.source.clone(), output })
        });
        // Without memory for parts it goes on without.
        parts.collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// Takes back a part, and does what the part has not done. Parts come in the order of [`split`](Self::split); one that is not the
    /// next is dropped, and its weights are left to do.
    pub fn absorb(&mut self, mut part: NoisyUnmaskPart) {
        while !part.step(usize::MAX) {}
        if Arc::ptr_eq(&part.source, &self.source) && part.output.range.start == self.output.done {
            self.output.done = part.output.done;
            self.output.error = part.output.error;
            self.output.model.append(&part.output.model);
        }
    }

    /// The next global model, in the round's type; makes what is left of it.
    ///
    /// # Errors
    /// If a weight is not finite.
    pub fn finish(mut self) -> Result<Model, NoisyUnmaskError> {
        self.step(usize::MAX);
        match self.output.error {
            Some(error) => Err(error),
            None => Ok(self.output.model),
        }
    }
}

impl NoisyUnmaskPart {
    /// Makes at most `max_weights` more; returns whether it is done.
    pub fn step(&mut self, max_weights: usize) -> bool {
        self.output.step(&self.source, max_weights)
    }

    /// The progress: weights done, and weights in all.
    pub fn progress(&self) -> (usize, usize) {
        let Output { done, range, .. } = &self.output;
        (done - range.start, range.len())
    }
}

impl Output {
    fn step(&mut self, source: &Source, max_weights: usize) -> bool {
        if self.error.is_none() {
            let end = self.range.end.min(self.done.saturating_add(max_weights));
            let range = std::mem::replace(&mut self.done, end)..end;
            self.error = source.unmask(range, &mut self.model).err();
        }
        self.is_done()
    }

    fn is_done(&self) -> bool {
        self.error.is_some() || self.done == self.range.end
    }
}

impl Source {
    fn output(&self, range: Range<usize>) -> Result<Output, UnmaskError> {
        let len = range.len();
        let mut model = Model::empty(self.aggregation.config().vect.data_type);
        model.try_reserve_exact(len).map_err(|_| UnmaskError::OutOfMemory { len, bytes: 0 })?;
        Ok(Output { done: range.start, range, model, error: None })
    }

    fn unmask(&self, range: Range<usize>, model: &mut Model) -> Result<(), NoisyUnmaskError> {
        let views = self.masks.iter().map(|mask| MaskObjectView::parse_exact(mask));
        let masks =
            views.map(|view| Ok(view?.vector())).collect::<Result<Vec<_>, UnmaskError>>()?;
        match &self.aggregation.object().vector {
            Elements::W0(sums) => self.unmask_words(sums, &masks, range, model),
            Elements::W1(sums) => self.unmask_words(sums, &masks, range, model),
            _ => Err(NoisyUnmaskError::NoConfigForNoise(self.aggregation.config().vect)),
        }
    }

    fn unmask_words<E: Central>(
        &self,
        sums: &Numbers<E>,
        masks: &[&[u8]],
        range: Range<usize>,
        model: &mut Model,
    ) -> Result<(), NoisyUnmaskError> {
        let config = self.aggregation.config().vect;
        let zero = config.add_shift_integer() * config.exp_shift() * self.aggregation.nb_models();
        let zero = E::from_biguint(&zero);
        let (mut numbers, mut weights) = ([E::default(); BLOCK], [0.0; BLOCK]);
        for start in range.clone().step_by(BLOCK) {
            let block = start..range.end.min(start + BLOCK);
            let numbers = &mut numbers[..block.len()];
            let weights = &mut weights[..block.len()];
            numbers.copy_from_slice(&sums.vector[block.clone()]);
            for mask in masks {
                let mask = &mask[block.start * E::BYTES..block.end * E::BYTES];
                for (number, mask) in numbers.iter_mut().zip(mask.chunks_exact(E::BYTES)) {
                    *number = number.wrapping_sub(E::read(mask));
                }
            }
            for (weight, number) in weights.iter_mut().zip(numbers.iter()) {
                *weight = self.clip * (number.central(zero) / self.divisor);
            }
            match self.previous.as_deref() {
                Some(Model::F32(previous)) => add(weights, &previous[block]),
                Some(Model::F64(previous)) => add(weights, &previous[block]),
                _ => {}
            }
            let finite = match model {
                Model::F32(out) => {
                    let first = out.len();
                    out.extend(weights.iter().map(|weight| *weight as f32));
                    out[first..].iter().position(|weight| !weight.is_finite())
                }
                Model::F64(out) => {
                    out.extend_from_slice(weights);
                    weights.iter().position(|weight| !weight.is_finite())
                }
                Model::I32(_) | Model::I64(_) => None,
            };
            if let Some(at) = finite {
                return Err(NoisyUnmaskError::NotFinite { index: start + at });
            }
        }
        Ok(())
    }
}

fn add<W: Copy + Into<f64>>(weights: &mut [f64], previous: &[W]) {
    for (weight, previous) in weights.iter_mut().zip(previous) {
        let previous: f64 = (*previous).into();
        *weight += previous;
    }
}

/// Numbers modulo a word, lifted to the integers around one of them.
trait Central: Element {
    /// Reads exactly the bytes of one.
    fn read(bytes: &[u8]) -> Self;

    /// `self - zero`, above -q/2 and at most q/2, as the nearest double; never a negative zero.
    fn central(self, zero: Self) -> f64;
}

macro_rules! central {
    ($word:ty, $signed:ty) => {
        impl Central for $word {
            #[inline(always)]
            fn read(bytes: &[u8]) -> Self {
                let mut whole = [0; size_of::<$word>()];
                whole.copy_from_slice(bytes);
                <$word>::from_le_bytes(whole)
            }

            #[inline(always)]
            fn central(self, zero: Self) -> f64 {
                // The other way round, since a signed integer has one more below 0 than above.
                let negative = <$word>::wrapping_sub(zero, self) as $signed;
                0.0 - negative as f64
            }
        }
    };
}

central!(u32, i32);
central!(u64, i64);
