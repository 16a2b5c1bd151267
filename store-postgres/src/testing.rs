//! A server of its own for tests. It is `tests/engines/postgres` that starts it.

use std::path::Path;

use pet_ledger::server::{in_memory, Server};

const ENGINE: &str = "postgres";

/// A server in a temporary folder, in memory where there is room, on a free port of this machine. It ends when this is dropped.
#[derive(Debug)]
pub struct Postgres(Server);

impl Postgres {
    /// A new server; none where PostgreSQL is not installed, which is said once.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// A new server on a disk and with the server's own defaults for memory and log, as those are that are measured; none where PostgreSQL is not installed, which is said once.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn on_disk() -> Option<Self> {
        let defaults = ["shared_buffers = 128MB", "max_wal_size = 1GB"];
        Self::within(&std::env::temp_dir(), &defaults)
    }

    /// A new server with these lines in its settings.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn with(lines: &[&str]) -> Option<Self> {
        Self::within(&in_memory(), lines)
    }

    /// The same in a folder of yours.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn within(parent: &Path, lines: &[&str]) -> Option<Self> {
        Server::start(ENGINE, parent, lines).map(Self)
    }

    /// A standby of this server, which follows it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        self.standby_within(&in_memory())
    }

    /// The same in a folder of yours.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn standby_within(&self, parent: &Path) -> Self {
        let from = self.folder().to_str().expect("temporary folders have plain names");
        Self(Server::make(ENGINE, "standby", parent, &[from]))
    }

    /// Where it is: `postgres://...`
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// Its folder; `log` in it is what it says.
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

    /// Stops it in an orderly way.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop(&self) {
        self.0.run("stop");
    }

    /// Starts it again, at the same address.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&self) {
        self.0.run("start");
    }

    /// PgBouncer in front of it, which pools by transaction, until the server ends: where it is. None where it is not installed,
    /// which is said.
    pub fn pooler(&self) -> Option<String> {
        self.0.try_run("pooler")
    }

    /// Makes a standby the primary.
    ///
    /// # Panics
    /// If it is none.
    pub fn promote(&self) {
        self.0.run("promote");
    }
}
