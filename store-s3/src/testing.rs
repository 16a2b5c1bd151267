//! Storage of its own for tests. It is `tests/engines/s3` that starts it.

use std::{path::Path, process::Command, sync::OnceLock};

use tempfile::TempDir;

use crate::S3Settings;

/// Starts and kills storage.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/engines/s3");

/// Storage in a temporary folder, on a free port of this machine. It ends when this is dropped.
#[derive(Debug)]
pub struct Storage {
    folder: TempDir,
    url: String,
}

impl Storage {
    /// New storage with an empty bucket; none where the program is not installed, which is said once.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn start() -> Option<Self> {
        if !is_there() {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("pet-s3-").tempdir();
        let folder = folder.expect("there is a temporary folder");
        let url = run("start", folder.path());
        Some(Self { folder, url })
    }

    /// Where it is, with the keys that open it.
    pub fn settings(&self, federation: &str) -> S3Settings {
        S3Settings::new(["local", &self.url], "pet", ["pet-access", "pet-secret"], federation)
    }

    /// Kills it.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self) {
        run("kill", self.folder.path());
    }

    /// Starts it again, at the same address.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&self) {
        run("start", self.folder.path());
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // (It may be gone already.)
        let _ = Command::new(SCRIPT).arg("kill").arg(self.folder.path()).output();
    }
}

/// Whether it is installed.
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

fn run(command: &str, folder: &Path) -> String {
    let output = Command::new(SCRIPT).arg(command).arg(folder).output();
    let output = output.expect("the script can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "s3 {command}: {said}");
    String::from_utf8(output.stdout).expect("it prints text").trim().into()
}
