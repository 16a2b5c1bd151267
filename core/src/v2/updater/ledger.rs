//! What an updater has spent of its privacy.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::v2::{Budget, NoiseTerms};

/// The delta that what was spent is told for where no budget says another.
pub const DEFAULT_DELTA: f64 = 1e-5;

/// What an updater has spent, in all rounds that it has masked a model for, whether they were completed or not:
/// zero-concentrated differential privacy, which adds up. It is in the saved state: whoever goes on from an older one
/// forgets what was spent since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    rho: f64,
    rounds: u64,
}

impl Ledger {
    /// What was spent, as the rho of zero-concentrated differential privacy.
    pub fn rho(&self) -> f64 {
        self.rho
    }

    /// In how many rounds with noise.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// What was spent, as an epsilon for this delta.
    pub fn epsilon(&self, delta: f64) -> f64 {
        epsilon(self.rho, delta)
    }

    /// After one round more with this noise.
    #[must_use]
    pub(super) fn with_round(&self, noise: NoiseTerms) -> Self {
        let z = noise.multiplier();
        Self { rho: self.rho + 1.0 / (2.0 * z * z), rounds: self.rounds.saturating_add(1) }
    }

    /// Whether the budget allows a round with this noise.
    pub(super) fn check(
        &self,
        round: u64,
        noise: NoiseTerms,
        budget: &Budget,
    ) -> Result<(), Refusal> {
        let Budget { epsilon, delta } = *budget;
        let (spent, next) = (self.epsilon(delta), self.with_round(noise).epsilon(delta));
        match next <= epsilon {
            true => Ok(()),
            false => Err(Refusal::Budget { round, spent, next, epsilon, delta }),
        }
    }
}

/// The epsilon of a rho at a delta.
fn epsilon(rho: f64, delta: f64) -> f64 {
    if rho == 0.0 {
        return 0.0;
    }
    // Bun and Steinke (2016), lemma 3.5.
    rho + 2.0 * (rho * (1.0 / delta).ln()).sqrt()
}
