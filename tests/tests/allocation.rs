//! What a reader of bytes from outside allocates is bounded by a small multiple of the bytes' number, whatever
//! they say about themselves. Peak memory is counted, not what is left in the end.
//!
//! One test only: the counter is the process's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use pet_coordinator::settings::Loader;
use pet_core::coordinator::Coordinator;
use pet_core::crypto::{PublicEncryptKey, PublicSigningKey, RoundSeed};
use pet_core::mask::{DataType, MaskConfig, MaskObject, MaskObjectView, MaskSeed};
use pet_core::message::{EncryptedMaskSeed, LocalSeedDict, MessageView, Payload, Tag};
use pet_core::model::{ratio, ArrayDecoder, Model};
use pet_core::participant::{Participant, Settings};
use pet_core::round::{RoundParameters, SumDict, UpdateSeedDict};
use pet_core::time::Timestamp;
use pet_testing::world::{settings, Calm, World};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// Counts what is allocated now, and the most that ever was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps `alloc`'s rules.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s rules.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks can be there at the same time.
        grow(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `realloc`'s rules.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were allocated at any time during a call, beyond those before.
fn peak(call: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    call();
    MOST.load(Ordering::Relaxed).saturating_sub(before)
}

/// A reader, and its bound: `times` bytes for each byte that it is given, and `constant` more.
struct Reader {
    name: &'static str,
    times: usize,
    constant: usize,
    read: fn(&[u8]),
}

/// Errors have texts, collections a smallest size.
const LITTLE: usize = 4096;

const READERS: [Reader; 12] = [
    Reader { name: "opened message", times: 2, constant: LITTLE, read: opened_message },
    Reader {
        name: "update payload",
        times: 2,
        constant: LITTLE,
        read: |bytes| payload(Tag::Update, bytes),
    },
    Reader {
        name: "sum2 payload",
        times: 1,
        constant: LITTLE,
        read: |bytes| payload(Tag::Sum2, bytes),
    },
    // Numbers in memory have whole words: 45 bits on the wire are 64 here.
    Reader {
        name: "mask object",
        times: 3,
        constant: LITTLE,
        read: |bytes| drop(MaskObject::from_bytes(bytes)),
    },
    Reader {
        name: "round parameters",
        times: 0,
        constant: LITTLE,
        read: |bytes| drop(RoundParameters::from_bytes(bytes)),
    },
    Reader {
        name: "sum dictionary",
        times: 3,
        constant: LITTLE,
        read: |bytes| drop(SumDict::from_bytes(bytes)),
    },
    Reader {
        name: "update seed dictionary",
        times: 3,
        constant: LITTLE,
        read: |bytes| drop(UpdateSeedDict::from_bytes(bytes)),
    },
    // One number may have 1024 digits, and is shifted by the range of a double to be rounded.
    Reader { name: "global model", times: 1, constant: 4 * LITTLE, read: global_model },
    // A certificate's parts are checked for what they are as they are read; a roster is hashed.
    Reader { name: "values of version 2", times: 4, constant: LITTLE, read: version_2 },
    // Saved states are our own. In a collection of theirs serde reserves up to 1 MiB on the word of a length.
    Reader { name: "participant's snapshot", times: 8, constant: 2 << 20, read: participant },
    Reader { name: "coordinator's snapshot", times: 8, constant: 2 << 20, read: coordinator },
    // A settings file is its owner's. Every key has a place, every mistake a sentence.
    Reader { name: "settings", times: 400, constant: 1 << 18, read: settings_file },
];

fn opened_message(bytes: &[u8]) {
    if let Ok(view) = MessageView::parse(bytes) {
        let _ = view.parse_payload();
    }
}

fn payload(tag: Tag, bytes: &[u8]) {
    let _ = Payload::parse(tag, false, bytes);
}

fn global_model(bytes: &[u8]) {
    for data_type in [DataType::F32, DataType::F64, DataType::I32, DataType::I64] {
        let _ = ratio::decode(bytes, data_type);
        let _ = ArrayDecoder::new(bytes, data_type).and_then(ArrayDecoder::finish);
    }
}

fn version_2(bytes: &[u8]) {
    use pet_core::v2::*;
    macro_rules! read {
        ($($name:ident),*) => {
            $(drop($name::from_bytes(bytes));)*
        };
    }
    read!(Roster, Announcements, UpdateHeader, EntriesPage, StatementsPage, Report, Votes);
    read!(MaskDigests, GroupMaskHeader, Certificate, RoundView, SetView);
    let _ = Terms::from_bytes(bytes);
    let _ = merkle::InclusionProof::from_bytes(bytes);
}

fn participant(bytes: &[u8]) {
    let _ = Participant::restore(bytes, Settings::default());
}

fn coordinator(bytes: &[u8]) {
    let _ = Coordinator::restore(bytes, settings(config().into(), 4), Timestamp::ZERO);
}

fn settings_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Loader::new().document("a.toml", text).load();
}

fn config() -> MaskConfig {
    "Prime/F32/B0/M3".parse().unwrap()
}

/// Whatever a reader reads, as it should be: the start of inputs that lie.
fn examples() -> Vec<Vec<u8>> {
    let key = |byte| PublicSigningKey::new([byte; 32]);
    let dict: SumDict = (0..40).map(|i| (key(i), PublicEncryptKey::new([i; 32]))).collect();
    let sealed = EncryptedMaskSeed::new([7; 80]);
    let column: UpdateSeedDict = (0..40).map(|i| (key(i), sealed)).collect();
    let object = pet_core::mask::derive_mask(&MaskSeed::new([1; 32]), config().into(), 50);
    let object = object.to_bytes().unwrap();
    assert!(MaskObjectView::parse_exact(&object).is_ok());
    let mut update = [0x11; 128].to_vec();
    update.extend_from_slice(&object);
    LocalSeedDict::new((0..20).map(|i| (key(i), sealed)).collect()).unwrap().write_to(&mut update);
    let parameters = RoundParameters {
        pk: PublicEncryptKey::new([1; 32]),
        sum: 0.5,
        update: 0.5,
        seed: RoundSeed::new([2; 32]),
        mask_config: config().into(),
        model_length: 4,
    };
    let mut message =
        [&[0; 128][..], &(136 + update.len() as u32).to_be_bytes(), &[2, 0, 0, 0]].concat();
    message.extend_from_slice(&update);
    let toml = "[pet.sum]\nprob = 0.5\n[model]\nlength = 4\nx.y.z = 3\n[log]\nfilter = \"info\"\n";
    let mut examples = vec![
        dict.to_bytes(),
        column.to_bytes(),
        [&[0x11; 64][..], &object].concat(),
        object,
        update,
        message,
        parameters.to_bytes(),
        ratio::encode_model(&Model::F64(vec![0.1, 1e300, -1e-300, 0.0])).unwrap(),
        toml.as_bytes().to_vec(),
    ];
    // A round of version 2.
    let vectors = include_str!("../vectors/v2/round.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    for name in
        ["roster", "announcements", "report", "certificate", "entries", "statements", "set", "view"]
    {
        examples.push(hex::decode(vectors[name].as_str().unwrap()).unwrap());
    }
    for value in [&vectors["updates"][0]["header"], &vectors["mask_headers"][0]] {
        examples.push(hex::decode(value.as_str().unwrap()).unwrap());
    }
    // Both machines, from all over a round.
    let train = |client: usize, _| Model::F32(vec![client as f32 / 8.0; 4]);
    let mut world = World::new(settings(config().into(), 4), vec![Settings::default(); 6], 1, Calm);
    world.run_watched(1, train, |world| {
        examples.push(world.server.machine.snapshot().to_bytes().to_vec());
        examples.push(world.clients[0].machine.snapshot().to_bytes().to_vec());
    });
    examples
}

/// One change of an input.
#[derive(Debug, Clone)]
enum Change {
    /// A length field that lies, of either byte order and width.
    Lie(Index, u64, bool),
    Byte(Index, u8),
    Cut(Index),
    Repeat(Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let length = prop_oneof![
        any::<u16>().prop_map(u64::from),
        any::<u32>().prop_map(u64::from),
        any::<u64>(),
        (0u32..64).prop_map(|bits| 1 << bits),
    ];
    let change = prop_oneof![
        4 => (any::<Index>(), length, any::<bool>()).prop_map(|(at, n, le)| Change::Lie(at, n, le)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, times)| Change::Repeat(at, times)),
    ];
    proptest::collection::vec(change, 0..4)
}

fn change(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Lie(at, length, true) => {
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&length.to_le_bytes()[..end - at]);
        }
        Change::Lie(at, length, false) => {
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&(*length as u32).to_be_bytes()[..end - at]);
        }
        Change::Byte(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Change::Repeat(at, times) => {
            let tail = bytes[at.index(bytes.len())..].to_vec();
            for _ in 0..times % 4 {
                bytes.extend_from_slice(&tail);
            }
        }
    }
}

#[test]
fn readers_allocate_little_more_than_they_are_given() {
    // Whatever is set up once is so before anything is counted (also by the thread that has started this one).
    let examples = examples();
    for example in &examples {
        READERS.iter().for_each(|reader| (reader.read)(example));
    }
    // The counter counts.
    assert_eq!(peak(|| drop(Vec::<u8>::with_capacity(12345))), 12345);
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..2000);
    let input = prop_oneof![
        1 => any_bytes,
        9 => (any::<Index>(), changes()).prop_map(|(which, changes)| {
            let mut bytes = examples[which.index(examples.len())].clone();
            changes.iter().for_each(|one| change(&mut bytes, one));
            bytes
        }),
    ];
    let mut runner =
        TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&input, |bytes| {
        for reader in &READERS {
            let took = peak(|| (reader.read)(&bytes));
            let allowed = reader.times * bytes.len() + reader.constant;
            prop_assert!(took <= allowed, "{}: {took} bytes for {}", reader.name, bytes.len());
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
