//! X25519 sealed boxes, byte for byte libsodium's `crypto_box_seal`, but with the ephemeral key pair
//! given by the caller, so that no hidden randomness is drawn (specification, section 2).
//!
//! A sealed box is `ephemeral public key (32) || tag (16) || ciphertext`, with the nonce
//! `BLAKE2b-192(ephemeral public key || recipient's public key)`.

use super::backend::{Backend, Chosen, Length, NONCE, TAG};
use super::{hash, public_bytes, secret_bytes, wiping_stack, CryptoError, Seed};

/// How many bytes longer a sealed box is than its content.
pub const SEAL_OVERHEAD: usize = 48;

const KEY_LENGTH: usize = 32;

public_bytes! {
    /// A public key that messages are sealed for.
    PublicEncryptKey, 32
}

secret_bytes! {
    /// A secret key that opens sealed boxes.
    SecretEncryptKey, 32
}

/// A key pair that opens what was sealed for its public half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptKeyPair {
    public: PublicEncryptKey,
    secret: SecretEncryptKey,
}

impl EncryptKeyPair {
    /// Derives the pair from a seed (`crypto_box_seed_keypair`).
    pub fn from_seed(seed: &Seed) -> Self {
        let mut public = [0; KEY_LENGTH];
        let secret = SecretEncryptKey::filled(|to| {
            public = wiping_stack(|| Chosen::box_pair(seed.as_bytes(), to));
        });
        Self { public: PublicEncryptKey::new(public), secret }
    }

    /// Rebuilds the pair from its secret half.
    pub fn from_secret(secret: SecretEncryptKey) -> Self {
        let public = wiping_stack(|| Chosen::box_public(secret.as_bytes()));
        Self { public: PublicEncryptKey::new(public), secret }
    }

    /// The public half.
    pub fn public(&self) -> PublicEncryptKey {
        self.public
    }

    /// The secret half.
    pub fn secret(&self) -> &SecretEncryptKey {
        &self.secret
    }

    /// Opens a sealed box into new memory.
    ///
    /// # Errors
    /// [`CryptoError::DoesNotOpen`] if it is damaged, too short, or was sealed for another key.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut buffer = sealed.to_vec();
        self.open_in_place(&mut buffer)?;
        buffer.drain(..SEAL_OVERHEAD);
        Ok(buffer)
    }

    /// Opens a sealed box where it lies; the content is what is returned, a part of the buffer.
    /// If it does not open, the buffer is left as it was.
    ///
    /// # Errors
    /// [`CryptoError::DoesNotOpen`] if it is damaged, too short, or was sealed for another key.
    pub fn open_in_place<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], CryptoError> {
        wiping_stack(|| self.open_box(sealed))
    }

    fn open_box<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], CryptoError> {
        let (ephemeral, rest) =
            sealed.split_first_chunk_mut::<KEY_LENGTH>().ok_or(CryptoError::DoesNotOpen)?;
        let (tag, content) = rest.split_first_chunk_mut::<TAG>().ok_or(CryptoError::DoesNotOpen)?;
        let ephemeral = PublicEncryptKey::new(*ephemeral);
        let nonce = nonce(&ephemeral, &self.public);
        let key = shared_key(&ephemeral, &self.secret).map_err(|_| CryptoError::DoesNotOpen)?;
        match Chosen::secretbox_open(content, tag, &nonce, key.as_bytes()) {
            true => Ok(content),
            false => Err(CryptoError::DoesNotOpen),
        }
    }
}

impl PublicEncryptKey {
    /// Seals a plaintext for the owner of this key. The ephemeral pair must be used once only.
    ///
    /// # Errors
    /// [`CryptoError::WeakPublicKey`] if this key is a point of low order.
    pub fn seal(
        &self,
        plaintext: &[u8],
        ephemeral: &EncryptKeyPair,
    ) -> Result<Vec<u8>, CryptoError> {
        let mut buffer = Vec::with_capacity(SEAL_OVERHEAD + plaintext.len());
        buffer.resize(SEAL_OVERHEAD, 0);
        buffer.extend_from_slice(plaintext);
        self.seal_in_place(&mut buffer, ephemeral)?;
        Ok(buffer)
    }

    /// Seals what follows the first [`SEAL_OVERHEAD`] bytes of the buffer, which are overwritten, so
    /// that the whole buffer becomes the sealed box. The ephemeral pair must be used once only.
    ///
    /// # Errors
    /// [`CryptoError::WeakPublicKey`] if this key is a point of low order;
    /// [`CryptoError::Length`] if the buffer has no room for the overhead.
    pub fn seal_in_place(
        &self,
        buffer: &mut [u8],
        ephemeral: &EncryptKeyPair,
    ) -> Result<(), CryptoError> {
        let actual = buffer.len();
        if actual < SEAL_OVERHEAD {
            return Err(CryptoError::Length { expected: SEAL_OVERHEAD, actual });
        }
        let (overhead, content) = buffer.split_at_mut(SEAL_OVERHEAD);
        let tag = wiping_stack(|| {
            let key = shared_key(self, &ephemeral.secret)?;
            let nonce = nonce(&ephemeral.public, self);
            Ok(Chosen::secretbox_seal(content, &nonce, key.as_bytes()))
        })?;
        overhead[..KEY_LENGTH].copy_from_slice(ephemeral.public.as_bytes());
        overhead[KEY_LENGTH..].copy_from_slice(&tag);
        Ok(())
    }

    /// Whether this key is a point of low order, for which nothing can be sealed: no honest party
    /// has such a key.
    pub fn is_weak(&self) -> bool {
        // Whether the shared secret vanishes does not depend on the secret key: clamping makes every
        // secret a multiple of the cofactor.
        shared_key(self, &SecretEncryptKey::new([1; 32])).is_err()
    }
}

/// How many bytes of the key stream are used up before the content: they make the tag's key.
const STREAM_OFFSET: usize = 32;

/// How many bytes [`OwnBox::read`] takes at a time.
pub(crate) const OWN_BOX_PIECE: usize = 1 << 16;

/// The content of a sealed box, read again by whoever has sealed it, piece by piece. The tag is not looked
/// at: nobody else has had the box in hand.
pub(crate) struct OwnBox {
    key: Seed,
    nonce: [u8; NONCE],
}

impl OwnBox {
    /// With the ephemeral pair that the box was sealed with, and whom it was sealed for.
    pub(crate) fn new(
        ephemeral: &EncryptKeyPair,
        recipient: &PublicEncryptKey,
    ) -> Result<Self, CryptoError> {
        let key = shared_key(recipient, &ephemeral.secret)?;
        let nonce = nonce(&ephemeral.public, recipient);
        Ok(Self { key, nonce })
    }

    /// Appends the next piece of the content of `sealed` to what was read before; tells whether that was all.
    pub(crate) fn read(&self, sealed: &[u8], content: &mut Vec<u8>) -> bool {
        const BLOCK: usize = 64;
        let rest = sealed.get(SEAL_OVERHEAD + content.len()..).unwrap_or_default();
        if content.is_empty() {
            // The first piece fills the block that the tag's key begins.
            let piece = &rest[..rest.len().min(BLOCK - STREAM_OFFSET)];
            let mut block = [0; BLOCK];
            block[STREAM_OFFSET..][..piece.len()].copy_from_slice(piece);
            Chosen::xsalsa20(&mut block, &self.nonce, 0, self.key.as_bytes());
            content.extend_from_slice(&block[STREAM_OFFSET..][..piece.len()]);
        } else {
            let from = content.len();
            content.extend_from_slice(&rest[..rest.len().min(OWN_BOX_PIECE)]);
            let block = ((STREAM_OFFSET + from) / BLOCK) as u64;
            Chosen::xsalsa20(&mut content[from..], &self.nonce, block, self.key.as_bytes());
        }
        SEAL_OVERHEAD + content.len() >= sealed.len()
    }
}

/// The symmetric key of a box.
pub(super) fn shared_key(
    public: &PublicEncryptKey,
    secret: &SecretEncryptKey,
) -> Result<Seed, CryptoError> {
    Seed::try_fill(|to| match Chosen::box_key(public.as_bytes(), secret.as_bytes(), to) {
        true => Ok(()),
        false => Err(CryptoError::WeakPublicKey),
    })
}

/// The same, for what is derived from it.
pub(crate) fn shared_secret(
    public: &PublicEncryptKey,
    secret: &SecretEncryptKey,
) -> Result<Seed, CryptoError> {
    wiping_stack(|| shared_key(public, secret))
}

pub(super) fn nonce(ephemeral: &PublicEncryptKey, recipient: &PublicEncryptKey) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    hash::blake2b(Length::Nonce, None, &[ephemeral.as_bytes(), recipient.as_bytes()], &mut nonce);
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(byte: u8) -> EncryptKeyPair {
        EncryptKeyPair::from_seed(&Seed::new([byte; 32]))
    }

    #[test]
    fn whoever_has_sealed_a_box_can_read_it_again() {
        let (recipient, ephemeral) = (pair(1), pair(2));
        for length in [0, 1, 31, 32, 33, 95, 96, 97, OWN_BOX_PIECE + 32, 2 * OWN_BOX_PIECE + 77] {
            let plaintext: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let sealed = recipient.public().seal(&plaintext, &ephemeral).unwrap();
            let own = OwnBox::new(&ephemeral, &recipient.public()).unwrap();
            let mut read = Vec::new();
            while !own.read(&sealed, &mut read) {}
            assert!(read == plaintext, "{length}");
        }
    }

    #[test]
    fn a_damaged_box_is_left_as_it_was() {
        let (recipient, ephemeral) = (pair(1), pair(2));
        let mut sealed = recipient.public().seal(b"content", &ephemeral).unwrap();
        sealed[50] ^= 1;
        let before = sealed.clone();
        assert_eq!(recipient.open_in_place(&mut sealed), Err(CryptoError::DoesNotOpen));
        assert_eq!(sealed, before);
    }

    #[test]
    fn weak_keys_are_refused() {
        let mut low_order = [PublicEncryptKey::new([0; 32]), PublicEncryptKey::new([0; 32])];
        low_order[1].0[0] = 1;
        for key in low_order {
            assert!(key.is_weak());
            assert_eq!(key.seal(b"x", &pair(2)), Err(CryptoError::WeakPublicKey));
        }
        assert!(!pair(1).public().is_weak());
    }

    #[test]
    fn the_pair_follows_from_its_secret() {
        assert_eq!(EncryptKeyPair::from_secret(pair(1).secret().clone()), pair(1));
    }
}
