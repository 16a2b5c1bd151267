//! Clients that make a coordinator hold what they do not take: it holds each model once, whoever asks for it, and
//! never more than it is given.
//!
//! One test only: what is counted is the process's.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::Duration,
};

use pet_coordinator::{
    settings::Settings, Confirmations, Coordinator, Models, Options, Store, StoreError,
};
use pet_core::{
    coordinator::{GlobalModel, PersistId, Record},
    crypto::RoundSeed,
    model::Model,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// Weights of a model, and the bytes of its old form.
const WEIGHTS: usize = 1_000_000;
const BYTES: usize = 30 * WEIGHTS;

/// The bytes of old forms that are in memory, and the most that ever were.
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Counted(Vec<u8>);

impl Counted {
    fn new(bytes: Vec<u8>) -> Self {
        let now = NOW.fetch_add(bytes.len(), Ordering::SeqCst) + bytes.len();
        MOST.fetch_max(now, Ordering::SeqCst);
        Self(bytes)
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        NOW.fetch_sub(self.0.len(), Ordering::SeqCst);
    }
}

/// Stores nothing, and has models of earlier rounds, which take memory whenever they are read.
#[derive(Debug)]
struct Kept;

impl Store for Kept {
    fn persist(&mut self, id: PersistId, _: Record, confirmations: &Confirmations) {
        confirmations.stored(id);
    }

    fn models(&self) -> Arc<dyn Models> {
        Arc::new(Self)
    }
}

impl Models for Kept {
    fn rounds(&self) -> Vec<u64> {
        (1001..1011).collect()
    }

    fn size(&self, _: u64) -> Option<usize> {
        Some(BYTES)
    }

    fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError> {
        let old_form = Counted::new(vec![round_id as u8; BYTES]);
        Ok(self.rounds().contains(&round_id).then(|| GlobalModel {
            round_id,
            seed: RoundSeed::new([7; 32]),
            models: 3,
            rationals: bytes::Bytes::from_owner(old_form),
            weights: Some(Arc::new(Model::F32(vec![round_id as f32; WEIGHTS]))),
            optimizer: None,
        }))
    }
}

async fn start(answer_bytes: u64) -> Coordinator {
    let mut settings = Settings::for_model_length(WEIGHTS as u64);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.time.max = 10 * DEADLINE;
    settings.limits.answer_bytes = answer_bytes;
    let mut options = Options::default();
    options.store = Some(Box::new(Kept));
    MOST.store(NOW.load(Ordering::SeqCst), Ordering::SeqCst);
    Coordinator::start_with(settings, options).await.unwrap()
}

async fn ask(coordinator: &Coordinator, from: &str, path: &str, headers: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(coordinator.local_addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The beginning of an answer, of which no more is read.
async fn beginning(stream: &mut TcpStream) -> String {
    let mut head = [0; 200];
    timeout(DEADLINE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    String::from_utf8_lossy(&head).to_lowercase()
}

async fn all(coordinator: &Coordinator, path: &str, headers: &str) -> Vec<u8> {
    let close = format!("connection: close\r\n{headers}");
    let mut stream = ask(coordinator, "127.0.0.3", path, &close).await;
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..end]));
    answer.split_off(end + 4)
}

/// Asks for the metrics until one of them has a value.
async fn until(coordinator: &Coordinator, line: &str) {
    let there = async {
        loop {
            let text = String::from_utf8(all(coordinator, "/metrics", "").await).unwrap();
            if text.lines().any(|found| found == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, there).await.unwrap_or_else(|_| panic!("{line} never comes"));
}

/// How much the process holds.
fn resident() -> usize {
    memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_have_a_limit() {
    slow_readers_share_what_they_read().await;
    requests_that_are_given_up_cost_no_memory().await;
    answers_have_a_budget_and_nobody_all_of_it().await;
}

/// Sixty of them once took 1.8 GB.
async fn slow_readers_share_what_they_read() {
    let coordinator = start(512 << 20).await;
    let before = resident();
    let mut slow = Vec::new();
    for number in 0..60 {
        let form = if number % 3 == 0 { "accept: application/x-npy\r\n" } else { "" };
        let path = format!("/models/{}", 1001 + number % 2);
        let mut stream = ask(&coordinator, "127.0.0.1", &path, form).await;
        assert!(beginning(&mut stream).await.starts_with("http/1.1 200 "));
        slow.push(stream);
    }
    assert!(MOST.load(Ordering::SeqCst) <= 2 * BYTES, "each of the two models is there once");
    // Two models in both forms take 76 MB, sixty connections 8 MB; the rest is for noise.
    let taken = resident().saturating_sub(before);
    assert!(taken < 300 << 20, "{taken} bytes for slow readers");
    // Others get theirs, every byte of it.
    assert_eq!(all(&coordinator, "/models/1003", "").await, vec![1003_u64 as u8; BYTES]);
    let weights =
        all(&coordinator, "/models/1001", "accept: application/vnd.pet.weights\r\n").await;
    assert_eq!(weights, 1001_f32.to_le_bytes().repeat(WEIGHTS));
    drop(slow);
    until(&coordinator, "pet_http_answer_bytes 0").await;
    let only_the_last = async {
        while NOW.load(Ordering::SeqCst) > BYTES {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let stays = timeout(DEADLINE, only_the_last).await;
    stays.expect("only the one that was last asked for stays");
    assert_eq!(coordinator.metrics().panics, 0);
    coordinator.shutdown().await.unwrap();
}

/// A hundred and twenty once took 1.4 GB, since each went on reading a model of its own.
async fn requests_that_are_given_up_cost_no_memory() {
    let coordinator = start(512 << 20).await;
    for number in 0..120 {
        let path = format!("/models/{}", 1001 + number % 10);
        let stream = ask(&coordinator, "127.0.0.1", &path, "").await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    // The one that asks.
    until(&coordinator, "pet_http_requests_in_flight 1").await;
    until(&coordinator, "pet_http_answer_bytes 0").await;
    // One that is read, one that was read last, and what threads hold that have just read one or sent one, and are not through.
    assert!(MOST.load(Ordering::SeqCst) <= 8 * BYTES, "{}", MOST.load(Ordering::SeqCst));
    assert_eq!(coordinator.metrics().panics, 0);
    coordinator.shutdown().await.unwrap();
}

async fn answers_have_a_budget_and_nobody_all_of_it() {
    // Room for eight models on their way, and for one in memory.
    let coordinator = start(1 << 20).await;
    let mut slow = Vec::new();
    for (from, status) in [
        ("127.0.0.1", ["200"; 4]),
        ("127.0.0.1", ["503"; 4]),
        ("127.0.0.2", ["200"; 4]),
        ("127.0.0.3", ["503"; 4]),
    ]
    .into_iter()
    .flat_map(|(from, statuses)| statuses.map(|status| (from, status)))
    {
        let mut stream = ask(&coordinator, from, "/models/1001", "").await;
        let head = beginning(&mut stream).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{from}: {head}");
        assert_eq!(head.contains("retry-after: 1"), status == "503", "{head}");
        slow.push(stream);
    }
    // What is small comes in any case.
    assert!(!all(&coordinator, "/params", "").await.is_empty());
    assert_eq!(all(&coordinator, "/healthz", "").await, b"ok\n");
    drop(slow);
    until(&coordinator, "pet_http_answer_bytes 0").await;
    assert_eq!(all(&coordinator, "/models/1002", "").await.len(), BYTES);
    assert_eq!(coordinator.metrics().panics, 0);
    coordinator.shutdown().await.unwrap();
}
