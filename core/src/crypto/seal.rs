//! Seals what is stored: keys from secrets of people, a key of its own for each purpose and algorithm,
//! and boxes that open only at the place that they were made for.

use std::fmt;

use sodiumoxide::crypto::{aead::xchacha20poly1305_ietf as aead, pwhash::argon2id13 as argon2};
use zeroize::Zeroizing;

use super::{hash, init, secret_bytes, CryptoError};
use crate::mask::tree::leaf;

/// The most memory that stretching may take, in bytes: whoever can damage what is stored must not be able
/// to ask for more.
const MOST_MEMORY: u64 = 1 << 30;
const MOST_PASSES: u64 = 16;

/// From so many bytes on content is hashed with the faster hash.
const LONG: usize = 16 << 10;

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

    /// How many bytes come before the ciphertext: see [`SealingKey::seal_behind`].
    pub const HEADROOM: usize = aead::NONCEBYTES;

    /// Encrypts and authenticates bytes: nonce (24), ciphertext, tag (16).
    ///
    /// The nonce is a hash of place and content with a key of its own, so that no randomness is needed:
    /// equal contents at one place give equal boxes, others never share a nonce.
    pub fn seal(&self, place: &[u8], content: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(content.len() + Self::OVERHEAD);
        buffer.resize(Self::HEADROOM, 0);
        buffer.extend_from_slice(content);
        self.seal_behind(place, buffer, 0)
    }

    /// The same for what lies behind the first `from` bytes of a buffer and [`HEADROOM`](Self::HEADROOM) more, which are
    /// for the nonce: nothing is copied, if the buffer has room for [`OVERHEAD`](Self::OVERHEAD) bytes in all.
    ///
    /// # Panics
    /// If the buffer is shorter than that.
    #[must_use]
    pub fn seal_behind(&self, place: &[u8], mut buffer: Vec<u8>, from: usize) -> Vec<u8> {
        init();
        let (head, content) = buffer[from..].split_at_mut(Self::HEADROOM);
        let nonce = self.nonce(place, content);
        head.copy_from_slice(&nonce.0);
        let tag = aead::seal_detached(content, Some(place), &nonce, &aead::Key(*self.cipher));
        buffer.extend_from_slice(&tag.0);
        buffer
    }

    fn nonce(&self, place: &[u8], content: &[u8]) -> aead::Nonce {
        let mut state = hash::state(aead::NONCEBYTES, Some(&self.nonce[..]));
        let length = (place.len() as u64).to_le_bytes();
        // BLAKE3 takes a seventh of the time. No place is so long that the two could be taken for each other.
        let digest = (content.len() >= LONG).then(|| leaf(content));
        let parts = match &digest {
            None => [&length[..], place, content, &[]],
            Some(digest) => [&u64::MAX.to_le_bytes()[..], &length, place, digest],
        };
        for part in parts {
            state.update(part).expect("hashing has no failing inputs");
        }
        let digest = state.finalize().expect("hashing has no failing inputs");
        aead::Nonce::from_slice(digest.as_ref()).expect("the digest has that length")
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

    /// Short or long, in a buffer of its own or behind something else.
    #[test]
    fn what_is_sealed_in_its_place_is_the_same() {
        let key = MasterKey::new([1; 32]).sealing("store");
        let mut nonces = std::collections::BTreeSet::new();
        for length in [0, 1, LONG - 1, LONG, LONG + 1, 3 * LONG] {
            let content: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let sealed = key.seal(b"place", &content);
            assert_eq!(key.open(b"place", &sealed).unwrap(), content);
            assert_eq!(sealed, key.seal(b"place", &content));
            let mut buffer = b"before".to_vec();
            buffer.resize(6 + SealingKey::HEADROOM, 0);
            buffer.extend_from_slice(&content);
            buffer.reserve_exact(SealingKey::OVERHEAD);
            let at = buffer.as_ptr();
            let behind = key.seal_behind(b"place", buffer, 6);
            assert_eq!(behind.as_ptr(), at);
            assert_eq!(behind, [b"before", &sealed[..]].concat());
            // Another place or another content, by a bit anywhere, has another nonce.
            assert!(nonces.insert(sealed[..24].to_vec()));
            assert!(nonces.insert(key.seal(b"places", &content)[..24].to_vec()));
            for at in [0, length / 2, length.saturating_sub(1)] {
                let mut other = content.clone();
                let Some(byte) = other.get_mut(at) else { continue };
                *byte ^= 1;
                nonces.insert(key.seal(b"place", &other)[..24].to_vec());
            }
        }
        assert_eq!(nonces.len(), 6 * 2 + 1 + 4 * 3);
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
