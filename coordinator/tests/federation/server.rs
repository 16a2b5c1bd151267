//! A coordinator as a process, and a client for it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use pet_core::{
    problem::Problem,
    v2::{Call, Phase, RoundView},
};
use serde_json::Value;
use ureq::Agent;

pub const DEADLINE: Duration = Duration::from_secs(240);

/// A running coordinator that does not outlive its test.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    dir: PathBuf,
}

/// Settings for rounds of v2 with the roster in a directory, of models of this length; lines of `more` win over these.
pub fn settings(dir: &Path, length: usize, more: &str) -> String {
    // Phases of members end once all have acted.
    let all = "{ min = 290, max = 300 }";
    let defaults = format!(
        "api.bind_address = \"127.0.0.1:0\"\nmodel.length = {length}\nmask.group_type = \"Word32\"\n\
         storage.data_dir = \"{0}/data\"\npet.v2.roster_file = \"{0}/roster.toml\"\npet.v2.n_min = 3\n\
         pet.v2.announce.time = {all}\npet.v2.update.time = {{ min = 0, max = 300 }}\npet.v2.check.time = {all}\n\
         pet.v2.agree.time = {all}\npet.v2.sum2.time = {all}\n",
        dir.display()
    );
    let key = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    let given: Vec<_> = more.lines().map(key).collect();
    let rest = defaults.lines().filter(|line| !given.contains(&key(line)));
    rest.chain(more.lines()).map(|line| format!("{line}\n")).collect()
}

impl Server {
    /// Starts one on the settings file in a directory.
    pub fn start(dir: &Path) -> Self {
        Self::try_start(dir).unwrap_or_else(|log| panic!("it does not start: {log}"))
    }

    /// The same; what it has said if it does not start.
    pub fn try_start(dir: &Path) -> Result<Self, String> {
        let port_file = dir.join("port");
        let _ = fs::remove_file(&port_file);
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
        command
            .args(["serve", "--config"])
            .arg(dir.join("pet.toml"))
            .arg("--port-file")
            .arg(&port_file);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().to_uppercase().starts_with("XAYNET__") {
                command.env_remove(name);
            }
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let end = Instant::now() + DEADLINE;
        loop {
            if let Ok(address) = fs::read_to_string(&port_file) {
                let address = address.parse().unwrap();
                return Ok(Self { child, address, dir: dir.to_owned() });
            }
            if child.try_wait().unwrap().is_some() {
                return Err(fs::read_to_string(dir.join("log")).unwrap());
            }
            assert!(Instant::now() < end, "no port file");
            sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a loss of power would, for the process.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Ends it in good order; the status.
    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    pub fn client(&self) -> Client {
        // A connection of its own for each: those over which too much was sent are closed.
        let config = Agent::config_builder().http_status_as_error(false).max_idle_connections(0);
        let config = config.build();
        Client { agent: config.into(), base: format!("http://{}", self.address) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Speaks to a coordinator.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
}

/// An answer: status, body, and the name of the problem if it is one.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub problem: Option<String>,
    /// The ETag.
    pub tag: Option<String>,
}

impl Client {
    pub fn get(&self, target: &str) -> Answer {
        self.get_with(target, &[])
    }

    pub fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(format!("{}{target}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call().unwrap())
    }

    pub fn post(&self, target: &str, body: &[u8]) -> Answer {
        let request = self.agent.post(format!("{}{target}", self.base));
        answer(request.header("accept", Problem::MEDIA_TYPE).send(body).unwrap())
    }

    /// Makes a call.
    pub fn call(&self, call: &Call) -> Answer {
        match call.method() {
            "GET" => self.get_with(&call.path_and_query(), call.headers()),
            _ => self.post(&call.path_and_query(), &call.body()),
        }
    }

    /// Makes a call that must be answered with 200.
    pub fn done(&self, call: &Call) -> Vec<u8> {
        let answer = self.call(call);
        assert_eq!(answer.status, 200, "{call:?}: {:?}", String::from_utf8_lossy(&answer.body));
        answer.body
    }

    pub fn view(&self) -> RoundView {
        RoundView::from_bytes(&self.done(&Call::Round)).unwrap()
    }

    /// Waits until the round's state is as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&RoundView) -> bool) -> RoundView {
        let end = Instant::now() + DEADLINE;
        loop {
            let view = self.view();
            if wanted(&view) {
                return view;
            }
            assert!(Instant::now() < end, "{what} does not come: {view:?}");
            sleep(Duration::from_millis(5));
        }
    }

    pub fn phase(&self, phase: Phase) -> RoundView {
        self.until(phase.label(), |view| view.phase == phase)
    }

    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.get("/status").body).unwrap()
    }
}

fn answer(response: ureq::http::Response<ureq::Body>) -> Answer {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let tag = response.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
    let mut body = response.into_body();
    let body = body.with_config().limit(1 << 30).read_to_vec().unwrap();
    let problem = (kind.as_deref() == Some(Problem::MEDIA_TYPE)).then(|| {
        let problem: Value = serde_json::from_slice(&body).unwrap();
        problem["type"].as_str().unwrap().trim_start_matches("urn:pet:problem:").to_owned()
    });
    Answer { status, body, problem, tag }
}
