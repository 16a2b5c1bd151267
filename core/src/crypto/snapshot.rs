//! Seals saved states with a symmetric key.

use super::backend::{Backend, Chosen, Length, NONCE as NONCE_LENGTH, TAG};
use super::seal::split;
use super::{hash, secret_bytes, wiping_stack, CryptoError, Seed};

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
        wiping_stack(|| {
            let (key, parts) =
                (self.subkey(NONCE), [&(what.len() as u64).to_le_bytes()[..], what, content]);
            let mut nonce = [0; NONCE_LENGTH];
            hash::blake2b(Length::Nonce, Some(key.as_bytes()), &parts, &mut nonce);
            let mut sealed = Vec::with_capacity(NONCE_LENGTH + content.len() + TAG);
            sealed.extend_from_slice(&nonce);
            sealed.extend_from_slice(content);
            let content = &mut sealed[NONCE_LENGTH..];
            let tag = Chosen::aead_seal(content, what, &nonce, self.subkey(CIPHER).as_bytes());
            sealed.extend_from_slice(&tag);
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
        wiping_stack(|| {
            let (nonce, ciphertext, tag) = split(sealed).ok_or(CryptoError::DoesNotOpen)?;
            let mut content = ciphertext.to_vec();
            let key = self.subkey(CIPHER);
            if Chosen::aead_open(&mut content, tag, what, nonce, key.as_bytes()) {
                return Ok(content);
            }
            self.open_old(sealed).ok_or(CryptoError::DoesNotOpen)
        })
    }

    /// The first form: XSalsa20-Poly1305 with this key itself, which was the key of the nonces' hash, too. Nonce, tag,
    /// ciphertext.
    fn open_old(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk()?;
        let (tag, ciphertext) = rest.split_first_chunk()?;
        let mut content = ciphertext.to_vec();
        let opens = Chosen::secretbox_open(&mut content, tag, nonce, self.as_bytes());
        opens.then_some(content)
    }

    fn subkey(&self, purpose: &[u8]) -> Seed {
        Seed::filled(|to| hash::blake2b(Length::Digest, Some(self.as_bytes()), &[purpose], to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it was until there were keys of their own for nonces and cipher.
    fn seal_old(key: &SnapshotKey, content: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LENGTH];
        hash::blake2b(Length::Nonce, Some(key.as_bytes()), &[content], &mut nonce);
        let mut ciphertext = content.to_vec();
        let tag = Chosen::secretbox_seal(&mut ciphertext, &nonce, key.as_bytes());
        [&nonce[..], &tag, &ciphertext].concat()
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
        assert_eq!(key.open_old(&sealed), None);
        let mut nonce = [0; NONCE_LENGTH];
        hash::blake2b(Length::Nonce, Some(&keys[0]), &[b"state"], &mut nonce);
        assert_ne!(sealed[..24], nonce);
    }
}
