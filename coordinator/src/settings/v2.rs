//! `[pet.v2]`: rounds of PET v2, in which groups of members take the place of sum participants.

use std::{fmt::Display, path::PathBuf, time::Duration};

use super::MinMax;
use crate::key;

/// The fewest updates that a round of v2 may add up: the sum of fewer would tell too much about each.
const LEAST_UPDATES: u64 = 3;

/// Noise multipliers are whole thousandths from this on; smaller ones hide nothing.
const LEAST_MULTIPLIER: f64 = 0.1;
/// And up to this; larger ones leave nothing of a model.
const MOST_MULTIPLIER: f64 = 100_000.0;

/// `[pet.v2]`: with a roster file the coordinator's rounds are of v2, and `[pet.sum]`, `[pet.update]` and `[pet.sum2]` have
/// no effect. Not among the old keys.
#[derive(Clone, Debug, PartialEq)]
pub struct V2Settings {
    /// The roster: the groups with their members' keys, and who admits updaters. Default: none, rounds are of v1.
    pub roster_file: Option<PathBuf>,
    /// The fewest updates that a global model may be made of, 3 at least; participants that want more refuse the
    /// round. Default: 3.
    pub n_min: u64,
    /// The number of the first round of a new data directory, at least 1. Members and updaters take part in no round whose number
    /// is not above the last that they know: after a loss of data it has to be above that. Default: 1.
    pub first_round: u64,
    /// Of how many rounds the updates, masks and statements are kept, so that anyone can check the global model
    /// (`pet-coordinator audit`); 1 at least. Default: 2.
    pub rounds_audited: usize,
    /// `[pet.v2.announce]`: members announce their keys. Default: 1 to 60 seconds. Without majorities it ends when there was no news for
    /// 12 seconds (then 24, and so on): members take part only in rounds that are opened after their start.
    pub announce: V2PhaseSettings,
    /// `[pet.v2.update]`: updaters train and send. Default: `pet.v2.n_min` to 10,000 updates, 1 to 300 seconds.
    pub update: V2UpdateSettings,
    /// `[pet.v2.check]`: members check what updaters have sent them. Default: 1 to 60 seconds.
    pub check: V2PhaseSettings,
    /// `[pet.v2.agree]`: members vote for the set of updates. Default: 1 to 60 seconds.
    pub agree: V2PhaseSettings,
    /// `[pet.v2.sum2]`: members send the sums of masks. Default: 1 to 120 seconds.
    pub sum2: V2PhaseSettings,
    /// `[pet.v2.noise]`: differential privacy. Default: none.
    pub noise: NoiseSettings,
}

/// A phase in which members act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V2PhaseSettings {
    /// After `min` the phase ends as soon as a majority of each group has acted (it ends at once if all have); after
    /// `max` the round fails. In files: seconds, whole or with a fraction.
    pub time: MinMax<Duration>,
}

/// `[pet.v2.update]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V2UpdateSettings {
    /// The phase ends once `min` updates are there; more than `max` are not taken.
    pub count: MinMax<u64>,
    /// The phase lasts at least `min`; after `max` the round fails.
    pub time: MinMax<Duration>,
}

/// `[pet.v2.noise]`: either both or none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NoiseSettings {
    /// How much noise each group adds to the sum: its standard deviation, as a multiple of what one updater can change.
    /// Thousandths count. Default: none.
    pub multiplier: Option<f64>,
    /// The length (L2 norm) to which each updater clips the difference that it sends. Default: none.
    pub clip: Option<f64>,
}

impl NoiseSettings {
    /// The multiplier in thousandths, which is how it is written into a round's terms.
    pub fn thousandths(&self) -> Option<u32> {
        let thousandths = (self.multiplier? * 1000.0).round();
        // Valid settings are within the range; a cast saturates.
        Some(thousandths as u32)
    }
}

impl Default for V2Settings {
    fn default() -> Self {
        let seconds =
            |min, max| MinMax { min: Duration::from_secs(min), max: Duration::from_secs(max) };
        let phase = |min, max| V2PhaseSettings { time: seconds(min, max) };
        Self {
            roster_file: None,
            n_min: LEAST_UPDATES,
            first_round: 1,
            rounds_audited: 2,
            announce: phase(1, 60),
            update: V2UpdateSettings {
                count: MinMax { min: LEAST_UPDATES, max: 10_000 },
                time: seconds(1, 300),
            },
            check: phase(1, 60),
            agree: phase(1, 60),
            sum2: phase(1, 120),
            noise: NoiseSettings::default(),
        }
    }
}

impl V2Settings {
    /// Whether rounds are of v2.
    pub fn is_on(&self) -> bool {
        self.roster_file.is_some()
    }

    /// The rules that are broken: the key, the value if there is one, the rule.
    pub(super) fn check(&self) -> Vec<(&'static str, Option<String>, String)> {
        let mut broken = Vec::new();
        let mut rule = |holds: bool, key, value: &dyn Display, rule: String| {
            if !holds {
                broken.push((key, Some(value.to_string()), rule));
            }
        };
        let n_min = self.n_min;
        rule(
            n_min >= LEAST_UPDATES,
            key!(pet.v2.n_min),
            &n_min,
            format!("must be at least {LEAST_UPDATES}: the sum of fewer models would tell too much about each"),
        );
        rule(
            self.first_round >= 1,
            key!(pet.v2.first_round),
            &self.first_round,
            "must be at least 1".to_owned(),
        );
        let count = self.update.count;
        rule(
            count.min >= n_min,
            key!(pet.v2.update.count.min),
            &count.min,
            format!(
                "must be at least {} ({n_min}): a round with fewer can only fail",
                key!(pet.v2.n_min)
            ),
        );
        rule(
            count.max >= count.min,
            key!(pet.v2.update.count.max),
            &count.max,
            format!("must be at least {} ({})", key!(pet.v2.update.count.min), count.min),
        );
        macro_rules! times {
            ($($phase:ident),+) => {
                $(
                    let time = self.$phase.time;
                    rule(
                        time.max >= time.min && !time.max.is_zero(),
                        key!(pet.v2.$phase.time.max),
                        &time.max.as_secs_f64(),
                        format!(
                            "must be more than 0 seconds, and at least {} ({})",
                            key!(pet.v2.$phase.time.min),
                            time.min.as_secs_f64()
                        ),
                    );
                )+
            };
        }
        times!(announce, update, check, agree, sum2);
        if let Some(multiplier) = self.noise.multiplier {
            rule(
                (LEAST_MULTIPLIER..=MOST_MULTIPLIER).contains(&multiplier),
                key!(pet.v2.noise.multiplier),
                &multiplier,
                format!("must be from {LEAST_MULTIPLIER} to {MOST_MULTIPLIER}"),
            );
        }
        if let Some(clip) = self.noise.clip {
            rule(
                clip.is_finite() && clip > 0.0,
                key!(pet.v2.noise.clip),
                &clip,
                "must be more than 0: the L2 norm to which updaters clip what they send".to_owned(),
            );
        }
        let NoiseSettings { multiplier, clip } = self.noise;
        for (given, needed, is_broken) in [
            (
                key!(pet.v2.noise.multiplier),
                key!(pet.v2.noise.clip),
                clip.is_none() && multiplier.is_some(),
            ),
            (
                key!(pet.v2.noise.clip),
                key!(pet.v2.noise.multiplier),
                multiplier.is_none() && clip.is_some(),
            ),
        ] {
            if is_broken {
                broken.push((given, None, format!("needs {needed} as well")));
            }
        }
        broken
    }
}
