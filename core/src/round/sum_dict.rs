//! The sum dictionary.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{decode_map, DecodeError, DictSteps};
use crate::crypto::{PublicEncryptKey, PublicSigningKey};

/// The sum participants of a round and their ephemeral keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumDict(BTreeMap<PublicSigningKey, PublicEncryptKey>);

impl SumDict {
    /// How many bytes an entry's bincode form has.
    pub const ENTRY_LENGTH: usize = 2 * (8 + 32);

    /// An empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many sum participants there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a sum participant; false if it is there already, and then nothing is changed.
    pub fn insert(&mut self, participant: PublicSigningKey, ephemeral: PublicEncryptKey) -> bool {
        match self.0.entry(participant) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(ephemeral);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }

    /// Whether a participant is in the dictionary.
    pub fn contains(&self, participant: &PublicSigningKey) -> bool {
        self.0.contains_key(participant)
    }

    /// The participants and their ephemeral keys, ascending by participant.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&PublicSigningKey, &PublicEncryptKey)> {
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
        decode_map(bytes, Self::ENTRY_LENGTH, "sum dictionary").map(Self)
    }

    /// The same in steps.
    pub(crate) fn in_steps(
        bytes: Bytes,
    ) -> Result<DictSteps<Bytes, PublicSigningKey, PublicEncryptKey>, DecodeError> {
        DictSteps::new(bytes, Self::ENTRY_LENGTH, "sum dictionary")
    }
}

impl From<BTreeMap<PublicSigningKey, PublicEncryptKey>> for SumDict {
    fn from(entries: BTreeMap<PublicSigningKey, PublicEncryptKey>) -> Self {
        Self(entries)
    }
}

impl FromIterator<(PublicSigningKey, PublicEncryptKey)> for SumDict {
    fn from_iter<I: IntoIterator<Item = (PublicSigningKey, PublicEncryptKey)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trips(entries in proptest::collection::btree_map(any::<[u8; 32]>(), any::<[u8; 32]>(), 0..9)) {
            let count = entries.len();
            let dict: SumDict = entries
                .into_iter()
                .map(|(pk, key)| (PublicSigningKey::new(pk), PublicEncryptKey::new(key)))
                .collect();
            prop_assert_eq!(dict.len(), count);
            let bytes = dict.to_bytes();
            prop_assert_eq!(bytes.len(), 8 + dict.len() * SumDict::ENTRY_LENGTH);
            prop_assert_eq!(SumDict::from_bytes(&bytes), Ok(dict));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = SumDict::from_bytes(&bytes);
        }
    }

    #[test]
    fn duplicates_and_lying_counts_are_refused() {
        let mut dict = SumDict::new();
        assert!(dict.insert(PublicSigningKey::new([1; 32]), PublicEncryptKey::new([2; 32])));
        assert!(!dict.insert(PublicSigningKey::new([1; 32]), PublicEncryptKey::new([3; 32])));
        let one = dict.to_bytes();
        let mut twice = 2u64.to_le_bytes().to_vec();
        twice.extend_from_slice(&one[8..]);
        twice.extend_from_slice(&one[8..]);
        let what = "sum dictionary";
        assert_eq!(SumDict::from_bytes(&twice), Err(DecodeError::Duplicate { what }));
        let mut lying = one;
        lying[..8].fill(0xff);
        assert!(matches!(SumDict::from_bytes(&lying), Err(DecodeError::Length { .. })));
    }
}
