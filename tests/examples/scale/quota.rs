//! So much of a processor and no more: as if a process had a small machine to itself.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// Hundredths of a core.
pub const SHARE: u64 = 20;
/// In which so much of a core may be used, in microseconds.
const PERIOD: u64 = 100_000;

/// A control group with a quota, for one process.
pub struct Quota(PathBuf);

impl Quota {
    /// A new group, of version 2 or 1, whichever this machine has and lets us use.
    ///
    /// # Errors
    /// If there is neither.
    pub fn new(name: &str) -> Result<Self, Error> {
        let name = format!("pet-scale-{}-{name}", std::process::id());
        let quota = PERIOD * SHARE / 100;
        let root = Path::new("/sys/fs/cgroup");
        // (Where version 1 is, the root is a plain folder, in which anything can be written.)
        let has_cpu =
            |controllers: String| controllers.split_whitespace().any(|name| name == "cpu");
        if fs::read_to_string(root.join("cgroup.subtree_control")).is_ok_and(has_cpu) {
            let group = Self::make(root.join(&name))?;
            fs::write(group.0.join("cpu.max"), format!("{quota} {PERIOD}"))?;
            return Ok(group);
        }
        let old = root.join("cpu");
        if !old.join("cpu.cfs_quota_us").exists() {
            return Err("this machine has no control groups with quotas for processors".into());
        }
        let group = Self::make(old.join(name))?;
        fs::write(group.0.join("cpu.cfs_period_us"), PERIOD.to_string())?;
        fs::write(group.0.join("cpu.cfs_quota_us"), quota.to_string())?;
        Ok(group)
    }

    fn make(path: PathBuf) -> Result<Self, Error> {
        let made = fs::create_dir(&path);
        made.map_err(|error| format!("{}: no control group can be made: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub fn take(&self, process: u32) -> Result<(), Error> {
        Ok(fs::write(self.0.join("cgroup.procs"), process.to_string())?)
    }

    /// In how many periods it wanted more than its share.
    pub fn throttled(&self) -> Result<u64, Error> {
        let said = fs::read_to_string(self.0.join("cpu.stat"))?;
        let number = said.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(number.ok_or("the control group does not tell of its quota")?.trim().parse()?)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // (Possible only once the process has ended.)
        let _ = fs::remove_dir(&self.0);
    }
}
