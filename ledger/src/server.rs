//! A server of its own for tests, in a temporary folder, on a free port of this machine. It is one of the scripts in
//! `tests/engines` that starts it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

use tempfile::TempDir;

/// Which engine: the name of its script.
type Engine = &'static str;

/// A server. It ends, and its folder is gone, when this is dropped.
#[derive(Debug)]
pub struct Server {
    engine: Engine,
    folder: TempDir,
    url: String,
}

impl Server {
    /// A new server whose folder is in `parent`, with these lines in its settings; none where the engine is not installed, which
    /// is said once.
    ///
    /// # Panics
    /// If it is installed, and does not start.
    pub fn start(engine: Engine, parent: &Path, lines: &[&str]) -> Option<Self> {
        is_there(engine).then(|| Self::make(engine, "start", parent, lines))
    }

    /// A server that is made in another way than by `start`: by another command of the script.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn make(engine: Engine, command: &str, parent: &Path, rest: &[&str]) -> Self {
        let prefix = format!("pet-{engine}-");
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
        let folder = folder.expect("there is a temporary folder");
        let url = printed(engine, command, &call(engine, command, Some(folder.path()), rest));
        Self { engine, folder, url }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its folder; `log` in it is what it says.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has the script do something with it; gives what that printed.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn run(&self, command: &str) -> String {
        printed(self.engine, command, &self.call(command))
    }

    /// The same where it may fail because something else is not installed, which is said: none, then.
    pub fn try_run(&self, command: &str) -> Option<String> {
        let output = self.call(command);
        if !output.status.success() {
            skipped(&output.stderr);
            return None;
        }
        Some(printed(self.engine, command, &output))
    }

    fn call(&self, command: &str) -> Output {
        call(self.engine, command, Some(self.folder.path()), &[])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // (It may be gone already.)
        let _ = self.call("kill");
    }
}

/// The folder for servers that need not be on a disk: in memory where there is room.
pub fn in_memory() -> PathBuf {
    printed("postgres", "memory", &call("postgres", "memory", None, &[])).into()
}

/// Whether it is installed; if not, that is said once.
fn is_there(engine: Engine) -> bool {
    static THERE: Mutex<BTreeMap<Engine, bool>> = Mutex::new(BTreeMap::new());
    let mut there = THERE.lock().expect("nobody panics while it is locked");
    *there.entry(engine).or_insert_with(|| {
        let output = call(engine, "where", None, &[]);
        if !output.status.success() {
            skipped(&output.stderr);
        }
        output.status.success()
    })
}

fn call(engine: Engine, command: &str, folder: Option<&Path>, rest: &[&str]) -> Output {
    let script = format!("{}/../tests/engines/{engine}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(script).arg(command).args(folder).args(rest).output();
    output.expect("the script can be run")
}

fn printed(engine: Engine, command: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{engine} {command}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().into()
}

#[allow(clippy::print_stderr)]
fn skipped(why: &[u8]) {
    eprintln!("SKIPPED: {}", String::from_utf8_lossy(why).trim());
}
