//! What is stored, from outside: stopping and starting again, other settings, full disks, wrong
//! directories and secrets.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use pet_coordinator::{
    settings::{MinMax, Settings},
    Confirmations, Coordinator, DiskStore, Options, RunError, Store, StoreError,
};
use pet_core::{
    coordinator::{PersistId, Record},
    crypto::{EncryptKeyPair, Seed, SigningKeyPair, Task, TaskSignatures},
    message::{Frame, SumPayload, Tag},
    round::{RoundParameters, SumDict},
};
use tokio::time::sleep;

const DEADLINE: Duration = Duration::from_secs(60);

/// Sum phases of two participants, with a minute and a half for it.
fn settings(length: u64) -> Settings {
    let mut settings = Settings::for_model_length(length);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.count = MinMax { min: 2, max: 2 };
    settings.pet.sum2.count = MinMax { min: 1, max: 2 };
    settings.pet.sum.time = MinMax { min: Duration::ZERO, max: Duration::from_secs(90) };
    settings
}

async fn start(settings: Settings, dir: &Path) -> Coordinator {
    let mut options = Options::default();
    options.store = Some(Box::new(DiskStore::open(&dir.join("data"), None, 3).unwrap()));
    Coordinator::start_with(settings, options).await.unwrap()
}

async fn get(coordinator: &Coordinator, path: &str) -> (u16, Vec<u8>) {
    let url = format!("http://{}{path}", coordinator.local_addr());
    let response = reqwest::get(url).await.unwrap();
    let status = response.status().as_u16();
    (status, response.bytes().await.unwrap().to_vec())
}

/// Waits for a 200.
async fn get_soon(coordinator: &Coordinator, path: &str) -> Vec<u8> {
    let end = Instant::now() + DEADLINE;
    loop {
        match get(coordinator, path).await {
            (200, body) => return body,
            (status, _) => assert!(Instant::now() < end, "{path}: {status}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn parameters(coordinator: &Coordinator) -> RoundParameters {
    RoundParameters::from_bytes(&get_soon(coordinator, "/params").await).unwrap()
}

fn summers(parameters: &RoundParameters) -> Vec<SigningKeyPair> {
    let keys = (0u8..).map(|number| SigningKeyPair::from_seed(&Seed::new([number; 32])));
    let sums = |keys: &SigningKeyPair| {
        let signatures = TaskSignatures::sign(keys, &parameters.seed);
        signatures.task(parameters.sum, parameters.update) == Task::Sum
    };
    keys.filter(sums).take(2).collect()
}

async fn send_sum(
    coordinator: &Coordinator,
    parameters: &RoundParameters,
    keys: &SigningKeyPair,
) -> u16 {
    let payload = SumPayload {
        sum_signature: TaskSignatures::sign(keys, &parameters.seed).sum,
        ephemeral_key: EncryptKeyPair::from_seed(&Seed::new([5; 32])).public(),
    };
    let mut frame = Frame::with_capacity(SumPayload::LENGTH);
    payload.write_to(frame.buffer_mut());
    let ephemeral = EncryptKeyPair::from_seed(&Seed::new([6; 32]));
    let message = frame.seal(keys, &parameters.pk, Tag::Sum, false, &ephemeral).unwrap();
    let url = format!("http://{}/message", coordinator.local_addr());
    let sent = reqwest::Client::new().post(url).body(message).send().await.unwrap();
    sent.status().as_u16()
}

/// A program that is just being started has a copy of every lock of this process until it runs.
#[test]
fn a_store_that_is_in_use_for_a_moment_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    drop(DiskStore::open(&data, None, 3).unwrap());
    let held = fs::File::open(&data).unwrap();
    held.lock().unwrap();
    let began = Instant::now();
    assert!(matches!(DiskStore::open(&data, None, 3), Err(StoreError::InUse { .. })));
    assert!(began.elapsed() >= Duration::from_secs(1));
    drop(held);
    DiskStore::open(&data, None, 3).unwrap();
}

/// The model's length is another one from the next round on.
#[tokio::test]
async fn a_round_goes_on_after_a_stop_with_its_own_parameters() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(settings(10), dir.path()).await;
    let before = parameters(&coordinator).await;
    let keys = summers(&before);
    assert_eq!(send_sum(&coordinator, &before, &keys[0]).await, 200);
    coordinator.shutdown().await.unwrap();

    let coordinator = start(settings(20), dir.path()).await;
    assert_eq!(parameters(&coordinator).await, before);
    // It is there already, and there is room for one more.
    send_sum(&coordinator, &before, &keys[0]).await;
    assert_eq!(coordinator.metrics().rejections.get("duplicate_sum"), 1);
    assert_eq!(send_sum(&coordinator, &before, &keys[1]).await, 200);
    let sums = SumDict::from_bytes(&get_soon(&coordinator, "/sums").await).unwrap();
    assert!(keys.iter().all(|keys| sums.contains(&keys.public())));
    coordinator.shutdown().await.unwrap();

    // In the update phase, too.
    let mut short = settings(20);
    short.pet.update.time = MinMax { min: Duration::ZERO, max: Duration::from_millis(50) };
    let coordinator = start(short, dir.path()).await;
    let end = Instant::now() + DEADLINE;
    loop {
        let now = parameters(&coordinator).await;
        if now != before {
            assert_eq!((before.model_length, now.model_length), (10, 20));
            break;
        }
        assert!(Instant::now() < end, "the round does not end");
        sleep(Duration::from_millis(5)).await;
    }
    coordinator.shutdown().await.unwrap();
}

/// Fails from the third record on.
struct Failing(DiskStore);

impl Store for Failing {
    fn persist(&mut self, id: PersistId, _record: Record, confirmations: &Confirmations) {
        match id {
            PersistId(1) => confirmations.stored(id),
            _ => confirmations.failed(StoreError::io(
                "write",
                "somewhere",
                std::io::Error::from(std::io::ErrorKind::StorageFull),
            )),
        }
        let _ = &self.0;
    }
}

#[tokio::test]
async fn a_failing_store_ends_the_coordinator_and_nothing_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.store =
        Some(Box::new(Failing(DiskStore::open(&dir.path().join("data"), None, 1).unwrap())));
    let mut coordinator = Coordinator::start_with(settings(10), options).await.unwrap();
    let parameters = parameters(&coordinator).await;
    let status = send_sum(&coordinator, &parameters, &summers(&parameters)[0]).await;
    assert_eq!(status, 503);
    assert_eq!(coordinator.metrics().messages_accepted, 0);
    let error = coordinator.wait().await.unwrap_err();
    assert!(matches!(error, RunError::Driver(_)), "{error:?}");
    assert!(error.to_string().contains("the store has failed: cannot write somewhere"), "{error}");
}

fn serve(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    command.args(["serve", "--bind", "127.0.0.1:0", "--model-length", "10", "--data-dir"]).arg(dir);
    command.stdin(Stdio::null()).env_remove("PET_STORAGE_SECRET");
    command
}

fn failure(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    stderr
}

#[test]
fn what_is_wrong_with_the_directory_is_told_with_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    let stderr = failure(&mut serve(&file.join("data")));
    assert!(stderr.contains("error: cannot create the directory"), "{stderr}");

    let data = dir.path().join("data");
    let held = DiskStore::open(&data, None, 1).unwrap();
    let stderr = failure(&mut serve(&data));
    assert!(stderr.contains("in use by another coordinator"), "{stderr}");
    drop(held);

    let stderr = failure(serve(&data).env("PET_STORAGE_SECRET", "short"));
    assert!(stderr.contains("too short"), "{stderr}");
    let mut command = serve(&data);
    let stderr = failure(command.args(["--set", "storage.secret_file=/nowhere/at/all"]));
    assert!(
        stderr.contains("storage.secret_file") && stderr.contains("/nowhere/at/all"),
        "{stderr}"
    );

    let database = data.join("coordinator.redb");
    fs::write(&database, b"something else entirely".repeat(500)).unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();
    let stderr = failure(&mut serve(&data));
    let command = format!("run `chmod 600 {}`", database.display());
    assert!(stderr.contains(&command), "{stderr}");
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
    let stderr = failure(&mut serve(&data));
    assert!(stderr.contains("coordinator.redb is damaged"), "{stderr}");
    assert!(stderr.contains("backup"), "{stderr}");
}

/// A file that may not grow is like a disk that is full.
#[test]
fn a_full_disk_is_told_with_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let serve = serve(&dir.path().join("data"));
    let mut limited = Command::new("bash");
    // Signals are ignored across exec: the write itself fails then. In units of 1024 bytes.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""]);
    limited.arg(serve.get_program()).args(serve.get_args());
    let stderr = failure(limited.stdin(Stdio::null()).env_remove("PET_STORAGE_SECRET"));
    assert!(stderr.contains("error: cannot") && stderr.contains("coordinator.redb"), "{stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");
}
