//! Mask seeds sealed to sum participants, and the dictionary of them in an update message.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::error::{take, take_array};
use super::MessageError;
use crate::crypto::{
    public_bytes, CryptoError, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, SEAL_OVERHEAD,
};
use crate::mask::MaskSeed;

/// How many bytes a sealed mask seed has.
pub const ENCRYPTED_SEED_LENGTH: usize = 32 + SEAL_OVERHEAD;

/// How many bytes an entry of a local seed dictionary has.
pub const SEED_ENTRY_LENGTH: usize = PublicSigningKey::LENGTH + ENCRYPTED_SEED_LENGTH;

/// The dictionary's length field counts itself.
const LENGTH_FIELD: usize = 4;

public_bytes! {
    /// A mask seed, sealed to one sum participant's ephemeral key.
    EncryptedMaskSeed, 80
}

/// Why a sealed mask seed could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an update participant's mask seed does not open with this round's ephemeral key")]
pub struct SeedOpenError;

impl EncryptedMaskSeed {
    /// Seals a mask seed.
    ///
    /// # Errors
    /// [`CryptoError::WeakPublicKey`] if the recipient's key is a point of low order.
    pub fn seal(
        seed: &MaskSeed,
        recipient: &PublicEncryptKey,
        ephemeral: &EncryptKeyPair,
    ) -> Result<Self, CryptoError> {
        Self::from_slice(&recipient.seal(seed.as_bytes(), ephemeral)?)
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`SeedOpenError`] if it was not sealed for these keys.
    pub fn open(&self, keys: &EncryptKeyPair) -> Result<MaskSeed, SeedOpenError> {
        // Not on the stack, of which copies may stay behind.
        let mut sealed = Zeroizing::new(self.as_bytes().to_vec());
        let opened = keys.open_in_place(&mut sealed).map_err(|_| SeedOpenError)?;
        MaskSeed::from_slice(opened).map_err(|_| SeedOpenError)
    }

    /// The seed as it is, in the place of a sealed one: for messages that are [handed over](super::HandedOver).
    pub(crate) fn unsealed(seed: &MaskSeed) -> Self {
        let mut bytes = [0; ENCRYPTED_SEED_LENGTH];
        bytes[SEAL_OVERHEAD..].copy_from_slice(seed.as_bytes());
        Self::new(bytes)
    }

    /// Reads such a one.
    pub(crate) fn read_unsealed(&self) -> Result<MaskSeed, SeedOpenError> {
        let (overhead, seed) = self.as_bytes().split_at(SEAL_OVERHEAD);
        // One that is sealed does not begin so.
        if overhead != [0; SEAL_OVERHEAD] {
            return Err(SeedOpenError);
        }
        MaskSeed::from_slice(seed).map_err(|_| SeedOpenError)
    }
}

/// The mask seed of one update participant, sealed to each sum participant. Sorted by sum
/// participant, without duplicates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalSeedDict(Vec<(PublicSigningKey, EncryptedMaskSeed)>);

impl LocalSeedDict {
    /// Makes a dictionary of entries in any order.
    ///
    /// # Errors
    /// [`MessageError::DuplicateSeed`] if a sum participant occurs twice.
    pub fn new(
        mut entries: Vec<(PublicSigningKey, EncryptedMaskSeed)>,
    ) -> Result<Self, MessageError> {
        entries.sort_unstable_by_key(|(key, _)| *key);
        match entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(MessageError::DuplicateSeed(pair[0].0)),
            None => Ok(Self(entries)),
        }
    }

    /// Reads a dictionary that fills all of the bytes; entries may come in any order.
    ///
    /// # Errors
    /// If the length field does not match the bytes, or a sum participant occurs twice.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, MessageError> {
        let stated = u32::from_be_bytes(take_array(&mut bytes, "seed dictionary's length")?);
        let length = usize::try_from(stated)
            .ok()
            .and_then(|length| length.checked_sub(LENGTH_FIELD))
            .filter(|length| length % SEED_ENTRY_LENGTH == 0)
            .ok_or(MessageError::SeedDictLength(stated))?;
        let mut body = take(&mut bytes, length, "seed dictionary")?;
        super::error::end(bytes, "seed dictionary")?;
        let mut entries = Vec::with_capacity(length / SEED_ENTRY_LENGTH);
        while !body.is_empty() {
            entries.push((
                PublicSigningKey::new(take_array(&mut body, "seed dictionary")?),
                EncryptedMaskSeed::new(take_array(&mut body, "seed dictionary")?),
            ));
        }
        Self::new(entries)
    }

    /// Writes it, sorted.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let length = Self::serialized_len(self.0.len());
        // More than 38 million sum participants do not fit the format; no sum dictionary is that
        // large, since the coordinator counts them in the same field.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        for (key, seed) in &self.0 {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(seed.as_bytes());
        }
    }

    /// How many bytes a dictionary with so many entries has.
    pub const fn serialized_len(entries: usize) -> usize {
        LENGTH_FIELD + entries * SEED_ENTRY_LENGTH
    }

    /// The sealed seed for one sum participant.
    pub fn get(&self, sum_participant: &PublicSigningKey) -> Option<&EncryptedMaskSeed> {
        let index = self.0.binary_search_by_key(sum_participant, |(key, _)| *key).ok()?;
        Some(&self.0[index].1)
    }

    /// The sum participants, ascending.
    pub fn sum_participants(&self) -> impl ExactSizeIterator<Item = &PublicSigningKey> {
        self.0.iter().map(|(key, _)| key)
    }

    /// All entries, ascending.
    pub fn entries(&self) -> &[(PublicSigningKey, EncryptedMaskSeed)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::Seed;

    fn entry(byte: u8) -> (PublicSigningKey, EncryptedMaskSeed) {
        (PublicSigningKey::new([byte; 32]), EncryptedMaskSeed::new([byte; 80]))
    }

    proptest! {
        #[test]
        fn round_trips(bytes in proptest::collection::btree_set(any::<u8>(), 0..20)) {
            let dict = LocalSeedDict::new(bytes.into_iter().rev().map(entry).collect()).unwrap();
            let mut written = Vec::new();
            dict.write_to(&mut written);
            prop_assert_eq!(written.len(), LocalSeedDict::serialized_len(dict.entries().len()));
            prop_assert_eq!(LocalSeedDict::parse(&written), Ok(dict));
        }
    }

    #[test]
    fn duplicates_are_refused() {
        let duplicate = MessageError::DuplicateSeed(entry(3).0);
        assert_eq!(LocalSeedDict::new(vec![entry(3), entry(1), entry(3)]), Err(duplicate));
    }

    #[test]
    fn a_seed_opens_with_its_key_only() {
        let [recipient, other, ephemeral] =
            [1, 2, 3].map(|byte| EncryptKeyPair::from_seed(&Seed::new([byte; 32])));
        let seed = MaskSeed::new([9; 32]);
        let sealed = EncryptedMaskSeed::seal(&seed, &recipient.public(), &ephemeral).unwrap();
        assert_eq!(sealed.open(&recipient).unwrap(), seed);
        assert_eq!(sealed.open(&other), Err(SeedOpenError));
    }
}
