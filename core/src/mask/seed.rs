//! Mask seeds.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The secret seed that one model's mask is derived from.
///
/// Whoever knows it can unmask that model: it is wiped on drop, shows no bytes in `Debug`, and is
/// compared in constant time. In bincode it is a u64 length (32) and its bytes (spec section 3).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MaskSeed([u8; MaskSeed::LENGTH]);

impl MaskSeed {
    /// Length in bytes.
    pub const LENGTH: usize = 32;

    /// Takes the bytes.
    pub const fn new(bytes: [u8; Self::LENGTH]) -> Self {
        MaskSeed(bytes)
    }

    /// The bytes; they are as secret as the seed.
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl From<[u8; MaskSeed::LENGTH]> for MaskSeed {
    fn from(bytes: [u8; MaskSeed::LENGTH]) -> Self {
        MaskSeed(bytes)
    }
}

impl fmt::Debug for MaskSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskSeed(secret)")
    }
}

impl PartialEq for MaskSeed {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        let difference = self
            .0
            .iter()
            .zip(&other.0)
            .fold(0, |acc, (a, b)| acc | (a ^ b));
        // The compiler may not conclude from the comparison that it could have stopped earlier.
        std::hint::black_box(difference) == 0
    }
}

impl Eq for MaskSeed {}

impl Serialize for MaskSeed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for MaskSeed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SeedVisitor;

        impl Visitor<'_> for SeedVisitor {
            type Value = MaskSeed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the {} bytes of a mask seed", MaskSeed::LENGTH)
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<MaskSeed, E> {
                let bytes = bytes
                    .try_into()
                    .map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(MaskSeed(bytes))
            }
        }

        deserializer.deserialize_bytes(SeedVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bincode_is_length_and_bytes() {
        let seed = MaskSeed::new([7; 32]);
        let bytes = bincode::serialize(&seed).unwrap();
        assert_eq!(bytes[..8], 32u64.to_le_bytes());
        assert_eq!(bytes[8..], [7; 32]);
        assert_eq!(bincode::deserialize::<MaskSeed>(&bytes).unwrap(), seed);
        let mut short = bytes.clone();
        short[0] = 31;
        assert!(bincode::deserialize::<MaskSeed>(&short[..39]).is_err());
    }

    #[test]
    fn equal_only_to_itself() {
        let seed = MaskSeed::new([7; 32]);
        for i in 0..32 {
            let mut other = [7; 32];
            other[i] ^= 0x80;
            assert_ne!(seed, MaskSeed::new(other));
        }
        assert_eq!(seed, seed.clone());
    }

    #[test]
    fn debug_shows_no_bytes() {
        assert_eq!(
            format!("{:?}", MaskSeed::new([200; 32])),
            "MaskSeed(secret)"
        );
    }
}
