//! The operator's actions, whichever replica is asked.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use pet_ledger::memory::MemoryEngine;
use reqwest::Client;
use serde_json::{json, Value};
use tempfile::TempDir;

use crate::cast::{leader, settings, until, Replica, DEADLINE};

const TOKEN: &str = "a-token-of-more-than-16-characters";

/// Three replicas with desks for the operator; the first one leads.
struct Desks {
    replicas: Vec<Replica>,
    client: Client,
    _dir: TempDir,
}

impl Desks {
    async fn open(lease: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, TOKEN).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let engine = MemoryEngine::new();
        let mut replicas = Vec::new();
        for _ in 0..3 {
            let mut settings = settings(2, 4);
            settings.storage.lease_time = lease;
            settings.admin.bind_address = Some("127.0.0.1:0".parse().unwrap());
            settings.admin.token_file = Some(path.clone());
            replicas.push(Replica::start(&engine, settings).await);
        }
        let leads = leader(&replicas).await;
        replicas.swap(0, leads);
        for follower in &replicas[1..] {
            until("it knows who leads", async || {
                follower.coordinator.status().now.replica.is_some_and(|now| now.leader.is_some())
            })
            .await;
        }
        Self { replicas, client: Client::new(), _dir: dir }
    }

    fn url(&self, replica: usize, path: &str) -> String {
        format!("http://{}/admin/{path}", self.replicas[replica].coordinator.admin_addr().unwrap())
    }

    async fn ask(&self, replica: usize, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = self.url(replica, path);
        let request = match body {
            None => self.client.get(url),
            Some(body) => self
                .client
                .post(url)
                .header("content-type", "application/json")
                .body(body.to_string()),
        };
        let response = request.bearer_auth(TOKEN).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_ask_any_replica() {
    let desks = Desks::open(Duration::from_secs(5)).await;
    let nothing = || Some(json!({}));
    let (status, told) = desks.ask(1, "pause", nothing()).await;
    assert_eq!((status, &told["paused"]), (200, &json!(true)), "{told}");
    // What one has changed, and another one, both hold.
    let (status, told) = desks.ask(2, "settings", Some(json!({ "pet.sum.time.max": 50 }))).await;
    assert_eq!((status, &told["next_settings"]["pet.sum.time.max"]), (200, &json!(50)), "{told}");
    let (status, told) = desks.ask(0, "settings", Some(json!({ "pet.sum.prob": 0.25 }))).await;
    assert_eq!(status, 200, "{told}");
    for replica in 0..3 {
        let (status, shown) = desks.ask(replica, "settings", None).await;
        assert_eq!(
            (status, &shown["pet.sum.time.max"], &shown["pet.sum.prob"]),
            (200, &json!(50), &json!(0.25)),
            "{replica}"
        );
    }
    let (status, why) = desks.ask(1, "settings", Some(json!({ "pet.sum.prob": 2 }))).await;
    assert!(status == 400 && why.as_str().unwrap().contains("pet.sum.prob"), "{why}");
    let (status, told) = desks.ask(1, "skip", nothing()).await;
    assert_eq!((status, &told["round_id"]), (200, &json!(1)), "{told}");
    // The next round may not begin: there is none to skip.
    let mut told = (0, Value::Null);
    until("the round is over", async || {
        told = desks.ask(2, "skip", nothing()).await;
        told.0 == 409
    })
    .await;
    let (status, told) = desks.ask(2, "resume", nothing()).await;
    assert_eq!((status, &told["paused"]), (200, &json!(false)), "{told}");
    until("the next round begins", async || {
        let (_, told) = desks.ask(1, "resume", nothing()).await;
        told["round_id"] == json!(2) && told["phase"] == json!("sum")
    })
    .await;
    // Who may ask is judged where it is asked.
    let request = desks.client.post(desks.url(1, "skip")).bearer_auth("another-token");
    assert_eq!(request.send().await.unwrap().status(), 401);
    let (_, told) = desks.ask(0, "resume", nothing()).await;
    assert_eq!(told["round_id"], json!(2), "nothing was skipped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_told_in_time_that_nobody_leads() {
    let desks = Desks::open(Duration::from_secs(60)).await;
    // Nobody knows yet that it does not lead any more, and one replica reaches nobody.
    desks.replicas[0].ledger.cut(true);
    desks.replicas[2].ledger.cut(true);
    until("it notices", async || {
        let shown = desks.replicas[2].coordinator.status().now.replica;
        shown.is_some_and(|replica| replica.leader.is_none())
    })
    .await;
    let asked = async {
        let ask = |replica| desks.ask(replica, "pause", Some(json!({})));
        tokio::join!(ask(0), ask(1), ask(2))
    };
    let (cut_off, silent, alone) = tokio::time::timeout(DEADLINE * 2 / 3, asked).await.unwrap();
    // It has paused, and cannot know that it still leads.
    assert!(cut_off.0 == 504 && cut_off.1.as_str().unwrap().contains("/status"), "{cut_off:?}");
    assert!(silent.0 == 504 && silent.1.as_str().unwrap().contains("/status"), "{silent:?}");
    assert!(alone.0 == 503 && alone.1.as_str().unwrap().contains("nothing was done"), "{alone:?}");
}
