//! The recorded parts of a round.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PartId, Shard};
use crate::coordinator::RecoveryError;

/// The most shards that have a part in one round. (A replica that is started again is another shard.)
const MOST_SHARDS: usize = 1024;

/// The latest part of each shard, until they are added up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::coordinator) struct Parts(BTreeMap<Shard, Recorded>);

/// A part that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::coordinator) struct Recorded {
    pub(in crate::coordinator) part: PartId,
    /// How many models are in it.
    pub(in crate::coordinator) models: u64,
}

impl Parts {
    pub(in crate::coordinator) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many models are in all of them together.
    pub(in crate::coordinator) fn models(&self) -> u64 {
        self.0.values().fold(0, |sum, recorded| sum.saturating_add(recorded.models))
    }

    /// The latest part of a shard.
    pub(in crate::coordinator) fn of(&self, shard: &Shard) -> Option<Recorded> {
        self.0.get(shard).copied()
    }

    /// Whether there is room for this shard's part.
    pub(in crate::coordinator) fn has_room(&self, shard: &Shard) -> bool {
        self.0.len() < MOST_SHARDS || self.0.contains_key(shard)
    }

    /// Whether a part with this name is recorded, of whichever shard.
    pub(in crate::coordinator) fn has_part(&self, part: &PartId) -> bool {
        self.0.values().any(|recorded| recorded.part == *part)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Shard, Recorded)> + '_ {
        self.0.iter().map(|(shard, recorded)| (*shard, *recorded))
    }

    /// A part with so many models more replaces the one before.
    pub(in crate::coordinator) fn replace(
        &mut self,
        shard: Shard,
        predecessor: Option<PartId>,
        part: PartId,
        more: u64,
    ) -> Result<(), RecoveryError> {
        let before = self.of(&shard);
        let follows = before.map(|before| before.part) == predecessor;
        if !follows || !self.has_room(&shard) || self.has_part(&part) {
            return Err(RecoveryError::WrongPart);
        }
        let models = before.map_or(0, |before| before.models).saturating_add(more);
        self.0.insert(shard, Recorded { part, models });
        Ok(())
    }
}
