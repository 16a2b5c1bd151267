//! What the coordinator publishes about a round, and its bincode forms (specification, section 3).

mod parameters;
mod seed_dict;
mod sum_dict;

pub use parameters::RoundParameters;
pub use seed_dict::{SeedDict, UpdateSeedDict};
pub use sum_dict::SumDict;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why bytes are not the expected bincode form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The number of bytes does not fit the form.
    #[error("the {what} has {actual} bytes, but {expected} were expected")]
    Length {
        /// What was to be read.
        what: &'static str,
        /// How many bytes its form has.
        expected: u64,
        /// How many there are.
        actual: usize,
    },
    /// A field does not hold a legal value.
    #[error("the {what} is malformed: {reason}")]
    Malformed {
        /// What was to be read.
        what: &'static str,
        /// What bincode says about it.
        reason: String,
    },
    /// A dictionary has an entry twice.
    #[error("the {what} has an entry twice")]
    Duplicate {
        /// What was to be read.
        what: &'static str,
    },
}

/// Reads a dictionary with entries of a fixed size, in steps: count, then entries; nothing may be missing,
/// follow, or occur twice. Allocates no more than the input's length asks for.
pub(crate) struct DictSteps<B, K, V> {
    bytes: B,
    entry_length: usize,
    what: &'static str,
    /// How many entries there are.
    count: u64,
    /// How many bytes are read.
    at: usize,
    map: BTreeMap<K, V>,
}

impl<B: AsRef<[u8]>, K: Ord + DeserializeOwned, V: DeserializeOwned> DictSteps<B, K, V> {
    fn new(bytes: B, entry_length: usize, what: &'static str) -> Result<Self, DecodeError> {
        let actual = bytes.as_ref().len();
        let count = match bytes.as_ref().first_chunk::<8>() {
            Some(count) => u64::from_le_bytes(*count),
            None => return Err(DecodeError::Length { what, expected: 8, actual }),
        };
        let expected = count.saturating_mul(entry_length as u64).saturating_add(8);
        if expected != actual as u64 {
            return Err(DecodeError::Length { what, expected, actual });
        }
        Ok(Self { bytes, entry_length, what, count, at: 8, map: BTreeMap::new() })
    }

    /// Reads at most so many entries more; whether that was all.
    pub(crate) fn step(&mut self, most: usize) -> Result<bool, DecodeError> {
        let what = self.what;
        for entry in self.bytes.as_ref()[self.at..].chunks_exact(self.entry_length).take(most) {
            let (key, value) = bincode::deserialize(entry)
                .map_err(|error| DecodeError::Malformed { what, reason: error.to_string() })?;
            self.map.insert(key, value);
            self.at += self.entry_length;
        }
        Ok(self.at == self.bytes.as_ref().len())
    }

    /// The dictionary, once all of it is read.
    pub(crate) fn finish(self) -> Result<BTreeMap<K, V>, DecodeError> {
        match self.map.len() as u64 == self.count {
            true => Ok(self.map),
            false => Err(DecodeError::Duplicate { what: self.what }),
        }
    }
}

/// The same at once.
fn decode_map<K: Ord + DeserializeOwned, V: DeserializeOwned>(
    bytes: &[u8],
    entry_length: usize,
    what: &'static str,
) -> Result<BTreeMap<K, V>, DecodeError> {
    let mut steps = DictSteps::new(bytes, entry_length, what)?;
    steps.step(usize::MAX)?;
    steps.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{PublicEncryptKey, PublicSigningKey};

    /// No step reads more entries than it may, and nothing is read in steps that is not read at once.
    #[test]
    fn steps_read_the_same() {
        let entry = |i: u8| (PublicSigningKey::new([i; 32]), PublicEncryptKey::new([i; 32]));
        let dict: SumDict = (0..100).map(entry).collect();
        let bytes = dict.to_bytes();
        let mut twice = bytes.clone();
        twice.copy_within(8..88, 88);
        let mut malformed = bytes.clone();
        malformed[8 + 50 * 80] = 31;
        for bytes in [bytes.clone(), twice, malformed, bytes[..100].to_vec(), Vec::new()] {
            let expected = SumDict::from_bytes(&bytes);
            for most in [1, 7, 100, 1000] {
                let in_steps = SumDict::in_steps(bytes.clone().into()).and_then(|mut steps| {
                    let mut count = 1;
                    while !steps.step(most)? {
                        assert_eq!(steps.at, 8 + count * most * SumDict::ENTRY_LENGTH);
                        count += 1;
                    }
                    steps.finish().map(SumDict::from)
                });
                assert_eq!(in_steps, expected);
            }
        }
    }
}
