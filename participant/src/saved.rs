//! Saved participants of earlier versions: core's bytes, and with them a local model that could not be checked yet.
//!
//! Before the first contact with the coordinator nobody knows of which type weights must be. Core keeps such a model
//! in its own state now; before, it was in a form around that:
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
use pet_transport_blocking::core::participant::RestoreError;
use thiserror::Error;

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

#[cfg(test)]
mod tests {
    use pet_transport_blocking::core::participant::{Participant, Settings};

    use super::*;

    // Saved by the version that wrote them.
    const FLOATS: &[u8] = include_bytes!("../tests/states/waiting_float64");
    const INTEGERS: &[u8] = include_bytes!("../tests/states/waiting_int64");
    const IN_A_ROUND: &[u8] = include_bytes!("../tests/states/waiting_in_a_round");

    #[test]
    fn states_of_the_version_before_are_read() {
        let floats = Model::F64(vec![0.1, -2.5, 1e-3, 0.25]);
        let integers = Model::I64(vec![1, 2, 3, -4]);
        let in_a_round = Model::F64(vec![1.5, 2.5, -0.125, 0.1, 7.0]);
        for (state, expected, knows_a_round) in
            [(FLOATS, floats, false), (INTEGERS, integers, false), (IN_A_ROUND, in_a_round, true)]
        {
            let (core, model) = read(state).unwrap();
            assert!(model.unwrap() == expected);
            let participant = Participant::restore(core, Settings::default()).unwrap();
            assert_eq!(participant.parameters().is_some(), knows_a_round);
            assert!(!participant.has_model());
        }
    }

    #[test]
    fn damaged_and_later_states_are_refused() {
        for length in [4, 13, 14, 40, FLOATS.len() - 1] {
            assert!(matches!(read(&FLOATS[..length]), Err(StateError::Damaged(_))), "{length}");
        }
        let mut later = FLOATS.to_vec();
        later[4] = 2;
        assert_eq!(read(&later), Err(StateError::Version { found: 2 }));
        // What is no state at all is for core to say.
        assert!(read(b"nonsense").unwrap() == (b"nonsense", None));
    }
}
