//! What the log refers to: which parts are needed, and which models are kept.

use std::collections::{BTreeMap, BTreeSet};

use pet_core::{
    coordinator::{PartId, Record, Shard},
    crypto::{Digest, PublicSigningKey},
};
use pet_ledger::PartName;

use super::{
    item::{KeptModel, PartRef},
    tiers::{self, LARGE},
};

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
    /// The latest part of each shard, until they are added up.
    shards: BTreeMap<Shard, PartName>,
    /// Other parts of the round.
    others: Vec<PartName>,
    /// Parts that letters name, more than one perhaps.
    letters: BTreeSet<PartName>,
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
            .chain(before.shards.into_values())
            .chain(before.others)
            .chain(before.letters)
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
            Record::Part { shard, part, seeds, .. } => {
                let settled = seeds.iter().filter_map(|(one, _)| self.chunks.remove(one));
                free.extend(settled.flatten());
                free.extend(self.shards.insert(*shard, shard_part(part)));
            }
            Record::Merged { .. } => {
                // All of them are in it.
                free.extend(std::mem::take(&mut self.shards).into_values());
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

    /// A letter is answered that names this part, as others may. Gives the part if it is needed no more: no letter that
    /// was accepted names it. (Whoever sends a message with it again has it stored anew.)
    pub fn letter(&mut self, part: &PartName, is_accepted: bool) -> Option<PartName> {
        if is_accepted {
            self.letters.insert(part.clone());
        }
        (!self.letters.contains(part)).then(|| part.clone())
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
        let shards = self.shards.values();
        let others = self.others.iter().chain(&self.letters).chain(&self.dropped);
        models.chain(chunks).chain(aggregate).chain(masks).chain(shards).chain(others)
    }
}

/// The name of a shard's part in the store.
pub(super) fn shard_part(part: &PartId) -> PartName {
    part_name("shard", *part.as_bytes())
}

/// A name of a kind that is written here.
///
/// Whoever reads it does not know how long it is: where there is a place for large parts, it is there.
pub(super) fn part_name(kind: &'static str, mut id: [u8; 16]) -> PartName {
    tiers::place(&mut id, LARGE);
    PartName::new(kind, id).expect("a kind that is written here is a legal one")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A participant could fill the engine with the masks of messages that are turned down.
    #[test]
    fn the_piece_of_a_letter_that_is_turned_down_goes() {
        let part = |byte| PartName::new("vote", [byte; 16]).unwrap();
        let mut kept = Kept::default();
        assert_eq!(kept.letter(&part(1), false), Some(part(1)));
        assert_eq!(kept.letter(&part(2), true), None);
        assert_eq!(kept.letter(&part(2), false), None, "an accepted one names it, too");
        assert_eq!(kept.begin(Vec::new()), [part(2)]);
    }
}
