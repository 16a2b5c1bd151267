//! Moving a coordinator to another place, and beginning one with a backup or a model.
//!
//! What is moved is what a coordinator has between two rounds: the root of its keys, the number and the parameters of its last
//! round, and the global models. Nothing of a round goes along.

mod backup;
mod error;
mod import;
mod migrate;
mod restore;

use std::sync::Arc;

use pet_core::{coordinator::EndedRound, crypto::RootSeed};

pub use self::{
    backup::{Backup, BackupError, BackupWriter},
    error::TransferError,
    import::import_shared,
    migrate::{migrate, Migrated},
    restore::{renew_shared, restore_directory, restore_shared},
};
use crate::store::Models;

/// What a coordinator has between two rounds.
#[derive(Clone, Debug)]
pub(crate) struct Holdings {
    /// What all keys are derived from, from now on.
    pub root: RootSeed,
    /// The last round.
    pub round: EndedRound,
    /// The global models that are kept.
    pub models: Arc<dyn Models>,
}
