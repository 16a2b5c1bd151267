//! A replica: a process that is ended and started again.

use std::{
    fs,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use reqwest::Client;

use super::{
    link::{Link, Traffic},
    old,
    ports::free_port,
    until,
    wires::{Cable, Wires},
    Plan, FEDERATION,
};
use crate::SECRET;

pub struct Replica {
    pub number: usize,
    pub address: SocketAddr,
    /// To each of the two servers.
    pub links: [Link; 2],
    /// To the storage of large parts, if there is any.
    storage: Option<Link>,
    /// If it is in a network of its own.
    pub wires: Option<Arc<Wires>>,
    plan: Plan,
    child: Option<Child>,
    pub log: PathBuf,
    /// The most memory that one of its processes had, in KiB.
    pub peak: u64,
}

impl Replica {
    /// Not started yet.
    pub async fn new(
        number: usize,
        servers: [SocketAddr; 2],
        storage: Option<SocketAddr>,
        wires: Option<Arc<Wires>>,
        plan: Plan,
        folder: &Path,
    ) -> Self {
        // Nobody else has it, and it stays the same.
        let address = match &wires {
            Some(wires) => (wires.there(number, Cable::Clients), 8081).into(),
            None => free_port(),
        };
        let here: IpAddr = match &wires {
            Some(wires) => wires.here(Cable::Engines),
            None => Ipv4Addr::LOCALHOST.into(),
        };
        let links = [Link::between(here, servers[0]).await, Link::between(here, servers[1]).await];
        let storage = match storage {
            Some(target) => Some(Link::between(here, target).await),
            None => None,
        };
        let log = folder.join(format!("replica-{number}.log"));
        Self { number, address, links, storage, wires, plan, child: None, log, peak: 0 }
    }

    pub fn url(&self) -> String {
        let [first, second] = self.links.each_ref().map(|link| link.address);
        format!("postgres://pet@{first},{second}/postgres?target_session_attrs=read-write&sslmode=disable")
    }

    pub fn command(&self, command: &[&str]) -> Command {
        let built = env!("CARGO_BIN_EXE_pet-coordinator");
        let program = PathBuf::from(std::env::var_os("PET_COORDINATOR").unwrap_or(built.into()));
        let mut coordinator = match &self.wires {
            Some(_) => Wires::command(self.number, &program),
            None => Command::new(program),
        };
        coordinator.args(command).stdin(Stdio::null()).stdout(Stdio::null());
        let length = format!("model.length={}", self.plan.length);
        let lease = format!("storage.lease_time={}", self.plan.lease.as_secs_f64());
        // Those of old take seconds: they mask slowly, and send about seventy parts of a message, one after another.
        let time = if old::are_there() { "4" } else { "0.2" };
        let update_time = format!("pet.update.time.min={time}");
        for setting in [
            length.as_str(),
            update_time.as_str(),
            lease.as_str(),
            "storage.engine=postgres",
            "storage.models_kept=200",
            "limits.requests_per_second=0",
            "pet.sum.prob=0.4",
            "pet.sum.count.min=1",
            "pet.sum.time.min=0.05",
            "pet.sum.time.max=4",
            "pet.update.count.min=3",
            "pet.update.time.max=20",
            "pet.sum2.time.min=0.05",
            "pet.sum2.time.max=20",
        ] {
            coordinator.args(["--set", setting]);
        }
        coordinator.env("XAYNET__STORAGE__FEDERATION", FEDERATION);
        coordinator.env("XAYNET__POSTGRES__URL", self.url());
        coordinator.env("PET_STORAGE_SECRET", SECRET);
        if let Some(storage) = &self.storage {
            for (key, value) in [
                ("STORAGE__PARTS", "s3".to_owned()),
                ("S3__ACCESS_KEY", "pet-access".to_owned()),
                ("S3__SECRET_ACCESS_KEY", "pet-secret".to_owned()),
                ("S3__REGION", format!("['local', 'http://{}']", storage.address)),
                ("S3__BUCKETS__GLOBAL_MODELS", "pet".to_owned()),
            ] {
                coordinator.env(format!("XAYNET__{key}"), value);
            }
        }
        coordinator
    }

    /// Starts it if it does not run.
    pub async fn start(&mut self) {
        if self.child.is_some() {
            return;
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.command(&["serve", "--log-format", "json"]);
        command.args(["--bind", &self.address.to_string()]).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let client = Client::new();
        until("it listens", async || {
            if self.has_ended().is_some() {
                panic!(
                    "replica {} ends at once: {}",
                    self.number,
                    fs::read_to_string(&self.log).unwrap()
                );
            }
            client.get(format!("http://{}/readyz", self.address)).send().await.is_ok()
        })
        .await;
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // (It may have ended by itself, which is told elsewhere.)
            let _ = kill(Pid::from_raw(child.id() as i32), signal);
        }
    }

    /// Waits until it has ended; with this status, if it is not killed.
    pub async fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        until("it ends", async || {
            status = self.has_ended();
            status.is_some() || self.child.is_none()
        })
        .await;
        self.child = None;
        status.flatten()
    }

    /// Whether it has ended; with which status, if it was not killed.
    pub fn has_ended(&mut self) -> Option<Option<i32>> {
        self.note_memory();
        let status = self.child.as_mut()?.try_wait().unwrap();
        status.map(|status| status.code())
    }

    pub fn kill(&mut self) {
        self.note_memory();
        self.signal(Signal::SIGKILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    fn note_memory(&mut self) {
        let Some(child) = &self.child else { return };
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok());
        self.peak = self.peak.max(peak.unwrap_or(0));
    }

    /// What becomes of all between it and both servers.
    pub fn traffic(&self, traffic: Traffic) {
        self.links.iter().chain(&self.storage).for_each(|link| link.set(traffic));
    }

    /// Its number, if it leads.
    pub fn leads(&self, client: &Client) -> impl Future<Output = Option<usize>> + Send + 'static {
        let (request, number) = (format!("http://{}/readyz?leader", self.address), self.number);
        let request = client.get(request).timeout(Duration::from_secs(2));
        async move {
            let response = request.send().await.ok()?;
            (response.status() == 200).then_some(number)
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}
