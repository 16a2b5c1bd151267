//! Large values as files beside the database: written once, synced before the commit that refers to
//! them, removed after the commit that no longer does.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use pet_core::{crypto::Blake2b, mask::tree::leaf};

use super::medium::Medium;
use crate::{
    private::{self, Audit, Owner},
    store::StoreError,
};

/// The database.
pub(super) const DATABASE: &str = "coordinator.redb";
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
    /// Its BLAKE3; of earlier programs its BLAKE2b.
    pub digest: [u8; 32],
}

/// The files of a data directory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: PathBuf,
    medium: Arc<dyn Medium>,
}

impl Files {
    /// Makes the directories if they are not there: for nobody else to read. What is there is refused if
    /// others may read it.
    pub fn create(dir: &Path, owner: Owner, medium: Arc<dyn Medium>) -> Result<Self, StoreError> {
        let files = Self { dir: dir.to_owned(), medium };
        for dir in [dir.to_owned(), dir.join(MODELS), dir.join(ROUND)] {
            let created = private::create_dir(&dir);
            created.map_err(|error| StoreError::io("create the directory", &dir, error))?;
        }
        files.audit(owner)?;
        files.sync([MODELS, ROUND, "."])?;
        Ok(files)
    }

    /// Nobody else may get at what is in the directory.
    fn audit(&self, owner: Owner) -> Result<(), StoreError> {
        let mut audit = Audit::new(owner);
        let looked = audit
            .look(&self.dir)
            .and_then(|()| audit.look(&self.path(DATABASE)))
            .and_then(|()| audit.look_into(&self.path(MODELS)))
            .and_then(|()| audit.look_into(&self.path(ROUND)));
        looked.map_err(|error| StoreError::io("look at", &self.dir, error))?;
        match audit.finding() {
            Some((path, command)) => Err(StoreError::Open { path: path.to_owned(), command }),
            None => Ok(()),
        }
    }

    /// Files with names such as this program gives, whoever has written them.
    pub fn ours(&self) -> Result<Vec<String>, StoreError> {
        let mut ours = Vec::new();
        for dir in [MODELS, ROUND] {
            let path = self.path(dir);
            let listed = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let listed = listed.map_err(|error| StoreError::io("list", path, error))?;
            let names = listed.iter().filter_map(|entry| entry.file_name().into_string().ok());
            ours.extend(names.filter(|name| is_ours(name)).map(|name| format!("{dir}/{name}")));
        }
        ours.sort();
        Ok(ours)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file; it is safe once its directory is synced as well.
    pub fn write(&self, name: String, bytes: &[u8]) -> Result<FileRef, StoreError> {
        let path = self.path(&name);
        let written = self.medium.write(&path, bytes);
        written.map_err(|error| StoreError::io("write", path, error))?;
        Ok(FileRef { name, length: bytes.len() as u64, digest: leaf(bytes) })
    }

    /// The same for bytes that are checked in another way when they are read.
    pub fn write_unchecked(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let written = self.medium.write(&path, bytes);
        written.map_err(|error| StoreError::io("write", path, error))
    }

    /// Makes what was written into these directories safe.
    pub fn sync<'a>(&self, dirs: impl IntoIterator<Item = &'a str>) -> Result<(), StoreError> {
        for dir in dirs {
            let path = self.path(dir);
            self.medium.sync_dir(&path).map_err(|error| StoreError::io("write", path, error))?;
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
        // Earlier programs wrote BLAKE2b, which takes seven times as long as BLAKE3.
        if leaf(&bytes) != file.digest && *Blake2b::hash(&[&bytes]).as_bytes() != file.digest {
            return damaged("its checksum is another one".into());
        }
        Ok(bytes)
    }

    /// Removes files that nothing refers to any more. One that stays costs nothing but room, and is
    /// tried again at the next start.
    pub fn remove(&self, names: &[String]) {
        for name in names {
            let path = self.path(name);
            if let Err(error) = self.medium.remove(&path) {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "a file that is no longer needed stays");
                }
            }
        }
    }

    /// Removes what is left of this store's own writes and removals that were cut off: what it knows that
    /// it no longer needs, and what it may have written for the current round, given by its tag. Files that
    /// it has not written, as far as it knows, stay: they may be another store's only copies.
    pub fn sweep(
        &self,
        referred: &BTreeSet<String>,
        dropped: &BTreeSet<String>,
        tag: Option<&str>,
    ) -> Result<(), StoreError> {
        let unreferred = self.ours()?.into_iter().filter(|name| !referred.contains(name));
        let (left, unknown): (Vec<_>, Vec<_>) = unreferred.partition(|name| {
            dropped.contains(name) || tag.is_some_and(|tag| is_of_round(name, tag))
        });
        self.remove(&left);
        if let Some(first) = unknown.first() {
            tracing::warn!(
                files = unknown.len(),
                first,
                directory = %self.dir.display(),
                "there are files that this store has not written: they stay"
            );
        }
        Ok(())
    }
}

/// Whether a file is of the round with this tag.
fn is_of_round(name: &str, tag: &str) -> bool {
    name.strip_suffix(tag).is_some_and(|rest| rest.ends_with(['/', '-']))
}

/// Whether a file has a name such as this program gives: `7_SEED` is the model of a round (of v2: `7_CONTEXT`),
/// `mask-12-7_SEED` a part of it; earlier versions left the round away.
fn is_ours(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let is_seed = |text: &str| text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
    let is_round = |text: &str| {
        text.split_once('_').is_some_and(|(round, seed)| is_number(round) && is_seed(seed))
    };
    match name.split_once('-') {
        Some(("aggregate" | "mask" | "chunks", part)) => match part.split_once('-') {
            Some((number, round)) => is_number(number) && is_round(round),
            None => is_number(part),
        },
        Some(_) => false,
        None => is_round(name),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::medium::Disk, *};

    fn files(dir: &Path) -> Files {
        let path = dir.join("data");
        Files::create(&path, Owner::Us, Arc::new(Disk)).unwrap()
    }

    #[test]
    fn only_what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
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
    fn checksums_of_earlier_programs_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let mut file = files.write("round/mask-3".into(), b"what was written").unwrap();
        let now =
            std::mem::replace(&mut file.digest, *Blake2b::hash(&[b"what was written"]).as_bytes());
        assert_ne!(now, file.digest);
        assert_eq!(files.read(&file).unwrap(), b"what was written");
        file.digest[0] ^= 1;
        assert!(files.read(&file).is_err());
    }

    /// An orphan is perhaps all that somebody has left.
    #[test]
    fn own_leftovers_are_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let round = |number: u64, seed: &str| format!("{number}_{}", seed.repeat(32));
        let (tag, other) = (round(3, "ab"), round(3, "cd"));
        let swept = [
            "round/aggregate-1".to_owned(),
            format!("models/{}", round(1, "ef")),
            format!("round/mask-7-{tag}"),
            format!("models/{tag}"),
        ];
        let kept = [
            format!("round/aggregate-8-{tag}"),
            "round/aggregate-2".to_owned(),
            format!("round/mask-8-{other}"),
            format!("models/{other}"),
            format!("models/{}", round(13, "ab")),
            "round/notes.txt".to_owned(),
            "models/3_ab".to_owned(),
            "round/mask-x".to_owned(),
        ];
        for name in swept.iter().chain(&kept) {
            fs::write(files.path(name), b"x").unwrap();
        }
        let dropped = BTreeSet::from([swept[0].clone(), swept[1].clone()]);
        files.sweep(&BTreeSet::from([kept[0].clone()]), &dropped, Some(&tag)).unwrap();
        for name in &swept {
            assert!(!files.path(name).exists(), "{name}");
        }
        for name in &kept {
            assert!(files.path(name).exists(), "{name}");
        }
    }
}
