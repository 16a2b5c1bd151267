//! What was stored is there again, or it is said why not.

mod lost;
mod power;
mod sealing;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pet_core::{
    coordinator::{Coordinator, Output, Snapshot},
    crypto::{Blake2b, PublicEncryptKey},
    mask::Aggregation,
    message::{LocalSeedDict, OwnedChunk, Tag},
    round::RoundParameters,
    time::Timestamp,
};
use tempfile::TempDir;

use super::{files::DATABASE, *};
use crate::{settings::Settings, store::Confirmed};

const ROOT: [u8; 32] = [7; 32];
const SECRET: &[u8] = b"sixteen bytes and more";
/// So long that what grows with the model is kept in files.
const LONG: u64 = 40_000;

fn key(number: u8) -> pet_core::crypto::PublicSigningKey {
    pet_core::crypto::PublicSigningKey::new([number; 32])
}

/// The record that a round begins with, as a coordinator makes it.
fn began(length: u64, recovery: Option<Recovery>) -> Record {
    let settings = Settings::for_model_length(length).protocol();
    let recovery = recovery.unwrap_or_else(|| Recovery::new(RootSeed::new(ROOT)));
    let mut machine =
        Coordinator::resume(recovery, Duration::ZERO, settings, Timestamp::ZERO).unwrap();
    loop {
        match machine.poll_output() {
            Output::Persist { record, .. } => return record,
            Output::Idle(_) => panic!("no round begins"),
            _ => {}
        }
    }
}

fn parameters(record: &Record) -> Arc<RoundParameters> {
    match record {
        Record::RoundBegan { parameters, .. } => Arc::clone(parameters),
        other => panic!("{other:?}"),
    }
}

fn chunk(participant: u8, tag: Tag, message_id: u16, id: u16) -> Record {
    let message_id = MessageId(message_id);
    let data = Bytes::from(vec![id as u8; 10]);
    let chunk = OwnedChunk { id, message_id, is_last: false, data };
    Record::Chunk { participant: key(participant), tag, chunk, reserved: Some(100) }
}

fn updates(parameters: &RoundParameters, participants: &[u8], models: u64) -> Record {
    let length = parameters.model_length as usize;
    let sum = Aggregation::new(parameters.mask_config, length).object().clone();
    let seeds = participants.iter().map(|number| (key(*number), Arc::<LocalSeedDict>::default()));
    let aggregation = Some(Arc::new(Aggregation::with_nb_models(sum, models)));
    Record::Updates { seeds: seeds.collect(), aggregation }
}

/// All records of a round, and that with which the next one begins.
fn round(length: u64) -> Vec<Record> {
    let first = began(length, None);
    let parameters = parameters(&first);
    let ephemeral_key = PublicEncryptKey::new([9; 32]);
    let mask = |number: u8| Bytes::from(vec![number; 6 * length as usize]);
    let digest = |number| Blake2b::hash(&[&mask(number)]);
    let sum2 = |participant, number, first: bool| Record::Sum2 {
        participant: key(participant),
        digest: digest(number),
        mask: first.then(|| mask(number)),
    };
    let model = GlobalModel {
        round_id: 1,
        seed: parameters.seed,
        models: 4,
        rationals: vec![3; length as usize].into(),
        weights: None,
        optimizer: None,
    };
    let mut records = vec![
        first,
        chunk(1, Tag::Sum, 1, 0),
        Record::Sum { participant: key(1), ephemeral_key },
        Record::Sum { participant: key(2), ephemeral_key },
        Record::Sum { participant: key(3), ephemeral_key },
        chunk(4, Tag::Sum, 1, 0),
        Record::SumEnded,
        chunk(5, Tag::Update, 1, 0),
        chunk(6, Tag::Update, 1, 0),
        chunk(7, Tag::Update, 1, 1),
        // Another message of the same participant.
        chunk(6, Tag::Update, 2, 0),
        chunk(6, Tag::Update, 2, 1),
        updates(&parameters, &[4, 5], 2),
        Record::ChunksDropped { participants: vec![key(7)] },
        updates(&parameters, &[6], 3),
        updates(&parameters, &[7], 4),
        Record::UpdateEnded,
        sum2(1, 1, true),
        sum2(2, 2, true),
        sum2(3, 1, false),
        Record::Sum2Ended { digest: digest(1) },
        Record::Model(model),
    ];
    let mut recovery = Recovery::new(RootSeed::new(ROOT));
    records.iter().for_each(|record| recovery.apply(record.clone()).unwrap());
    records.push(began(length + 1, Some(recovery)));
    records
}

use pet_core::{coordinator::Recovery, message::MessageId};

struct Open {
    store: DiskStore,
    confirmations: Confirmations,
    confirmed: Confirmed,
    last: u64,
}

/// A test beside this one may be starting a program: until that runs, its process has a copy of every lock here, and a
/// store that was closed is still in use for a moment.
fn open_soon(dir: &TempDir, secret: Option<&[u8]>) -> Result<DiskStore, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match DiskStore::open(dir.path(), secret, 2) {
            Err(StoreError::InUse { .. }) if Instant::now() < deadline => {}
            opened => return opened,
        }
    }
}

fn open(dir: &TempDir, secret: Option<&[u8]>) -> Result<(Open, Restored), StoreError> {
    let mut store = open_soon(dir, secret)?;
    let restored = store.restore(RootSeed::new(ROOT))?;
    let (confirmations, confirmed) = Confirmations::channel();
    Ok((Open { store, confirmations, confirmed, last: 0 }, restored))
}

impl Open {
    fn persist(&mut self, record: Record) {
        self.last += 1;
        self.store.persist(PersistId(self.last), record, &self.confirmations);
    }

    /// Waits until all is stored.
    fn wait(&mut self) -> Result<(), StoreError> {
        loop {
            match self.confirmed.blocking_recv().unwrap() {
                Ok(PersistId(id)) if id == self.last => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// All of it, for comparing.
fn bytes(recovery: Recovery) -> Option<Vec<u8>> {
    Snapshot::of_records(recovery, Duration::ZERO).unwrap().map(|saved| saved.to_bytes().to_vec())
}

/// The files beside the database.
fn paths(dir: &TempDir) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for sub in ["models", "round"] {
        for entry in fs::read_dir(dir.path().join(sub)).unwrap() {
            names.insert(format!("{sub}/{}", entry.unwrap().file_name().to_str().unwrap()));
        }
    }
    names
}

/// The same without the seeds of their rounds.
fn names(dir: &TempDir) -> BTreeSet<String> {
    paths(dir).iter().map(|path| path.split('_').next().unwrap().to_owned()).collect()
}

/// A directory that nobody else may read.
fn private_dir() -> TempDir {
    let permissions = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(permissions).tempdir().unwrap()
}

/// Writes a file that nobody else may read.
fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// At whatever record it ends, and whether each record was stored by itself or all of them together.
#[test]
fn what_was_stored_is_there_again() {
    for (length, secret) in [(10, None), (LONG, Some(SECRET))] {
        let records = round(length);
        let one_by_one = private_dir();
        let mut expected = Recovery::new(RootSeed::new(ROOT));
        for (count, record) in records.iter().enumerate() {
            expected.apply(record.clone()).unwrap();
            let (mut store, restored) = open(&one_by_one, secret).unwrap();
            assert_eq!(restored.recovery.round_id().is_some(), count > 0);
            store.persist(record.clone());
            store.wait().unwrap();
            drop(store);
            let together = private_dir();
            // A large model is worth a look at the end only.
            if length < LONG || count + 1 == records.len() {
                let (mut store, _) = open(&together, secret).unwrap();
                records[..=count].iter().for_each(|record| store.persist(record.clone()));
                store.wait().unwrap();
                drop(store);
                let (_, restored) = open(&together, secret).unwrap();
                assert_eq!(bytes(restored.recovery), bytes(expected.clone()), "{count} {record:?}");
            }
            let (_, restored) = open(&one_by_one, secret).unwrap();
            assert_eq!(bytes(restored.recovery), bytes(expected.clone()), "{count} {record:?}");
        }
        let (store, _) = open(&one_by_one, secret).unwrap();
        assert_eq!(store.store.models().rounds(), [1]);
        assert_eq!(store.store.models().load(1).unwrap().unwrap().models, 4);
        assert_eq!(names(&one_by_one), BTreeSet::from(["models/1".into()]));
    }
}

#[test]
fn only_what_is_needed_is_kept() {
    let dir = private_dir();
    let (mut store, _) = open(&dir, None).unwrap();
    let records = round(LONG);
    for record in &records[..=15] {
        store.persist(record.clone());
        store.wait().unwrap();
    }
    assert_eq!(names(&dir).len(), 1, "the latest aggregate: {:?}", names(&dir));
    let rows = |dir: &TempDir| {
        let copy = private_dir();
        fs::copy(dir.path().join("coordinator.redb"), copy.path().join("x")).unwrap();
        let database = redb::Database::open(copy.path().join("x")).unwrap();
        use redb::{ReadableDatabase, ReadableTableMetadata};
        let table: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("log");
        database.begin_read().unwrap().open_table(table).unwrap().len().unwrap()
    };
    drop(store);
    // No chunk is left: a beginning, three sums, an end, three times updates.
    assert_eq!(rows(&dir), 8);
    let (mut store, _) = open(&dir, None).unwrap();
    records[16..].iter().for_each(|record| store.persist(record.clone()));
    store.wait().unwrap();
    drop(store);
    assert_eq!(rows(&dir), 1);
    assert_eq!(names(&dir), BTreeSet::from(["models/1".into()]));
}

#[test]
fn only_the_latest_models_are_kept() {
    let dir = private_dir();
    let mut last = None;
    for round_id in 1..=3 {
        let (mut store, restored) = open(&dir, None).unwrap();
        let mut recovery = restored.recovery;
        let mut records = round(10);
        records.truncate(21);
        if let Some(began) = last.take() {
            records[0] = began;
        } else {
            recovery = Recovery::new(RootSeed::new(ROOT));
        }
        let seed = parameters(&records[0]).seed;
        let model = GlobalModel {
            round_id,
            seed,
            models: 4,
            rationals: vec![].into(),
            weights: None,
            optimizer: None,
        };
        records.push(Record::Model(model));
        if round_id > 1 {
            // It is stored already.
            records.remove(0);
        }
        for record in records {
            recovery.apply(record.clone()).unwrap();
            store.persist(record);
        }
        let next = began(10, Some(recovery));
        store.persist(next.clone());
        store.wait().unwrap();
        last = Some(next);
    }
    let (store, _) = open(&dir, None).unwrap();
    assert_eq!(store.store.models().rounds(), [2, 3]);
    assert_eq!(names(&dir), BTreeSet::from(["models/2".into(), "models/3".into()]));
    assert_eq!(store.store.models().load(1).unwrap(), None);
}

#[test]
fn the_clock_is_the_phases_own() {
    let dir = private_dir();
    let records = round(10);
    let seconds = Duration::from_secs;
    let elapsed = |dir: &TempDir| open(dir, None).unwrap().1.elapsed;
    let (mut store, _) = open(&dir, None).unwrap();
    store.persist(records[0].clone());
    store.wait().unwrap();
    store.store.clock(seconds(5));
    drop(store);
    assert_eq!(elapsed(&dir), seconds(5));
    let (mut store, _) = open(&dir, None).unwrap();
    // Within the phase it stays what it was unless it is said otherwise.
    store.persist(records[2].clone());
    drop(store);
    assert_eq!(elapsed(&dir), seconds(5));
    let (mut store, _) = open(&dir, None).unwrap();
    store.store.clock(seconds(9));
    store.persist(Record::SumEnded);
    drop(store);
    assert_eq!(elapsed(&dir), seconds(0));
}

#[test]
fn a_directory_has_one_coordinator_at_a_time() {
    let dir = private_dir();
    let (store, _) = open(&dir, None).unwrap();
    let error = DiskStore::open(dir.path(), None, 2).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("--data-dir"), "{error}");
    drop(store);
    open(&dir, None).unwrap();
}

#[test]
fn a_sealed_store_needs_its_secret_and_shows_nothing_without() {
    let dir = private_dir();
    let (mut store, _) = open(&dir, Some(SECRET)).unwrap();
    store.persist(round(10)[0].clone());
    store.wait().unwrap();
    drop(store);
    let database = fs::read(dir.path().join("coordinator.redb")).unwrap();
    assert!(!database.windows(32).any(|window| window == ROOT), "the root seed is in the clear");
    let error = |secret| open(&dir, secret).err().unwrap();
    assert!(matches!(error(None), StoreError::NeedsSecret { .. }));
    assert!(matches!(error(Some(b"another secret of 16")), StoreError::WrongSecret { .. }));
    open(&dir, Some(SECRET)).unwrap();

    let plain = private_dir();
    drop(open(&plain, None).unwrap());
    let error = open(&plain, Some(SECRET)).err().unwrap();
    assert!(matches!(error, StoreError::NotSealed { .. }), "{error}");
}

/// Wherever the database is damaged: it is told, or what is read is what was written.
#[test]
fn a_damaged_database_is_told() {
    let dir = private_dir();
    let (mut store, _) = open(&dir, None).unwrap();
    round(10)[..18].iter().for_each(|record| store.persist(record.clone()));
    store.wait().unwrap();
    drop(store);
    let expected = bytes(open(&dir, None).unwrap().1.recovery);
    let path = dir.path().join("coordinator.redb");
    let whole = fs::read(&path).unwrap();
    let mut found = 0;
    let mut check = |what: &str, damaged: Vec<u8>| {
        let copy = private_dir();
        put(&copy.path().join("coordinator.redb"), &damaged);
        match open(&copy, None) {
            Ok((_, restored)) => assert_eq!(bytes(restored.recovery), expected, "{what}"),
            Err(error) => {
                assert!(error.to_string().contains("coordinator.redb"), "{what}: {error}");
                found += 1;
            }
        }
    };
    let used: Vec<usize> =
        whole.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
    for at in used.iter().step_by(used.len() / 100) {
        let mut damaged = whole.clone();
        damaged[*at] ^= 0x10;
        check(&format!("byte {at}"), damaged);
    }
    for length in [1, 100, 4096, whole.len() / 2, whole.len() - 1] {
        check(&format!("{length} bytes"), whole[..length].to_vec());
    }
    check("another file", b"not a database at all".repeat(1000));
    assert!(found > 10, "{found}");
}

#[test]
fn damaged_and_missing_files_are_told() {
    let dir = private_dir();
    let (mut store, _) = open(&dir, None).unwrap();
    round(LONG)[..18].iter().for_each(|record| store.persist(record.clone()));
    store.wait().unwrap();
    drop(store);
    assert_eq!(names(&dir).len(), 2, "an aggregate and a mask");
    for name in paths(&dir) {
        let path = dir.path().join(&name);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for (damaged, problem) in [
            (Some(whole[..whole.len() / 2].to_vec()), "bytes, not"),
            (Some(flipped), "checksum"),
            (None, "missing"),
        ] {
            match damaged {
                Some(bytes) => put(&path, &bytes),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = open(&dir, None).err().unwrap().to_string();
            assert!(error.contains(&name) && error.contains(problem), "{error}");
            assert!(error.contains("backup"), "{error}");
        }
        put(&path, &whole);
    }
    open(&dir, None).unwrap();
}

/// Nothing is confirmed from then on, and what was confirmed is still there.
#[test]
fn a_store_that_cannot_write_says_so_and_ends() {
    let dir = private_dir();
    let (mut store, _) = open(&dir, None).unwrap();
    let records = round(LONG);
    records[..=6].iter().for_each(|record| store.persist(record.clone()));
    store.wait().unwrap();
    fs::remove_dir(dir.path().join("round")).unwrap();
    store.persist(records[12].clone());
    let error = store.wait().unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains("round/aggregate"), "{error}");
    store.persist(records[14].clone());
    assert!(store.confirmed.try_recv().is_err());
    drop(store);
    let (_, restored) = open(&dir, None).unwrap();
    assert_eq!(restored.recovery.phase().to_string(), "update");
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let dir = private_dir();
    let path = dir.path().join("file");
    fs::write(&path, b"").unwrap();
    let error = DiskStore::open(&path, None, 1).unwrap_err().to_string();
    assert!(error.contains("cannot create the directory") && error.contains("file"), "{error}");
}

/// A slow disk must not pile up aggregates in memory.
#[test]
fn of_waiting_aggregates_only_the_latest_is_kept() {
    let queue = Queue::default();
    let parameters = parameters(&began(10, None));
    for number in 1..=5 {
        queue.add(PersistId(number), updates(&parameters, &[number as u8], number));
        queue.clock(Duration::from_secs(number));
    }
    let batch = queue.take().unwrap();
    let kept: Vec<_> =
        batch.records.iter().filter(|(_, record)| record.large().is_some()).collect();
    assert_eq!((batch.records.len(), kept.len()), (5, 1));
    assert_eq!(kept[0].0, PersistId(5));
    assert_eq!(batch.clock, Some(Duration::from_secs(5)));
    queue.close();
    queue.add(PersistId(6), Record::SumEnded);
    assert!(queue.take().is_none());
}

/// The disk is left alone as long as nothing happens but that time passes.
#[test]
fn a_clock_by_itself_is_rarely_written() {
    let seconds = Duration::from_secs;
    let queue = Queue::default();
    queue.add(PersistId(1), Record::SumEnded);
    assert!(queue.take().is_some());
    let mut written = Vec::new();
    for second in 1..=100 {
        queue.clock(seconds(second));
        if queue.lock().is_due() {
            written.push(queue.take().unwrap().clock.unwrap());
        }
    }
    assert_eq!(written, [30, 60, 90].map(seconds));
    // With what is written anyway, and at the end, it goes as well.
    queue.add(PersistId(2), Record::SumEnded);
    queue.clock(seconds(1));
    assert_eq!(queue.take().unwrap().clock, Some(seconds(1)));
    queue.clock(seconds(2));
    queue.close();
    assert_eq!(queue.take().unwrap().clock, Some(seconds(2)));
    assert!(queue.take().is_none());
}

/// Many messages share a sync.
#[test]
fn records_are_stored_in_groups() {
    let dir = private_dir();
    let (mut store, _) = open(&dir, None).unwrap();
    store.persist(round(10)[0].clone());
    let ephemeral_key = PublicEncryptKey::new([9; 32]);
    for number in 0..250 {
        store.persist(Record::Sum { participant: key(number), ephemeral_key });
    }
    let began = Instant::now();
    let mut confirmations = 0;
    while let Some(confirmed) = store.confirmed.blocking_recv() {
        confirmations += 1;
        if confirmed.unwrap() == PersistId(251) {
            break;
        }
    }
    assert!(confirmations < 125, "{confirmations} in {:?}", began.elapsed());
}
