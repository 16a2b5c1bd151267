//! Opening a store: locked, checked, begun if it is new, brought up to this version if it is not.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    sync::Arc,
};

use pet_core::crypto::RootSeed;
use redb::{Database as Redb, DatabaseError, ReadableTable};
use tracing::info;

use super::{broken_by, number, Database, DROPPED, FILES, LOG, META, MODEL_FILES, PARTS};
use crate::{
    private::Owner,
    store::{
        disk::{
            files::{Files, DATABASE},
            medium::{Backend, Medium},
            migrate::seal_anew,
            panic_text,
            vault::{Closed, Header, Place, Vault},
        },
        StoreError,
    },
};

/// From the second on what is sealed is bound to its place; from the third on checksums of files are BLAKE3, which a program that
/// knows the second alone would take for damage. Earlier ones are read, and brought up to it.
const VERSION: u64 = 3;
/// How much of the database is kept in memory at most. What is written is read again only at a start, so
/// that this hardly matters for speed; by default it would be a gibibyte.
const CACHE: usize = 64 << 20;

impl Database {
    /// Opens the store in a directory, and nothing in it yet.
    pub fn open(
        dir: &Path,
        vault: Vault,
        models_kept: usize,
        owner: Owner,
        medium: Arc<dyn Medium>,
    ) -> Result<Self, StoreError> {
        let files = Files::create(dir, owner, Arc::clone(&medium))?;
        let lock = lock(dir)?;
        let path = dir.join(DATABASE);
        // A new one has its name only once it is complete.
        let unfinished = path.with_extension("redb.new");
        let is_new = fs::metadata(&path).map_or(true, |data| data.len() == 0);
        if is_new {
            refuse_orphans(&files, &path)?;
            match medium.remove(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", unfinished, error));
                }
                _ => {}
            }
        }
        let place = if is_new { &unfinished } else { &path };
        let file = medium.open(place).map_err(|error| StoreError::io("open", place, error))?;
        // The library panics over some damages.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut builder = Redb::builder();
            // A file altered behind our back is found out now, not in the middle of a round.
            builder.set_check_integrity_on_open(true).set_cache_size(CACHE);
            builder.create_with_backend(Backend(file))
        }));
        let redb = match opened {
            Ok(Ok(redb)) => redb,
            Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(StoreError::InUse { path }),
            Ok(Err(error)) => return Err(broken("open", &path, error)),
            Err(panic) => return Err(StoreError::Damaged { path, problem: panic_text(&*panic) }),
        };
        Ok(Self {
            redb,
            _lock: lock,
            unfinished: is_new.then_some(unfinished),
            medium,
            path,
            files,
            vault,
            models_kept: models_kept.max(1),
            next: 1,
            chunks: BTreeMap::new(),
            aggregate: None,
            parts: BTreeMap::new(),
            models: BTreeMap::new(),
            tag: None,
            removed: Vec::new(),
        })
    }

    /// Begins with `root` if nothing was begun, and sees that this program can read what there is.
    pub(super) fn begin(&mut self, root: &RootSeed) -> Result<(), StoreError> {
        let transaction = self.write()?;
        let path = self.path.clone();
        let error = |error| broken_by("write", &path, error);
        {
            let mut meta = transaction.open_table(META).map_err(|e| error(e.into()))?;
            for table in [LOG, PARTS] {
                transaction.open_table(table).map_err(|e| error(e.into()))?;
            }
            for table in [FILES, MODEL_FILES] {
                transaction.open_table(table).map_err(|e| error(e.into()))?;
            }
            transaction.open_table(DROPPED).map_err(|e| error(e.into()))?;
            let mut stored = BTreeMap::new();
            for name in ["version", "sealing", "root"] {
                let value = meta.get(name).map_err(|e| error(e.into()))?;
                stored.extend(value.map(|value| (name, value.value().to_vec())));
            }
            let (mut new, mut is_earlier) = (Vec::new(), false);
            match stored.get("version").map(|version| number(version)) {
                Some(found @ (2 | VERSION)) => {
                    if let Some(header) = stored.get("sealing") {
                        let header = Header::from_bytes(header);
                        let header = header
                            .ok_or_else(|| self.damaged("how it is sealed cannot be read"))?;
                        self.vault.unlock(&header)?;
                    }
                    if found != VERSION {
                        // Nothing is changed without the secret. (Files keep the checksums that they have, which are read as well.)
                        let root =
                            stored.get("root").map(|root| self.vault.open(Place::Root, root));
                        let root = root.ok_or_else(|| self.damaged("there is no root seed"))?;
                        root.map_err(|closed| self.closed(closed))?;
                        is_earlier = true;
                    }
                }
                Some(1) => {
                    let root = stored.get("root").map(|root| self.vault.open_first(root));
                    let root = root.ok_or_else(|| self.damaged("there is no root seed"))?;
                    let root = root.map_err(|closed| self.closed(closed))?;
                    if self.vault.has_secret() {
                        new.push(("sealing", self.begin_to_seal()?));
                        seal_anew(&transaction, &self.vault, &self.files, &path)?;
                    }
                    new.push(("root", self.vault.close(Place::Root, &root)));
                    is_earlier = true;
                }
                Some(found) => return Err(StoreError::Version { path, found, known: VERSION }),
                None => {
                    // These are of another root.
                    refuse_orphans(&self.files, &path)?;
                    if self.vault.has_secret() {
                        new.push(("sealing", self.begin_to_seal()?));
                    }
                    new.push(("root", self.vault.close(Place::Root, root.as_bytes())));
                }
            }
            if is_earlier {
                info!(version = VERSION, "the store is brought up to this version");
            }
            if is_earlier || !new.is_empty() {
                new.push(("version", VERSION.to_le_bytes().to_vec()));
            }
            for (name, value) in new {
                meta.insert(name, &value[..]).map_err(|e| error(e.into()))?;
            }
        }
        transaction.commit().map_err(|e| error(e.into()))?;
        if let Some(unfinished) = self.unfinished.take() {
            let renamed = self.medium.rename(&unfinished, &self.path);
            renamed.map_err(|error| StoreError::io("write", &self.path, error))?;
        }
        // Only now is it sure to be found again.
        self.files.sync(["."])
    }

    /// Has the vault seal with a new key; gives what is to be stored about it.
    fn begin_to_seal(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|e| {
            StoreError::io("make a key for", &self.path, io::Error::other(e.to_string()))
        })?;
        let header = Header::new(&random);
        self.vault.unlock(&header)?;
        Ok(header.to_bytes())
    }

    pub(super) fn closed(&self, closed: Closed) -> StoreError {
        let path = self.path.clone();
        match closed {
            Closed::NeedsSecret => StoreError::NeedsSecret { path },
            Closed::NotSealed => StoreError::NotSealed { path },
            Closed::DoesNotOpen => StoreError::WrongSecret { path },
        }
    }
}

/// Keeps others out of a directory, as long as it is open: the database's own lock does so only once there is
/// one.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let file = File::open(dir).map_err(|error| StoreError::io("open", dir, error))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.to_owned() }),
        // Not all file systems can lock directories.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// A store's files without its database: whoever has lost that does not want to lose these as well.
fn refuse_orphans(files: &Files, path: &Path) -> Result<(), StoreError> {
    let mut orphans = files.ours()?;
    if orphans.is_empty() {
        return Ok(());
    }
    let (path, count) = (path.to_owned(), orphans.len());
    Err(StoreError::Orphans { path, count, first: orphans.swap_remove(0) })
}

fn broken(action: &'static str, path: &Path, error: DatabaseError) -> StoreError {
    broken_by(action, path, error.into())
}
