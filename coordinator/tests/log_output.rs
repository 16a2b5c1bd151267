//! Whatever becomes of standard error and standard output: the service goes on, and commands end
//! quietly.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::openpty,
    sys::signal::{kill, Signal},
    unistd::Pid,
};

const DEADLINE: Duration = Duration::from_secs(60);
const BINARY: &str = env!("CARGO_BIN_EXE_pet-coordinator");

/// A running process that does not outlive its test.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(mut command: Command, dir: &Path) -> Self {
        let port_file = dir.join("port");
        command.arg("--port-file").arg(&port_file).stdin(Stdio::null()).stdout(Stdio::null());
        let mut server =
            Self { process: command.spawn().unwrap(), address: ([127, 0, 0, 1], 0).into() };
        let end = Instant::now() + DEADLINE;
        while server.address.port() == 0 {
            if let Ok(address) = fs::read_to_string(&port_file) {
                server.address = address.parse().unwrap();
            }
            let gone = server.process.try_wait().unwrap();
            assert!(gone.is_none() && Instant::now() < end, "no port file: {gone:?}");
            thread::sleep(Duration::from_millis(5));
        }
        server
    }

    fn exchange(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Posts a message that is rejected, and logged.
    fn post(&self) {
        let rubbish = "x".repeat(200);
        let answer = self.exchange(&format!(
            "POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 200\r\n\r\n{rubbish}"
        ));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }

    fn dropped(&self) -> u64 {
        let metrics =
            self.exchange("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("pet_log_lines_dropped_total "));
        line.expect(&metrics).parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not stop");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// With each rejected message a line.
const REJECTED: &str = "info,pet_coordinator::intake=debug";

fn serve(filter: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--ephemeral", "--model-length", "10", "--bind", "127.0.0.1:0"]);
    command.args(["--log", filter]);
    command
}

/// A pipe without a reader (EPIPE), a full disk (ENOSPC), a terminal that was closed (EIO).
#[test]
fn a_log_that_cannot_be_written_ends_nothing_and_is_counted() {
    let (reader, broken) = io::pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let terminal = openpty(None, None).unwrap();
    drop(terminal.master);
    let outputs: [(&str, Stdio); 3] = [
        ("a pipe without a reader", broken.into()),
        ("a full disk", full.into()),
        ("a closed terminal", terminal.slave.into()),
    ];
    for (what, output) in outputs {
        let dir = tempfile::tempdir().unwrap();
        let mut command = serve(REJECTED);
        // Something odd about the settings is told before anything else.
        command.env("XAYNET__REDIS__URL", "redis://host").stderr(output);
        let mut server = Server::start(command, dir.path());
        for _ in 0..10 {
            server.post();
        }
        // A terminal that goes away also says so.
        server.signal(Signal::SIGHUP);
        server.post();
        let end = Instant::now() + DEADLINE;
        while server.dropped() < 11 {
            assert!(Instant::now() < end, "{what}: {}", server.dropped());
            thread::sleep(Duration::from_millis(5));
        }
        assert!(server.process.try_wait().unwrap().is_none(), "{what}");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0), "{what}");
    }
}

/// Beyond a limit the operating system sends a signal that ends a process that does not expect it.
#[test]
fn a_log_file_that_may_not_grow_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = File::create(dir.path().join("log")).unwrap();
    let serve = serve(REJECTED);
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -f 1; exec \"$0\" \"$@\""]).arg(serve.get_program());
    limited.args(serve.get_args()).stderr(log);
    let mut server = Server::start(limited, dir.path());
    let end = Instant::now() + DEADLINE;
    while server.dropped() == 0 {
        assert!(Instant::now() < end);
        server.post();
    }
    server.post();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// The pipe is full long before all is logged. Everyone is answered, a signal ends it, and once somebody
/// reads, the log says that something is missing.
#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    // So that it is much.
    let mut command = serve("trace");
    command.stderr(Stdio::piped());
    let mut server = Server::start(command, dir.path());
    let end = Instant::now() + DEADLINE;
    while server.dropped() == 0 {
        assert!(Instant::now() < end, "nothing is dropped");
        (0..50).for_each(|_| server.post());
    }
    let mut log = BufReader::new(server.process.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("lines of the log were dropped") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ends");
    }
    // Full again.
    let dropped = server.dropped();
    while server.dropped() == dropped {
        assert!(Instant::now() < end + DEADLINE, "nothing more is dropped");
        (0..50).for_each(|_| server.post());
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// The last words are no exception.
#[test]
fn a_failure_is_not_held_up_by_a_log_that_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (_reader, writer) = io::pipe().unwrap();
    let mut full = writer.try_clone().unwrap();
    let filler = thread::spawn(move || {
        // Blocks once the pipe is full, until its reader is gone at the end of the test.
        while full.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let mut command = Command::new(BINARY);
    command.args(["serve", "--model-length", "10", "--bind", "127.0.0.1:0", "--data-dir"]);
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    command.arg(file.join("data")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    let process = command.spawn().unwrap();
    let mut server = Server { process, address: ([127, 0, 0, 1], 0).into() };
    assert_eq!(server.wait().code(), Some(1));
    drop(_reader);
    drop(command);
    filler.join().unwrap();
}

fn commands() -> Vec<Vec<&'static str>> {
    vec![vec!["--help"], vec!["completions", "bash"], vec!["check-config", "--model-length", "10"]]
}

/// `pet-coordinator ... | head -1`.
#[test]
fn commands_whose_reader_is_gone_end_quietly() {
    for args in commands() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(BINARY);
        let output = command.args(&args).stdout(writer).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{args:?}");
    }
    // Nobody is there to read what is wrong either.
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(BINARY);
    let status = command.args(["rounds", "--url", "http://127.0.0.1:1"]).stderr(writer).status();
    assert_eq!(status.unwrap().code(), Some(3));
}

#[test]
fn output_that_is_lost_is_told() {
    for args in &commands()[1..] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(BINARY);
        let output = command.args(args).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("cannot write the output"), "{args:?}: {stderr}");
    }
}
