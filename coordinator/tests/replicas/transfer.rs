//! Coordinators that are moved from a directory, and coordinators that begin with a backup.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::Duration,
};

use pet_coordinator::{
    transfer::{
        migrate, renew_shared, restore_directory, restore_shared, Backup, BackupWriter,
        TransferError,
    },
    Coordinator, DiskStore, Models, Options, SharedStore, StoreError,
};
use pet_core::{
    coordinator::{EndedRound, GlobalModel},
    round::RoundParameters,
};
use pet_ledger::memory::{Fault, MemoryEngine};
use pet_store_postgres::testing::Postgres;
use reqwest::Client;
use tokio::{sync::Notify, time::timeout};

use crate::{
    cast::{leader, model, parameters, settings, until, Crowd, Door, Replica, DEADLINE, SECRET},
    processes::coordinator,
};

/// A coordinator on a directory, which it has to itself.
struct Alone(Coordinator);

impl Alone {
    /// Two participants add up masks, four send updates.
    async fn on(dir: &Path) -> Self {
        Self::with(dir, Some(SECRET)).await
    }

    async fn with(dir: &Path, secret: Option<&[u8]>) -> Self {
        let mut options = Options::default();
        options.store = Some(Box::new(DiskStore::open(dir, secret, 10).unwrap()));
        Self(Coordinator::start_with(settings(2, 4), options).await.unwrap())
    }

    async fn get(&self, path: &str) -> Vec<u8> {
        let url = format!("http://{}{path}", self.0.local_addr());
        reqwest::get(url).await.unwrap().bytes().await.unwrap().to_vec()
    }

    async fn parameters(&self) -> RoundParameters {
        let mut read = Vec::new();
        until("a round begins", async || {
            read = self.get("/params").await;
            !read.is_empty()
        })
        .await;
        RoundParameters::from_bytes(&read).unwrap()
    }

    async fn round_id(&self) -> u64 {
        self.0.status().now.round.id
    }

    /// Completes the round; gives its model.
    async fn completes(&self) -> GlobalModel {
        let door = Door::to(self.0.local_addr()).await;
        let parameters = self.parameters().await;
        until("it is told", async || self.round_id().await > 0).await;
        let round_id = self.round_id().await;
        let mut crowd = Crowd::of(&parameters, &door, 4).await;
        for _ in 0..4 {
            timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
        }
        let summers = std::mem::take(&mut crowd.summers);
        timeout(DEADLINE, summers.join_all()).await.unwrap();
        until("the next round begins", async || self.round_id().await > round_id).await;
        // The machine is ahead of the disk.
        let mut model = None;
        until("the model is stored", async || {
            model = self.0.models().load(round_id).unwrap();
            model.is_some()
        })
        .await;
        let model = model.unwrap();
        crowd.check(&model);
        model
    }
}

fn shared(engine: &MemoryEngine) -> SharedStore {
    let (ledger, parts) = (Arc::new(engine.ledger()), Arc::new(engine.parts()));
    SharedStore::new(ledger, parts, "default", Some(SECRET)).unwrap()
}

/// What a replica that leads begins with: its round's parameters.
async fn led(engine: &MemoryEngine) -> (Replica, RoundParameters) {
    let replica = Replica::start(engine, settings(2, 4)).await;
    leader(std::slice::from_ref(&replica)).await;
    let parameters = parameters(&replica, &Client::new()).await;
    (replica, parameters)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.metadata().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
    fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_goes_on_as_several_coordinators() {
    let dir = tempfile::tempdir().unwrap();
    let (data, before) = (dir.path().join("data"), dir.path().join("before"));
    let engine = MemoryEngine::new();
    let alone = Alone::on(&data).await;
    let first = alone.completes().await;
    alone.0.shutdown().await.unwrap();
    copy(&data, &before);

    let moved = migrate(&data, Some(SECRET), &shared(&engine), false).await.unwrap();
    assert_eq!((moved.round_id, &moved.models[..], moved.was_there), (2, &[1][..], false));
    let error = DiskStore::open(&data, Some(SECRET), 10).unwrap_err();
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    // Again: it is there.
    let moved = migrate(&data, Some(SECRET), &shared(&engine), false).await.unwrap();
    assert!(moved.was_there);
    let other = MemoryEngine::new();
    drop(led(&other).await.0.coordinator.shutdown().await);
    let error = migrate(&before, Some(SECRET), &shared(&other), false).await.unwrap_err();
    assert!(matches!(error, TransferError::NotEmpty { .. }), "{error}");
    // Two federations would use the same keys, although both have the same name, and the second one is new.
    let second = migrate(&data, Some(SECRET), &shared(&MemoryEngine::new()), false).await;
    let error = second.unwrap_err();
    let is_elsewhere = matches!(&error, TransferError::Store(StoreError::MovedElsewhere { federation, .. }) if federation == "default");
    assert!(is_elsewhere, "{error}");

    let (replica, parameters) = led(&engine).await;
    assert_eq!(replica.coordinator.status().now.round.id, 3);
    assert_eq!(model(&replica, 1).await, first);
    let client = Client::new();
    assert_eq!(replica.get(&client, "/model").await, first.rationals);
    // The keys of the rounds to come are the very ones that the directory would have had.
    let alone = Alone::on(&before).await;
    alone.completes().await;
    assert_eq!(alone.parameters().await, parameters);

    let error = migrate(&data, Some(SECRET), &shared(&engine), false).await.unwrap_err();
    assert!(matches!(error, TransferError::InUse { .. }), "{error}");
}

/// The mark is taken away although the migration has reached the federation: its replicas would use the keys of the rounds since then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_went_on_is_not_taken_for_moved() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let engine = MemoryEngine::new();
    let alone = Alone::on(&data).await;
    alone.parameters().await;
    alone.0.shutdown().await.unwrap();
    migrate(&data, Some(SECRET), &shared(&engine), false).await.unwrap();

    fs::remove_file(data.join("MOVED")).unwrap();
    let alone = Alone::on(&data).await;
    alone.completes().await;
    let used = alone.parameters().await;
    alone.0.shutdown().await.unwrap();
    for _ in 0..2 {
        let error = migrate(&data, Some(SECRET), &shared(&engine), false).await.unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, TransferError::Behind { there: 1, here: 2, .. }), "{told}");
        assert!(told.contains("--restored --last-round 2"), "{told}");
        assert!(DiskStore::open(&data, Some(SECRET), 10).is_err());
    }
    // As it says.
    assert!(matches!(
        renew_shared(&shared(&engine), Some(u64::MAX)).await,
        Err(TransferError::LastRound)
    ));
    assert_eq!(renew_shared(&shared(&engine), Some(2)).await.unwrap(), 2);
    let (replica, parameters) = led(&engine).await;
    assert_eq!(replica.coordinator.status().now.round.id, 3);
    assert!(parameters.pk != used.pk && parameters.seed != used.seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_with_messages_is_moved_only_if_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let engine = MemoryEngine::new();
    let alone = Alone::on(&data).await;
    let door = Door::to(alone.0.local_addr()).await;
    let mut crowd = Crowd::of(&alone.parameters().await, &door, 4).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    drop(crowd);
    alone.0.shutdown().await.unwrap();

    let error = migrate(&data, Some(SECRET), &shared(&engine), false).await.unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, TransferError::InRound { round_id: 1, accepted: 1, .. }), "{told}");
    assert!(told.contains("pause") && told.contains("--drop-round"), "{told}");
    drop(DiskStore::open(&data, Some(SECRET), 10).unwrap());
    let moved = migrate(&data, Some(SECRET), &shared(&engine), true).await.unwrap();
    assert_eq!((moved.round_id, &moved.models[..]), (1, &[][..]));
    let (replica, _) = led(&engine).await;
    assert_eq!(replica.coordinator.status().now.round.id, 2);
}

/// What is shared, and what tells that a call was made which never ends: the one after so many.
fn until_call(engine: &MemoryEngine, most: usize) -> (SharedStore, Arc<Notify>) {
    let (ledger, parts) = (engine.ledger(), engine.parts());
    let (reached, calls) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let faults = || {
        let (reached, calls) = (Arc::clone(&reached), Arc::clone(&calls));
        move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            call if call < most => Fault::None,
            _ => {
                reached.notify_one();
                Fault::Late(Duration::from_secs(3600))
            }
        }
    };
    ledger.set_faults(faults());
    parts.set_faults(faults());
    let store = SharedStore::new(Arc::new(ledger), Arc::new(parts), "default", Some(SECRET));
    (store.unwrap(), reached)
}

/// Wherever it was killed: the federation has all or nothing of it, and when it is run again it has all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_broken_off_is_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    let alone = Alone::with(&original, None).await;
    let first = alone.completes().await;
    alone.0.shutdown().await.unwrap();
    let mut broken_off = 0;
    for most in 0.. {
        let data = dir.path().join(most.to_string());
        copy(&original, &data);
        let engine = MemoryEngine::new();
        let (store, reached) = until_call(&engine, most);
        let done = tokio::select! {
            done = migrate(&data, None, &store, false) => Some(done),
            () = reached.notified() => None,
        };
        let is_done = done.is_some();
        if let Some(done) = done {
            assert!(!done.unwrap().was_there);
        } else {
            broken_off += 1;
            // Others wait for its lease.
            engine.advance(Duration::from_secs(60));
            migrate(&data, None, &shared(&engine), false).await.unwrap();
        }
        assert!(DiskStore::open(&data, None, 10).is_err());
        let (replica, _) = led(&engine).await;
        assert_eq!(replica.coordinator.status().now.round.id, 3, "after {most} calls");
        assert_eq!(model(&replica, 1).await, first);
        replica.coordinator.shutdown().await.unwrap();
        if is_done {
            break;
        }
    }
    assert!(broken_off > 5, "{broken_off}");
}

fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).into_owned())
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    command.args(args).env("PET_STORAGE_SECRET", std::str::from_utf8(SECRET).unwrap());
    command
}

/// In the middle of a round, which the backup says nothing of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_coordinator_goes_on_with_new_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let alone = Alone::on(&data).await;
    let first = alone.completes().await;
    let door = Door::to(alone.0.local_addr()).await;
    let second = alone.parameters().await;
    let mut crowd = Crowd::of(&second, &door, 4).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();

    let url = format!("http://{}", alone.0.local_addr());
    let args = ["backup", "--url", &url, "--to", backup.to_str().unwrap()];
    let (ended, told) = tokio::task::spawn_blocking({
        let mut command = program(&args);
        move || run(&mut command)
    })
    .await
    .unwrap();
    assert!(ended && told.contains("round 2, and 1 global models"), "{told}");
    let (ended, told) = run(&mut program(&args));
    assert!(!ended && told.contains("there is something already"), "{told}");
    let open = || Backup::open(&backup, Some(SECRET)).unwrap();
    assert_eq!(open().load(1).unwrap().unwrap(), first);
    // The rounds go on meanwhile.
    for _ in 0..3 {
        timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    }
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();
    until("the next round begins", async || alone.round_id().await == 3).await;
    let third = alone.parameters().await;

    let restored = dir.path().join("restored");
    let restore = || {
        let (backup, to) = (open(), restored.clone());
        let restore = move || restore_directory(backup, &to, Some(SECRET), None);
        tokio::task::spawn_blocking(restore)
    };
    assert_eq!(restore().await.unwrap().unwrap(), 2);
    assert!(restore().await.unwrap().is_err());
    let restored = Alone::on(&restored).await;
    let engine = MemoryEngine::new();
    assert_eq!(restore_shared(open(), &shared(&engine), Some(7)).await.unwrap(), 7);
    let (replica, of_shared) = led(&engine).await;
    assert_eq!((restored.round_id().await, replica.coordinator.status().now.round.id), (3, 8));
    let of_directory = restored.parameters().await;
    for parameters in [&of_shared, &of_directory] {
        for known in [&second, &third] {
            assert!(parameters.pk != known.pk && parameters.seed != known.seed);
        }
    }
    assert_eq!(restored.get("/model").await, first.rationals);
    assert_eq!(model(&replica, 1).await, first);
    // It is whole: rounds are completed.
    restored.completes().await;
    // Nothing is restored over something else.
    let error = restore_shared(open(), &shared(&engine), None).await.unwrap_err();
    assert!(matches!(error, TransferError::InUse { .. }), "{error}");
}

/// The database was put back from a backup of its own: that old copy is never gone on with as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_put_back_goes_on_with_new_keys() {
    let engine = MemoryEngine::new();
    let client = Client::new();
    let (leads, first) = led(&engine).await;
    let follows = Replica::start(&engine, settings(2, 4)).await;
    let door = Door::to(leads.address()).await;
    let mut crowd = Crowd::of(&first, &door, 4).await;
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    let backup = engine.copy();
    timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    let position = |replica: &Replica| replica.coordinator.status().now.replica.unwrap().position;
    let written = position(&leads);
    until("the other one has read it", async || position(&follows) >= written).await;

    let error = renew_shared(&shared(&engine), None).await.unwrap_err();
    assert!(matches!(error, TransferError::InUse { .. }), "{error}");
    engine.set_back_to(&backup);
    let Replica { coordinator: mut following, .. } = follows;
    let ended = timeout(DEADLINE, following.wait()).await.unwrap().unwrap_err().to_string();
    assert!(ended.contains("the engine went back in time"), "{ended}");
    drop(leads.coordinator.shutdown().await);
    drop(crowd);

    engine.advance(Duration::from_secs(60));
    assert_eq!(renew_shared(&shared(&engine), None).await.unwrap(), 1);
    let (renewed, second) = led(&engine).await;
    assert_eq!(renewed.coordinator.status().now.round.id, 2);
    renewed.coordinator.shutdown().await.unwrap();
    // May be done again; later rounds may have been seen.
    assert_eq!(renew_shared(&shared(&engine), Some(9)).await.unwrap(), 9);
    let (renewed, tenth) = led(&engine).await;
    assert_eq!(renewed.coordinator.status().now.round.id, 10);
    assert!(first.pk != second.pk && second.pk != tenth.pk && first.pk != tenth.pk);
    let door = Door::to(renewed.address()).await;
    let mut crowd = Crowd::of(&tenth, &door, 4).await;
    for _ in 0..4 {
        timeout(DEADLINE, crowd.updater(&door)).await.unwrap();
    }
    let summers = std::mem::take(&mut crowd.summers);
    timeout(DEADLINE, summers.join_all()).await.unwrap();
    crowd.check(&model(&renewed, 10).await);
    assert_ne!(parameters(&renewed, &client).await, tenth);
}

/// As an operator does it, with PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_move_and_restore() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let alone = Alone::on(Path::new(&at("round"))).await;
    let parameters = Arc::new(alone.parameters().await);
    alone.0.shutdown().await.unwrap();
    let round = EndedRound { round_id: 6, parameters };
    let backup = Path::new(&at("backup")).to_owned();
    BackupWriter::create(&backup, round, Some(SECRET)).unwrap().finish(Some(SECRET)).unwrap();

    let (backup, data, secret) = (at("backup"), at("data"), at("secret"));
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let done = |command: &mut Command, told: &str| {
        let (ended, output) = run(command);
        assert!(ended && output.contains(told), "{output}");
    };
    let from = ["restore", "--from", &backup];
    // (Whoever writes a secret down ends the line.)
    let ended = format!("{}\n", std::str::from_utf8(SECRET).unwrap());
    let check = [&from[..], &["--check"]].concat();
    done(program(&check).env("PET_STORAGE_SECRET", ended), "of round 6");
    let here = ["--model-length", "100", "--data-dir", &data];
    done(&mut program(&[&from[..], &here].concat()), "next round is 7");

    let of = |federation, command: &[&str]| coordinator(postgres.url(), federation, command);
    let migrate = ["migrate", "--from", &data, "--from-secret-file", &secret];
    let (ended, told) = run(&mut of("moved", &migrate));
    assert!(!ended && told.contains("store init"), "{told}");
    for federation in ["moved", "restored"] {
        done(of(federation, &["store", "init"]).stdout(std::process::Stdio::piped()), "is set up");
    }
    let piped = |federation, command: &[&str], told| {
        let began = std::time::Instant::now();
        loop {
            let (ended, output) = run(of(federation, command).stdout(std::process::Stdio::piped()));
            if ended && output.contains(told) {
                return;
            }
            // On a machine with much to do the one before may have ended before its lease was given up.
            let is_taken = output.contains("works on federation");
            assert!(is_taken && began.elapsed() < crate::cast::DEADLINE, "{output}");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    };
    piped("moved", &migrate, "goes on with round 7");
    piped("moved", &migrate, "has this coordinator already");
    piped("restored", &[&from[..], &["--last-round", "11"]].concat(), "next round is 12");
    let restored = ["store", "init", "--restored", "--last-round", "20"];
    piped("restored", &restored, "goes on with round 21 and new keys");
}
