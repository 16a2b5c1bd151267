//! The binary as a process: arguments, environment, port file, signals, exit status, where output
//! goes.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use pet_core::{coordinator::Coordinator, record::replay};

const DEADLINE: Duration = Duration::from_secs(120);

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    for arg in args {
        command.arg(arg);
        if *arg == "serve" {
            command.arg("--ephemeral");
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_uppercase().starts_with("XAYNET__") {
            command.env_remove(name);
        }
    }
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A running process that does not outlive its test.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, port_file: &Path) -> (Self, SocketAddr) {
        let mut server = Self(command.arg("--port-file").arg(port_file).spawn().unwrap());
        let end = Instant::now() + DEADLINE;
        loop {
            if let Ok(address) = fs::read_to_string(port_file) {
                return (server, address.parse().unwrap());
            }
            let gone = server.0.try_wait().unwrap();
            assert!(gone.is_none() && Instant::now() < end, "no port file: {gone:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(mut self, signal: Signal) -> (Option<i32>, String, String) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        let end = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not stop");
            thread::sleep(Duration::from_millis(5));
        };
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status.code(), stdout, stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_serves_until_it_is_interrupted() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let dir = tempfile::tempdir().unwrap();
        let port_file = dir.path().join("port");
        let mut command = command(&["serve", "--model-length", "5", "--bind", "127.0.0.1:0"]);
        let (server, address) = Server::start(&mut command, &port_file);
        assert_ne!(address.port(), 0);
        // A client that is connected and silent does not hold it up.
        let _idle = TcpStream::connect(address).unwrap();
        let (code, stdout, stderr) = server.end(signal);
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
        assert!(stderr.contains("phase begins") && stderr.contains("stopped"), "{stderr}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the port file is left");
    }
}

/// systemd sets this variable for a unit with `Type=notify`, and reads datagrams.
#[test]
fn a_service_manager_learns_when_it_serves_and_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || {
        let mut bytes = [0; 1024];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    // What cannot be started says nothing, and ends: the service manager takes that for a start that failed.
    let mut wrong = command(&["serve", "--bind", "127.0.0.1:0"]);
    assert_eq!(run(wrong.env("NOTIFY_SOCKET", &socket)).0, Some(2));

    let mut command = command(&["serve", "--model-length", "5", "--bind", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &socket);
    let (server, address) = Server::start(&mut command, &dir.path().join("port"));
    let ready = told();
    assert_eq!(ready, format!("READY=1\nSTATUS=listening on {address}\n"));
    assert!(TcpStream::connect(address).is_ok());
    let (code, _, stderr) = server.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(told().starts_with("STOPPING=1\n"));
}

/// One that is gone holds up nobody.
#[test]
fn a_service_manager_that_is_gone_is_told_of_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(&["serve", "--model-length", "5", "--bind", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", dir.path().join("nobody"));
    let (server, _) = Server::start(&mut command, &dir.path().join("port"));
    let (code, _, stderr) = server.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("NOTIFY_SOCKET"), "{stderr}");
}

#[test]
fn file_environment_and_options_are_laid_over_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    fs::write(
        &config,
        "[api]\nbind_address = \"127.0.0.1:1\"\n[model]\nlength = 3\n[log]\nfilter = \"off\"\n[redis]\nurl = \"x\"\n",
    )
    .unwrap();
    let mut command = command(&["serve", "--bind", "127.0.0.1:0", "--log-format", "json"]);
    command.arg("-c").arg(&config);
    command.env("XAYNET__LOG__FILTER", "info").env("xaynet__model__length", "4");
    let (server, _) = Server::start(&mut command, &dir.path().join("port"));
    let (code, _, stderr) = server.end(Signal::SIGINT);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("\"model_length\":4"), "{stderr}");
    assert!(stderr.contains("setting redis") && stderr.contains("line 8"), "{stderr}");
    assert!(stderr.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{stderr}");
}

/// A filter written for the old coordinator, or for another program, must hide neither the warnings
/// nor, in the first case, the log.
#[test]
fn warnings_are_seen_whatever_the_log_filter() {
    for (filter, phases, complaint) in
        [("xaynet=debug,http=warn", true, false), ("http=warn", false, true), ("off", false, false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(&["serve", "--model-length", "5", "--bind", "127.0.0.1:0"]);
        command.env("XAYNET__LOG__FILTER", filter).env("XAYNET__REDIS__URL", "redis://:hush@host");
        let (server, _) = Server::start(&mut command, &dir.path().join("port"));
        let (code, _, stderr) = server.end(Signal::SIGINT);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("setting redis") && !stderr.contains("hush"), "{filter}: {stderr}");
        assert_eq!(stderr.contains("phase begins"), phases, "{filter}: {stderr}");
        assert_eq!(stderr.contains("setting log.filter"), complaint, "{filter}: {stderr}");
    }
}

#[test]
fn without_a_certificate_nobody_who_asks_for_tls_is_served() {
    let (code, _, stderr) = run(command(&["serve", "--model-length", "5"])
        .env("XAYNET__API__TLS_CERTIFICATE", "c.pem")
        .env("XAYNET__API__TLS_KEY", "k.pem"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("error: api.tls_certificate = \"c.pem\": "), "{stderr}");
}

#[test]
fn wrong_settings_are_told_all_at_once_with_status_2() {
    let (code, stdout, stderr) =
        run(command(&["serve", "--bind", "nowhere", "--set", "pet.sum.prob=2"])
            .env("XAYNET__PET__UPDATE__COUNT__MIN", "1"));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    for expected in [
        "error: 4 settings are wrong:",
        "api.bind_address = \"nowhere\" (option --bind): must be",
        "model.length: is missing",
        "pet.sum.prob = 2 (option --set pet.sum.prob): must be",
        "pet.update.count.min = 1 (environment variable XAYNET__PET__UPDATE__COUNT__MIN): must be",
    ] {
        assert!(stderr.contains(expected), "{expected:?} is not in {stderr}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let path = config.to_str().unwrap();
    let (code, _, stderr) = run(&mut command(&["serve", "--config", path]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("cannot read the settings file") && stderr.contains(path), "{stderr}");
    fs::write(&config, "[model\nlength = 3\n").unwrap();
    let (code, _, stderr) = run(&mut command(&["serve", "--config", path]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("line 1") && stderr.contains("not valid TOML"), "{stderr}");
}

#[test]
fn what_cannot_be_done_ends_with_status_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) =
        run(&mut command(&["serve", "--model-length", "3", "--bind", &address]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("error: cannot listen on") && stderr.contains(&address), "{stderr}");

    let dir = tempfile::tempdir().unwrap();
    let port_file = dir.path().join("missing").join("port");
    let mut command =
        command(&["serve", "--model-length", "3", "--bind", "127.0.0.1:0", "--port-file"]);
    let (code, _, stderr) = run(command.arg(port_file));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("--port-file"), "{stderr}");
}

#[test]
fn the_same_seed_file_gives_the_same_round() {
    let dir = tempfile::tempdir().unwrap();
    let seed = dir.path().join("seed");
    fs::write(&seed, [7; 32]).unwrap();
    let parameters: Vec<Vec<u8>> = ["a", "b"]
        .iter()
        .map(|name| {
            let mut command =
                command(&["serve", "--model-length", "5", "--bind", "127.0.0.1:0", "--seed-file"]);
            let (server, address) = Server::start(command.arg(&seed), &dir.path().join(name));
            let mut stream = TcpStream::connect(address).unwrap();
            use std::io::Write;
            stream
                .write_all(b"GET /params HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            server.end(Signal::SIGINT);
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
            answer.split_off(answer.len() - 136)
        })
        .collect();
    assert_eq!(parameters[0], parameters[1]);
    fs::write(&seed, [7; 31]).unwrap();
    let mut command =
        command(&["serve", "--model-length", "5", "--bind", "127.0.0.1:0", "--seed-file"]);
    assert_eq!(run(command.arg(&seed)).0, Some(1));
}

#[test]
fn what_was_recorded_replays() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("record");
    let recorded = || {
        let mut command =
            command(&["serve", "--model-length", "5", "--bind", "127.0.0.1:0", "--record"]);
        command.arg(&record);
        command
    };
    let (server, _) = Server::start(&mut recorded(), &dir.path().join("port"));
    let (code, _, stderr) = server.end(Signal::SIGINT);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("for tests only"), "{stderr}");
    assert_eq!(fs::metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);

    let mut story = String::new();
    let replayed = replay::<Coordinator>(&fs::read(&record).unwrap(), |_, what| {
        story.push_str(&format!("{what:?}\n"));
    });
    assert_eq!(replayed.unwrap().machine.round_id(), 1);
    assert!(story.contains("PhaseBegan { round_id: 1, phase: Sum }"), "{story}");
    assert!(story.ends_with("why: Stopped })\n"), "{story}");

    let (code, _, stderr) = run(&mut recorded());
    assert_eq!(code, Some(1), "it does not write over a record");
    assert!(stderr.contains("--record"), "{stderr}");
}

#[test]
fn help_tells_of_every_option_and_exit_status() {
    let (code, stdout, _) = run(&mut command(&["serve", "--help"]));
    assert_eq!(code, Some(0));
    for expected in [
        "--config",
        "--model-length",
        "--bind",
        "--set",
        "--port-file",
        "--log",
        "XAYNET__",
        "Exit status",
    ] {
        assert!(stdout.contains(expected), "{expected}");
    }
    for hidden in ["--seed-file", "--record"] {
        assert!(!stdout.contains(hidden), "{hidden} is for tests only");
    }
}

/// What the log says about a request is found by the id that its sender was told, and names nothing that
/// the sender has made up.
#[test]
fn log_lines_carry_the_id_of_their_request() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(&["serve", "--model-length", "5", "--bind", "127.0.0.1:0"]);
    command.args(["--log-format", "json", "--log", "info,pet_coordinator::intake=debug"]);
    let (server, address) = Server::start(&mut command, &dir.path().join("port"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(
            b"POST /message?key=hidden HTTP/1.1\r\nhost: x\r\nx-request-id: made-up\r\n\
              connection: close\r\ncontent-length: 7\r\n\r\nrubbish",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect(&answer);
    let (_, _, stderr) = server.end(Signal::SIGTERM);
    let entries = stderr.lines().map(|line| serde_json::from_str(line).unwrap());
    let entry = entries
        .into_iter()
        .find(|entry: &serde_json::Value| entry["reason"] == "does_not_open")
        .expect(&stderr);
    assert_eq!(entry["span"]["id"], id, "{entry}");
    assert_eq!(
        (&entry["span"]["method"], &entry["span"]["route"]),
        (&"POST".into(), &"/message".into())
    );
    assert!(!stderr.contains("hidden") && !stderr.contains("made-up"), "{stderr}");
}
