//! The load balancer of deploy/haproxy/haproxy.cfg, which docs/shared-storage.md explains.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};

use super::ports::free_port;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

pub struct Haproxy {
    child: Child,
    log: PathBuf,
    /// Where participants go: most requests to followers.
    pub participants: SocketAddr,
    /// Where each request goes to another replica.
    pub spread: SocketAddr,
    /// Where those of old go: to the leader.
    pub for_old: SocketAddr,
}

impl Haproxy {
    /// Starts it in front of these; none where it is not installed, which is said.
    pub fn start(folder: &Path, replicas: &[SocketAddr]) -> Option<Self> {
        let Some(program) = program() else {
            crate::report("SKIPPED: HAProxy is not installed: apt-get install haproxy");
            return None;
        };
        let (participants, spread) = (free_port(), free_port());
        let file = folder.join("haproxy.cfg");
        let text = example().replacen("bind :8081", &format!("bind {participants}"), 1);
        let mut text = text.replacen("bind :8082", &format!("bind {spread}"), 1);
        let for_old = free_port();
        text += &format!(
            "\nfrontend old\n    mode http\n    bind {for_old}\n    default_backend leader\n"
        );
        for (number, replica) in replicas.iter().enumerate() {
            let of_page = format!("10.0.0.{}:8081", number + 1);
            assert!(text.contains(&of_page), "{text}");
            text = text.replace(&of_page, &replica.to_string());
        }
        fs::write(&file, text).unwrap();
        let log_file = folder.join("haproxy.log");
        let log = fs::File::create(&log_file).unwrap();
        let mut command = Command::new(program);
        if let Some(libraries) = libraries() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        // With a process that starts others, so that it can be told to read its settings again.
        command.args(["-W", "-db", "-f"]).arg(&file).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Some(Self { child: command.spawn().unwrap(), log: log_file, participants, spread, for_old })
    }

    /// Has it read its settings again: new processes take over, the old ones end with their connections.
    pub fn reload(&self) {
        kill(self.pid(), Signal::SIGUSR2).unwrap();
    }

    /// Whether it has ended by itself; what it has said, then.
    pub fn has_ended(&mut self) -> Option<String> {
        self.child.try_wait().unwrap()?;
        Some(fs::read_to_string(&self.log).unwrap_or_default())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // With those that it has started.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// What operators copy: as it is but for the addresses, and for what is logged, which would be each request.
fn example() -> String {
    let text = fs::read_to_string(format!("{ROOT}/deploy/haproxy/haproxy.cfg")).unwrap();
    text.replacen("log stdout format raw local0", "log stdout format raw local0 notice", 1)
}

#[test]
fn the_page_shows_what_is_in_the_example() {
    let page = fs::read_to_string(format!("{ROOT}/docs/shared-storage.md")).unwrap();
    let (_, rest) = page.split_once("```haproxy\n").expect("the page has an example");
    let shown = rest.split_once("```").unwrap().0;
    assert!(example().contains(shown), "deploy/haproxy/haproxy.cfg has something else:\n{shown}");
}

fn program() -> Option<PathBuf> {
    let unpacked = PathBuf::from(format!("{ROOT}/target/proxies/usr/sbin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin".into(), unpacked]);
    folders.into_iter().map(|folder| folder.join("haproxy")).find(|file| file.is_file())
}

/// Where CI unpacks Debian's packages.
fn libraries() -> Option<PathBuf> {
    let folders = fs::read_dir(format!("{ROOT}/target/proxies/usr/lib")).ok()?;
    let mut folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
    folders.find(|folder| folder.to_string_lossy().ends_with("-linux-gnu"))
}
