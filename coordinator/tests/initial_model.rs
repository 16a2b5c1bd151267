//! A model that the first round begins with, from outside: to participants it is a global model like others, of old ones, too.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use pet_coordinator::{
    import_model,
    models::{npy, read_npy},
    settings::{MinMax, Settings},
    transfer::{import_shared, migrate, TransferError},
    Coordinator, DiskStore, InitialModelError, Options, SharedStore, StartError, Store,
};
use pet_core::{
    crypto::RootSeed,
    model::{ratio, Model},
};
use pet_ledger::memory::MemoryEngine;
use reqwest::Client;
use tokio::time::{sleep, timeout};

const DEADLINE: Duration = Duration::from_secs(60);

/// Nobody takes part: the first phase goes on as long as the test.
fn settings() -> Settings {
    let mut settings = Settings::for_model_length(3);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.time = MinMax { min: Duration::ZERO, max: Duration::from_secs(600) };
    settings
}

fn weights() -> Model {
    Model::F32(vec![0.5, -1.25, 3.0e-8])
}

async fn start(
    store: Option<DiskStore>,
    weights: Option<Model>,
) -> Result<Coordinator, StartError> {
    let mut options = Options::default();
    options.store = store.map(|store| Box::new(store) as Box<dyn Store>);
    options.initial_model = weights;
    Coordinator::start_with(settings(), options).await
}

/// The latest global model, once there is a round: weights, and the form of old participants.
async fn model(coordinator: &Coordinator) -> Option<(Model, Vec<u8>)> {
    let client = Client::new();
    let get = async |path: &str, accept: &str| loop {
        let url = format!("http://{}{path}", coordinator.local_addr());
        let response = client.get(url).header("accept", accept).send().await.unwrap();
        match response.status().as_u16() {
            200 => return Some(response.bytes().await.unwrap().to_vec()),
            204 => return None,
            status => assert_eq!(status, 503, "{path}"),
        }
        sleep(Duration::from_millis(5)).await;
    };
    let look = async {
        // As soon as there are parameters there is the model, too.
        while get("/params", "*/*").await.is_none() {
            sleep(Duration::from_millis(5)).await;
        }
        let typed = get("/model", "application/x-npy").await?;
        Some((read_npy(&typed).unwrap(), get("/model", "*/*").await?))
    };
    timeout(DEADLINE, look).await.unwrap()
}

fn expected() -> Option<(Model, Vec<u8>)> {
    Some((weights(), ratio::encode_model(&weights()).unwrap()))
}

#[tokio::test]
async fn the_first_round_has_it_and_so_it_is_after_every_start() {
    let coordinator = start(None, Some(weights())).await.unwrap();
    assert_eq!(model(&coordinator).await, expected());
    assert_eq!(coordinator.models().rounds(), [0]);
    coordinator.shutdown().await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let open = || DiskStore::open(&dir.path().join("data"), None, 3).unwrap();
    // It may also come after rounds have begun, as long as none has ended with a model.
    let coordinator = start(Some(open()), None).await.unwrap();
    assert_eq!(model(&coordinator).await, None);
    coordinator.shutdown().await.unwrap();
    for given in [
        Some(weights()),
        None,
        // There is one: this one is not used.
        Some(Model::F32(vec![1.0, 1.0, 1.0])),
    ] {
        let coordinator = start(Some(open()), given).await.unwrap();
        assert_eq!(model(&coordinator).await, expected());
        assert_eq!(coordinator.models().rounds(), [0]);
        assert_eq!(coordinator.models().load(0).unwrap().unwrap().models, 0);
        coordinator.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_at_the_start() {
    let refused = start(None, Some(Model::F32(vec![1.0]))).await.unwrap_err();
    assert!(refused.to_string().contains("model.length"), "{refused}");
    let refused = start(None, Some(Model::F32(vec![1.0, f32::INFINITY, 1.0]))).await.unwrap_err();
    assert!(refused.to_string().contains("weight 1"), "{refused}");
    let mut options = Options::default();
    options.initial_model = Some(weights());
    options.record = Some(Box::new(|_: &[u8]| {}));
    let refused = Coordinator::start_with(settings(), options).await.unwrap_err();
    assert!(matches!(refused, StartError::InitialModel(InitialModelError::Recorded)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_round_has_begun_it_is_not_moved_but_imported_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut store = DiskStore::open(&data, None, 3).unwrap();
    import_model(&mut store, &weights(), &settings()).unwrap();
    drop(store);
    let engine = MemoryEngine::default();
    let (ledger, parts) = (Arc::new(engine.ledger()), Arc::new(engine.parts()));
    let shared = SharedStore::new(ledger, parts, "default", Some(b"a secret of the tests"));
    let refused = migrate(&data, None, &shared.unwrap(), false).await.unwrap_err();
    assert!(matches!(refused, TransferError::OnlyInitialModel { .. }), "{refused}");
    assert!(refused.to_string().contains("pet-coordinator import-model"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_coordinators_begin_with_it() {
    let engine = MemoryEngine::default();
    let shared = || {
        let (ledger, parts) = (Arc::new(engine.ledger()), Arc::new(engine.parts()));
        SharedStore::new(ledger, parts, "default", Some(b"a secret of the tests")).unwrap()
    };
    import_shared(&weights(), &settings(), &shared()).await.unwrap();
    let start = async |weights| {
        let mut options = Options::default();
        options.shared = Some(shared());
        options.initial_model = weights;
        Coordinator::start_with(settings(), options).await
    };
    for coordinator in [start(None).await.unwrap(), start(None).await.unwrap()] {
        assert_eq!(model(&coordinator).await, expected());
        coordinator.shutdown().await.unwrap();
    }
    // They have something now.
    let again = import_shared(&weights(), &settings(), &shared()).await.unwrap_err();
    assert!(matches!(again, TransferError::NotEmpty { .. }), "{again}");
    let refused = start(Some(weights())).await.unwrap_err();
    assert!(refused.to_string().contains("import-model"), "{refused}");
}

fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    let Output { status, stdout, stderr } =
        command.current_dir(dir).args(args).stdin(Stdio::null()).output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn the_command_imports_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, model: &Model| fs::write(dir.path().join(name), npy(model)).unwrap();
    write("model.npy", &weights());
    write("short.npy", &Model::F32(vec![1.0]));
    fs::write(dir.path().join("text.npy"), "0.5, 0.25").unwrap();
    let import = |file| {
        let length = ["--model-length", "3", "--set", "storage.data_dir=data"];
        run(dir.path(), &[&["import-model", file][..], &length].concat())
    };
    for (file, words) in
        [("none.npy", "cannot read"), ("text.npy", "numpy.save"), ("short.npy", "has 1 weights")]
    {
        let (code, told) = import(file);
        assert!(code == Some(1) && told.contains(words), "{told}");
    }
    let (code, told) = import("model.npy");
    assert!(code == Some(0) && told.contains("3 weights"), "{told}");
    let (code, told) = import("model.npy");
    assert!(code == Some(1) && told.contains("of round 0"), "{told}");

    let mut store = DiskStore::open(&dir.path().join("data"), None, 3).unwrap();
    store.restore(RootSeed::new([1; 32])).unwrap();
    let kept = store.models().load(0).unwrap().unwrap();
    assert_eq!(kept.weights.as_deref(), Some(&weights()));
}
