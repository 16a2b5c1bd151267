//! The rounds that a participant has seen pass.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::crypto::Digest;
use crate::round::RoundParameters;

/// So many are remembered. Replicas of a coordinator are behind by one round, if at all; an old copy of one by some.
const MOST: usize = 16;

/// The entity tags of the latest rounds before the current one. Their parameters begin no round any more: whoever gives
/// them is behind, and what a participant would send in such a round comes too late, under keys that were used before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Passed(VecDeque<Digest>);

impl Passed {
    /// This round is over.
    pub(super) fn add(&mut self, parameters: &RoundParameters) {
        self.0.push_back(parameters.tag());
        // What was saved may be longer than it should be.
        let excess = self.0.len().saturating_sub(MOST);
        self.0.drain(..excess);
    }

    pub(super) fn has(&self, parameters: &RoundParameters) -> bool {
        !self.0.is_empty() && self.0.contains(&parameters.tag())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
