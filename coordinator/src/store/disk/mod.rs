//! A store in a directory: a database for what is small, files for what grows with the model.
//!
//! A thread of its own writes. It takes whatever records are waiting, makes them all safe with one
//! sync, and confirms the last of them: the more messages there are, the more of them share a sync.

mod database;
mod files;
mod medium;
mod migrate;
mod moved;
pub(crate) mod rounds;
#[cfg(test)]
mod tests;
mod vault;

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    fmt,
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use pet_core::{
    coordinator::{GlobalModel, PersistId, Record},
    crypto::RootSeed,
};
use tracing::info;

#[cfg(feature = "replicas")]
pub(crate) use self::moved::{mark_moved, refuse_moved_elsewhere, Destination};
use self::{
    database::{read_model, Database},
    files::{FileRef, Files},
    medium::{Disk, Medium},
    moved::refuse_moved,
    vault::Vault,
};
use super::{Confirmations, Models, Restored, Store, StoreError};
use crate::{in_use, private::Owner};

/// A store in a directory.
pub struct DiskStore {
    /// Until the writer has it.
    database: Option<Database>,
    models: Arc<DiskModels>,
    queue: Arc<Queue>,
    writer: Option<thread::JoinHandle<()>>,
}

/// Shows no content.
impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").field("models", &self.models).finish_non_exhaustive()
    }
}

/// Opens a database, which may be in use for a moment: by a program that is just being started.
fn patiently<T>(open: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    in_use::patiently(|error| matches!(error, StoreError::InUse { .. }), open)
}

impl DiskStore {
    /// Opens the store in a directory, which is created if it does not exist; only one process can
    /// have it open. With a secret all that is not public is sealed. Up to `models_kept` global
    /// models are kept, one at least.
    ///
    /// Takes a while: not for the threads of an async runtime.
    ///
    /// # Errors
    /// If the directory cannot be written to, is in use, or its database is damaged.
    pub fn open(dir: &Path, secret: Option<&[u8]>, models_kept: usize) -> Result<Self, StoreError> {
        refuse_moved(dir)?;
        let store = Self::open_on(dir, secret, models_kept, Owner::Us, Arc::new(Disk))?;
        // Whoever moves it has the directory to itself meanwhile, as we have now.
        refuse_moved(dir)?;
        Ok(store)
    }

    /// Opens a store only to read it: root may open anybody's. No model is removed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn inspect(dir: &Path, secret: Option<&[u8]>) -> Result<Self, StoreError> {
        Self::open_on(dir, secret, usize::MAX, Owner::OrAnyoneForRoot, Arc::new(Disk))
    }

    fn open_on(
        dir: &Path,
        secret: Option<&[u8]>,
        models_kept: usize,
        owner: Owner,
        medium: Arc<dyn Medium>,
    ) -> Result<Self, StoreError> {
        let database = patiently(|| {
            Database::open(dir, Vault::new(secret)?, models_kept, owner, Arc::clone(&medium))
        })?;
        let models = DiskModels { files: database.files().clone(), list: Mutex::default() };
        Ok(Self {
            database: Some(database),
            models: Arc::new(models),
            queue: Arc::default(),
            writer: None,
        })
    }
}

impl Store for DiskStore {
    fn restore(&mut self, root: RootSeed) -> Result<Restored, StoreError> {
        let Some(database) = &mut self.database else { return Ok(Restored::new(root)) };
        let restored = database.load(root)?;
        self.models.set(database.models());
        info!(
            round = restored.recovery.round_id().unwrap_or_default(),
            phase = %restored.recovery.phase(),
            models = database.models().len(),
            "the store is open"
        );
        Ok(restored)
    }

    fn begin_with(&mut self, model: &GlobalModel) -> Result<(), StoreError> {
        // The writer has it once there are records.
        let Some(database) = &mut self.database else { return Ok(()) };
        database.begin_with(model)?;
        self.models.set(database.models());
        Ok(())
    }

    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations) {
        if let Some(database) = self.database.take() {
            self.writer = start(database, &self.queue, &self.models, confirmations);
        }
        self.queue.add(id, record);
    }

    fn clock(&mut self, elapsed: Duration) {
        self.queue.clock(elapsed);
    }

    fn models(&self) -> Arc<dyn Models> {
        self.models.clone()
    }
}

/// Lets the writer write what is there, and waits for it: then the directory is free again.
impl Drop for DiskStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // It does not panic, and there is nobody to tell.
            let _ = writer.join();
        }
    }
}

fn start(
    mut database: Database,
    queue: &Arc<Queue>,
    models: &Arc<DiskModels>,
    confirmations: &Confirmations,
) -> Option<thread::JoinHandle<()>> {
    let (queue, models) = (Arc::clone(queue), Arc::clone(models));
    let writer = confirmations.clone();
    let run = move || {
        // A panic must not leave everyone waiting.
        let ended =
            catch_unwind(AssertUnwindSafe(|| write_all(&mut database, &queue, &models, &writer)));
        let failure = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => StoreError::Panicked(panic_text(&*panic)),
        };
        queue.close();
        writer.failed(failure);
    };
    match thread::Builder::new().name("store".into()).spawn(run) {
        Ok(thread) => Some(thread),
        Err(error) => {
            confirmations.failed(StoreError::io("start a thread for", ".", error));
            None
        }
    }
}

fn write_all(
    database: &mut Database,
    queue: &Queue,
    models: &DiskModels,
    confirmations: &Confirmations,
) -> Result<(), StoreError> {
    while let Some(Batch { records, clock }) = queue.take() {
        let last = records.back().map(|(id, _)| *id);
        let has_model = records.iter().any(|(_, record)| matches!(record, Record::Model(_)));
        database.commit(records.into_iter().map(|(_, record)| record).collect(), clock)?;
        if has_model {
            models.set(database.models());
        }
        if let Some(last) = last {
            confirmations.stored(last);
        }
    }
    Ok(())
}

/// What a panic says.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason").to_owned()
}

/// What waits to be written. Its length is bounded by the number of messages without an answer; and of
/// the aggregates only the latest waits.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// How long the phase may go on without its clock being written, as long as nothing else is.
const CLOCK: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Waiting {
    batch: Batch,
    /// What the clock was when it was last written.
    written: Duration,
    closed: bool,
}

#[derive(Default)]
struct Batch {
    records: VecDeque<(PersistId, Record)>,
    /// How long the phase has been going on that these records lead to.
    clock: Option<Duration>,
}

impl Waiting {
    /// Whether it is worth a sync: a clock by itself rarely is, but at the end.
    fn is_due(&self) -> bool {
        let clock = self.batch.clock;
        !self.batch.records.is_empty()
            || clock.is_some_and(|clock| self.closed || clock.abs_diff(self.written) >= CLOCK)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: PersistId, record: Record) {
        let mut superseded = None;
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        let Batch { records, clock } = &mut waiting.batch;
        if record.begins_phase() {
            *clock = None;
        }
        if matches!(record, Record::Updates { aggregation: Some(_), .. }) {
            let of_phase =
                records.iter_mut().rev().take_while(|(_, before)| !before.begins_phase());
            superseded = of_phase
                .filter_map(|(_, before)| match before {
                    Record::Updates { aggregation, .. } => aggregation.take(),
                    _ => None,
                })
                .next();
        }
        records.push_back((id, record));
        drop(waiting);
        self.changed.notify_one();
        drop(superseded);
    }

    fn clock(&self, elapsed: Duration) {
        let mut waiting = self.lock();
        waiting.batch.clock = Some(elapsed);
        if waiting.is_due() {
            drop(waiting);
            self.changed.notify_one();
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for something to write; nothing at the end.
    fn take(&self) -> Option<Batch> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_due() {
                waiting.written = waiting.batch.clock.unwrap_or_default();
                return Some(std::mem::take(&mut waiting.batch));
            }
            if waiting.closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The global models in the directory.
#[derive(Debug)]
struct DiskModels {
    files: Files,
    list: Mutex<BTreeMap<u64, FileRef>>,
}

impl DiskModels {
    fn set(&self, models: &BTreeMap<u64, FileRef>) {
        *self.lock() = models.clone();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, FileRef>> {
        // It is replaced as a whole.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Models for DiskModels {
    fn rounds(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    fn size(&self, round_id: u64) -> Option<usize> {
        let length = self.lock().get(&round_id)?.length;
        usize::try_from(length).ok()
    }

    fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError> {
        let Some(file) = self.lock().get(&round_id).cloned() else { return Ok(None) };
        match read_model(&self.files, &file) {
            // Meanwhile it was one too many.
            Err(_) if !self.lock().contains_key(&round_id) => Ok(None),
            read => read.map(Some),
        }
    }
}
