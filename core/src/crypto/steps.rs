//! Signing and sealing long messages in steps: byte for byte what libsodium gives at once.
//!
//! An Ed25519 signature takes two passes of SHA-512 over the message, a sealed box one of XSalsa20 and Poly1305.
//! The backend has the cipher in pieces, SHA-512 is sha2's, which is faster than libsodium's; what is computed once in
//! between is curve25519-dalek's.

use curve25519_dalek::scalar::clamp_integer;
use curve25519_dalek::{EdwardsPoint, Scalar};
use poly1305::universal_hash::{KeyInit, UniversalHash};
use poly1305::Poly1305;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use super::backend::{Backend, Chosen, KEY, NONCE, SIGNING};
use super::encrypt::{nonce, shared_key};
use super::{
    CryptoError, EncryptKeyPair, PublicEncryptKey, Seed, Signature, SigningKeyPair, SEAL_OVERHEAD,
};

/// A block of the key stream.
const BLOCK: usize = 64;

/// Hashing in pieces. What it has taken in is wiped.
struct Hash(Box<Sha512>);

impl Hash {
    fn new() -> Self {
        Self(Box::new(Sha512::new()))
    }

    /// The hash of what was taken in; afterwards nothing is.
    fn take(&mut self) -> Zeroizing<[u8; 64]> {
        let mut hash = Zeroizing::new([0; 64]);
        hash.copy_from_slice(&self.0.finalize_reset());
        self.wipe();
        hash
    }

    /// Resetting leaves what was in its buffer.
    fn wipe(&mut self) {
        *self.0 = Sha512::new();
        std::hint::black_box(&*self.0);
    }
}

impl Drop for Hash {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// The secret number of a signing key, and what its signatures' nonces begin with.
pub(super) fn expand(seed: &[u8; KEY]) -> (Box<Zeroizing<Scalar>>, Zeroizing<[u8; 32]>) {
    let mut hash = Hash::new();
    hash.0.update(seed);
    let expanded = hash.take();
    let (mut number, mut prefix) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    number.copy_from_slice(&expanded[..32]);
    prefix.copy_from_slice(&expanded[32..]);
    let clamped = Zeroizing::new(clamp_integer(*number));
    (Box::new(Zeroizing::new(Scalar::from_bytes_mod_order(*clamped))), prefix)
}

/// Signs a message in steps.
pub(crate) struct SignInSteps {
    public: [u8; 32],
    secret: Box<Zeroizing<Scalar>>,
    hash: Hash,
    /// The nonce, and its point, once the first pass is done.
    nonce: Option<(Box<Zeroizing<Scalar>>, [u8; 32])>,
    /// How much of the message this pass has taken in.
    done: usize,
}

impl SignInSteps {
    pub(crate) fn new(keys: &SigningKeyPair) -> Self {
        Self::with(keys.secret().as_bytes())
    }

    /// With a seed and the public key that belongs to it.
    pub(super) fn with(secret: &[u8; SIGNING]) -> Self {
        let (mut seed, mut public) = (Zeroizing::new([0; KEY]), [0; KEY]);
        seed.copy_from_slice(&secret[..KEY]);
        public.copy_from_slice(&secret[KEY..]);
        let (secret, prefix) = expand(&seed);
        let mut hash = Hash::new();
        hash.0.update(prefix.as_slice());
        Self { public, secret, hash, nonce: None, done: 0 }
    }

    /// Takes in at most so many bytes more of the message, which is the same each time; the signature once that was
    /// all, twice.
    pub(crate) fn step(&mut self, message: &[u8], most: usize) -> Option<Signature> {
        let end = message.len().min(self.done.saturating_add(most));
        self.hash.0.update(&message[self.done..end]);
        self.done = end;
        if self.done < message.len() {
            return None;
        }
        let digest = Scalar::from_bytes_mod_order_wide(&self.hash.take());
        match &self.nonce {
            None => {
                let point = EdwardsPoint::mul_base(&digest).compress().to_bytes();
                self.hash.0.update(point);
                self.hash.0.update(self.public);
                self.nonce = Some((Box::new(Zeroizing::new(digest)), point));
                self.done = 0;
                None
            }
            Some((nonce, point)) => {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(point);
                signature[32..].copy_from_slice((digest * **self.secret + ***nonce).as_bytes());
                Some(Signature::new(signature))
            }
        }
    }

    /// Bytes taken in, of both passes, and in all.
    #[cfg(test)]
    pub(crate) fn progress(&self, message: usize) -> (usize, usize) {
        let passes = if self.nonce.is_some() { message } else { 0 };
        (passes + self.done, 2 * message)
    }
}

/// Seals a message where it lies, in steps.
pub(crate) struct SealInSteps {
    key: Seed,
    nonce: [u8; NONCE],
    authenticator: Box<Poly1305>,
    /// What of the first block is left for the message.
    first: Zeroizing<Vec<u8>>,
    /// The ephemeral public key.
    public: [u8; 32],
    /// How much of the message is sealed.
    done: usize,
}

impl SealInSteps {
    /// The ephemeral pair must be used once only.
    pub(crate) fn new(
        recipient: &PublicEncryptKey,
        ephemeral: &EncryptKeyPair,
    ) -> Result<Self, CryptoError> {
        let key = shared_key(recipient, ephemeral.secret())?;
        let nonce = nonce(&ephemeral.public(), recipient);
        let mut first = Zeroizing::new(vec![0; BLOCK]);
        Chosen::xsalsa20(&mut first, &nonce, 0, key.as_bytes());
        let authenticator = Box::new(Poly1305::new_from_slice(&first[..32]).map_err(|_| {
            // The key has the length that it must have.
            CryptoError::DoesNotOpen
        })?);
        let public = *ephemeral.public().as_bytes();
        Ok(Self { key, nonce, authenticator, first, public, done: 0 })
    }

    /// Seals at most so many bytes more of what lies behind the first [`SEAL_OVERHEAD`] bytes of the buffer, the same
    /// buffer each time; whether that was all. `most` is at least a block.
    pub(crate) fn step(&mut self, buffer: &mut [u8], most: usize) -> bool {
        let (overhead, content) = buffer.split_at_mut(SEAL_OVERHEAD);
        // Pieces end where blocks of the key stream do, whose first half block is the authenticator's key.
        let most = most.max(BLOCK) / BLOCK * BLOCK;
        let until = self.done + most - if self.done == 0 { BLOCK / 2 } else { 0 };
        let end = content.len().min(until);
        let piece = &mut content[self.done..end];
        if self.done == 0 {
            let (half, rest) = piece.split_at_mut(piece.len().min(BLOCK / 2));
            half.iter_mut().zip(&self.first[32..]).for_each(|(byte, key)| *byte ^= key);
            Chosen::xsalsa20(rest, &self.nonce, 1, self.key.as_bytes());
        } else {
            let block = ((self.done + BLOCK / 2) / BLOCK) as u64;
            Chosen::xsalsa20(piece, &self.nonce, block, self.key.as_bytes());
        }
        // The authenticator takes 16 bytes at a time; all pieces but the last are whole ones of them.
        let whole = end / 16 * 16;
        self.authenticator.update_padded(&content[self.done..whole.max(self.done)]);
        self.done = end;
        if end < content.len() {
            return false;
        }
        let tag = self.authenticator.clone().compute_unpadded(&content[whole..]);
        overhead[..32].copy_from_slice(&self.public);
        overhead[32..].copy_from_slice(&tag);
        true
    }

    /// Bytes done.
    #[cfg(test)]
    pub(crate) fn progress(&self) -> usize {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(byte: u8) -> SigningKeyPair {
        SigningKeyPair::from_seed(&Seed::new([byte; 32]))
    }

    fn pair(byte: u8) -> EncryptKeyPair {
        EncryptKeyPair::from_seed(&Seed::new([byte; 32]))
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * i + i / 251) as u8).collect()
    }

    fn sign(keys: &SigningKeyPair, message: &[u8], most: usize) -> Signature {
        let mut signing = SignInSteps::new(keys);
        let mut before = 0;
        loop {
            let signature = signing.step(message, most);
            if let Some(signature) = signature {
                return signature;
            }
            let (done, all) = signing.progress(message.len());
            assert!(done - before <= most && all == 2 * message.len());
            before = done;
        }
    }

    fn seal(message: &[u8], most: usize) -> Vec<u8> {
        let mut sealing = SealInSteps::new(&pair(1).public(), &pair(2)).unwrap();
        let mut buffer = vec![0; SEAL_OVERHEAD];
        buffer.extend_from_slice(message);
        let mut before = 0;
        while !sealing.step(&mut buffer, most) {
            assert!(sealing.progress() - before <= most.max(BLOCK));
            before = sealing.progress();
        }
        buffer
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_one_step(message: Vec<u8>, most in 1usize..200, key: u8) {
            let keys = keys(key);
            prop_assert_eq!(sign(&keys, &message, most), keys.sign(&message));
            let expected = pair(1).public().seal(&message, &pair(2)).unwrap();
            prop_assert_eq!(seal(&message, most), expected);
        }
    }

    /// Every length around the blocks of hash, cipher and authenticator, and steps of all kinds.
    #[test]
    fn every_length_and_step() {
        let keys = keys(7);
        for length in (0..300).chain([1000, 4095, 4096, 4097, 70_001]) {
            let message = text(length);
            let signature = keys.sign(&message);
            let sealed = pair(1).public().seal(&message, &pair(2)).unwrap();
            for most in [1, 63, 64, 65, 128, 1000, 1 << 17] {
                if length / most > 5000 {
                    continue;
                }
                assert_eq!(sign(&keys, &message, most), signature, "{length} by {most}");
                assert!(seal(&message, most) == sealed, "{length} by {most}");
            }
        }
    }

    #[test]
    fn nothing_is_sealed_for_a_weak_key() {
        let weak = PublicEncryptKey::new([0; 32]);
        assert_eq!(SealInSteps::new(&weak, &pair(2)).err(), Some(CryptoError::WeakPublicKey));
    }
}
