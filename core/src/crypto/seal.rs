//! Seals what is stored: keys from secrets of people, a key of its own for each purpose and algorithm,
//! and boxes that open only at the place that they were made for.

use std::fmt;

use sodiumoxide::crypto::{aead::xchacha20poly1305_ietf as aead, pwhash::argon2id13 as argon2};
use zeroize::Zeroizing;

use super::{hash, init, secret_bytes, CryptoError};

/// The most memory that stretching may take, in bytes: whoever can damage what is stored must not be able
/// to ask for more.
const MOST_MEMORY: u64 = 1 << 30;
const MOST_PASSES: u64 = 16;

/// The parameters for stretching a secret: Argon2id, with one lane. To be stored beside what is
/// sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretching {
    /// Random, so that equal secrets give different keys.
    pub salt: [u8; 16],
    /// How often the memory is gone through.
    pub passes: u64,
    /// How many bytes of memory are gone through.
    pub memory: u64,
}

impl Stretching {
    /// libsodium's interactive parameters: two passes over 64 MiB, about a tenth of a second.
    pub const fn interactive(salt: [u8; 16]) -> Self {
        Self { salt, passes: 2, memory: 64 << 20 }
    }

    /// Derives the key from a secret. Takes long on purpose: not for an event loop.
    ///
    /// # Errors
    /// [`CryptoError::Stretching`] if the numbers are beyond all reason, or there is no memory for them.
    pub fn key(&self, secret: &[u8]) -> Result<MasterKey, CryptoError> {
        if self.memory > MOST_MEMORY || self.passes > MOST_PASSES {
            return Err(CryptoError::Stretching);
        }
        init();
        let number = |number| usize::try_from(number).map_err(|_| CryptoError::Stretching);
        let (passes, memory) = (number(self.passes)?, number(self.memory)?);
        let mut key = Zeroizing::new([0; 32]);
        argon2::derive_key(
            &mut key[..],
            secret,
            &argon2::Salt(self.salt),
            argon2::OpsLimit(passes),
            argon2::MemLimit(memory),
        )
        .map_err(|()| CryptoError::Stretching)?;
        Ok(MasterKey::new(*key))
    }
}

secret_bytes! {
    /// A key that is used only to derive other keys.
    MasterKey, 32
}

impl MasterKey {
    /// Derives the key for a purpose. Keys of different purposes reveal nothing about each other.
    pub fn sealing(&self, purpose: &str) -> SealingKey {
        let subkey = |algorithm: &str| {
            let label = format!("pet seal {algorithm}: {purpose}");
            let digest = hash::blake2b(32, Some(self.as_bytes()), label.as_bytes());
            let mut key = Zeroizing::new([0; 32]);
            key.copy_from_slice(digest.as_ref());
            key
        };
        SealingKey { cipher: subkey("xchacha20-poly1305"), nonce: subkey("blake2b nonce") }
    }
}

/// Seals with XChaCha20-Poly1305. What is sealed is bound to its place, such as a file's name or a record's
/// number: at another place it does not open.
#[derive(Clone)]
pub struct SealingKey {
    cipher: Zeroizing<[u8; 32]>,
    nonce: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(secret)")
    }
}

impl SealingKey {
    /// How many bytes longer sealed bytes are.
    pub const OVERHEAD: usize = aead::NONCEBYTES + aead::TAGBYTES;

    /// Encrypts and authenticates bytes: nonce (24), ciphertext, tag (16).
    ///
    /// The nonce is a hash of place and content with a key of its own, so that no randomness is needed:
    /// equal contents at one place give equal boxes, others never share a nonce.
    pub fn seal(&self, place: &[u8], content: &[u8]) -> Vec<u8> {
        init();
        let mut state = hash::state(aead::NONCEBYTES, Some(&self.nonce[..]));
        for part in [&(place.len() as u64).to_le_bytes()[..], place, content] {
            state.update(part).expect("hashing has no failing inputs");
        }
        let digest = state.finalize().expect("hashing has no failing inputs");
        let nonce = aead::Nonce::from_slice(digest.as_ref()).expect("the digest has that length");
        let mut sealed = nonce.0.to_vec();
        sealed.extend(aead::seal(content, Some(place), &nonce, &aead::Key(*self.cipher)));
        sealed
    }

    /// Opens what [`SealingKey::seal`] made for this place.
    ///
    /// # Errors
    /// [`CryptoError::DoesNotOpen`] if it is damaged, from another place, or was sealed with another key.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        init();
        let (nonce, ciphertext) =
            sealed.split_at_checked(aead::NONCEBYTES).ok_or(CryptoError::DoesNotOpen)?;
        let nonce = aead::Nonce::from_slice(nonce).ok_or(CryptoError::DoesNotOpen)?;
        aead::open(ciphertext, Some(place), &nonce, &aead::Key(*self.cipher))
            .map_err(|()| CryptoError::DoesNotOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_its_key_at_its_place_only() {
        let master = MasterKey::new([1; 32]);
        let key = master.sealing("store");
        let sealed = key.seal(b"row 1", b"content");
        assert_eq!(sealed.len(), b"content".len() + SealingKey::OVERHEAD);
        assert_eq!(key.open(b"row 1", &sealed).unwrap(), b"content");
        assert_eq!(key.seal(b"row 1", b"content"), sealed);
        for (key, place) in [
            (&key, &b"row 2"[..]),
            (&key, b"row 1c"),
            (&key, b""),
            (&master.sealing("stor"), b"row 1"),
            (&MasterKey::new([2; 32]).sealing("store"), b"row 1"),
        ] {
            assert_eq!(key.open(place, &sealed), Err(CryptoError::DoesNotOpen));
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(key.open(b"row 1", &damaged), Err(CryptoError::DoesNotOpen), "{at}");
            assert_eq!(key.open(b"row 1", &sealed[..at]), Err(CryptoError::DoesNotOpen), "{at}");
        }
    }

    /// One key, one algorithm; and what is moved between place and content has another nonce.
    #[test]
    fn keys_and_nonces_are_apart() {
        let key = MasterKey::new([1; 32]).sealing("store");
        assert_ne!(*key.cipher, *key.nonce);
        assert_ne!(key.seal(b"ab", b"c")[..24], key.seal(b"a", b"bc")[..24]);
        assert_eq!(format!("{key:?}"), "SealingKey(secret)");
    }

    #[test]
    fn secrets_are_stretched_with_their_salt_and_within_bounds() {
        let cheap = Stretching { salt: [1; 16], passes: 1, memory: 8 << 10 };
        let key = cheap.key(b"secret").unwrap();
        assert_eq!(cheap.key(b"secret").unwrap(), key);
        for other in [
            Stretching { salt: [2; 16], ..cheap },
            Stretching { passes: 2, ..cheap },
            Stretching { memory: 16 << 10, ..cheap },
        ] {
            assert_ne!(other.key(b"secret").unwrap(), key);
        }
        assert_ne!(cheap.key(b"secreu").unwrap(), key);
        for wrong in [
            Stretching { memory: MOST_MEMORY + 1, ..cheap },
            Stretching { memory: 0, ..cheap },
            Stretching { passes: MOST_PASSES + 1, ..cheap },
            Stretching { passes: 0, ..cheap },
        ] {
            assert_eq!(wrong.key(b"secret"), Err(CryptoError::Stretching), "{wrong:?}");
        }
    }

    /// Computed with OpenSSL, by way of the Python package `cryptography`.
    #[test]
    fn stretching_is_argon2id() {
        let stretching = Stretching { salt: *b"saltsaltsaltsalt", passes: 2, memory: 64 << 10 };
        let key = stretching.key(b"password").unwrap();
        let hex: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "8ba3fa702bd2c08fc6a7830ede5f30be3a1751ed492f31cd7d76a0a480725b5a");
    }
}
