//! How far a coordinator is: what its records tell of, and what is saved and restored.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::garbage::Garbage;
use super::io::PersistId;
use super::phases::{unexpected, Around, Failure, Stage, Sum};
use super::recovery::RecoveryError;
use super::settings::Settings;
use super::shards::Parts;
use super::snapshot::Saved;
use super::{GlobalModel, Large, LargePiece, Phase, Record};
use crate::crypto::{
    EncryptKeyPair, PublicSigningKey, Purpose, RootSeed, RoundSeed, SecretEncryptKey, Seed,
    SigningKeyPair,
};
use crate::mask::Aggregation;
use crate::message::{Complete, MessageId, OwnedChunk, Reassembly, ReassemblyLimits, Tag};
use crate::round::RoundParameters;
use crate::time::Timestamp;

/// A round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) id: u64,
    pub(super) parameters: Arc<RoundParameters>,
}

impl Round {
    /// A new round with new keys, and a seed that follows from the one before (specification,
    /// section 2).
    fn begin(settings: &Settings, root: &RootSeed, id: u64, before: &RoundSeed) -> Record {
        let keys = round_keys(root, id);
        let signer = SigningKeyPair::from_seed(&Seed::new(*keys.secret().as_bytes()));
        let (sum, update) = (settings.sum.prob, settings.update.prob);
        let parameters = Arc::new(RoundParameters {
            pk: keys.public(),
            sum,
            update,
            seed: before.next(&signer, sum, update),
            mask_config: settings.mask,
            model_length: settings.model_length,
        });
        Record::RoundBegan { round_id: id, parameters, secret: keys.secret().clone() }
    }

    /// The round of a record, with its keys: they follow from the root seed.
    fn of(
        root: &RootSeed,
        id: u64,
        parameters: &Arc<RoundParameters>,
        secret: &SecretEncryptKey,
    ) -> Result<(Self, EncryptKeyPair), RecoveryError> {
        let keys = round_keys(root, id);
        if keys.secret() != secret || keys.public() != parameters.pk {
            return Err(RecoveryError::OtherRoot);
        }
        Ok((Self { id, parameters: parameters.clone() }, keys))
    }

    /// In range: the settings were validated.
    pub(super) fn model_length(&self) -> usize {
        usize::try_from(self.parameters.model_length).unwrap_or(usize::MAX)
    }

    /// Whether this is the shape of the round's models.
    pub(super) fn fits(&self, sum: &Aggregation) -> bool {
        sum.config() == self.parameters.mask_config && sum.len() == self.model_length()
    }
}

pub(super) fn round_keys(root: &RootSeed, id: u64) -> EncryptKeyPair {
    EncryptKeyPair::from_seed(&root.derive(Purpose::RoundKey, &[&id.to_le_bytes()]))
}

/// All of a coordinator that its records tell of. [`State::apply`] changes it and nothing else does: the
/// running machine applies each record as it puts it out, and whoever goes on from stored records applies the
/// same ones.
#[derive(Clone)]
pub(super) struct State {
    root: RootSeed,
    round: Round,
    /// They follow from the root seed and the round's number.
    keys: EncryptKeyPair,
    stage: Stage,
    reassembly: Reassembly,
    /// The latest global model.
    model: Option<GlobalModel>,
    /// Sums of other replicas that are not in the aggregate yet.
    parts: Parts,
    /// The aggregate and masks may be somewhere else. In no running machine.
    without_large: bool,
}

impl State {
    /// The record of the first round of all.
    pub(super) fn first_round(settings: &Settings, root: &RootSeed) -> Record {
        let seed = RoundSeed::new(*root.derive(Purpose::FirstRoundSeed, &[]).as_bytes());
        // The one before it is seen by nobody, but its seed goes on.
        match Round::begin(settings, root, 0, &seed) {
            Record::RoundBegan { parameters, .. } => {
                Round::begin(settings, root, 1, &parameters.seed)
            }
            other => other,
        }
    }

    /// The record of the round after this one.
    pub(super) fn next_round(&self, settings: &Settings) -> Record {
        let Round { id, parameters } = &self.round;
        Round::begin(settings, &self.root, id.wrapping_add(1), &parameters.seed)
    }

    /// What the first of the records that there are makes of nothing.
    ///
    /// # Errors
    /// If no round begins with it, or its keys do not follow from the root seed.
    pub(super) fn first(
        root: RootSeed,
        model: Option<GlobalModel>,
        record: &Record,
    ) -> Result<Self, RecoveryError> {
        let Record::RoundBegan { round_id, parameters, secret } = record else {
            return Err(unexpected(record, Phase::Idle));
        };
        let (round, keys) = Round::of(&root, *round_id, parameters, secret)?;
        let stage = Stage::Sum(Sum::default());
        let (reassembly, parts, without_large) = Default::default();
        Ok(Self { root, round, keys, stage, reassembly, model, parts, without_large })
    }

    /// Has records taken without their large pieces, but for global models.
    pub(super) fn without_large(self) -> Self {
        Self { without_large: true, ..self }
    }

    /// Has no record taken without its large piece from now on.
    pub(super) fn with_large(self) -> Self {
        Self { without_large: false, ..self }
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
            Record::RoundBegan { round_id, parameters, secret }
                if matches!(phase, Phase::Idle | Phase::Failure)
                    && *round_id == self.round.id.wrapping_add(1) =>
            {
                (self.round, self.keys) = Round::of(&self.root, *round_id, parameters, secret)?;
                Stage::Sum(Sum::default())
            }
            Record::RoundFailed { round_id }
                if *round_id == self.round.id && phase != Phase::Idle =>
            {
                garbage.add(stage.collected().bytes(), stage);
                self.parts = Parts::default();
                Stage::Failure(Failure::default())
            }
            Record::Chunk { participant, tag, chunk, reserved }
                if phase.accepts() == Some(*tag) =>
            {
                self.reassembly.keep_chunk(*participant, *tag, chunk.clone(), *reserved);
                stage
            }
            Record::ChunksDropped { participants } => {
                for participant in participants {
                    if let Some((bytes, chunks)) = self.reassembly.forget(participant) {
                        garbage.add(bytes, chunks);
                    }
                }
                stage
            }
            record => {
                let Self { round, reassembly, model, parts, without_large, .. } = self;
                let (garbage, without_large) = (&mut garbage, *without_large);
                stage.apply(
                    record,
                    &mut Around { round, reassembly, model, garbage, parts, without_large },
                )?
            }
        };
        if record.begins_phase() {
            let (bytes, chunks) = self.reassembly.next_phase();
            garbage.add(bytes, chunks);
        }
        Ok(garbage)
    }

    pub(super) fn round(&self) -> &Round {
        &self.round
    }

    pub(super) fn keys(&self) -> &EncryptKeyPair {
        &self.keys
    }

    pub(super) fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The sums of other replicas that are not in the aggregate yet.
    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Puts in what was somewhere else. No record tells of it: it is a part of one that was taken.
    pub(super) fn supply(&mut self, piece: &LargePiece, large: Large) -> Result<(), RecoveryError> {
        self.stage.supply(piece, large, &self.round)
    }

    pub(super) fn model(&self) -> Option<&GlobalModel> {
        self.model.as_ref()
    }

    pub(super) fn reassembly(&self) -> &Reassembly {
        &self.reassembly
    }
}

/// Saving and restoring.
impl State {
    /// As a snapshot has it, `elapsed` into the phase.
    pub(super) fn saved(&self, elapsed: Duration) -> Saved {
        let Self { root, round, stage, reassembly, model, parts, .. } = self.clone();
        Saved { root, round, stage, elapsed, reassembly, model, parts }
    }

    /// What was saved. The round is over if it does not fit together: nothing of a damaged state is gone on
    /// with.
    pub(super) fn restored(saved: Saved) -> Self {
        let Saved { root, round, mut stage, reassembly, model, mut parts, .. } = saved;
        if !stage.collected().is_sound(&round, &parts) {
            stage = Stage::Idle;
            parts = Parts::default();
        }
        if let Stage::Failure(failure) = &mut stage {
            *failure = Failure::default();
        }
        let keys = round_keys(&root, round.id);
        Self { root, round, keys, stage, reassembly, model, parts, without_large: false }
    }

    /// With another global model.
    pub(super) fn with_model(self, model: Option<GlobalModel>) -> Self {
        Self { model, ..self }
    }
}

/// What no record tells of: how late it is, how much may be kept, what is worked on, and how far the store is.
/// None of this changes what is recorded.
impl State {
    /// See [`Reassembly::set_limits`].
    pub(super) fn set_limits(&mut self, limits: ReassemblyLimits) {
        self.reassembly.set_limits(limits);
    }

    /// See [`Reassembly::set_time`].
    pub(super) fn set_time(&mut self, now: Timestamp) {
        self.reassembly.set_time(now);
    }

    /// All chunks came just now.
    pub(super) fn restart(&mut self, now: Timestamp) {
        self.reassembly.restart(now);
    }

    /// See [`Reassembly::recorded`].
    pub(super) fn recorded(&mut self, sender: &PublicSigningKey, record: PersistId) {
        self.reassembly.recorded(sender, record.0);
    }

    /// See [`Reassembly::stored`].
    pub(super) fn stored(&mut self, record: PersistId) {
        self.reassembly.stored(record.0);
    }

    /// See [`Reassembly::work_on`].
    pub(super) fn work_on(
        &mut self,
        sender: PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
        proven: bool,
    ) -> Complete {
        self.reassembly.work_on(sender, tag, chunk, proven)
    }

    /// Has the messages worked on that were complete when they were saved.
    pub(super) fn work_on_again(&mut self) -> Vec<(PublicSigningKey, MessageId, Complete)> {
        let taken = self.reassembly.take_complete();
        for (sender, _, complete) in &taken {
            self.reassembly.hold(*sender, complete, true, 0);
        }
        taken
    }

    /// See [`Reassembly::put_back`].
    pub(super) fn put_back(&mut self, sender: &PublicSigningKey) {
        self.reassembly.put_back(sender);
    }

    /// See [`Reassembly::settle`].
    pub(super) fn settle(&mut self, sender: &PublicSigningKey) {
        self.reassembly.settle(sender);
    }
}
