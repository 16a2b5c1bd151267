//! Whole rounds with programs as trainers, and what becomes of participants that are stopped.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use pet_coordinator::{
    settings::{MinMax, Settings},
    Coordinator, Options,
};
use pet_core::model::Model;

/// One round in ten waits for its phase to end: by the draw nobody sums, or too few train.
const DEADLINE: Duration = Duration::from_secs(400);

fn settings() -> Settings {
    let time = MinMax { min: Duration::from_millis(200), max: Duration::from_secs(10) };
    let mut settings = Settings::for_model_length(3);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.time = MinMax { max: Duration::from_secs(5), ..time };
    settings.pet.update.time = time;
    settings.pet.sum2.time = time;
    settings.pet.sum.prob = 0.3;
    settings.pet.update.prob = 1.0;
    settings
}

struct Participant(Child);

impl Participant {
    fn start(url: &str, options: &[&str], script: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pet-participant"));
        command.arg(url).args(options).args(["--", "sh", "-c", script]);
        Self(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Stops it as a supervisor does; gives the status and what it has said.
    fn stop(mut self) -> (Option<i32>, String) {
        let stopped = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(stopped.success());
        let status = self.0.wait().unwrap();
        let mut told = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        (status.code(), told)
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(coordinator: &Coordinator, round_id: u64) {
    let end = Instant::now() + DEADLINE;
    while coordinator.models().rounds().last().is_none_or(|latest| *latest < round_id) {
        assert!(Instant::now() < end, "no model of round {round_id}: {:?}", coordinator.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_train_and_participants_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let initial = Model::F32(vec![0.5, -0.25, 0.125]);
    let mut options = Options::default();
    options.initial_model = Some(initial.clone());
    let coordinator = Coordinator::start_with(settings(), options).await.unwrap();
    let url = format!("http://{}", coordinator.local_addr());
    // The mean of copies is what they are copies of.
    let copy = "cp \"$PET_GLOBAL_MODEL\" \"$PET_LOCAL_MODEL\"";
    let file = |number| dir.path().join(format!("site-{number}.state"));
    let start = |number: usize| {
        Participant::start(&url, &["--state-file", file(number).to_str().unwrap()], copy)
    };
    let mut sites: Vec<Participant> = (0..7).map(start).collect();
    until(&coordinator, 2).await;
    // All but one go on with their files, as the same participants.
    let mut names = Vec::new();
    for site in sites.drain(..) {
        let (code, told) = site.stop();
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("trained in") || told.contains("participant"), "{told}");
        names.push(told.lines().next().unwrap().to_owned());
    }
    assert_eq!(fs::metadata(file(0)).unwrap().permissions().mode() & 0o777, 0o600);
    let sites: Vec<Participant> = (0..7).map(start).collect();
    let latest = coordinator.models().rounds().last().copied().unwrap();
    until(&coordinator, latest + 2).await;
    // Rounds for which the draw gave too few of one kind have no model.
    let latest = coordinator.models().rounds().last().copied().unwrap();
    let model = coordinator.models().load(latest).unwrap().unwrap();
    assert_eq!(model.weights.as_deref(), Some(&initial));
    for (site, name) in sites.into_iter().zip(names) {
        let (code, told) = site.stop();
        assert_eq!((code, told.lines().next()), (Some(0), Some(&name[..])), "{told}");
    }
    coordinator.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trainer_that_fails_is_told_of_and_holds_nobody_up() {
    let coordinator = Coordinator::start(settings()).await.unwrap();
    let url = format!("http://{}", coordinator.local_addr());
    let zeros = "head -c 12 /dev/zero > \"$PET_LOCAL_MODEL\"";
    let good: Vec<_> = (0..6).map(|_| Participant::start(&url, &[], zeros)).collect();
    let bad: Vec<_> = ["exit 3", "echo half > \"$PET_LOCAL_MODEL\"", "sleep 1000"]
        .iter()
        .map(|script| Participant::start(&url, &[], script))
        .collect();
    until(&coordinator, 12).await;
    let told: String = bad.into_iter().map(|participant| participant.stop().1).collect();
    // Each of them was to train in some of twelve rounds: only one in a million is drawn to sum in all of them.
    for words in ["exit status: 3", "no model", "was killed"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    drop(good);
    coordinator.shutdown().await.unwrap();
}

fn run(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-participant"));
    let Output { status, stderr, .. } = command.args(args).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn mistakes_are_told_with_their_status() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("site.state");
    let file = file.to_str().unwrap();
    for (args, code, words) in [
        (&["http://127.0.0.1:1"][..], 2, "COMMAND"),
        (&["gopher://here", "--", "true"], 2, "http"),
        (&["http://127.0.0.1:1", "--scalar=-1", "--", "true"], 2, "--scalar"),
        (&["http://127.0.0.1:1", "--ca", "/no/such.pem", "--", "true"], 1, "/no/such.pem"),
        (&["http://127.0.0.1:1", "--state-file", "/no/such/file", "--", "true"], 1, "state file"),
    ] {
        let (found, told) = run(args);
        assert!(found == Some(code) && told.contains(words), "{args:?}: {found:?}, {told}");
    }
    fs::write(file, "something else").unwrap();
    let (code, told) = run(&["http://127.0.0.1:1", "--state-file", file, "--", "true"]);
    assert_eq!(code, Some(1), "{told}");
    fs::remove_file(file).unwrap();
    let mut first = Participant::start("http://127.0.0.1:1", &["--state-file", file], "true");
    // It says who it is once it has the file.
    let mut line = String::new();
    BufReader::new(first.0.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("participant "), "{line}");
    let (code, told) = run(&["http://127.0.0.1:1", "--state-file", file, "--", "true"]);
    assert!(code == Some(1) && told.contains("in use"), "{told}");
}
