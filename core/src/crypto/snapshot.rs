//! Seals saved states with a symmetric key.

use sodiumoxide::crypto::aead::xchacha20poly1305_ietf as aead;
use sodiumoxide::crypto::secretbox;

use super::{hash, init, secret_bytes, wiping_stack, CryptoError, Seed};

secret_bytes! {
    /// A key that snapshots can be sealed with.
    ///
    /// It is no algorithm's own key: one is derived from it for each, a BLAKE2b key for nonces and an
    /// XChaCha20-Poly1305 key.
    SnapshotKey, 32
}

/// What a derived key is for.
const NONCE: &[u8] = b"pet snapshot: nonce";
const CIPHER: &[u8] = b"pet snapshot: XChaCha20-Poly1305";

impl SnapshotKey {
    /// Encrypts and authenticates bytes: nonce (24), ciphertext, tag (16).
    ///
    /// The nonce is a keyed hash of the content, so that no randomness is needed: equal contents
    /// give equal boxes, different ones never share a nonce.
    pub fn seal(&self, content: &[u8]) -> Vec<u8> {
        self.seal_as(b"", content)
    }

    /// Like [`SnapshotKey::seal`], for bytes that open only as the same thing: `what` tells what they are, and is
    /// authenticated with them.
    pub fn seal_as(&self, what: &[u8], content: &[u8]) -> Vec<u8> {
        init();
        wiping_stack(|| {
            let mut hash = hash::state(aead::NONCEBYTES, Some(self.subkey(NONCE).as_bytes()));
            for part in [&(what.len() as u64).to_le_bytes()[..], what, content] {
                hash.update(part).expect("hashing has no failing inputs");
            }
            let digest = hash.finalize().expect("hashing has no failing inputs");
            let nonce = aead::Nonce::from_slice(digest.as_ref()).expect("it has that length");
            let mut sealed = nonce.0.to_vec();
            sealed.append(&mut aead::seal(content, Some(what), &nonce, &self.cipher_key()));
            sealed
        })
    }

    /// Opens what [`SnapshotKey::seal`] made, now or in the versions before 0.2.
    ///
    /// # Errors
    /// [`CryptoError::DoesNotOpen`] if it is damaged or was sealed with another key.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.open_as(b"", sealed)
    }

    /// Opens what [`SnapshotKey::seal_as`] made of the same thing, and what older versions sealed without naming it.
    ///
    /// # Errors
    /// [`CryptoError::DoesNotOpen`] if it is damaged, something else, or was sealed with another key.
    pub fn open_as(&self, what: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        init();
        wiping_stack(|| {
            let (nonce, ciphertext) =
                sealed.split_at_checked(aead::NONCEBYTES).ok_or(CryptoError::DoesNotOpen)?;
            let nonce = aead::Nonce::from_slice(nonce).ok_or(CryptoError::DoesNotOpen)?;
            aead::open(ciphertext, Some(what), &nonce, &self.cipher_key())
                .or_else(|()| self.open_old(&nonce.0, ciphertext))
                .map_err(|()| CryptoError::DoesNotOpen)
        })
    }

    /// The first form: XSalsa20-Poly1305 with this key itself, which was the key of the nonces' hash, too.
    fn open_old(&self, nonce: &[u8; 24], ciphertext: &[u8]) -> Result<Vec<u8>, ()> {
        let key = secretbox::Key(*self.as_bytes());
        secretbox::open(ciphertext, &secretbox::Nonce(*nonce), &key)
    }

    fn cipher_key(&self) -> aead::Key {
        aead::Key(*self.subkey(CIPHER).as_bytes())
    }

    fn subkey(&self, purpose: &[u8]) -> Seed {
        Seed::filled(|to| {
            let digest = hash::blake2b(32, Some(self.as_bytes()), purpose);
            to.copy_from_slice(digest.as_ref());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it was until there were keys of their own for nonces and cipher.
    fn seal_old(key: &SnapshotKey, content: &[u8]) -> Vec<u8> {
        let digest = hash::blake2b(secretbox::NONCEBYTES, Some(key.as_bytes()), content);
        let nonce = secretbox::Nonce::from_slice(digest.as_ref()).unwrap();
        let sealed = secretbox::seal(content, &nonce, &secretbox::Key(*key.as_bytes()));
        [&nonce.0[..], &sealed].concat()
    }

    #[test]
    fn opens_with_its_key_only() {
        let key = SnapshotKey::new([1; 32]);
        let sealed = key.seal(b"state");
        assert_eq!(key.open(&sealed).unwrap(), b"state");
        assert_eq!(SnapshotKey::new([2; 32]).open(&sealed), Err(CryptoError::DoesNotOpen));
        assert_eq!(key.open(&sealed[..20]), Err(CryptoError::DoesNotOpen));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(key.open(&damaged), Err(CryptoError::DoesNotOpen), "{at}");
        }
    }

    #[test]
    fn opens_as_what_it_is_only() {
        let key = SnapshotKey::new([1; 32]);
        let sealed = key.seal_as(b"participant", b"state");
        assert_eq!(key.open_as(b"participant", &sealed).unwrap(), b"state");
        assert_eq!(key.open_as(b"coordinator", &sealed), Err(CryptoError::DoesNotOpen));
        assert_eq!(key.open(&sealed), Err(CryptoError::DoesNotOpen));
        assert_ne!(key.seal(b"state")[..24], sealed[..24], "no nonce twice");
    }

    #[test]
    fn what_was_sealed_before_still_opens() {
        let key = SnapshotKey::new([1; 32]);
        let sealed = seal_old(&key, b"state");
        assert_eq!(key.open(&sealed).unwrap(), b"state");
        assert_eq!(key.open_as(b"participant", &sealed).unwrap(), b"state");
        assert_eq!(SnapshotKey::new([2; 32]).open(&sealed), Err(CryptoError::DoesNotOpen));
    }

    /// No algorithm is given the key itself, or the other's.
    #[test]
    fn each_algorithm_has_a_key_of_its_own() {
        let key = SnapshotKey::new([1; 32]);
        let keys = [*key.as_bytes(), *key.subkey(NONCE).as_bytes(), *key.subkey(CIPHER).as_bytes()];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        let sealed = key.seal(b"state");
        let (nonce, rest) = sealed.split_at(24);
        let nonce = secretbox::Nonce::from_slice(nonce).unwrap();
        assert!(secretbox::open(rest, &nonce, &secretbox::Key(keys[0])).is_err());
        assert_ne!(hash::blake2b(24, Some(&keys[0]), b"state").as_ref(), &nonce.0);
    }
}
