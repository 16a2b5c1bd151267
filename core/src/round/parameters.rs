//! The parameters of a round.

use serde::{Deserialize, Serialize};

use super::DecodeError;
use crate::crypto::{Blake2b, Digest, PublicEncryptKey, RoundSeed};
use crate::mask::MaskConfigPair;

/// The parameters of a round, which every participant must know. They are published at the round's
/// start, and their change is how participants notice a new round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundParameters {
    /// The key that messages of this round are sealed for.
    pub pk: PublicEncryptKey,
    /// The probability of being a sum participant.
    pub sum: f64,
    /// The probability of being an update participant, for those who do not sum.
    pub update: f64,
    /// What task signatures are made over.
    pub seed: RoundSeed,
    /// How models and scalars are masked.
    pub mask_config: MaskConfigPair,
    /// How many weights a model has.
    pub model_length: u64,
}

impl RoundParameters {
    /// How many bytes the bincode form has.
    pub const LENGTH: usize = 136;

    /// The bincode form.
    pub fn to_bytes(&self) -> Vec<u8> {
        // No field can fail to be written, and a Vec takes everything.
        bincode::serialize(self).expect("plain fields serialize into memory")
    }

    /// The entity tag that our coordinator gives them: the hash of the bincode form.
    pub fn tag(&self) -> Digest {
        Blake2b::hash(&[&self.to_bytes()])
    }

    /// Reads the bincode form.
    ///
    /// # Errors
    /// If the length is not [`RoundParameters::LENGTH`], a field holds an unknown value, or a
    /// probability is not a number.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let what = "round parameters";
        if bytes.len() != Self::LENGTH {
            let expected = Self::LENGTH as u64;
            return Err(DecodeError::Length { what, expected, actual: bytes.len() });
        }
        let parameters: Self = bincode::deserialize(bytes)
            .map_err(|error| DecodeError::Malformed { what, reason: error.to_string() })?;
        // Not equal to themselves, they would begin a new round at every look.
        if parameters.sum.is_nan() || parameters.update.is_nan() {
            return Err(DecodeError::Malformed { what, reason: "a probability is NaN".into() });
        }
        Ok(parameters)
    }
}
