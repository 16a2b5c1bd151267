//! A step of an optimiser, in bounded pieces.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::{Optimizer, OptimizerState, StepRule};
use crate::coordinator::GlobalModel;
use crate::mask::WeightOutOfRange;
use crate::model::{ratio, Model};

/// The most bytes of a float in the old form: the smallest has 2 digits above 34, of 4 bytes each, behind 9 bytes of either number.
const MAX_RATIO: usize = 2 * 9 + 4 * (2 + 34);

/// Why there is no next global model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptimizeError {
    /// The mean has a weight that its type cannot hold.
    #[error(
        "the mean has a weight beyond its type, and an optimizer takes no step towards that: {0}"
    )]
    Mean(#[from] WeightOutOfRange),
    /// The next model, or what the optimiser remembers, would have one.
    #[error("weight {index} of the next global model would be beyond its type: the learning rate is too large, or updates are")]
    OutOfRange {
        /// Which weight.
        index: usize,
    },
    /// The updates have no weight to divide by.
    #[error("the last number of the mean is not positive: it should be the updates' weight, as the optimizer is told that there are sums beside the model. Updates are packed otherwise")]
    NoWeight,
    /// There is not enough memory.
    #[error("there is not enough memory for a step of the optimizer with {length} weights")]
    OutOfMemory {
        /// How many weights.
        length: usize,
    },
}

/// A step that can be made: there is an optimiser, and a model to go on from.
#[derive(Clone)]
pub(in crate::coordinator) struct Plan {
    optimizer: Optimizer,
    last: Arc<Model>,
    /// What the numbers of `last` are divided by.
    last_weight: Option<f64>,
    /// Nothing where it begins anew.
    state: Option<Arc<OptimizerState>>,
}

impl Plan {
    /// The step that follows a global model, for a mean of so many numbers. Nothing without an optimiser, and where there is no model
    /// to go on from, or none of the same shape: then the mean is the next one. Of another optimiser's memory nothing is taken.
    pub fn of(
        optimizer: Option<&Optimizer>,
        model: Option<&GlobalModel>,
        length: usize,
    ) -> Option<Self> {
        let (optimizer, model) = optimizer.zip(model)?;
        let last = model.weights.as_ref().filter(|weights| weights.len() == length)?;
        let beside = usize::try_from(optimizer.beside_model).ok()?;
        let weights = length.checked_sub(beside).filter(|weights| *weights > 0)?;
        let last_weight = match beside {
            0 => None,
            // There was another layout before.
            _ => Some(weight_of(last)?),
        };
        let state = model.optimizer.as_ref().filter(|state| {
            state.kind == optimizer.rule.kind()
                && state.moments.iter().all(|each| each.len() == weights)
        });
        let (optimizer, last, state) = (optimizer.clone(), last.clone(), state.cloned());
        Some(Self { optimizer, last, last_weight, state })
    }

    /// How many weights the model has, without what is beside it.
    fn length(&self) -> usize {
        self.last.len() - self.optimizer.beside_model as usize
    }
}

/// The number that all others are to be divided by, if it is one that can be.
fn weight_of(model: &Model) -> Option<f64> {
    let weight = match model {
        Model::F32(all) => f64::from(*all.last()?),
        Model::F64(all) => *all.last()?,
        Model::I32(_) | Model::I64(_) => return None,
    };
    (weight > 0.0 && weight.is_finite()).then_some(weight)
}

/// The next global model.
pub struct Optimized {
    pub model: Model,
    /// Its old form.
    pub ratios: Vec<u8>,
    pub state: OptimizerState,
}

impl Optimized {
    pub fn bytes(&self) -> usize {
        self.ratios.len() + self.model.len() * 8 + self.state.bytes()
    }
}

/// A step that is under way.
pub(in crate::coordinator) struct Optimizing {
    plan: Plan,
    mean: Model,
    mean_weight: Option<f64>,
    rate: f64,
    next: Model,
    moments: Vec<Vec<f64>>,
    ratios: Vec<u8>,
    error: Option<OptimizeError>,
    /// Room for the next piece: of the last model, the mean, and then the next model.
    piece: [Vec<f64>; 2],
}

impl Optimizing {
    pub fn new(plan: Plan, mean: Result<Model, WeightOutOfRange>) -> Result<Self, OptimizeError> {
        let mean = mean?;
        let mean_weight = match plan.last_weight {
            None => None,
            Some(_) => Some(weight_of(&mean).ok_or(OptimizeError::NoWeight)?),
        };
        let (count, length) = (mean.len(), plan.length());
        let out_of_memory = |_| OptimizeError::OutOfMemory { length };
        let mut moments = vec![Vec::new(); plan.optimizer.rule.kind().moments()];
        for each in &mut moments {
            each.try_reserve_exact(length).map_err(out_of_memory)?;
        }
        let mut next = match mean {
            Model::F32(_) => Model::F32(Vec::new()),
            _ => Model::F64(Vec::new()),
        };
        match &mut next {
            Model::F32(all) => all.try_reserve_exact(count).map_err(out_of_memory)?,
            Model::F64(all) => all.try_reserve_exact(count).map_err(out_of_memory)?,
            Model::I32(_) | Model::I64(_) => {}
        }
        // Most weights need no more; the few that do have room behind them all.
        let ratio_bytes = match next {
            Model::F32(_) => 34,
            _ => 42,
        };
        let mut ratios = Vec::new();
        let ratio_bytes = count.saturating_mul(ratio_bytes).saturating_add(8 + MAX_RATIO);
        ratios.try_reserve_exact(ratio_bytes).map_err(out_of_memory)?;
        ratio::write_count(count, &mut ratios);
        let rate =
            plan.optimizer.learning_rate.at(plan.state.as_ref().map_or(0, |state| state.steps));
        let (error, piece) = Default::default();
        Ok(Self { plan, mean, mean_weight, rate, next, moments, ratios, error, piece })
    }

    /// How many numbers are done, and how many there are.
    pub fn progress(&self) -> (usize, usize) {
        (self.next.len(), self.mean.len())
    }

    /// Makes at most so many numbers more; true once it is done. An error also ends it.
    pub fn step(&mut self, most: usize) -> bool {
        let (done, all) = self.progress();
        if self.error.is_none() && done < all {
            let made = match self.plan.length() {
                // What is beside the model stays as it is.
                length if done >= length => self.copy(done..all.min(done + most)),
                length => self.weights(done..length.min(done + most)),
            };
            self.error = made.err();
        }
        self.error.is_some() || self.next.len() == all
    }

    fn weights(&mut self, range: Range<usize>) -> Result<(), OptimizeError> {
        let Self { plan, mean, mean_weight, rate, next, moments, piece: [model, after], .. } = self;
        read(&plan.last, range.clone(), plan.last_weight, model);
        read(mean, range.clone(), *mean_weight, after);
        let before = |nth: usize, first: f64| {
            let state = plan.state.as_deref().and_then(|state| state.moments.get(nth));
            move |index: usize| state.map_or(first, |moments| moments[index])
        };
        let rate = *rate;
        for (index, (model, mean)) in range.clone().zip(model.iter().zip(after.iter_mut())) {
            let (model, delta) = (*model, *mean - *model);
            *mean = match plan.optimizer.rule {
                StepRule::FedAvg if rate == 1.0 => *mean,
                StepRule::FedAvg => model + rate * delta,
                StepRule::FedAvgM { momentum } => {
                    let velocity = momentum * before(0, 0.0)(index) + delta;
                    moments[0].push(velocity);
                    model + rate * velocity
                }
                StepRule::FedAdagrad { beta1, tau } => {
                    let v = before(1, tau * tau)(index) + delta * delta;
                    let m = beta1 * before(0, 0.0)(index) + (1.0 - beta1) * delta;
                    adaptive(moments, model, m, v, rate, tau)
                }
                StepRule::FedAdam { beta1, beta2, tau } => {
                    let v = beta2 * before(1, tau * tau)(index) + (1.0 - beta2) * (delta * delta);
                    let m = beta1 * before(0, 0.0)(index) + (1.0 - beta1) * delta;
                    adaptive(moments, model, m, v, rate, tau)
                }
                StepRule::FedYogi { beta1, beta2, tau } => {
                    let (v, squared) = (before(1, tau * tau)(index), delta * delta);
                    let v = v - (1.0 - beta2) * squared * sign(v - squared);
                    let m = beta1 * before(0, 0.0)(index) + (1.0 - beta1) * delta;
                    adaptive(moments, model, m, v, rate, tau)
                }
            };
        }
        let overflow = |nth: usize| OptimizeError::OutOfRange { index: range.start + nth };
        for each in moments.iter() {
            let wrong = each[range.clone()].iter().position(|number| !number.is_finite());
            wrong.map_or(Ok(()), |nth| Err(overflow(nth)))?;
        }
        write(next, after, *mean_weight).map_err(overflow)?;
        self.write_ratios(range)
    }

    fn copy(&mut self, range: Range<usize>) -> Result<(), OptimizeError> {
        match (&self.mean, &mut self.next) {
            (Model::F32(mean), Model::F32(next)) => next.extend_from_slice(&mean[range.clone()]),
            (Model::F64(mean), Model::F64(next)) => next.extend_from_slice(&mean[range.clone()]),
            // Made of the same type, which is one of floats: otherwise there is no plan.
            _ => return Err(OptimizeError::OutOfRange { index: range.start }),
        }
        self.write_ratios(range)
    }

    fn write_ratios(&mut self, range: Range<usize>) -> Result<(), OptimizeError> {
        let length = self.plan.length();
        for index in range {
            let weight = match &self.next {
                Model::F32(all) => f64::from(all[index]),
                Model::F64(all) => all[index],
                Model::I32(_) | Model::I64(_) => 0.0,
            };
            // A lack of memory ends the round, not the process.
            if self.ratios.capacity() - self.ratios.len() < MAX_RATIO {
                let reserved = self.ratios.try_reserve(MAX_RATIO);
                reserved.map_err(|_| OptimizeError::OutOfMemory { length })?;
            }
            ratio::write_float(weight, &mut self.ratios);
        }
        Ok(())
    }

    /// The next model; makes what is left of it.
    pub fn finish(mut self) -> Result<Optimized, OptimizeError> {
        while !self.step(usize::MAX) {}
        if let Some(error) = self.error {
            return Err(error);
        }
        let steps = self.plan.state.as_ref().map_or(0, |state| state.steps).saturating_add(1);
        let kind = self.plan.optimizer.rule.kind();
        let state = OptimizerState { kind, steps, moments: self.moments };
        Ok(Optimized { model: self.next, ratios: self.ratios, state })
    }
}

/// The next weight, in the order of algorithm 2: each operation rounds once.
fn adaptive(moments: &mut [Vec<f64>], model: f64, m: f64, v: f64, rate: f64, tau: f64) -> f64 {
    moments[0].push(m);
    moments[1].push(v);
    model + rate * m / (v.sqrt() + tau)
}

/// As the paper has it: of 0 it is 0.
fn sign(number: f64) -> f64 {
    if number == 0.0 {
        0.0
    } else {
        number.signum()
    }
}

/// Weights as 64-bit floats, each divided in its own type.
fn read(model: &Model, range: Range<usize>, weight: Option<f64>, out: &mut Vec<f64>) {
    out.clear();
    match (model, weight) {
        (Model::F32(all), None) => out.extend(all[range].iter().map(|w| f64::from(*w))),
        (Model::F32(all), Some(weight)) => {
            out.extend(all[range].iter().map(|w| f64::from(*w / weight as f32)));
        }
        (Model::F64(all), None) => out.extend_from_slice(&all[range]),
        (Model::F64(all), Some(weight)) => out.extend(all[range].iter().map(|w| w / weight)),
        (Model::I32(all), _) => out.extend(all[range].iter().map(|w| f64::from(*w))),
        (Model::I64(all), _) => out.extend(all[range].iter().map(|w| *w as f64)),
    }
}

/// Appends weights, each multiplied in its own type. The first that it cannot hold is the error.
fn write(model: &mut Model, weights: &[f64], by: Option<f64>) -> Result<(), usize> {
    let mut wrong = None;
    match model {
        Model::F32(all) => {
            all.extend(weights.iter().enumerate().map(|(nth, weight)| {
                let weight = *weight as f32;
                let weight = by.map_or(weight, |by| weight * by as f32);
                wrong = wrong.or((!weight.is_finite()).then_some(nth));
                weight
            }));
        }
        Model::F64(all) => {
            all.extend(weights.iter().enumerate().map(|(nth, weight)| {
                let weight = by.map_or(*weight, |by| weight * by);
                wrong = wrong.or((!weight.is_finite()).then_some(nth));
                weight
            }));
        }
        Model::I32(_) | Model::I64(_) => wrong = Some(0),
    }
    wrong.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
