//! Participants whose updates shards are working on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shard;
use crate::crypto::PublicSigningKey;
use crate::message::{LocalSeedDict, SEED_ENTRY_LENGTH};

/// The most shards that have reservations at a time: each of them is looked at for each message.
const MOST_SHARDS: usize = 64;
/// The most reservations of one shard: sixteen parts.
const MOST_OF_SHARD: usize = 1024;

/// Who is reserved, for which shard. No record tells of it.
#[derive(Clone, Default)]
pub(in crate::coordinator) struct Reservations {
    /// No shard has none.
    by_shard: BTreeMap<Shard, Reserved>,
    count: usize,
}

/// Participants with the sealed seeds of their masks.
pub(in crate::coordinator) type Reserved = BTreeMap<PublicSigningKey, Arc<LocalSeedDict>>;

/// About how much memory they take.
pub(super) fn bytes(reserved: &Reserved) -> usize {
    let seeds = reserved.values().next().map_or(0, |seeds| seeds.sum_participants().len());
    reserved.len() * (seeds * SEED_ENTRY_LENGTH + 64)
}

impl Reservations {
    /// How many there are.
    pub(in crate::coordinator) fn len(&self) -> usize {
        self.count
    }

    /// Whether the participant is reserved, for whichever shard.
    pub(in crate::coordinator) fn contains(&self, participant: &PublicSigningKey) -> bool {
        self.by_shard.values().any(|reserved| reserved.contains_key(participant))
    }

    /// Who is reserved for a shard.
    pub(super) fn of(&self, shard: &Shard) -> Option<&Reserved> {
        self.by_shard.get(shard)
    }

    /// Whether there is room for one more of this shard.
    pub(super) fn has_room(&self, shard: &Shard) -> bool {
        match self.of(shard) {
            Some(reserved) => reserved.len() < MOST_OF_SHARD,
            None => self.by_shard.len() < MOST_SHARDS,
        }
    }

    /// Reserves a participant that is not.
    pub(super) fn reserve(
        &mut self,
        shard: Shard,
        participant: PublicSigningKey,
        seeds: Arc<LocalSeedDict>,
    ) {
        let reserved = self.by_shard.entry(shard).or_default();
        if reserved.insert(participant, seeds).is_none() {
            self.count += 1;
        }
    }

    /// Ends the reservations of participants.
    pub(super) fn end(&mut self, shard: &Shard, participants: &[PublicSigningKey]) {
        let Some(reserved) = self.by_shard.get_mut(shard) else { return };
        for participant in participants {
            if reserved.remove(participant).is_some() {
                self.count -= 1;
            }
        }
        if reserved.is_empty() {
            self.by_shard.remove(shard);
        }
    }

    /// Ends all reservations of a shard; gives them.
    pub(super) fn lose(&mut self, shard: &Shard) -> Reserved {
        let lost = self.by_shard.remove(shard).unwrap_or_default();
        self.count -= lost.len();
        lost
    }

    /// About how much memory they take.
    pub(in crate::coordinator) fn bytes(&self) -> usize {
        self.by_shard.values().map(bytes).sum()
    }
}
