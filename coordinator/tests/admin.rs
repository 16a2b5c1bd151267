//! The operator's actions: who may act, and what comes of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pet_coordinator::{
    settings::{MinMax, Settings},
    Coordinator,
};
use reqwest::{Client, StatusCode};
use serde_json::{json, Value};
use tempfile::TempDir;

const TOKEN: &str = "a-token-of-more-than-16-characters";

/// A file that nobody else may read.
fn secret_file(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

struct Office {
    coordinator: Coordinator,
    dir: TempDir,
}

impl Office {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::for_model_length(4);
        settings.api.bind_address.set_port(0);
        settings.pet.sum.time = MinMax { min: Duration::ZERO, max: Duration::from_secs(60) };
        settings.admin.bind_address = Some("127.0.0.1:0".parse().unwrap());
        settings.admin.socket = Some(dir.path().join("admin.sock"));
        settings.admin.token_file = Some(dir.path().join("token"));
        secret_file(dir.path().join("token"), format!("{TOKEN}\n"));
        Self { coordinator: Coordinator::start(settings).await.unwrap(), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.coordinator.admin_addr().unwrap())
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Client::new().post(self.url(path)).bearer_auth(TOKEN);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Looks until the status is as wanted.
    async fn until(&self, what: &str, is_so: impl Fn(&pet_coordinator::status::Status) -> bool) {
        let end = Instant::now() + Duration::from_secs(120);
        while !is_so(&self.coordinator.status()) {
            assert!(Instant::now() < end, "{what}: {:?}", self.coordinator.status().now);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn nobody_acts_without_the_token() {
    let office = Office::open().await;
    let client = Client::new();
    for path in ["/admin/pause", "/admin/resume", "/admin/skip", "/admin/settings", "/other"] {
        for token in [None, Some(""), Some("a-token-of-more-than-16-character"), Some("wrong")] {
            let mut request = client.post(office.url(path));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{path} {token:?}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
        // What is public knows nothing of all this.
        let public = format!("http://{}{path}", office.coordinator.local_addr());
        let response = client.post(public).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
    }
    assert_eq!(office.coordinator.status().now.round.id, 1);
    office.coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn rounds_are_skipped_paused_and_resumed() {
    let office = Office::open().await;
    let (status, state) = office.post("/admin/skip", json!({})).await;
    assert_eq!(status, 200, "{state}");
    office.until("the next round", |status| status.now.round.id == 2).await;
    let failure = office.coordinator.status().rounds[0].failure.clone().unwrap();
    assert_eq!((failure.reason.as_str(), failure.phase.as_str()), ("skipped", "sum"));

    let (status, state) = office.post("/admin/pause", json!({})).await;
    assert_eq!(
        (status.as_u16(), &state["paused"], &state["phase"]),
        (200, &json!(true), &json!("sum"))
    );
    assert_eq!(office.post("/admin/skip", json!({})).await.0, 200);
    office.until("the pause", |status| status.now.phase.name == "idle").await;
    assert_eq!(office.coordinator.status().now.phase.waits_for, "resume");
    let (status, why) = office.post("/admin/skip", json!({})).await;
    assert_eq!((status.as_u16(), why), (409, json!("no round is under way\n")));
    let (status, state) = office.post("/admin/resume", json!({})).await;
    assert_eq!(
        (status.as_u16(), &state["round_id"], &state["phase"]),
        (200, &json!(3), &json!("sum"))
    );
    office.coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn settings_are_changed_from_the_next_round_on() {
    let office = Office::open().await;
    let changes =
        json!({ "pet.sum.prob": 0.125, "pet.sum.count.min": "7", "pet.update.time.max": 99.5 });
    let (status, state) = office.post("/admin/settings", changes).await;
    assert_eq!(status, 200, "{state}");
    assert_eq!(state["next_settings"]["pet.sum.prob"], 0.125);
    assert_eq!(state["next_settings"]["pet.update.time.max"], 99.5);
    assert_eq!(office.coordinator.status().now.phase.min_count, Some(1));
    office.post("/admin/skip", json!({})).await;
    office.until("the new settings", |status| status.now.phase.min_count == Some(7)).await;
    // A later change keeps the earlier one.
    let (_, state) = office.post("/admin/settings", json!({ "pet.sum.time.max": 50 })).await;
    assert_eq!(state["next_settings"]["pet.sum.count.min"], 7);

    // All mistakes at once, and nothing of it holds.
    let wrong =
        json!({ "pet.sum.prob": 2, "pet.sum.count.max": 3, "pet.nonsense": 1, "model.length": 5 });
    let (status, why) = office.post("/admin/settings", wrong).await;
    let why = why.as_str().unwrap().to_owned();
    assert_eq!(status, 400);
    for expected in [
        "pet.sum.prob = 2",
        "pet.sum.count.max",
        "pet.nonsense",
        "model.length",
        "while the coordinator runs",
    ] {
        assert!(why.contains(expected), "{expected} is not in {why}");
    }
    let settings = Client::new().get(office.url("/admin/settings")).bearer_auth(TOKEN);
    let settings: Value =
        serde_json::from_str(&settings.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(
        (&settings["pet.sum.prob"], &settings["pet.sum.count.max"]),
        (&json!(0.125), &json!(100))
    );
    office.coordinator.shutdown().await.unwrap();
}

fn cli(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    let output = command.arg("admin").args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_acts_over_the_socket_and_the_address() {
    let office = Office::open().await;
    let socket = office.path("admin.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (socket_arg, token) = (socket.to_str().unwrap(), office.path("token"));
    let token = token.to_str().unwrap();
    let over_socket =
        |action: &[&str]| cli(&[&["--socket", socket_arg, "--token-file", token], action].concat());
    let (code, stdout, stderr) = over_socket(&["pause"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("\"paused\":true"), "{stdout}");
    let (code, stdout, _) = over_socket(&["set", "pet.sum.prob=0.2", "pet.sum.count.min=2"]);
    assert!(code == Some(0) && stdout.contains("\"pet.sum.prob\":0.2"), "{stdout}");
    let (code, _, stderr) = over_socket(&["set", "pet.sum.prob=2"]);
    assert!(code == Some(1) && stderr.contains("pet.sum.prob = 2"), "{stderr}");
    assert_eq!(over_socket(&["set", "pet.sum.prob"]).0, Some(2));

    let address = office.coordinator.admin_addr().unwrap().to_string();
    let (code, stdout, _) = cli(&["--address", &address, "--token-file", token, "settings"]);
    assert!(code == Some(0) && stdout.contains("\"pet.sum.count.min\":2"), "{stdout}");
    let wrong = office.path("wrong");
    secret_file(&wrong, "something else entirely");
    let (code, _, stderr) =
        cli(&["--address", &address, "--token-file", wrong.to_str().unwrap(), "skip"]);
    assert!(code == Some(1) && stderr.contains("needs the token"), "{stderr}");

    office.coordinator.shutdown().await.unwrap();
    assert!(!Path::new(&socket).exists());
    let (code, _, stderr) =
        cli(&["--socket", socket_arg, "--token-file", wrong.to_str().unwrap(), "skip"]);
    assert!(code == Some(3) && stderr.contains("admin.socket"), "{stderr}");
}

#[tokio::test]
async fn without_a_good_token_it_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::for_model_length(4);
    settings.api.bind_address.set_port(0);
    settings.admin.bind_address = Some("0.0.0.0:0".parse().unwrap());
    let error = Coordinator::start(settings.clone()).await.unwrap_err().to_string();
    assert!(
        error.contains("admin.bind_address = 0.0.0.0:0") && error.contains("admin.token_file"),
        "{error}"
    );
    settings.admin.bind_address = Some("127.0.0.1:0".parse().unwrap());
    for content in [None, Some("short"), Some(TOKEN)] {
        let path = dir.path().join("token");
        if let Some(content) = content {
            secret_file(&path, content);
        }
        if content == Some(TOKEN) {
            // A good one, but for everybody to read.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        settings.admin.token_file = Some(path);
        let error = Coordinator::start(settings.clone()).await.unwrap_err().to_string();
        assert!(error.contains("admin.token_file"), "{error}");
    }
}

/// A process that was killed leaves its socket behind; one that lives keeps it.
#[tokio::test]
async fn a_socket_left_behind_is_no_hindrance() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    secret_file(dir.path().join("token"), TOKEN);
    let mut settings = Settings::for_model_length(4);
    settings.api.bind_address.set_port(0);
    settings.admin.socket = Some(path.clone());
    settings.admin.token_file = Some(dir.path().join("token"));
    // (A program that a test beside this one is just starting has a copy of the first socket for a moment.)
    let end = Instant::now() + Duration::from_secs(60);
    let coordinator = loop {
        match Coordinator::start(settings.clone()).await {
            Ok(coordinator) => break coordinator,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let error = Coordinator::start(settings).await.unwrap_err().to_string();
    assert!(error.contains("admin.sock"), "{error}");
    assert!(path.exists());
    coordinator.shutdown().await.unwrap();
}
