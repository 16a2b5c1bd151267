//! Large values as files beside the database: written once, synced before the commit that refers to
//! them, removed after the commit that no longer does.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use pet_core::crypto::Blake2b;

use crate::store::StoreError;

/// Where global models are.
pub(super) const MODELS: &str = "models";
/// Where the aggregate and masks of the current round are.
pub(super) const ROUND: &str = "round";

/// A file, and what must be in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRef {
    /// The path within the data directory.
    pub name: String,
    pub length: u64,
    pub digest: [u8; 32],
}

/// The files of a data directory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    /// Makes the directories if they are not there: for nobody else to read.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        for dir in [dir.to_owned(), dir.join(MODELS), dir.join(ROUND)] {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            created.map_err(|error| StoreError::io("create the directory", &dir, error))?;
        }
        let files = Self { dir: dir.to_owned() };
        files.sync([MODELS, ROUND, "."])?;
        Ok(files)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file; it is safe once its directory is synced as well.
    pub fn write(&self, name: String, bytes: &[u8]) -> Result<FileRef, StoreError> {
        let path = self.path(&name);
        let write = || {
            let mut options = fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|error| StoreError::io("write", path.clone(), error))?;
        let digest = *Blake2b::hash(&[bytes]).as_bytes();
        Ok(FileRef { name, length: bytes.len() as u64, digest })
    }

    /// Makes what was written into these directories safe.
    pub fn sync<'a>(&self, dirs: impl IntoIterator<Item = &'a str>) -> Result<(), StoreError> {
        for dir in dirs {
            let path = self.path(dir);
            let synced = File::open(&path).and_then(|dir| dir.sync_all());
            synced.map_err(|error| StoreError::io("write", path, error))?;
        }
        Ok(())
    }

    /// Reads a file, and checks that it is what was written.
    pub fn read(&self, file: &FileRef) -> Result<Vec<u8>, StoreError> {
        let path = self.path(&file.name);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                StoreError::Damaged { path: path.clone(), problem: "it is missing".into() }
            }
            _ => StoreError::io("read", path.clone(), error),
        })?;
        let damaged = |problem| Err(StoreError::Damaged { path, problem });
        if bytes.len() as u64 != file.length {
            return damaged(format!("it has {} bytes, not {}", bytes.len(), file.length));
        }
        if *Blake2b::hash(&[&bytes]).as_bytes() != file.digest {
            return damaged("its checksum is another one".into());
        }
        Ok(bytes)
    }

    /// Removes files that nothing refers to any more. One that stays costs nothing but room, and is
    /// tried again at the next start.
    pub fn remove(&self, names: &[String]) {
        for name in names {
            let path = self.path(name);
            if let Err(error) = fs::remove_file(&path) {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "a file that is no longer needed stays");
                }
            }
        }
    }

    /// Removes what is left of writes that were cut off: files of ours that nothing refers to.
    pub fn sweep(&self, referred: &BTreeSet<String>) -> Result<(), StoreError> {
        for dir in [MODELS, ROUND] {
            let path = self.path(dir);
            let listed = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let listed = listed.map_err(|error| StoreError::io("list", path, error))?;
            let names = listed.iter().filter_map(|entry| entry.file_name().into_string().ok());
            let names = names.filter(|name| is_ours(name)).map(|name| format!("{dir}/{name}"));
            let left: Vec<_> = names.filter(|name| !referred.contains(name)).collect();
            self.remove(&left);
        }
        Ok(())
    }
}

/// Whether a file has a name such as this program gives.
fn is_ours(name: &str) -> bool {
    let Some((kind, number)) = name.split_once('-').or_else(|| name.split_once('_')) else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let is_seed = |text: &str| text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
    match kind {
        "aggregate" | "mask" => is_number(number),
        round => is_number(round) && is_seed(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::create(dir.path()).unwrap();
        let file = files.write("round/mask-3".into(), b"what was written").unwrap();
        assert_eq!(files.read(&file).unwrap(), b"what was written");
        for (damage, problem) in
            [(&b"what was"[..], "it has 8 bytes, not 16"), (b"what was_written", "checksum")]
        {
            fs::write(files.path(&file.name), damage).unwrap();
            let error = files.read(&file).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("round/mask-3"), "{error}");
        }
        files.remove(&["round/mask-3".into(), "round/mask-4".into()]);
        let error = files.read(&file).unwrap_err().to_string();
        assert!(error.contains("it is missing"), "{error}");
    }

    #[test]
    fn leftovers_are_swept_and_foreign_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::create(dir.path()).unwrap();
        let model = format!("models/3_{}", "ab".repeat(32));
        let kept = ["round/aggregate-2", "round/notes.txt", "models/3_ab", "round/mask-x"];
        for name in ["round/aggregate-1", "round/mask-7", &model].iter().chain(&kept) {
            fs::write(files.path(name), b"x").unwrap();
        }
        files.sweep(&BTreeSet::from(["round/aggregate-2".to_owned()])).unwrap();
        for name in ["round/aggregate-1", "round/mask-7", &model] {
            assert!(!files.path(name).exists(), "{name}");
        }
        for name in kept {
            assert!(files.path(name).exists(), "{name}");
        }
    }
}
