//! The commands beside `serve`, as processes: what they print, and how they end.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use pet_coordinator::{
    settings::{MinMax, Settings},
    Confirmations, Coordinator, DiskStore, Models, Options, Store, StoreError,
};
use pet_core::{
    coordinator::{GlobalModel, PersistId, Record},
    crypto::RoundSeed,
    model::Model,
};
use tokio::runtime::Runtime;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    command.args(args).stdin(Stdio::null()).env_remove("PET_COORDINATOR_URL");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_uppercase().starts_with("XAYNET__") {
            command.env_remove(name);
        }
    }
    command
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(args).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

/// Keeps one model, of round 7.
#[derive(Debug)]
struct Seven(Option<f32>);

impl Store for Seven {
    fn persist(&mut self, id: PersistId, _: Record, confirmations: &Confirmations) {
        confirmations.stored(id);
    }

    fn models(&self) -> std::sync::Arc<dyn Models> {
        std::sync::Arc::new(Self(Some(0.5)))
    }
}

impl Models for Seven {
    fn rounds(&self) -> Vec<u64> {
        vec![7]
    }

    fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError> {
        let weights = self.0.filter(|_| round_id == 7).map(|weight| vec![weight; 3]);
        Ok(weights.map(|weights| GlobalModel {
            round_id,
            seed: RoundSeed::new([1; 32]),
            models: 3,
            rationals: vec![9; 5].into(),
            weights: Some(std::sync::Arc::new(Model::F32(weights))),
            optimizer: None,
        }))
    }
}

/// A coordinator whose rounds fail one after another, if `max` is short.
struct Running {
    runtime: Runtime,
    coordinator: Option<Coordinator>,
    address: SocketAddr,
}

impl Running {
    fn start(max: Duration) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut settings = Settings::for_model_length(3);
        settings.api.bind_address.set_port(0);
        settings.pet.sum.time = MinMax { min: Duration::ZERO, max };
        let mut options = Options::default();
        options.store = Some(Box::new(Seven(None)));
        let coordinator = runtime.block_on(Coordinator::start_with(settings, options)).unwrap();
        let address = coordinator.local_addr();
        Self { runtime, coordinator: Some(coordinator), address }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(coordinator) = self.coordinator.take() {
            let _ = self.runtime.block_on(coordinator.shutdown());
        }
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn check_config_shows_what_holds_and_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("pet.toml");
    fs::write(&config, "[pet.sum]\nprob = 0.25\n[redis]\nurl = \"x\"\n").unwrap();
    let config = config.to_str().unwrap();
    let args = ["check-config", "-c", config, "--model-length", "9", "--set", "log.filter=warn"];
    let output = command(&args).env("XAYNET__PET__SUM__COUNT__MIN", "2").output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    for (setting, origin) in [
        ("pet.sum.prob = 0.25", format!("# {config}, line 2")),
        ("model.length = 9", "# option --model-length".to_owned()),
        ("log.filter = \"warn\"", "# option --set log.filter".to_owned()),
        ("pet.sum.count.min = 2", "# environment variable XAYNET__PET__SUM__COUNT__MIN".to_owned()),
        ("pet.update.count.min = 3", "# the default".to_owned()),
        ("mask.group_type = \"Prime\"", "# the default".to_owned()),
    ] {
        let line = stdout.lines().find(|line| line.starts_with(&format!("{setting} ")));
        let line = line.unwrap_or_else(|| panic!("{setting} is not in {stdout}"));
        assert!(line.ends_with(&origin), "{line}");
    }
    assert!(stderr.contains("warning: setting redis"), "{stderr}");

    // What it prints is a settings file that means the same.
    let again = dir.path().join("again.toml");
    fs::write(&again, &stdout).unwrap();
    let (code, printed, stderr) = run(&["check-config", "-c", again.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  #").next().unwrap().trim().to_owned()).collect()
    };
    assert_eq!(values(&printed), values(&stdout));
}

#[test]
fn check_config_tells_all_mistakes_with_status_2() {
    let (code, stdout, stderr) =
        run(&["check-config", "--bind", "nowhere", "--set", "pet.sum.prob=2"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    for expected in ["3 settings are wrong", "api.bind_address", "model.length", "pet.sum.prob"] {
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn status_tells_what_is_going_on() {
    let running = Running::start(LONG);
    let (code, stdout, stderr) = run(&["status", "--url", &running.url()]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for expected in [
        &running.url(),
        "3 weights, Prime/F32/B0/M3",
        "round        1,",
        "phase        sum,",
        "0 of at least 1 and at most 100;",
        "left; waits for messages",
        "rejected: none",
        "0 completed, 0 failed",
    ] {
        assert!(stdout.contains(expected), "{expected} is not in {stdout}");
    }
    let mut command = command(&["status", "--json"]);
    let output = command.env("PET_COORDINATOR_URL", running.url()).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["phase"]["name"], "sum");
}

/// Runs `status --watch` until a line of its output has all that is wanted.
fn watch(url: &str, args: &[&str], wanted: &[&str]) {
    let mut command = command(&[&["status", "--watch", "--url", url], args].concat());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // Events come every second at least: that the line is missing is seen soon.
    let seen: Vec<String> = lines
        .take(200)
        .scan(false, |found, line| {
            if *found {
                return None;
            }
            *found = wanted.iter().all(|wanted| line.contains(wanted));
            Some(line)
        })
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let last = seen.last().cloned().unwrap_or_default();
    assert!(wanted.iter().all(|wanted| last.contains(wanted)), "{seen:#?}");
}

#[test]
fn status_watch_follows_the_rounds() {
    let running = Running::start(Duration::from_millis(300));
    watch(&running.url(), &[], &["failed after", "(sum): only 0 of at least 1"]);
    watch(&running.url(), &[], &["round ", " sum: 0 accepted"]);
    watch(&running.url(), &["--json"], &["{", "\"phase\":", "\"waits_for\":"]);
}

#[test]
fn rounds_lists_what_is_over() {
    let running = Running::start(Duration::from_millis(10));
    let coordinator = running.coordinator.as_ref().unwrap();
    while coordinator.status().rounds.len() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (code, stdout, _) = run(&["rounds", "--url", &running.url(), "--last", "2"]);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((code, lines.len()), (Some(0), 3), "{stdout}");
    assert!(lines[0].contains("outcome") && lines[1].contains("too_few_sum"), "{stdout}");
    let (code, stdout, _) = run(&["rounds", "--url", &running.url(), "--json"]);
    let rounds: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(rounds[0]["failure"]["reason"], "too_few_sum");
    // The latest comes first.
    assert!(rounds[0]["id"].as_u64() > rounds[1]["id"].as_u64());
}

#[test]
fn export_model_writes_whole_files_or_none() {
    let running = Running::start(LONG);
    let dir = tempfile::tempdir().unwrap();
    let export = |args: &[&str], file: &str| {
        let path = dir.path().join(file);
        let url = running.url();
        let all = [&["export-model", "--url", &url, "-o", path.to_str().unwrap()], args].concat();
        let (code, _, stderr) = run(&all);
        (code, fs::read(&path).ok(), stderr)
    };
    let (code, file, stderr) = export(&["--round", "7"], "model.npy");
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(file.unwrap(), pet_coordinator::models::npy(&Model::F32(vec![0.5; 3])));
    let (code, file, _) = export(&["--round", "7", "--format", "raw"], "model.raw");
    assert_eq!((code, file.unwrap()), (Some(0), [0.5_f32.to_le_bytes(); 3].concat()));
    let (code, file, _) = export(&["--round", "7", "--format", "rationals"], "model.old");
    assert_eq!((code, file.unwrap()), (Some(0), vec![9; 5]));

    let (code, file, stderr) = export(&["--round", "8"], "none.npy");
    assert_eq!((code, file), (Some(4), None));
    assert!(stderr.contains("there is no such model"), "{stderr}");
    let (code, file, stderr) = export(&[], "none.npy");
    assert_eq!((code, file), (Some(4), None));
    assert!(stderr.contains("there is no global model yet"), "{stderr}");
    let (code, _, stderr) = export(&["--round", "7"], "missing/model.npy");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cannot write"), "{stderr}");
    assert_eq!(names(dir.path()), ["model.npy", "model.old", "model.raw"]);

    let url = running.url();
    let args = ["export-model", "--url", &url, "--round", "7", "--format", "raw", "-o", "-"];
    let output = command(&args).output().unwrap();
    assert_eq!(output.stdout, [0.5_f32.to_le_bytes(); 3].concat());
}

/// A directory with what a coordinator has stored, and a global model of round 1 among it.
fn stored(dir: &Path) {
    let store = DiskStore::open(dir, None, 10).unwrap();
    let mut settings = Settings::for_model_length(3);
    settings.api.bind_address.set_port(0);
    settings.storage.data_dir = dir.to_owned();
    let mut options = Options::default();
    options.store = Some(Box::new(store));
    let runtime = Runtime::new().unwrap();
    let coordinator = runtime.block_on(Coordinator::start_with(settings, options)).unwrap();
    runtime.block_on(coordinator.shutdown()).unwrap();
}

/// A test beside this one may be starting a program: until that runs, its process has a copy of every lock here, and a
/// store that was closed is still in use for a moment.
fn open_soon(dir: &Path) -> DiskStore {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match DiskStore::open(dir, None, 10) {
            Err(StoreError::InUse { .. }) if Instant::now() < deadline => {}
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn backup_copies_a_directory_that_no_coordinator_runs_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let (data_arg, copy_arg) = (data.to_str().unwrap(), copy.to_str().unwrap());
    let args = ["backup", "--data-dir", data_arg, "--to", copy_arg];
    let (code, _, stderr) = run(&args);
    assert!(code == Some(4) && stderr.contains("is this a data directory?"), "{stderr}");
    assert!(!data.exists(), "it was made by looking at it");

    stored(&data);
    let running = open_soon(&data);
    let (code, _, stderr) = run(&args);
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(names(dir.path()), ["data"]);
    drop(running);

    // Whatever the modes of the originals: a copy is its owner's alone.
    fs::write(data.join("notes"), b"x").unwrap();
    fs::set_permissions(data.join("notes"), fs::Permissions::from_mode(0o666)).unwrap();
    let (code, stdout, stderr) = run(&args);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
    assert_eq!(names(dir.path()), ["copy", "data"]);
    assert_eq!(names(&copy), names(&data));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in ["", "models", "round", "notes", "coordinator.redb"] {
        let expected = if copy.join(name).is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&copy.join(name)), expected, "{name}");
    }
    // A coordinator can go on from it.
    stored(&copy);
    let (code, _, stderr) = run(&args);
    assert!(code == Some(1) && stderr.contains("already"), "{stderr}");

    let model = dir.path().join("model.npy");
    let export = ["export-model", "--data-dir", copy_arg, "-o", model.to_str().unwrap()];
    let (code, _, stderr) = run(&export);
    assert!(code == Some(4) && stderr.contains("no global model yet"), "{stderr}");
    assert!(!model.exists());
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_coordinator_that_is_not_there_is_status_3() {
    // Bound, and nobody listens: a port that was given back may be somebody else's by now.
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = nobody.local_addr().unwrap().as_socket().unwrap();
    let url = format!("http://{address}");
    for args in [
        &["status"][..],
        &["status", "--watch"],
        &["rounds"],
        &["export-model", "-o", "/nonexistent/x"],
    ] {
        let (code, stdout, stderr) = run(&[args, &["--url", &url]].concat());
        assert_eq!((code, stdout.as_str()), (Some(3), ""), "{args:?}");
        assert!(stderr.contains(&url) && stderr.contains("--url"), "{stderr}");
    }
}

#[test]
fn a_wrong_command_line_is_status_2() {
    for args in
        [&["sing"][..], &[], &["export-model"], &["rounds", "--last", "x"], &["completions", "x"]]
    {
        assert_eq!(run(args).0, Some(2), "{args:?}");
    }
}

#[test]
fn shells_can_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = run(&["completions", shell]);
        assert_eq!(code, Some(0));
        for expected in ["pet-coordinator", "export-model", "check-config", "watch"] {
            assert!(stdout.contains(expected), "{shell}: {expected}");
        }
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let (code, ..) = run(&["man-pages", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(0));
    for (page, expected) in [
        ("pet-coordinator.1", "export\\-model"),
        ("pet-coordinator-serve.1", "\\-\\-initial\\-model"),
        ("pet-coordinator-admin-pause.1", ".TH"),
    ] {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(expected), "{page}: {text}");
    }
    let nowhere = folder.path().join("nowhere");
    let (code, _, stderr) = run(&["man-pages", nowhere.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("nowhere"), "{stderr}");
}

#[test]
fn help_teaches() {
    let (code, stdout, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for expected in ["Examples:", "Exit status", "  3  ", "  4  "] {
        assert!(stdout.contains(expected), "{expected}");
    }
    for name in [
        "serve",
        "check-config",
        "status",
        "rounds",
        "export-model",
        "backup",
        "admin",
        "completions",
        "man-pages",
    ] {
        assert!(stdout.contains(name), "{name}");
        let (code, stdout, _) = run(&[name, "--help"]);
        assert_eq!(code, Some(0));
        assert!(stdout.contains("Examples:\n  "), "{name}: {stdout}");
    }
}
