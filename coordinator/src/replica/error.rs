//! What can go wrong with what is shared.

use pet_core::coordinator::RecoveryError;
use pet_ledger::{LedgerError, PartName, Position, VaultError};
use thiserror::Error;

use crate::key;

/// Why a coordinator cannot use the engine that it shares with others, or go on from what is there.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SharedError {
    /// The engine does not do what it is asked for.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What is sealed does not open.
    #[error(transparent)]
    Vault(VaultError),
    /// There is no secret.
    #[error(
        "what several coordinators share must be sealed: give all of them the same secret with {} or in the environment \
         variable {}",
        key!(storage.secret_file),
        crate::SECRET_VARIABLE
    )]
    NeedsSecret,
    /// The log was written by a newer release.
    #[error("the log has entries of version {found}, and this release reads version {known}: update this replica")]
    EntryVersion {
        /// The version.
        found: u8,
        /// The one that is known.
        known: u8,
    },
    /// Something opens, and makes no sense.
    #[error("{0} makes no sense, although a replica has written it; please report this")]
    Malformed(&'static str),
    /// The records do not make a coordinator.
    #[error("entry {position} of the log cannot follow those before it ({source}): restore the engine from a backup, or set it up anew")]
    Records {
        /// The entry.
        position: Position,
        /// What is wrong with it.
        source: RecoveryError,
    },
    /// All records together do not make a coordinator.
    #[error("what the log leads to is damaged ({0}): restore the engine from a backup, or set it up anew")]
    Inconsistent(RecoveryError),
    /// A part is missing that an entry names.
    #[error("the part {name} is missing, or is not the one that was written: restore the engine from a backup, or set it up anew")]
    PartLost {
        /// The part.
        name: PartName,
    },
    /// The log has become shorter, or another one.
    #[error(
        "the engine went back in time: this replica knows entry {known} of the log, which is not there any more (the log \
         ends at {found}). Never run rounds on an old copy: their keys would be used twice"
    )]
    WentBack {
        /// The last entry that was read.
        known: Position,
        /// Where the log ends.
        found: Position,
    },
    /// The federation was begun with another seed than the given one.
    #[error("the federation was begun with another seed: use another name ({})", key!(storage.federation))]
    OtherSeed,
    /// Another replica leads by now.
    #[error("another replica has taken over")]
    Superseded,
    /// The lease was not renewed in time.
    #[error("the lease could not be renewed in time: {0}")]
    LeaseOver(String),
    /// The engine does not write.
    #[error("the engine has not written in {0:?} what it was given")]
    Stuck(std::time::Duration),
    /// The operating system gives no random bytes.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// A task has panicked, which is a bug.
    #[error("internal error: a task panicked ({0}); please report this")]
    Panicked(String),
}

impl SharedError {
    /// Whether it may be over soon: whoever waits is told to come back, and it is tried again.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Ledger(error) => {
                // Passwords are changed, too, and clocks are set, and the log may be cut off while it is read.
                error.is_passing()
                    || matches!(
                        error,
                        LedgerError::Denied { .. }
                            | LedgerError::Clock { .. }
                            | LedgerError::Forgotten { .. }
                            | LedgerError::Fenced { .. }
                    )
            }
            Self::Superseded | Self::LeaseOver(_) | Self::Stuck(_) => true,
            _ => false,
        }
    }
}

impl From<VaultError> for SharedError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Ledger(error) => Self::Ledger(error),
            error => Self::Vault(error),
        }
    }
}
