//! The database: the records of the current round, the coordinator's root seed, the phase's clock, and
//! what files there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    panic::{catch_unwind, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use pet_core::{
    coordinator::{GlobalModel, Large, Record, Recovery},
    crypto::{PublicSigningKey, RootSeed},
    message::MessageId,
};
use redb::{
    Database as Redb, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use tracing::info;

use super::{
    files::{FileRef, Files, DATABASE, MODELS, ROUND},
    medium::{Backend, Medium},
    migrate::seal_anew,
    panic_text,
    vault::{Closed, Header, Place, Vault},
};
use crate::{
    private::Owner,
    store::{Restored, StoreError},
};

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

/// From the second on what is sealed is bound to its place; others are read, and brought up to it.
const VERSION: u64 = 2;
/// How much of the database is kept in memory at most. What is written is read again only at a start, so
/// that this hardly matters for speed; by default it would be a gibibyte.
const CACHE: usize = 64 << 20;
/// Files cost two more syncs; larger values than this make the database slow.
const LARGEST_PART: usize = 64 << 10;

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
    pub fn open(
        dir: &Path,
        vault: Vault,
        models_kept: usize,
        owner: Owner,
        medium: Arc<dyn Medium>,
    ) -> Result<Self, StoreError> {
        let files = Files::create(dir, owner, Arc::clone(&medium))?;
        let lock = lock(dir)?;
        let path = dir.join(DATABASE);
        // A new one has its name only once it is complete.
        let unfinished = path.with_extension("redb.new");
        let is_new = fs::metadata(&path).map_or(true, |data| data.len() == 0);
        if is_new {
            refuse_orphans(&files, &path)?;
            match medium.remove(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", unfinished, error));
                }
                _ => {}
            }
        }
        let place = if is_new { &unfinished } else { &path };
        let file = medium.open(place).map_err(|error| StoreError::io("open", place, error))?;
        // The library panics over some damages.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut builder = Redb::builder();
            // A file altered behind our back is found out now, not in the middle of a round.
            builder.set_check_integrity_on_open(true).set_cache_size(CACHE);
            builder.create_with_backend(Backend(file))
        }));
        let redb = match opened {
            Ok(Ok(redb)) => redb,
            Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(StoreError::InUse { path }),
            Ok(Err(error)) => return Err(broken("open", &path, error)),
            Err(panic) => return Err(StoreError::Damaged { path, problem: panic_text(&*panic) }),
        };
        Ok(Self {
            redb,
            _lock: lock,
            unfinished: is_new.then_some(unfinished),
            medium,
            path,
            files,
            vault,
            models_kept: models_kept.max(1),
            next: 1,
            chunks: BTreeMap::new(),
            aggregate: None,
            parts: BTreeMap::new(),
            models: BTreeMap::new(),
            tag: None,
            removed: Vec::new(),
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

    fn begin(&mut self, root: &RootSeed) -> Result<(), StoreError> {
        let transaction = self.write()?;
        let path = self.path.clone();
        let error = |error| broken_by("write", &path, error);
        {
            let mut meta = transaction.open_table(META).map_err(|e| error(e.into()))?;
            for table in [LOG, PARTS] {
                transaction.open_table(table).map_err(|e| error(e.into()))?;
            }
            for table in [FILES, MODEL_FILES] {
                transaction.open_table(table).map_err(|e| error(e.into()))?;
            }
            transaction.open_table(DROPPED).map_err(|e| error(e.into()))?;
            let mut stored = BTreeMap::new();
            for name in ["version", "sealing", "root"] {
                let value = meta.get(name).map_err(|e| error(e.into()))?;
                stored.extend(value.map(|value| (name, value.value().to_vec())));
            }
            let mut new = Vec::new();
            match stored.get("version").map(|version| number(version)) {
                Some(VERSION) => {
                    if let Some(header) = stored.get("sealing") {
                        let header = Header::from_bytes(header);
                        let header = header
                            .ok_or_else(|| self.damaged("how it is sealed cannot be read"))?;
                        self.vault.unlock(&header)?;
                    }
                }
                Some(1) => {
                    let root = stored.get("root").map(|root| self.vault.open_first(root));
                    let root = root.ok_or_else(|| self.damaged("there is no root seed"))?;
                    let root = root.map_err(|closed| self.closed(closed))?;
                    if self.vault.has_secret() {
                        new.push(("sealing", self.begin_to_seal()?));
                        seal_anew(&transaction, &self.vault, &self.files, &path)?;
                    }
                    new.push(("root", self.vault.close(Place::Root, &root)));
                    info!(version = VERSION, "the store is brought up to this version");
                }
                Some(found) => return Err(StoreError::Version { path, found, known: VERSION }),
                None => {
                    // These are of another root.
                    refuse_orphans(&self.files, &path)?;
                    if self.vault.has_secret() {
                        new.push(("sealing", self.begin_to_seal()?));
                    }
                    new.push(("root", self.vault.close(Place::Root, root.as_bytes())));
                }
            }
            if !new.is_empty() {
                new.push(("version", VERSION.to_le_bytes().to_vec()));
            }
            for (name, value) in new {
                meta.insert(name, &value[..]).map_err(|e| error(e.into()))?;
            }
        }
        transaction.commit().map_err(|e| error(e.into()))?;
        if let Some(unfinished) = self.unfinished.take() {
            let renamed = self.medium.rename(&unfinished, &self.path);
            renamed.map_err(|error| StoreError::io("write", &self.path, error))?;
        }
        // Only now is it sure to be found again.
        self.files.sync(["."])
    }

    /// Has the vault seal with a new key; gives what is to be stored about it.
    fn begin_to_seal(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|e| {
            StoreError::io("make a key for", &self.path, io::Error::other(e.to_string()))
        })?;
        let header = Header::new(&random);
        self.vault.unlock(&header)?;
        Ok(header.to_bytes())
    }

    fn closed(&self, closed: Closed) -> StoreError {
        let path = self.path.clone();
        match closed {
            Closed::NeedsSecret => StoreError::NeedsSecret { path },
            Closed::NotSealed => StoreError::NotSealed { path },
            Closed::DoesNotOpen => StoreError::WrongSecret { path },
        }
    }

    /// Begins to write. The library's short way to commit tells whole from half written by a checksum that
    /// is not made against adversaries, and outsiders choose what is written here: the long way syncs twice.
    fn write(&self) -> Result<WriteTransaction, StoreError> {
        let begun = self.redb.begin_write();
        let mut transaction = begun.map_err(|error| self.broken("write", error.into()))?;
        transaction.set_two_phase_commit(true);
        Ok(transaction)
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
        let part_files = part_files.into_iter().collect::<Result<BTreeMap<_, _>, _>>()?;
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
        let (rows, synced) = self.write_parts(records)?;
        let mut garbage = Vec::new();
        // Of what was removed before this it is sure now.
        let is_synced = |name: &String| synced.iter().any(|dir| name.starts_with(dir));
        let (gone, not_sure) = std::mem::take(&mut self.removed).into_iter().partition(is_synced);
        let gone: Vec<String> = gone;
        self.removed = not_sure;
        let error = |path: &Path, error| broken_by("write", path, error);
        let path = self.path.clone();
        let transaction = self.write()?;
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
                let bytes = self.vault.close(Place::Record(number), &record.to_bytes());
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
            let mut dropped =
                transaction.open_table(DROPPED).map_err(|e| error(&path, e.into()))?;
            for name in &gone {
                dropped.remove(&name[..]).map_err(|e| error(&path, e.into()))?;
            }
            for name in &garbage {
                dropped.insert(&name[..], ()).map_err(|e| error(&path, e.into()))?;
            }
            if let Some(clock) = clock {
                let millis = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
                meta.insert("clock", &millis.to_le_bytes()[..])
                    .map_err(|e| error(&path, e.into()))?;
            }
        }
        transaction.commit().map_err(|e| error(&path, e.into()))?;
        self.files.remove(&garbage);
        self.removed.append(&mut garbage);
        Ok(())
    }

    /// Numbers the records, and writes the large parts that are still needed after the last of them.
    /// Gives the directories as well that were synced after that.
    fn write_parts(
        &mut self,
        records: Vec<Record>,
    ) -> Result<(Vec<Row>, Vec<&'static str>), StoreError> {
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
            self.enter_round(&record);
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
                    let bytes = self.vault.close(Place::Part(number), &large.to_bytes());
                    if bytes.len() <= LARGEST_PART {
                        Some(Part::Inline(bytes))
                    } else {
                        parts = true;
                        let tag = self.tag.as_deref().unwrap_or_default();
                        let name = format!("{ROUND}/{kind}-{number}-{tag}");
                        Some(Part::File(self.files.write(name, &bytes)?))
                    }
                }
                _ => None,
            };
            rows.push(Row { record, number, part });
        }
        let dirs = [(models, MODELS), (parts, ROUND)];
        let dirs = dirs.into_iter().filter_map(|(written, dir)| written.then_some(dir));
        let dirs: Vec<&'static str> = dirs.collect();
        self.files.sync(dirs.iter().copied())?;
        Ok((rows, dirs))
    }

    fn damaged(&self, problem: &str) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), problem: problem.to_owned() }
    }

    fn broken(&self, action: &'static str, error: redb::Error) -> StoreError {
        broken_by(action, &self.path, error)
    }
}

/// Keeps others out of a directory, as long as it is open: the database's own lock does so only once there is
/// one.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let file = File::open(dir).map_err(|error| StoreError::io("open", dir, error))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.to_owned() }),
        // Not all file systems can lock directories.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// A store's files without its database: whoever has lost that does not want to lose these as well.
fn refuse_orphans(files: &Files, path: &Path) -> Result<(), StoreError> {
    let mut orphans = files.ours()?;
    if orphans.is_empty() {
        return Ok(());
    }
    let (path, count) = (path.to_owned(), orphans.len());
    Err(StoreError::Orphans { path, count, first: orphans.swap_remove(0) })
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

fn broken(action: &'static str, path: &Path, error: DatabaseError) -> StoreError {
    broken_by(action, path, error.into())
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
