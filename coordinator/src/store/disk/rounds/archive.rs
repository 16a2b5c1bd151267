//! Reading what is stored, while the writer goes on.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use pet_core::v2::coordinator::{Completed, Object};

use crate::store::{
    disk::{
        files::{FileRef, Files},
        vault::{Place, Vault},
    },
    rounds::Archive,
    StoreError,
};

/// Where a chunk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::disk) struct Location {
    /// The number of its record, which it is bound to.
    pub number: u64,
    /// The file, as a name in the data directory. Many chunks are in one.
    pub file: Arc<str>,
    pub position: u64,
    pub length: u64,
}

/// What is where: written by the writer once it is safe, read by everyone.
#[derive(Default)]
pub(in crate::store::disk) struct Index(Mutex<Entries>);

#[derive(Default)]
pub(in crate::store::disk) struct Entries {
    pub objects: BTreeMap<Object, BTreeMap<u64, Location>>,
    pub completed: BTreeMap<u64, FileRef>,
}

impl Index {
    pub fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nobody panics while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct DiskArchive {
    files: Files,
    index: Arc<Index>,
    /// Once the store is open.
    vault: OnceLock<Vault>,
}

/// Shows how much there is.
impl fmt::Debug for DiskArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.index.lock();
        let rounds: Vec<_> = entries.completed.keys().collect();
        write!(f, "DiskArchive({} objects, completed {rounds:?})", entries.objects.len())
    }
}

impl DiskArchive {
    pub fn new(files: Files, index: Arc<Index>) -> Self {
        Self { files, index, vault: OnceLock::new() }
    }

    pub fn unlock(&self, vault: Vault) {
        // It is opened once.
        let _ = self.vault.set(vault);
    }

    fn read(&self, location: &Location) -> Result<Bytes, StoreError> {
        let path = self.files.path(&location.file);
        let mut bytes = vec![0; usize::try_from(location.length).unwrap_or_default()];
        let read =
            File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, location.position));
        let damaged =
            |problem: &str| StoreError::Damaged { path: path.clone(), problem: problem.into() };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged("it is missing"),
            io::ErrorKind::UnexpectedEof => damaged("it is cut off"),
            _ => StoreError::io("read", path.clone(), error),
        })?;
        let vault = self.vault.get().ok_or_else(|| damaged("the store is not open"))?;
        let mut opened = vault
            .open(Place::Part(location.number), &bytes)
            .map_err(|_| damaged("a part of it does not open"))?;
        Ok(std::mem::take(&mut *opened).into())
    }

    /// What `read` gives, or nothing if it was removed meanwhile.
    fn unless_gone<T>(
        &self,
        read: Result<T, StoreError>,
        is_there: impl Fn(&Entries) -> bool,
    ) -> Result<Option<T>, StoreError> {
        match read {
            Err(_) if !is_there(&self.index.lock()) => Ok(None),
            read => read.map(Some),
        }
    }
}

impl Archive for DiskArchive {
    fn object(&self, object: &Object) -> Result<Option<Bytes>, StoreError> {
        let chunks = self.index.lock().objects.get(object).cloned();
        let Some(chunks) = chunks else { return Ok(None) };
        let read = || {
            let mut bytes = Vec::new();
            for location in chunks.values() {
                bytes.extend_from_slice(&self.read(location)?);
            }
            Ok(Bytes::from(bytes))
        };
        self.unless_gone(read(), |entries| entries.objects.contains_key(object))
    }

    fn chunk(&self, object: &Object, offset: u64) -> Result<Option<Bytes>, StoreError> {
        let location =
            self.index.lock().objects.get(object).and_then(|chunks| chunks.get(&offset)).cloned();
        let Some(location) = location else { return Ok(None) };
        self.unless_gone(self.read(&location), |entries| entries.objects.contains_key(object))
    }

    fn rounds(&self) -> Vec<u64> {
        self.index.lock().completed.keys().copied().collect()
    }

    fn completed(&self, round: u64) -> Result<Option<Arc<Completed>>, StoreError> {
        let file = self.index.lock().completed.get(&round).cloned();
        let Some(file) = file else { return Ok(None) };
        let read = read_completed(&self.files, &file).map(Arc::new);
        self.unless_gone(read, |entries| entries.completed.contains_key(&round))
    }
}

/// Reads the file of a completed round.
fn read_completed(files: &Files, file: &FileRef) -> Result<Completed, StoreError> {
    Completed::from_bytes(&files.read(file)?).map_err(|error| StoreError::Damaged {
        path: files.path(&file.name),
        problem: error.to_string(),
    })
}
