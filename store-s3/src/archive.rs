//! Objects that others read, and that are never removed.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use pet_ledger::{LedgerError, Pending};

use crate::{objects::Objects, settings::S3Settings};

/// Objects in a bucket, each under a name that its writer chooses. Clones share their connections.
#[derive(Clone)]
pub struct S3Archive(Arc<Objects>);

impl S3Archive {
    /// Connects, and looks whether objects can be written in the bucket and read, and whether it is told that one is not there:
    /// Amazon says so only to who may list the bucket.
    ///
    /// # Errors
    /// As [`S3Parts::connect`](crate::S3Parts::connect).
    pub async fn connect(settings: &S3Settings) -> Result<Self, LedgerError> {
        let objects = Objects::new(settings)?;
        objects.probe_and_keep(&settings.prefix()?).await?;
        Ok(Self(Arc::new(objects)))
    }

    /// Stores an object, unless it is there already: whoever has read it never finds another one. Tells whether these are its
    /// bytes. May be called again after an error.
    ///
    /// # Errors
    /// If the storage does not take it.
    pub fn keep(&self, key: String, bytes: Bytes) -> Pending<'_, bool> {
        Box::pin(async move { self.0.put(&key, bytes).await })
    }

    /// The bytes of an object, if it is there.
    ///
    /// # Errors
    /// If the storage cannot be asked.
    pub fn get(&self, key: String) -> Pending<'_, Option<Bytes>> {
        Box::pin(async move { self.0.get(&key).await })
    }
}

/// Without the keys.
impl fmt::Debug for S3Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Archive").field("bucket", &self.0.bucket.name()).finish_non_exhaustive()
    }
}
