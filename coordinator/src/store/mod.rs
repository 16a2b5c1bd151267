//! Stores, which keep the records of a running coordinator.

mod disk;
mod error;
mod models;
mod open;
pub(crate) mod rounds;

use std::{sync::Arc, time::Duration};

use pet_core::{
    coordinator::{GlobalModel, PersistId, Record, Recovery},
    crypto::RootSeed,
};
use tokio::sync::mpsc;

use self::models::MemoryModels;
#[cfg(feature = "replicas")]
pub(crate) use self::{
    disk::{mark_moved, refuse_moved_elsewhere, Destination},
    open::secret_of,
};
pub use self::{
    disk::{rounds::RoundDisk, DiskStore},
    error::StoreError,
    models::Models,
    open::{open_round_store, open_store, SECRET_VARIABLE},
};
use crate::settings::MODELS_KEPT;

/// A store, which keeps records.
pub trait Store: Send + 'static {
    /// Gives what was stored before; called once, before anything else. A store that is new begins with
    /// this root seed, another one has its own. May block. Default: nothing was.
    ///
    /// # Errors
    /// If what was stored cannot be read.
    fn restore(&mut self, root: RootSeed) -> Result<Restored, StoreError> {
        Ok(Restored::new(root))
    }

    /// Keeps the model that the first round begins with: a later [`restore`](Self::restore) gives it as long as no round has ended
    /// with another. Called at most once, after `restore` and before the first record, and only if no global model is kept. May
    /// block. Default: forgets it, so that it has to be given at every start.
    ///
    /// # Errors
    /// If it cannot be stored.
    fn begin_with(&mut self, model: &GlobalModel) -> Result<(), StoreError> {
        let _ = model;
        Ok(())
    }

    /// Says where confirmations go, before the first record: a store that does something by itself can report there that
    /// it has failed. Default: nothing.
    fn begin(&mut self, confirmations: &Confirmations) {
        let _ = confirmations;
    }

    /// Takes a record. Once it and all records before it are safe, [`Confirmations::stored`] is to
    /// be called, from any thread, or [`Confirmations::failed`]; until then nothing that depends on the record is shown to
    /// anyone. Must not block.
    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations);

    /// Says how long the phase has been going on that the records so far lead to: after each record,
    /// and about once a second. It need not be stored at once. Must not block. Default: forgets it.
    fn clock(&mut self, elapsed: Duration) {
        let _ = elapsed;
    }

    /// Whether another process may go on from what is stored while this one still runs: then nothing final is said to
    /// anybody that follows from what is not stored yet. Default: no.
    fn is_shared(&self) -> bool {
        false
    }

    /// The global models that it keeps. Default: none.
    fn models(&self) -> Arc<dyn Models> {
        Arc::new(MemoryModels::new(0))
    }
}

/// A store that keeps only the latest global models: the state lives in memory only, and is lost
/// when the coordinator stops.
#[derive(Clone, Debug)]
pub struct Volatile {
    models: Arc<MemoryModels>,
}

impl Volatile {
    /// A store that keeps up to so many global models, as long as they are not too large for that.
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
    fn begin_with(&mut self, model: &GlobalModel) -> Result<(), StoreError> {
        self.models.add(model.clone());
        Ok(())
    }

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

/// The state that a store gives back at the start.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The records.
    pub recovery: Recovery,
    /// How long the phase has been going on.
    pub elapsed: Duration,
}

impl Restored {
    /// An empty state: nothing was stored before.
    pub fn new(root: RootSeed) -> Self {
        Self { recovery: Recovery::new(root), elapsed: Duration::ZERO }
    }
}

/// Tells the coordinator which records a [`Store`] has made safe.
#[derive(Clone, Debug)]
pub struct Confirmations(mpsc::UnboundedSender<Result<PersistId, StoreError>>);

/// Where confirmations arrive.
pub(crate) type Confirmed = mpsc::UnboundedReceiver<Result<PersistId, StoreError>>;

impl Confirmations {
    /// The receiver's queue is bounded by the number of records that wait for confirmation, which
    /// the state machine bounds.
    pub(crate) fn channel() -> (Self, Confirmed) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Confirms that all records up to `id` are safe.
    pub fn stored(&self, id: PersistId) {
        // Nobody waits for it any more once the coordinator has stopped.
        let _ = self.0.send(Ok(id));
    }

    /// Reports a failure: what is not confirmed yet may be lost, nothing more will be stored, and
    /// the coordinator ends.
    pub fn failed(&self, error: StoreError) {
        let _ = self.0.send(Err(error));
    }
}
