//! libsodium, by way of sodiumoxide.

use sodiumoxide::crypto::aead::xchacha20poly1305_ietf as aead;
use sodiumoxide::crypto::pwhash::argon2id13 as argon2;
use sodiumoxide::crypto::sign::ed25519 as ed;
use sodiumoxide::crypto::{box_, generichash, secretbox, stream::xsalsa20};

use super::{Backend, Length, KEY, NONCE, SIGNING, TAG};

/// libsodium's primitives.
#[derive(Debug)]
pub enum Libsodium {}

/// Lets libsodium pick its fastest code for this CPU. Every function works without it as well, only
/// slower; no result depends on it.
fn init() {
    static INIT: std::sync::Once = std::sync::Once::new();
    INIT.call_once(|| {
        // The one error it can report is that no OS randomness is to be had, which is never used.
        let _ = sodiumoxide::init();
    });
}

impl Backend for Libsodium {
    fn signing_pair(seed: &[u8; KEY], secret: &mut [u8; SIGNING]) -> [u8; KEY] {
        init();
        let (public, pair) = ed::keypair_from_seed(&ed::Seed(*seed));
        secret.copy_from_slice(&pair.0);
        public.0
    }

    fn sign(secret: &[u8; SIGNING], message: &[u8]) -> [u8; 64] {
        init();
        let signature = ed::sign_detached(message, &ed::SecretKey(*secret));
        let mut bytes = [0; 64];
        bytes.copy_from_slice(signature.as_ref());
        bytes
    }

    fn box_pair(seed: &[u8; KEY], secret: &mut [u8; KEY]) -> [u8; KEY] {
        init();
        let (public, pair) = box_::keypair_from_seed(&box_::Seed(*seed));
        secret.copy_from_slice(&pair.0);
        public.0
    }

    fn box_public(secret: &[u8; KEY]) -> [u8; KEY] {
        init();
        box_::SecretKey(*secret).public_key().0
    }

    fn box_key(public: &[u8; KEY], secret: &[u8; KEY], key: &mut [u8; KEY]) -> bool {
        init();
        let common = box_::precompute(&box_::PublicKey(*public), &box_::SecretKey(*secret));
        key.copy_from_slice(&common.0);
        // sodiumoxide drops libsodium's error for a point of low order and leaves its zeroed buffer.
        !sodiumoxide::utils::memcmp(key, &[0; KEY])
    }

    fn secretbox_seal(content: &mut [u8], nonce: &[u8; NONCE], key: &[u8; KEY]) -> [u8; TAG] {
        init();
        secretbox::seal_detached(content, &secretbox::Nonce(*nonce), &secretbox::Key(*key)).0
    }

    fn secretbox_open(
        content: &mut [u8],
        tag: &[u8; TAG],
        nonce: &[u8; NONCE],
        key: &[u8; KEY],
    ) -> bool {
        init();
        let (nonce, key) = (secretbox::Nonce(*nonce), secretbox::Key(*key));
        secretbox::open_detached(content, &secretbox::Tag(*tag), &nonce, &key).is_ok()
    }

    fn xsalsa20(buffer: &mut [u8], nonce: &[u8; NONCE], block: u64, key: &[u8; KEY]) {
        init();
        let (nonce, key) = (xsalsa20::Nonce(*nonce), xsalsa20::Key(*key));
        xsalsa20::stream_xor_ic_inplace(buffer, &nonce, block, &key);
    }

    fn aead_seal(
        content: &mut [u8],
        place: &[u8],
        nonce: &[u8; NONCE],
        key: &[u8; KEY],
    ) -> [u8; TAG] {
        init();
        aead::seal_detached(content, Some(place), &aead::Nonce(*nonce), &aead::Key(*key)).0
    }

    fn aead_open(
        content: &mut [u8],
        tag: &[u8; TAG],
        place: &[u8],
        nonce: &[u8; NONCE],
        key: &[u8; KEY],
    ) -> bool {
        init();
        let (nonce, key) = (aead::Nonce(*nonce), aead::Key(*key));
        aead::open_detached(content, Some(place), &aead::Tag(*tag), &nonce, &key).is_ok()
    }

    type Blake2b = generichash::State;

    // sodiumoxide 0.2.6 takes the length itself, 0.2.7 an option of it: `into` makes either.
    fn blake2b(length: Length, key: Option<&[u8; KEY]>) -> generichash::State {
        init();
        let key = key.map(|key| &key[..]);
        generichash::State::new((length as usize).into(), key)
            .expect("legal lengths of digest and key")
    }

    fn blake2b_update(state: &mut generichash::State, data: &[u8]) {
        state.update(data).expect("hashing has no failing inputs");
    }

    fn blake2b_finish(state: generichash::State, to: &mut [u8]) {
        let digest = state.finalize().expect("hashing has no failing inputs");
        to.copy_from_slice(digest.as_ref());
    }

    fn argon2id(
        secret: &[u8],
        salt: &[u8; 16],
        passes: u32,
        memory: usize,
        key: &mut [u8; KEY],
    ) -> bool {
        init();
        let (salt, passes) = (argon2::Salt(*salt), argon2::OpsLimit(passes as usize));
        argon2::derive_key(key, secret, &salt, passes, argon2::MemLimit(memory)).is_ok()
    }
}

/// What the other backend is held against, and is not made of the primitives above.
#[cfg(any(feature = "backends", test))]
impl Libsodium {
    /// Whether libsodium takes a signature (`crypto_sign_verify_detached`).
    pub fn verify(public: &[u8; KEY], signature: &[u8; 64], message: &[u8]) -> bool {
        init();
        // 0.2.7's signature refuses itself what has the highest bits, as libsodium does.
        let signature = ed::Signature::from_slice(signature);
        signature.is_some_and(|this| ed::verify_detached(&this, message, &ed::PublicKey(*public)))
    }

    /// Opens a sealed box (`crypto_box_seal_open`).
    pub fn open(sealed: &[u8], public: &[u8; KEY], secret: &[u8; KEY]) -> Option<Vec<u8>> {
        init();
        let (public, secret) = (box_::PublicKey(*public), box_::SecretKey(*secret));
        sodiumoxide::crypto::sealedbox::open(sealed, &public, &secret).ok()
    }

    /// Makes a sealed box with an ephemeral pair of libsodium's own (`crypto_box_seal`).
    #[expect(clippy::disallowed_methods, reason = "for tests alone")]
    pub fn seal(content: &[u8], public: &[u8; KEY]) -> Vec<u8> {
        init();
        sodiumoxide::crypto::sealedbox::seal(content, &box_::PublicKey(*public))
    }
}

/// Gives the signature type of sodiumoxide 0.2.7 the constructor that 0.2.6 has, so that either works.
#[cfg(any(feature = "backends", test))]
#[allow(dead_code, reason = "with 0.2.6 nothing needs it")]
trait FromSlice: Sized {
    fn from_slice(bytes: &[u8]) -> Option<Self>;
}

#[cfg(any(feature = "backends", test))]
impl<T: for<'a> TryFrom<&'a [u8]>> FromSlice for T {
    fn from_slice(bytes: &[u8]) -> Option<Self> {
        T::try_from(bytes).ok()
    }
}
