//! Violations of the rules for settings.

use std::fmt;

/// A field of [`Settings`](super::Settings). What a program calls it that reads settings from elsewhere is the program's affair: see
/// [`Rule::in_words`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// The probability of being a sum participant.
    SumProb,
    /// The fewest sum participants.
    SumCountMin,
    /// The most sum participants.
    SumCountMax,
    /// The shortest sum phase.
    SumTimeMin,
    /// The longest sum phase.
    SumTimeMax,
    /// The probability of being an update participant.
    UpdateProb,
    /// The fewest updates.
    UpdateCountMin,
    /// The most updates.
    UpdateCountMax,
    /// The shortest update phase.
    UpdateTimeMin,
    /// The longest update phase.
    UpdateTimeMax,
    /// The fewest aggregated masks.
    Sum2CountMin,
    /// The most aggregated masks.
    Sum2CountMax,
    /// The shortest sum2 phase.
    Sum2TimeMin,
    /// The longest sum2 phase.
    Sum2TimeMax,
    /// The votes that the mask needs.
    Sum2Quorum,
    /// How models and scalars are masked.
    Mask,
    /// How many weights a model has.
    ModelLength,
    /// Which optimiser there is.
    OptimizerKind,
    /// An optimiser's momentum.
    OptimizerMomentum,
    /// How long an optimiser remembers differences.
    OptimizerBeta1,
    /// How long an optimiser remembers their squares.
    OptimizerBeta2,
    /// What an optimiser adds to the root of the squares.
    OptimizerTau,
    /// How many numbers are beside the model.
    OptimizerBesideModel,
}

impl Field {
    /// All fields.
    pub const ALL: &'static [Self] = &[
        Self::SumProb,
        Self::SumCountMin,
        Self::SumCountMax,
        Self::SumTimeMin,
        Self::SumTimeMax,
        Self::UpdateProb,
        Self::UpdateCountMin,
        Self::UpdateCountMax,
        Self::UpdateTimeMin,
        Self::UpdateTimeMax,
        Self::Sum2CountMin,
        Self::Sum2CountMax,
        Self::Sum2TimeMin,
        Self::Sum2TimeMax,
        Self::Sum2Quorum,
        Self::Mask,
        Self::ModelLength,
        Self::OptimizerKind,
        Self::OptimizerMomentum,
        Self::OptimizerBeta1,
        Self::OptimizerBeta2,
        Self::OptimizerTau,
        Self::OptimizerBesideModel,
    ];

    /// Its path in [`Settings`](super::Settings), such as `sum.count.min`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SumProb => "sum.prob",
            Self::SumCountMin => "sum.count.min",
            Self::SumCountMax => "sum.count.max",
            Self::SumTimeMin => "sum.time.min",
            Self::SumTimeMax => "sum.time.max",
            Self::UpdateProb => "update.prob",
            Self::UpdateCountMin => "update.count.min",
            Self::UpdateCountMax => "update.count.max",
            Self::UpdateTimeMin => "update.time.min",
            Self::UpdateTimeMax => "update.time.max",
            Self::Sum2CountMin => "sum2.count.min",
            Self::Sum2CountMax => "sum2.count.max",
            Self::Sum2TimeMin => "sum2.time.min",
            Self::Sum2TimeMax => "sum2.time.max",
            Self::Sum2Quorum => "sum2.quorum",
            Self::Mask => "mask",
            Self::ModelLength => "model_length",
            Self::OptimizerKind => "optimizer.kind",
            Self::OptimizerMomentum => "optimizer.momentum",
            Self::OptimizerBeta1 => "optimizer.beta1",
            Self::OptimizerBeta2 => "optimizer.beta2",
            Self::OptimizerTau => "optimizer.tau",
            Self::OptimizerBesideModel => "optimizer.beside_model",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a field must be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// At least so much.
    AtLeast(u64),
    /// At least what another field is.
    NotBelow {
        /// The other one.
        field: Field,
        /// What it is.
        is: String,
    },
    /// At most what another field is.
    NotAbove {
        /// The other one.
        field: Field,
        /// What it is.
        is: String,
    },
    /// A probability that leaves something to chance: above 0 and below 1.
    Chance,
    /// A probability above 0.
    ChanceOrCertainty,
    /// A share of the sum dictionary: above 0 and at most 1.
    ShareOfSumDictionary,
    /// At least 0 and below 1.
    ShareBelowOne,
    /// A finite number above 0.
    Positive,
    /// For weights that are floats only.
    OfFloats,
    /// For rounds that are not recorded only.
    NothingRecorded,
    /// Less than another field is.
    Below {
        /// The other one.
        field: Field,
        /// What it is.
        is: String,
    },
    /// So short a model that an update message can have it.
    FitsIntoMessage,
    /// So few sum participants that an update message can have a seed for each of them.
    SeedsFitIntoMessage {
        /// How many there may be.
        most: u64,
        /// With a model of so many weights.
        model_length: u64,
    },
}

impl Rule {
    /// The rule in words that follow "the setting ...", with what `name` calls other fields.
    pub fn in_words<N: fmt::Display>(&self, name: impl Fn(Field) -> N) -> String {
        match self {
            Self::AtLeast(least) => format!("must be at least {least}"),
            Self::NotBelow { field, is } => {
                format!("must be at least {}, which is {is}", name(*field))
            }
            Self::NotAbove { field, is } => {
                format!("must be at most {}, which is {is}", name(*field))
            }
            Self::Chance => "must be above 0 and below 1".into(),
            Self::ChanceOrCertainty => "must be above 0 and at most 1".into(),
            Self::ShareOfSumDictionary => {
                "must be above 0 and at most 1: a share of the sum dictionary".into()
            }
            Self::ShareBelowOne => "must be at least 0 and below 1".into(),
            Self::Positive => "must be a number above 0".into(),
            Self::OfFloats => format!(
                "must be nothing with {} of whole numbers: an optimizer's steps are floats (F32, F64)",
                name(Field::Mask)
            ),
            Self::NothingRecorded => {
                "must be nothing where rounds are recorded: a record has nothing of optimizers".into()
            }
            Self::Below { field, is } => {
                format!("must be below {}, which is {is}", name(*field))
            }
            Self::FitsIntoMessage => {
                "must be so small that an update message stays below 4 GiB".into()
            }
            Self::SeedsFitIntoMessage { most, model_length } => format!(
                "must be at most {most}: with a model of {model_length} weights and a seed for each \
                 sum participant an update message would not stay below 4 GiB"
            ),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_words(Field::name))
    }
}

/// A field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The field to change.
    pub field: Field,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub rule: Rule,
    /// All fields that the rule looks at, `field` among them: if one of them is not what the user meant, the
    /// violation means nothing.
    pub depends_on: Vec<Field>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.field, self.value, self.rule)
    }
}

/// All fields that break a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSettings(pub Vec<Violation>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid settings")?;
        self.0.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

impl std::error::Error for InvalidSettings {}
