//! Violations of the rules for settings.

use std::fmt;

/// A field of [`Settings`](super::Settings). A program that reads settings from elsewhere has names of its own for them:
/// see [`Rule::in_words`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// How models and scalars are masked.
    Mask,
    /// How many weights a model has.
    ModelLength,
    /// The fewest updates that a model is made of.
    NMin,
    /// The fewest updates that are taken.
    CountMin,
    /// The most updates that are taken.
    CountMax,
    /// The shortest announce phase.
    AnnounceTimeMin,
    /// The longest announce phase.
    AnnounceTimeMax,
    /// The shortest update phase.
    UpdateTimeMin,
    /// The longest update phase.
    UpdateTimeMax,
    /// The shortest check phase.
    CheckTimeMin,
    /// The longest check phase.
    CheckTimeMax,
    /// The shortest agree phase.
    AgreeTimeMin,
    /// The longest agree phase.
    AgreeTimeMax,
    /// The shortest sum2 phase.
    Sum2TimeMin,
    /// The longest sum2 phase.
    Sum2TimeMax,
    /// The noise's multiplier.
    NoiseMultiplier,
    /// The norm that differences are clipped to.
    NoiseClip,
    /// The number of the first round.
    FirstRound,
    /// The most bytes of headers.
    HeaderBytes,
    /// The most incomplete uploads.
    Uploads,
    /// The most bytes of incomplete uploads.
    UploadBytes,
    /// How many answers may wait for the store.
    WaitingAnswers,
    /// The most bytes that may wait for the store.
    UnstoredBytes,
    /// How many entries a member gets at a time.
    Page,
}

impl Field {
    /// All fields.
    pub const ALL: &'static [Self] = &[
        Self::Mask,
        Self::ModelLength,
        Self::NMin,
        Self::CountMin,
        Self::CountMax,
        Self::AnnounceTimeMin,
        Self::AnnounceTimeMax,
        Self::UpdateTimeMin,
        Self::UpdateTimeMax,
        Self::CheckTimeMin,
        Self::CheckTimeMax,
        Self::AgreeTimeMin,
        Self::AgreeTimeMax,
        Self::Sum2TimeMin,
        Self::Sum2TimeMax,
        Self::NoiseMultiplier,
        Self::NoiseClip,
        Self::FirstRound,
        Self::HeaderBytes,
        Self::Uploads,
        Self::UploadBytes,
        Self::WaitingAnswers,
        Self::UnstoredBytes,
        Self::Page,
    ];

    /// Its path in [`Settings`](super::Settings), such as `times.announce.min`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mask => "mask",
            Self::ModelLength => "model_length",
            Self::NMin => "n_min",
            Self::CountMin => "count.min",
            Self::CountMax => "count.max",
            Self::AnnounceTimeMin => "times.announce.min",
            Self::AnnounceTimeMax => "times.announce.max",
            Self::UpdateTimeMin => "times.update.min",
            Self::UpdateTimeMax => "times.update.max",
            Self::CheckTimeMin => "times.check.min",
            Self::CheckTimeMax => "times.check.max",
            Self::AgreeTimeMin => "times.agree.min",
            Self::AgreeTimeMax => "times.agree.max",
            Self::Sum2TimeMin => "times.sum2.min",
            Self::Sum2TimeMax => "times.sum2.max",
            Self::NoiseMultiplier => "noise.multiplier_thousandths",
            Self::NoiseClip => "noise.clip",
            Self::FirstRound => "first_round",
            Self::HeaderBytes => "limits.header_bytes",
            Self::Uploads => "limits.uploads",
            Self::UploadBytes => "limits.upload_bytes",
            Self::WaitingAnswers => "limits.waiting_answers",
            Self::UnstoredBytes => "limits.unstored_bytes",
            Self::Page => "limits.page",
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
    /// At most so much.
    AtMost(u64),
    /// At least what another field is.
    NotBelow {
        /// The other one.
        field: Field,
        /// What it is.
        is: String,
    },
    /// At most as many as the mask config has room for.
    MaskHasRoom {
        /// How many.
        most: u64,
    },
    /// A config whose groups are the integers modulo 2^32 or 2^64.
    WordGroup,
    /// With noise: a config of floats of bound B0, for differences that are clipped.
    NoiseConfig,
    /// So long that all phases together are over in time: [`LONGEST_ROUND`](super::LONGEST_ROUND).
    Together {
        /// How long they take.
        take: std::time::Duration,
        /// How long they may take.
        most: std::time::Duration,
    },
    /// A finite number above 0, and no subnormal one.
    Positive,
    /// Noise and updates together must fit the group.
    HeadRoom {
        /// What is too much, with the numbers.
        why: String,
    },
}

impl Rule {
    /// The rule in words that follow "the setting ...", with what `name` calls other fields.
    pub fn in_words<N: fmt::Display>(&self, name: impl Fn(Field) -> N) -> String {
        match self {
            Self::AtLeast(least) => format!("must be at least {least}"),
            Self::AtMost(most) => format!("must be at most {most}"),
            Self::NotBelow { field, is } => {
                format!("must be at least {}, which is {is}", name(*field))
            }
            Self::MaskHasRoom { most } => {
                format!("must be at most {most}: the mask config has room for no more models")
            }
            Self::WordGroup => {
                "must be a Word32 or Word64 config: version 2 of the protocol takes no other group"
                    .into()
            }
            Self::NoiseConfig => {
                "must be of floats (F32 or F64) and of bound B0 where there is noise: what is sent \
                 is a difference, clipped to norm 1"
                    .into()
            }
            Self::Together { take, most } => format!(
                "must be shorter: with it all phases take {take:?} at most, and together they must be over in {most:?}, \
                 since members wipe the keys of a round when it is 7 days old"
            ),
            Self::Positive => "must be a finite number above 0, and no subnormal one".into(),
            Self::HeadRoom { why } => format!("leaves too little room for the noise: {why}"),
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
