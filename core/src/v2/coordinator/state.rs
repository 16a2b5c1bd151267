//! How far a coordinator is: what its records tell of.

use std::sync::Arc;

use super::garbage::Garbage;
use super::phases::{unexpected, Announce, Around, Stage};
use super::recovery::RecoveryError;
use super::settings::Settings;
use super::shape::Shape;
use super::{Completed, Phase, Record};
use crate::crypto::{EncryptKeyPair, Purpose, RootSeed, RoundSeed};
use crate::round::RoundParameters;
use crate::time::Timestamp;
use crate::v2::{Context, Roster, Terms};

/// A round.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) roster: Arc<Roster>,
    pub(super) terms: Arc<Terms>,
    pub(super) context: Context,
    pub(super) shape: Shape,
}

impl Round {
    fn of(terms: &Arc<Terms>, roster: &Arc<Roster>) -> Result<Self, RecoveryError> {
        let RoundParameters { mask_config, model_length, .. } = terms.parameters;
        let shape = Shape::new(mask_config, model_length).ok_or(RecoveryError::WrongTerms)?;
        if terms.roster != roster.hash() {
            return Err(RecoveryError::WrongTerms);
        }
        let (roster, terms, context) = (roster.clone(), terms.clone(), terms.context());
        Ok(Self { roster, terms, context, shape })
    }
}

/// Whether a round starts from this model: not from one of another length or type, nor from one that another roster
/// stands for, whose certificate nobody accepts who has pinned the new one.
fn goes_on_from(last: &Completed, settings: &Settings) -> bool {
    last.model.len() as u64 == settings.model_length
        && last.model.data_type() == settings.mask.vect.data_type()
        && last.certificate.terms.roster == settings.roster.hash()
}

fn round_keys(root: &RootSeed, round: u64) -> EncryptKeyPair {
    EncryptKeyPair::from_seed(&root.derive(Purpose::RoundKey, &[b"v2", &round.to_le_bytes()]))
}

/// All of a coordinator that its records tell of. [`State::apply`] changes it and nothing else does: the
/// running machine applies each record as it puts it out, and whoever goes on from stored records applies the
/// same ones.
#[derive(Clone)]
pub(super) struct State {
    root: RootSeed,
    round: Arc<Round>,
    /// They follow from the root seed and the round's number.
    keys: EncryptKeyPair,
    stage: Stage,
    last: Option<Arc<Completed>>,
    /// Why the latest round that has failed has.
    failure: Option<Arc<str>>,
}

impl State {
    /// The record of a round with this number.
    pub(super) fn begin(
        settings: &Settings,
        root: &RootSeed,
        last: Option<&Completed>,
        round: u64,
        now: Timestamp,
    ) -> Record {
        let keys = round_keys(root, round);
        let seed = root.derive(Purpose::FirstRoundSeed, &[b"v2", &round.to_le_bytes()]);
        let parameters = RoundParameters {
            pk: keys.public(),
            sum: 0.0,
            update: 0.0,
            seed: RoundSeed::new(*seed.as_bytes()),
            mask_config: settings.mask,
            model_length: settings.model_length,
        };
        let terms = Terms {
            roster: settings.roster.hash(),
            round,
            parameters,
            opened_at: now.as_millis() / 1000,
            model: last.filter(|last| goes_on_from(last, settings)).map(|last| last.model_hash),
            n_min: settings.n_min,
            noise: settings.noise,
        };
        Record::RoundBegan { terms: Arc::new(terms), roster: settings.roster.clone() }
    }

    /// The record of the round after this one.
    pub(super) fn next_round(&self, settings: &Settings, now: Timestamp) -> Record {
        let next = self.round.terms.round.saturating_add(1);
        let round = next.max(settings.first_round);
        Self::begin(settings, &self.root, self.last.as_deref(), round, now)
    }

    /// What the first of the records that there are makes of nothing.
    ///
    /// # Errors
    /// If no round begins with it, or its keys do not follow from the root seed.
    pub(super) fn first(
        root: RootSeed,
        last: Option<Arc<Completed>>,
        record: &Record,
    ) -> Result<Self, RecoveryError> {
        let Record::RoundBegan { terms, roster } = record else {
            return Err(unexpected(record, Phase::Idle));
        };
        let round = Arc::new(Round::of(terms, roster)?);
        let keys = keys_of(&root, terms)?;
        let stage = Stage::Announce(Announce::default());
        Ok(Self { root, round, keys, stage, last, failure: None })
    }

    /// Takes the next record. It takes as long whatever was collected; what is large and needed no more is
    /// given back. After an error this is worth nothing any more.
    ///
    /// # Errors
    /// If no coordinator could have put it out.
    pub(super) fn apply(&mut self, record: &Record) -> Result<Garbage, RecoveryError> {
        let mut garbage = Garbage::default();
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let phase = stage.phase();
        self.stage = match record {
            Record::RoundBegan { terms, roster }
                if matches!(phase, Phase::Idle | Phase::Failed) =>
            {
                if terms.round <= self.round.terms.round {
                    return Err(unexpected(record, phase));
                }
                self.round = Arc::new(Round::of(terms, roster)?);
                self.keys = keys_of(&self.root, terms)?;
                Stage::Announce(Announce::default())
            }
            Record::RoundFailed { round, reason }
                if *round == self.round.terms.round && phase != Phase::Idle =>
            {
                self.failure = Some(reason.as_str().into());
                garbage.add(usize::MAX, stage);
                Stage::Failed
            }
            record => {
                let Self { round, last, .. } = self;
                stage.apply(record, &mut Around { round, last, garbage: &mut garbage })?
            }
        };
        if matches!(record, Record::Completed(_)) {
            self.failure = None;
        }
        Ok(garbage)
    }

    pub(super) fn round(&self) -> &Arc<Round> {
        &self.round
    }

    pub(super) fn keys(&self) -> &EncryptKeyPair {
        &self.keys
    }

    pub(super) fn stage(&self) -> &Stage {
        &self.stage
    }

    pub(super) fn last(&self) -> Option<&Arc<Completed>> {
        self.last.as_ref()
    }

    pub(super) fn failure(&self) -> Option<&Arc<str>> {
        self.failure.as_ref()
    }

    /// With another round that was completed last.
    pub(super) fn with_completed(self, last: Option<Arc<Completed>>) -> Self {
        Self { last, ..self }
    }
}

#[cfg(test)]
impl State {
    /// All of it that counts, to be compared.
    pub(super) fn to_text(&self) -> String {
        let Self { round, stage, last, failure, .. } = self;
        let last = last.as_ref().map(|last| (last.round(), last.model_hash, last.excluded()));
        format!("{:?}\n{:?}\n{last:?}\n{failure:?}", round.terms, stage)
    }
}

/// The keys of a round, if its terms name them.
fn keys_of(root: &RootSeed, terms: &Terms) -> Result<EncryptKeyPair, RecoveryError> {
    let keys = round_keys(root, terms.round);
    match keys.public() == terms.parameters.pk {
        true => Ok(keys),
        false => Err(RecoveryError::OtherRoot),
    }
}
