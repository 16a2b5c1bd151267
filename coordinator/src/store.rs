//! Where the records of a running coordinator go.

use pet_core::coordinator::{PersistId, Record};
use tokio::sync::mpsc;

/// A place for records.
pub trait Store: Send + 'static {
    /// Takes a record. Once it and all records before it are safe, [`Confirmations::stored`] is to
    /// be called, from any thread; until then nothing that depends on the record is shown to
    /// anyone. Must not block.
    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations);
}

/// Keeps nothing: the state lives in memory only, and is lost when the coordinator stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Volatile;

impl Store for Volatile {
    fn persist(&mut self, id: PersistId, _record: Record, confirmations: &Confirmations) {
        confirmations.stored(id);
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
