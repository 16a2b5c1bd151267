//! Settings of a coordinator (specification, section 7).

mod rules;
mod violation;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Optimizer;
use crate::mask::MaskConfigPair;
use crate::message::ReassemblyLimits;

pub(super) use self::rules::most_summers;
pub use self::violation::{Field, InvalidSettings, Rule, Violation};

/// How many messages a phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountRange {
    /// The number of messages with which the phase may end.
    pub min: u64,
    /// The most messages; further ones are discarded.
    pub max: u64,
}

/// How long a phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// The shortest time.
    pub min: Duration,
    /// The longest time: then the round fails.
    pub max: Duration,
}

/// The sum phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SumSettings {
    /// The probability of being a sum participant.
    pub prob: f64,
    /// How many sum participants there are.
    pub count: CountRange,
    /// How long the phase takes.
    pub time: TimeRange,
}

impl SumSettings {
    /// For so many summers, chosen with this probability.
    pub fn new(prob: f64, count: CountRange, time: TimeRange) -> Self {
        Self { prob, count, time }
    }
}

/// The update phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UpdateSettings {
    /// The probability of being an update participant, for those who do not sum.
    pub prob: f64,
    /// How many updates are aggregated.
    pub count: CountRange,
    /// How long the phase takes.
    pub time: TimeRange,
}

impl UpdateSettings {
    /// For so many updates, of participants chosen with this probability.
    pub fn new(prob: f64, count: CountRange, time: TimeRange) -> Self {
        Self { prob, count, time }
    }
}

/// The sum2 phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sum2Settings {
    /// How many aggregated masks are counted.
    pub count: CountRange,
    /// How long the phase takes.
    pub time: TimeRange,
    /// How many votes the mask that is taken off needs.
    pub quorum: Quorum,
}

impl Sum2Settings {
    /// For so many masks, of which the majority's is taken off.
    pub fn new(count: CountRange, time: TimeRange) -> Self {
        Self { count, time, quorum: Quorum::default() }
    }
}

/// How many sum participants must have sent the same mask for it to be taken off. It must also have more votes than
/// any other. An extension: a few sum participants that lie, or have been made up, shall not decide alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Quorum {
    /// More than half of those who have voted.
    #[default]
    Majority,
    /// That, and at least this share of the sum dictionary: above 0 and at most 1.
    Share(f64),
}

impl Quorum {
    /// How many votes are needed of so many cast by a dictionary of so many sum participants.
    pub fn needed(self, cast: u64, sum_participants: u64) -> u64 {
        let majority = cast / 2 + 1;
        match self {
            Self::Majority => majority,
            // There are far fewer than a float counts exactly. Rounded up; not beyond all of them.
            Self::Share(share) => {
                let share = (share * sum_participants as f64).ceil() as u64;
                majority.max(share.min(sum_participants))
            }
        }
    }
}

/// All settings of a coordinator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// The sum phase.
    pub sum: SumSettings,
    /// The update phase.
    pub update: UpdateSettings,
    /// The sum2 phase.
    pub sum2: Sum2Settings,
    /// How models and scalars are masked.
    pub mask: MaskConfigPair,
    /// How many weights a model has.
    pub model_length: u64,
    /// Limits for incomplete multipart messages.
    pub reassembly: ReassemblyLimits,
    /// What becomes of the mean of a round; nothing if the mean itself is the global model. An extension. [Records](crate::record)
    /// have nothing of it: whoever records a coordinator gives it none.
    #[serde(skip)]
    pub optimizer: Option<Optimizer>,
}

impl Settings {
    /// For models of so many weights, with the default limits for incomplete messages.
    pub fn new(
        sum: SumSettings,
        update: UpdateSettings,
        sum2: Sum2Settings,
        mask: impl Into<MaskConfigPair>,
        model_length: u64,
    ) -> Self {
        let (mask, reassembly) = (mask.into(), ReassemblyLimits::default());
        Self { sum, update, sum2, mask, model_length, reassembly, optimizer: None }
    }

    /// With these limits for incomplete messages.
    #[must_use]
    pub fn with_reassembly(self, reassembly: ReassemblyLimits) -> Self {
        Self { reassembly, ..self }
    }

    /// With this optimiser, or none.
    #[must_use]
    pub fn with_optimizer(self, optimizer: Option<Optimizer>) -> Self {
        Self { optimizer, ..self }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::mask::MaskConfig;

    pub(crate) fn settings() -> Settings {
        let time = TimeRange { min: Duration::ZERO, max: Duration::from_secs(60) };
        Settings {
            sum: SumSettings { prob: 0.5, count: CountRange { min: 1, max: 10 }, time },
            update: UpdateSettings { prob: 1.0, count: CountRange { min: 3, max: 10 }, time },
            sum2: Sum2Settings {
                count: CountRange { min: 1, max: 10 },
                time,
                quorum: Quorum::default(),
            },
            mask: "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap().into(),
            model_length: 4,
            reassembly: ReassemblyLimits::default(),
            optimizer: None,
        }
    }

    #[test]
    fn a_quorum_is_a_majority_and_a_share() {
        for (cast, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            assert_eq!(Quorum::Majority.needed(cast, 5), needed);
        }
        for (share, of, needed) in [(0.5, 4, 2), (0.5, 5, 3), (1.0, 5, 5), (1e-9, 5, 1)] {
            assert_eq!(Quorum::Share(share).needed(1, of), needed);
        }
        assert_eq!(Quorum::Share(0.2).needed(5, 5), 3);
    }
}
