//! The same in Rust alone: curve25519-dalek, and RustCrypto's ciphers and hashes.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use blake2::digest::consts::{U24, U32};
use blake2::digest::{FixedOutput, Update};
use blake2::Blake2bMac;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::XChaCha20Poly1305;
use curve25519_dalek::{EdwardsPoint, MontgomeryPoint};
use poly1305::universal_hash::KeyInit;
use poly1305::Poly1305;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use salsa20::XSalsa20;
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{Backend, Length, KEY, NONCE, SIGNING, TAG};
use crate::crypto::steps::{expand, SignInSteps};

/// The primitives in Rust.
#[derive(Debug)]
pub enum Pure {}

impl Backend for Pure {
    fn signing_pair(seed: &[u8; KEY], secret: &mut [u8; SIGNING]) -> [u8; KEY] {
        let (scalar, _) = expand(seed);
        let public = EdwardsPoint::mul_base(&scalar).compress().to_bytes();
        secret[..KEY].copy_from_slice(seed);
        secret[KEY..].copy_from_slice(&public);
        public
    }

    fn sign(secret: &[u8; SIGNING], message: &[u8]) -> [u8; 64] {
        let mut signing = SignInSteps::with(secret);
        loop {
            if let Some(signature) = signing.step(message, usize::MAX) {
                return *signature.as_bytes();
            }
        }
    }

    fn box_pair(seed: &[u8; KEY], secret: &mut [u8; KEY]) -> [u8; KEY] {
        let mut hash = Sha512::digest(seed);
        secret.copy_from_slice(&hash[..KEY]);
        hash.as_mut_slice().zeroize();
        Self::box_public(secret)
    }

    fn box_public(secret: &[u8; KEY]) -> [u8; KEY] {
        MontgomeryPoint::mul_base_clamped(*secret).to_bytes()
    }

    fn box_key(public: &[u8; KEY], secret: &[u8; KEY], key: &mut [u8; KEY]) -> bool {
        let common = Zeroizing::new(MontgomeryPoint(*public).mul_clamped(*secret));
        key.copy_from_slice(&salsa20::hsalsa::<U10>(common.as_bytes().into(), &[0; 16].into()));
        !bool::from(common.as_bytes().ct_eq(&[0; KEY]))
    }

    fn secretbox_seal(content: &mut [u8], nonce: &[u8; NONCE], key: &[u8; KEY]) -> [u8; TAG] {
        let (mut cipher, authenticator) = secretbox(nonce, key);
        cipher.apply_keystream(content);
        authenticator.compute_unpadded(content).into()
    }

    fn secretbox_open(
        content: &mut [u8],
        tag: &[u8; TAG],
        nonce: &[u8; NONCE],
        key: &[u8; KEY],
    ) -> bool {
        let (mut cipher, authenticator) = secretbox(nonce, key);
        let right = authenticator.compute_unpadded(content).ct_eq(tag);
        if right.into() {
            cipher.apply_keystream(content);
        }
        right.into()
    }

    fn xsalsa20(buffer: &mut [u8], nonce: &[u8; NONCE], block: u64, key: &[u8; KEY]) {
        let mut cipher = XSalsa20::new(key.into(), nonce.into());
        cipher.seek(u128::from(block) * 64);
        cipher.apply_keystream(buffer);
    }

    fn aead_seal(
        content: &mut [u8],
        place: &[u8],
        nonce: &[u8; NONCE],
        key: &[u8; KEY],
    ) -> [u8; TAG] {
        XChaCha20Poly1305::new(key.into())
            .encrypt_inout_detached(nonce.into(), place, content.into())
            .expect("no content is too long for memory, but for the cipher")
            .into()
    }

    fn aead_open(
        content: &mut [u8],
        tag: &[u8; TAG],
        place: &[u8],
        nonce: &[u8; NONCE],
        key: &[u8; KEY],
    ) -> bool {
        XChaCha20Poly1305::new(key.into())
            .decrypt_inout_detached(nonce.into(), place, content.into(), tag.into())
            .is_ok()
    }

    type Blake2b = Blake2b;

    fn blake2b(length: Length, key: Option<&[u8; KEY]>) -> Blake2b {
        let key = key.map(|key| &key[..]);
        let legal = "a legal length of the key";
        match length {
            Length::Nonce => {
                Blake2b::Nonce(Blake2bMac::new_with_salt_and_personal(key, &[], &[]).expect(legal))
            }
            Length::Digest => {
                Blake2b::Digest(Blake2bMac::new_with_salt_and_personal(key, &[], &[]).expect(legal))
            }
        }
    }

    fn blake2b_update(state: &mut Blake2b, data: &[u8]) {
        match state {
            Blake2b::Nonce(state) => state.update(data),
            Blake2b::Digest(state) => state.update(data),
        }
    }

    fn blake2b_finish(state: Blake2b, to: &mut [u8]) {
        match state {
            Blake2b::Nonce(state) => to.copy_from_slice(&state.finalize_fixed()),
            Blake2b::Digest(state) => to.copy_from_slice(&state.finalize_fixed()),
        }
    }

    fn argon2id(
        secret: &[u8],
        salt: &[u8; 16],
        passes: u32,
        memory: usize,
        key: &mut [u8; KEY],
    ) -> bool {
        let Ok(kibibytes) = u32::try_from(memory >> 10) else { return false };
        let Ok(parameters) = Params::new(kibibytes, passes, 1, Some(KEY)) else { return false };
        let mut blocks = Vec::new();
        let count = parameters.block_count();
        if blocks.try_reserve_exact(count).is_err() {
            return false;
        }
        blocks.resize_with(count, Block::default);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
        let stretched = argon2.hash_password_into_with_memory(secret, salt, key, &mut blocks);
        blocks.zeroize();
        stretched.is_ok()
    }
}

/// BLAKE2b with a digest of either length, keyed or not.
pub enum Blake2b {
    /// 24 bytes.
    Nonce(Blake2bMac<U24>),
    /// 32 bytes.
    Digest(Blake2bMac<U32>),
}

/// The key stream behind what the authenticator's key takes of it, and the authenticator.
fn secretbox(nonce: &[u8; NONCE], key: &[u8; KEY]) -> (XSalsa20, Poly1305) {
    let mut cipher = XSalsa20::new(key.into(), nonce.into());
    let mut first = Zeroizing::new([0; 32]);
    cipher.apply_keystream(&mut *first);
    let authenticator = Poly1305::new((&*first).into());
    (cipher, authenticator)
}
