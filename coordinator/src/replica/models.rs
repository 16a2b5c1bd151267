//! The global models that are kept as parts.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pet_core::coordinator::GlobalModel;
use tokio::runtime::Handle;

use super::{
    item::{KeptModel, PartRef},
    shared::aside,
    SharedError, SharedStore,
};
use crate::store::{Models, StoreError};

/// The global models that the log names.
#[derive(Debug)]
pub(super) struct SharedModels {
    store: SharedStore,
    runtime: Handle,
    list: Mutex<BTreeMap<u64, PartRef>>,
    /// The one that was read or written last: it is needed at each change of who leads.
    latest: Mutex<Option<(PartRef, GlobalModel)>>,
}

impl SharedModels {
    /// Of this store; the current runtime is where it is asked.
    pub fn new(store: SharedStore) -> Self {
        let runtime = Handle::current();
        Self { store, runtime, list: Mutex::default(), latest: Mutex::default() }
    }

    /// These are kept from now on.
    pub fn set(&self, models: &[KeptModel]) {
        let list = models.iter().map(|model| (model.round_id, model.part.clone()));
        *lock(&self.list) = list.collect();
    }

    /// Keeps the latest one at hand.
    pub fn remember(&self, part: &PartRef, model: &GlobalModel) {
        *lock(&self.latest) = Some((part.clone(), model.clone()));
    }

    /// Reads the model of a part; the latest is at hand.
    pub async fn read(&self, part: &PartRef) -> Result<GlobalModel, SharedError> {
        if let Some((_, model)) = lock(&self.latest).as_ref().filter(|(known, _)| known == part) {
            return Ok(model.clone());
        }
        let bytes = self.store.reach().await?.get(part).await?;
        let read = aside(move || GlobalModel::from_bytes(&bytes)).await?;
        let model = read.map_err(|_| SharedError::Malformed("a global model"))?;
        self.remember(part, &model);
        Ok(model)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both are replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Models for SharedModels {
    fn rounds(&self) -> Vec<u64> {
        lock(&self.list).keys().copied().collect()
    }

    fn size(&self, round_id: u64) -> Option<usize> {
        let length = lock(&self.list).get(&round_id)?.length;
        usize::try_from(length).ok()
    }

    fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError> {
        let Some(part) = lock(&self.list).get(&round_id).cloned() else { return Ok(None) };
        let read = async {
            let bytes = self.store.reach().await?.get(&part).await?;
            GlobalModel::from_bytes(&bytes).map_err(|_| SharedError::Malformed("a global model"))
        };
        match self.runtime.block_on(read) {
            // Meanwhile it was one too many.
            Err(SharedError::PartLost { .. }) if !lock(&self.list).contains_key(&round_id) => {
                Ok(None)
            }
            read => Ok(Some(read?)),
        }
    }
}
