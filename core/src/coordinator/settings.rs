//! What a coordinator can be told (specification, section 7).

use std::fmt;
use std::time::Duration;

use crate::mask::{MaskConfigPair, MaskObjectView};
use crate::message::{LocalSeedDict, ReassemblyLimits, HEADER_LENGTH};

/// How many messages a phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountRange {
    /// With so many the phase may end.
    pub min: u64,
    /// More than so many are discarded.
    pub max: u64,
}

/// How long a phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// It does not end before.
    pub min: Duration,
    /// If it has not ended by then the round fails.
    pub max: Duration,
}

/// The sum phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SumSettings {
    /// The probability of being a sum participant.
    pub prob: f64,
    /// How many sum participants there are.
    pub count: CountRange,
    /// How long the phase takes.
    pub time: TimeRange,
}

/// The update phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateSettings {
    /// The probability of being an update participant, for those who do not sum.
    pub prob: f64,
    /// How many updates are aggregated.
    pub count: CountRange,
    /// How long the phase takes.
    pub time: TimeRange,
}

/// The sum2 phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum2Settings {
    /// How many aggregated masks are counted.
    pub count: CountRange,
    /// How long the phase takes.
    pub time: TimeRange,
}

/// All settings of a coordinator.
#[derive(Debug, Clone, PartialEq)]
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
    /// The setting, as in a settings file: `sum.count.min`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub rule: String,
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

        check.count("sum.count.min", "sum.count.max", sum.count, 1);
        check.count("update.count.min", "update.count.max", update.count, 3);
        check.count("sum2.count.min", "sum2.count.max", sum2.count, 1);
        for (key, value) in [("sum2.count.min", sum2.count.min), ("sum2.count.max", sum2.count.max)]
        {
            check.rule(value <= sum.count.max, key, value, || {
                format!("must be at most sum.count.max, which is {}", sum.count.max)
            });
        }
        check.time("sum.time.min", sum.time);
        check.time("update.time.min", update.time);
        check.time("sum2.time.min", sum2.time);
        check.rule(0.0 < sum.prob && sum.prob < 1.0, "sum.prob", sum.prob, || {
            "must be above 0 and below 1".into()
        });
        check.rule(0.0 < update.prob && update.prob <= 1.0, "update.prob", update.prob, || {
            "must be above 0 and at most 1".into()
        });
        let some_task = sum.prob + update.prob - sum.prob * update.prob;
        check.rule(
            0.0 < some_task && some_task <= 1.0,
            "sum.prob and update.prob",
            format_args!("{} and {}", sum.prob, update.prob),
            || "sum + update - sum * update must be above 0 and at most 1".into(),
        );
        check.rule(
            self.max_message_len().is_some_and(|length| u32::try_from(length).is_ok()),
            "model.length",
            self.model_length,
            || {
                "must be so small that an update message, with a seed for each of sum.count.max sum \
                 participants, is below 4 GiB"
                    .into()
            },
        );
        check.rule(self.model_length >= 1, "model.length", self.model_length, || {
            "must be at least 1".into()
        });
        match check.0 {
            violations if violations.is_empty() => Ok(()),
            violations => Err(InvalidSettings(violations)),
        }
    }

    /// The length of the longest opened message; `None` if it cannot be counted.
    fn max_message_len(&self) -> Option<usize> {
        let length = usize::try_from(self.model_length).ok()?;
        u32::try_from(length).ok()?;
        let object = MaskObjectView::serialized_len(self.mask, length)?;
        let summers = usize::try_from(self.sum.count.max).ok()?;
        // The dictionary's own length formula cannot be used for counts near the end of the range.
        summers.checked_mul(crate::message::SEED_ENTRY_LENGTH)?;
        LocalSeedDict::serialized_len(summers).checked_add(object)?.checked_add(HEADER_LENGTH + 128)
    }
}

/// Collects violations.
struct Check(Vec<Violation>);

impl Check {
    fn rule(
        &mut self,
        holds: bool,
        key: &'static str,
        value: impl fmt::Display,
        rule: impl FnOnce() -> String,
    ) {
        if !holds {
            self.0.push(Violation { key, value: value.to_string(), rule: rule() });
        }
    }

    fn count(
        &mut self,
        min_key: &'static str,
        max_key: &'static str,
        count: CountRange,
        least: u64,
    ) {
        self.rule(count.min >= least, min_key, count.min, || format!("must be at least {least}"));
        self.rule(count.min <= count.max, max_key, count.max, || {
            format!("must be at least {min_key}, which is {}", count.min)
        });
    }

    fn time(&mut self, min_key: &'static str, time: TimeRange) {
        self.rule(time.min <= time.max, min_key, time.min.as_secs_f64(), || {
            format!("must be at most the phase's time.max, which is {}", time.max.as_secs_f64())
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::mask::{BoundType, DataType, GroupType, MaskConfig, ModelType};

    pub(crate) fn settings() -> Settings {
        let time = TimeRange { min: Duration::ZERO, max: Duration::from_secs(60) };
        Settings {
            sum: SumSettings { prob: 0.5, count: CountRange { min: 1, max: 10 }, time },
            update: UpdateSettings { prob: 1.0, count: CountRange { min: 3, max: 10 }, time },
            sum2: Sum2Settings { count: CountRange { min: 1, max: 10 }, time },
            mask: MaskConfig {
                group_type: GroupType::Prime,
                data_type: DataType::F32,
                bound_type: BoundType::B0,
                model_type: ModelType::M3,
            }
            .into(),
            model_length: 4,
            reassembly: ReassemblyLimits::default(),
        }
    }

    #[test]
    fn each_rule_is_checked() {
        type Change = fn(&mut Settings);
        let cases: &[(&str, Change)] = &[
            ("sum.count.min", |s| s.sum.count.min = 0),
            ("sum.count.max", |s| s.sum.count.min = 11),
            ("update.count.min", |s| s.update.count.min = 2),
            ("update.count.max", |s| s.update.count.max = 2),
            ("sum2.count.min", |s| s.sum2.count.min = 0),
            ("sum2.count.max", |s| s.sum2.count.max = 11),
            ("sum.time.min", |s| s.sum.time.min = Duration::from_secs(61)),
            ("update.time.min", |s| s.update.time.min = Duration::from_secs(61)),
            ("sum2.time.min", |s| s.sum2.time.min = Duration::from_secs(61)),
            ("sum.prob", |s| s.sum.prob = 0.0),
            ("sum.prob", |s| s.sum.prob = 1.0),
            ("sum.prob", |s| s.sum.prob = f64::NAN),
            ("update.prob", |s| s.update.prob = 0.0),
            ("update.prob", |s| s.update.prob = 1.1),
            ("model.length", |s| s.model_length = 0),
            ("model.length", |s| s.model_length = 1 << 30),
            ("model.length", |s| s.model_length = u64::MAX),
        ];
        assert_eq!(settings().validate(), Ok(()));
        for (key, change) in cases {
            let mut settings = settings();
            change(&mut settings);
            let InvalidSettings(violations) = settings.validate().unwrap_err();
            assert!(
                violations.iter().any(|violation| violation.key == *key),
                "{key}: {violations:?}"
            );
        }
    }

    #[test]
    fn all_violations_are_reported_together() {
        let mut settings = settings();
        settings.sum.prob = 2.0;
        settings.update.count.min = 1;
        let message = settings.validate().unwrap_err().to_string();
        assert!(message.contains("sum.prob = 2"), "{message}");
        assert!(message.contains("update.count.min = 1"), "{message}");
    }
}
