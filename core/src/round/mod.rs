//! What the coordinator publishes about a round, and the bincode forms in which it does
//! (specification, section 3).

mod parameters;
mod seed_dict;
mod sum_dict;

pub use parameters::RoundParameters;
pub use seed_dict::{SeedDict, UpdateSeedDict};
pub use sum_dict::SumDict;

use thiserror::Error;

/// Why bytes are not the bincode form of what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The number of bytes is not the one that the form has.
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

/// Reads a dictionary with entries of a fixed size: count, then entries; nothing may be missing,
/// follow, or occur twice. Allocates no more than the input's length asks for.
fn decode_map<K, V>(
    bytes: &[u8],
    entry_length: u64,
    what: &'static str,
) -> Result<std::collections::BTreeMap<K, V>, DecodeError>
where
    K: Ord + serde::de::DeserializeOwned,
    V: serde::de::DeserializeOwned,
{
    let count = match bytes.first_chunk::<8>() {
        Some(count) => u64::from_le_bytes(*count),
        None => return Err(DecodeError::Length { what, expected: 8, actual: bytes.len() }),
    };
    let expected = count.saturating_mul(entry_length).saturating_add(8);
    if expected != bytes.len() as u64 {
        return Err(DecodeError::Length { what, expected, actual: bytes.len() });
    }
    let map: std::collections::BTreeMap<K, V> = bincode::deserialize(bytes)
        .map_err(|error| DecodeError::Malformed { what, reason: error.to_string() })?;
    if map.len() as u64 != count {
        return Err(DecodeError::Duplicate { what });
    }
    Ok(map)
}
