//! SHA-256 where the protocol prescribes it, BLAKE2b (faster) where the choice is ours.

use sodiumoxide::crypto::{generichash, hash::sha256 as sha};

use super::{init, public_bytes};

public_bytes! {
    /// A 32-byte hash.
    Digest, 32
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> Digest {
    init();
    Digest::new(sha::hash(data).0)
}

/// BLAKE2b with a 32-byte digest, fed piece by piece.
pub struct Blake2b(generichash::State);

impl Blake2b {
    /// A hash of nothing yet.
    pub fn new() -> Self {
        init();
        Self(state(32, None))
    }

    /// Hashes some more.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data).expect("hashing has no failing inputs");
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        let digest = self.0.finalize().expect("hashing has no failing inputs");
        Digest::from_slice(digest.as_ref()).expect("32 bytes were asked for")
    }

    /// The digest of all parts, one after another.
    pub fn hash(parts: &[&[u8]]) -> Digest {
        let mut hash = Self::new();
        parts.iter().for_each(|part| hash.update(part));
        hash.finish()
    }
}

/// The digest of `length` bytes, keyed or not, where the length is not the usual one.
///
/// # Panics
/// If the length is not within 16..=64, or the key not 16..=64 bytes long.
pub(super) fn blake2b(length: usize, key: Option<&[u8]>, data: &[u8]) -> generichash::Digest {
    let mut state = state(length, key);
    state.update(data).expect("hashing has no failing inputs");
    state.finalize().expect("hashing has no failing inputs")
}

/// sodiumoxide 0.2.6 takes the length itself, 0.2.7 an option of it: `into` makes either.
pub(super) fn state(length: usize, key: Option<&[u8]>) -> generichash::State {
    init();
    generichash::State::new(length.into(), key).expect("legal lengths of digest and key")
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
