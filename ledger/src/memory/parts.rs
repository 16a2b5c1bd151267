//! Parts in memory.

use std::fmt;

use bytes::Bytes;

use super::{
    faults::{Call, Fault},
    ledger::Line,
    MemoryEngine,
};
use crate::{PartName, Parts, Pending, StoredPart};

/// Parts in memory: a connection to a [`MemoryEngine`]. Clones share their faults.
#[derive(Clone)]
pub struct MemoryParts {
    line: Line,
}

impl MemoryParts {
    pub(super) fn new(engine: MemoryEngine) -> Self {
        Self { line: Line::new(engine) }
    }

    /// Lets this decide what becomes of each call from now on.
    pub fn set_faults(&self, faults: impl FnMut(Call) -> Fault + Send + 'static) {
        self.line.set_faults(Some(Box::new(faults)));
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.line.set_faults(None);
    }
}

impl fmt::Debug for MemoryParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryParts").finish_non_exhaustive()
    }
}

impl Parts for MemoryParts {
    fn put(&self, name: PartName, bytes: Bytes) -> Pending<'_, ()> {
        Box::pin(async move {
            self.line.call(Call::Put, move |state, now| state.put_part(now, &name, &bytes)).await?
        })
    }

    fn get<'a>(&'a self, name: &'a PartName) -> Pending<'a, Option<Bytes>> {
        let name = name.clone();
        Box::pin(self.line.call(Call::Get, move |state, _| state.part(&name)))
    }

    fn list(&self) -> Pending<'_, Vec<StoredPart>> {
        Box::pin(self.line.call(Call::List, |state, now| state.parts(now)))
    }

    fn remove<'a>(&'a self, names: &'a [PartName]) -> Pending<'a, ()> {
        let names = names.to_vec();
        Box::pin(self.line.call(Call::Remove, move |state, _| state.remove_parts(&names)))
    }
}
