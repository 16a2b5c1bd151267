//! A server of its own for tests. It is `tests/engines/postgres` that starts it.

use std::{path::Path, process::Command, sync::OnceLock};

use tempfile::TempDir;

/// Starts, stops and kills servers.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/engines/postgres");

/// A server in a temporary folder, on a free port of this machine. It ends when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    url: String,
}

impl Postgres {
    /// A new server; none where PostgreSQL is not installed, which is said once.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// A new server with these lines in its settings.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn with(lines: &[&str]) -> Option<Self> {
        if !is_there() {
            return None;
        }
        let folder = folder();
        let url = run("start", folder.path(), lines);
        Some(Self { folder, url })
    }

    /// A standby of this server, which follows it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let folder = folder();
        let from = self.folder.path().to_str().expect("temporary folders have plain names");
        let url = run("standby", folder.path(), &[from]);
        Self { folder, url }
    }

    /// Where it is: `postgres://...`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its folder; `log` in it is what it says.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self) {
        run("kill", self.folder.path(), &[]);
    }

    /// Stops it in an orderly way.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop(&self) {
        run("stop", self.folder.path(), &[]);
    }

    /// Starts it again, at the same address.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&self) {
        run("start", self.folder.path(), &[]);
    }

    /// Makes a standby the primary.
    ///
    /// # Panics
    /// If it is none.
    pub fn promote(&self) {
        run("promote", self.folder.path(), &[]);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // (It may be gone already.)
        let _ = Command::new(SCRIPT).arg("kill").arg(self.folder.path()).output();
    }
}

/// Whether PostgreSQL is installed.
fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let output = Command::new(SCRIPT).arg("where").output().expect("the script can be run");
        if !output.status.success() {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("SKIPPED: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        output.status.success()
    })
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("pet-postgres-").tempdir().expect("there is a temporary folder")
}

fn run(command: &str, folder: &Path, rest: &[&str]) -> String {
    let output = Command::new(SCRIPT)
        .arg(command)
        .arg(folder)
        .args(rest)
        .output()
        .expect("the script can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "postgres {command}: {said}");
    String::from_utf8(output.stdout).expect("it prints text").trim().into()
}
