//! The seed of a mask.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The seed that a mask is derived from (specification, section 5): whoever knows it can take the mask off.
///
/// It is zeroized on drop, shown by no `Debug`, and compared in constant time. It lies on the heap, so that
/// moving it leaves no copy behind. serde writes it as a byte string.
pub struct MaskSeed(Box<Zeroizing<[u8; MaskSeed::LENGTH]>>);

/// Bytes that are not a mask seed, because there are not 32 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a mask seed has {} bytes, not {actual}", MaskSeed::LENGTH)]
#[non_exhaustive]
pub struct WrongSeedLength {
    /// How many bytes were given.
    pub actual: usize,
}

impl MaskSeed {
    /// How many bytes it has.
    pub const LENGTH: usize = 32;

    /// Copies raw bytes. The caller's own are the caller's to wipe: [`Self::try_fill`] needs none.
    pub fn new(mut bytes: [u8; Self::LENGTH]) -> Self {
        let seed = Self::copied(&bytes);
        bytes.zeroize();
        seed
    }

    /// Lets a function write the bytes in place, so that no copy is left behind.
    ///
    /// # Errors
    /// That of `fill`.
    pub fn try_fill<E>(
        fill: impl FnOnce(&mut [u8; Self::LENGTH]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut seed = Self(Box::default());
        fill(&mut seed.0)?;
        Ok(seed)
    }

    /// Copies raw bytes out of a slice.
    ///
    /// # Errors
    /// If the slice has another length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, WrongSeedLength> {
        let bytes = bytes.try_into().map_err(|_| WrongSeedLength { actual: bytes.len() })?;
        Ok(Self::copied(bytes))
    }

    fn copied(bytes: &[u8; Self::LENGTH]) -> Self {
        let mut seed = Self(Box::default());
        seed.0.copy_from_slice(bytes);
        seed
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// Directly from heap to heap.
impl Clone for MaskSeed {
    fn clone(&self) -> Self {
        Self::copied(self.as_bytes())
    }
}

impl Zeroize for MaskSeed {
    fn zeroize(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl ZeroizeOnDrop for MaskSeed {}

impl fmt::Debug for MaskSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskSeed(secret)")
    }
}

impl PartialEq for MaskSeed {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for MaskSeed {}

impl From<[u8; Self::LENGTH]> for MaskSeed {
    fn from(bytes: [u8; Self::LENGTH]) -> Self {
        Self::new(bytes)
    }
}

/// Directly to the heap: nothing else is left to be wiped.
impl From<&[u8; Self::LENGTH]> for MaskSeed {
    fn from(bytes: &[u8; Self::LENGTH]) -> Self {
        Self::copied(bytes)
    }
}

impl Serialize for MaskSeed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for MaskSeed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = MaskSeed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} bytes", MaskSeed::LENGTH)
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<MaskSeed, E> {
                MaskSeed::from_slice(bytes).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lengths_are_refused() {
        for actual in [0, 31, 33] {
            let error = MaskSeed::from_slice(&vec![0; actual]).unwrap_err();
            assert_eq!(error, WrongSeedLength { actual });
            let bytes = bincode::serialize(&vec![0u8; actual]).unwrap();
            assert!(bincode::deserialize::<MaskSeed>(&bytes).is_err());
        }
    }

    #[test]
    fn the_bincode_form_is_a_length_and_the_bytes() {
        let seed = MaskSeed::new([7; 32]);
        let bytes = bincode::serialize(&seed).unwrap();
        assert_eq!((&bytes[..8], &bytes[8..]), (&32u64.to_le_bytes()[..], &[7; 32][..]));
        assert_eq!(bincode::deserialize::<MaskSeed>(&bytes).unwrap(), seed);
    }

    #[test]
    fn one_bit_makes_another_seed_and_none_is_shown() {
        let mut bytes = [7; 32];
        bytes[31] ^= 1;
        assert_ne!(MaskSeed::new(bytes), MaskSeed::new([7; 32]));
        assert_eq!(format!("{:?}", MaskSeed::new(bytes)), "MaskSeed(secret)");
    }
}
