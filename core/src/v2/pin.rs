//! What an updater or a member insists on, whatever a coordinator says.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::Blame;
use super::hash::RosterHash;
use super::roster::Roster;
use super::terms::{InvalidTerms, Terms, LEAST_UPDATES};

/// A privacy budget: what all rounds together may give away.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Epsilon.
    pub epsilon: f64,
    /// Delta.
    pub delta: f64,
}

/// What updaters and members have in their settings. Who has a pin takes no part in rounds of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// The hash of the roster.
    pub roster: RosterHash,
    /// The least number of updates that an update may be added up with, itself included.
    pub n_min: u64,
    /// The privacy budget, if there is one: then only rounds with noise are taken part in.
    pub budget: Option<Budget>,
}

/// Why a pin forbids to take part, or makes no sense.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PinError {
    /// A pin of fewer updates than hide anybody.
    #[error("the least number of updates is set to {0}: set it to {LEAST_UPDATES} or more")]
    TooFew(u64),
    /// A budget that is none.
    #[error("the privacy budget must have an epsilon above 0 and a delta between 0 and 1, not {} and {}", .0.epsilon, .0.delta)]
    Budget(Budget),
    /// Another roster than the pinned one.
    #[error(
        "the coordinator's roster is {found}, and {pinned} is pinned here: this is not the committee that was agreed on. If it \
         was changed, check the new roster, and pin its hash"
    )]
    Roster {
        /// What is pinned.
        pinned: RosterHash,
        /// What the coordinator has.
        found: RosterHash,
    },
    /// A round of fewer updates than the pin asks for.
    #[error(
        "the round may add up as few as {found} updates, and at least {pinned} are asked for here"
    )]
    Updates {
        /// What is pinned.
        pinned: u64,
        /// What the terms say.
        found: u64,
    },
    /// A round without noise, and there is a budget.
    #[error("the round has no noise, and there is a privacy budget here, which a round without noise would break")]
    NoNoise,
    /// Terms that make no sense.
    #[error(transparent)]
    Terms(#[from] InvalidTerms),
}

impl PinError {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::TooFew(_) | Self::Budget(_) => Blame::Settings,
            Self::Roster { .. } | Self::Updates { .. } | Self::NoNoise => Blame::Coordinator,
            Self::Terms(error) => error.blame(),
        }
    }
}

impl Pin {
    /// A pin without a budget.
    pub const fn new(roster: RosterHash, n_min: u64) -> Self {
        Self { roster, n_min, budget: None }
    }

    /// This pin with a budget.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Whether the pin itself makes sense.
    ///
    /// # Errors
    /// If it asks for too few updates, or has a budget that is none.
    pub fn check(&self) -> Result<(), PinError> {
        if self.n_min < LEAST_UPDATES {
            return Err(PinError::TooFew(self.n_min));
        }
        match self.budget {
            Some(budget) if !budget.is_valid() => Err(PinError::Budget(budget)),
            _ => Ok(()),
        }
    }

    /// Whether this is the pinned roster.
    ///
    /// # Errors
    /// [`PinError::Roster`] if it is another.
    pub fn check_roster(&self, roster: &Roster) -> Result<(), PinError> {
        self.check_roster_hash(roster.hash())
    }

    fn check_roster_hash(&self, found: RosterHash) -> Result<(), PinError> {
        let pinned = self.roster;
        match found == pinned {
            true => Ok(()),
            false => Err(PinError::Roster { pinned, found }),
        }
    }

    /// Whether one may take part under these terms: they make sense, name the pinned roster, ask for enough updates, and
    /// have noise if there is a budget. What is left of the budget is looked at elsewhere, and the
    /// [time](Terms::check_time) too.
    ///
    /// # Errors
    /// Why one may not.
    pub fn check_terms(&self, terms: &Terms) -> Result<(), PinError> {
        self.check()?;
        self.check_roster_hash(terms.roster)?;
        terms.check()?;
        let (pinned, found) = (self.n_min, terms.n_min);
        if found < pinned {
            return Err(PinError::Updates { pinned, found });
        }
        match self.budget.is_some() && terms.noise.is_none() {
            true => Err(PinError::NoNoise),
            false => Ok(()),
        }
    }
}

impl Budget {
    /// A budget.
    pub const fn new(epsilon: f64, delta: f64) -> Self {
        Self { epsilon, delta }
    }

    /// Whether epsilon is above 0 and finite, and delta between 0 and 1.
    pub fn is_valid(&self) -> bool {
        self.epsilon.is_finite() && self.epsilon > 0.0 && self.delta > 0.0 && self.delta < 1.0
    }
}
