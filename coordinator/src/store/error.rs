//! Errors of stores.

use std::{io, path::PathBuf, sync::Arc};

use pet_core::{coordinator::RecoveryError, crypto::CryptoError};
use thiserror::Error;

use super::SECRET_VARIABLE;
use crate::key;

const SECRET_FILE: &str = key!(storage.secret_file);

/// Why a store cannot be opened, or has stopped storing.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system reports an error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: Arc<io::Error>,
    },
    /// Another process has it.
    #[error(
        "{} is in use by another coordinator: stop that one, or give this one a directory of its own \
         (--data-dir)", path.display()
    )]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// Others may read or change what should be for nobody else.
    #[error(
        "{} holds secrets, and is not for this user alone: run `{command}` (whoever has read it until now \
         may know all keys of this coordinator)", path.display()
    )]
    Open {
        /// The directory or file.
        path: PathBuf,
        /// What mends it.
        command: String,
    },
    /// There are a store's files, but not its database.
    #[error(
        "{} is missing or empty, but there are {count} files of a store beside it, such as {first}: {BACKUP}; \
         or move models and round away from there: without the database nothing of them is used",
        path.display()
    )]
    Orphans {
        /// The database that should be there.
        path: PathBuf,
        /// How many files there are.
        count: usize,
        /// One of them.
        first: String,
    },
    /// A file is not what was written.
    #[error(
        "{} is damaged ({problem}): {BACKUP}", path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another version of this program wrote it.
    #[error(
        "{} has version {found}, this program reads version {known}: use the program that wrote it",
        path.display()
    )]
    Version {
        /// The store's file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version that is known.
        known: u64,
    },
    /// The keys in it are sealed, and there is no secret.
    #[error(
        "{} is sealed: give its secret with {SECRET_FILE} or in the environment variable \
         {SECRET_VARIABLE}", path.display()
    )]
    NeedsSecret {
        /// The store's file.
        path: PathBuf,
    },
    /// There is a secret, but the store was begun without.
    #[error(
        "{} was begun without a secret and cannot be sealed now: remove {SECRET_FILE} and \
         {SECRET_VARIABLE}, or begin anew with another directory (--data-dir)", path.display()
    )]
    NotSealed {
        /// The store's file.
        path: PathBuf,
    },
    /// The secret is another one.
    #[error(
        "the secret ({SECRET_FILE} or {SECRET_VARIABLE}) is not the one that {} was begun with",
        path.display()
    )]
    WrongSecret {
        /// The store's file.
        path: PathBuf,
    },
    /// The file with the secret cannot be read, or is open to others.
    #[error("cannot read the secret ({SECRET_FILE}) in {}: {source}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// The key cannot be made.
    #[error("the store cannot be opened: {0}")]
    Key(CryptoError),
    /// The secret could be guessed.
    #[error(
        "the secret ({SECRET_FILE} or {SECRET_VARIABLE}) is too short: it must have at least \
         {least} bytes, such as `openssl rand -hex 32` gives"
    )]
    ShortSecret {
        /// How many bytes it must have.
        least: usize,
    },
    /// The records do not make a coordinator.
    #[error("{} is damaged ({source}): {BACKUP}", path.display())]
    Records {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with them.
        source: RecoveryError,
    },
    /// All records together do not make a coordinator.
    #[error("the stored records are damaged ({0}): {BACKUP}")]
    Inconsistent(RecoveryError),
    /// Its coordinator was moved.
    #[error(
        "the coordinator of this directory was moved to the federation {federation:?} that several coordinators share: start it with \
         those settings. To go on here would use keys twice; only if no coordinator has ever run there remove {}", path.display()
    )]
    Moved {
        /// The federation's name.
        federation: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// Its coordinator was moved to another place than the one that it is to be moved to now.
    #[error(
        "the coordinator of this directory was moved to a federation {federation:?} before, in another database or with another \
         name: to move it to a second one would use keys twice. Give the settings of the first; only if no coordinator has ever \
         run there remove {}", path.display()
    )]
    MovedElsewhere {
        /// The federation's name.
        federation: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// The store was begun with another seed than the given one.
    #[error("the store was begun with another seed: use another directory (--data-dir)")]
    OtherSeed,
    /// What several coordinators share cannot be used.
    #[cfg(feature = "replicas")]
    #[error(transparent)]
    Shared(#[from] crate::replica::SharedError),
    /// The store has panicked, which is a bug.
    #[error("internal error: the store's thread panicked ({0}); please report this")]
    Panicked(String),
}

const BACKUP: &str =
    "put the whole data directory back from a backup, or begin anew with another one (--data-dir)";

impl StoreError {
    /// The operating system did not let us do `action` with `path`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source: Arc::new(source) }
    }
}
