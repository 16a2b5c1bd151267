//! One process with a directory of its own, which is killed and started again on the same directory.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use pet_coordinator::{DiskStore, Store};
use pet_core::{coordinator::GlobalModel, crypto::RootSeed, model::Model};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    books::Books,
    crowd::{take_part, Manners},
    number,
    random::Random,
    report, DEADLINE, SECRET,
};

const PARTICIPANTS: usize = 10;

/// A whole step, with half of the velocity kept.
const OPTIMIZER: [&str; 2] = ["pet.optimizer.kind=FedAvgM", "pet.optimizer.momentum=0.5"];

/// The process. It does not outlive its test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    async fn start(dir: &Path, length: usize, address: &str, optimizer: bool) -> Self {
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
            "pet.sum.time.max=8",
            "pet.update.count.min=3",
            "pet.update.time.min=0.1",
            "pet.update.time.max=20",
            "pet.sum2.time.min=0.05",
            "pet.sum2.time.max=20",
        ] {
            command.args(["--set", setting]);
        }
        for setting in OPTIMIZER.iter().filter(|_| optimizer) {
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

/// Kills the coordinator so many times. Gives how many global models there were, and how many of their
/// updates nobody was told of.
async fn torture(kills: u64, seed: u64, length: usize, optimizer: bool) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    // The port stays ours while the coordinator is down: whoever asks for any does not get it.
    let port = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    port.set_reuse_address(true).unwrap();
    port.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = port.local_addr().unwrap().as_socket().unwrap();
    let mut server = Server::start(dir.path(), length, &address.to_string(), optimizer).await;
    let books = Arc::new(Books::default());
    let mut participants = JoinSet::new();
    for index in 0..PARTICIPANTS {
        let manners = Manners { is_patient: true, ..Manners::of(index) };
        let url = format!("http://{address}");
        participants.spawn(take_part(index, length, url, manners, Arc::clone(&books)));
    }
    for _ in 0..kills {
        // At any moment; now and then so late that a round can end in one life; and often just when
        // somebody was told that an update is safe.
        let (most, after_news) = match random.next() % 4 {
            0 => (1_500_000, false),
            1 => (350_000, false),
            _ => (5_000, true),
        };
        if after_news {
            let _ = timeout(Duration::from_secs(2), books.news.notified()).await;
        }
        sleep(Duration::from_micros(random.next() % most)).await;
        server.end(Signal::SIGKILL);
        server = Server::start(dir.path(), length, &address.to_string(), optimizer).await;
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
    let models = store.models();
    let mut not_told = 0;
    let mut last = None;
    for round_id in models.rounds() {
        let model = models.load(round_id).unwrap().unwrap();
        let Some(Model::F32(weights)) = model.weights.as_deref() else { panic!("{model:?}") };
        let mean = last.filter(|_| optimizer).map(|last| mean(&last, &model));
        let weights = mean.as_ref().unwrap_or(weights);
        let members = weights.iter().filter(|weight| **weight != 0.0).count();
        assert_eq!(members as u64, model.models, "round {round_id}");
        let checked = books.check(model.seed.as_bytes(), weights, PARTICIPANTS);
        not_told += checked.unwrap_or_else(|why| panic!("round {round_id}: {why}"));
        last = Some(model);
    }
    (models.rounds().len(), not_told)
}

/// The mean that a model is a step towards, from the one before: whatever was killed in between, it is that step, bit for bit, with the
/// very velocity that the model before was stored with.
fn mean(last: &GlobalModel, model: &GlobalModel) -> Vec<f32> {
    let floats = |model: &GlobalModel| match model.weights.as_deref() {
        Some(Model::F32(weights)) => weights.clone(),
        other => panic!("{other:?}"),
    };
    let (before, after) = (floats(last), floats(model));
    let state = model.optimizer.as_ref().expect("an optimizer has made it");
    let steps = last.optimizer.as_ref().map_or(0, |state| state.steps());
    assert_eq!(state.steps(), steps + 1, "of round {}", model.round_id);
    // Each participant has a weight of its own, so that a mean has a share of 1 in some places, and 0 in the others.
    let share = 1.0 / model.models as f32;
    let one = |index: usize| {
        let weight = f64::from(before[index]);
        let velocity = last.optimizer.as_ref().map_or(0.0, |state| state.moments()[0][index]);
        let rest = state.moments()[0][index] - 0.5 * velocity + weight;
        let mean = if rest > f64::from(share) / 2.0 { share } else { 0.0 };
        let expected = 0.5 * velocity + (f64::from(mean) - weight);
        assert_eq!(state.moments()[0][index].to_bits(), expected.to_bits());
        assert_eq!(after[index].to_bits(), ((weight + expected) as f32).to_bits());
        mean
    };
    (0..before.len()).map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_loses_nothing_and_counts_nothing_twice() {
    let (kills, seed) = (number("TORTURE_KILLS", 24), number("TORTURE_SEED", 1));
    // Small models in the database, larger ones in files; and with an optimizer, each model is a step from the one before.
    for (length, optimizer) in [(PARTICIPANTS, false), (20_000, false), (20_000, true)] {
        let (began, kills) = (Instant::now(), kills.div_ceil(3));
        let (models, not_told) = torture(kills, seed, length, optimizer).await;
        let seconds = began.elapsed().as_secs_f64();
        report(&format!(
            "{length} weights, optimizer: {optimizer}, TORTURE_SEED={seed}: {kills} kills, {models} global models, \
             {not_told} of their updates not acknowledged, {seconds:.0} s"
        ));
        assert!(models >= 1);
    }
}

async fn metrics(address: SocketAddr) -> String {
    let response = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    response.text().await.unwrap()
}
