//! The rules that settings keep (specification, section 7).

use std::fmt;

use super::{CountRange, Field, InvalidSettings, Quorum, Rule, Settings, TimeRange, Violation};
use crate::coordinator::StepRule;
use crate::mask::{DataType, MaskConfigPair, MaskObjectView};
use crate::message::{LocalSeedDict, UpdatePayload, HEADER_LENGTH, SEED_ENTRY_LENGTH};

impl Settings {
    /// Checks every rule.
    ///
    /// # Errors
    /// All violations together.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        let mut check = Check(Vec::new());
        let (sum, update, sum2) = (&self.sum, &self.update, &self.sum2);

        check.count(Field::SumCountMin, Field::SumCountMax, sum.count, 1);
        check.count(Field::UpdateCountMin, Field::UpdateCountMax, update.count, 3);
        check.count(Field::Sum2CountMin, Field::Sum2CountMax, sum2.count, 1);
        for (field, value) in
            [(Field::Sum2CountMin, sum2.count.min), (Field::Sum2CountMax, sum2.count.max)]
        {
            check.rule(value <= sum.count.max, field, value, &[Field::SumCountMax], || {
                Rule::NotAbove { field: Field::SumCountMax, is: sum.count.max.to_string() }
            });
        }
        check.time(Field::SumTimeMin, Field::SumTimeMax, sum.time);
        check.time(Field::UpdateTimeMin, Field::UpdateTimeMax, update.time);
        check.time(Field::Sum2TimeMin, Field::Sum2TimeMax, sum2.time);
        // That some task falls to some participants, 0 < sum + update - sum * update <= 1, follows from
        // these two. (Computed in floating point it may come out otherwise.)
        check
            .rule(0.0 < sum.prob && sum.prob < 1.0, Field::SumProb, sum.prob, &[], || Rule::Chance);
        let is_chance = 0.0 < update.prob && update.prob <= 1.0;
        check.rule(is_chance, Field::UpdateProb, update.prob, &[], || Rule::ChanceOrCertainty);
        if let Quorum::Share(share) = sum2.quorum {
            check.rule(0.0 < share && share <= 1.0, Field::Sum2Quorum, share, &[], || {
                Rule::ShareOfSumDictionary
            });
        }
        check.rule(self.model_length >= 1, Field::ModelLength, self.model_length, &[], || {
            Rule::AtLeast(1)
        });
        self.check_message_len(&mut check);
        self.check_optimizer(&mut check);
        match check.0 {
            violations if violations.is_empty() => Ok(()),
            violations => Err(InvalidSettings(violations)),
        }
    }

    fn check_optimizer(&self, check: &mut Check) {
        let Some(optimizer) = &self.optimizer else { return };
        let kind = optimizer.rule.kind();
        let is_float = matches!(self.mask.vect.data_type(), DataType::F32 | DataType::F64);
        check.rule(is_float, Field::OptimizerKind, kind, &[Field::Mask], || Rule::OfFloats);
        let mut share = |field, value: f64| {
            let holds = (0.0..1.0).contains(&value);
            check.rule(holds, field, value, &[], || Rule::ShareBelowOne);
        };
        let tau = match optimizer.rule {
            StepRule::FedAvg => None,
            StepRule::FedAvgM { momentum } => {
                share(Field::OptimizerMomentum, momentum);
                None
            }
            StepRule::FedAdagrad { beta1, tau } => {
                share(Field::OptimizerBeta1, beta1);
                Some(tau)
            }
            StepRule::FedAdam { beta1, beta2, tau } | StepRule::FedYogi { beta1, beta2, tau } => {
                share(Field::OptimizerBeta1, beta1);
                share(Field::OptimizerBeta2, beta2);
                Some(tau)
            }
        };
        if let Some(tau) = tau {
            let holds = tau > 0.0 && tau.is_finite();
            check.rule(holds, Field::OptimizerTau, tau, &[], || Rule::Positive);
        }
        let (beside, length) = (optimizer.beside_model, self.model_length);
        let field = Field::OptimizerBesideModel;
        check.rule(beside < length.max(1), field, beside, &[Field::ModelLength], || Rule::Below {
            field: Field::ModelLength,
            is: length.to_string(),
        });
    }

    /// An update message must be possible: its length field has 32 bits.
    fn check_message_len(&self, check: &mut Check) {
        // Whatever the mask config, a number has at least a byte.
        let for_any_mask = self.model_length >= u64::from(u32::MAX);
        let depends_on = if for_any_mask { &[][..] } else { &[Field::Mask][..] };
        let model_length = self.model_length;
        let most = most_summers(self.mask, model_length).unwrap_or(0);
        check.rule(most >= 1, Field::ModelLength, model_length, depends_on, || {
            Rule::FitsIntoMessage
        });
        let least = self.sum.count.min;
        let depends_on = &[Field::ModelLength, Field::Mask];
        check.rule(most < 1 || least <= most, Field::SumCountMin, least, depends_on, || {
            Rule::SeedsFitIntoMessage { most, model_length }
        });
    }
}

/// The most sum participants that a round may have, so that an update message with a seed for each
/// of them has at most as many bytes as its length field can say. `None` if not even the masked
/// model fits.
pub(in crate::coordinator) fn most_summers(mask: MaskConfigPair, model_length: u64) -> Option<u64> {
    let object = MaskObjectView::serialized_len(mask, usize::try_from(model_length).ok()?)?;
    let rest = HEADER_LENGTH + UpdatePayload::MASKED_MODEL_FROM + LocalSeedDict::serialized_len(0);
    let room = u64::from(u32::MAX).checked_sub(object.checked_add(rest)? as u64)?;
    Some(room / SEED_ENTRY_LENGTH as u64)
}

/// Collects violations.
struct Check(Vec<Violation>);

impl Check {
    /// `others` are the fields beside `field` that the rule looks at.
    fn rule(
        &mut self,
        holds: bool,
        field: Field,
        value: impl fmt::Display,
        others: &[Field],
        rule: impl FnOnce() -> Rule,
    ) {
        if !holds {
            let depends_on = [&[field], others].concat();
            self.0.push(Violation { field, value: value.to_string(), rule: rule(), depends_on });
        }
    }

    fn count(&mut self, min: Field, max: Field, count: CountRange, least: u64) {
        self.rule(count.min >= least, min, count.min, &[], || Rule::AtLeast(least));
        self.rule(count.min <= count.max, max, count.max, &[min], || Rule::NotBelow {
            field: min,
            is: count.min.to_string(),
        });
    }

    fn time(&mut self, min: Field, max: Field, time: TimeRange) {
        self.rule(time.min <= time.max, min, time.min.as_secs_f64(), &[max], || Rule::NotAbove {
            field: max,
            is: time.max.as_secs_f64().to_string(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::coordinator::settings::tests::settings;
    use crate::coordinator::{LearningRate, Optimizer, OptimizerKind};
    use crate::mask::MaskConfig;

    fn optimizer(rule: StepRule) -> Option<Optimizer> {
        let rate = LearningRate::constant(1.0).unwrap();
        Some(Optimizer { rule, ..Optimizer::new(OptimizerKind::FedAvg, rate) })
    }

    #[test]
    fn each_rule_is_checked() {
        type Change = fn(&mut Settings);
        let cases: &[(Field, Change)] = &[
            (Field::SumCountMin, |s| s.sum.count.min = 0),
            (Field::SumCountMax, |s| s.sum.count.min = 11),
            (Field::UpdateCountMin, |s| s.update.count.min = 2),
            (Field::UpdateCountMax, |s| s.update.count.max = 2),
            (Field::Sum2CountMin, |s| s.sum2.count.min = 0),
            (Field::Sum2CountMax, |s| s.sum2.count.max = 11),
            (Field::SumTimeMin, |s| s.sum.time.min = Duration::from_secs(61)),
            (Field::UpdateTimeMin, |s| s.update.time.min = Duration::from_secs(61)),
            (Field::Sum2Quorum, |s| s.sum2.quorum = Quorum::Share(0.0)),
            (Field::Sum2Quorum, |s| s.sum2.quorum = Quorum::Share(1.1)),
            (Field::Sum2Quorum, |s| s.sum2.quorum = Quorum::Share(f64::NAN)),
            (Field::Sum2TimeMin, |s| s.sum2.time.min = Duration::from_secs(61)),
            (Field::SumProb, |s| s.sum.prob = 0.0),
            (Field::SumProb, |s| s.sum.prob = 1.0),
            (Field::SumProb, |s| s.sum.prob = f64::NAN),
            (Field::UpdateProb, |s| s.update.prob = 0.0),
            (Field::UpdateProb, |s| s.update.prob = 1.1),
            (Field::ModelLength, |s| s.model_length = 0),
            (Field::ModelLength, |s| s.model_length = 1 << 30),
            (Field::ModelLength, |s| s.model_length = u64::MAX),
            (Field::SumCountMin, |s| s.sum.count = CountRange { min: 1 << 26, max: 1 << 27 }),
            (Field::OptimizerKind, |s| {
                s.mask = "Prime/I32/B0/M3".parse::<MaskConfig>().unwrap().into();
                s.optimizer = optimizer(StepRule::FedAvg);
            }),
            (Field::OptimizerMomentum, |s| {
                s.optimizer = optimizer(StepRule::FedAvgM { momentum: 1.0 });
            }),
            (Field::OptimizerMomentum, |s| {
                s.optimizer = optimizer(StepRule::FedAvgM { momentum: f64::NAN });
            }),
            (Field::OptimizerBeta1, |s| {
                s.optimizer = optimizer(StepRule::FedAdagrad { beta1: -0.1, tau: 0.1 });
            }),
            (Field::OptimizerTau, |s| {
                s.optimizer = optimizer(StepRule::FedAdagrad { beta1: 0.0, tau: 0.0 });
            }),
            (Field::OptimizerBeta2, |s| {
                s.optimizer = optimizer(StepRule::FedAdam { beta1: 0.0, beta2: 1.0, tau: 0.1 });
            }),
            (Field::OptimizerTau, |s| {
                let (beta1, beta2, tau) = (0.0, 0.0, f64::INFINITY);
                s.optimizer = optimizer(StepRule::FedYogi { beta1, beta2, tau });
            }),
            (Field::OptimizerBesideModel, |s| {
                s.optimizer = optimizer(StepRule::FedAvg);
                s.optimizer.as_mut().unwrap().beside_model = 4;
            }),
        ];
        assert_eq!(settings().validate(), Ok(()));
        for (field, change) in cases {
            let mut settings = settings();
            change(&mut settings);
            let InvalidSettings(violations) = settings.validate().unwrap_err();
            let violation = violations.iter().find(|violation| violation.field == *field);
            let violation = violation.unwrap_or_else(|| panic!("{field}: {violations:?}"));
            assert!(violation.depends_on.contains(field), "{violation:?}");
        }
    }

    #[test]
    fn all_violations_are_reported_together() {
        let mut settings = settings();
        settings.sum.prob = 2.0;
        settings.update.count.min = 1;
        let message = settings.validate().unwrap_err().to_string();
        assert!(message.contains("sum.prob = 2: must be above 0 and below 1"), "{message}");
        assert!(message.contains("update.count.min = 1: must be at least 3"), "{message}");
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
        assert_eq!(violations[0].depends_on, [Field::ModelLength]);
    }

    #[test]
    fn a_rule_calls_other_fields_what_it_is_told_to() {
        let mut settings = settings();
        settings.sum.time.min = Duration::from_secs(61);
        let InvalidSettings(violations) = settings.validate().unwrap_err();
        assert_eq!(
            violations[0].to_string(),
            "sum.time.min = 61: must be at most sum.time.max, which is 60"
        );
        let words = violations[0].rule.in_words(|field| format!("--{}", field.name()));
        assert_eq!(words, "must be at most --sum.time.max, which is 60");
    }
}
