//! The binary as a member of a group: `pet-coordinator member`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{channel, Receiver},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime},
};

use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use pet_core::{
    crypto::{EncryptKeyPair, PublicSigningKey, RoundSeed, Seed, SigningKeyPair},
    mask::MaskConfig,
    round::RoundParameters,
    v2::{Admission, Announcement, Group, Phase, Roster, RoundView, Terms},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    command.env_clear().arg("member");
    // Nothing outlives the tests.
    command.process_group(0);
    command
}

fn run(args: &[&str]) -> Output {
    binary().args(args).output().unwrap()
}

/// A coordinator that opens rounds, and takes announcements.
struct FakeCoordinator {
    address: SocketAddr,
    view: Arc<Mutex<RoundView>>,
    posts: Receiver<(String, Vec<u8>)>,
}

impl FakeCoordinator {
    fn start(roster: &Roster, looks_first: impl Fn() + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let view = Arc::new(Mutex::new(RoundView::idle()));
        let (sender, posts) = channel();
        let (shown, roster, looks_first) = (view.clone(), roster.to_bytes(), Arc::new(looks_first));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shown, roster) = (shown.clone(), roster.clone());
                let (sender, looks_first) = (sender.clone(), looks_first.clone());
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    while let Some((method, path, body)) = request(&mut stream) {
                        let answer = match (method.as_str(), path.as_str()) {
                            ("GET", "/v2/round") => shown.lock().unwrap().to_bytes(),
                            ("GET", "/v2/roster") => roster.clone(),
                            ("POST", path) => {
                                looks_first();
                                let _ = sender.send((path.to_owned(), body));
                                Vec::new()
                            }
                            _ => Vec::new(),
                        };
                        let head =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
                        let stream = stream.get_mut();
                        if stream.write_all(&[head.as_bytes(), &answer].concat()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, view, posts }
    }

    /// Opens a round that is new for whoever was started before this call.
    fn open(&self, roster: &Roster, round: u64) -> Terms {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let opened_at = now().as_secs() + 1;
        let terms = Terms {
            roster: roster.hash(),
            round,
            parameters: RoundParameters {
                pk: EncryptKeyPair::from_seed(&Seed::new([3; 32])).public(),
                sum: 0.0,
                update: 0.0,
                seed: RoundSeed::new([1; 32]),
                mask_config: "Word32/F32/B0/M3".parse::<MaskConfig>().unwrap().into(),
                model_length: 5,
            },
            opened_at,
            model: None,
            n_min: 3,
            noise: None,
        };
        let view =
            RoundView { phase: Phase::Announce, terms: Some(terms.clone()), ..RoundView::idle() };
        *self.view.lock().unwrap() = view;
        terms
    }

    fn announcement(&self) -> Announcement {
        let (path, body) = self.posts.recv_timeout(PATIENCE).expect("it announces itself");
        assert!(path.starts_with("/v2/announcement?round="), "{path}");
        Announcement::from_bytes(&body).unwrap()
    }
}

fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, String, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok()?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((method, path, body))
}

/// A member's directory, and a roster that has its key.
struct Place {
    dir: tempfile::TempDir,
    key: PublicSigningKey,
    roster: Roster,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let made = run(&["init", "--data-dir", data.to_str().unwrap()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let key: PublicSigningKey = String::from_utf8(made.stdout).unwrap().trim().parse().unwrap();
        let other = |byte| SigningKeyPair::from_seed(&Seed::new([byte; 32])).public();
        let groups = vec![Group::new("one", vec![key]), Group::new("two", vec![other(2)])];
        let roster = Roster::new(groups, Admission::Authority(other(3))).unwrap();
        Self { dir, key, roster }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn state(&self) -> PathBuf {
        self.data().join("member.state")
    }

    fn start(&self, coordinator: &FakeCoordinator) -> Running {
        let port_file = self.dir.path().join("port");
        let _ = fs::remove_file(&port_file);
        let child = binary()
            .arg(format!("--coordinator=http://{}", coordinator.address))
            .arg(format!("--roster={}", self.roster.hash()))
            .arg(format!("--data-dir={}", self.data().display()))
            .arg(format!("--port-file={}", port_file.display()))
            .args(["--bind=127.0.0.1:0", "--set=member.poll=0.2", "--log-format=json"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut running = Running { child, address: None };
        let begun = Instant::now();
        loop {
            if let Ok(address) = fs::read_to_string(&port_file) {
                running.address = Some(address.parse().unwrap());
                return running;
            }
            if running.child.try_wait().unwrap().is_some() {
                panic!("it has ended: {}", running.log());
            }
            assert!(begun.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Running {
    child: Child,
    address: Option<SocketAddr>,
}

impl Running {
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address.unwrap()).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        (status, body)
    }

    fn status(&self) -> serde_json::Value {
        let (status, body) = self.get("/status");
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    fn wait_for(&self, what: &str, test: impl Fn(&serde_json::Value) -> bool) {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if test(&status) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {status}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&mut self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        self.signal(signal);
        let code = self.child.wait().unwrap().code();
        (code, self.log())
    }

    fn log(&mut self) -> String {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn init_makes_a_key_for_its_owner_alone_and_never_another() {
    let place = Place::new();
    assert_eq!((mode(&place.data()), mode(&place.data().join("member.key"))), (0o700, 0o600));
    let again = run(&["init", "--data-dir", place.data().to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    let shown =
        run(&["init", "--data-dir", place.data().to_str().unwrap(), "--key", "/nowhere/key"]);
    assert_eq!(shown.status.code(), Some(1));
}

#[test]
fn a_member_announces_itself_only_after_its_promise_is_on_the_disk() {
    let place = Place::new();
    let (state, stored) = (place.state(), Arc::new(Mutex::new(Vec::new())));
    let at_post = stored.clone();
    let coordinator = FakeCoordinator::start(&place.roster, move || {
        *at_post.lock().unwrap() = fs::read(&state).unwrap();
    });
    let member = place.start(&coordinator);
    assert_eq!(member.get("/healthz"), (200, "ok\n".to_owned()));
    member.wait_for("it has looked", |status| status["phase"] == "idle");
    assert_eq!(mode(&place.state()), 0o600);
    let terms = coordinator.open(&place.roster, 7);
    let announcement = coordinator.announcement();
    announcement.verify(&place.roster, &terms.context()).unwrap();
    assert_eq!(place.roster.member(&place.key), Some(announcement.member));
    // What was on the disk when it came.
    let state = stored.lock().unwrap().clone();
    assert!(contains(&state, terms.context().as_bytes()));
    assert!(contains(&state, announcement.vote_key.as_bytes()));
    member.wait_for("it waits for others", |status| status["waits_for"] == "announcements");
    let status = member.status();
    assert_eq!((&status["member"], &status["round"]), (&"0.0".into(), &7.into()));
    assert_eq!((&status["takes_part"], &status["may_vote"]), (&true.into(), &true.into()));
    let (code, log) = member.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("\"announced\"") && log.contains("stopped"), "{log}");
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let coordinator = FakeCoordinator::start(&place.roster, || {});
    let member = place.start(&coordinator);
    let second = run(&[
        &format!("--coordinator=http://{}", coordinator.address),
        &format!("--roster={}", place.roster.hash()),
        &format!("--data-dir={}", place.data().display()),
        "--bind=127.0.0.1:0",
    ]);
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(told.contains("a member runs on it already"), "{told}");
    assert_eq!(member.get("/healthz").0, 200);
}

#[test]
fn killed_it_goes_on_without_a_second_announcement_and_joins_the_next_round() {
    let place = Place::new();
    let coordinator = FakeCoordinator::start(&place.roster, || {});
    let member = place.start(&coordinator);
    let terms = coordinator.open(&place.roster, 1);
    let first = coordinator.announcement();
    let (code, _) = member.end(Signal::SIGKILL);
    assert_eq!(code, None);

    let member = place.start(&coordinator);
    // It opens boxes, and does not vote.
    member.wait_for("it takes part", |status| status["takes_part"] == true);
    assert_eq!(member.status()["may_vote"], false);
    let next = coordinator.open(&place.roster, 2);
    let second = coordinator.announcement();
    second.verify(&place.roster, &next.context()).unwrap();
    assert!(second.verify(&place.roster, &terms.context()).is_err());
    assert_ne!(first.vote_key, second.vote_key);
    assert_ne!(first.encrypt_key, second.encrypt_key);
    assert!(coordinator.posts.try_recv().is_err(), "nothing else came");
}

/// The very state that was there before it announced itself, put back: the worst mistake.
#[test]
fn set_back_to_an_older_state_it_does_not_announce_itself_again() {
    let place = Place::new();
    let coordinator = FakeCoordinator::start(&place.roster, || {});
    let member = place.start(&coordinator);
    let old = fs::read(place.state()).unwrap();
    coordinator.open(&place.roster, 1);
    coordinator.announcement();
    member.end(Signal::SIGKILL);
    fs::write(place.state(), old).unwrap();
    let member = place.start(&coordinator);
    member.wait_for("it has judged the round", |status| status["waits_for"] == "round");
    let (_, metrics) = member.get("/metrics");
    assert!(metrics.contains("pet_member_refusals_total{reason=\"opened_before\"} 1"), "{metrics}");
    coordinator.open(&place.roster, 2);
    coordinator.announcement();
    assert!(coordinator.posts.try_recv().is_err());
}

#[test]
fn without_a_coordinator_it_waits_and_says_why() {
    let place = Place::new();
    let coordinator = FakeCoordinator::start(&place.roster, || {});
    // Bound, and nobody listens: a port that was given back may be somebody else's by now.
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = nobody.local_addr().unwrap().as_socket().unwrap();
    let member = place.start(&FakeCoordinator { address, ..coordinator });
    member.wait_for("it says why", |status| {
        status["failure"].as_str().is_some_and(|f| f.contains("refused"))
    });
    // That may pass: it is not ill at once.
    assert_eq!(member.get("/healthz").0, 200);
    let (code, log) = member.end(Signal::SIGINT);
    assert_eq!(code, Some(0));
    assert!(log.contains("cannot be reached"), "{log}");
}

#[test]
fn the_metrics_are_those_that_the_page_describes() {
    let place = Place::new();
    let coordinator = FakeCoordinator::start(&place.roster, || {});
    let member = place.start(&coordinator);
    coordinator.open(&place.roster, 1);
    coordinator.announcement();
    member.wait_for("it is counted", |_| {
        member.get("/metrics").1.contains("pet_member_events_total{event=\"announced\"} 1")
    });
    let (status, metrics) = member.get("/metrics");
    assert_eq!(status, 200);
    let page = include_str!("../../docs/member.md");
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let names: Vec<_> = names.collect();
    assert!(names.len() > 10, "{metrics}");
    for name in &names {
        assert!(page.contains(&format!("`{name}")), "docs/member.md does not describe {name}");
    }
    let described =
        page.split("`pet_member_").skip(1).filter_map(|rest| rest.split(['`', '{']).next());
    for name in described {
        let name = name.strip_suffix("_total").unwrap_or(name);
        assert!(
            names.contains(&format!("pet_member_{name}").as_str()),
            "there is no pet_member_{name}"
        );
    }
}

#[test]
fn each_refusal_is_described() {
    let page = include_str!("../../docs/member.md");
    for label in pet_core::v2::member::Refusal::LABELS {
        assert!(page.contains(&format!("`{label}`")), "docs/member.md does not describe {label}");
    }
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let wrong = run(&["--coordinator=nothing", "--set=member.n_min=1"]);
    assert_eq!(wrong.status.code(), Some(2));
    let told = String::from_utf8(wrong.stderr).unwrap();
    for key in ["member.coordinator", "member.n_min", "member.roster"] {
        assert!(told.contains(key), "{told}");
    }
    let place = Place::new();
    let checked = run(&[
        "check-config",
        "--coordinator=http://coordinator.example",
        &format!("--roster={}", place.roster.hash()),
    ]);
    assert_eq!(checked.status.code(), Some(0));
    let shown = String::from_utf8(checked.stdout).unwrap();
    assert!(shown.contains("member.n_min = 3"), "{shown}");
    // What is shown is a settings file.
    let file = place.dir.path().join("member.toml");
    fs::write(&file, shown).unwrap();
    let again = run(&["check-config", "--config", file.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn without_a_key_it_says_how_to_make_one() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new();
    let data = format!("--data-dir={}", dir.path().join("data").display());
    let roster = format!("--roster={}", place.roster.hash());
    let started = run(&["--coordinator=http://127.0.0.1:1", &roster, &data, "--bind="]);
    assert_eq!(started.status.code(), Some(1));
    let told = String::from_utf8(started.stderr).unwrap();
    assert!(told.contains("pet-coordinator member init"), "{told}");
}
