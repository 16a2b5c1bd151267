//! Seals what is stored: keys from secrets of people, a key of its own for each purpose and algorithm,
//! and boxes that open only at the place that they were made for.

use std::fmt;

use zeroize::Zeroizing;

use super::backend::{Backend, Chosen, Length, KEY, NONCE, TAG};
use super::{hash, secret_bytes, CryptoError};
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
        let (Ok(passes), Ok(memory)) = (self.passes.try_into(), self.memory.try_into()) else {
            return Err(CryptoError::Stretching);
        };
        MasterKey::try_fill(|to| match Chosen::argon2id(secret, &self.salt, passes, memory, to) {
            true => Ok(()),
            false => Err(CryptoError::Stretching),
        })
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
            let mut key = Zeroizing::new([0; KEY]);
            let label = label.as_bytes();
            hash::blake2b(Length::Digest, Some(self.as_bytes()), &[label], &mut *key);
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
    pub const OVERHEAD: usize = NONCE + TAG;

    /// How many bytes come before the ciphertext: see [`SealingKey::seal_behind`].
    pub const HEADROOM: usize = NONCE;

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
        let (head, content) = buffer[from..].split_at_mut(Self::HEADROOM);
        let nonce = self.nonce(place, content);
        head.copy_from_slice(&nonce);
        let tag = Chosen::aead_seal(content, place, &nonce, &self.cipher);
        buffer.extend_from_slice(&tag);
        buffer
    }

    fn nonce(&self, place: &[u8], content: &[u8]) -> [u8; NONCE] {
        let length = (place.len() as u64).to_le_bytes();
        // BLAKE3 takes a seventh of the time. No place is so long that the two could be taken for each other.
        let digest = (content.len() >= LONG).then(|| leaf(content));
        let parts = match &digest {
            None => [&length[..], place, content, &[]],
            Some(digest) => [&u64::MAX.to_le_bytes()[..], &length, place, digest],
        };
        let mut nonce = [0; NONCE];
        hash::blake2b(Length::Nonce, Some(&self.nonce), &parts, &mut nonce);
        nonce
    }

    /// Opens what [`SealingKey::seal`] made for this place.
    ///
    /// # Errors
    /// [`CryptoError::DoesNotOpen`] if it is damaged, from another place, or was sealed with another key.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (nonce, ciphertext, tag) = split(sealed).ok_or(CryptoError::DoesNotOpen)?;
        let mut content = ciphertext.to_vec();
        match Chosen::aead_open(&mut content, tag, place, nonce, &self.cipher) {
            true => Ok(content),
            false => Err(CryptoError::DoesNotOpen),
        }
    }
}

/// Nonce, ciphertext and tag, if it is long enough for all of them.
pub(super) fn split(sealed: &[u8]) -> Option<(&[u8; NONCE], &[u8], &[u8; TAG])> {
    let (nonce, rest) = sealed.split_first_chunk()?;
    let (ciphertext, tag) = rest.split_last_chunk()?;
    Some((nonce, ciphertext, tag))
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
