//! The outer form of saved state machines: what they are, their version, and the seal if there is
//! one.

use serde::de::DeserializeOwned;
use serde::Serialize;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::SnapshotKey;

/// One kind of saved state: how it begins, and which versions of it there are.
///
/// A version is for ever: what was once written is read by all later programs. So that programs can be updated one
/// after the other, and back, a release reads a new version before a later one writes it.
pub(crate) struct Envelope<T: 'static> {
    pub(crate) magic: [u8; 4],
    pub(crate) sealed_magic: [u8; 4],
    /// How the versions 1, 2, ... are read.
    pub(crate) readers: &'static [Reader<T>],
    /// The version that is written: one of those that are read.
    pub(crate) writes: u16,
}

/// Reads what follows the version.
pub(crate) type Reader<T> = fn(&[u8]) -> Result<T, EnvelopeError>;

/// A [`Reader`] of what serde and bincode make of a type.
pub(crate) fn read_bincode<T: DeserializeOwned>(body: &[u8]) -> Result<T, EnvelopeError> {
    use bincode::Options;
    // The limit keeps lying lengths from allocating more than the input has.
    let options =
        bincode::DefaultOptions::new().with_fixint_encoding().with_limit(body.len() as u64);
    options.deserialize(body).map_err(|error| EnvelopeError::Damaged(error.to_string()))
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
    /// A newer version of this program wrote it.
    #[error(
        "the saved state has version {found}, and this program reads versions up to {known}: use the program that \
         saved it, or a newer one"
    )]
    Version {
        /// The state's version.
        found: u16,
        /// The newest version that is read.
        known: u16,
    },
    /// It is of a participant of the other version of the protocol.
    #[error(
        "the saved state is of a participant of version {found} of the protocol, and version {wanted} is asked for: \
         restore it {}", if *.found == 2 { "with the pin of its roster" } else { "without a pin (roster)" }
    )]
    OtherProtocol {
        /// The version of the protocol that it took part in.
        found: u8,
        /// The version that the settings ask for.
        wanted: u8,
    },
    /// It is damaged.
    #[error("the saved state is damaged: {0}")]
    Damaged(String),
}

impl<T: Serialize> Envelope<T> {
    /// As [`Envelope::write`], of what holds no secret.
    pub(crate) fn plain(&self, state: &T) -> Vec<u8> {
        std::mem::take(&mut self.write(state))
    }

    pub(crate) fn write(&self, state: &T) -> Zeroizing<Vec<u8>> {
        let size = bincode::serialized_size(state).unwrap_or(0);
        // Reserved in one go: growing would leave copies of the secrets behind.
        let mut bytes = Vec::with_capacity(6 + usize::try_from(size).unwrap_or(0));
        self.begin(&mut bytes);
        bincode::serialize_into(&mut bytes, state).expect("plain fields serialize into memory");
        Zeroizing::new(bytes)
    }

    /// Writes how it begins: in [`Envelope::write`] the state comes behind that.
    pub(crate) fn begin(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&self.writes.to_le_bytes());
    }

    pub(crate) fn seal(&self, state: &T, key: &SnapshotKey) -> Vec<u8> {
        let mut sealed = self.sealed_magic.to_vec();
        sealed.extend(key.seal_as(&self.sealed_magic, &self.write(state)));
        sealed
    }

    pub(crate) fn read(&self, bytes: &[u8]) -> Result<T, EnvelopeError> {
        if bytes.starts_with(&self.sealed_magic) {
            return Err(EnvelopeError::Sealed);
        }
        let rest = bytes.strip_prefix(&self.magic).ok_or(EnvelopeError::NotASnapshot)?;
        let (version, body) = rest.split_first_chunk::<2>().ok_or(EnvelopeError::NotASnapshot)?;
        let found = u16::from_le_bytes(*version);
        let nth = found.checked_sub(1).ok_or(EnvelopeError::NotASnapshot)?;
        match self.readers.get(usize::from(nth)) {
            Some(read) => read(body),
            None => Err(EnvelopeError::Version { found, known: self.readers.len() as u16 }),
        }
    }

    pub(crate) fn unseal(&self, bytes: &[u8], key: &SnapshotKey) -> Result<T, EnvelopeError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 4] = *b"PETx";
    const SEALED: [u8; 4] = *b"PETy";

    /// The release that knows one version.
    const FIRST: Envelope<u8> =
        Envelope { magic: MAGIC, sealed_magic: SEALED, readers: &[read_bincode], writes: 1 };

    /// The next one, that reads what it does not write yet, and the one that writes it.
    const READERS: &[Reader<u64>] = &[|body| Ok(read_bincode::<u8>(body)?.into()), read_bincode];
    const LAST: Envelope<u64> =
        Envelope { magic: MAGIC, sealed_magic: SEALED, readers: READERS, writes: 2 };

    #[test]
    fn newer_programs_read_older_versions() {
        let key = SnapshotKey::new([1; 32]);
        assert_eq!(LAST.read(&FIRST.write(&7)), Ok(7));
        assert_eq!(LAST.unseal(&FIRST.seal(&7, &key), &key), Ok(7));
        assert_eq!(LAST.read(&LAST.write(&(1 << 40))), Ok(1 << 40));
    }

    #[test]
    fn older_programs_refuse_newer_versions_by_name() {
        let key = SnapshotKey::new([1; 32]);
        let newer = EnvelopeError::Version { found: 2, known: 1 };
        assert_eq!(FIRST.read(&LAST.write(&7)).as_ref(), Err(&newer));
        assert_eq!(FIRST.unseal(&LAST.seal(&7, &key), &key).as_ref(), Err(&newer));
        let text = newer.to_string();
        assert!(text.contains("version 2") && text.contains("or a newer one"), "{text}");
    }

    #[test]
    fn there_is_no_version_0() {
        let mut bytes = FIRST.write(&7).to_vec();
        bytes[4] = 0;
        assert_eq!(FIRST.read(&bytes), Err(EnvelopeError::NotASnapshot));
    }
}
