//! Participants of the published package of old, `xaynet-sdk-python` 0.1.0, if `PET_OLD_PYTHON` names an interpreter that has it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{haproxy::Haproxy, OLD, PARTICIPANTS};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/interop/one_hot.py");

const PYTHON: &str = "PET_OLD_PYTHON";

/// Whether there are any.
pub fn are_there() -> bool {
    std::env::var_os(PYTHON).is_some()
}

pub struct Old(Child);

impl Old {
    /// Starts them, each with the place of its own weight.
    pub fn start(proxy: &Haproxy, length: usize, folder: &Path) -> Vec<Self> {
        let Some(python) = std::env::var_os(PYTHON) else { return Vec::new() };
        let start = |index: usize| {
            let mut command = Command::new(&python);
            command.args([SCRIPT, "--url", &format!("http://{}", proxy.for_old)]);
            command.args(["--length", &length.to_string(), "--index", &index.to_string()]);
            let log = fs::File::create(folder.join(format!("old-{index}.log"))).unwrap();
            let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
            Self(command.spawn().unwrap())
        };
        (PARTICIPANTS..PARTICIPANTS + OLD).map(start).collect()
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
