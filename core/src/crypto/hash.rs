//! SHA-256 where the protocol prescribes it, BLAKE2b (faster) where the choice is ours.

use sha2::{Digest as _, Sha256};

use super::backend::{Backend, Chosen, Length, KEY};
use super::public_bytes;

public_bytes! {
    /// A 32-byte hash.
    Digest, 32
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> Digest {
    Digest::new(Sha256::digest(data).into())
}

/// BLAKE2b with a 32-byte digest, fed piece by piece.
pub struct Blake2b(<Chosen as Backend>::Blake2b);

impl Blake2b {
    /// A hash of nothing yet.
    pub fn new() -> Self {
        Self(Chosen::blake2b(Length::Digest, None))
    }

    /// Hashes some more.
    pub fn update(&mut self, data: &[u8]) {
        Chosen::blake2b_update(&mut self.0, data);
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        let mut digest = [0; KEY];
        Chosen::blake2b_finish(self.0, &mut digest);
        Digest::new(digest)
    }

    /// The digest of all parts, one after another.
    pub fn hash(parts: &[&[u8]]) -> Digest {
        let mut hash = Self::new();
        parts.iter().for_each(|part| hash.update(part));
        hash.finish()
    }
}

/// The digest of all parts, one after another, keyed or not, with the length that `to` has.
pub(super) fn blake2b(length: Length, key: Option<&[u8; KEY]>, parts: &[&[u8]], to: &mut [u8]) {
    let mut state = Chosen::blake2b(length, key);
    parts.iter().for_each(|part| Chosen::blake2b_update(&mut state, part));
    Chosen::blake2b_finish(state, to);
}

impl Default for Blake2b {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(
            sha256(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            Blake2b::hash(&[b"a", b"bc"]).to_string(),
            "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
        );
    }
}
