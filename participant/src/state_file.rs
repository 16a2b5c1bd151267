//! The file that a participant's state is kept in.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

/// A file with a participant's latest state: what was written is there after a power cut, or what was there before. Give
/// each participant one of its own.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Whether the last state was written. Held while one is: two at a time would get in each other's way, and the older
    /// one could end up in the file.
    is_final: Mutex<bool>,
}

impl StateFile {
    /// The file of this name, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_final: Mutex::new(false) }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is kept there; nothing if the file is not there yet. It holds secret keys.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a state in place of the one before, in one step.
    ///
    /// # Errors
    /// What the operating system says, and if the last state was written.
    pub fn write(&self, state: &[u8]) -> io::Result<()> {
        let is_final = self.is_final.lock().unwrap_or_else(PoisonError::into_inner);
        match *is_final {
            true => Err(io::Error::other("the participant was stopped")),
            false => self.replace(state),
        }
    }

    /// Puts the last state in place: nothing is written any more afterwards.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write_final(&self, state: &[u8]) -> io::Result<()> {
        let mut is_final = self.is_final.lock().unwrap_or_else(PoisonError::into_inner);
        *is_final = true;
        self.replace(state)
    }

    fn replace(&self, state: &[u8]) -> io::Result<()> {
        let unfinished = self.beside("unfinished");
        let mut file = private().create(true).truncate(true).open(&unfinished)?;
        file.write_all(state)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        #[cfg(unix)]
        if let Some(directory) = self.path.parent() {
            let directory =
                if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            fs::File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// A file beside it, of the same name but for an ending.
    pub fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

/// For writing, and for nobody else: it holds secret keys.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    options.mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// Whoever stops a participant has the state in the file that it is to go on from, whatever was being stored.
    #[test]
    fn nothing_is_written_behind_the_last_state() {
        let directory = std::env::temp_dir().join(format!("pet-state-file-{}", std::process::id()));
        // (Of a process that had this number before.)
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        for round in 0..20u8 {
            let file = StateFile::new(directory.join(format!("{round}.state")));
            assert!(file.read().unwrap().is_none());
            let begun = AtomicBool::new(false);
            thread::scope(|scope| {
                let storing = scope.spawn(|| {
                    let mut written = 0;
                    while let Ok(()) = file.write(&[round; 1000]) {
                        written += 1;
                        begun.store(true, Ordering::SeqCst);
                    }
                    written
                });
                while !begun.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                file.write_final(b"the last").unwrap();
                assert!(storing.join().unwrap() > 0);
            });
            assert_eq!(&file.read().unwrap().unwrap()[..], b"the last");
            assert!(!file.beside("unfinished").exists());
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
