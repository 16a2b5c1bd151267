//! Processes that share PostgreSQL, and what tests of processes have in common.

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
use pet_core::{model::Model, round::RoundParameters};
use pet_store_postgres::testing::Postgres;
use reqwest::Client;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::cast::{until, Crowd, Door, DEADLINE, LENGTH, SECRET};

/// A coordinator that is a process.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
}

impl Process {
    pub async fn start(url: &str, federation: &str, folder: &Path, number: usize) -> Self {
        Self::spawn(coordinator(url, federation, &["serve"]), federation, folder, number).await
    }

    /// Starts a command that serves.
    pub async fn spawn(
        mut command: Command,
        federation: &str,
        folder: &Path,
        number: usize,
    ) -> Self {
        let port_file = folder.join(format!("port-{federation}-{number}"));
        let log = fs::File::create(folder.join(format!("log-{federation}-{number}"))).unwrap();
        let child = command
            .args(["--bind", "127.0.0.1:0", "--port-file"])
            .arg(&port_file)
            .stderr(log)
            .spawn()
            .unwrap();
        let mut address = None;
        until("it listens", async || {
            address = fs::read_to_string(&port_file).ok().and_then(|text| text.parse().ok());
            address.is_some()
        })
        .await;
        Self { child, address: address.unwrap() }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub async fn get(&self, client: &Client, path: &str) -> Option<(u16, Vec<u8>)> {
        let request = client.get(format!("http://{}{path}", self.address));
        let response = request.timeout(Duration::from_secs(10)).send().await.ok()?;
        Some((response.status().as_u16(), response.bytes().await.ok()?.to_vec()))
    }

    pub async fn leads(&self, client: &Client) -> bool {
        self.get(client, "/readyz?leader").await.is_some_and(|(status, _)| status == 200)
    }

    /// What becomes of a message that is none: 400 tells that messages are taken.
    async fn takes(&self, client: &Client) -> bool {
        let request = client.post(format!("http://{}/message", self.address)).body(vec![1; 300]);
        let request = request.header("accept", "application/problem+json");
        let sent = request.timeout(Duration::from_secs(2)).send().await;
        sent.is_ok_and(|response| response.status() == 400)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command of the binary, with the settings that all have who share what is there.
pub fn coordinator(url: &str, federation: &str, command: &[&str]) -> Command {
    let engine = if url.starts_with("redis:") { "redis" } else { "postgres" };
    let engine_is = format!("storage.engine={engine}");
    let mut coordinator = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    coordinator.args(command).stdin(Stdio::null()).stdout(Stdio::null());
    let length = format!("model.length={LENGTH}");
    for setting in [
        length.as_str(),
        engine_is.as_str(),
        "pet.sum.count.min=2",
        "pet.sum.count.max=2",
        "pet.sum.time.min=0",
        "pet.update.count.min=4",
        "pet.update.count.max=4",
        "pet.update.time.min=0",
        "pet.sum2.count.min=2",
        "pet.sum2.time.min=0",
    ] {
        coordinator.args(["--set", setting]);
    }
    coordinator.env("XAYNET__STORAGE__FEDERATION", federation);
    coordinator.env(format!("XAYNET__{}__URL", engine.to_uppercase()), url);
    coordinator.env("PET_STORAGE_SECRET", std::str::from_utf8(SECRET).unwrap());
    coordinator
}

/// Which one leads, and takes messages.
pub async fn leader(processes: &[Process]) -> usize {
    let client = Client::new();
    let mut found = None;
    until("one leads", async || {
        for (index, process) in processes.iter().enumerate() {
            if process.leads(&client).await && process.takes(&client).await {
                found = Some(index);
            }
        }
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// Leads the door to the one that leads, as a load balancer does, whenever that is another one.
pub fn follow(door: &Arc<Door>, addresses: Vec<SocketAddr>) -> JoinSet<()> {
    let (door, client) = (Arc::clone(door), Client::new());
    let mut running = JoinSet::new();
    running.spawn(async move {
        loop {
            for address in &addresses {
                let request = client.get(format!("http://{address}/readyz?leader"));
                let sent = request.timeout(Duration::from_secs(1)).send().await;
                let leads = sent.is_ok_and(|response| response.status() == 200);
                if leads && door.target() != *address {
                    door.lead_to(*address);
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    running
}

/// Three replicas, of which the leader is killed and stopped in the middle of the round, and the database, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_survives_its_leaders_and_its_database() {
    let Some(postgres) = Postgres::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new();
    let url = postgres.url().to_owned();

    // Nothing is begun by accident.
    let output = coordinator(&url, "hospitals", &["serve", "--bind", "127.0.0.1:0"]);
    let output = { output }.stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("store init"), "{told}");
    let init = || coordinator(&url, "hospitals", &["store", "init"]).status().unwrap();
    assert!(init().success() && init().success());

    let mut processes = Vec::new();
    for number in 0..3 {
        processes.push(Process::start(&url, "hospitals", folder.path(), number).await);
    }
    let leads = leader(&processes).await;
    let (_, params) = processes[leads].get(&client, "/params").await.unwrap();
    let parameters = RoundParameters::from_bytes(&params).unwrap();
    for process in &processes {
        until("it knows of the round", async || {
            process.get(&client, "/params").await.is_some_and(|(_, known)| known == params)
        })
        .await;
    }
    // A load balancer can tell whom to spare. (On a slow machine that is another one by now.)
    let mut leads = leads;
    until("each says whether it follows", async || {
        leads = leader(&processes).await;
        for (number, process) in processes.iter().enumerate() {
            let status = if number == leads { 503 } else { 200 };
            let said = process.get(&client, "/readyz?follower").await;
            if said.is_none_or(|(said, _)| said != status) {
                return false;
            }
        }
        true
    })
    .await;
    // Whatever is sent goes to any of them.
    let door = Door::to_all(processes.iter().map(|process| process.address).collect()).await;
    let mut crowd = Crowd::of(&parameters, &door, 4).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();

    let began = Instant::now();
    processes.remove(leads).signal(Signal::SIGKILL);
    let leads = leader(&processes).await;
    tell("kill -9 of the leader", began);
    assert!(began.elapsed() < DEADLINE * 3 / 4, "{:?}", began.elapsed());
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();

    postgres.kill();
    until("it says so", async || {
        let ready = processes[leads].get(&client, "/readyz").await;
        ready.is_some_and(|(status, why)| {
            status == 503 && String::from_utf8_lossy(&why).contains("PostgreSQL")
        })
    })
    .await;
    postgres.start_again();
    let began = Instant::now();
    leader(&processes).await;
    tell("the database is back", began);
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();

    // It stands still, and every call hangs: whoever waits is told in time.
    signal_all(&postgres, Signal::SIGSTOP);
    let mut asking = JoinSet::new();
    for process in &processes {
        let request = client.post(format!("http://{}/message", process.address));
        asking.spawn(request.body(vec![1; 300]).send());
    }
    let told = timeout(DEADLINE * 2 / 3, asking.join_all()).await;
    for response in told.expect("each is answered in time") {
        let response = response.unwrap();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
    }
    signal_all(&postgres, Signal::SIGCONT);
    let began = Instant::now();
    let leads = leader(&processes).await;
    tell("the database goes on", began);

    let began = Instant::now();
    let stopped = processes.remove(leads);
    stopped.signal(Signal::SIGTERM);
    leader(&processes).await;
    tell("SIGTERM of the leader", began);
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();

    processes.push(Process::start(&url, "hospitals", folder.path(), 3).await);
    for process in &processes {
        let mut weights = Vec::new();
        until("the model is there", async || {
            let request = client.get(format!("http://{}/model", process.address));
            let request = request.header("accept", "application/vnd.pet.weights");
            weights = request.send().await.unwrap().bytes().await.unwrap().to_vec();
            !weights.is_empty()
        })
        .await;
        let weights =
            weights.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
        crowd.check_weights(&Model::F32(weights.collect()));
    }
    drop(stopped);
}

/// Signals a server and all its processes.
fn signal_all(postgres: &Postgres, signal: Signal) {
    let file = fs::read_to_string(postgres.folder().join("data/postmaster.pid")).unwrap();
    let server: i32 = file.lines().next().unwrap().trim().parse().unwrap();
    let of_it = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
    let of_it = of_it.split_whitespace().map(|pid| pid.parse().unwrap());
    for pid in [server].into_iter().chain(of_it) {
        // (One that serves a connection may have ended just now.)
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Shown with `--nocapture`.
#[allow(clippy::print_stdout)]
pub fn tell(what: &str, began: Instant) {
    println!("{what}: messages are taken again after {:?}", began.elapsed());
}
