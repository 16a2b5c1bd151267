//! The database: the records of the current round, the coordinator's root seed, the phase's clock, and
//! what files there are.

mod opening;
mod rounds;
mod writing;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    panic::{catch_unwind, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use pet_core::{
    coordinator::{GlobalModel, Record, Recovery},
    crypto::{PublicSigningKey, RootSeed},
    message::MessageId,
};
use redb::{Database as Redb, ReadableDatabase, ReadableTable, TableDefinition};

pub(super) use self::rounds::RoundsDatabase;
use super::{
    files::{FileRef, Files, MODELS},
    medium::Medium,
    panic_text,
    vault::{Place, Vault},
};
use crate::store::{Restored, StoreError};

/// Single values by name.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// The records of the current round, in order, without their large parts.
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Large parts that are not so large, by the number of their record.
pub(super) const PARTS: TableDefinition<u64, &[u8]> = TableDefinition::new("parts");
/// Large parts that are files: name, length, checksum.
pub(super) const FILES: TableDefinition<u64, FileRow> = TableDefinition::new("files");
/// The global models that are kept, by round.
const MODEL_FILES: TableDefinition<u64, FileRow> = TableDefinition::new("models");

/// Files that nothing refers to any more, until it is sure that they are gone.
pub(super) const DROPPED: TableDefinition<&str, ()> = TableDefinition::new("dropped");

pub(super) type FileRow = (&'static str, u64, &'static [u8]);

/// The open store. Its file is locked.
pub(super) struct Database {
    redb: Redb,
    _lock: File,
    path: PathBuf,
    /// Where it is as long as nothing was begun in it.
    unfinished: Option<PathBuf>,
    medium: Arc<dyn Medium>,
    files: Files,
    vault: Vault,
    models_kept: usize,
    next: u64,
    /// Where the rows of incomplete messages are.
    chunks: BTreeMap<PublicSigningKey, (MessageId, Vec<u64>)>,
    /// The record that has the latest aggregate.
    aggregate: Option<u64>,
    /// The files of large parts.
    parts: BTreeMap<u64, String>,
    models: BTreeMap<u64, FileRef>,
    /// The current round, as names of files have it.
    tag: Option<String>,
    /// Files that were removed, but may come back if the power is lost.
    removed: Vec<String>,
}

impl Database {
    pub fn models(&self) -> &BTreeMap<u64, FileRef> {
        &self.models
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Reads all that is there; begins with `root` if nothing is.
    pub fn load(&mut self, root: RootSeed) -> Result<Restored, StoreError> {
        let path = self.path.clone();
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            self.begin(&root)?;
            self.read()
        }));
        loaded
            .unwrap_or_else(|panic| Err(StoreError::Damaged { path, problem: panic_text(&*panic) }))
    }

    fn read(&mut self) -> Result<Restored, StoreError> {
        let read = self.redb.begin_read();
        let read = read.map_err(|error| self.broken("read", error.into()))?;
        macro_rules! rows {
            ($table:expr, $key:ident, $value:ident => $row:expr) => {{
                let table = read.open_table($table);
                let table = table.map_err(|error| self.broken("read", error.into()))?;
                let mut rows = Vec::new();
                for row in table.iter().map_err(|error| self.broken("read", error.into()))? {
                    let ($key, $value) = row.map_err(|error| self.broken("read", error.into()))?;
                    let ($key, $value) = ($key.value(), $value.value());
                    rows.push($row);
                }
                rows
            }};
        }
        let meta = rows!(META, name, value => (name.to_owned(), value.to_vec()));
        let meta: BTreeMap<String, Vec<u8>> = meta.into_iter().collect();
        let parts = rows!(PARTS, number, bytes => (number, bytes.to_vec()));
        let mut parts: BTreeMap<u64, Vec<u8>> = parts.into_iter().collect();
        let part_files = rows!(FILES, number, row => Ok((number, file_of(row, &self.path)?)));
        let part_files = part_files.into_iter().collect::<Result<BTreeMap<_, _>, StoreError>>()?;
        let dropped = rows!(DROPPED, name, _gone => name.to_owned());
        let dropped: BTreeSet<String> = dropped.into_iter().collect();
        let models = rows!(MODEL_FILES, round, row => Ok((round, file_of(row, &self.path)?)));
        self.models = models.into_iter().collect::<Result<_, StoreError>>()?;

        let root = meta.get("root").ok_or_else(|| self.damaged("there is no root seed"))?;
        let root = self.vault.open(Place::Root, root).map_err(|closed| self.closed(closed))?;
        let root = <[u8; 32]>::try_from(&root[..]);
        let root = root.map_err(|_| self.damaged("the root seed has another length"))?;
        let elapsed = meta.get("clock").map_or(0, |clock| number(clock));

        let referred = self.models.values().chain(part_files.values());
        let referred: BTreeSet<String> = referred.map(|file| file.name.clone()).collect();
        let model = self.models.last_key_value().map(|(_, file)| read_model(&self.files, file));
        let mut recovery = Recovery::new(RootSeed::new(root)).with_model(model.transpose()?);
        let log = read.open_table(LOG);
        let log = log.map_err(|error| self.broken("read", error.into()))?;
        // One by one: all of them, read and opened, would be in memory three times.
        for row in log.iter().map_err(|error| self.broken("read", error.into()))? {
            let (number, bytes) = row.map_err(|error| self.broken("read", error.into()))?;
            let number = number.value();
            let mut at = self.path.clone();
            let mut large = parts.remove(&number);
            if let Some(file) = part_files.get(&number) {
                at = self.files.path(&file.name);
                large = Some(self.files.read(file)?);
                // Models are removed by their own rule.
                if !self.models.values().any(|model| model.name == file.name) {
                    self.parts.insert(number, file.name.clone());
                }
            }
            let damaged = |problem: String| StoreError::Damaged { path: at.clone(), problem };
            let open = |place: Place, bytes: &[u8]| {
                self.vault.open(place, bytes).map_err(|_| damaged("a record does not open".into()))
            };
            let is_model =
                part_files.get(&number).is_some_and(|file| file.name.starts_with(MODELS));
            let large = match large {
                // Models are public.
                Some(large) if is_model => Some(Bytes::from(large)),
                Some(large) => {
                    Some(Bytes::from(std::mem::take(&mut *open(Place::Part(number), &large)?)))
                }
                None => None,
            };
            let record = Record::from_bytes(&open(Place::Record(number), bytes.value())?, large);
            let record = record.map_err(|error| damaged(error.to_string()))?;
            self.next = number + 1;
            self.enter_round(&record);
            self.note(number, &record);
            if matches!(record, Record::Updates { aggregation: Some(_), .. }) {
                self.aggregate = Some(number);
            }
            let applied = recovery.apply(record);
            let path = self.path.clone();
            applied.map_err(|source| StoreError::Records { path, source })?;
        }
        self.files.sweep(&referred, &dropped, self.tag.as_deref())?;
        self.removed = dropped.into_iter().collect();
        Ok(Restored { recovery, elapsed: Duration::from_millis(elapsed) })
    }

    /// Keeps in mind which round it is.
    fn enter_round(&mut self, record: &Record) {
        if let Record::RoundBegan { round_id, parameters, .. } = record {
            self.tag = Some(format!("{round_id}_{}", parameters.seed));
        }
    }

    fn damaged(&self, problem: &str) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), problem: problem.to_owned() }
    }

    fn broken(&self, action: &'static str, error: redb::Error) -> StoreError {
        broken_by(action, &self.path, error)
    }
}

/// Reads a global model's file.
pub(super) fn read_model(files: &Files, file: &FileRef) -> Result<GlobalModel, StoreError> {
    GlobalModel::from_bytes(&files.read(file)?).map_err(|error| StoreError::Damaged {
        path: files.path(&file.name),
        problem: error.to_string(),
    })
}

pub(super) fn file_of(
    (name, length, digest): (&str, u64, &[u8]),
    path: &Path,
) -> Result<FileRef, StoreError> {
    let digest = digest.try_into().map_err(|_| StoreError::Damaged {
        path: path.to_owned(),
        problem: format!("the checksum of {name} has another length"),
    })?;
    Ok(FileRef { name: name.to_owned(), length, digest })
}

/// What the library says, in our terms.
pub(super) fn broken_by(action: &'static str, path: &Path, error: redb::Error) -> StoreError {
    match error {
        // These are what it says of a file that is no database, and of one that is cut off.
        redb::Error::Io(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::io(action, path, error)
        }
        error => StoreError::Damaged { path: path.to_owned(), problem: error.to_string() },
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}
