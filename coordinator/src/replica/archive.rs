//! Global models where others read them, under the names and in the bytes that the original's readers know.

use std::fmt::Debug;

use bytes::Bytes;
use pet_core::coordinator::GlobalModel;
use pet_ledger::Pending;

use super::{shared::Shared, SharedError};

/// Keeps models for whoever reads them there. Nothing of it is ever read here, nor removed.
pub(super) trait Archive: Debug + Send + Sync {
    /// Stores bytes under a name, unless there are some; tells whether these are there then. May be called again.
    fn keep(&self, name: String, bytes: Bytes) -> Pending<'_, bool>;
}

#[cfg(feature = "s3")]
impl Archive for pet_store_s3::S3Archive {
    fn keep(&self, name: String, bytes: Bytes) -> Pending<'_, bool> {
        Self::keep(self, name, bytes)
    }
}

impl Shared {
    /// Stores a model for readers of the original: `<round id>_<round seed>`, and what `GET /model` gives in the old form.
    pub async fn archive(&self, model: &GlobalModel) -> Result<(), SharedError> {
        let Some(archive) = self.models_archive() else { return Ok(()) };
        if !archive.keep(model.id(), model.rationals.clone()).await? {
            // The round's model is what the log has. Whoever reads there reads something else.
            tracing::error!(
                object = model.id(),
                "there is another global model of that name in the bucket already, which stays: has the database gone back in \
                 time?"
            );
        }
        Ok(())
    }
}
