//! A backup as a file: a coordinator's last round and its global models, without any secret.
//!
//! What is restored goes on with new keys, so that a backup needs none. It is sealed nevertheless, if there is a secret: nobody who
//! can write it can slip in another model.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use pet_core::{
    coordinator::{EndedRound, GlobalModel},
    crypto::{Blake2b, SealingKey, Stretching},
    round::RoundParameters,
};
use pet_ledger::LEAST_SECRET;
use thiserror::Error;

use crate::{
    private,
    store::{Models, StoreError},
};

/// How a backup begins; the digit is its version.
const MAGIC: &[u8; 16] = b"pet backup 1\n\0\0\0";
const PLAIN: u8 = 0;
const SEALED: u8 = 1;
/// The most that is read at once: as much as a part may have.
const MOST: u64 = 1 << 30;
/// The most models.
const MOST_MODELS: u64 = 1 << 20;
const DIGEST: usize = 32;

/// Why a backup cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The operating system reports an error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no backup, or one of a newer release", path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
    },
    /// It is not what was written, or the secret is another one.
    #[error("{} is damaged, or was sealed with another secret ({what} does not open): take another backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What of it.
        what: String,
    },
    /// It is sealed, and there is no secret; or the other way round.
    #[error("{} {}", path.display(), if *sealed {
        "is sealed: give the secret that it was made with"
    } else {
        "is not sealed, so that anybody may have changed it: if you trust it, restore it without a secret"
    })]
    Secret {
        /// The file.
        path: PathBuf,
        /// Whether it is sealed.
        sealed: bool,
    },
    /// The secret is too short.
    #[error("the secret of the backup has {length} bytes, and at least {LEAST_SECRET} are needed: take one of random bytes, such as `openssl rand -hex 32` gives")]
    ShortSecret {
        /// How long it is.
        length: usize,
    },
    /// There is no memory for the key.
    #[error("the key cannot be made of the secret: it takes {0} bytes of memory for a moment")]
    Stretching(u64),
    /// There is no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// Seals pieces, or writes how long and what they are.
enum Seal {
    Plain,
    Sealed { key: SealingKey, number: [u8; 16] },
}

impl Seal {
    fn with(secret: &[u8], random: &[u8; 32]) -> Result<Self, BackupError> {
        if secret.len() < LEAST_SECRET {
            return Err(BackupError::ShortSecret { length: secret.len() });
        }
        let (salt, number) = random.split_at(16);
        let salt = salt.try_into().expect("16 of 32 bytes");
        let mut stretching = Stretching::interactive(salt);
        if cfg!(test) {
            stretching.memory = 1 << 20;
        }
        let key = stretching.key(secret).map_err(|_| BackupError::Stretching(stretching.memory))?;
        let number = number.try_into().expect("16 of 32 bytes");
        Ok(Self::Sealed { key: key.sealing("a coordinator's backup"), number })
    }

    /// Bound to the backup, and to its place in it.
    fn close(&self, index: u64, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => {
                [Blake2b::hash(&[&index.to_le_bytes(), bytes]).as_bytes(), bytes].concat()
            }
            Self::Sealed { key, number } => {
                key.seal(&[&number[..], &index.to_le_bytes()].concat(), bytes)
            }
        }
    }

    fn open(&self, index: u64, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Plain => {
                let (digest, bytes) = bytes.split_at_checked(DIGEST)?;
                let is_right =
                    Blake2b::hash(&[&index.to_le_bytes(), bytes]).as_bytes()[..] == *digest;
                is_right.then(|| bytes.to_vec())
            }
            Self::Sealed { key, number } => {
                key.open(&[&number[..], &index.to_le_bytes()].concat(), bytes).ok()
            }
        }
    }
}

/// A backup that is being written. It has its name once it is complete and was read.
pub struct BackupWriter {
    to: PathBuf,
    unfinished: PathBuf,
    file: File,
    seal: Seal,
    round: EndedRound,
    models: Vec<u64>,
}

impl BackupWriter {
    /// A new one, of a coordinator whose last round is known; sealed, if there is a secret.
    ///
    /// # Errors
    /// If there is something of that name already, or it cannot be written.
    pub fn create(
        to: &Path,
        round: EndedRound,
        secret: Option<&[u8]>,
    ) -> Result<Self, BackupError> {
        let failed =
            |action, path: &Path, source| BackupError::Io { action, path: path.to_owned(), source };
        if to.exists() {
            let there = io::Error::new(io::ErrorKind::AlreadyExists, "there is something already");
            return Err(failed("write", to, there));
        }
        let mut unfinished = to.as_os_str().to_owned();
        unfinished.push(format!(".{}.part", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(BackupError::Randomness)?;
        let (flag, seal) = match secret {
            None => (PLAIN, Seal::Plain),
            Some(secret) => (SEALED, Seal::with(secret, &random)?),
        };
        let file = private::anew(&unfinished);
        let mut file = file.map_err(|error| failed("write", &unfinished, error))?;
        let begun = file.write_all(&[&MAGIC[..], &[flag], &random].concat());
        begun.map_err(|error| failed("write", &unfinished, error))?;
        Ok(Self { to: to.to_owned(), unfinished, file, seal, round, models: Vec::new() })
    }

    /// Adds a global model, in order of rounds.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, model: &GlobalModel) -> Result<(), BackupError> {
        self.models.push(model.round_id);
        self.piece(self.models.len() as u64, &model.to_bytes())
    }

    fn piece(&mut self, index: u64, bytes: &[u8]) -> Result<(), BackupError> {
        let closed = self.seal.close(index, bytes);
        let written = self.file.write_all(&(closed.len() as u64).to_le_bytes());
        let written = written.and_then(|()| self.file.write_all(&closed));
        written.map_err(|source| BackupError::Io {
            action: "write",
            path: self.unfinished.clone(),
            source,
        })
    }

    /// Ends it, reads it again, and gives it its name.
    ///
    /// # Errors
    /// If it cannot be written, or is not what was written.
    pub fn finish(mut self, secret: Option<&[u8]>) -> Result<(), BackupError> {
        let parameters = self.round.parameters.to_bytes();
        let mut index = self.round.round_id.to_le_bytes().to_vec();
        index.extend((parameters.len() as u64).to_le_bytes());
        index.extend(&parameters[..]);
        index.extend(self.models.iter().flat_map(|round_id| round_id.to_le_bytes()));
        // The last piece, which tells that it is complete.
        self.piece(0, &index)?;
        let failed = |action, source| BackupError::Io { action, path: self.to.clone(), source };
        self.file.sync_all().map_err(|error| failed("write", error))?;
        drop(Backup::open(&self.unfinished, secret)?);
        let renamed = std::fs::rename(&self.unfinished, &self.to).and_then(|()| {
            match std::path::absolute(&self.to)?.parent() {
                Some(parent) => private::sync_dir(parent),
                None => Ok(()),
            }
        });
        renamed.map_err(|error| failed("write", error))
    }
}

/// Whatever is not finished is of no use.
impl Drop for BackupWriter {
    fn drop(&mut self) {
        // It may have its name by now.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

/// A backup that was read, all of it.
pub struct Backup {
    path: PathBuf,
    seal: Seal,
    /// The last round.
    pub round: EndedRound,
    /// Where the models are: index, begin, length.
    models: BTreeMap<u64, (u64, u64, u64)>,
}

/// Shows no model.
impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Backup {
    /// Opens a backup and reads all of it.
    ///
    /// # Errors
    /// If it is not as it was written, or not sealed with this secret.
    pub fn open(path: &Path, secret: Option<&[u8]>) -> Result<Self, BackupError> {
        let not_one = || BackupError::NotOne { path: path.to_owned() };
        let mut file = File::open(path).map_err(|source| read_failed(path, source))?;
        let mut head = [0; MAGIC.len() + 33];
        file.read_exact(&mut head).map_err(|_| not_one())?;
        let (magic, rest) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(not_one());
        }
        let random: &[u8; 32] = rest[1..].try_into().expect("32 bytes");
        let seal = match (rest[0], secret) {
            (PLAIN, None) => Seal::Plain,
            (SEALED, Some(secret)) => Seal::with(secret, random)?,
            (PLAIN, Some(_)) => {
                return Err(BackupError::Secret { path: path.to_owned(), sealed: false })
            }
            (SEALED, None) => {
                return Err(BackupError::Secret { path: path.to_owned(), sealed: true })
            }
            _ => return Err(not_one()),
        };
        let end = file.metadata().map_err(|source| read_failed(path, source))?.len();
        let mut pieces = Vec::new();
        let mut at = head.len() as u64;
        while at < end {
            let damaged = || damaged(path, "its end");
            let mut length = [0; 8];
            file.read_exact(&mut length).map_err(|_| damaged())?;
            let length = u64::from_le_bytes(length);
            let begin = at + 8;
            if length > MOST + (1 << 20)
                || length > end.saturating_sub(begin)
                || pieces.len() as u64 > MOST_MODELS
            {
                return Err(damaged());
            }
            pieces.push((begin, length));
            at = begin + length;
            file.seek(SeekFrom::Start(at)).map_err(|source| read_failed(path, source))?;
        }
        let last = pieces.pop().ok_or_else(|| damaged(path, "its end"))?;
        let index = read(path, &seal, 0, last)?;
        let (round, rounds) = read_index(&index).ok_or_else(|| damaged(path, "its index"))?;
        if rounds.len() != pieces.len() {
            return Err(damaged(path, "its index"));
        }
        let models = (1..).zip(pieces).zip(&rounds);
        let models =
            models.map(|((index, (begin, length)), round)| (*round, (index, begin, length)));
        let backup = Self { path: path.to_owned(), seal, round, models: models.collect() };
        for round_id in rounds {
            backup.model(round_id)?;
        }
        Ok(backup)
    }

    fn model(&self, round_id: u64) -> Result<Option<GlobalModel>, BackupError> {
        let Some((index, begin, length)) = self.models.get(&round_id).copied() else {
            return Ok(None);
        };
        let bytes = read(&self.path, &self.seal, index, (begin, length))?;
        let model = GlobalModel::from_bytes(&bytes).ok().filter(|model| model.round_id == round_id);
        model
            .map(Some)
            .ok_or_else(|| damaged(&self.path, &format!("the model of round {round_id}")))
    }
}

fn read_failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::Io { action: "read", path: path.to_owned(), source }
}

fn damaged(path: &Path, what: &str) -> BackupError {
    BackupError::Damaged { path: path.to_owned(), what: what.to_owned() }
}

fn read(
    path: &Path,
    seal: &Seal,
    index: u64,
    (begin, length): (u64, u64),
) -> Result<Vec<u8>, BackupError> {
    let bytes = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = bytes.map_err(|source| read_failed(path, source))?;
    let what =
        if index == 0 { "its index".to_owned() } else { format!("its model number {index}") };
    seal.open(index, &bytes).ok_or_else(|| damaged(path, &what))
}

fn read_index(bytes: &[u8]) -> Option<(EndedRound, Vec<u64>)> {
    let (round_id, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (parameters, rest) = rest.split_at_checked(length)?;
    let parameters = Arc::new(RoundParameters::from_bytes(parameters).ok()?);
    if rest.len() % 8 != 0 {
        return None;
    }
    let models =
        rest.chunks_exact(8).map(|eight| u64::from_le_bytes(eight.try_into().expect("8 bytes")));
    let (round_id, models) = (u64::from_le_bytes(*round_id), models.collect::<Vec<_>>());
    // There has to be a next round.
    let is_followed = round_id < u64::MAX && !models.contains(&u64::MAX);
    is_followed.then_some((EndedRound { round_id, parameters }, models))
}

impl Models for Backup {
    fn rounds(&self) -> Vec<u64> {
        self.models.keys().copied().collect()
    }

    fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError> {
        self.model(round_id).map_err(|error| StoreError::Damaged {
            path: self.path.clone(),
            problem: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use pet_core::crypto::{PublicEncryptKey, RoundSeed};
    use pet_core::model::Model;

    use super::*;
    use crate::settings::Settings;

    pub fn round(round_id: u64) -> EndedRound {
        let settings = Settings::for_model_length(10);
        let parameters = RoundParameters {
            pk: PublicEncryptKey::new([7; 32]),
            sum: 0.5,
            update: 0.5,
            seed: RoundSeed::new([3; 32]),
            mask_config: settings.mask.into(),
            model_length: 10,
        };
        EndedRound { round_id, parameters: Arc::new(parameters) }
    }

    pub fn model(round_id: u64) -> GlobalModel {
        GlobalModel {
            round_id,
            seed: RoundSeed::new([round_id as u8; 32]),
            models: 3,
            rationals: vec![round_id as u8; 280].into(),
            weights: Some(Arc::new(Model::F32(vec![0.5; 10]))),
            optimizer: None,
        }
    }

    const SECRET: &[u8] = b"a secret of the tests";

    fn written(path: &Path, secret: Option<&[u8]>) {
        let mut writer = BackupWriter::create(path, round(9), secret).unwrap();
        for round_id in [5, 8] {
            writer.add(&model(round_id)).unwrap();
        }
        writer.finish(secret).unwrap();
    }

    #[test]
    fn a_backup_comes_back_with_its_secret_only() {
        let dir = tempfile::tempdir().unwrap();
        for (name, secret) in [("plain", None), ("sealed", Some(SECRET))] {
            let path = dir.path().join(name);
            written(&path, secret);
            let backup = Backup::open(&path, secret).unwrap();
            assert_eq!((&backup.round, backup.rounds()), (&round(9), vec![5, 8]));
            assert_eq!(backup.load(8).unwrap(), Some(model(8)));
            assert_eq!(backup.load(6).unwrap(), None);
            let other = if secret.is_some() { None } else { Some(SECRET) };
            let error = Backup::open(&path, other).unwrap_err();
            assert!(matches!(error, BackupError::Secret { .. }), "{error}");
            // What is there is not written over.
            assert!(BackupWriter::create(&path, round(9), secret).is_err());
        }
        let error = Backup::open(&dir.path().join("sealed"), Some(b"another secret of the tests"))
            .unwrap_err();
        assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing unfinished is left");
    }

    /// The round was asked for first, and the models when it was over: its number may not be used again.
    #[test]
    fn the_next_round_comes_after_the_models_too() {
        let dir = tempfile::tempdir().unwrap();
        let (path, to) = (dir.path().join("backup"), dir.path().join("data"));
        let mut writer = BackupWriter::create(&path, round(7), None).unwrap();
        writer.add(&model(8)).unwrap();
        writer.finish(None).unwrap();
        // What a process of the same number has left is not gone on with.
        let left = dir.path().join(format!("data.{}.part", std::process::id()));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("left"), "over").unwrap();
        let backup = Backup::open(&path, None).unwrap();
        assert_eq!(crate::transfer::restore_directory(backup, &to, None, None).unwrap(), 8);
        assert!(!to.join("left").exists() && !left.exists());
        let backup = Backup::open(&path, None).unwrap();
        let other = dir.path().join("other");
        let none = crate::transfer::restore_directory(backup, &other, None, Some(u64::MAX));
        assert!(matches!(none, Err(crate::transfer::TransferError::LastRound)));
    }

    #[test]
    fn a_secret_that_can_be_guessed_seals_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for secret in [&b""[..], b"fifteen bytes.."] {
            let error = BackupWriter::create(&dir.path().join("backup"), round(9), Some(secret));
            let error = error.err().unwrap();
            assert!(matches!(error, BackupError::ShortSecret { .. }), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_backup_of_the_last_number_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (number, (of_round, of_model)) in [(u64::MAX, 5), (9, u64::MAX)].into_iter().enumerate()
        {
            let path = dir.path().join(number.to_string());
            let mut writer = BackupWriter::create(&path, round(of_round), None).unwrap();
            writer.add(&model(of_model)).unwrap();
            let error = writer.finish(None).unwrap_err();
            assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn a_damaged_backup_is_refused_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("backup"), dir.path().join("other"));
        written(&path, None);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            // (What comes after the flag, and is not sealed, means nothing.)
            if (MAGIC.len() + 1..MAGIC.len() + 33).contains(&at) {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&other, &bytes).unwrap();
            assert!(Backup::open(&other, None).is_err(), "byte {at}");
            std::fs::write(&other, &whole[..at]).unwrap();
            assert!(Backup::open(&other, None).is_err(), "only {at} bytes");
        }
    }
}
