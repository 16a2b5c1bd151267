//! The process is killed at random points of many rounds, with participants at work, and started again on
//! the same directory. Every global model that comes of it must be the exact mean of the updates that were
//! acknowledged, each once, and of some that were under way.
//!
//! Every update participant has a weight of its own that is 1 in its model and 0 in all others: a global
//! model tells whose updates are in it, and how often.
//!
//! `TORTURE_KILLS` says how often it is killed, `TORTURE_SEED` when.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use pet_coordinator::{DiskStore, Store};
use pet_core::{
    crypto::{RootSeed, RoundSeed, Seed, SigningKeyPair},
    message::{MessageSize, Tag},
    model::Model,
    participant::Event,
};
use pet_transport_tokio::{Config, Participant};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

const DEADLINE: Duration = Duration::from_secs(60);
const PARTICIPANTS: usize = 10;
const SECRET: &str = "a secret of the torture test";

/// The process. It does not outlive its test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    async fn start(dir: &Path, length: usize, address: &str) -> Self {
        let port_file = dir.join("port");
        let _ = fs::remove_file(&port_file);
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
        command.args(["serve", "--bind", address]).arg("--port-file").arg(&port_file);
        command.arg("--data-dir").arg(dir.join("data"));
        command.args(["--model-length", &length.to_string()]);
        for setting in [
            "storage.models_kept=100000",
            "pet.sum.prob=0.3",
            "pet.sum.count.min=1",
            "pet.sum.time.min=0.05",
            "pet.sum.time.max=2",
            "pet.update.count.min=3",
            "pet.update.time.min=0.1",
            "pet.update.time.max=4",
            "pet.sum2.time.min=0.05",
            "pet.sum2.time.max=4",
        ] {
            command.args(["--set", setting]);
        }
        command.env("PET_STORAGE_SECRET", SECRET);
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let end = Instant::now() + DEADLINE;
        loop {
            if let Ok(address) = fs::read_to_string(&port_file) {
                server.address = address.parse().unwrap();
                return server;
            }
            let gone = server.child.try_wait().unwrap();
            let log = || fs::read_to_string(dir.join("log")).unwrap();
            assert!(gone.is_none() && Instant::now() < end, "it does not start: {}", log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn end(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who has begun to send an update in a round, and whose update was acknowledged.
#[derive(Default)]
struct Round {
    begun: BTreeSet<usize>,
    acknowledged: BTreeSet<usize>,
}

type Rounds = Arc<Mutex<BTreeMap<[u8; 32], Round>>>;

/// Somebody's update was just acknowledged.
type News = Arc<Notify>;

/// Takes part in round after round.
async fn take_part(index: usize, length: usize, address: SocketAddr, rounds: Rounds, news: News) {
    let mut config = Config::new(&format!("http://{address}")).unwrap();
    config.settings.polling.max = Duration::from_millis(40);
    config.settings.polling.initial = Duration::from_millis(10);
    config.settings.polling.after_progress = Duration::from_millis(1);
    if index.is_multiple_of(3) {
        // In about five chunks.
        let bytes = MessageSize::MIN.max(length * 6 / 5 + 300);
        config.settings.max_message_size = MessageSize::at_most(bytes).unwrap();
    }
    let keys = SigningKeyPair::from_seed(&Seed::new([index as u8 + 1; 32]));
    let seed = RootSeed::new([index as u8 + 101; 32]);
    let mut participant = Participant::with_keys(config, keys, seed).unwrap();
    let handle = participant.handle();
    let mut round: Option<RoundSeed> = None;
    loop {
        match participant.next_event().await.unwrap() {
            Event::NewRound { parameters, .. } => round = Some(parameters.seed),
            Event::ModelNeeded { .. } => {
                let mut weights = vec![0.0; length];
                weights[index] = 1.0;
                let seed = *round.unwrap().as_bytes();
                rounds.lock().unwrap().entry(seed).or_default().begun.insert(index);
                handle.set_model(Model::F32(weights)).unwrap();
            }
            Event::Sent(Tag::Update) => {
                let seed = *round.unwrap().as_bytes();
                rounds.lock().unwrap().entry(seed).or_default().acknowledged.insert(index);
                news.notify_waiters();
            }
            _ => {}
        }
    }
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Kills the coordinator so many times. Gives how many global models there were, and how many of their
/// updates nobody was told of.
async fn torture(kills: u64, seed: u64, length: usize) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = seed;
    let mut server = Server::start(dir.path(), length, "127.0.0.1:0").await;
    let address = server.address;
    let (rounds, news) = (Rounds::default(), News::default());
    let mut participants = JoinSet::new();
    for index in 0..PARTICIPANTS {
        let (rounds, news) = (Arc::clone(&rounds), Arc::clone(&news));
        participants.spawn(take_part(index, length, address, rounds, news));
    }
    for _ in 0..kills {
        // At any moment; now and then so late that a round can end in one life; and often just when
        // somebody was told that an update is safe.
        let (most, after_news) = match next(&mut random) % 4 {
            0 => (1_500_000, false),
            1 => (350_000, false),
            _ => (5_000, true),
        };
        if after_news {
            let _ = timeout(Duration::from_secs(2), news.notified()).await;
        }
        sleep(Duration::from_micros(next(&mut random) % most)).await;
        server.end(Signal::SIGKILL);
        server = Server::start(dir.path(), length, &address.to_string()).await;
    }
    // It must still come to something.
    let models = || fs::read_dir(dir.path().join("data/models")).unwrap().count();
    let (before, end) = (models(), Instant::now() + DEADLINE);
    assert!(metrics(server.address).await.contains("\npet_panics_total 0\n"));
    while models() == before {
        let log = || fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(Instant::now() < end, "no round ends any more: {}", log());
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    participants.shutdown().await;
    // Of all the processes.
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");

    let mut store =
        DiskStore::open(&dir.path().join("data"), Some(SECRET.as_bytes()), 100_000).unwrap();
    store.restore(RootSeed::new([0; 32])).unwrap();
    let rounds = rounds.lock().unwrap();
    let models = store.models();
    let mut not_told = 0;
    for round_id in models.rounds() {
        let model = models.load(round_id).unwrap().unwrap();
        let round = &rounds[model.seed.as_bytes()];
        let Some(Model::F32(weights)) = model.weights.as_deref() else { panic!("{model:?}") };
        let count = model.models as f32;
        let mut members = BTreeSet::new();
        for (index, weight) in weights.iter().enumerate() {
            let times = weight * count;
            assert!((times - times.round()).abs() < 1e-4, "{times} updates of {index}");
            assert!(times.round() <= 1.0, "round {round_id}: {index} counts {times} times");
            if times.round() == 1.0 {
                members.insert(index);
            }
        }
        assert_eq!(members.len() as u64, model.models, "round {round_id}: {members:?}");
        let Round { begun, acknowledged } = round;
        assert!(
            acknowledged.is_subset(&members) && members.is_subset(begun),
            "round {round_id}: of {members:?}, acknowledged to {acknowledged:?}, begun by {begun:?}"
        );
        not_told += members.difference(acknowledged).count();
    }
    (models.rounds().len(), not_told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_loses_nothing_and_counts_nothing_twice() {
    let (kills, seed) = (number("TORTURE_KILLS", 24), number("TORTURE_SEED", 1));
    // Small models in the database, larger ones in files.
    for (length, kills) in [(PARTICIPANTS, kills / 2), (20_000, kills - kills / 2)] {
        let began = Instant::now();
        let (models, not_told) = torture(kills, seed, length).await;
        let seconds = began.elapsed().as_secs_f64();
        report(&format!(
            "{length} weights, TORTURE_SEED={seed}: {kills} kills, {models} global models, \
             {not_told} of their updates not acknowledged, {seconds:.0} s"
        ));
        assert!(models >= 1);
    }
}

async fn metrics(address: SocketAddr) -> String {
    let response = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    response.text().await.unwrap()
}

/// Seen with `--nocapture`, and if the test fails.
fn report(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
