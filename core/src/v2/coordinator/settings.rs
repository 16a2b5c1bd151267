//! Settings of a coordinator of v2.

mod rules;
mod violation;

use std::sync::Arc;
use std::time::Duration;

pub use self::violation::{Field, InvalidSettings, Rule, Violation};
pub use crate::coordinator::{CountRange, TimeRange};
use crate::mask::MaskConfigPair;
use crate::v2::{NoiseTerms, Roster, MOST_AGE};

/// How long all phases of a round may take together. After [`MOST_AGE`] members wipe the keys of a round, and updaters take
/// it for an old one that is shown again; six hours less, for clocks that are wrong.
pub const LONGEST_ROUND: Duration = MOST_AGE.saturating_sub(Duration::from_secs(6 * 60 * 60));

/// How long each phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Members announce themselves.
    pub announce: TimeRange,
    /// Updaters send masked models.
    pub update: TimeRange,
    /// Members look at the updates and report bad ones.
    pub check: TimeRange,
    /// Members vote for the set of updates.
    pub agree: TimeRange,
    /// Members send the sums of the masks.
    pub sum2: TimeRange,
}

impl Times {
    /// How long a round takes at most.
    pub fn longest(&self) -> Duration {
        let Self { announce, update, check, agree, sum2 } = self;
        let all = [announce, update, check, agree, sum2];
        all.into_iter().fold(Duration::ZERO, |sum, time| sum.saturating_add(time.max))
    }

    /// The same for all phases.
    pub fn all(time: TimeRange) -> Self {
        Self { announce: time, update: time, check: time, agree: time, sum2: time }
    }
}

/// Limits for what others can make a coordinator hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of the headers of all updates of a round, which are in memory. About 1 KiB each with three groups of
    /// three members and a million weights.
    pub header_bytes: u64,
    /// How many uploads may be incomplete at the same time.
    pub uploads: u64,
    /// The most bytes of incomplete uploads, counted in full from their headers on: the store must have room.
    pub upload_bytes: u64,
    /// An incomplete upload of which nothing came for so long gives way to another one if there is no room.
    pub stalled_after: Duration,
    /// How many answers may wait for a store that is stuck.
    pub waiting_answers: usize,
    /// The most bytes of chunks that may wait for a store that is stuck.
    pub unstored_bytes: u64,
    /// How many entries a member gets at a time.
    pub page: usize,
    /// For so long a member's mask is waited for, from one chunk to the next, before another member with the same
    /// digest is asked.
    pub mask_patience: Duration,
    /// The most bytes of updates that are read ahead of their addition; one is always read.
    pub loaded_bytes: u64,
}

impl Default for Limits {
    /// 256 MiB of headers, 256 uploads of together 16 GiB, stalled after a minute; 65536 answers and 256 MiB for the
    /// store; pages of 512 entries; 15 seconds of patience; 256 MiB read ahead.
    fn default() -> Self {
        Self {
            header_bytes: 256 << 20,
            uploads: 256,
            upload_bytes: 16 << 30,
            stalled_after: Duration::from_secs(60),
            waiting_answers: 1 << 16,
            unstored_bytes: 256 << 20,
            page: 512,
            mask_patience: Duration::from_secs(15),
            loaded_bytes: 256 << 20,
        }
    }
}

/// All settings of a coordinator of v2.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Who the members are, and who may update.
    pub roster: Arc<Roster>,
    /// How models and scalars are masked: a `Word32` or `Word64` config.
    pub mask: MaskConfigPair,
    /// How many weights a model has.
    pub model_length: u64,
    /// The fewest updates that a model is made of: at least 3. What participants pin must not be above it.
    pub n_min: u64,
    /// How many updates are taken.
    pub count: CountRange,
    /// How long the phases take.
    pub times: Times,
    /// Differential privacy, if it is wanted.
    pub noise: Option<NoiseTerms>,
    /// The number of the first round, and the least number of all that begin from now on: above what participants have
    /// promised, if all that was stored is lost. They never go back to a lower one, nor far ahead at once.
    pub first_round: u64,
    /// What is held at most.
    pub limits: Limits,
}

impl Settings {
    /// From round 1 on, without noise, and with the default limits. [`Settings::validate`] says whether they keep the rules.
    pub fn new(
        roster: impl Into<Arc<Roster>>,
        mask: impl Into<MaskConfigPair>,
        model_length: u64,
        n_min: u64,
        count: CountRange,
        times: Times,
    ) -> Self {
        let (roster, mask) = (roster.into(), mask.into());
        let limits = Limits::default();
        let (noise, first_round) = (None, 1);
        Self { roster, mask, model_length, n_min, count, times, noise, first_round, limits }
    }

    /// With noise.
    #[must_use]
    pub fn with_noise(self, noise: NoiseTerms) -> Self {
        Self { noise: Some(noise), ..self }
    }

    /// With this number for the first round.
    #[must_use]
    pub fn with_first_round(self, first_round: u64) -> Self {
        Self { first_round, ..self }
    }

    /// With these limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}
