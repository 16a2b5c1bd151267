//! Storage of its own for tests. It is `tests/engines/s3` that starts it.

use pet_ledger::server::Server;

use crate::S3Settings;

/// Storage in a temporary folder, on a free port of this machine. It ends when this is dropped.
#[derive(Debug)]
pub struct Storage(Server);

impl Storage {
    /// New storage with an empty bucket; none where the program is not installed, which is said once.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn start() -> Option<Self> {
        Server::start("s3", &std::env::temp_dir(), &[]).map(Self)
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// Where it is, with the keys that open it.
    pub fn settings(&self, federation: &str) -> S3Settings {
        let keys = ["pet-access", "pet-secret"];
        S3Settings::new(["local", self.url()], "pet", keys, federation)
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
