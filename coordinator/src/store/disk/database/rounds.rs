//! The database of rounds of v2: the records of the current round, where the chunks of objects are, and which completed
//! rounds are kept.
//!
//! Opening, sealing, and what surrounds it are those of the database of v1, which has another folder.

mod writing;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use pet_core::{
    crypto::{Digest, PublicSigningKey, RootSeed},
    mask::accounting::Ledger,
    v2::{
        coordinator::{Completed, Object, ObjectKind, Record, Recovery},
        wire::{Reader, Writer},
        DecodeError,
    },
};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::{file_of, number, Database, FileRow, DROPPED, LOG, META};
use crate::{
    private::Owner,
    store::{
        disk::{
            files::Files,
            medium::Medium,
            panic_text,
            rounds::{Index, Location},
            vault::{Place, Vault},
        },
        rounds::{Kept, RestoredRounds},
        StoreError,
    },
};

/// Where chunks are, by the numbers of their records.
const CHUNKS: TableDefinition<u64, &[u8]> = TableDefinition::new("chunks");
/// What updaters have spent of their privacy: the two parts of their ledgers.
const SPENT: TableDefinition<&[u8], (u64, u64)> = TableDefinition::new("spent");
/// The completed rounds that are kept.
const COMPLETED: TableDefinition<u64, FileRow> = TableDefinition::new("completed");

/// The open store. Its file is locked.
pub(in crate::store::disk) struct RoundsDatabase {
    base: Database,
    kept: Kept,
    /// What is where, for whoever reads.
    index: Arc<Index>,
    /// The files that chunks are in, and of which round.
    files: BTreeMap<Arc<str>, u64>,
    /// The round that the records are about.
    round: u64,
}

impl RoundsDatabase {
    /// Opens the store in a directory, and nothing in it yet.
    pub fn open(
        dir: &Path,
        vault: Vault,
        kept: Kept,
        owner: Owner,
        medium: Arc<dyn Medium>,
        index: Arc<Index>,
    ) -> Result<Self, StoreError> {
        let base = Database::open(dir, vault, kept.rounds, owner, medium)?;
        Ok(Self { base, kept, index, files: BTreeMap::new(), round: 0 })
    }

    pub fn files(&self) -> &Files {
        &self.base.files
    }

    pub fn vault(&self) -> &Vault {
        &self.base.vault
    }

    /// Reads all that is there; begins with `root` if nothing is.
    pub fn load(&mut self, root: RootSeed) -> Result<RestoredRounds, StoreError> {
        let path = self.base.path.clone();
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            self.base.begin(&root)?;
            self.begin_tables()?;
            self.read()
        }));
        loaded
            .unwrap_or_else(|panic| Err(StoreError::Damaged { path, problem: panic_text(&*panic) }))
    }

    /// Makes the tables that v1 does not have.
    fn begin_tables(&self) -> Result<(), StoreError> {
        let broken = |error| self.base.broken("write", error);
        let transaction = self.base.write()?;
        transaction.open_table(CHUNKS).map_err(|error| broken(error.into()))?;
        transaction.open_table(COMPLETED).map_err(|error| broken(error.into()))?;
        transaction.open_table(SPENT).map_err(|error| broken(error.into()))?;
        transaction.commit().map_err(|error| broken(error.into()))
    }

    fn read(&mut self) -> Result<RestoredRounds, StoreError> {
        let read = self.base.redb.begin_read();
        let read = read.map_err(|error| self.base.broken("read", error.into()))?;
        macro_rules! rows {
            ($table:expr, $key:ident, $value:ident => $row:expr) => {{
                let table = read.open_table($table);
                let table = table.map_err(|error| self.base.broken("read", error.into()))?;
                let mut rows = Vec::new();
                for row in table.iter().map_err(|error| self.base.broken("read", error.into()))? {
                    let ($key, $value) =
                        row.map_err(|error| self.base.broken("read", error.into()))?;
                    let ($key, $value) = ($key.value(), $value.value());
                    rows.push($row);
                }
                rows
            }};
        }
        let meta = rows!(META, name, value => (name.to_owned(), value.to_vec()));
        let meta: BTreeMap<String, Vec<u8>> = meta.into_iter().collect();
        let dropped = rows!(DROPPED, name, _gone => name.to_owned());
        let dropped: BTreeSet<String> = dropped.into_iter().collect();
        let completed = rows!(COMPLETED, round, row => Ok((round, file_of(row, &self.base.path)?)));
        let completed = completed.into_iter().collect::<Result<BTreeMap<_, _>, StoreError>>()?;
        let chunks = rows!(CHUNKS, number, bytes => (number, bytes.to_vec()));
        let log = rows!(LOG, number, bytes => (number, bytes.to_vec()));
        let spent = rows!(SPENT, updater, parts => {
            let updater = updater.try_into().map(PublicSigningKey::new);
            let updater = updater.map_err(|_| self.base.damaged("a ledger has no key"))?;
            (updater, Ledger::from_parts(parts.0, parts.1))
        });

        let root = meta.get("root").ok_or_else(|| self.base.damaged("there is no root seed"))?;
        let root = self.base.vault.open(Place::Root, root);
        let root = root.map_err(|closed| self.base.closed(closed))?;
        let root = <[u8; 32]>::try_from(&root[..]);
        let root = root.map_err(|_| self.base.damaged("the root seed has another length"))?;
        let elapsed = Duration::from_millis(meta.get("clock").map_or(0, |clock| number(clock)));

        for (number, bytes) in chunks {
            let (object, offset, location) = self.chunk(number, &bytes)?;
            self.base.next = self.base.next.max(number + 1);
            self.files.insert(Arc::clone(&location.file), object.round);
            self.index.lock().objects.entry(object).or_default().insert(offset, location);
        }
        let last = completed.last_key_value().map(|(_, file)| self.base.files.read(file));
        let last = last.transpose()?.map(Bytes::from);
        let read = |bytes: &Bytes| {
            let read = Completed::from_bytes(bytes).map(Arc::new);
            read.map_err(|error| self.base.damaged(&error.to_string()))
        };
        let last_round = last.as_ref().map(read).transpose()?;
        let mut recovery = Recovery::new(RootSeed::new(root)).with_completed(last_round);
        let completed_by = meta.get("completed").map(|at| number(at));
        let mut records = Vec::with_capacity(log.len());
        for (number, bytes) in log {
            let damaged = |problem: String| {
                let path = self.base.path.clone();
                StoreError::Damaged { path, problem }
            };
            let opened = self.base.vault.open(Place::Record(number), &bytes);
            let opened = opened.map_err(|_| damaged("a record does not open".into()))?;
            let large = last.clone().filter(|_| completed_by == Some(number));
            let record = Record::from_bytes(&opened, large);
            let record = record.map_err(|error| damaged(error.to_string()))?;
            self.base.next = self.base.next.max(number + 1);
            self.enter_round(&record);
            records.push(record.clone());
            let path = &self.base.path;
            recovery.apply(record).map_err(|source| damaged_records(path, &source))?;
        }
        let referred = completed.values().map(|file| file.name.clone());
        let referred = referred.chain(self.files.keys().map(|name| name.to_string())).collect();
        self.base.files.sweep(&referred, &dropped, self.base.tag.as_deref())?;
        self.base.removed = dropped.into_iter().collect();
        self.index.lock().completed = completed;
        Ok(RestoredRounds { recovery, elapsed, records, spent: spent.into_iter().collect() })
    }

    /// Keeps in mind which round it is.
    fn enter_round(&mut self, record: &Record) {
        if let Record::RoundBegan { terms, .. } = record {
            self.round = terms.round;
            self.base.tag = Some(format!("{}_{}", terms.round, terms.context()));
        }
    }

    fn chunk(&self, number: u64, bytes: &[u8]) -> Result<(Object, u64, Location), StoreError> {
        let damaged = |problem: String| {
            let path = self.base.path.clone();
            StoreError::Damaged { path, problem }
        };
        let opened = self.base.vault.open(Place::Chunk(number), bytes);
        let opened = opened.map_err(|_| damaged("a chunk's place does not open".into()))?;
        read_chunk(number, &opened).map_err(|error| damaged(error.to_string()))
    }
}

fn damaged_records(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), problem: error.to_string() }
}

/// The longest name of a file with chunks.
const LONGEST_NAME: usize = 256;

/// Which chunk it is, and where.
fn write_chunk(object: &Object, offset: u64, location: &Location) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u64(object.round);
    match &object.kind {
        ObjectKind::Mask { group, digest } => {
            writer.u8(1);
            writer.u8(*group);
            writer.raw(digest.as_bytes());
        }
        ObjectKind::Update(updater) => {
            writer.u8(0);
            writer.raw(updater.as_bytes());
        }
        // Of a later core: nothing that this version is given.
        _ => writer.u8(u8::MAX),
    }
    writer.u64(offset);
    writer.bytes(location.file.as_bytes());
    writer.u64(location.position);
    writer.u64(location.length);
    writer.finish()
}

fn read_chunk(number: u64, bytes: &[u8]) -> Result<(Object, u64, Location), DecodeError> {
    let mut reader = Reader::new("place of a chunk", bytes);
    let round = reader.u64("round")?;
    let kind = match reader.u8("kind")? {
        0 => ObjectKind::Update(PublicSigningKey::new(reader.array("updater")?)),
        1 => {
            let group = reader.u8("group")?;
            ObjectKind::Mask { group, digest: Digest::new(reader.array("digest")?) }
        }
        _ => return Err(reader.malformed("kind", "is unknown")),
    };
    let offset = reader.u64("offset")?;
    let file = reader.text(LONGEST_NAME, "file")?.into();
    let (position, length) = (reader.u64("position")?, reader.u64("length")?);
    reader.end()?;
    Ok((Object { round, kind }, offset, Location { number, file, position, length }))
}
