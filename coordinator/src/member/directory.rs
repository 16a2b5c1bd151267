//! A member's data directory: its key, its state, and a lock.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use pet_core::{
    crypto::{PublicSigningKey, RootSeed, SigningKeyPair},
    v2::{
        member::{Member, RestoreError, Settings, Snapshot},
        Pin,
    },
};
use pet_transport_blocking::MemberStore;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    in_use,
    keys::{create_signing_key, read_signing_key, KeyFileError},
    private::{self, Audit, Owner},
};

/// The key file of a directory whose settings name no other.
const KEY: &str = "member.key";
/// The state.
const STATE: &str = "member.state";
/// A state that is being written: it has its name only once it is complete.
const UNFINISHED: &str = "member.state.new";
/// No state is as long as this.
const LONGEST_STATE: u64 = 64 << 10;

/// Why a member's data directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Something in it cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A process uses it.
    #[error(
        "the directory {} is in use: a member runs on it already; two with the same key would make each other's votes \
         worthless", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Others may read or change it.
    #[error("others may read or change {}: run `{command}`", path.display())]
    Open {
        /// What is too open.
        path: PathBuf,
        /// What mends it.
        command: String,
    },
    /// There is no key.
    #[error(
        "there is no key in {}: run `pet-coordinator member init` first, and have its public key put into the roster",
        path.display()
    )]
    NoKey {
        /// The key file.
        path: PathBuf,
    },
    /// The key cannot be read or made.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The state is not one.
    #[error(
        "the state in {} cannot be read: {source}; never put an old copy in its place: if there is no help, move the file \
         away, and the member begins anew with the next round", path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RestoreError,
    },
    /// The state is of another member.
    #[error(
        "the state in {} is of the member with the key {of}, and the key file has {key}: use the key file that belongs \
         to it, or another data directory", path.display()
    )]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// Whose state it is.
        of: PublicSigningKey,
        /// Whose key was given.
        key: PublicSigningKey,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// A data directory that this process alone uses, as long as this or a [store](Directory::store) of it lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    lock: Arc<File>,
}

impl Directory {
    /// Opens a directory, made for nobody else if it is not there.
    ///
    /// Waits for a second if a process uses it: not for the threads of an async runtime.
    ///
    /// # Errors
    /// [`DirectoryError::InUse`] if a process uses it, [`DirectoryError::Open`] if others may read or change it.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        private::create_dir(path).map_err(|source| failed("make", path, source))?;
        let file = File::open(path).map_err(|source| failed("open", path, source))?;
        let is_in_use = |error: &_| matches!(error, TryLockError::WouldBlock);
        match in_use::patiently(is_in_use, || file.try_lock()) {
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", path, source)),
            Ok(()) => {}
        }
        let mut audit = Audit::new(Owner::Us);
        audit.look_into(path).map_err(|source| failed("look at", path, source))?;
        if let Some((path, command)) = audit.finding() {
            return Err(DirectoryError::Open { path: path.to_owned(), command });
        }
        Ok(Self { path: path.to_owned(), lock: Arc::new(file) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key file that is used where the settings name no other.
    pub fn key_file(&self) -> PathBuf {
        self.path.join(KEY)
    }

    /// Makes a new key, in a file that is its owner's alone (mode 0600).
    ///
    /// # Errors
    /// If there is one already, or it cannot be written.
    pub fn create_key(&self) -> Result<SigningKeyPair, DirectoryError> {
        Ok(create_signing_key(&self.key_file())?)
    }

    /// Reads the key.
    ///
    /// # Errors
    /// [`DirectoryError::NoKey`] if there is none; if it cannot be read, or others may.
    pub fn key(&self, file: Option<&Path>) -> Result<SigningKeyPair, DirectoryError> {
        let path = file.map_or_else(|| self.key_file(), Path::to_owned);
        if file.is_none() && !path.exists() {
            return Err(DirectoryError::NoKey { path });
        }
        Ok(read_signing_key(&path)?)
    }

    /// The member as it was when its state was last stored; a new one if there is no state. Either takes part in rounds that
    /// are opened after this only: it may have a past that it does not know.
    ///
    /// # Errors
    /// If the state cannot be read, is damaged, or of another key.
    pub fn restore(
        &self,
        keys: SigningKeyPair,
        pin: Pin,
        settings: Settings,
    ) -> Result<Member, DirectoryError> {
        let path = self.path.join(STATE);
        let state = match read(&path) {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (root, boot) = (random_seed()?, random_seed()?);
                let new = Member::new(keys.clone(), root, boot, pin, settings.clone());
                let state = new.snapshot();
                self.write(&state).map_err(|source| failed("write", &path, source))?;
                state.to_bytes()
            }
            Err(source) => return Err(failed("read", &path, source)),
        };
        let member = Member::restore(&state, random_seed()?, settings)
            .map_err(|source| DirectoryError::State { path: path.clone(), source })?;
        let (of, key) = (member.keys().public(), keys.public());
        if of != key {
            return Err(DirectoryError::OtherKey { path, of, key });
        }
        Ok(member.with_pin(pin))
    }

    /// Whether there is a state.
    pub fn has_state(&self) -> bool {
        self.path.join(STATE).exists()
    }

    /// Where the member's states go. It keeps the directory locked.
    pub fn store(&self) -> impl MemberStore + 'static {
        let directory = Self { path: self.path.clone(), lock: Arc::clone(&self.lock) };
        move |state: &Snapshot| directory.write(state)
    }

    /// Puts a state in place of the one before, in one step, so that it is there after a loss of power.
    fn write(&self, state: &Snapshot) -> io::Result<()> {
        let (path, unfinished) = (self.path.join(STATE), self.path.join(UNFINISHED));
        let mut file = private::new_file().truncate(true).open(&unfinished)?;
        file.write_all(&state.to_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        private::sync_dir(&self.path)
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = fs::metadata(path)?.len();
    if length > LONGEST_STATE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a state"));
    }
    fs::read(path).map(Zeroizing::new)
}

fn random_seed() -> Result<RootSeed, DirectoryError> {
    RootSeed::try_fill(|seed| getrandom::fill(seed)).map_err(DirectoryError::Randomness)
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt,
        time::{Duration, Instant},
    };

    use pet_core::v2::RosterHash;

    use super::*;

    fn pin(byte: u8) -> Pin {
        Pin::new(RosterHash::new([byte; 32]), 3)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn key_and_state_are_their_owners_alone_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("member");
        let directory = Directory::open(&path).unwrap();
        assert!(matches!(directory.key(None), Err(DirectoryError::NoKey { .. })));
        let keys = directory.create_key().unwrap();
        assert_eq!(directory.key(None).unwrap(), keys);
        assert!(!directory.has_state());
        let member = directory.restore(keys.clone(), pin(1), Settings::default()).unwrap();
        assert!(directory.has_state());
        for name in [KEY, STATE] {
            assert_eq!(mode(&path.join(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&path), 0o700);
        let before = member.snapshot().to_bytes();
        // The pin is what the settings say now.
        let again = directory.restore(keys.clone(), pin(2), Settings::default()).unwrap();
        assert_eq!(*again.pin(), pin(2));
        assert_eq!(again.with_pin(pin(1)).snapshot().to_bytes(), before);
        assert!(directory.create_key().is_err(), "a key is never written over");
    }

    #[test]
    fn two_never_share_a_directory_and_a_store_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = &dir.path().join("member");
        let directory = Directory::open(path).unwrap();
        let in_use =
            |path: &Path| matches!(Directory::open(path), Err(DirectoryError::InUse { .. }));
        let began = Instant::now();
        assert!(in_use(path));
        // (For a moment a program that is just being started has it, with a copy of the lock.)
        assert!(began.elapsed() >= Duration::from_secs(1));
        let store = directory.store();
        drop(directory);
        assert!(in_use(path));
        drop(store);
        Directory::open(path).unwrap();
    }

    #[test]
    fn what_is_open_to_others_damaged_or_anothers_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("member");
        let directory = Directory::open(&path).unwrap();
        let keys = directory.create_key().unwrap();
        directory.restore(keys.clone(), pin(1), Settings::default()).unwrap();
        let other = create_signing_key(&dir.path().join("other.key")).unwrap();
        let refused = directory.restore(other, pin(1), Settings::default()).unwrap_err();
        assert!(matches!(refused, DirectoryError::OtherKey { .. }), "{refused}");
        let state = path.join(STATE);
        let whole = fs::read(&state).unwrap();
        for damaged in [&whole[..whole.len() - 1], b"", b"something else"] {
            fs::write(&state, damaged).unwrap();
            let refused = directory.restore(keys.clone(), pin(1), Settings::default()).unwrap_err();
            assert!(refused.to_string().contains("never put an old copy"), "{refused}");
        }
        drop(directory);
        fs::set_permissions(&state, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Directory::open(&path).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    /// A state that was half written when the power failed does not count.
    #[test]
    fn an_unfinished_state_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = &dir.path().join("member");
        let directory = Directory::open(path).unwrap();
        let keys = directory.create_key().unwrap();
        let member = directory.restore(keys.clone(), pin(1), Settings::default()).unwrap();
        private::new_file().open(path.join(UNFINISHED)).unwrap().write_all(b"PET").unwrap();
        let again = directory.restore(keys, pin(1), Settings::default()).unwrap();
        assert_eq!(again.snapshot().to_bytes(), member.snapshot().to_bytes());
        let mut store = directory.store();
        store.store(&again.snapshot()).unwrap();
        assert!(!path.join(UNFINISHED).exists());
    }
}
