//! A store of rounds of v2 in a directory: records in a database, chunks of large objects in files, many in one.
//!
//! As for v1, a thread of its own takes whatever waits, makes all of it safe with one sync, and confirms the last of it.

mod archive;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use pet_core::{
    crypto::RootSeed,
    v2::coordinator::{PersistId, Record},
};
use tracing::info;

pub(super) use self::archive::{Index, Location};
use self::{
    archive::DiskArchive,
    queue::{Batch, Queue},
};
use super::{
    database::RoundsDatabase,
    medium::{Disk, Medium},
    panic_text, patiently,
    vault::Vault,
};
use crate::{
    private::Owner,
    store::{
        rounds::{Archive, Kept, RestoredRounds, RoundStore},
        Confirmations, StoreError,
    },
};

/// The folder of the data directory that it is in.
pub(crate) const FOLDER: &str = "v2";

/// A store of rounds of v2 in a directory.
pub struct RoundDisk {
    /// Until the writer has it.
    database: Option<RoundsDatabase>,
    archive: Arc<DiskArchive>,
    queue: Arc<Queue>,
    writer: Option<thread::JoinHandle<()>>,
}

/// Shows no content.
impl fmt::Debug for RoundDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoundDisk").field("archive", &self.archive).finish_non_exhaustive()
    }
}

impl RoundDisk {
    /// Opens the store in a data directory, in a folder of its own, as
    /// [`DiskStore::open`](crate::DiskStore::open) does.
    ///
    /// # Errors
    /// If the directory cannot be written to, is in use, or its database is damaged.
    pub fn open(dir: &Path, secret: Option<&[u8]>, kept: Kept) -> Result<Self, StoreError> {
        Self::open_on(&dir.join(FOLDER), secret, kept, Owner::Us, Arc::new(Disk))
    }

    /// Opens a store only to read it: root may open anybody's. Nothing is removed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn inspect(dir: &Path, secret: Option<&[u8]>) -> Result<Self, StoreError> {
        let all = Kept { rounds: usize::MAX, audited: usize::MAX };
        Self::open_on(&dir.join(FOLDER), secret, all, Owner::OrAnyoneForRoot, Arc::new(Disk))
    }

    fn open_on(
        dir: &Path,
        secret: Option<&[u8]>,
        kept: Kept,
        owner: Owner,
        medium: Arc<dyn Medium>,
    ) -> Result<Self, StoreError> {
        let index = Arc::<Index>::default();
        let database = patiently(|| {
            let (vault, medium) = (Vault::new(secret)?, Arc::clone(&medium));
            RoundsDatabase::open(dir, vault, kept, owner, medium, Arc::clone(&index))
        })?;
        let archive = Arc::new(DiskArchive::new(database.files().clone(), index));
        Ok(Self { database: Some(database), archive, queue: Arc::default(), writer: None })
    }
}

impl RoundStore for RoundDisk {
    fn restore(&mut self, root: RootSeed) -> Result<RestoredRounds, StoreError> {
        let Some(database) = &mut self.database else { return Ok(RestoredRounds::new(root)) };
        let restored = database.load(root)?;
        self.archive.unlock(database.vault().clone());
        info!(
            round = restored.recovery.round().unwrap_or_default(),
            phase = %restored.recovery.phase(),
            completed = self.archive.rounds().len(),
            "the store of rounds of v2 is open"
        );
        Ok(restored)
    }

    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations) {
        if let Some(database) = self.database.take() {
            self.writer = start(database, &self.queue, confirmations);
        }
        self.queue.add(id, record);
    }

    fn clock(&mut self, elapsed: Duration) {
        self.queue.clock(elapsed);
    }

    fn archive(&self) -> Arc<dyn Archive> {
        self.archive.clone()
    }
}

/// Lets the writer write what is there, and waits for it: then the directory is free again.
impl Drop for RoundDisk {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // It does not panic, and there is nobody to tell.
            let _ = writer.join();
        }
    }
}

fn start(
    mut database: RoundsDatabase,
    queue: &Arc<Queue>,
    confirmations: &Confirmations,
) -> Option<thread::JoinHandle<()>> {
    let (queue, writer) = (Arc::clone(queue), confirmations.clone());
    let run = move || {
        // A panic must not leave everyone waiting.
        let ended = catch_unwind(AssertUnwindSafe(|| write_all(&mut database, &queue, &writer)));
        let failure = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => StoreError::Panicked(panic_text(&*panic)),
        };
        queue.close();
        writer.failed(failure);
    };
    match thread::Builder::new().name("store-v2".into()).spawn(run) {
        Ok(thread) => Some(thread),
        Err(error) => {
            confirmations.failed(StoreError::io("start a thread for", ".", error));
            None
        }
    }
}

fn write_all(
    database: &mut RoundsDatabase,
    queue: &Queue,
    confirmations: &Confirmations,
) -> Result<(), StoreError> {
    while let Some(Batch { records, clock }) = queue.take() {
        let last = records.back().map(|(id, _)| *id);
        database.commit(records.into_iter().map(|(_, record)| record).collect(), clock)?;
        if let Some(last) = last {
            confirmations.stored(last);
        }
    }
    Ok(())
}
