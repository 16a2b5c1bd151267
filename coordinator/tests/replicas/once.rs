//! Messages that are written by hand, each to the replica of the test's choice: what is said of them is true, and they count
//! once.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::Duration,
};

use pet_core::{
    crypto::{EncryptKeyPair, Seed, Task},
    message::Tag,
    round::{RoundParameters, SumDict},
};
use pet_ledger::{
    memory::{Call, Fault, MemoryEngine},
    Ask, Lease, Ledger, ReplicaId,
};
use pet_testing::by_hand::Hand;
use reqwest::Client;
use tokio::time::timeout;

use crate::{
    cast::{leader, parameters, until, Replica, DEADLINE},
    spread::three,
};

/// What becomes of a message: its status, and what is told.
async fn send(client: &Client, to: &Replica, message: Vec<u8>) -> (u16, String) {
    let request = client.post(format!("http://{}/message", to.address())).body(message);
    let request = request.header("accept", "application/problem+json");
    let response = timeout(DEADLINE, request.send()).await.expect("an answer").unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// What becomes of a message that comes again as long as it is in progress.
async fn insist(client: &Client, to: &Replica, message: &[u8]) -> (u16, String) {
    let mut told = (0, String::new());
    until("it is known what becomes of it", async || {
        told = send(client, to, message.to_vec()).await;
        told.0 != 503
    })
    .await;
    told
}

/// Three replicas, the one that leads and the others, and the round.
async fn replicas(
    engine: &MemoryEngine,
    summers: u64,
    updaters: u64,
) -> (Vec<Replica>, usize, [usize; 2], RoundParameters) {
    let replicas = three(engine, summers, updaters).await;
    let leads = leader(&replicas).await;
    let parameters = parameters(&replicas[leads], &Client::new()).await;
    (replicas, leads, [(leads + 1) % 3, (leads + 2) % 3], parameters)
}

async fn sums(client: &Client, replica: &Replica) -> SumDict {
    let mut sums = SumDict::default();
    until("the sum phase is over", async || {
        let body = replica.get(client, "/sums").await;
        if let Ok(known) = SumDict::from_bytes(&body) {
            sums = known;
        }
        !sums.is_empty()
    })
    .await;
    sums
}

/// The leader is gone before it learns whether its last write was done. It was: then the answer is there, too, and it is that
/// the message counts, not that it came before. Or it was not: then the next leader finds the message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_and_its_record_are_stored_together_or_not_at_all() {
    for last in [Fault::LostAfter, Fault::LostBefore] {
        let engine = MemoryEngine::new();
        let (replicas, leads, [follower, other], parameters) = replicas(&engine, 2, 3).await;
        let client = Client::new();
        let hands = Hand::with_task(Task::Sum, 2, &parameters);
        let is_gone = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&is_gone);
        let fault = last.clone();
        replicas[leads].ledger.set_faults(move |call| match call {
            _ if gone.load(Ordering::SeqCst) => Fault::LostBefore,
            Call::Append => {
                gone.store(true, Ordering::SeqCst);
                fault.clone()
            }
            _ => Fault::None,
        });
        let told = match &last {
            Fault::LostAfter => send(&client, &replicas[follower], hands[0].sum()).await,
            // It may be this one that leads next: then the message has to come again.
            _ => insist(&client, &replicas[follower], &hands[0].sum()).await,
        };
        assert!(is_gone.load(Ordering::SeqCst));
        assert_eq!(told.0, 200, "{last:?}: {}", told.1);
        // It counts once.
        let again = insist(&client, &replicas[other], &hands[0].sum()).await;
        assert_eq!(again.0, 409, "{last:?}: {}", again.1);
        assert_eq!(insist(&client, &replicas[follower], &hands[1].sum()).await.0, 200);
        assert_eq!(sums(&client, &replicas[other]).await.len(), 2);
    }
}

/// Two messages of one participant at two replicas at once: one counts, the other one does not, and that stays so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_key_at_two_replicas_exactly_one_message_counts() {
    let engine = MemoryEngine::new();
    let (replicas, leads, [first, second], parameters) = replicas(&engine, 2, 3).await;
    let client = Client::new();
    let summers = Hand::with_task(Task::Sum, 2, &parameters);
    let summer = &summers[0];
    let other_key = EncryptKeyPair::from_seed(&Seed::new([77; 32])).public();
    let other_sum = summer.send(Tag::Sum, &summer.sum_payload(other_key));
    let messages = [summer.sum(), other_sum];
    one_counts(&client, [&replicas[first], &replicas[second]], &messages, "a sum message").await;
    assert_eq!(insist(&client, &replicas[first], &summers[1].sum()).await.0, 200);

    let sums = sums(&client, &replicas[leads]).await;
    let updaters = Hand::with_task(Task::Update, 3, &parameters);
    let masked = updaters[1].fitting();
    let other_update = updaters[0].send(Tag::Update, &updaters[0].update_payload(&sums, &masked));
    let messages = [updaters[0].update(&sums), other_update];
    one_counts(&client, [&replicas[first], &replicas[second]], &messages, "an update").await;
    for (updater, replica) in updaters[1..].iter().zip([&replicas[leads], &replicas[first]]) {
        assert_eq!(insist(&client, replica, &updater.update(&sums)).await.0, 200);
    }
    // With one counted twice the phase would be over before.
    for replica in &replicas {
        until("the update phase is over", async || {
            replica.coordinator.status().now.phase.name == "sum2"
        })
        .await;
    }
}

async fn one_counts(client: &Client, to: [&Replica; 2], messages: &[Vec<u8>; 2], what: &str) {
    let (one, two) =
        tokio::join!(insist(client, to[0], &messages[0]), insist(client, to[1], &messages[1]));
    let mut both = [one.0, two.0];
    both.sort_unstable();
    assert_eq!(both, [200, 409], "{one:?} {two:?}");
    let refused = if one.0 == 409 { &one } else { &two };
    assert!(refused.1.contains(&format!("has already sent {what} in this round")), "{refused:?}");
    // Both are known now, wherever they come again.
    for (message, to) in [(0, 1), (1, 0), (0, 0), (1, 1)].map(|(m, t)| (&messages[m], to[t])) {
        let again = insist(client, to, message).await;
        assert_eq!(again.0, 409, "{again:?}");
    }
}

/// The two halves of one message go to two replicas, of which neither leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_one_message_at_several_replicas_are_put_together() {
    let engine = MemoryEngine::new();
    let (replicas, leads, [first, second], parameters) = replicas(&engine, 1, 3).await;
    let client = Client::new();
    let summer = &Hand::with_task(Task::Sum, 1, &parameters)[0];
    let payload = summer.sum_payload(summer.ephemeral().public());
    let half = |second| summer.send_chunk(Tag::Sum, &payload, 50, second);
    assert_eq!(insist(&client, &replicas[first], &half(false)).await.0, 200);
    assert_eq!(insist(&client, &replicas[second], &half(true)).await.0, 200);
    let sums = sums(&client, &replicas[leads]).await;
    let known: Vec<_> = sums.iter().map(|(key, ephemeral)| (*key, *ephemeral)).collect();
    assert_eq!(known, [(summer.key(), summer.ephemeral().public())]);

    let updater = &Hand::with_task(Task::Update, 1, &parameters)[0];
    let payload = updater.update_payload(&sums, &updater.fitting());
    let half = |second| updater.send_chunk(Tag::Update, &payload, payload.len() / 2, second);
    // The second half comes first.
    assert_eq!(insist(&client, &replicas[second], &half(true)).await.0, 200);
    assert_eq!(insist(&client, &replicas[first], &half(false)).await.0, 200);
    for replica in &replicas {
        until("it counts", async || replica.coordinator.status().now.phase.accepted == 1).await;
    }
    let again = insist(&client, &replicas[leads], &updater.update(&sums)).await;
    assert_eq!(again.0, 409, "{again:?}");
}

/// An update that comes to a follower which believes that sum messages are collected: it looks before it says no.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_behind_reads_the_log_before_it_turns_a_message_away() {
    let engine = MemoryEngine::new();
    let (replicas, leads, [follower, _], parameters) = replicas(&engine, 1, 3).await;
    let client = Client::new();
    // What takes time is done before.
    let updater = &Hand::with_task(Task::Update, 1, &parameters)[0];
    let summer = &Hand::with_task(Task::Sum, 1, &parameters)[0];
    // (Two or three of them must fit into the five seconds in which a replica makes sure.)
    let slow = Fault::Late(Duration::from_secs(1));
    replicas[follower].ledger.set_faults(move |call| match call {
        Call::Head | Call::Read => slow.clone(),
        _ => Fault::None,
    });
    assert_eq!(insist(&client, &replicas[leads], &summer.sum()).await.0, 200);
    let update = updater.update(&sums(&client, &replicas[leads]).await);
    assert_eq!(replicas[follower].coordinator.status().now.phase.name, "sum");
    let told = send(&client, &replicas[follower], update).await;
    assert_eq!(told.0, 200, "{}", told.1);
}

/// All of the leader's machine stood still, its clock, too: by its clock its lease is good, and by the engine's it is somebody
/// else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_stood_still_says_nothing_final() {
    let engine = MemoryEngine::new();
    let (mut replicas, leads, _, parameters) = replicas(&engine, 1, 3).await;
    let client = Client::new();
    let leading = replicas.remove(leads);
    for follower in replicas.drain(..) {
        follower.coordinator.shutdown().await.unwrap();
    }
    let ask = Ask {
        replica: ReplicaId([7; 16]),
        name: "another one".to_owned(),
        // Until it is given up.
        ttl: Duration::from_secs(600),
        elapsed: None,
        renews: None,
    };
    let mut epoch = None;
    until("another one has the lease", async || {
        engine.advance(Duration::from_secs(3));
        if let Lease::Held { epoch: held, .. } = engine.ledger().lease(ask.clone()).await.unwrap() {
            epoch = Some(held);
        }
        epoch.is_some()
    })
    .await;
    // One that is none, and one that is good: neither does it know anything of.
    let (status, told) = send(&client, &leading, vec![1; 300]).await;
    assert_eq!(status, 503, "{told}");
    let summer = &Hand::with_task(Task::Sum, 1, &parameters)[0];
    let (status, told) = send(&client, &leading, summer.sum()).await;
    assert_eq!(status, 503, "{told}");
    engine.ledger().release(ask.replica, epoch.unwrap()).await.unwrap();
    assert_eq!(insist(&client, &leading, &summer.sum()).await.0, 200);
}
