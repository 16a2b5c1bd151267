//! The outer form of saved state machines: what they are, their version, and the seal if there is
//! one.

use serde::de::DeserializeOwned;
use serde::Serialize;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::SnapshotKey;

/// How one kind of snapshot begins.
pub(crate) struct Envelope {
    pub(crate) magic: [u8; 4],
    pub(crate) sealed_magic: [u8; 4],
    pub(crate) version: u16,
}

/// Why bytes cannot be read as a saved state machine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes are something else.
    #[error("these bytes are not the saved state that was expected")]
    NotASnapshot,
    /// The bytes are sealed.
    #[error("this saved state is sealed: restore it with its key")]
    Sealed,
    /// The bytes are not sealed.
    #[error("this saved state is not sealed: restore it without a key")]
    NotSealed,
    /// The key is another one, or the bytes are damaged.
    #[error("the saved state does not open with this key, or is damaged")]
    DoesNotOpen,
    /// Another version of this program wrote it.
    #[error("the saved state has version {found}, this program reads version {known}: use the program that saved it")]
    Version {
        /// The state's version.
        found: u16,
        /// The version that is known.
        known: u16,
    },
    /// It is damaged.
    #[error("the saved state is damaged: {0}")]
    Damaged(String),
}

impl Envelope {
    /// As [`Envelope::write`], of what holds no secret.
    pub(crate) fn plain(&self, state: &impl Serialize) -> Vec<u8> {
        std::mem::take(&mut self.write(state))
    }

    pub(crate) fn write(&self, state: &impl Serialize) -> Zeroizing<Vec<u8>> {
        let size = bincode::serialized_size(state).unwrap_or(0);
        // Reserved in one go: growing would leave copies of the secrets behind.
        let mut bytes = Vec::with_capacity(6 + usize::try_from(size).unwrap_or(0));
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bincode::serialize_into(&mut bytes, state).expect("plain fields serialize into memory");
        Zeroizing::new(bytes)
    }

    pub(crate) fn seal(&self, state: &impl Serialize, key: &SnapshotKey) -> Vec<u8> {
        let mut sealed = self.sealed_magic.to_vec();
        sealed.extend(key.seal_as(&self.sealed_magic, &self.write(state)));
        sealed
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, EnvelopeError> {
        use bincode::Options;
        if bytes.starts_with(&self.sealed_magic) {
            return Err(EnvelopeError::Sealed);
        }
        let rest = bytes.strip_prefix(&self.magic).ok_or(EnvelopeError::NotASnapshot)?;
        let (version, body) = rest.split_first_chunk::<2>().ok_or(EnvelopeError::NotASnapshot)?;
        let found = u16::from_le_bytes(*version);
        if found != self.version {
            return Err(EnvelopeError::Version { found, known: self.version });
        }
        // The limit keeps lying lengths from allocating more than the input has.
        let options =
            bincode::DefaultOptions::new().with_fixint_encoding().with_limit(body.len() as u64);
        options.deserialize(body).map_err(|error| EnvelopeError::Damaged(error.to_string()))
    }

    pub(crate) fn unseal<T: DeserializeOwned>(
        &self,
        bytes: &[u8],
        key: &SnapshotKey,
    ) -> Result<T, EnvelopeError> {
        if bytes.starts_with(&self.magic) {
            return Err(EnvelopeError::NotSealed);
        }
        let sealed = bytes.strip_prefix(&self.sealed_magic).ok_or(EnvelopeError::NotASnapshot)?;
        let bytes = key
            .open_as(&self.sealed_magic, sealed)
            .map(Zeroizing::new)
            .map_err(|_| EnvelopeError::DoesNotOpen)?;
        self.read(&bytes)
    }
}
