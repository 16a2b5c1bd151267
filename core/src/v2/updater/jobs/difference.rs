//! What is masked in a round with noise: the difference of the local model from the global one, clipped to a length of 1.
//!
//! `x = clip(local - global, C) / C`, so that the bound is about what is private. Rounding must not make it longer than 1 by
//! more than the encoding allows for: weights are rounded towards zero, and [`CLOSE`] makes up for the rounding of the
//! sums. That it is so is then checked, in integers.

use std::sync::Arc;

use super::Outcome;
use crate::job::{JobKind, Progress, Work};
use crate::mask::{GroupType, MaskConfig, MaskError};
use crate::model::{CastError, DataType, Model, Weights};

/// How many weights are looked at in a step: about a millisecond's work. Sums are made of these stretches in their order,
/// whoever has done them.
const STRETCH: usize = 1 << 17;

/// What the length is made shorter by: more than the rounding of the sums can make it longer, and nothing that a model notices.
const CLOSE: f64 = 1.0 - 1.0 / (1u64 << 30) as f64;

/// Why there is no difference that could be masked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DifferenceError {
    /// A weight cannot be had in the round's type, or is not finite.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// The squares cannot be added up.
    #[error("the local model is so far from the global one that their distance is no number: it has diverged")]
    TooFar,
    /// It is longer than it may be after clipping: a fault of this program.
    #[error("the clipped difference is longer than the noise is made for: please report it")]
    TooLong,
}

impl From<CastError> for DifferenceError {
    fn from(error: CastError) -> Self {
        Self::Mask(error.into())
    }
}

/// The numbers that weights become: multiples of a step, rounded down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// How many steps there are in 1: a power of two.
    steps: f64,
    /// The most that the squares of all numbers may add up to.
    most: u128,
}

impl Grid {
    /// Of a word group with the bound B0, and so many weights.
    pub(super) fn new(config: MaskConfig, length: usize) -> Self {
        let bits = if config.group_type() == GroupType::Word32 { 32 } else { 64 };
        let range = 2 * u128::from(config.max_nb_models());
        let steps = 1u128 << ((1u128 << bits) - 1).checked_div(range).unwrap_or(1).max(1).ilog2();
        // Each number is rounded down by less than a step.
        let root = length.isqrt();
        let root = root + usize::from(root * root < length);
        let longest = steps + root as u128;
        Self { steps: steps as f64, most: longest * longest }
    }

    fn square(&self, weight: f64) -> u128 {
        let number = (weight * self.steps).floor().abs() as u128;
        number * number
    }

    fn allows(&self, squares: u128) -> bool {
        squares <= self.most
    }
}

/// The two models, and how they are clipped.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) local: Arc<Model>,
    /// Nothing in the first round: zeros.
    pub(super) global: Option<Arc<Model>>,
    pub(super) data_type: DataType,
    pub(super) clip: f64,
    pub(super) grid: Grid,
}

/// A stretch of the clipped difference, and the sum of the squares of its numbers as they are masked.
pub(in super::super) struct Clipped {
    weights: Model,
    squares: u128,
}

impl Pair {
    fn stretches(&self) -> usize {
        self.local.len().div_ceil(STRETCH)
    }

    /// Each weight's difference of a stretch, in its order.
    fn differences(&self, at: usize, mut see: impl FnMut(f64)) -> Result<(), DifferenceError> {
        let range = at * STRETCH..self.local.len().min((at + 1) * STRETCH);
        let mut index = range.start;
        let mut each = |local: f64, global: f64| {
            let difference = local - global;
            if !difference.is_finite() {
                return Err(MaskError::NotFinite { index });
            }
            see(difference);
            index += 1;
            Ok(())
        };
        let global = self.global.as_deref();
        let mut start = range.start;
        self.local.blocks::<DifferenceError>(self.data_type, range, |weights| {
            macro_rules! block {
                ($local:expr, $variant:ident) => {{
                    let all = match global {
                        Some(Model::$variant(all)) => all.get(start..start + $local.len()),
                        _ => None,
                    };
                    for (i, local) in $local.iter().enumerate() {
                        let global = all.map_or(0.0, |all| f64::from(all[i]));
                        each(f64::from(*local), global)?;
                    }
                    start += $local.len();
                }};
            }
            match weights {
                Weights::F32(local) => block!(local, F32),
                Weights::F64(local) => block!(local, F64),
                // Terms with noise and integers are refused before.
                Weights::I32(_) | Weights::I64(_) => {}
            }
            Ok(())
        })
    }

    fn squares(&self, at: usize) -> Result<f64, DifferenceError> {
        let mut sum = 0.0;
        self.differences(at, |difference| sum += difference * difference)?;
        Ok(sum)
    }

    /// What differences are divided by.
    fn divisor(&self, squares: f64) -> Result<f64, DifferenceError> {
        let length = squares.sqrt();
        match length.is_finite() {
            true => Ok(length.max(self.clip) / CLOSE),
            false => Err(DifferenceError::TooFar),
        }
    }

    fn clipped(&self, at: usize, divisor: f64) -> Result<Clipped, DifferenceError> {
        let mut weights = Model::with_capacity(self.data_type, STRETCH.min(self.local.len()));
        let mut squares = 0u128;
        self.differences(at, |difference| {
            let weight = difference / divisor;
            let weight = match &mut weights {
                Model::F32(weights) => {
                    let weight = towards_zero(weight);
                    weights.push(weight);
                    f64::from(weight)
                }
                Model::F64(weights) => {
                    weights.push(weight);
                    weight
                }
                Model::I32(_) | Model::I64(_) => 0.0,
            };
            squares = squares.saturating_add(self.grid.square(weight));
        })?;
        Ok(Clipped { weights, squares })
    }
}

/// The nearest `f32` that is not longer.
fn towards_zero(weight: f64) -> f32 {
    let nearest = weight as f32;
    match f64::from(nearest).abs() > weight.abs() {
        // It is not 0, as that is not longer than anything.
        true => f32::from_bits(nearest.to_bits() - 1),
        false => nearest,
    }
}

/// Making the difference, in stretches that any core may do.
pub(super) struct Difference {
    pair: Pair,
    pass: Pass,
}

enum Pass {
    /// Adding up squares: those of the stretches so far.
    Measure(Vec<f64>),
    Clip {
        divisor: f64,
        weights: Model,
        squares: u128,
        stretches: usize,
    },
}

/// What parts give.
pub(in super::super) enum Stretches {
    Squares(Vec<f64>),
    Clipped(Vec<Clipped>),
}

impl Difference {
    pub(super) fn new(pair: Pair) -> Self {
        let squares = Vec::with_capacity(pair.stretches());
        Self { pair, pass: Pass::Measure(squares) }
    }

    /// The next stretch; the whole difference after the last.
    pub(super) fn step(&mut self) -> Result<Option<Model>, DifferenceError> {
        let all = self.pair.stretches();
        match &mut self.pass {
            Pass::Measure(squares) if squares.len() < all => {
                squares.push(self.pair.squares(squares.len())?);
                Ok(None)
            }
            Pass::Measure(squares) => {
                let divisor = self.pair.divisor(squares.iter().sum())?;
                let weights = Model::with_capacity(self.pair.data_type, self.pair.local.len());
                self.pass = Pass::Clip { divisor, weights, squares: 0, stretches: 0 };
                Ok(None)
            }
            Pass::Clip { divisor, stretches, .. } if *stretches < all => {
                let clipped = self.pair.clipped(*stretches, *divisor)?;
                self.append(clipped)?;
                Ok(None)
            }
            Pass::Clip { weights, squares, .. } => match self.pair.grid.allows(*squares) {
                true => Ok(Some(std::mem::replace(weights, Model::F32(Vec::new())))),
                false => Err(DifferenceError::TooLong),
            },
        }
    }

    fn append(&mut self, clipped: Clipped) -> Result<(), DifferenceError> {
        if let Pass::Clip { weights, squares, stretches, .. } = &mut self.pass {
            weights.append_converted(&clipped.weights)?;
            *squares = squares.saturating_add(clipped.squares);
            *stretches += 1;
        }
        Ok(())
    }

    /// Weights done of both passes.
    pub(super) fn done(&self) -> usize {
        match &self.pass {
            Pass::Measure(squares) => squares.len() * STRETCH,
            Pass::Clip { stretches, .. } => (self.pair.stretches() + stretches) * STRETCH,
        }
    }

    /// Parts for what is left of the pass.
    pub(super) fn split(&self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let all = self.pair.stretches();
        let (next, divisor) = match &self.pass {
            Pass::Measure(squares) => (squares.len(), None),
            Pass::Clip { stretches, divisor, .. } => (*stretches, Some(*divisor)),
        };
        let share = (all - next.min(all)).div_ceil(parts.max(1)).max(1);
        let part = |next: usize| DoStretches {
            pair: self.pair.clone(),
            next,
            end: all.min(next + share),
            done: match divisor {
                None => Stretches::Squares(Vec::new()),
                Some(_) => Stretches::Clipped(Vec::new()),
            },
            divisor: divisor.unwrap_or_default(),
            error: None,
        };
        (next..all).step_by(share).map(|next| Box::new(part(next)) as _).collect()
    }

    /// Takes back a part.
    pub(super) fn absorb(&mut self, part: Stretches) -> Result<(), DifferenceError> {
        match (&mut self.pass, part) {
            (Pass::Measure(squares), Stretches::Squares(more)) => squares.extend(more),
            (Pass::Clip { .. }, Stretches::Clipped(more)) => {
                for clipped in more {
                    self.append(clipped)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

struct DoStretches {
    pair: Pair,
    next: usize,
    end: usize,
    divisor: f64,
    done: Stretches,
    error: Option<DifferenceError>,
}

impl Work<Outcome> for DoStretches {
    fn kind(&self) -> JobKind {
        JobKind::MaskModel
    }

    fn step(&mut self) -> bool {
        if self.next < self.end && self.error.is_none() {
            let done = match &mut self.done {
                Stretches::Squares(done) => self.pair.squares(self.next).map(|sum| done.push(sum)),
                Stretches::Clipped(done) => {
                    self.pair.clipped(self.next, self.divisor).map(|clipped| done.push(clipped))
                }
            };
            self.error = done.err();
            self.next += 1;
        }
        self.error.is_some() || self.next == self.end
    }

    fn progress(&self) -> Progress {
        Progress { done: 0, total: ((self.end - self.next) * STRETCH) as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        super::part(super::Part::Stretches(self.error.map_or(Ok(self.done), Err)))
    }
}
