//! The rules that settings keep.

use std::fmt;

use super::{Field, InvalidSettings, Rule, Settings, TimeRange, Times, Violation, LONGEST_ROUND};
use crate::mask::noise::{HeadRoom, Noise};
use crate::mask::{BoundType, DataType};
use crate::v2::coordinator::shape::Shape;
use crate::v2::MOST_ENTRIES;

/// A hiding set of fewer tells too much of each.
const LEAST_N_MIN: u64 = 3;

/// Members refuse a first round above it as too far ahead, and above 2^64 - 1 there is none.
const HIGHEST_FIRST: u64 = 1 << 62;

impl Settings {
    /// Checks every rule.
    ///
    /// # Errors
    /// All violations together.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        let mut check = Check(Vec::new());
        let Self { mask, model_length, n_min, count, times, limits, .. } = self;

        let is_word = mask.vect.group_type().is_word() && mask.unit.group_type().is_word();
        check.rule(is_word, Field::Mask, mask, &[], || Rule::WordGroup);
        check.least(Field::ModelLength, *model_length, 1);
        let most = u64::from(u32::MAX);
        check.rule(*model_length <= most, Field::ModelLength, model_length, &[], || {
            Rule::AtMost(most)
        });
        check.least(Field::FirstRound, self.first_round, 1);
        check.rule(
            self.first_round <= HIGHEST_FIRST,
            Field::FirstRound,
            self.first_round,
            &[],
            || Rule::AtMost(HIGHEST_FIRST),
        );
        check.least(Field::NMin, *n_min, LEAST_N_MIN);
        check.not_below(Field::CountMin, count.min, Field::NMin, *n_min);
        check.not_below(Field::CountMax, count.max, Field::CountMin, count.min);
        let room = mask.max_nb_models();
        check.rule(count.max <= room, Field::CountMax, count.max, &[Field::Mask], || {
            Rule::MaskHasRoom { most: room }
        });
        for (min, max, time) in [
            (Field::AnnounceTimeMin, Field::AnnounceTimeMax, times.announce),
            (Field::UpdateTimeMin, Field::UpdateTimeMax, times.update),
            (Field::CheckTimeMin, Field::CheckTimeMax, times.check),
            (Field::AgreeTimeMin, Field::AgreeTimeMax, times.agree),
            (Field::Sum2TimeMin, Field::Sum2TimeMax, times.sum2),
        ] {
            check.time(min, max, time);
        }
        self.check_together(&mut check);
        check.least(Field::Uploads, limits.uploads, 1);
        check.least(Field::WaitingAnswers, limits.waiting_answers as u64, 1);
        check.least(Field::Page, limits.page as u64, 1);
        let most = MOST_ENTRIES as u64;
        check
            .rule(limits.page as u64 <= most, Field::Page, limits.page, &[], || Rule::AtMost(most));
        if let Some(shape) = Shape::new(*mask, *model_length) {
            let header = shape.header_len(&self.roster);
            let least = header.saturating_mul(count.min);
            check.least(Field::HeaderBytes, limits.header_bytes, least);
            check.least(Field::UploadBytes, limits.upload_bytes, shape.object_len());
            let chunk = shape.chunk_len(0) as u64;
            check.least(Field::UnstoredBytes, limits.unstored_bytes, chunk);
        }
        self.check_noise(&mut check);
        match check.0 {
            violations if violations.is_empty() => Ok(()),
            violations => Err(InvalidSettings(violations)),
        }
    }

    /// The longest phase is the one to be made shorter.
    fn check_together(&self, check: &mut Check) {
        let Times { announce, update, check: checking, agree, sum2 } = self.times;
        let all = [
            (announce.max, Field::AnnounceTimeMax),
            (checking.max, Field::CheckTimeMax),
            (agree.max, Field::AgreeTimeMax),
            (sum2.max, Field::Sum2TimeMax),
            (update.max, Field::UpdateTimeMax),
        ];
        let (take, most) = (self.times.longest(), LONGEST_ROUND);
        let Some((time, field)) = all.into_iter().max_by_key(|(time, _)| *time) else { return };
        let others: Vec<_> =
            all.into_iter().map(|(_, other)| other).filter(|other| *other != field).collect();
        let value = format!("{time:?}");
        check.rule(take <= most, field, value, &others, || Rule::Together { take, most });
    }

    fn check_noise(&self, check: &mut Check) {
        let Some(noise) = &self.noise else { return };
        let config = self.mask.vect;
        let is_difference = matches!(config.data_type(), DataType::F32 | DataType::F64)
            && config.bound_type() == BoundType::B0;
        check.rule(is_difference, Field::Mask, self.mask, &[], || Rule::NoiseConfig);
        let is_positive = noise.clip.is_normal() && noise.clip > 0.0;
        check.rule(is_positive, Field::NoiseClip, noise.clip, &[], || Rule::Positive);
        let thousandths = u64::from(noise.multiplier_thousandths);
        check.least(Field::NoiseMultiplier, thousandths, 1);
        let length = usize::try_from(self.model_length).unwrap_or(usize::MAX);
        if !is_difference || thousandths == 0 {
            return;
        }
        let (field, value) = (Field::NoiseMultiplier, noise.multiplier_thousandths);
        let depends_on = &[Field::Mask, Field::ModelLength, Field::CountMax];
        let room = match Noise::new(config, length, noise.multiplier_thousandths) {
            Err(error) => Err(error.to_string()),
            Ok(noise) => {
                let room = HeadRoom::new(noise, self.roster.groups().len());
                room.check(self.count.max).map_err(|error| error.to_string())
            }
        };
        if let Err(why) = room {
            check.rule(false, field, value, depends_on, || Rule::HeadRoom { why });
        }
    }
}

/// Collects violations.
struct Check(Vec<Violation>);

impl Check {
    fn rule(
        &mut self,
        holds: bool,
        field: Field,
        value: impl fmt::Display,
        depends_on: &[Field],
        rule: impl FnOnce() -> Rule,
    ) {
        if !holds {
            let depends_on = [&[field], depends_on].concat();
            self.0.push(Violation { field, value: value.to_string(), rule: rule(), depends_on });
        }
    }

    fn least(&mut self, field: Field, value: u64, least: u64) {
        self.rule(value >= least, field, value, &[], || Rule::AtLeast(least));
    }

    fn not_below(&mut self, field: Field, value: u64, other: Field, least: u64) {
        self.rule(value >= least, field, value, &[other], || Rule::NotBelow {
            field: other,
            is: least.to_string(),
        });
    }

    fn time(&mut self, min: Field, max: Field, time: TimeRange) {
        let value = format!("{:?}", time.max);
        self.rule(time.max >= time.min, max, value, &[min], || Rule::NotBelow {
            field: min,
            is: format!("{:?}", time.min),
        });
    }
}
