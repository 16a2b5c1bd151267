//! Why a coordinator cannot be moved.

use std::path::PathBuf;

use pet_core::coordinator::Phase;
use thiserror::Error;

use crate::{key, replica::SharedError, store::StoreError};

/// Why a coordinator cannot be moved, or begun with a backup. Messages say what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The store of a process cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What coordinators share cannot be read or written.
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// The model cannot be used.
    #[error(transparent)]
    InitialModel(#[from] crate::InitialModelError),
    /// The backup cannot be used.
    #[error(transparent)]
    Backup(#[from] super::BackupError),
    /// Nothing was ever begun in what is shared.
    #[error("federation {federation:?} has had no round yet: there is nothing to go on with")]
    NothingShared {
        /// Its name.
        federation: String,
    },
    /// Nothing was ever begun there.
    #[error("no round has begun in {} yet: there is nothing to move", path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
    },
    /// There is a model to begin with, and nothing was begun.
    #[error(
        "no round has begun in {} yet, there is but an initial model: import it once more, into what the coordinators share \
         (`pet-coordinator import-model` with their settings)",
        path.display()
    )]
    OnlyInitialModel {
        /// The directory.
        path: PathBuf,
    },
    /// Participants are in a round.
    #[error(
        "round {round_id} is in the {phase} phase, with {accepted} messages, and cannot be moved: pause the coordinator \
         (pet-coordinator admin pause), let the round end, and stop it then; or drop the round (--drop-round): its participants \
         begin anew with the next one"
    )]
    InRound {
        /// The round.
        round_id: u64,
        /// How far it is.
        phase: Phase,
        /// How many messages the phase has accepted.
        accepted: u64,
    },
    /// There is something in the other place.
    #[error(
        "federation {federation:?} has had rounds already, with other keys: take another name ({})",
        key!(storage.federation)
    )]
    NotEmpty {
        /// Its name.
        federation: String,
    },
    /// The directory has gone on since it was moved.
    #[error(
        "federation {federation:?} has this coordinator already, but only up to round {there}, and the directory has gone on to \
         round {here}: to go on there as it is would use the keys of the rounds between twice. Stop all replicas, and run \
         `pet-coordinator store init --restored --last-round {here}`: it goes on with new keys, without the global models since then. \
         No coordinator begins in the directory any more"
    )]
    Behind {
        /// Its name.
        federation: String,
        /// Its last round.
        there: u64,
        /// The last round of the directory.
        here: u64,
    },
    /// No round can follow.
    #[error("no round can follow round {}: give the last round that somebody has seen", u64::MAX)]
    LastRound,
    /// Somebody works there.
    #[error("{by} works on federation {federation:?} right now: stop it, and wait until its lease is over")]
    InUse {
        /// Its name.
        federation: String,
        /// What it calls itself.
        by: String,
    },
}
