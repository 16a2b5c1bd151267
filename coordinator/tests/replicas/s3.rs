//! Processes that share PostgreSQL, and S3-compatible storage for what is large.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::sys::signal::Signal;
use pet_core::{model::Model, round::RoundParameters};
use pet_ledger::Parts;
use pet_store_postgres::{testing::Postgres, PostgresLedger, PostgresSettings};
use pet_store_s3::{testing::Storage, S3Archive, S3Parts};
use reqwest::Client;
use tokio::time::timeout;

use crate::{
    cast::{until, Crowd, Door, DEADLINE},
    processes::{coordinator, follow, leader, Process},
};

/// So many weights that a masked model is large.
const LENGTH: usize = 60_000;

fn with_s3(postgres: &Postgres, storage: &Storage, federation: &str, command: &[&str]) -> Command {
    let mut coordinator = coordinator(postgres.url(), federation, command);
    coordinator.args(["--set", &format!("model.length={LENGTH}")]);
    for (key, value) in [
        ("STORAGE__PARTS", "s3".to_owned()),
        ("S3__ACCESS_KEY", "pet-access".to_owned()),
        ("S3__SECRET_ACCESS_KEY", "pet-secret".to_owned()),
        ("S3__REGION", format!("['local', '{}']", storage.url())),
        ("S3__BUCKETS__GLOBAL_MODELS", "pet".to_owned()),
    ] {
        coordinator.env(format!("XAYNET__{key}"), value);
    }
    coordinator
}

/// What a command says, which fails.
fn refused(mut command: Command) -> String {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{told}");
    told
}

/// The leader and the storage are killed in the middle of a round; in the end the model is where readers of the original look for
/// it, and the database has next to nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_survives_its_leader_and_its_storage() {
    let Some(postgres) = Postgres::start() else { return };
    let Some(storage) = Storage::start() else { return };
    let (folder, client) = (tempfile::tempdir().unwrap(), Client::new());
    let command = |command: &[&str]| with_s3(&postgres, &storage, "large", command);
    let serve = || command(&["serve"]);

    for (key, value, named) in [
        ("BUCKETS__GLOBAL_MODELS", "nowhere", "there is no such bucket"),
        ("SECRET_ACCESS_KEY", "wrong", "s3.secret_access_key have to be right"),
    ] {
        let mut init = command(&["store", "init"]);
        init.env(format!("XAYNET__S3__{key}"), value);
        let told = refused(init);
        assert!(told.contains(named), "{told}");
    }
    assert!(command(&["store", "init"]).status().unwrap().success());
    // Who does not know where large parts are does not take them for lost.
    let mut serve_without = serve();
    serve_without.env("XAYNET__STORAGE__PARTS", "engine").args(["--bind", "127.0.0.1:0"]);
    let told = refused(serve_without);
    assert!(told.contains("large parts of this federation are in S3"), "{told}");

    let mut processes = Vec::new();
    for number in 0..2 {
        processes.push(Process::spawn(serve(), "large", folder.path(), number).await);
    }
    let leads = leader(&processes).await;
    let (_, parameters) = processes[leads].get(&client, "/params").await.unwrap();
    let parameters = RoundParameters::from_bytes(&parameters).unwrap();
    let door = Arc::new(Door::to(processes[leads].address).await);
    let _following = follow(&door, processes.iter().map(|process| process.address).collect());
    let mut crowd = Crowd::of(&parameters, &door, 4).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();

    processes.remove(leads).signal(Signal::SIGKILL);
    leader(&processes).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();

    storage.kill();
    let sending = tokio::spawn(crowd.updater(&door));
    let log = folder.path().join(format!("log-large-{}", 1 - leads));
    until("messages are turned away, and the log says why", async || {
        let request = client.post(format!("http://{}/message", processes[0].address));
        let sent =
            request.body(vec![1; 300]).timeout(Duration::from_secs(20)).send().await.unwrap();
        let is_told = std::fs::read_to_string(&log).unwrap().contains("S3 cannot be reached");
        sent.status() == 503 && is_told
    })
    .await;
    storage.start_again();
    timeout(DEADLINE, sending).await.unwrap().unwrap();
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();

    let mut weights = Vec::new();
    until("the model is there", async || {
        let request = client.get(format!("http://{}/model", processes[0].address));
        let request = request.header("accept", "application/vnd.pet.weights");
        weights = request.send().await.unwrap().bytes().await.unwrap().to_vec();
        !weights.is_empty()
    })
    .await;
    let weights = weights.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    let weights: Vec<f32> = weights.collect();
    assert_eq!(weights.len(), LENGTH);
    crowd.check_weights(&Model::F32(weights));

    // As the original stored it.
    let archive = S3Archive::connect(&storage.settings("large")).await.unwrap();
    let (_, bincode) = processes[0].get(&client, "/model").await.unwrap();
    let stored = archive.get(format!("1_{}", parameters.seed)).await.unwrap();
    assert!(stored.is_some_and(|stored| stored == bincode));

    let parts = S3Parts::connect(&storage.settings("large")).await.unwrap();
    let settings = PostgresSettings::new(postgres.url(), "large");
    let near = PostgresLedger::connect(&settings).await.unwrap().parts();
    let near = near.list().await.unwrap();
    assert!(near.iter().all(|part| part.name.kind() == "elsewhere"), "{near:?}");

    // A global model is gone: it is told by name.
    let listed = parts.list().await.unwrap();
    let model = listed.into_iter().find(|part| part.name.kind() == "model").unwrap().name;
    parts.remove(std::slice::from_ref(&model)).await.unwrap();
    let mut another = serve();
    another.args(["--bind", "127.0.0.1:0"]);
    let told = tokio::task::spawn_blocking(move || refused(another)).await.unwrap();
    assert!(told.contains(&format!("the part {model} is missing")), "{told}");
}
