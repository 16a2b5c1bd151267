//! Everything cryptographic, and the only place that knows the libraries that do it: libsodium, or with
//! `default-features = false` Rust alone, for browsers and wherever there is no C compiler. Both give the same bytes and the same
//! verdicts. (Two pieces are in `pet_mask`, which has the code for vector registers: SHA-512 of several messages side by side,
//! and the key stream of masks.)
//!
//! Identities sign with Ed25519, messages and mask seeds travel in X25519 sealed boxes, hashes are
//! SHA-256 and BLAKE2b (PET specification, section 2). Nothing here draws randomness: what must be
//! unpredictable is derived from a [`RootSeed`] that the caller supplies, so that equal seeds give
//! equal bytes.
//!
//! ```
//! use pet_core::crypto::{EncryptKeyPair, Seed, SigningKeyPair};
//!
//! let participant = SigningKeyPair::from_seed(&Seed::new([1; 32]));
//! let signature = participant.sign(b"hello");
//! assert!(participant.public().verify(&signature, b"hello"));
//!
//! let coordinator = EncryptKeyPair::from_seed(&Seed::new([2; 32]));
//! let ephemeral = EncryptKeyPair::from_seed(&Seed::new([3; 32]));
//! let sealed = coordinator.public().seal(b"secret", &ephemeral)?;
//! assert_eq!(coordinator.open(&sealed)?, b"secret");
//! # Ok::<(), pet_core::crypto::CryptoError>(())
//! ```

#[cfg(feature = "backends")]
#[doc(hidden)]
pub mod backend;
#[cfg(not(feature = "backends"))]
mod backend;
mod bytes;
mod derive;
mod eligibility;
mod encrypt;
mod hash;
mod seal;
mod sign;
mod snapshot;
mod steps;
mod verify;
mod wipe;

pub use derive::{Purpose, RootSeed};
pub use eligibility::{is_eligible, Task, TaskSignatures};
pub(crate) use encrypt::{shared_secret, OwnBox, OWN_BOX_PIECE};
pub use encrypt::{EncryptKeyPair, PublicEncryptKey, SecretEncryptKey, SEAL_OVERHEAD};
pub use hash::{sha256, Blake2b, Digest};
pub use seal::{MasterKey, SealingKey, Stretching};
pub use sign::{PublicSigningKey, SecretSigningKey, Signature, SigningKeyPair};
pub use snapshot::SnapshotKey;
pub use verify::{verify_all, Signed};

pub(crate) use bytes::{common_bytes, public_bytes, secret_bytes};
pub(crate) use steps::{SealInSteps, SignInSteps};
pub(crate) use wipe::wiping_stack;

use thiserror::Error;

/// What can go wrong in a cryptographic operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// Bytes of the wrong length were given for a key, seed or signature.
    #[error(
        "expected {expected} bytes, got {actual}: pass the raw bytes of the key, seed or signature"
    )]
    Length {
        /// How many bytes the type has.
        expected: usize,
        /// How many were given.
        actual: usize,
    },
    /// A public key is a point of low order: nothing encrypted to it would be secret.
    #[error("the public key is a point of low order: it belongs to nobody and must not be used")]
    WeakPublicKey,
    /// A sealed box does not open: it is damaged, or was sealed for another key.
    #[error("the sealed box does not open: it is damaged or was sealed for another key")]
    DoesNotOpen,
    /// A secret cannot be stretched to a key.
    #[error(
        "the key cannot be made of its secret: there is not enough memory for it, or what is stored about \
         it is damaged"
    )]
    Stretching,
}

secret_bytes! {
    /// 32 secret bytes that a key pair is derived from.
    Seed, 32
}

public_bytes! {
    /// The public random seed of a round. Task signatures are made over it.
    RoundSeed, 32
}
