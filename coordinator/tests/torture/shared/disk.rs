//! A small disk, in memory, that can be filled.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

pub struct Disk(TempDir);

impl Disk {
    /// Makes one; none where that may not be done, which is said.
    pub fn new(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={mebibytes}m,mode=755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "pet"]).arg(folder.path());
        let why = match mount.output() {
            Ok(output) if output.status.success() => return Some(Self(folder)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        crate::report(&format!(
            "SKIPPED: the engine's disk does not become full: no small one can be mounted: {why}"
        ));
        None
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let zeros = vec![0; 1 << 20];
        // The last bytes are taken one page at a time.
        for piece in [&zeros[..], &zeros[..4096]] {
            while filler.write_all(piece).is_ok() {}
        }
    }

    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // (Also if somebody still has something open there.)
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}
