//! Saved participants: the core's bytes, and with them a local model that could not be checked yet.
//!
//! Before the first contact with the coordinator nobody knows of which type weights must be, so a
//! local model is kept as the user gave it. Such a state has a form of its own around the core's:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `PETw` |
//! | 4..6 | version, little-endian |
//! | 6..14 | length of the core's state, little-endian |
//! | .. | the core's state |
//! | .. | the model, in bincode |

use bincode::Options;
use pet_transport_blocking::core::model::Model;
use pet_transport_blocking::core::participant::{RestoreError, Snapshot};
use thiserror::Error;
use zeroize::Zeroizing;

const MAGIC: [u8; 4] = *b"PETw";
const VERSION: u16 = 1;
const HEAD: usize = 14;

/// Why bytes are not a saved participant.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The bytes are not a saved state of core.
    #[error(transparent)]
    Core(#[from] RestoreError),
    /// Another version of this package wrote it.
    #[error("the saved state has version {found}, this package reads version {VERSION}: use the package that saved it")]
    Version {
        /// The state's version.
        found: u16,
    },
    /// It is cut short or changed.
    #[error("the saved state is damaged: {0}")]
    Damaged(String),
}

/// The state's bytes; wiped from memory when dropped.
pub(crate) fn write(snapshot: &Snapshot, waiting: Option<&Model>) -> Zeroizing<Vec<u8>> {
    let core = snapshot.to_bytes();
    let Some(model) = waiting else { return core };
    let model_size = options(u64::MAX).serialized_size(model).unwrap_or(0);
    let size = HEAD + core.len() + usize::try_from(model_size).unwrap_or(0);
    // Reserved in one go: growing would leave copies of the secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(core.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&core);
    let written = options(u64::MAX).serialize_into(&mut *bytes, model);
    written.expect("numbers serialize into memory");
    bytes
}

/// The core's bytes, and the waiting model if there is one.
pub(crate) fn read(bytes: &[u8]) -> Result<(&[u8], Option<Model>), StateError> {
    if !bytes.starts_with(&MAGIC) {
        return Ok((bytes, None));
    }
    let damaged = |reason: &str| StateError::Damaged(reason.into());
    let (head, rest) =
        bytes.split_first_chunk::<HEAD>().ok_or_else(|| damaged("it is cut short"))?;
    let [_, _, _, _, v0, v1, length @ ..] = *head;
    let found = u16::from_le_bytes([v0, v1]);
    if found != VERSION {
        return Err(StateError::Version { found });
    }
    let (core, model) = usize::try_from(u64::from_le_bytes(length))
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or_else(|| damaged("it is cut short"))?;
    // The limit keeps lying lengths from allocating more than the input has.
    let model = options(model.len() as u64)
        .deserialize(model)
        .map_err(|error| damaged(&error.to_string()))?;
    Ok((core, Some(model)))
}

fn options(limit: u64) -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(limit)
}
