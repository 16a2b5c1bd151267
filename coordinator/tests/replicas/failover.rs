//! Another one leads, in the same round.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pet_coordinator::{settings::OptimizerSettings, transfer::import_shared, SharedStore};
use pet_core::{coordinator::OptimizerKind, model::Model};
use pet_ledger::memory::MemoryEngine;
use reqwest::Client;
use tokio::time::timeout;

use crate::cast::{
    leader, model, parameters, settings, since, until, Crowd, Door, Replica, DEADLINE, LENGTH,
    SECRET,
};

/// Lets three replicas come to the middle of the update phase of their first round: two of four updates are accepted.
async fn in_the_middle(
    engine: &MemoryEngine,
    lease: Duration,
) -> (Vec<Replica>, usize, Door, Crowd) {
    let client = Client::new();
    let mut settings = settings(2, 4);
    settings.storage.lease_time = lease;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::start(engine, settings.clone()).await);
    }
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &client).await;
    let door = Door::to(replicas[leads].address()).await;
    let mut crowd = Crowd::of(&parameters, &door, 4).await;
    for _ in 0..2 {
        let updater = crowd.updater(&door);
        timeout(DEADLINE, updater).await.unwrap();
    }
    (replicas, leads, door, crowd)
}

/// The round goes on to its end, at whoever leads now.
async fn to_the_end(replicas: &[Replica], leads: usize, door: &Door, mut crowd: Crowd) {
    door.lead_to(replicas[leads].address());
    for _ in 0..2 {
        let updater = crowd.updater(door);
        timeout(DEADLINE, updater).await.unwrap();
    }
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();
    for replica in replicas {
        crowd.check(&model(replica, 1).await);
    }
}

/// Everyone answers with the same.
async fn agree(replicas: &[Replica], path: &str) {
    let client = Client::new();
    until("all agree", async || {
        let mut answers = Vec::new();
        for replica in replicas {
            answers.push(replica.get(&client, path).await);
        }
        !answers[0].is_empty() && answers.iter().all(|answer| *answer == answers[0])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_goes_on_at_once_when_its_leader_stops() {
    let engine = MemoryEngine::new();
    let lease = Duration::from_secs(50);
    let (mut replicas, leads, door, crowd) = in_the_middle(&engine, lease).await;
    agree(&replicas, "/params").await;
    agree(&replicas, "/sums").await;
    let stopping = replicas.remove(leads);
    let began = Instant::now();
    stopping.coordinator.shutdown().await.unwrap();
    let (leads, took) = since(began, &replicas).await;
    assert!(took < lease / 3, "{took:?}: it has waited for the lease to run out");
    to_the_end(&replicas, leads, &door, crowd).await;
    agree(&replicas, "/model").await;
}

/// As if its machine had no network any more: it turns messages away by itself, and follows when it has one again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_is_replaced_and_follows_when_it_is_back() {
    let client = Client::new();
    let engine = MemoryEngine::new();
    // A third of it is left when a leader gives up.
    let lease = Duration::from_secs(6);
    let (replicas, leads, door, crowd) = in_the_middle(&engine, lease).await;
    let began = Instant::now();
    replicas[leads].ledger.cut(true);
    until("it leads no more", async || !replicas[leads].leads()).await;
    let took = began.elapsed();
    assert!(took < lease, "it gave up after {took:?}, with its lease over");
    let (status, text) = replicas[leads].post(&client).await;
    assert_eq!((status, text.contains("no_leader")), (503, true), "{text}");
    let (next, took) = since(began, &replicas).await;
    assert!(next != leads && took < lease * 4, "{next} after {took:?}");
    replicas[leads].ledger.cut(false);
    to_the_end(&replicas, next, &door, crowd).await;
    // (It may have to catch up first.)
    until("it is ready, and follows", async || {
        let url = format!("http://{}/readyz", replicas[leads].address());
        let ready = client.get(url).send().await.unwrap().text().await.unwrap();
        ready.starts_with("ready\n") && ready.contains("follower of")
    })
    .await;
    agree(&replicas, "/model").await;
}

/// Nobody ends, everybody says why, and the same round goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_waits_for_the_engine() {
    let client = Client::new();
    let engine = MemoryEngine::new();
    let (replicas, _, door, crowd) = in_the_middle(&engine, Duration::from_secs(3)).await;
    replicas.iter().for_each(|replica| replica.ledger.cut(true));
    until("nobody leads", async || !replicas.iter().any(Replica::leads)).await;
    for replica in &replicas {
        until("it says so", async || {
            let (status, text) = replica.post(&client).await;
            assert_eq!(status, 503);
            text.contains("the database that all replicas share")
        })
        .await;
        assert!(!replica.get(&client, "/params").await.is_empty());
    }
    let began = Instant::now();
    replicas.iter().for_each(|replica| replica.ledger.cut(false));
    let (leads, took) = since(began, &replicas).await;
    assert!(took < Duration::from_secs(30), "{took:?}");
    to_the_end(&replicas, leads, &door, crowd).await;
}

/// The clock of the phase goes on with the round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_the_phase_goes_on() {
    let engine = MemoryEngine::new();
    let (mut replicas, leads, _, _) = in_the_middle(&engine, Duration::from_secs(3)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let leading = replicas.remove(leads);
    // Between the two looks lies a time between these two, wherever this test is held up.
    let outer = Instant::now();
    let before = leading.coordinator.status().now.phase;
    let inner = Instant::now();
    leading.coordinator.shutdown().await.unwrap();
    let (leads, _) = since(inner, &replicas).await;
    let inner = inner.elapsed().as_secs_f64();
    let after = replicas[leads].coordinator.status().now.phase;
    let outer = outer.elapsed().as_secs_f64();
    assert_eq!((before.name.as_str(), after.name.as_str()), ("update", "update"));
    let passed = after.seconds - before.seconds;
    assert!((inner - 1.0..outer + 1.0).contains(&passed), "{before:?} {inner} {outer} {after:?}");
    assert_eq!(after.accepted, 2);
}

/// What an optimiser remembers comes with the last global model: whoever leads next takes just the step that follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leads_goes_on_with_what_the_optimizer_remembers() {
    let (client, engine) = (Client::new(), MemoryEngine::new());
    let mut with_momentum = settings(2, 3);
    with_momentum.pet.optimizer = OptimizerSettings::of(OptimizerKind::FedAvgM);
    with_momentum.pet.optimizer.momentum = Some(0.5);
    let (ledger, parts) = (Arc::new(engine.ledger()), Arc::new(engine.parts()));
    let federation = &with_momentum.storage.federation;
    let shared = SharedStore::new(ledger, parts, federation, Some(SECRET)).unwrap();
    let zeros = Model::F32(vec![0.0; LENGTH as usize]);
    import_shared(&zeros, &with_momentum, &shared).await.unwrap();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::start(&engine, with_momentum.clone()).await);
    }
    let (mut before, mut velocity) = (0.0_f32, 0.0_f64);
    for round in 1..=3 {
        let leads = leader(&replicas).await;
        until("the round has begun", async || {
            replicas[leads].coordinator.status().now.round.id == round
        })
        .await;
        let door = Door::to(replicas[leads].address()).await;
        let mut crowd = Crowd::of(&parameters(&replicas[leads], &client).await, &door, 3).await;
        for _ in 0..3 {
            timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
        }
        let summers = std::mem::take(&mut crowd.summers);
        timeout(DEADLINE, summers.join_all()).await.unwrap();
        let made = model(&replicas[leads], round).await;
        let state = made.optimizer.as_ref().unwrap();
        assert_eq!((state.kind(), state.steps()), (OptimizerKind::FedAvgM, round));
        let Some(Model::F32(weights)) = made.weights.as_deref() else { panic!("{made:?}") };
        // All weights are the same; the mean is that of 0.10, 0.11 and 0.12.
        let mean = 0.11_f32 - f32::EPSILON..=0.11 + f32::EPSILON;
        let weight = f64::from(before);
        let expected = |mean: f32| 0.5 * velocity + (f64::from(mean) - weight);
        let found = state.moments()[0][0];
        assert!((expected(*mean.start())..=expected(*mean.end())).contains(&found), "{found}");
        assert_eq!(weights[0].to_bits(), ((weight + found) as f32).to_bits());
        assert!(state.moments()[0].iter().all(|other| other.to_bits() == found.to_bits()));
        (before, velocity) = (weights[0], found);
        if round < 3 {
            replicas.remove(leads).coordinator.shutdown().await.unwrap();
        }
    }
}
