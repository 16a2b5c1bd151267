//! What an optimiser remembers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::OptimizerKind;

/// What an optimiser remembers of its steps. Nothing in it is secret: it follows from the means of the rounds.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct OptimizerState {
    pub(super) kind: OptimizerKind,
    /// How many steps it has made.
    pub(super) steps: u64,
    /// As many as its kind has, all of one length: the number of the model's weights.
    pub(super) moments: Vec<Vec<f64>>,
}

/// Shows no numbers.
impl fmt::Debug for OptimizerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OptimizerState({} after {} steps)", self.kind, self.steps)
    }
}

impl OptimizerState {
    /// Which optimiser has made the steps.
    pub fn kind(&self) -> OptimizerKind {
        self.kind
    }

    /// How many steps it has made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The vectors that it remembers, each as long as the model has weights: FedAvgM's velocity; `m` and `v` of FedAdagrad, FedAdam
    /// and FedYogi.
    pub fn moments(&self) -> &[Vec<f64>] {
        &self.moments
    }

    /// About how much memory it takes.
    pub(in crate::coordinator) fn bytes(&self) -> usize {
        self.moments.iter().map(|each| each.len() * size_of::<f64>()).sum()
    }

    /// Whether it is one that an optimiser has made. (Of how many weights, the next step sees.)
    pub(in crate::coordinator) fn is_sound(&self) -> bool {
        let length = self.moments.first().map_or(0, Vec::len);
        self.moments.len() == self.kind.moments()
            && self.moments.iter().all(|each| each.len() == length)
    }
}
