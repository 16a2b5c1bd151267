//! What the log refers to: which parts are needed, and which models are kept.

use std::collections::BTreeMap;

use pet_core::{
    coordinator::Record,
    crypto::{Digest, PublicSigningKey},
};
use pet_ledger::PartName;

use super::item::{KeptModel, PartRef};

/// The parts that the entries since a round began refer to.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// The global models, in order of their rounds.
    models: Vec<KeptModel>,
    /// The part with the latest aggregate.
    aggregate: Option<PartRef>,
    /// Parts with what is left of incomplete messages.
    chunks: BTreeMap<PublicSigningKey, Vec<PartName>>,
    /// The parts with masks.
    masks: BTreeMap<Digest, PartRef>,
    /// Other parts of the round.
    others: Vec<PartName>,
    /// Models that are one too many: the log's beginning names them no more.
    dropped: Vec<PartName>,
}

impl Kept {
    /// The log begins with these models. Gives the parts that are needed no more.
    pub fn begin(&mut self, models: Vec<KeptModel>) -> Vec<PartName> {
        let before = std::mem::replace(self, Self { models, ..Self::default() });
        let aggregate = before.aggregate.map(|part| part.name);
        let chunks = before.chunks.into_values().flatten();
        let masks = before.masks.into_values().map(|part| part.name);
        aggregate
            .into_iter()
            .chain(chunks)
            .chain(masks)
            .chain(before.others)
            .chain(before.dropped)
            .collect()
    }

    /// A record with these parts is in the log. Gives the parts that are needed no more.
    pub fn note(
        &mut self,
        record: &Record,
        small: Option<&PartRef>,
        large: Option<&PartRef>,
        models_kept: usize,
    ) -> Vec<PartName> {
        let mut free = Vec::new();
        if record.begins_phase() {
            free.extend(std::mem::take(&mut self.chunks).into_values().flatten());
        }
        let small = small.map(|part| part.name.clone());
        match record {
            Record::ChunksDropped { participants } => {
                free.extend(
                    participants.iter().filter_map(|one| self.chunks.remove(one)).flatten(),
                );
            }
            Record::Updates { seeds, .. } => {
                let settled = seeds.iter().filter_map(|(one, _)| self.chunks.remove(one));
                free.extend(settled.flatten());
                if let Some(part) = large {
                    free.extend(self.aggregate.replace(part.clone()).map(|before| before.name));
                }
            }
            Record::Sum { participant, .. } => {
                free.extend(self.chunks.remove(participant).into_iter().flatten());
            }
            Record::Sum2 { participant, digest, .. } => {
                free.extend(self.chunks.remove(participant).into_iter().flatten());
                if let Some(part) = large {
                    self.masks.insert(*digest, part.clone());
                }
            }
            Record::Model(model) => {
                if let Some(part) = large {
                    let part = part.clone();
                    self.models.push(KeptModel { round_id: model.round_id, part });
                }
                let many = self.models.len().saturating_sub(models_kept.max(1));
                self.dropped.extend(self.models.drain(..many).map(|model| model.part.name));
            }
            _ => self.others.extend(large.map(|part| part.name.clone())),
        }
        self.others.extend(small);
        free
    }

    /// A part of somebody's message is in the log, in this part of what is stored if it is long.
    pub fn chunk(&mut self, participant: PublicSigningKey, small: Option<&PartRef>) {
        if let Some(part) = small {
            self.chunks.entry(participant).or_default().push(part.name.clone());
        }
    }

    /// The global models, in order of their rounds.
    pub fn models(&self) -> &[KeptModel] {
        &self.models
    }

    /// The part with the latest aggregate.
    pub fn aggregate(&self) -> Option<&PartRef> {
        self.aggregate.as_ref()
    }

    /// The part with the mask of this hash.
    pub fn mask(&self, digest: &Digest) -> Option<&PartRef> {
        self.masks.get(digest)
    }

    /// All parts that are referred to.
    pub fn names(&self) -> impl Iterator<Item = &PartName> {
        let models = self.models.iter().map(|model| &model.part.name);
        let chunks = self.chunks.values().flatten();
        let aggregate = self.aggregate.iter().map(|part| &part.name);
        let masks = self.masks.values().map(|part| &part.name);
        models.chain(chunks).chain(aggregate).chain(masks).chain(&self.others).chain(&self.dropped)
    }
}
