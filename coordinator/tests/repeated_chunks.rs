//! Chunks that are sent again and again, by one key that was made up or by many: what is on the disk and
//! what is in memory stays within what the settings say, whatever the number of requests.

#![expect(clippy::print_stdout, reason = "the sizes are for whoever looks")]

use std::{
    fs,
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use pet_coordinator::{
    settings::{MinMax, Settings},
    Confirmations, Coordinator, DiskStore, Options, Store, StoreError,
};
use pet_core::{
    coordinator::{PersistId, Record},
    crypto::{EncryptKeyPair, RootSeed, Seed, SigningKeyPair, Task, TaskSignatures},
    message::{Chunk, Frame, MessageId, SumPayload, Tag},
    round::RoundParameters,
};
use reqwest::Client;
use tokio::time::sleep;

const DEADLINE: Duration = Duration::from_secs(120);
/// The room for chunks that prove nothing.
const ROOM: usize = 1 << 20;
/// The length of a chunk.
const CHUNK: usize = 200_000;

fn settings() -> Settings {
    let mut settings = Settings::for_model_length(100_000);
    settings.api.bind_address.set_port(0);
    settings.limits.multipart_unproven_bytes = ROOM as u64;
    settings.pet.sum.count = MinMax { min: 1, max: 1 };
    settings.pet.sum2.count = MinMax { min: 1, max: 1 };
    for time in [&mut settings.pet.sum.time, &mut settings.pet.update.time] {
        *time = MinMax { min: Duration::ZERO, max: 10 * DEADLINE };
    }
    settings
}

/// A coordinator in its update phase, and a way to send to it.
struct Scene {
    coordinator: Coordinator,
    client: Client,
    parameters: RoundParameters,
}

impl Scene {
    async fn begin(store: impl Store) -> Self {
        let mut options = Options::default();
        options.store = Some(Box::new(store));
        let coordinator = Coordinator::start_with(settings(), options).await.unwrap();
        let client = Client::new();
        let url = format!("http://{}/params", coordinator.local_addr());
        let body = get_soon(&client, &url).await;
        let parameters = RoundParameters::from_bytes(&body).unwrap();
        let scene = Self { coordinator, client, parameters };
        scene.sum().await;
        scene
    }

    /// Takes the place of the sum participant, so that the update phase begins.
    async fn sum(&self) {
        let RoundParameters { seed, sum, update, .. } = self.parameters;
        let signed = |keys: &SigningKeyPair| TaskSignatures::sign(keys, &seed);
        let keys = (0..).map(keys).find(|keys| signed(keys).task(sum, update) == Task::Sum);
        let keys = keys.unwrap();
        let ephemeral_key = EncryptKeyPair::from_seed(&Seed::new([5; 32])).public();
        let mut payload = Vec::new();
        SumPayload { sum_signature: signed(&keys).sum, ephemeral_key }.write_to(&mut payload);
        assert_eq!(self.post(self.seal(&keys, Tag::Sum, false, &payload)).await, 200);
        get_soon(&self.client, &format!("http://{}/sums", self.coordinator.local_addr())).await;
    }

    fn seal(&self, keys: &SigningKeyPair, tag: Tag, multipart: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Frame::with_capacity(payload.len());
        frame.buffer_mut().extend_from_slice(payload);
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([6; 32]));
        frame.seal(keys, &self.parameters.pk, tag, multipart, &ephemeral).unwrap()
    }

    /// A chunk in the middle of a message of somebody who was made up.
    fn chunk(&self, who: u32, message: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        let data = vec![7; CHUNK];
        Chunk { id: 1, message_id: MessageId(message), is_last: false, data: &data }
            .write_to(&mut bytes);
        self.seal(&keys(1_000_000 + who), Tag::Update, true, &bytes)
    }

    async fn post(&self, message: Vec<u8>) -> u16 {
        let url = format!("http://{}/message", self.coordinator.local_addr());
        self.client.post(url).body(message).send().await.unwrap().status().as_u16()
    }
}

/// Waits for a 200.
async fn get_soon(client: &Client, url: &str) -> Vec<u8> {
    let end = Instant::now() + DEADLINE;
    loop {
        let answer = client.get(url).send().await.unwrap();
        if answer.status() == 200 {
            return answer.bytes().await.unwrap().to_vec();
        }
        assert!(Instant::now() < end, "{url} is never there");
        sleep(Duration::from_millis(5)).await;
    }
}

fn keys(number: u32) -> SigningKeyPair {
    let mut seed = [3; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SigningKeyPair::from_seed(&Seed::new(seed))
}

/// How many bytes the files in a directory have.
fn size(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        // A file may be gone by now.
        let Ok(meta) = entry.metadata() else { continue };
        bytes += if meta.is_dir() { size(&entry.path()) } else { meta.len() };
    }
    bytes
}

/// The same chunk three hundred times, then three hundred keys, then one key with ever new messages.
#[tokio::test]
async fn the_directory_stays_within_bounds_while_chunks_are_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let scene = Scene::begin(DiskStore::open(&data, None, 1).unwrap()).await;
    let chunk = scene.chunk(0, 1);
    assert_eq!(scene.post(chunk.clone()).await, 200);
    let once = size(&data);
    for _ in 0..300 {
        assert_eq!(scene.post(chunk.clone()).await, 200);
    }
    // (The phase's clock is written each second.)
    let now = size(&data);
    assert!(now < 4 << 20, "{now} bytes after 300 times {CHUNK}, {once} after the first");

    // Redb's pages come in powers of two, a commit keeps the old ones until it is done, and the file
    // doubles when it grows: docs/operations.md.
    let bound = 8 * ROOM as u64 + (4 << 20);
    let mut most = 0;
    for turn in 0..300 {
        let (who, message) = if turn < 150 { (turn, 1) } else { (1, turn as u16 % 2) };
        let status = scene.post(scene.chunk(who, message)).await;
        assert!([200, 503].contains(&status), "{status}");
        most = most.max(size(&data));
        assert!(most <= bound, "{most} bytes after {turn} requests");
    }
    println!("{once} bytes after one chunk, {most} at most");

    // Who goes on from it has no more in memory, either.
    scene.coordinator.shutdown().await.unwrap();
    let mut store = DiskStore::open(&data, None, 1).unwrap();
    let restored = store.restore(RootSeed::new([0; 32])).unwrap();
    let bytes = restored.recovery.incomplete_bytes();
    assert!((CHUNK..=ROOM).contains(&bytes), "{bytes}");
    drop(store);
    let mut options = Options::default();
    options.store = Some(Box::new(DiskStore::open(&data, None, 1).unwrap()));
    let coordinator = Coordinator::start_with(settings(), options).await.unwrap();
    let scene = Scene { coordinator, ..scene };
    assert_eq!(scene.post(scene.chunk(500, 1)).await, 200, "the same round goes on");
    scene.coordinator.shutdown().await.unwrap();
}

/// A store that never makes room again, on a disk of ten megabytes.
struct SmallDisk(Arc<AtomicUsize>);

impl Store for SmallDisk {
    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations) {
        let bytes = record.to_bytes().len();
        match self.0.fetch_add(bytes, Ordering::Relaxed) + bytes {
            0..10_000_000 => confirmations.stored(id),
            _ => confirmations.failed(StoreError::io(
                "write",
                "a small disk",
                std::io::Error::from(std::io::ErrorKind::StorageFull),
            )),
        }
    }
}

/// Forty repeats ended the process when the disk was full.
#[tokio::test]
async fn repeated_chunks_do_not_fill_a_small_disk() {
    let used = Arc::new(AtomicUsize::new(0));
    let scene = Scene::begin(SmallDisk(Arc::clone(&used))).await;
    let chunk = scene.chunk(0, 1);
    for _ in 0..100 {
        assert_eq!(scene.post(chunk.clone()).await, 200);
    }
    assert!(used.load(Ordering::Relaxed) < 2 * CHUNK);
    scene.coordinator.shutdown().await.unwrap();
}
