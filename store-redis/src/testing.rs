//! A server of its own for tests. It is `tests/engines/redis` that starts it.

use std::path::Path;

use pet_ledger::server::{in_memory, Server};

const ENGINE: &str = "redis";

/// A server in a temporary folder, in memory where there is room, on a free port of this machine, that waits for its disk. It ends
/// when this is dropped.
#[derive(Debug)]
pub struct Redis(Server);

impl Redis {
    /// A new server; none where Redis is not installed, which is said once.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// A new server on a disk, as those are that are measured; none where Redis is not installed, which is said once.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn on_disk() -> Option<Self> {
        Server::start(ENGINE, &std::env::temp_dir(), &[]).map(Self)
    }

    /// A new server with these lines in its settings.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn with(lines: &[&str]) -> Option<Self> {
        Server::start(ENGINE, &in_memory(), lines).map(Self)
    }

    /// Where it is: `redis://...`
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// Its folder; `log` in it is what it says, `data` what it holds.
    pub fn folder(&self) -> &Path {
        self.0.folder()
    }

    /// Kills it.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self) {
        self.0.run("kill");
    }

    /// Lets it stand still.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        self.0.run("pause");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn go_on(&self) {
        self.0.run("continue");
    }

    /// Starts it again, at the same address.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&self) {
        self.0.run("start");
    }
}
