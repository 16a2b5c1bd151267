//! The database: the records of the current round, the coordinator's root seed, the phase's clock, and
//! what files there are.

use std::{
    collections::BTreeMap,
    panic::{catch_unwind, AssertUnwindSafe},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use pet_core::{
    coordinator::{GlobalModel, Large, Record, Recovery},
    crypto::{PublicSigningKey, RootSeed},
    message::MessageId,
};
use redb::{Database as Redb, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::{
    files::{FileRef, Files, MODELS, ROUND},
    panic_text,
    vault::{Closed, Vault},
};
use crate::store::{Restored, StoreError};

/// Single values by name.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// The records of the current round, in order, without their large parts.
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Large parts that are not so large, by the number of their record.
const PARTS: TableDefinition<u64, &[u8]> = TableDefinition::new("parts");
/// Large parts that are files: name, length, checksum.
const FILES: TableDefinition<u64, FileRow> = TableDefinition::new("files");
/// The global models that are kept, by round.
const MODEL_FILES: TableDefinition<u64, FileRow> = TableDefinition::new("models");

type FileRow = (&'static str, u64, &'static [u8]);

const VERSION: u64 = 1;
/// Files cost two more syncs; larger values than this make the database slow.
const LARGEST_PART: usize = 64 << 10;

/// The open store. Its file is locked.
pub(super) struct Database {
    redb: Redb,
    path: PathBuf,
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
}

/// A record on its way to the disk: its row, and its large part if that is still needed.
struct Row {
    record: Record,
    number: u64,
    part: Option<Part>,
}

enum Part {
    Inline(Vec<u8>),
    File(FileRef),
}

impl Database {
    pub fn open(dir: &Path, vault: Vault, models_kept: usize) -> Result<Self, StoreError> {
        let files = Files::create(dir)?;
        let path = dir.join("coordinator.redb");
        // The library panics over some damages.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            // A file altered behind our back is found out now, not in the middle of a round.
            Redb::builder().set_check_integrity_on_open(true).create(&path)
        }));
        let redb = match opened {
            Ok(Ok(redb)) => redb,
            Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(StoreError::InUse { path }),
            Ok(Err(error)) => return Err(broken("open", &path, error)),
            Err(panic) => return Err(StoreError::Damaged { path, problem: panic_text(&*panic) }),
        };
        Ok(Self {
            redb,
            path,
            files,
            vault,
            models_kept: models_kept.max(1),
            next: 1,
            chunks: BTreeMap::new(),
            aggregate: None,
            parts: BTreeMap::new(),
            models: BTreeMap::new(),
        })
    }

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

    fn begin(&self, root: &RootSeed) -> Result<(), StoreError> {
        let error = |error| self.broken("write", error);
        let transaction = self.redb.begin_write().map_err(|e| error(e.into()))?;
        {
            let mut meta = transaction.open_table(META).map_err(|e| error(e.into()))?;
            for table in [LOG, PARTS] {
                transaction.open_table(table).map_err(|e| error(e.into()))?;
            }
            for table in [FILES, MODEL_FILES] {
                transaction.open_table(table).map_err(|e| error(e.into()))?;
            }
            let version = meta.get("version").map_err(|e| error(e.into()))?;
            let version = version.map(|value| number(value.value()));
            match version {
                Some(VERSION) => {}
                Some(found) => {
                    let path = self.path.clone();
                    return Err(StoreError::Version { path, found, known: VERSION });
                }
                None => {
                    let root = self.vault.close(root.as_bytes());
                    meta.insert("version", &VERSION.to_le_bytes()[..])
                        .map_err(|e| error(e.into()))?;
                    meta.insert("root", &root[..]).map_err(|e| error(e.into()))?;
                }
            }
        }
        transaction.commit().map_err(|e| error(e.into()))
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
        let log = rows!(LOG, number, bytes => (number, bytes.to_vec()));
        let parts = rows!(PARTS, number, bytes => (number, bytes.to_vec()));
        let mut parts: BTreeMap<u64, Vec<u8>> = parts.into_iter().collect();
        let part_files = rows!(FILES, number, row => Ok((number, file_of(row, &self.path)?)));
        let part_files = part_files.into_iter().collect::<Result<BTreeMap<_, _>, _>>()?;
        let models = rows!(MODEL_FILES, round, row => Ok((round, file_of(row, &self.path)?)));
        self.models = models.into_iter().collect::<Result<_, StoreError>>()?;

        let root = meta.get("root").ok_or_else(|| self.damaged("there is no root seed"))?;
        let root = self.vault.open(root).map_err(|closed| match closed {
            Closed::NeedsSecret => StoreError::NeedsSecret { path: self.path.clone() },
            Closed::NotSealed => StoreError::NotSealed { path: self.path.clone() },
            Closed::DoesNotOpen => StoreError::WrongSecret { path: self.path.clone() },
        })?;
        let root = <[u8; 32]>::try_from(&root[..]);
        let root = root.map_err(|_| self.damaged("the root seed has another length"))?;
        let elapsed = meta.get("clock").map_or(0, |clock| number(clock));

        let referred = self.models.values().chain(part_files.values());
        self.files.sweep(&referred.map(|file| file.name.clone()).collect())?;
        let model = self.models.last_key_value().map(|(_, file)| read_model(&self.files, file));
        let mut recovery = Recovery::new(RootSeed::new(root)).with_model(model.transpose()?);
        for (number, bytes) in log {
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
            let open = |bytes: &[u8]| {
                self.vault.open(bytes).map_err(|_| damaged("a record does not open".into()))
            };
            let is_model =
                part_files.get(&number).is_some_and(|file| file.name.starts_with(MODELS));
            let large = match large {
                // Models are public.
                Some(large) if is_model => Some(Bytes::from(large)),
                Some(large) => Some(Bytes::from(std::mem::take(&mut *open(&large)?))),
                None => None,
            };
            let record = Record::from_bytes(&open(&bytes)?, large);
            let record = record.map_err(|error| damaged(error.to_string()))?;
            self.next = number + 1;
            self.note(number, &record);
            if matches!(record, Record::Updates { aggregation: Some(_), .. }) {
                self.aggregate = Some(number);
            }
            let applied = recovery.apply(record);
            let path = self.path.clone();
            applied.map_err(|source| StoreError::Records { path, source })?;
        }
        Ok(Restored { recovery, elapsed: Duration::from_millis(elapsed) })
    }

    /// Keeps the books about chunks: gives the numbers of the rows that are superseded.
    fn note(&mut self, number: u64, record: &Record) -> Vec<u64> {
        let mut superseded = Vec::new();
        let mut forget = |chunks: &mut BTreeMap<_, (MessageId, Vec<u64>)>, participant| {
            if let Some((_, mut rows)) = chunks.remove(participant) {
                superseded.append(&mut rows);
            }
        };
        match record {
            Record::Chunk { participant, chunk, .. } => {
                let id = chunk.message_id;
                if self.chunks.get(participant).is_some_and(|(known, _)| *known != id) {
                    forget(&mut self.chunks, participant);
                }
                let (_, rows) = self.chunks.entry(*participant).or_insert((id, Vec::new()));
                rows.push(number);
            }
            Record::Sum { participant, .. } | Record::Sum2 { participant, .. } => {
                forget(&mut self.chunks, participant);
            }
            Record::ChunksDropped { participants } => {
                participants.iter().for_each(|participant| forget(&mut self.chunks, participant));
            }
            Record::Updates { seeds, .. } => {
                seeds.iter().for_each(|(participant, _)| forget(&mut self.chunks, participant));
            }
            record if record.begins_phase() => {
                let all = std::mem::take(&mut self.chunks);
                superseded.extend(all.into_values().flat_map(|(_, rows)| rows));
            }
            _ => {}
        }
        superseded
    }

    /// Makes these records safe, all or none, and the time that the phase has been going on. After an
    /// error nothing more may be written.
    pub fn commit(
        &mut self,
        records: Vec<Record>,
        mut clock: Option<Duration>,
    ) -> Result<(), StoreError> {
        let rows = self.write_parts(records)?;
        let mut garbage = Vec::new();
        let error = |path: &Path, error| broken_by("write", path, error);
        let path = self.path.clone();
        let transaction = self.redb.begin_write().map_err(|e| error(&path, e.into()))?;
        {
            let open = |table| transaction.open_table(table).map_err(|e| error(&path, e.into()));
            let (mut log, mut parts) = (open(LOG)?, open(PARTS)?);
            let open = |table| transaction.open_table(table).map_err(|e| error(&path, e.into()));
            let (mut files, mut models) = (open(FILES)?, open(MODEL_FILES)?);
            let mut meta = transaction.open_table(META).map_err(|e| error(&path, e.into()))?;
            for Row { record, number, part } in rows {
                if record.begins_phase() {
                    clock = clock.or(Some(Duration::ZERO));
                }
                if matches!(record, Record::RoundBegan { .. }) {
                    // What came before is over: all but its model is forgotten.
                    log.retain(|_, _| false).map_err(|e| error(&path, e.into()))?;
                    parts.retain(|_, _| false).map_err(|e| error(&path, e.into()))?;
                    files.retain(|_, _| false).map_err(|e| error(&path, e.into()))?;
                    garbage.extend(std::mem::take(&mut self.parts).into_values());
                    self.chunks.clear();
                    self.aggregate = None;
                }
                for superseded in self.note(number, &record) {
                    log.remove(superseded).map_err(|e| error(&path, e.into()))?;
                }
                if matches!(record, Record::ChunksDropped { .. }) {
                    continue;
                }
                let bytes = self.vault.close(&record.to_bytes());
                log.insert(number, &bytes[..]).map_err(|e| error(&path, e.into()))?;
                let is_aggregate = part.is_some() && matches!(record, Record::Updates { .. });
                if let Some(old) = self.aggregate.take_if(|_| is_aggregate) {
                    parts.remove(old).map_err(|e| error(&path, e.into()))?;
                    files.remove(old).map_err(|e| error(&path, e.into()))?;
                    garbage.extend(self.parts.remove(&old));
                }
                if is_aggregate {
                    self.aggregate = Some(number);
                }
                match part {
                    None => {}
                    Some(Part::Inline(bytes)) => {
                        parts.insert(number, &bytes[..]).map_err(|e| error(&path, e.into()))?;
                    }
                    Some(Part::File(file)) => {
                        let row = (&file.name[..], file.length, &file.digest[..]);
                        files.insert(number, row).map_err(|e| error(&path, e.into()))?;
                        if let Record::Model(model) = &record {
                            models
                                .insert(model.round_id, row)
                                .map_err(|e| error(&path, e.into()))?;
                            self.models.insert(model.round_id, file);
                        } else {
                            self.parts.insert(number, file.name);
                        }
                    }
                }
                while self.models.len() > self.models_kept {
                    let Some((round_id, file)) = self.models.pop_first() else { break };
                    models.remove(round_id).map_err(|e| error(&path, e.into()))?;
                    garbage.push(file.name);
                }
            }
            if let Some(clock) = clock {
                let millis = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
                meta.insert("clock", &millis.to_le_bytes()[..])
                    .map_err(|e| error(&path, e.into()))?;
            }
        }
        transaction.commit().map_err(|e| error(&path, e.into()))?;
        self.files.remove(&garbage);
        Ok(())
    }

    /// Numbers the records, and writes the large parts that are still needed after the last of them.
    fn write_parts(&mut self, records: Vec<Record>) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::with_capacity(records.len());
        let (mut models, mut parts) = (false, false);
        let is = |position: Option<usize>, index| position.is_none_or(|last| index >= last);
        let began = records.iter().rposition(|record| matches!(record, Record::RoundBegan { .. }));
        let summed = records
            .iter()
            .rposition(|record| matches!(record, Record::Updates { aggregation: Some(_), .. }));
        for (index, record) in records.into_iter().enumerate() {
            let number = self.next;
            self.next += 1;
            let part = match record.large() {
                Some(Large::Model(model)) => {
                    models = true;
                    let name = format!("{MODELS}/{}", model.id());
                    Some(Part::File(self.files.write(name, &model.to_bytes())?))
                }
                Some(large) if is(began, index) => {
                    let kind = match large {
                        Large::Aggregation(_) if !is(summed, index) => {
                            rows.push(Row { record, number, part: None });
                            continue;
                        }
                        Large::Aggregation(_) => "aggregate",
                        _ => "mask",
                    };
                    let bytes = self.vault.close(&large.to_bytes());
                    if bytes.len() <= LARGEST_PART {
                        Some(Part::Inline(bytes))
                    } else {
                        parts = true;
                        let name = format!("{ROUND}/{kind}-{number}");
                        Some(Part::File(self.files.write(name, &bytes)?))
                    }
                }
                _ => None,
            };
            rows.push(Row { record, number, part });
        }
        let dirs = [(models, MODELS), (parts, ROUND)];
        self.files.sync(dirs.iter().filter(|(written, _)| *written).map(|(_, dir)| *dir))?;
        Ok(rows)
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

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

fn file_of((name, length, digest): (&str, u64, &[u8]), path: &Path) -> Result<FileRef, StoreError> {
    let digest = digest.try_into().map_err(|_| StoreError::Damaged {
        path: path.to_owned(),
        problem: format!("the checksum of {name} has another length"),
    })?;
    Ok(FileRef { name: name.to_owned(), length, digest })
}

fn broken(action: &'static str, path: &Path, error: DatabaseError) -> StoreError {
    broken_by(action, path, error.into())
}

/// What the library says, in our terms.
fn broken_by(action: &'static str, path: &Path, error: redb::Error) -> StoreError {
    match error {
        // That is what it says of a file that is no database.
        redb::Error::Io(error) if error.kind() != std::io::ErrorKind::InvalidData => {
            StoreError::io(action, path, error)
        }
        error => StoreError::Damaged { path: path.to_owned(), problem: error.to_string() },
    }
}
