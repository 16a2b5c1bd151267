//! A server of its own for tests. It is `tests/engines/postgres` that starts it.

use std::{path::Path, process::Command, sync::OnceLock};

use tempfile::TempDir;

/// Starts, stops and kills servers.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/engines/postgres");

/// A server in a temporary folder, in memory where there is room, on a free port of this machine. It ends when this is dropped.
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

    /// A new server on a disk, as those are that are measured; none where PostgreSQL is not installed, which is said once.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn on_disk() -> Option<Self> {
        is_there().then(|| Self::start_in(&std::env::temp_dir(), &[]))
    }

    /// A new server with these lines in its settings.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn with(lines: &[&str]) -> Option<Self> {
        is_there().then(|| Self::start_in(Path::new(&memory()), lines))
    }

    fn start_in(parent: &Path, lines: &[&str]) -> Self {
        let folder = folder(parent);
        let url = run("start", folder.path(), lines);
        Self { folder, url }
    }

    /// A standby of this server, which follows it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let folder = folder(Path::new(&memory()));
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

    /// PgBouncer in front of it, which pools by transaction, until the server ends: where it is. None where it is not installed,
    /// which is said.
    pub fn pooler(&self) -> Option<String> {
        let output = Command::new(SCRIPT).arg("pooler").arg(self.folder.path()).output();
        let output = output.expect("the script can be run");
        if !output.status.success() {
            skipped(&output.stderr);
            return None;
        }
        Some(String::from_utf8_lossy(&output.stdout).trim().into())
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
            skipped(&output.stderr);
        }
        output.status.success()
    })
}

#[allow(clippy::print_stderr)]
fn skipped(why: &[u8]) {
    eprintln!("SKIPPED: {}", String::from_utf8_lossy(why).trim());
}

fn folder(parent: &Path) -> TempDir {
    let folder = tempfile::Builder::new().prefix("pet-postgres-").tempdir_in(parent);
    folder.expect("there is a temporary folder")
}

/// Where servers for tests are.
fn memory() -> String {
    let output = Command::new(SCRIPT).arg("memory").output().expect("the script can be run");
    String::from_utf8_lossy(&output.stdout).trim().into()
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
