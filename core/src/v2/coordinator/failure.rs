//! Why a round fails.

use thiserror::Error;

use super::{Object, Phase};
use crate::crypto::Digest;
use crate::job::JobKind;
use crate::mask::UnmaskError;
use crate::v2::{Blame, ModelHash};

/// Why a round has failed. The next one begins by itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RoundFailure {
    /// A group had no majority in time.
    #[error(
        "group {group} ({name:?}) has no majority in the {phase} phase: {have} of its members were \
         heard of in time, and {need} are needed; see that they run and reach the coordinator{advice}",
        advice = advice(*phase)
    )]
    TooFewMembers {
        /// In which phase.
        phase: Phase,
        /// The group's number.
        group: u8,
        /// Its name.
        name: String,
        /// How many of its members were heard of.
        have: usize,
        /// How many are needed: a majority of the roster's.
        need: usize,
    },
    /// Too few updates came in time.
    #[error("only {accepted} of at least {needed} updates came in time")]
    TooFewUpdates {
        /// How many were complete.
        accepted: u64,
        /// How many are needed.
        needed: u64,
    },
    /// Too few updates are left without the excluded ones.
    #[error(
        "members have reported {excluded} updates as bad: {left} are left, and at least {n_min} are \
         needed"
    )]
    TooFewAfterExclusions {
        /// How many are left.
        left: u64,
        /// How many were excluded.
        excluded: u64,
        /// How many are needed.
        n_min: u64,
    },
    /// The members of a group have sent different masks, none of them by a majority.
    #[error(
        "the members of group {group} ({name:?}) have sent {masks} different masks, the most common of \
         them {most} times, and {need} of the same are needed: some of them lie or compute wrongly"
    )]
    NoMaskMajority {
        /// The group's number.
        group: u8,
        /// Its name.
        name: String,
        /// How many different ones.
        masks: usize,
        /// How many members have the most common one.
        most: usize,
        /// How many are needed: a majority of the roster's.
        need: usize,
    },
    /// A majority of a group has signed a mask, and none of it has sent it.
    #[error(
        "a majority of group {group} ({name:?}) has signed the mask {digest}, but none of it has sent \
         all of it in time"
    )]
    MaskNotSent {
        /// The group's number.
        group: u8,
        /// Its name.
        name: String,
        /// The mask's digest.
        digest: Digest,
    },
    /// The store has lost something that it had confirmed.
    #[error("{object} cannot be read back from the store, or is not what was stored")]
    ObjectLost {
        /// What.
        object: Object,
    },
    /// The round has noise, and the model that its differences are from is not there.
    #[error(
        "the global model {0}, which the round starts from, is not there: what was trained are differences from it, and they \
         cannot be added to another; restore the last completed round if there is a copy"
    )]
    ModelLost(ModelHash),
    /// A job that the round cannot do without was lost each time: it panics, or whoever runs it drops it.
    #[error("the job to {job} was lost {times} times: see what the log says of panics, and please report it")]
    JobLost {
        /// What it does.
        job: JobKind,
        /// How often it was given out.
        times: u32,
    },
    /// The operator has ended it.
    #[error("the round was skipped by the operator")]
    Skipped,
    /// The masks cannot be taken off.
    #[error("the sum of the updates cannot be unmasked: {0}")]
    Unmask(#[from] UnmaskError),
    /// The sum has noise, and cannot be made a model of.
    #[error("no global model can be made of the sum with noise: {0}")]
    Noise(String),
    /// The mean is beyond the range of the weights' type.
    #[error("a weight of the new global model is beyond the range of its type")]
    WeightOutOfRange,
}

/// What else may be the reason.
fn advice(phase: Phase) -> &'static str {
    match phase {
        Phase::Announce => {
            " (those that were started after the round was opened take part in the next one)"
        }
        _ => "",
    }
}

impl RoundFailure {
    /// All that [`RoundFailure::label`] can give.
    pub const LABELS: [&'static str; 19] = [
        "job_lost",
        "mask_not_sent",
        "model_lost",
        "no_mask_majority",
        "noise",
        "object_lost",
        "out_of_memory",
        "scalar_sum_zero",
        "skipped",
        "too_few_after_exclusions",
        "too_few_agree",
        "too_few_announce",
        "too_few_check",
        "too_few_members",
        "too_few_sum2",
        "too_few_updates",
        "too_many_models",
        "unmask",
        "weight_out_of_range",
    ];

    /// A short, stable name of the reason, for counting and for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooFewMembers { phase: Phase::Announce, .. } => "too_few_announce",
            Self::TooFewMembers { phase: Phase::Check, .. } => "too_few_check",
            Self::TooFewMembers { phase: Phase::Agree, .. } => "too_few_agree",
            Self::TooFewMembers { phase: Phase::Sum2, .. } => "too_few_sum2",
            Self::TooFewMembers { .. } => "too_few_members",
            Self::TooFewUpdates { .. } => "too_few_updates",
            Self::TooFewAfterExclusions { .. } => "too_few_after_exclusions",
            Self::NoMaskMajority { .. } => "no_mask_majority",
            Self::MaskNotSent { .. } => "mask_not_sent",
            Self::ObjectLost { .. } => "object_lost",
            Self::ModelLost(_) => "model_lost",
            Self::JobLost { .. } => "job_lost",
            Self::Skipped => "skipped",
            Self::Unmask(UnmaskError::ScalarSumZero) => "scalar_sum_zero",
            Self::Unmask(UnmaskError::TooManyModels(_) | UnmaskError::TooManyScalars(_)) => {
                "too_many_models"
            }
            Self::Unmask(UnmaskError::OutOfMemory { .. }) => "out_of_memory",
            Self::Unmask(_) => "unmask",
            Self::Noise(_) => "noise",
            Self::WeightOutOfRange => "weight_out_of_range",
        }
    }

    /// Who has to do something about it, where that can be said. Whose members are at fault is in the error itself: a group
    /// has no single culprit.
    pub fn blame(&self) -> Option<Blame> {
        match self {
            Self::ObjectLost { .. } | Self::ModelLost(_) | Self::JobLost { .. } => {
                Some(Blame::Coordinator)
            }
            _ => None,
        }
    }
}
