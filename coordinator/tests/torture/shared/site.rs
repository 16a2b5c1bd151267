//! All that takes part.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Client;
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    engine::Engine, haproxy::Haproxy, link::Link, old, old::Old, replica::Replica,
    storage::Objects, until, watch::Watch, wires::Wires, Plan, PARTICIPANTS, REPLICAS,
};
use crate::{
    books::Books,
    crowd::{take_part, Manners},
    DEADLINE,
};

/// No fault takes as long: if nothing is acknowledged any more, it is told what participants do.
const LONG: Duration = Duration::from_secs(8);

pub struct Site {
    folder: TempDir,
    pub engine: Engine,
    pub storage: Option<Objects>,
    pub replicas: Vec<Replica>,
    pub proxy: Haproxy,
    pub books: Arc<Books>,
    pub watch: Watch,
    pub participants: JoinSet<()>,
    pub old: Vec<Old>,
    pub watching: JoinSet<()>,
    /// To both servers, for whoever reads the log.
    pub links: [Link; 2],
    /// How many rounds have failed as parts of theirs were spoiled.
    pub spoiled: usize,
    client: Client,
    pub plan: Plan,
}

impl Site {
    /// Starts all; nothing where some of it cannot be had, which is said.
    pub async fn start(plan: Plan) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::start().await?;
        let storage = Objects::start();
        let wires = Wires::lay(REPLICAS).map(Arc::new);
        let servers = engine.addresses();
        let mut replicas = Vec::new();
        for number in 0..REPLICAS {
            let at = storage.as_ref().map(Objects::address);
            let replica =
                Replica::new(number, servers, at, wires.clone(), plan, folder.path()).await;
            replicas.push(replica);
        }
        let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
        let proxy = Haproxy::start(folder.path(), &addresses)?;
        assert!(replicas[0].command(&["store", "init"]).status().unwrap().success());
        for replica in &mut replicas {
            replica.start().await;
        }
        let here = Ipv4Addr::LOCALHOST.into();
        let links = [Link::between(here, servers[0]).await, Link::between(here, servers[1]).await];
        let (books, watch) = (Arc::new(Books::default()), Watch::default());
        let mut watching = JoinSet::new();
        for replica in &replicas {
            watching.spawn(watch.clone().at(replica.number, replica.address));
        }
        let [first, second] = links.each_ref().map(|link| link.address);
        watching.spawn(watch.clone().at_log(format!("postgres://pet@{first},{second}/postgres")));
        let mut participants = JoinSet::new();
        for index in 0..PARTICIPANTS {
            let door = if index.is_multiple_of(2) { proxy.participants } else { proxy.spread };
            let url = format!("http://{door}");
            let mut manners = Manners::of(index);
            if old::are_there() && !index.is_multiple_of(4) {
                // While those of old work, there is something that is acknowledged.
                manners.hesitates = Duration::from_millis(3500);
            }
            participants.spawn(take_part(index, plan.length, url, manners, Arc::clone(&books)));
        }
        let old = Old::start(&proxy, plan.length, folder.path());
        let client = Client::new();
        Some(Self {
            folder,
            engine,
            storage,
            replicas,
            proxy,
            books,
            watch,
            participants,
            old,
            watching,
            links,
            spoiled: 0,
            client,
            plan,
        })
    }

    /// Which one leads.
    pub async fn leader(&self) -> usize {
        let mut found = None;
        until("one leads", async || {
            // All at once: one that stands still does not answer.
            let mut asked = JoinSet::new();
            for replica in &self.replicas {
                asked.spawn(replica.leads(&self.client));
            }
            while found.is_none() {
                let Some(answer) = asked.join_next().await else { break };
                found = answer.unwrap();
            }
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Waits until a phase has begun.
    pub async fn until_phase(&self, phase: &str) {
        let leader = self.leader().await;
        let url = format!("http://{}/status", self.replicas[leader].address);
        let is_in = async |phase: &str| {
            let sent = self.client.get(&url).timeout(Duration::from_secs(1)).send().await;
            let Ok(response) = sent else { return false };
            let text = response.text().await.unwrap_or_default();
            let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            status["phase"]["name"] == phase
        };
        until("a phase begins", async || is_in(phase).await).await;
    }

    /// The longest time in which nothing was acknowledged, from a moment on; until there was something so long after it.
    pub async fn pause(&mut self, from: Instant, at_least: Duration) -> Duration {
        let end = from + at_least;
        sleep_until(end.into()).await;
        let deadline = Instant::now() + DEADLINE;
        let mut is_told = false;
        while self.books.acknowledged_since(end).is_empty() {
            self.check();
            if end.elapsed() > LONG && !std::mem::replace(&mut is_told, true) {
                let last = self.books.last();
                crate::report(&format!("nothing was acknowledged for {LONG:?}: {last}"));
            }
            assert!(
                Instant::now() < deadline,
                "nothing is acknowledged any more: {}",
                self.trouble()
            );
            sleep(Duration::from_millis(5)).await;
        }
        let mut before = from;
        let mut longest = Duration::ZERO;
        for at in self.books.acknowledged_since(from) {
            longest = longest.max(at - before);
            before = at;
            if at > end {
                break;
            }
        }
        longest
    }

    /// Waits for another global model than those that there are.
    pub async fn until_a_model(&mut self) {
        let models = self.watch.seen().models.len();
        let deadline = Instant::now() + DEADLINE;
        while self.watch.seen().models.len() == models {
            self.check();
            assert!(Instant::now() < deadline, "no round ends any more: {}", self.trouble());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Nothing that is wrong was seen yet, and nobody has ended by itself.
    pub fn check(&mut self) {
        let wrong = self.watch.seen().wrong.clone();
        assert!(wrong.is_empty(), "{wrong:#?}\n{}", self.trouble());
        for index in 0..self.replicas.len() {
            if let Some(status) = self.replicas[index].has_ended() {
                panic!("replica {index} has ended by itself ({status:?}): {}", self.trouble());
            }
        }
        let proxy = self.proxy.has_ended();
        assert_eq!(proxy, None, "HAProxy has ended");
        assert!(!self.old.iter_mut().any(Old::has_ended), "a participant of old has ended");
        let ended = self.participants.try_join_next();
        assert!(ended.is_none(), "a participant has ended: {ended:?}");
    }

    /// The end of all logs.
    pub fn trouble(&self) -> String {
        let mut text = String::new();
        for replica in &self.replicas {
            let log = std::fs::read_to_string(&replica.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(25)..];
            text += &format!("\nreplica {}:\n{}\n", replica.number, last.join("\n"));
        }
        text
    }
}

/// What was logged is kept, if something is wrong or `TORTURE_LOGS` is set.
impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("TORTURE_LOGS").is_some() {
            self.folder.disable_cleanup(true);
            crate::report(&format!("the logs are in {}", self.folder.path().display()));
        }
    }
}
