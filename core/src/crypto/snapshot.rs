//! Sealing of snapshots with a symmetric key.

use sodiumoxide::crypto::secretbox;

use super::{hash, init, secret_bytes, CryptoError};

secret_bytes! {
    /// A key that snapshots can be sealed with: XSalsa20-Poly1305.
    SnapshotKey, 32
}

impl SnapshotKey {
    /// Encrypts and authenticates bytes: nonce (24), tag (16), ciphertext.
    ///
    /// The nonce is a keyed hash of the content, so that no randomness is needed: equal contents
    /// give equal boxes, different ones never share a nonce.
    pub fn seal(&self, content: &[u8]) -> Vec<u8> {
        init();
        let digest = hash::blake2b(secretbox::NONCEBYTES, Some(&self.0), content);
        let nonce =
            secretbox::Nonce::from_slice(digest.as_ref()).expect("the digest has that length");
        let mut sealed = nonce.0.to_vec();
        sealed.extend(secretbox::seal(content, &nonce, &secretbox::Key(self.0)));
        sealed
    }

    /// Opens what [`SnapshotKey::seal`] made.
    ///
    /// # Errors
    /// [`CryptoError::DoesNotOpen`] if it is damaged or was sealed with another key.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        init();
        let (nonce, ciphertext) =
            sealed.split_at_checked(secretbox::NONCEBYTES).ok_or(CryptoError::DoesNotOpen)?;
        let nonce = secretbox::Nonce::from_slice(nonce).ok_or(CryptoError::DoesNotOpen)?;
        secretbox::open(ciphertext, &nonce, &secretbox::Key(self.0))
            .map_err(|()| CryptoError::DoesNotOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_its_key_only() {
        let key = SnapshotKey::new([1; 32]);
        let sealed = key.seal(b"state");
        assert_eq!(key.open(&sealed).unwrap(), b"state");
        assert_eq!(SnapshotKey::new([2; 32]).open(&sealed), Err(CryptoError::DoesNotOpen));
        assert_eq!(key.open(&sealed[..20]), Err(CryptoError::DoesNotOpen));
    }
}
