//! What becomes of the mean of a round: optimisers that take a step towards it, instead of jumping there.
//!
//! The difference between the mean of the local models and the global model that they were trained from takes the place of a
//! gradient (with the other sign). The optimisers are those of the papers:
//!
//! - FedAvg: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017;
//! - FedAvgM: Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
//!   Classification", 2019;
//! - FedAdagrad, FedAdam and FedYogi: Reddi et al., "Adaptive Federated Optimization", 2021, algorithm 2.
//!
//! It is arithmetic with 64-bit floats, and of that only what IEEE 754 defines to the last bit (`+ - * /` and the square root): the
//! same rounds give the same models on every machine. What an optimiser remembers is a part of the [global
//! model](super::GlobalModel) that it has made, and is stored with it, in one record: whoever goes on from that
//! model goes on with just that memory, after a crash or in another replica.

mod rate;
mod state;
mod step;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::rate::{InvalidLearningRate, LearningRate};
pub use self::state::OptimizerState;
pub use self::step::OptimizeError;
pub(super) use self::step::{Optimized, Optimizing, Plan};

/// The name of an optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OptimizerKind {
    /// McMahan et al.
    FedAvg,
    /// Hsu et al.
    FedAvgM,
    /// Reddi et al.
    FedAdagrad,
    /// Reddi et al.
    FedAdam,
    /// Reddi et al.
    FedYogi,
}

impl OptimizerKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::FedAvg, Self::FedAvgM, Self::FedAdagrad, Self::FedAdam, Self::FedYogi];

    /// The name in the papers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FedAvg => "FedAvg",
            Self::FedAvgM => "FedAvgM",
            Self::FedAdagrad => "FedAdagrad",
            Self::FedAdam => "FedAdam",
            Self::FedYogi => "FedYogi",
        }
    }

    /// How many vectors it remembers, each as long as the model.
    pub const fn moments(self) -> usize {
        match self {
            Self::FedAvg => 0,
            Self::FedAvgM => 1,
            Self::FedAdagrad | Self::FedAdam | Self::FedYogi => 2,
        }
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no optimiser.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an optimizer is one of FedAvg, FedAvgM, FedAdagrad, FedAdam, FedYogi")]
pub struct UnknownOptimizer;

/// In any case of letters.
impl FromStr for OptimizerKind {
    type Err = UnknownOptimizer;

    fn from_str(text: &str) -> Result<Self, UnknownOptimizer> {
        let named = |kind: &Self| kind.name().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or(UnknownOptimizer)
    }
}

/// How an optimiser makes a step of the difference `delta` between the mean and the last model.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum StepRule {
    /// `rate * delta` is added: with a rate of 1 the next model is the mean, to the last bit. (With sums beside the model it is
    /// divided and multiplied again, each with a rounding.)
    FedAvg,
    /// `v = momentum * v + delta`, and `rate * v` is added.
    FedAvgM {
        /// At least 0 and below 1.
        momentum: f64,
    },
    /// `m = beta1 * m + (1 - beta1) * delta` and `v = v + delta * delta`, from `v = tau * tau` on; `rate * m / (sqrt(v) + tau)` is
    /// added.
    FedAdagrad {
        /// At least 0 and below 1.
        beta1: f64,
        /// Above 0.
        tau: f64,
    },
    /// The same with `v = beta2 * v + (1 - beta2) * delta * delta`.
    FedAdam {
        /// At least 0 and below 1.
        beta1: f64,
        /// At least 0 and below 1.
        beta2: f64,
        /// Above 0.
        tau: f64,
    },
    /// The same with `v = v - (1 - beta2) * delta * delta * sign(v - delta * delta)`.
    FedYogi {
        /// At least 0 and below 1.
        beta1: f64,
        /// At least 0 and below 1.
        beta2: f64,
        /// Above 0.
        tau: f64,
    },
}

impl StepRule {
    /// With the constants of the papers: a momentum of 0.9, `beta1` 0.9 (FedAdagrad: 0), `beta2` 0.99, `tau` 0.001.
    pub const fn of(kind: OptimizerKind) -> Self {
        let (beta1, beta2, tau) = (0.9, 0.99, 1e-3);
        match kind {
            OptimizerKind::FedAvg => Self::FedAvg,
            OptimizerKind::FedAvgM => Self::FedAvgM { momentum: 0.9 },
            OptimizerKind::FedAdagrad => Self::FedAdagrad { beta1: 0.0, tau },
            OptimizerKind::FedAdam => Self::FedAdam { beta1, beta2, tau },
            OptimizerKind::FedYogi => Self::FedYogi { beta1, beta2, tau },
        }
    }

    /// Its name.
    pub const fn kind(&self) -> OptimizerKind {
        match self {
            Self::FedAvg => OptimizerKind::FedAvg,
            Self::FedAvgM { .. } => OptimizerKind::FedAvgM,
            Self::FedAdagrad { .. } => OptimizerKind::FedAdagrad,
            Self::FedAdam { .. } => OptimizerKind::FedAdam,
            Self::FedYogi { .. } => OptimizerKind::FedYogi,
        }
    }
}

/// An optimiser, as settings have it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Optimizer {
    /// How it makes a step.
    pub rule: StepRule,
    /// How far a step goes.
    pub learning_rate: LearningRate,
    /// How many numbers at the end of each model are no weights, but sums beside the model; the last of them is the number that
    /// all others are to be divided by (the updates' mean weight). 0 if all numbers are weights.
    pub beside_model: u64,
}

impl Optimizer {
    /// With the constants of the papers; all numbers of a model are weights.
    pub fn new(kind: OptimizerKind, learning_rate: LearningRate) -> Self {
        Self { rule: StepRule::of(kind), learning_rate, beside_model: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        for kind in OptimizerKind::ALL {
            assert_eq!(kind.name().to_lowercase().parse(), Ok(kind));
            assert_eq!(StepRule::of(kind).kind(), kind);
        }
        assert_eq!("adam".parse::<OptimizerKind>(), Err(UnknownOptimizer));
    }
}
