use std::{fs, time::Instant};

use bytes::Bytes;
use pet_core::{
    crypto::{Digest, PublicSigningKey, Seed, SigningKeyPair},
    mask::{BoundType, DataType, GroupType, MaskConfig, ModelType},
    time::Timestamp,
    v2::{
        coordinator::{
            Coordinator, CountRange, Object, ObjectKind, Output, Settings, TimeRange, Times,
        },
        Admission, Group, Roster, TREE_LEAF,
    },
};

use super::*;
use crate::store::Confirmed;

/// The record that a coordinator begins its first round with.
fn round_began(root: u8) -> Record {
    let key = |byte: u8| SigningKeyPair::from_seed(&Seed::new([byte; 32])).public();
    let groups = vec![Group::new("a", vec![key(1)]), Group::new("b", vec![key(2)])];
    let roster = Roster::new(groups, Admission::Authority(key(3))).unwrap();
    let mask = MaskConfig::new(GroupType::Word32, DataType::F32, BoundType::B0, ModelType::M3);
    let time = TimeRange { min: Duration::ZERO, max: Duration::from_secs(60) };
    let count = CountRange { min: 3, max: 10 };
    let settings = Settings::new(roster, mask.unwrap(), 4, 3, count, Times::all(time));
    let mut machine =
        Coordinator::new(settings, RootSeed::new([root; 32]), Timestamp::ZERO).unwrap();
    loop {
        match machine.poll_output() {
            Output::Persist { record, .. } => return record,
            Output::Idle(_) => panic!("no round begins"),
            _ => {}
        }
    }
}

/// The same for a later round. (A store does not look at its keys.)
fn next_round(before: &Record) -> Record {
    let Record::RoundBegan { terms, roster } = before else { panic!("{before:?}") };
    let mut terms = (**terms).clone();
    terms.round += 1;
    Record::RoundBegan { terms: terms.into(), roster: roster.clone() }
}

fn updater(byte: u8) -> PublicSigningKey {
    PublicSigningKey::new([byte; 32])
}

fn chunk(byte: u8, index: u32, data: &[u8]) -> Record {
    Record::Chunk { updater: updater(byte), index, data: Bytes::copy_from_slice(data) }
}

fn object(round: u64, byte: u8) -> Object {
    Object { round, kind: ObjectKind::Update(updater(byte)) }
}

struct Open {
    store: RoundDisk,
    confirmations: Confirmations,
    confirmed: Confirmed,
    last: u64,
}

impl Open {
    fn new(dir: &Path, secret: Option<&[u8]>) -> Self {
        let kept = Kept { rounds: 2, audited: 1 };
        let mut store = RoundDisk::open(dir, secret, kept).unwrap();
        store.restore(RootSeed::new([1; 32])).unwrap();
        let (confirmations, confirmed) = Confirmations::channel();
        Self { store, confirmations, confirmed, last: 0 }
    }

    /// Stores all of them, and waits until they are safe.
    fn persist(&mut self, records: Vec<Record>) {
        for record in records {
            self.last += 1;
            self.store.persist(PersistId(self.last), record, &self.confirmations);
        }
        while self.confirmed.blocking_recv().unwrap().unwrap() < PersistId(self.last) {}
    }

    fn read(&self, object: &Object) -> Option<Bytes> {
        self.store.archive().object(object).unwrap()
    }
}

fn files(dir: &Path) -> Vec<String> {
    let listed = fs::read_dir(dir.join("v2/round")).unwrap();
    listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn objects_are_put_together_in_order_and_leave_with_their_round() {
    for secret in [None, Some(&b"a secret of sixteen bytes"[..])] {
        let dir = tempfile::tempdir().unwrap();
        let began = round_began(1);
        let mut open = Open::new(dir.path(), secret);
        let (first, second) = (vec![7; TREE_LEAF], b"the rest".to_vec());
        open.persist(vec![
            began.clone(),
            chunk(1, 1, &second),
            chunk(2, 0, b"another's"),
            chunk(1, 0, &first),
        ]);
        let digest = Digest::new([9; 32]);
        let data = Bytes::from_static(b"a mask");
        open.persist(vec![Record::MaskChunk { group: 1, digest, index: 0, data }]);
        assert_eq!(open.read(&object(1, 1)).unwrap(), [&first[..], &second].concat());
        assert_eq!(open.read(&object(1, 2)).unwrap(), &b"another's"[..]);
        let mask = Object { round: 1, kind: ObjectKind::Mask { group: 1, digest } };
        assert_eq!(open.read(&mask).unwrap(), &b"a mask"[..]);
        let archive = open.store.archive();
        let offset = TREE_LEAF as u64;
        assert_eq!(archive.chunk(&object(1, 1), offset).unwrap().unwrap(), &second[..]);
        assert_eq!(archive.chunk(&object(1, 1), 1).unwrap(), None);
        assert_eq!(open.read(&object(1, 3)), None);
        assert_eq!(open.read(&object(2, 1)), None);
        // Nobody reads on the disk what is sealed.
        let bytes = files(dir.path());
        let read = |name: &String| fs::read(dir.path().join("v2/round").join(name)).unwrap();
        let holds = |text: &[u8]| {
            bytes.iter().any(|name| read(name).windows(text.len()).any(|at| at == text))
        };
        assert_eq!(holds(b"another's"), secret.is_none());

        // What has given way is gone; the others are not.
        open.persist(vec![Record::UploadDropped { updater: updater(1) }]);
        assert_eq!(open.read(&object(1, 1)), None);
        assert!(open.read(&object(1, 2)).is_some());
        open.persist(vec![chunk(1, 0, b"again")]);
        assert_eq!(open.read(&object(1, 1)).unwrap(), &b"again"[..]);
        // A round that was not completed leaves nothing.
        open.persist(vec![next_round(&began)]);
        assert_eq!((open.read(&object(1, 1)), open.read(&object(1, 2))), (None, None));
        assert_eq!(files(dir.path()), Vec::<String>::new());
        open.persist(vec![chunk(1, 0, b"of round 2")]);
        assert_eq!(open.read(&object(2, 1)).unwrap(), &b"of round 2"[..]);
    }
}

#[test]
fn what_is_damaged_or_missing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut open = Open::new(dir.path(), Some(b"a secret of sixteen bytes"));
    open.persist(vec![round_began(1), chunk(1, 0, b"some bytes")]);
    let [file] = &files(dir.path())[..] else { panic!("not one file") };
    let path = dir.path().join("v2/round").join(file);
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[20] ^= 1;
    for (bytes, problem) in [(&flipped[..], "does not open"), (&good[..good.len() - 1], "cut off")]
    {
        fs::write(&path, bytes).unwrap();
        let error = open.store.archive().object(&object(1, 1)).unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains(file), "{error}");
    }
    fs::remove_file(&path).unwrap();
    let error = open.store.archive().object(&object(1, 1)).unwrap_err().to_string();
    assert!(error.contains("it is missing"), "{error}");
}

#[test]
fn one_process_at_a_time_and_the_secret_that_it_was_begun_with() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept { rounds: 1, audited: 1 };
    let secret = Some(&b"a secret of sixteen bytes"[..]);
    let mut open = Open::new(dir.path(), secret);
    open.persist(vec![round_began(1)]);
    let began = Instant::now();
    let error = RoundDisk::open(dir.path(), secret, kept).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    // (For a moment a program that is just being started has it, with a copy of the lock.)
    assert!(began.elapsed() >= Duration::from_secs(1));
    drop(open);
    for (secret, expected) in
        [(None, "is sealed"), (Some(&b"another secret, also long"[..]), "not the one")]
    {
        let mut store = RoundDisk::open(dir.path(), secret, kept).unwrap();
        let error = store.restore(RootSeed::new([1; 32])).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut store = RoundDisk::open(dir.path(), secret, kept).unwrap();
    let restored = store.restore(RootSeed::new([9; 32])).unwrap();
    assert_eq!(restored.recovery.round(), Some(1));
    assert_eq!(*restored.recovery.root(), RootSeed::new([1; 32]));
    assert_eq!(restored.records.len(), 1);
}
