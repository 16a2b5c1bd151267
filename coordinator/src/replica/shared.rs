//! The engine, and what it is given sealed.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use pet_ledger::{Epoch, Ledger, LedgerError, PartName, Parts, Pending, Place, Vault};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{
    archive::Archive,
    item::PartRef,
    tiers::{self, Tiers},
    SharedError,
};
use crate::{
    process::{fill_random, spawn_blocking},
    status::Load,
};

/// How an engine is reached.
type Connect = dyn Fn() -> Pending<'static, Engine> + Send + Sync;

/// An engine that was reached.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    ledger: Arc<dyn Ledger>,
    parts: Arc<dyn Parts>,
    /// Whether large parts are elsewhere.
    is_divided: bool,
    /// Where global models are kept for others.
    archive: Option<Arc<dyn Archive>>,
}

impl Engine {
    /// All in one place.
    pub async fn undivided(
        ledger: Arc<dyn Ledger>,
        parts: Arc<dyn Parts>,
    ) -> Result<Self, LedgerError> {
        tiers::check_undivided(&*parts).await?;
        Ok(Self { ledger, parts, is_divided: false, archive: None })
    }

    /// Large parts are elsewhere, and so are perhaps copies of global models.
    pub async fn divided(
        ledger: Arc<dyn Ledger>,
        near: Arc<dyn Parts>,
        far: Arc<dyn Parts>,
        archive: Option<Arc<dyn Archive>>,
    ) -> Result<Self, LedgerError> {
        let parts = Arc::new(Tiers::connect(near, far).await?);
        Ok(Self { ledger, parts, is_divided: true, archive })
    }
}

/// What several coordinators share: an engine, and the secret that all in it is sealed with but the global models, which
/// are public. Clones share the connections.
#[derive(Clone)]
pub struct SharedStore {
    connect: Arc<Connect>,
    federation: Arc<str>,
    secret: Arc<Zeroizing<Vec<u8>>>,
    /// Once the engine was reached.
    opened: Arc<OnceCell<Shared>>,
    /// What is read and written is counted here.
    load: Arc<Load>,
}

/// Shows no secret.
impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").field("federation", &self.federation).finish_non_exhaustive()
    }
}

impl SharedStore {
    /// The federation of this name in an engine. Nothing is asked of it yet.
    ///
    /// # Errors
    /// If there is no secret.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        parts: Arc<dyn Parts>,
        federation: &str,
        secret: Option<&[u8]>,
    ) -> Result<Self, SharedError> {
        let connect = move || -> Pending<'static, _> {
            Box::pin(Engine::undivided(Arc::clone(&ledger), Arc::clone(&parts)))
        };
        Self::connecting(Arc::new(connect), federation, secret)
    }

    /// The same, with large parts elsewhere: in `far`.
    ///
    /// # Errors
    /// If there is no secret.
    pub fn divided(
        ledger: Arc<dyn Ledger>,
        [near, far]: [Arc<dyn Parts>; 2],
        federation: &str,
        secret: Option<&[u8]>,
    ) -> Result<Self, SharedError> {
        let connect = move || -> Pending<'static, _> {
            let (ledger, near, far) = (Arc::clone(&ledger), Arc::clone(&near), Arc::clone(&far));
            Box::pin(Engine::divided(ledger, near, far, None))
        };
        Self::connecting(Arc::new(connect), federation, secret)
    }

    pub(super) fn connecting(
        connect: Arc<Connect>,
        federation: &str,
        secret: Option<&[u8]>,
    ) -> Result<Self, SharedError> {
        let secret = secret.ok_or(SharedError::NeedsSecret)?;
        Ok(Self {
            connect,
            federation: federation.into(),
            secret: Arc::new(Zeroizing::new(secret.to_vec())),
            opened: Arc::default(),
            load: Arc::default(),
        })
    }

    /// One that was opened before, for tests: its key is no secret.
    #[cfg(test)]
    pub(super) fn opened(ledger: Arc<dyn Ledger>, parts: Arc<dyn Parts>, vault: Vault) -> Self {
        let (federation, secret) = ("simulated", vec![0; pet_ledger::LEAST_SECRET]);
        let engine = Engine {
            ledger: Arc::clone(&ledger),
            parts: Arc::clone(&parts),
            is_divided: false,
            archive: None,
        };
        let shared = Shared { engine, vault, load: Arc::default() };
        let store = Self::new(ledger, parts, federation, Some(&secret)).expect("there is a secret");
        let load = Arc::clone(&shared.load);
        Self { load, opened: Arc::new(OnceCell::new_with(Some(shared))), ..store }
    }

    /// What this process reads and writes.
    pub(super) fn load(&self) -> Arc<Load> {
        Arc::clone(&self.load)
    }

    /// The federation's name.
    pub fn federation(&self) -> &str {
        &self.federation
    }

    /// The number of what the engine keeps of the federation: no other database has it.
    pub(crate) async fn number(&self) -> Result<[u8; 16], SharedError> {
        Ok(self.reach().await?.vault.number())
    }

    /// Reaches for the engine, and tries the secret on what is there.
    ///
    /// # Errors
    /// If it cannot be used.
    pub async fn open(&self) -> Result<(), SharedError> {
        self.reach().await.map(|_| ())
    }

    /// The engine, once it can be reached.
    pub(super) async fn reach(&self) -> Result<&Shared, SharedError> {
        let open = || async {
            let engine = (self.connect)().await?;
            let mut random = [0; 32];
            fill_random(&mut random).map_err(SharedError::Randomness)?;
            let vault = Vault::open(&*engine.ledger, &self.federation, &self.secret, &random);
            let vault = vault.await?;
            Ok(Shared { engine, vault, load: self.load() })
        };
        self.opened.get_or_try_init(open).await
    }
}

/// An engine that was reached, and what it is given sealed.
#[derive(Clone)]
pub(super) struct Shared {
    engine: Engine,
    vault: Vault,
    load: Arc<Load>,
}

/// The kind of a part that is a global model: these are not sealed.
const MODEL: &str = "model";

impl Shared {
    pub fn ledger(&self) -> &dyn Ledger {
        &*self.engine.ledger
    }

    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Where global models are kept for others, if anywhere.
    pub fn models_archive(&self) -> Option<&dyn Archive> {
        self.engine.archive.as_deref()
    }

    /// What this process reads and writes.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Stores large bytes under a new name.
    pub async fn put(&self, kind: &str, bytes: Bytes) -> Result<PartRef, SharedError> {
        let mut id = [0; 16];
        fill_random(&mut id).map_err(SharedError::Randomness)?;
        tiers::place(&mut id, if self.engine.is_divided { bytes.len() } else { 0 });
        // The kinds are written here.
        let name = PartName::new(kind, id).map_err(|_| SharedError::Malformed("a part's kind"))?;
        self.put_as(name, bytes).await
    }

    /// Stores large bytes under this name. If they are there already, nothing changes.
    pub async fn put_as(&self, name: PartName, bytes: Bytes) -> Result<PartRef, SharedError> {
        let vault = self.vault.clone();
        let closing = move || {
            let part = PartRef::new(name, &bytes);
            let stored = match part.name.kind() {
                MODEL => bytes,
                _ => vault.close(Place::Part(&part.name), &bytes),
            };
            (part, stored)
        };
        let (part, stored) = aside(closing).await?;
        // The same bytes under the same name: it may be tried again.
        let mut tries = 0;
        loop {
            match self.engine.parts.put(part.name.clone(), stored.clone()).await {
                Ok(()) => {
                    self.load.wrote(stored.len());
                    return Ok(part);
                }
                Err(error) if error.is_unknown() && tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what an entry names.
    pub async fn get(&self, part: &PartRef) -> Result<Bytes, SharedError> {
        let lost = || SharedError::PartLost { name: part.name.clone() };
        let stored = match self.engine.parts.get(&part.name).await {
            Ok(stored) => stored.ok_or_else(lost)?,
            Err(LedgerError::Damaged { .. }) => return Err(lost()),
            Err(error) => return Err(error.into()),
        };
        self.load.read(stored.len());
        let (vault, wanted) = (self.vault.clone(), part.clone());
        let opening = move || {
            let bytes = match wanted.name.kind() {
                MODEL => stored,
                _ => {
                    let mut opened = vault.open_at(Place::Part(&wanted.name), &stored).ok()?;
                    Bytes::from(std::mem::take(&mut *opened))
                }
            };
            wanted.is_of(&bytes).then_some(bytes)
        };
        aside(opening).await?.ok_or_else(lost)
    }

    /// Reads what is there under this name; nothing if it is not there, or damaged. It must be sealed.
    pub async fn get_as(&self, name: &PartName) -> Result<Option<Bytes>, SharedError> {
        let stored = match self.engine.parts.get(name).await {
            Ok(Some(stored)) => stored,
            Ok(None) | Err(LedgerError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.load.read(stored.len());
        let (vault, name) = (self.vault.clone(), name.clone());
        let opening = move || {
            let mut opened = vault.open_at(Place::Part(&name), &stored).ok()?;
            Some(Bytes::from(std::mem::take(&mut *opened)))
        };
        aside(opening).await
    }

    /// Removes parts that nothing refers to any more. One that stays costs nothing but room, until it is swept.
    pub async fn remove(&self, names: Vec<PartName>) {
        if names.is_empty() {
            return;
        }
        if let Err(error) = self.engine.parts.remove(&names).await {
            tracing::debug!(%error, parts = names.len(), "parts that are no longer needed stay for now");
        }
    }
}

impl Shared {
    /// Removes parts of this age that are not needed, if it is still this epoch: whoever leads in a later one needs others.
    pub async fn remove_orphans(&self, epoch: Epoch, needed: &BTreeSet<PartName>, age: Duration) {
        let listed = async {
            let parts = self.engine.parts.list().await?;
            // Only now: this process may have stood still since it knew what is needed.
            let is_ours = self.ledger().head().await?.epoch == epoch;
            Ok::<_, LedgerError>(if is_ours { parts } else { Vec::new() })
        };
        match listed.await {
            Ok(parts) => {
                let orphans = parts.into_iter().filter(|part| part.age >= age);
                let names = orphans.map(|part| part.name).filter(|name| !needed.contains(name));
                self.remove(names.collect()).await;
            }
            Err(error) => {
                tracing::debug!(%error, "parts that are no longer needed are not looked for now");
            }
        }
    }
}

/// How often a part is written again whose fate is unknown.
const TRIES: usize = 3;

/// Does what takes as long as a model is large where nobody waits for the thread.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SharedError> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| SharedError::Panicked(error.to_string()))
}
