//! What a coordinator can be told (specification, section 7).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mask::{MaskConfigPair, MaskObjectView};
use crate::message::{
    LocalSeedDict, ReassemblyLimits, UpdatePayload, HEADER_LENGTH, SEED_ENTRY_LENGTH,
};

/// How many messages a phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountRange {
    /// With so many the phase may end.
    pub min: u64,
    /// More than so many are discarded.
    pub max: u64,
}

/// How long a phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// It does not end before.
    pub min: Duration,
    /// If it has not ended by then the round fails.
    pub max: Duration,
}

/// The sum phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SumSettings {
    /// The probability of being a sum participant.
    pub prob: f64,
    /// How many sum participants there are.
    pub count: CountRange,
    /// How long the phase takes.
    pub time: TimeRange,
}

/// The update phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UpdateSettings {
    /// The probability of being an update participant, for those who do not sum.
    pub prob: f64,
    /// How many updates are aggregated.
    pub count: CountRange,
    /// How long the phase takes.
    pub time: TimeRange,
}

/// The sum2 phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sum2Settings {
    /// How many aggregated masks are counted.
    pub count: CountRange,
    /// How long the phase takes.
    pub time: TimeRange,
    /// How many votes the mask that is taken off needs.
    pub quorum: Quorum,
}

/// How many sum participants must have sent the same mask for it to be taken off. It must also have more votes than
/// any other. An extension: a few sum participants that lie, or have been made up, shall not decide alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
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
    /// How much is kept of incomplete multipart messages.
    pub reassembly: ReassemblyLimits,
}

/// A setting that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The setting to change, as in a settings file: `pet.sum.count.min`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub rule: String,
    /// All settings that the rule looks at, `key` among them: if one of them is not what the user
    /// meant, the violation means nothing.
    pub depends_on: Vec<&'static str>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.key, self.value, self.rule)
    }
}

/// All settings that break a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSettings(pub Vec<Violation>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid settings")?;
        self.0.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

impl std::error::Error for InvalidSettings {}

impl Settings {
    /// Checks every rule.
    ///
    /// # Errors
    /// All violations together.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        let mut check = Check(Vec::new());
        let (sum, update, sum2) = (&self.sum, &self.update, &self.sum2);

        check.count("pet.sum.count.min", "pet.sum.count.max", sum.count, 1);
        check.count("pet.update.count.min", "pet.update.count.max", update.count, 3);
        check.count("pet.sum2.count.min", "pet.sum2.count.max", sum2.count, 1);
        for (key, value) in
            [("pet.sum2.count.min", sum2.count.min), ("pet.sum2.count.max", sum2.count.max)]
        {
            check.rule(value <= sum.count.max, key, value, &["pet.sum.count.max"], || {
                format!("must be at most pet.sum.count.max, which is {}", sum.count.max)
            });
        }
        check.time("pet.sum.time.min", "pet.sum.time.max", sum.time);
        check.time("pet.update.time.min", "pet.update.time.max", update.time);
        check.time("pet.sum2.time.min", "pet.sum2.time.max", sum2.time);
        // That some task falls to some participants, 0 < sum + update - sum * update <= 1, follows from
        // these two. (Computed in floating point it may come out otherwise.)
        check.rule(0.0 < sum.prob && sum.prob < 1.0, "pet.sum.prob", sum.prob, &[], || {
            "must be above 0 and below 1".into()
        });
        check.rule(
            0.0 < update.prob && update.prob <= 1.0,
            "pet.update.prob",
            update.prob,
            &[],
            || "must be above 0 and at most 1".into(),
        );
        if let Quorum::Share(share) = sum2.quorum {
            check.rule(0.0 < share && share <= 1.0, "pet.sum2.quorum", share, &[], || {
                "must be above 0 and at most 1: a share of the sum dictionary".into()
            });
        }
        check.rule(self.model_length >= 1, "model.length", self.model_length, &[], || {
            "must be at least 1".into()
        });
        self.check_message_len(&mut check);
        match check.0 {
            violations if violations.is_empty() => Ok(()),
            violations => Err(InvalidSettings(violations)),
        }
    }

    /// An update message must be possible: its length field has 32 bits.
    fn check_message_len(&self, check: &mut Check) {
        // Whatever the mask config, a number has at least a byte.
        let for_any_mask = self.model_length >= u64::from(u32::MAX);
        let depends_on = if for_any_mask { &[][..] } else { &MASK_KEYS[..] };
        let most = most_summers(self.mask, self.model_length).unwrap_or(0);
        check.rule(most >= 1, "model.length", self.model_length, depends_on, || {
            "must be so small that an update message stays below 4 GiB".into()
        });
        let least = self.sum.count.min;
        check.rule(
            most < 1 || least <= most,
            "pet.sum.count.min",
            least,
            &[&["model.length"], &MASK_KEYS[..]].concat(),
            || {
                format!(
                    "must be at most {most}: with a model of {} weights and a seed for each sum \
                     participant an update message would not stay below 4 GiB",
                    self.model_length
                )
            },
        );
    }
}

/// The settings that a number's width follows from.
const MASK_KEYS: [&str; 4] =
    ["mask.group_type", "mask.data_type", "mask.bound_type", "mask.model_type"];

/// The most sum participants that a round may have, so that an update message with a seed for each
/// of them has at most as many bytes as its length field can say. `None` if not even the masked
/// model fits.
pub(super) fn most_summers(mask: MaskConfigPair, model_length: u64) -> Option<u64> {
    let object = MaskObjectView::serialized_len(mask, usize::try_from(model_length).ok()?)?;
    let rest = HEADER_LENGTH + UpdatePayload::MASKED_MODEL_FROM + LocalSeedDict::serialized_len(0);
    let room = u64::from(u32::MAX).checked_sub(object.checked_add(rest)? as u64)?;
    Some(room / SEED_ENTRY_LENGTH as u64)
}

/// Collects violations.
struct Check(Vec<Violation>);

impl Check {
    /// `others` are the settings beside `key` that the rule looks at.
    fn rule(
        &mut self,
        holds: bool,
        key: &'static str,
        value: impl fmt::Display,
        others: &[&'static str],
        rule: impl FnOnce() -> String,
    ) {
        if !holds {
            let depends_on = [&[key], others].concat();
            self.0.push(Violation { key, value: value.to_string(), rule: rule(), depends_on });
        }
    }

    fn count(
        &mut self,
        min_key: &'static str,
        max_key: &'static str,
        count: CountRange,
        least: u64,
    ) {
        self.rule(count.min >= least, min_key, count.min, &[], || {
            format!("must be at least {least}")
        });
        self.rule(count.min <= count.max, max_key, count.max, &[min_key], || {
            format!("must be at least {min_key}, which is {}", count.min)
        });
    }

    fn time(&mut self, min_key: &'static str, max_key: &'static str, time: TimeRange) {
        self.rule(time.min <= time.max, min_key, time.min.as_secs_f64(), &[max_key], || {
            format!("must be at most {max_key}, which is {}", time.max.as_secs_f64())
        });
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
        }
    }

    #[test]
    fn each_rule_is_checked() {
        type Change = fn(&mut Settings);
        let cases: &[(&str, Change)] = &[
            ("pet.sum.count.min", |s| s.sum.count.min = 0),
            ("pet.sum.count.max", |s| s.sum.count.min = 11),
            ("pet.update.count.min", |s| s.update.count.min = 2),
            ("pet.update.count.max", |s| s.update.count.max = 2),
            ("pet.sum2.count.min", |s| s.sum2.count.min = 0),
            ("pet.sum2.count.max", |s| s.sum2.count.max = 11),
            ("pet.sum.time.min", |s| s.sum.time.min = Duration::from_secs(61)),
            ("pet.update.time.min", |s| s.update.time.min = Duration::from_secs(61)),
            ("pet.sum2.quorum", |s| s.sum2.quorum = Quorum::Share(0.0)),
            ("pet.sum2.quorum", |s| s.sum2.quorum = Quorum::Share(1.1)),
            ("pet.sum2.quorum", |s| s.sum2.quorum = Quorum::Share(f64::NAN)),
            ("pet.sum2.time.min", |s| s.sum2.time.min = Duration::from_secs(61)),
            ("pet.sum.prob", |s| s.sum.prob = 0.0),
            ("pet.sum.prob", |s| s.sum.prob = 1.0),
            ("pet.sum.prob", |s| s.sum.prob = f64::NAN),
            ("pet.update.prob", |s| s.update.prob = 0.0),
            ("pet.update.prob", |s| s.update.prob = 1.1),
            ("model.length", |s| s.model_length = 0),
            ("model.length", |s| s.model_length = 1 << 30),
            ("model.length", |s| s.model_length = u64::MAX),
            ("pet.sum.count.min", |s| s.sum.count = CountRange { min: 1 << 26, max: 1 << 27 }),
        ];
        assert_eq!(settings().validate(), Ok(()));
        for (key, change) in cases {
            let mut settings = settings();
            change(&mut settings);
            let InvalidSettings(violations) = settings.validate().unwrap_err();
            let violation = violations.iter().find(|violation| violation.key == *key);
            let violation = violation.unwrap_or_else(|| panic!("{key}: {violations:?}"));
            assert!(violation.depends_on.contains(key), "{violation:?}");
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

    #[test]
    fn all_violations_are_reported_together() {
        let mut settings = settings();
        settings.sum.prob = 2.0;
        settings.update.count.min = 1;
        let message = settings.validate().unwrap_err().to_string();
        assert!(message.contains("pet.sum.prob = 2"), "{message}");
        assert!(message.contains("pet.update.count.min = 1"), "{message}");
    }

    #[test]
    fn there_may_be_as_many_sum_participants_as_fit_into_a_message() {
        let mask = settings().mask;
        for length in [1, 10, 700_000_000, 715_827_780] {
            let most = most_summers(mask, length).unwrap();
            let with = |summers| {
                let object = MaskObjectView::serialized_len(mask, length as usize).unwrap();
                let dict = LocalSeedDict::serialized_len(summers as usize);
                HEADER_LENGTH + 2 * 64 + object + dict
            };
            assert!(with(most) <= u32::MAX as usize && with(most + 1) > u32::MAX as usize);
        }
        assert_eq!(most_summers(mask, 715_827_780), Some(2));
        assert_eq!(most_summers(mask, 715_827_850), None);
        assert_eq!(most_summers(mask, u64::MAX), None);
    }

    /// Many sum participants may come where few are enough: that is no reason to refuse the settings.
    #[test]
    fn the_most_sum_participants_need_not_fit_into_a_message() {
        let mut settings = settings();
        settings.sum.count.max = u64::MAX;
        assert_eq!(settings.validate(), Ok(()));
    }

    #[test]
    fn a_length_that_fits_no_message_depends_on_no_other_setting() {
        let mut settings = settings();
        settings.model_length = 1 << 40;
        let InvalidSettings(violations) = settings.validate().unwrap_err();
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].depends_on, ["model.length"]);
    }
}
