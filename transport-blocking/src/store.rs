//! Where a participant's states are kept.

use std::fmt;
use std::io;

use pet_core::participant::Snapshot;

/// Where the states of a participant of version 2 are kept: see
/// [`Participant::with_store`](crate::Participant::with_store).
pub trait StateStore: Send {
    /// Stores a state in place of the one before; afterwards it is there even if the power fails.
    ///
    /// # Errors
    /// If it is not stored: the update does not leave, the user is told, and it is tried again.
    fn store(&mut self, state: &Snapshot) -> io::Result<()>;
}

impl<F: FnMut(&Snapshot) -> io::Result<()> + Send> StateStore for F {
    fn store(&mut self, state: &Snapshot) -> io::Result<()> {
        self(state)
    }
}

/// A store, or none.
#[derive(Default)]
pub(crate) struct Store(pub(crate) Option<Box<dyn StateStore>>);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Store" } else { "no store" })
    }
}

impl Store {
    /// Stores it; done at once where nothing is kept.
    pub(crate) fn store(&mut self, state: &Snapshot) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |store| store.store(state))
    }
}
