//! Messages go to any replica.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::Duration,
};

use pet_coordinator::status::Outcome;
use pet_core::{crypto::Task, round::RoundParameters};
use pet_ledger::memory::{Call, Fault, MemoryEngine};
use reqwest::Client;
use tokio::{task::JoinSet, time::timeout};

use crate::cast::{
    leader, model, parameters, participant_at, settings, until, with_task, Crowd, Door, Replica,
    DEADLINE,
};

pub async fn three(engine: &MemoryEngine, summers: u64, updaters: u64) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::start(engine, settings(summers, updaters)).await);
    }
    let leads = leader(&replicas).await;
    // All know of the round.
    let client = Client::new();
    let params = parameters(&replicas[leads], &client).await;
    for replica in &replicas {
        until("it follows", async || {
            let body = replica.get(&client, "/params").await;
            RoundParameters::from_bytes(&body).is_ok_and(|known| known == params)
        })
        .await;
    }
    replicas
}

/// What was sent to which replica counts in one and the same mean.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_taken_by_every_replica() {
    let engine = MemoryEngine::new();
    let replicas = three(&engine, 2, 12).await;
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &Client::new()).await;
    // Sum messages and masks go to followers, too.
    let follower = (leads + 1) % 3;
    let door = Door::to(replicas[follower].address()).await;
    let mut crowd = Crowd::of(&parameters, &door, 12).await;
    let mut sending = JoinSet::new();
    for number in 0..12 {
        sending.spawn(crowd.updater_at(replicas[number % 3].address()));
    }
    timeout(DEADLINE, sending.join_all()).await.unwrap();
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();
    for replica in &replicas {
        crowd.check(&model(replica, 1).await);
    }
    // Each knows what the round was like. (Its very end may be gone before a follower reads it.)
    for replica in &replicas {
        let mut rounds = Arc::default();
        until("the round is over", async || {
            rounds = replica.coordinator.status().rounds;
            !rounds.is_empty()
        })
        .await;
        let [round] = &rounds[..] else { panic!("{rounds:?}") };
        let phases: Vec<_> =
            round.phases.iter().map(|phase| (phase.name.as_str(), phase.accepted)).collect();
        assert_eq!((round.id, round.outcome, round.models), (1, Outcome::Completed, Some(12)));
        assert!(round.votes.is_none_or(|votes| votes == 2), "{round:?}");
        assert_eq!(phases[..2], [("sum", Some(2)), ("update", Some(12))], "{round:?}");
        assert_eq!(phases[2].0, "sum2");
    }
    // Each has answered for itself.
    for replica in &replicas {
        let accepted = replica.coordinator.metrics().accepted;
        assert_eq!(accepted["update"], 4, "{accepted:?}");
    }
}

/// A replica that is killed with updates in its hands: nobody was told anything of those, and others take them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_held_is_free_for_others() {
    let engine = MemoryEngine::new();
    let mut replicas = three(&engine, 2, 4).await;
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &Client::new()).await;
    let door = Door::to(replicas[leads].address()).await;
    let mut crowd = Crowd::of(&parameters, &door, 4).await;
    let dying = (leads + 1) % 3;
    // It cannot store any part: updates are reserved for it, and stay there.
    replicas[dying].parts.set_faults(|_| Fault::LostBefore);
    let victim = Door::to(replicas[dying].address()).await;
    let mut sending = JoinSet::new();
    for _ in 0..3 {
        sending.spawn(crowd.updater(&victim));
    }
    until("they are reserved", async || {
        replicas[dying].coordinator.status().now.replica.is_some_and(|replica| replica.held >= 3)
    })
    .await;
    until("whoever leads knows", async || {
        let status = replicas[leads].coordinator.status().now.replica;
        status.is_some_and(|replica| replica.reserved == 3)
    })
    .await;
    let dead = replicas.remove(dying);
    dead.ledger.cut(true);
    drop(dead);
    let alive = replicas[0].address();
    victim.lead_to(alive);
    sending.spawn(crowd.updater(&victim));
    timeout(DEADLINE, sending.join_all()).await.unwrap();
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();
    for replica in &replicas {
        crowd.check(&model(replica, 1).await);
    }
}

/// The parts that are recorded count, whoever leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_killed_with_parts_recorded_and_updates_under_way() {
    let engine = MemoryEngine::new();
    let mut replicas = three(&engine, 2, 6).await;
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &Client::new()).await;
    let others: Vec<_> = (1..3).map(|more| replicas[(leads + more) % 3].address()).collect();
    let doors = [Door::to(others[0]).await, Door::to(others[1]).await];
    let mut crowd = Crowd::of(&parameters, &doors[0], 6).await;
    for number in 0..4 {
        timeout(DEADLINE, crowd.updater(&doors[number % 2])).await.unwrap();
    }
    let dead = replicas.remove(leads);
    dead.ledger.cut(true);
    drop(dead);
    let mut sending = JoinSet::new();
    for number in 0..2 {
        sending.spawn(crowd.updater(&doors[number % 2]));
    }
    timeout(DEADLINE, sending.join_all()).await.unwrap();
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();
    for replica in &replicas {
        crowd.check(&model(replica, 1).await);
    }
}

/// The round fails by name; never is there a sum of the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_gone_fails_the_round() {
    let engine = MemoryEngine::new();
    let replicas = three(&engine, 1, 3).await;
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &Client::new()).await;
    let follower = (leads + 1) % 3;
    let mut crowd = Crowd::without_summers(&parameters, 3);
    let door = Door::to(replicas[follower].address()).await;
    let summer = with_task(&parameters, Task::Sum, 1).remove(0);
    let summing = tokio::spawn(participant_at(door.address, summer, 0));
    for _ in 0..2 {
        timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    }
    let mut gone = BTreeMap::new();
    until("a part replaces the one before", async || {
        gone = parts_of_kind(&replicas[leads], "shard").await;
        gone.len() == 1
    })
    .await;
    for name in gone.keys() {
        assert!(engine.damage_part(name, None));
    }
    // The leader takes the last one itself: the phase ends.
    let last = Door::to(replicas[leads].address()).await;
    timeout(DEADLINE, crowd.updater(&last)).await.unwrap();
    until("the round fails", async || {
        let failures = replicas[leads].coordinator.metrics().failures;
        failures.get("part_lost").is_some_and(|count| *count == 1)
    })
    .await;
    summing.abort();
}

async fn parts_of_kind(replica: &Replica, kind: &str) -> BTreeMap<pet_ledger::PartName, Duration> {
    use pet_ledger::Parts;
    let parts = replica.parts.list().await.unwrap();
    parts
        .into_iter()
        .filter(|part| part.name.kind() == kind)
        .map(|part| (part.name, part.age))
        .collect()
}

/// How much goes through the engine, of what is received. Shown with `--ignored --nocapture`.
#[allow(clippy::print_stdout)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_much_goes_through_the_engine() {
    const UPDATERS: usize = 96;
    let engine = MemoryEngine::new();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let mut settings = settings(2, UPDATERS as u64);
        settings.model.length = 20_000;
        replicas.push(Replica::start(&engine, settings).await);
    }
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &Client::new()).await;
    let door = Door::to_all(replicas.iter().map(Replica::address).collect()).await;
    let mut crowd = Crowd::of(&parameters, &door, UPDATERS).await;
    let mut sending = JoinSet::new();
    for number in 0..UPDATERS {
        sending.spawn(crowd.updater_at(replicas[number % 3].address()));
    }
    timeout(DEADLINE, sending.join_all()).await.unwrap();
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();
    model(&replicas[0], 1).await;
    let (mut received, mut written, mut read) = (0, 0, 0);
    for replica in &replicas {
        let status = replica.coordinator.status().now.replica.unwrap();
        received += replica.coordinator.metrics().received_bytes;
        (written, read) = (written + status.written_bytes, read + status.read_bytes);
    }
    let share = |bytes: u64| bytes as f64 / received as f64;
    println!("received {received}, written {:.3} of it, read {:.3}", share(written), share(read));
}

/// Who was given the parameters of a round, by whichever replica, is not given the global model of before by another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_behind_gives_no_old_model() {
    let client = Client::new();
    let engine = MemoryEngine::new();
    let replicas = three(&engine, 2, 3).await;
    let leads = leader(&replicas).await;
    let behind = &replicas[(leads + 1) % 3];
    let looks = Arc::new(AtomicUsize::new(0));
    let look_slowly = |late| {
        let counted = Arc::clone(&looks);
        behind.ledger.set_faults(move |call| match call {
            Call::Head => {
                counted.fetch_add(1, Ordering::Relaxed);
                Fault::Late(late)
            }
            _ => Fault::None,
        });
    };
    let mut was_behind = false;
    // It may look in the very moment in which the round ends: then the next one shows it.
    for _ in 0..4 {
        look_slowly(Duration::from_millis(10));
        let parameters = parameters(&replicas[leads], &client).await;
        let old = parameters.to_bytes();
        until("it knows of the round", async || behind.get(&client, "/params").await == old).await;
        let door = Door::to(replicas[leads].address()).await;
        let mut crowd = Crowd::of(&parameters, &door, 3).await;
        let mut sending = JoinSet::new();
        for _ in 0..3 {
            sending.spawn(crowd.updater(&door));
        }
        timeout(DEADLINE, sending.join_all()).await.unwrap();
        look_slowly(Duration::from_millis(1500));
        let summers = std::mem::take(&mut crowd.summers);
        timeout(DEADLINE, summers.join_all()).await.unwrap();
        until("the next round has begun somewhere", async || {
            replicas[leads].get(&client, "/params").await != old
        })
        .await;
        was_behind = behind.get(&client, "/params").await == old;
        let told = behind.get(&client, "/model").await;
        assert!(!told.is_empty());
        assert_eq!(told, replicas[leads].get(&client, "/model").await);
        if was_behind {
            break;
        }
    }
    assert!(was_behind, "it always knew what was asked for");
    // (So long that all of them ask meanwhile.)
    look_slowly(Duration::from_millis(1500));
    // Many who ask at once cost a look or two.
    let before = looks.load(Ordering::Relaxed);
    let mut asking = JoinSet::new();
    for _ in 0..100 {
        let request = client.get(format!("http://{}/model", behind.address())).send();
        asking.spawn(async move { request.await.unwrap().status() });
    }
    assert!(asking.join_all().await.into_iter().all(|status| status == 200));
    let cost = looks.load(Ordering::Relaxed) - before;
    assert!(cost <= 10, "{cost} looks for 100 requests");
    // Who cannot look says so, and all else as before.
    behind.ledger.cut(true);
    let response = client.get(format!("http://{}/model", behind.address())).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert!(!behind.get(&client, "/params").await.is_empty());
}
