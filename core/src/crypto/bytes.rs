//! Fixed-size byte strings as types of their own, so that a key is never taken for a seed.
//!
//! Both kinds are written by serde as a byte string; in bincode 1.x that is a u64 length and the
//! bytes, as the existing deployments expect (specification, section 3).

/// Defines a public fixed-size byte string: comparable, ordered, shown in hex.
macro_rules! public_bytes {
    ($(#[$meta:meta])* $name:ident, $len:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl std::fmt::Display for $name {
            /// Lower-case hex.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl $name {
            /// Wraps raw bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        $crate::crypto::common_bytes!($name, $len, |bytes: &[u8; $len]| $name(*bytes));
    };
}

/// Defines a secret fixed-size byte string: zeroized on drop, redacted, compared in constant time. It lies on the heap, so
/// that moving it leaves no copy behind.
macro_rules! secret_bytes {
    ($(#[$meta:meta])* $name:ident, $len:expr) => {
        $(#[$meta])*
        pub struct $name(Box<[u8; $len]>);

        impl $name {
            /// Copies raw bytes. The caller's own are the caller's to wipe: [`Self::try_fill`] needs none.
            pub fn new(mut bytes: [u8; $len]) -> Self {
                let secret = Self::filled(|to| to.copy_from_slice(&bytes));
                zeroize::Zeroize::zeroize(&mut bytes);
                secret
            }

            /// Lets a function write the bytes in place, so that no copy is left behind.
            ///
            /// # Errors
            /// That of `fill`.
            pub fn try_fill<E>(
                fill: impl FnOnce(&mut [u8; $len]) -> Result<(), E>,
            ) -> Result<Self, E> {
                let mut secret = Self(Box::new([0; $len]));
                fill(&mut secret.0)?;
                Ok(secret)
            }

            /// The same where nothing can go wrong.
            #[allow(dead_code, reason = "not every kind is made in this way")]
            pub(crate) fn filled(fill: impl FnOnce(&mut [u8; $len])) -> Self {
                let mut secret = Self(Box::new([0; $len]));
                fill(&mut secret.0);
                secret
            }

            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl Clone for $name {
            fn clone(&self) -> Self {
                Self::filled(|to| to.copy_from_slice(self.as_bytes()))
            }
        }

        impl zeroize::Zeroize for $name {
            fn zeroize(&mut self) {
                self.0.as_mut_slice().zeroize();
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                zeroize::Zeroize::zeroize(self);
            }
        }

        impl zeroize::ZeroizeOnDrop for $name {}

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}(secret)", stringify!($name))
            }
        }

        impl PartialEq for $name {
            /// In constant time.
            fn eq(&self, other: &Self) -> bool {
                subtle::ConstantTimeEq::ct_eq(&self.as_bytes()[..], other.as_bytes()).into()
            }
        }

        impl Eq for $name {}

        $crate::crypto::common_bytes!($name, $len, |bytes: &[u8; $len]| {
            $name::filled(|to| to.copy_from_slice(bytes))
        });
    };
}

macro_rules! common_bytes {
    ($name:ident, $len:expr, $copy:expr) => {
        impl $name {
            /// How many bytes it has.
            pub const LENGTH: usize = $len;

            /// Copies raw bytes out of a slice.
            ///
            /// # Errors
            /// If the slice has another length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, $crate::crypto::CryptoError> {
                bytes.try_into().map($copy).map_err(|_| $crate::crypto::CryptoError::Length {
                    expected: $len,
                    actual: bytes.len(),
                })
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self::new(bytes)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(self.as_bytes())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, "{} bytes", $len)
                    }

                    fn visit_bytes<E: serde::de::Error>(self, v: &[u8]) -> Result<$name, E> {
                        $name::from_slice(v).map_err(|_| E::invalid_length(v.len(), &self))
                    }
                }

                deserializer.deserialize_bytes(Visitor)
            }
        }
    };
}

pub(crate) use {common_bytes, public_bytes, secret_bytes};

#[cfg(test)]
mod tests {
    use crate::crypto::{PublicSigningKey, Seed};

    #[test]
    fn bincode_form_is_a_length_and_the_bytes() {
        let key = PublicSigningKey::new([7; 32]);
        let bytes = bincode::serialize(&key).unwrap();
        assert_eq!(bytes[..8], 32u64.to_le_bytes());
        assert_eq!(bytes[8..], [7; 32]);
        assert_eq!(bincode::deserialize::<PublicSigningKey>(&bytes).unwrap(), key);
    }

    #[test]
    fn another_length_is_refused() {
        let mut bytes = 31u64.to_le_bytes().to_vec();
        bytes.extend([0; 31]);
        assert!(bincode::deserialize::<PublicSigningKey>(&bytes).is_err());
        assert!(PublicSigningKey::from_slice(&[0; 33]).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Seed::new([0xab; 32])), "Seed(secret)");
    }
}
