//! What everything else here is made of, from either of two sources that give the same bytes:
//!
//! | | feature | takes | is for |
//! |---|---|---|---|
//! | `Libsodium` | `libsodium` (by default) | a C compiler | servers: its stream cipher has vector instructions |
//! | `Pure` | none | nothing but Rust | browsers, and wherever there is no C compiler |
//!
//! With the feature it is libsodium, also where some other crate asks for pet-core without it: who has what
//! gives the same bytes and the same verdicts, as tests of both against each other show (`tests.rs` beside this, and
//! the fuzz target `backends`).
//!
//! Three things are not here, since one library has them for both: SHA-2 (`sha2`, which is faster), checking signatures
//! ([`verify`](super::verify)), and comparing secrets (`subtle`).

#[cfg(feature = "libsodium")]
mod libsodium;
#[cfg(any(not(feature = "libsodium"), feature = "backends", test))]
mod pure;
#[cfg(all(test, feature = "libsodium"))]
mod tests;

#[cfg(feature = "libsodium")]
pub use libsodium::Libsodium;
#[cfg(any(not(feature = "libsodium"), feature = "backends", test))]
pub use pure::Pure;

/// The one in use.
#[cfg(feature = "libsodium")]
pub(super) type Chosen = Libsodium;
/// The one in use.
#[cfg(not(feature = "libsodium"))]
pub(super) type Chosen = Pure;

/// How many bytes a key or a seed has, of whatever kind but for [`SIGNING`].
pub const KEY: usize = 32;
/// How many bytes a secret signing key has: the seed and the public key.
pub const SIGNING: usize = 64;
/// How many bytes a nonce has.
pub const NONCE: usize = 24;
/// How many bytes an authenticator has.
pub const TAG: usize = 16;

/// How long a digest of BLAKE2b is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// As long as a nonce.
    Nonce = NONCE as isize,
    /// As long as a key.
    Digest = KEY as isize,
}

/// The primitives. None draws randomness, and none panics, whatever bytes it is given.
///
/// Secrets are read where they lie and written to where they shall lie; what is left of them on the stack is for the
/// caller to wipe.
pub trait Backend {
    /// Derives an Ed25519 pair from a seed; the result is its public half (`crypto_sign_seed_keypair`).
    fn signing_pair(seed: &[u8; KEY], secret: &mut [u8; SIGNING]) -> [u8; KEY];

    /// Signs with Ed25519 (`crypto_sign_detached`).
    fn sign(secret: &[u8; SIGNING], message: &[u8]) -> [u8; 64];

    /// Derives an X25519 pair from a seed; the result is its public half (`crypto_box_seed_keypair`).
    fn box_pair(seed: &[u8; KEY], secret: &mut [u8; KEY]) -> [u8; KEY];

    /// The public half of an X25519 pair (`crypto_scalarmult_base`).
    fn box_public(secret: &[u8; KEY]) -> [u8; KEY];

    /// The key that two pairs have in common (`crypto_box_beforenm`: X25519 and HSalsa20). False if the public key is a
    /// point of low order: then `key` means nothing.
    #[must_use]
    fn box_key(public: &[u8; KEY], secret: &[u8; KEY], key: &mut [u8; KEY]) -> bool;

    /// Encrypts with XSalsa20 and authenticates with Poly1305 (`crypto_secretbox_detached`).
    fn secretbox_seal(content: &mut [u8], nonce: &[u8; NONCE], key: &[u8; KEY]) -> [u8; TAG];

    /// Opens that where it lies. If it does not open, it is left as it was.
    #[must_use]
    fn secretbox_open(
        content: &mut [u8],
        tag: &[u8; TAG],
        nonce: &[u8; NONCE],
        key: &[u8; KEY],
    ) -> bool;

    /// Encrypts or decrypts with XSalsa20's key stream, from a block of 64 bytes on (`crypto_stream_xsalsa20_xor_ic`).
    fn xsalsa20(buffer: &mut [u8], nonce: &[u8; NONCE], block: u64, key: &[u8; KEY]);

    /// Encrypts with XChaCha20 and authenticates with Poly1305, the place as well
    /// (`crypto_aead_xchacha20poly1305_ietf_encrypt_detached`).
    fn aead_seal(
        content: &mut [u8],
        place: &[u8],
        nonce: &[u8; NONCE],
        key: &[u8; KEY],
    ) -> [u8; TAG];

    /// Opens that where it lies. If it does not open, the content means nothing.
    #[must_use]
    fn aead_open(
        content: &mut [u8],
        tag: &[u8; TAG],
        place: &[u8],
        nonce: &[u8; NONCE],
        key: &[u8; KEY],
    ) -> bool;

    /// BLAKE2b that has taken in some bytes.
    type Blake2b;

    /// BLAKE2b of nothing yet, keyed or not (`crypto_generichash`).
    fn blake2b(length: Length, key: Option<&[u8; KEY]>) -> Self::Blake2b;

    /// Hashes some more.
    fn blake2b_update(state: &mut Self::Blake2b, data: &[u8]);

    /// The digest. `to` has its length.
    fn blake2b_finish(state: Self::Blake2b, to: &mut [u8]);

    /// Stretches a secret to a key with Argon2id in one lane (`crypto_pwhash`). False if there are fewer passes than one
    /// or fewer bytes of memory than 8192, or they are not to be had.
    #[must_use]
    fn argon2id(
        secret: &[u8],
        salt: &[u8; 16],
        passes: u32,
        memory: usize,
        key: &mut [u8; KEY],
    ) -> bool;
}
