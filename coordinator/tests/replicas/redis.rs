//! Processes that share Redis.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
    time::Instant,
};

use nix::sys::signal::Signal;
use pet_coordinator::status::Status;
use pet_core::round::RoundParameters;
use pet_store_redis::testing::Redis;
use reqwest::Client;
use tokio::time::timeout;

use crate::{
    cast::{until, Crowd, Door, DEADLINE},
    processes::{coordinator, follow, leader, tell, Process},
};

const FEDERATION: &str = "hospitals";

fn ran(url: &str, arguments: &[&str]) -> (bool, String) {
    let output = { coordinator(url, FEDERATION, arguments) }.stderr(Stdio::piped()).output();
    let Output { status, stderr, .. } = output.unwrap();
    (status.success(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Copies the files of a folder and of those in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = { entry.map(|entry| (entry.path(), to.join(entry.file_name()))) }.unwrap();
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn a_redis_that_may_lose_what_it_acknowledged_is_named_at_the_start() {
    let Some(redis) = Redis::with(&["appendonly no"]) else { return };
    for command in [&["store", "init"][..], &["serve", "--bind", "127.0.0.1:0"]] {
        let (done, told) = ran(redis.url(), command);
        assert!(!done && told.contains("appendonly is \"no\""), "{told}");
        assert!(told.contains("redis.accept_loss = true"), "{told}");
    }
    let accepted = ["store", "init", "--set", "redis.accept_loss=true"];
    let (done, told) = ran(redis.url(), &accepted);
    assert!(done, "{told}");
}

/// The leader is killed in the middle of the round, and Redis, too; and in the end Redis has an old copy, which nobody goes on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_survives_its_leader_and_its_redis_and_no_old_copy_is_taken() {
    let Some(redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new();
    let url = redis.url().to_owned();
    let (done, told) = ran(&url, &["serve", "--bind", "127.0.0.1:0"]);
    assert!(!done && told.contains("store init"), "{told}");
    assert!(ran(&url, &["store", "init"]).0 && ran(&url, &["store", "init"]).0);

    let mut processes = Vec::new();
    for number in 0..3 {
        processes.push(Process::start(&url, FEDERATION, folder.path(), number).await);
    }
    let leads = leader(&processes).await;
    let (_, parameters) = processes[leads].get(&client, "/params").await.unwrap();
    let parameters = RoundParameters::from_bytes(&parameters).unwrap();
    let door = Arc::new(Door::to(processes[leads].address).await);
    let _following = follow(&door, processes.iter().map(|process| process.address).collect());
    let mut crowd = Crowd::of(&parameters, &door, 4).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();

    let began = Instant::now();
    processes.remove(leads).signal(Signal::SIGKILL);
    leader(&processes).await;
    tell("kill -9 of the leader, over Redis", began);
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();

    redis.kill();
    let (data, old) = (redis.folder().join("data"), redis.folder().join("old"));
    copy(&data, &old);
    until("it says so", async || {
        let ready = processes[0].get(&client, "/readyz").await;
        ready.is_some_and(|(status, why)| {
            status == 503 && String::from_utf8_lossy(&why).contains("Redis")
        })
    })
    .await;
    redis.start_again();
    let began = Instant::now();
    leader(&processes).await;
    tell("Redis is back", began);
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();

    // Who has not read an entry can't miss it: both must know of the third update before it is taken away.
    until("both know of all updates", async || {
        for process in &processes {
            let Some((200, status)) = process.get(&client, "/status").await else { return false };
            let status: Status = serde_json::from_slice(&status).unwrap();
            if status.now.phase.accepted != 3 {
                return false;
            }
        }
        true
    })
    .await;
    redis.kill();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&old, &data).unwrap();
    redis.start_again();
    // Who follows looks all the time; who leads finds out with the next record.
    let sending = tokio::spawn(crowd.updater(&door));
    for mut process in processes {
        let mut ended = None;
        until("it ends", async || {
            ended = process.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        assert_eq!(ended.unwrap().code(), Some(1));
    }
    sending.abort();
    let logs = (0..3).map(|number| folder.path().join(format!("log-{FEDERATION}-{number}")));
    let logs = logs.map(|log| fs::read_to_string(log).unwrap());
    let named = logs.filter(|log| log.contains("the engine went back in time")).count();
    assert_eq!(named, 2);
}
