//! Answers of the engine that are lost, late or doubled.

use std::time::Duration;

use pet_ledger::memory::{random_faults, script, Call, Fault, MemoryEngine};
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
    let door = Door::to(replicas[leads].address()).await;
    // Whoever leads is where messages go.
    let targets = replicas.each_ref().map(Replica::address);
    let leading = async {
        loop {
            if let Some(leads) = replicas.iter().position(Replica::leads) {
                if door.target() != targets[leads] {
                    door.lead_to(targets[leads]);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
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
    tokio::select! {
        () = leading => {}
        done = timeout(DEADLINE, round) => done.unwrap(),
    }
    for replica in &replicas {
        crowd.check(&model(replica, 1).await);
    }
}

/// An append of a leader that was long given up arrives after another one has written: it counts for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_leader_wrote_late_counts_for_nothing() {
    let client = Client::new();
    let engine = MemoryEngine::new();
    let replicas = [
        Replica::start(&engine, settings(2, 4)).await,
        Replica::start(&engine, settings(2, 4)).await,
    ];
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &client).await;
    let door = Door::to(replicas[leads].address()).await;
    let mut crowd = Crowd::of(&parameters, &door, 4).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    // The next update is written once its leader is no more.
    let late = Fault::DoneLater(Duration::from_secs(3));
    let ledger = &replicas[leads].ledger;
    ledger.set_faults(script(Call::Append, [late]));
    let updater = tokio::spawn(crowd.updater(&door));
    tokio::time::sleep(Duration::from_millis(300)).await;
    ledger.cut(true);
    let other = 1 - leads;
    until("another one leads", async || replicas[other].leads()).await;
    door.lead_to(replicas[other].address());
    timeout(DEADLINE, updater).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    ledger.cut(false);
    for _ in 0..2 {
        timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    }
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();
    for replica in &replicas {
        crowd.check(&model(replica, 1).await);
    }
}
