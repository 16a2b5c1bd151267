//! What an updater refuses, who is to blame, and what to do about it.

use thiserror::Error;

use crate::v2::{
    AdmissionError, AnnouncementsError, Blame, CertificateError, Context, DecodeError,
    InvalidTerms, ModelHash, PinError,
};

/// How far the number of a round may be above that of the last one in which this updater made a statement. One lie
/// could otherwise use up all numbers.
pub const LONGEST_LEAP: u64 = 1 << 20;

/// How large the number of a round may be for an updater that has made no statement yet.
pub const LARGEST_FIRST: u64 = 1 << 32;

/// Why an updater takes no part, or does not go on, by name. [`Refusal::blame`] says whose affair it is. It is told once,
/// and the coordinator is asked again: what was refused may be put right.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The coordinator does not know version 2, or is not set up for it.
    #[error(
        "the coordinator offers no rounds of version 2, and this participant pins a roster: it takes no part in rounds \
         of version 1, in which one sum participant and the coordinator together see single models. Have version 2 set \
         up at the coordinator (pet.v2), or ask whether this is the right one"
    )]
    NoV2,
    /// The coordinator speaks a version that is not known here.
    #[error(
        "the coordinator speaks version {found} of the protocol, and this program knows version {known}: update the older \
         of the two"
    )]
    UnknownVersion {
        /// What the coordinator speaks.
        found: u8,
        /// What is known here.
        known: u8,
    },
    /// The pin forbids it: another roster, too few updates, no noise where there is a budget, terms that make no sense.
    #[error("{0}{advice}", advice = advice(.0))]
    Pin(#[from] PinError),
    /// Another round under a number for which this updater has made its statement: terms that were split.
    #[error(
        "round {round} was shown with other terms than before: its context was {before}, and is {found} now. The \
         coordinator shows different rounds to different participants, or was restored from an old copy"
    )]
    OtherTerms {
        /// The number of the round.
        round: u64,
        /// The context in which the statement was made.
        before: Context,
        /// The context that is shown now.
        found: Context,
    },
    /// The number of the round is below one for which this updater has made its statement.
    #[error(
        "round {offered} is not above round {last}, in which this participant has taken part: the coordinator has gone \
         back (was it restored from an old copy?); its operator must have it go on above {last}"
    )]
    RoundNotAbove {
        /// The last round with a statement.
        last: u64,
        /// The round's number.
        offered: u64,
    },
    /// The number of the round is far beyond the last.
    #[error(
        "round {offered} is more than {most} above round {last}, the last that this participant has taken part in (0: none): \
         such a coordinator would use up all numbers"
    )]
    RoundTooFarAhead {
        /// The last round with a statement; 0 if none.
        last: u64,
        /// The round's number.
        offered: u64,
        /// How far above it may be.
        most: u64,
    },
    /// A statement was made in this round for another list of announcements.
    #[error(
        "this participant has sent an update in round {round} under another list of members than the coordinator shows \
         now: it sends none under a second. The coordinator has shown different lists to different participants, or has \
         lost its state in the middle of the round"
    )]
    SecondStatement {
        /// The number of the round.
        round: u64,
    },
    /// The list of members is forged, or a group has no majority.
    #[error(transparent)]
    Announcements(#[from] AnnouncementsError),
    /// The global model is not the one that the round's terms name: models that were split.
    #[error(
        "the global model that the coordinator gives has the hash {found}, and round {round} starts from {expected}: it \
         gives different models to different participants, or has mixed them up"
    )]
    OtherModel {
        /// The round.
        round: u64,
        /// What its terms say.
        expected: ModelHash,
        /// What was given.
        found: ModelHash,
    },
    /// There is a global model and no certificate of it.
    #[error(
        "round {round} starts from a global model for which the coordinator shows no certificate: it is of version 1, or \
         made up. Have the coordinator begin without a model"
    )]
    NoCertificate {
        /// The round that starts from the model.
        round: u64,
    },
    /// The certificate of a round is not valid.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate is of another round than the one with this number in which this updater took part.
    #[error(
        "the certificate of round {round} is for other terms than those under which this participant has sent its \
         update: the coordinator shows different rounds to different participants"
    )]
    OtherCertificate {
        /// The number of the round.
        round: u64,
    },
    /// What should prove that this updater's model is in the sum does not.
    #[error(
        "the coordinator's proof that the model of this participant is in round {round} is wrong: it lies about who is \
         in the sum"
    )]
    Proof {
        /// The number of the round.
        round: u64,
    },
    /// This updater is not admitted: no credential, an expired one, one for another key.
    #[error(transparent)]
    Credential(#[from] AdmissionError),
    /// A further round would cost more privacy than the budget has.
    #[error(
        "the privacy budget is spent: epsilon {spent:.4} of {epsilon} at delta {delta:e}, and round {round} would bring it \
         to {next:.4}. {advice}",
        advice = budget_advice(*.spent)
    )]
    Budget {
        /// The round that is not taken part in.
        round: u64,
        /// What was spent before, as an epsilon.
        spent: f64,
        /// What it would be afterwards.
        next: f64,
        /// What is pinned.
        epsilon: f64,
        /// For this delta.
        delta: f64,
    },
    /// There is noise, for models that all count the same, and this updater has a scalar of its own.
    #[error(
        "round {round} has noise, in which all models count the same, and this participant has scalar {scalar}: set it to 1"
    )]
    Scalar {
        /// The round.
        round: u64,
        /// What the settings say.
        scalar: String,
    },
    /// Not enough room is left for the noise in the mask config.
    #[error(
        "the noise of round {round} does not fit the mask config, so that the sum may overflow: {reason}. Have a wider group \
         (Word64), a smaller multiplier, or fewer models set at the coordinator"
    )]
    HeadRoom {
        /// The round.
        round: u64,
        /// The numbers.
        reason: String,
    },
}

impl Refusal {
    /// Who is to blame, or at least has to do something about it.
    pub fn blame(&self) -> Blame {
        match self {
            Self::NoV2
            | Self::UnknownVersion { .. }
            | Self::OtherTerms { .. }
            | Self::RoundNotAbove { .. }
            | Self::RoundTooFarAhead { .. }
            | Self::SecondStatement { .. }
            | Self::OtherModel { .. }
            | Self::NoCertificate { .. }
            | Self::OtherCertificate { .. }
            | Self::Proof { .. }
            | Self::HeadRoom { .. } => Blame::Coordinator,
            Self::Pin(error) => error.blame(),
            Self::Announcements(error) => error.blame(),
            Self::Certificate(error) => error.blame(),
            Self::Credential(error) => error.blame(),
            Self::Budget { .. } | Self::Scalar { .. } => Blame::Settings,
        }
    }

    /// A short, stable name, for logs, metrics and other languages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoV2 => "no_v2",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::Pin(PinError::Roster { .. }) => "roster",
            Self::Pin(PinError::Updates { .. }) => "too_few_updates",
            Self::Pin(PinError::NoNoise) => "no_noise",
            Self::Pin(PinError::Terms(InvalidTerms::MaskConfig(_))) => "mask_config",
            Self::Pin(PinError::Terms(
                InvalidTerms::FromTheFuture { .. } | InvalidTerms::Old { .. },
            )) => "time",
            Self::Pin(PinError::Terms(_)) => "terms",
            Self::Pin(_) => "pin",
            Self::OtherTerms { .. } => "other_terms",
            Self::RoundNotAbove { .. } => "round_not_above",
            Self::RoundTooFarAhead { .. } => "round_too_far_ahead",
            Self::SecondStatement { .. } => "second_statement",
            Self::Announcements(AnnouncementsError::NoMajority(_)) => "no_majority",
            Self::Announcements(_) => "announcements",
            Self::OtherModel { .. } => "other_model",
            Self::NoCertificate { .. } => "no_certificate",
            Self::Certificate(_) => "certificate",
            Self::OtherCertificate { .. } => "other_certificate",
            Self::Proof { .. } => "proof",
            Self::Credential(AdmissionError::Missing { .. }) => "no_credential",
            Self::Credential(AdmissionError::Expired { .. }) => "credential_expired",
            Self::Credential(_) => "not_admitted",
            Self::Budget { .. } => "budget",
            Self::Scalar { .. } => "scalar",
            Self::HeadRoom { .. } => "head_room",
        }
    }
}

/// A version that is not known is refused; other damage is not a refusal, but trouble: it is looked again.
impl TryFrom<DecodeError> for Refusal {
    type Error = DecodeError;

    fn try_from(error: DecodeError) -> Result<Self, DecodeError> {
        match error {
            DecodeError::UnknownVersion { found, known, .. } => {
                Ok(Self::UnknownVersion { found, known })
            }
            error => Err(error),
        }
    }
}

impl From<InvalidTerms> for Refusal {
    fn from(error: InvalidTerms) -> Self {
        Self::Pin(error.into())
    }
}

/// What to do about a budget that is spent.
fn budget_advice(spent: f64) -> &'static str {
    match spent.is_finite() {
        true => "Pin a larger budget if those whose data it is agree; otherwise stop here",
        false => {
            "It has taken part in rounds without noise, after which no budget can be kept: pin none if those whose data it is \
             agree; otherwise stop here"
        }
    }
}

/// What to do about what a pin forbids, where it does not say so itself.
fn advice(error: &PinError) -> &'static str {
    match error {
        PinError::Updates { .. } => {
            ": have the coordinator's pet.v2.n_min raised, or agree on fewer and pin that"
        }
        PinError::NoNoise => {
            ". Have noise set up at the coordinator (pet.v2.noise), or pin no budget"
        }
        PinError::Terms(
            InvalidTerms::InvitesV1
            | InvalidTerms::ModelLength(_)
            | InvalidTerms::Updates { .. }
            | InvalidTerms::Noise(_)
            | InvalidTerms::NoiseConfig(_),
        ) => ". The coordinator's operator has to put its settings right",
        _ => "",
    }
}
