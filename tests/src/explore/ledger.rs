//! The grammar of a round's records, and what was accepted in it.

use std::collections::{BTreeMap, BTreeSet};

use pet_core::coordinator::{GlobalModel, Phase, Record, RoundFailure};
use pet_core::model::Model;

use super::letters::LetterId;

/// How far a model may be from the mean: half a unit of a single-precision number below 1/2.
const TOLERANCE: f64 = 1e-7;

/// How a round has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// With a global model.
    Model,
    /// With a failure in this phase, for want of messages.
    TooFewMessages(&'static str),
}

/// What a coordinator's records say.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// The round.
    pub round: u64,
    /// Where in it.
    pub phase: Phase,
    /// Who sums.
    pub summers: BTreeSet<usize>,
    /// Whose update is in the aggregate, and which message it came in.
    pub updates: BTreeMap<usize, LetterId>,
    /// The weights of these updates.
    weights: Vec<f64>,
    /// Who has sent a mask.
    pub voters: BTreeSet<usize>,
    /// The latest global model: its round and its weight.
    model: Option<(u64, f64)>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            round: 0,
            phase: Phase::Idle,
            summers: BTreeSet::new(),
            updates: BTreeMap::new(),
            weights: Vec::new(),
            voters: BTreeSet::new(),
            model: None,
        }
    }
}

impl Ledger {
    fn expect(&self, phase: Phase, what: &str) -> Result<(), String> {
        match self.phase == phase {
            true => Ok(()),
            false => Err(format!("{what} in the {} phase", self.phase)),
        }
    }

    /// Enters a record that has nothing to do with participants.
    pub(super) fn enter(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::RoundBegan { round_id, .. } => {
                if !matches!(self.phase, Phase::Idle | Phase::Failure) {
                    return Err(format!("a round begins in the {} phase", self.phase));
                }
                if *round_id != self.round + 1 {
                    return Err(format!("round {round_id} follows round {}", self.round));
                }
                *self = Self {
                    round: *round_id,
                    phase: Phase::Sum,
                    model: self.model,
                    ..Self::default()
                };
            }
            Record::SumEnded => {
                self.expect(Phase::Sum, "the sum dictionary is complete")?;
                self.phase = Phase::Update;
            }
            Record::UpdateEnded => {
                self.expect(Phase::Update, "the seed dictionary is complete")?;
                if self.updates.len() < 3 {
                    return Err(format!("only {} updates are unmasked", self.updates.len()));
                }
                self.phase = Phase::Sum2;
            }
            Record::Sum2Ended { .. } => {
                self.expect(Phase::Sum2, "a mask is chosen")?;
                self.phase = Phase::Unmask;
            }
            Record::Model(model) => {
                self.expect(Phase::Unmask, "a global model")?;
                self.check_mean(model)?;
                self.model = Some((model.round_id, weight(model)?));
                self.phase = Phase::Idle;
            }
            Record::RoundFailed { .. } => {
                // Once more after it was restored.
                if matches!(self.phase, Phase::Idle | Phase::Shutdown) {
                    return Err(format!("a round fails in the {} phase", self.phase));
                }
                self.phase = Phase::Failure;
            }
            other => return Err(format!("unexpected record {other:?}")),
        }
        Ok(())
    }

    /// A sum message is accepted.
    pub(super) fn sum(&mut self, participant: usize) -> Result<(), String> {
        self.expect(Phase::Sum, "a sum message is accepted")?;
        match self.summers.insert(participant) {
            true => Ok(()),
            false => Err("a sum message is counted twice".into()),
        }
    }

    /// An update is accepted.
    pub(super) fn update(
        &mut self,
        participant: usize,
        letter: LetterId,
        weight: f64,
    ) -> Result<(), String> {
        self.expect(Phase::Update, "an update is accepted")?;
        self.weights.push(weight);
        match self.updates.insert(participant, letter) {
            None => Ok(()),
            Some(_) => Err("an update is counted twice".into()),
        }
    }

    /// A sum2 message is accepted.
    pub(super) fn sum2(&mut self, participant: usize) -> Result<(), String> {
        self.expect(Phase::Sum2, "a sum2 message is accepted")?;
        if !self.summers.contains(&participant) {
            return Err("a sum2 message of one who is not in the sum dictionary".into());
        }
        match self.voters.insert(participant) {
            true => Ok(()),
            false => Err("a sum2 message is counted twice".into()),
        }
    }

    fn check_mean(&self, model: &GlobalModel) -> Result<(), String> {
        let count = self.weights.len();
        let mean = self.weights.iter().sum::<f64>() / count as f64;
        let actual = weight(model)?;
        if model.round_id != self.round || model.models != count as u64 {
            return Err(format!("{:?} is not of {count} updates in round {}", model, self.round));
        }
        match (actual - mean).abs() <= TOLERANCE {
            true => Ok(()),
            false => Err(format!("the global model is {actual}, the mean of the updates {mean}")),
        }
    }

    /// Only what was recorded is published.
    pub(super) fn check_published(&self, model: &GlobalModel) -> Result<(), String> {
        match self.model == Some((model.round_id, weight(model)?)) {
            true => Ok(()),
            false => Err("a global model is published that is not recorded".into()),
        }
    }

    /// Who has sent what is acknowledged.
    pub(super) fn has(
        &self,
        participant: usize,
        letter: LetterId,
        tag: pet_core::message::Tag,
    ) -> bool {
        use pet_core::message::Tag;
        match tag {
            Tag::Sum => self.summers.contains(&participant),
            Tag::Update => self.updates.get(&participant) == Some(&letter),
            Tag::Sum2 => self.voters.contains(&participant),
            _ => false,
        }
    }

    /// A text that is equal for equal ledgers only.
    pub(super) fn text(&self) -> String {
        format!("{self:?}")
    }
}

/// The failures that honest participants can bring about.
pub(super) fn end_of(failure: &RoundFailure) -> Result<End, String> {
    match failure {
        RoundFailure::TooFewMessages { phase, accepted, needed } if accepted < needed => {
            Ok(End::TooFewMessages(match phase {
                Phase::Sum => "sum",
                Phase::Update => "update",
                Phase::Sum2 => "sum2",
                other => return Err(format!("too few messages in the {other} phase")),
            }))
        }
        other => Err(format!("a round of honest participants has failed: {other}")),
    }
}

fn weight(model: &GlobalModel) -> Result<f64, String> {
    match model.weights.as_deref() {
        Some(Model::F32(weights)) if weights.len() == 1 => Ok(f64::from(weights[0])),
        other => Err(format!("{other:?} is not one single-precision number")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pet_core::crypto::{Digest, RoundSeed};

    use super::*;

    fn model(weight: f32, models: u64) -> Record {
        Record::Model(GlobalModel {
            round_id: 1,
            seed: RoundSeed::new([0; 32]),
            models,
            rationals: Default::default(),
            weights: Some(Arc::new(Model::F32(vec![weight]))),
            optimizer: None,
        })
    }

    fn up_to(phase: Phase) -> Ledger {
        let mut ledger = Ledger { round: 1, phase: Phase::Sum, ..Ledger::default() };
        ledger.sum(0).unwrap();
        if phase == Phase::Sum {
            return ledger;
        }
        ledger.enter(&Record::SumEnded).unwrap();
        for (letter, weight) in [(1, 0.5), (2, 0.25), (3, 0.0)] {
            ledger.update(usize::from(letter), letter, weight).unwrap();
        }
        if phase == Phase::Update {
            return ledger;
        }
        ledger.enter(&Record::UpdateEnded).unwrap();
        ledger.sum2(0).unwrap();
        if phase == Phase::Sum2 {
            return ledger;
        }
        ledger.enter(&Record::Sum2Ended { digest: Digest::new([0; 32]) }).unwrap();
        ledger
    }

    #[test]
    fn wrong_means_are_found() {
        assert_eq!(up_to(Phase::Unmask).enter(&model(0.25, 3)), Ok(()));
        for (weight, models) in [(0.25001, 3), (0.25, 4), (0.375, 2)] {
            assert!(up_to(Phase::Unmask).enter(&model(weight, models)).is_err(), "{weight}");
        }
    }

    #[test]
    fn what_is_counted_twice_is_found() {
        assert!(up_to(Phase::Sum).sum(0).is_err());
        assert!(up_to(Phase::Update).update(1, 4, 0.5).is_err());
        assert!(up_to(Phase::Sum2).sum2(0).is_err());
    }

    #[test]
    fn what_is_out_of_its_phase_is_found() {
        assert!(up_to(Phase::Update).sum(5).is_err());
        assert!(up_to(Phase::Sum2).update(5, 5, 0.5).is_err());
        assert!(up_to(Phase::Update).sum2(0).is_err());
        assert!(up_to(Phase::Sum2).sum2(5).is_err(), "a stranger");
        assert!(up_to(Phase::Sum2).enter(&model(0.25, 3)).is_err());
        assert!(up_to(Phase::Sum2).enter(&Record::SumEnded).is_err());
        let mut few = up_to(Phase::Sum);
        few.enter(&Record::SumEnded).unwrap();
        few.update(1, 1, 0.5).unwrap();
        assert!(few.enter(&Record::UpdateEnded).is_err());
    }

    #[test]
    fn failures_that_honest_participants_cannot_bring_about_are_found() {
        let few = RoundFailure::TooFewMessages { phase: Phase::Sum, accepted: 0, needed: 1 };
        assert_eq!(end_of(&few), Ok(End::TooFewMessages("sum")));
        let enough = RoundFailure::TooFewMessages { phase: Phase::Sum, accepted: 1, needed: 1 };
        assert!(end_of(&enough).is_err());
        assert!(end_of(&RoundFailure::TiedMasks { masks: 2, votes: 1 }).is_err());
    }
}
