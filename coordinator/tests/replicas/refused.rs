//! What is refused, and in which words.

use std::{sync::Arc, time::Duration};

use pet_coordinator::{Coordinator, Options, SharedStore};
use pet_core::round::RoundParameters;
use pet_ledger::{memory::MemoryEngine, Parts};
use tokio::time::timeout;

use crate::cast::{
    leader, parameters, settings, start, until, Crowd, Door, Replica, DEADLINE, SECRET,
};

/// Why a replica ends.
async fn end_of(mut coordinator: Coordinator) -> String {
    timeout(DEADLINE, coordinator.wait()).await.unwrap().unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_secret_and_another_seed_are_named() {
    let engine = MemoryEngine::new();
    let replica = Replica::start(&engine, settings(1, 3)).await;
    leader(std::slice::from_ref(&replica)).await;
    let (ledger, parts) = (engine.ledger(), engine.parts());
    let refused = start(&ledger, &parts, settings(1, 3), b"another secret, as long").await;
    let why = refused.err().unwrap().to_string();
    assert!(why.contains("the storage secret is not the one"), "{why}");

    let mut other = settings(1, 3);
    other.storage.federation = "other".to_owned();
    let refused = start(&ledger, &parts, other, SECRET).await;
    let why = refused.err().unwrap().to_string();
    assert!(why.contains("the storage secret is not the one"), "{why}");

    let store = |secret| {
        SharedStore::new(Arc::new(ledger.clone()), Arc::new(parts.clone()), "default", secret)
    };
    let why = store(None).err().unwrap().to_string();
    assert!(why.contains("the same secret"), "{why}");
    let mut options = Options::default();
    options.shared = Some(store(Some(SECRET)).unwrap());
    options.seed = Some([9; 32]);
    let coordinator = Coordinator::start_with(settings(1, 3), options).await.unwrap();
    let why = end_of(coordinator).await;
    assert!(why.contains("begun with another seed"), "{why}");
}

/// It listens meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_cannot_be_reached_is_waited_for_from_the_start() {
    let engine = MemoryEngine::new();
    let (ledger, parts) = (engine.ledger(), engine.parts());
    ledger.cut(true);
    let coordinator = start(&ledger, &parts, settings(1, 3), SECRET).await.unwrap();
    let replica = Replica { coordinator, ledger, parts };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!replica.leads());
    replica.ledger.cut(false);
    leader(std::slice::from_ref(&replica)).await;
}

/// The names in a page's table rows, and what there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_shown_of_replicas_is_documented() {
    let engine = MemoryEngine::new();
    let replica = Replica::start(&engine, settings(1, 3)).await;
    leader(std::slice::from_ref(&replica)).await;
    let page = include_str!("../../../docs/monitoring.md");
    let section = page.split("## Several coordinators").nth(1).unwrap();
    let documented: std::collections::BTreeSet<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let client = reqwest::Client::new();
    let status = replica.get(&client, "/status").await;
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    let shown = status["replica"].as_object().unwrap();
    let fields = shown
        .iter()
        .map(|(name, value)| format!("replica.{name}{}", if value.is_array() { "[]" } else { "" }));
    let metrics = String::from_utf8(replica.get(&client, "/metrics").await).unwrap();
    let metrics = metrics.lines().filter_map(|line| line.split([' ', '{']).next());
    let metrics = metrics.filter(|name| name.starts_with("pet_replica_")).map(str::to_owned);
    let there: std::collections::BTreeSet<String> = fields.chain(metrics).collect();
    assert_eq!(there.iter().map(String::as_str).collect::<Vec<_>>(), Vec::from_iter(documented));
}

/// The aggregate is gone: no sum is made of the rest, and the next round begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_fails_if_a_part_of_it_is_lost() {
    let engine = MemoryEngine::new();
    let client = reqwest::Client::new();
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(Replica::start(&engine, settings(2, 4)).await);
    }
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &client).await;
    let door = Door::to(replicas[leads].address()).await;
    let mut crowd = Crowd::of(&parameters, &door, 4).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    let parts = replicas[leads].parts.list().await.unwrap();
    let aggregate = parts.iter().find(|part| part.name.kind() == "aggregate").unwrap();
    assert!(engine.damage_part(&aggregate.name, None));
    replicas.remove(leads).coordinator.shutdown().await.unwrap();
    until("the next round begins", async || replicas[0].coordinator.status().now.round.id == 2)
        .await;
    assert_eq!(replicas[0].coordinator.models().rounds(), [0; 0]);
}

/// A leader and a follower who know more than a backup of their engine.
struct Ahead {
    engine: MemoryEngine,
    backup: MemoryEngine,
    parameters: RoundParameters,
    leads: Replica,
    follows: Replica,
    door: Door,
    crowd: Crowd,
    written: u64,
}

/// The last entry of the log that a replica knows.
fn position(replica: &Replica) -> u64 {
    replica.coordinator.status().now.replica.unwrap().position
}

impl Ahead {
    async fn of_a_backup() -> Self {
        let engine = MemoryEngine::new();
        let client = reqwest::Client::new();
        let mut replicas = Vec::new();
        for _ in 0..2 {
            replicas.push(Replica::start(&engine, settings(2, 4)).await);
        }
        let leads = leader(&replicas).await;
        let leads = replicas.remove(leads);
        let follows = replicas.remove(0);
        let parameters = parameters(&leads, &client).await;
        let door = Door::to(leads.address()).await;
        let backup = engine.copy();
        let mut crowd = Crowd::of(&parameters, &door, 4).await;
        timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
        let written = position(&leads);
        until("the other one has read it", async || position(&follows) >= written).await;
        Self { engine, backup, parameters, leads, follows, door, crowd, written }
    }
}

/// Somebody has restored a backup: whoever knows what came after it does not go on, since rounds would be repeated with the same
/// keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_went_back_in_time_is_refused() {
    let Ahead { engine, backup, leads, follows, door, mut crowd, .. } = Ahead::of_a_backup().await;

    engine.set_back_to(&backup);
    // Who follows looks all the time; who leads finds out with the next record.
    let sending = tokio::spawn(crowd.updater(&door));
    for replica in [follows, leads] {
        let why = end_of(replica.coordinator).await;
        assert!(why.contains("the engine went back in time"), "{why}");
    }
    sending.abort();
    // One that knows nothing of it cannot tell.
    let replica = Replica::start(&engine, settings(2, 4)).await;
    leader(std::slice::from_ref(&replica)).await;
}

/// Somebody has restored a backup, and another replica has gone on from there, further than those who were cut off had come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_that_is_longer_than_what_was_seen_is_refused() {
    let ahead = Ahead::of_a_backup().await;
    let Ahead { engine, backup, parameters, leads, follows, door, crowd, written } = ahead;
    follows.ledger.cut(true);
    leads.coordinator.shutdown().await.unwrap();

    engine.set_back_to(&backup);
    let goes_on = Replica::start(&engine, settings(2, 4)).await;
    leader(std::slice::from_ref(&goes_on)).await;
    door.lead_to(goes_on.address());
    drop(crowd);
    let mut crowd = Crowd::of(&parameters, &door, 4).await;
    for _ in 0..2 {
        timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    }
    assert!(position(&goes_on) > written);
    follows.ledger.cut(false);
    let why = end_of(follows.coordinator).await;
    assert!(why.contains("the engine went back in time"), "{why}");
}
