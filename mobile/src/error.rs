//! What goes wrong.

use pet_participant::{transport, Gone, StartError};
use thiserror::Error;

/// Why something was not done. The message says what to do.
//
// (Flat: else the message in Kotlin would be a list of fields.)
#[derive(Debug, Clone, PartialEq, Eq, Error, uniffi::Error)]
#[uniffi(flat_error)]
#[non_exhaustive]
pub enum ParticipantError {
    /// The configuration cannot be used: see to the URL, the certificates or the settings.
    #[error("{0}")]
    Config(String),
    /// The saved state cannot be read: begin without one, as a new participant.
    #[error("the saved state cannot be used: {0}; without it, a new participant can be started")]
    State(String),
    /// The participant was stopped: make a new one, with its state, to go on.
    #[error("the participant was stopped: make a new one, with its state, to go on")]
    Stopped,
    /// The coordinator did not answer in time, or not as one does: try again later.
    #[error("{0}")]
    Coordinator(String),
    /// The system gives no thread, no random bytes or no file.
    #[error("{0}")]
    System(String),
    /// There is a fault in this library: report it. A new participant can be started.
    #[error("{0}")]
    Bug(String),
}

impl From<Gone> for ParticipantError {
    fn from(gone: Gone) -> Self {
        match gone {
            Gone::Stopped => Self::Stopped,
            Gone::Forked => Self::System(gone.to_string()),
            other => Self::Bug(other.to_string()),
        }
    }
}

impl From<StartError> for ParticipantError {
    fn from(error: StartError) -> Self {
        let reason = error.to_string();
        match error {
            StartError::State(_) => Self::State(reason),
            StartError::Thread(_) | StartError::Participant(transport::Error::Randomness(_)) => {
                Self::System(reason)
            }
            _ => Self::Config(reason),
        }
    }
}

/// Why a trainer has given no local model.
#[derive(Debug, Clone, PartialEq, Eq, Error, uniffi::Error)]
pub enum TrainerError {
    /// It has failed. The participant says so to its listener and sits this round out.
    #[error("{reason}")]
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// An exception that a trainer does not declare, or an `Error` of the JVM, of which the bindings say nothing here.
impl From<uniffi::UnexpectedUniFFICallbackError> for TrainerError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed {
            reason: format!(
                "the trainer has thrown what it does not declare; standard error may say more: {}",
                error.reason
            ),
        }
    }
}

/// Why a listener has not listened.
#[derive(Debug, Clone, PartialEq, Eq, Error, uniffi::Error)]
pub enum ListenerError {
    /// It has failed. The participant goes on as if it had listened.
    #[error("{reason}")]
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// An exception that a listener does not declare: any.
impl From<uniffi::UnexpectedUniFFICallbackError> for ListenerError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed { reason: error.reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_stopped_learns_what_to_do_and_a_bug_is_called_one() {
        let stopped = ParticipantError::from(Gone::Stopped);
        assert_eq!(stopped, ParticipantError::Stopped);
        assert!(stopped.to_string().contains("make a new one"));
        assert!(matches!(ParticipantError::from(Gone::Broken), ParticipantError::Bug(_)));
    }
}
