//! Where the records of a running coordinator go.

mod error;
mod models;

use std::sync::Arc;

use pet_core::coordinator::{PersistId, Record};
use tokio::sync::mpsc;

use self::models::MemoryModels;
pub use self::{error::StoreError, models::Models};

/// How many global models are kept unless it is set.
pub(crate) const MODELS_KEPT: usize = 10;

/// A place for records.
pub trait Store: Send + 'static {
    /// Takes a record. Once it and all records before it are safe, [`Confirmations::stored`] is to
    /// be called, from any thread; until then nothing that depends on the record is shown to
    /// anyone. Must not block.
    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations);

    /// The global models that it keeps. Default: none.
    fn models(&self) -> Arc<dyn Models> {
        Arc::new(MemoryModels::new(0))
    }
}

/// Keeps nothing but the latest global models: the state lives in memory only, and is lost when the
/// coordinator stops.
#[derive(Clone, Debug)]
pub struct Volatile {
    models: Arc<MemoryModels>,
}

impl Volatile {
    /// Keeps up to so many global models, as long as they are not too large for that.
    pub fn keeping(models: usize) -> Self {
        Self { models: Arc::new(MemoryModels::new(models)) }
    }
}

impl Default for Volatile {
    /// Keeps ten global models.
    fn default() -> Self {
        Self::keeping(MODELS_KEPT)
    }
}

impl Store for Volatile {
    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations) {
        if let Record::Model(model) = record {
            self.models.add(model);
        }
        confirmations.stored(id);
    }

    fn models(&self) -> Arc<dyn Models> {
        self.models.clone()
    }
}

/// The way for a [`Store`] to say that records are safe.
#[derive(Clone, Debug)]
pub struct Confirmations(mpsc::UnboundedSender<PersistId>);

impl Confirmations {
    /// The receiver's queue is bounded by the number of records that wait for confirmation, which
    /// the state machine bounds.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<PersistId>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// All records up to `id` are safe.
    pub fn stored(&self, id: PersistId) {
        // Nobody waits for it any more once the coordinator has stopped.
        let _ = self.0.send(id);
    }
}
