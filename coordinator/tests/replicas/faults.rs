//! Answers of the engine that are lost, late or doubled.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use pet_core::crypto::Task;
use pet_ledger::{
    memory::{random_faults, script, Call, Fault, MemoryEngine},
    LedgerError,
};
use pet_testing::by_hand::Hand;
use reqwest::Client;
use tokio::{task::JoinSet, time::timeout};

use crate::cast::{leader, model, parameters, settings, until, Crowd, Door, Replica, DEADLINE};

/// What was acknowledged counts once, whatever becomes of the engine's answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_lost_each_200_counts_once() {
    let client = Client::new();
    let engine = MemoryEngine::new();
    let replicas = [
        Replica::start(&engine, settings(2, 6)).await,
        Replica::start(&engine, settings(2, 6)).await,
    ];
    let leads = leader(&replicas).await;
    for (seed, replica) in replicas.iter().enumerate() {
        let faults = |seed| random_faults(seed, 8, Duration::from_millis(100));
        replica.ledger.set_faults(faults(seed as u64));
        replica.parts.set_faults(faults(seed as u64 + 10));
    }
    let parameters = parameters(&replicas[leads], &client).await;
    // Messages go to both of them.
    let door = Door::to_all(replicas.iter().map(Replica::address).collect()).await;
    let mut crowd = Crowd::of(&parameters, &door, 6).await;
    let mut updaters = JoinSet::new();
    for _ in 0..6 {
        updaters.spawn(crowd.updater(&door));
    }
    let summers = std::mem::take(&mut crowd.summers);
    let round = async {
        updaters.join_all().await;
        summers.join_all().await;
    };
    timeout(DEADLINE, round).await.unwrap();
    for replica in &replicas {
        crowd.check(&model(replica, 1).await);
    }
}

/// An append of a leader that was long given up arrives after another one has written: it counts for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_leader_wrote_late_counts_for_nothing() {
    let client = Client::new();
    let engine = MemoryEngine::new();
    let replica = async |lease| {
        let mut settings = settings(2, 4);
        settings.storage.lease_time = Duration::from_secs(lease);
        Replica::start(&engine, settings).await
    };
    let old = replica(3).await;
    leader(std::slice::from_ref(&old)).await;
    // Its lease outlasts what is late.
    let new = replica(60).await;
    let parameters = parameters(&old, &client).await;
    let door = Door::to(old.address()).await;
    let mut crowd = Crowd::of(&parameters, &door, 4).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    // The next update is written once its leader is no more.
    let late = Duration::from_secs(20);
    let on_its_way = Arc::new(AtomicBool::new(false));
    let sent = Arc::clone(&on_its_way);
    old.ledger.set_faults(move |call| match call {
        // (Whatever comes after it never arrives.)
        _ if sent.load(Ordering::SeqCst) => Fault::LostBefore,
        Call::Append => {
            sent.store(true, Ordering::SeqCst);
            Fault::DoneLater(late)
        }
        _ => Fault::None,
    });
    let updater = tokio::spawn(crowd.updater(&door));
    until("it is on its way", async || on_its_way.load(Ordering::SeqCst)).await;
    until("another one leads", async || new.leads()).await;
    door.lead_to(new.address());
    timeout(DEADLINE, updater).await.unwrap().unwrap();
    engine.advance(late);
    old.ledger.cut(false);
    for _ in 0..2 {
        timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    }
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();
    for replica in [&old, &new] {
        crowd.check(&model(replica, 1).await);
    }
}

/// What an engine says of itself, with names of hosts and users perhaps, is for the log and the status. Clients are told what
/// they need to know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_engine_says_of_itself_does_not_reach_clients() {
    let client = Client::new();
    let engine = MemoryEngine::new();
    let replica = Replica::start(&engine, settings(1, 3)).await;
    leader(std::slice::from_ref(&replica)).await;
    let why = "no route to db9.internal as user pet";
    let error = LedgerError::Unreachable { engine: "the engine", why: why.into() };
    replica.ledger.set_faults(move |_| Fault::Error(error.clone()));
    let mut told = Vec::new();
    until("it follows, and cannot", async || {
        let (status, text) = replica.post(&client).await;
        told.push(text);
        let shown = replica.coordinator.status().now.replica.unwrap();
        let knows = shown.trouble.is_some_and(|trouble| trouble.contains(why));
        status == 503
            && knows
            && told.last().unwrap().contains("the database that all replicas share")
    })
    .await;
    assert!(told.iter().all(|text| !text.contains("db9")), "{told:?}");
}

/// Who waits for an engine that does not answer stops all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_waits_for_the_engine_stops_at_once() {
    let engine = MemoryEngine::new();
    let leads = Replica::start(&engine, settings(1, 3)).await;
    leader(std::slice::from_ref(&leads)).await;
    let follows = Replica::start(&engine, settings(1, 3)).await;
    until("it follows", async || {
        let shown = follows.coordinator.status().now.replica;
        shown.is_some_and(|shown| shown.leader.is_some())
    })
    .await;
    let reached = Arc::new(AtomicBool::new(false));
    let reaches = Arc::clone(&reached);
    follows.ledger.set_faults(move |call| {
        reaches.fetch_or(call == Call::Head || call == Call::Read, Ordering::SeqCst);
        Fault::Late(Duration::from_secs(600))
    });
    until("it asks", async || reached.load(Ordering::SeqCst)).await;
    timeout(DEADLINE, follows.coordinator.shutdown()).await.expect("it stops").unwrap();
}

/// Appends hang, and nothing else: whoever waits is told in time, and another replica may be able to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_appends_hang_gives_up() {
    let client = Client::new();
    let engine = MemoryEngine::new();
    let replicas = [
        Replica::start(&engine, settings(2, 3)).await,
        Replica::start(&engine, settings(2, 3)).await,
    ];
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &client).await;
    replicas[leads].ledger.set_faults(|call| match call {
        Call::Append => Fault::Late(DEADLINE * 2),
        _ => Fault::None,
    });
    let message = Hand::with_task(Task::Sum, 1, &parameters)[0].sum();
    let began = Instant::now();
    let request = client.post(format!("http://{}/message", replicas[leads].address()));
    let request = request.header("accept", "application/problem+json").body(message);
    let response = timeout(DEADLINE / 2, request.send()).await.unwrap().unwrap();
    assert_eq!(response.status(), 503, "after {:?}", began.elapsed());
    assert!(response.headers().contains_key("retry-after"));
    until("the other one leads", async || replicas[1 - leads].leads()).await;
    assert!(began.elapsed() < DEADLINE, "after {:?}", began.elapsed());
}

/// One renewal of the lease hangs, as on a connection that has died: the leader goes on to lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_that_hangs_costs_nobody_the_lease() {
    let client = Client::new();
    let engine = MemoryEngine::new();
    let mut settings = settings(2, 3);
    settings.storage.lease_time = Duration::from_secs(4);
    let replicas =
        [Replica::start(&engine, settings.clone()).await, Replica::start(&engine, settings).await];
    let leads = leader(&replicas).await;
    let epoch = |replica: &Replica| replica.coordinator.status().now.replica.unwrap().epoch;
    let before = epoch(&replicas[leads]);
    let hung = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&hung);
    let mut script = script(Call::Lease, [Fault::Late(DEADLINE * 2)]);
    replicas[leads].ledger.set_faults(move |call| {
        let fault = script(call);
        seen.fetch_or(fault != Fault::None, Ordering::SeqCst);
        fault
    });
    until("a renewal hangs", async || hung.load(Ordering::SeqCst)).await;
    // What is final needs a renewal: it is there, and in the same epoch.
    assert_eq!(replicas[leads].post(&client).await.0, 400);
    assert_eq!(epoch(&replicas[leads]), before);
}
