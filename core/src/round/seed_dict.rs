//! The seed dictionary, and the column of it that one sum participant gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{decode_map, DecodeError, DictSteps, SumDict};
use crate::crypto::PublicSigningKey;
use crate::message::{EncryptedMaskSeed, LocalSeedDict};

/// The mask seeds of all accepted updates: update participant -> sum participant -> sealed seed.
///
/// On the wire it is read by columns: each sum participant asks for its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedDict(BTreeMap<PublicSigningKey, Arc<LocalSeedDict>>);

impl SeedDict {
    /// An empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many updates there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an update's seeds; false if the participant has updated already, and then nothing is
    /// changed.
    pub fn insert(
        &mut self,
        update_participant: PublicSigningKey,
        seeds: Arc<LocalSeedDict>,
    ) -> bool {
        match self.0.entry(update_participant) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(seeds);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }

    /// Whether a participant's update is in the dictionary.
    pub fn contains(&self, update_participant: &PublicSigningKey) -> bool {
        self.0.contains_key(update_participant)
    }

    /// Whether every update has a seed for each of these sum participants, and for nobody else.
    pub(crate) fn is_for(&self, sums: &SumDict) -> bool {
        let expected = || sums.iter().map(|(participant, _)| participant);
        self.0.values().all(|seeds| seeds.sum_participants().eq(expected()))
    }

    /// The column of one sum participant. Takes time proportional to the number of updates.
    pub fn column(&self, sum_participant: &PublicSigningKey) -> UpdateSeedDict {
        UpdateSeedDict(
            self.0
                .iter()
                .filter_map(|(update_participant, seeds)| {
                    Some((*update_participant, *seeds.get(sum_participant)?))
                })
                .collect(),
        )
    }
}

/// The sealed mask seeds for one sum participant: update participant -> sealed seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateSeedDict(BTreeMap<PublicSigningKey, EncryptedMaskSeed>);

impl UpdateSeedDict {
    /// How many bytes an entry's bincode form has.
    pub const ENTRY_LENGTH: usize = 8 + 32 + 8 + 80;

    /// How many updates there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The update participants and their sealed seeds, ascending by participant.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&PublicSigningKey, &EncryptedMaskSeed)> {
        self.0.iter()
    }

    /// The bincode form.
    pub fn to_bytes(&self) -> Vec<u8> {
        bincode::serialize(self).expect("plain fields serialize into memory")
    }

    /// Reads the bincode form.
    ///
    /// # Errors
    /// If the length does not fit the number of entries, or a participant occurs twice.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_map(bytes, Self::ENTRY_LENGTH, "update seed dictionary").map(Self)
    }

    /// The same in steps.
    pub(crate) fn in_steps(
        bytes: Bytes,
    ) -> Result<DictSteps<Bytes, PublicSigningKey, EncryptedMaskSeed>, DecodeError> {
        DictSteps::new(bytes, Self::ENTRY_LENGTH, "update seed dictionary")
    }
}

impl FromIterator<(PublicSigningKey, EncryptedMaskSeed)> for UpdateSeedDict {
    fn from_iter<I: IntoIterator<Item = (PublicSigningKey, EncryptedMaskSeed)>>(
        entries: I,
    ) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_hold_what_is_for_one_sum_participant() {
        let [alice, bob, carol, dave] = [1, 2, 3, 4].map(|byte| PublicSigningKey::new([byte; 32]));
        let [x, y, z] = [7, 8, 9].map(|byte| EncryptedMaskSeed::new([byte; 80]));
        let mut dict = SeedDict::new();
        let seeds = Arc::new(LocalSeedDict::new(vec![(alice, x), (bob, y)]).unwrap());
        assert!(dict.insert(carol, seeds.clone()));
        assert!(!dict.insert(carol, seeds));
        assert!(dict.insert(dave, Arc::new(LocalSeedDict::new(vec![(alice, z)]).unwrap())));

        let column = dict.column(&alice);
        assert_eq!(column, [(carol, x), (dave, z)].into_iter().collect());
        assert_eq!(UpdateSeedDict::from_bytes(&column.to_bytes()), Ok(column));
        assert_eq!(dict.column(&bob).len(), 1);
        assert!(dict.column(&carol).is_empty());
    }
}
