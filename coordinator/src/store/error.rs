//! What can be wrong with a store.

use std::{io, path::PathBuf, sync::Arc};

use thiserror::Error;

/// Why a store cannot be opened, or does not keep any more what it is given.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system says no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: Arc<io::Error>,
    },
}

impl StoreError {
    /// The operating system did not let us do `action` with `path`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source: Arc::new(source) }
    }
}
