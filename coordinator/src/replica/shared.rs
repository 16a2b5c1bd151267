//! The engine, and what it is given sealed.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use pet_ledger::{Epoch, Ledger, LedgerError, PartName, Parts, Pending, Place, Vault};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{item::PartRef, SharedError};

/// How an engine is reached.
type Connect = dyn Fn() -> Pending<'static, (Arc<dyn Ledger>, Arc<dyn Parts>)> + Send + Sync;

/// What several coordinators share: an engine, and the secret that all in it is sealed with but the global models, which
/// are public. Clones share the connections.
#[derive(Clone)]
pub struct SharedStore {
    connect: Arc<Connect>,
    federation: Arc<str>,
    secret: Arc<Zeroizing<Vec<u8>>>,
    /// Once the engine was reached.
    opened: Arc<OnceCell<Shared>>,
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
            let connected = (Arc::clone(&ledger), Arc::clone(&parts));
            Box::pin(async { Ok(connected) })
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
        })
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
            let (ledger, parts) = (self.connect)().await?;
            let mut random = [0; 32];
            getrandom::fill(&mut random).map_err(SharedError::Randomness)?;
            let vault = Vault::open(&*ledger, &self.federation, &self.secret, &random).await?;
            Ok(Shared { ledger, parts, vault })
        };
        self.opened.get_or_try_init(open).await
    }
}

/// An engine that was reached, and what it is given sealed.
#[derive(Clone)]
pub(super) struct Shared {
    ledger: Arc<dyn Ledger>,
    parts: Arc<dyn Parts>,
    vault: Vault,
}

/// The kind of a part that is a global model: these are not sealed.
const MODEL: &str = "model";

impl Shared {
    pub fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }

    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Stores large bytes under a new name.
    pub async fn put(&self, kind: &str, bytes: Bytes) -> Result<PartRef, SharedError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(SharedError::Randomness)?;
        // The kinds are written here.
        let name = PartName::new(kind, id).map_err(|_| SharedError::Malformed("a part's kind"))?;
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
            match self.parts.put(part.name.clone(), stored.clone()).await {
                Ok(()) => return Ok(part),
                Err(error) if error.is_unknown() && tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what an entry names.
    pub async fn get(&self, part: &PartRef) -> Result<Bytes, SharedError> {
        let lost = || SharedError::PartLost { name: part.name.clone() };
        let stored = match self.parts.get(&part.name).await {
            Ok(stored) => stored.ok_or_else(lost)?,
            Err(LedgerError::Damaged { .. }) => return Err(lost()),
            Err(error) => return Err(error.into()),
        };
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

    /// Removes parts that nothing refers to any more. One that stays costs nothing but room, until it is swept.
    pub async fn remove(&self, names: Vec<PartName>) {
        if names.is_empty() {
            return;
        }
        if let Err(error) = self.parts.remove(&names).await {
            tracing::debug!(%error, parts = names.len(), "parts that are no longer needed stay for now");
        }
    }
}

impl Shared {
    /// Removes parts of this age that are not needed, if it is still this epoch: whoever leads in a later one needs others.
    pub async fn remove_orphans(&self, epoch: Epoch, needed: &BTreeSet<PartName>, age: Duration) {
        let listed = async {
            let parts = self.parts.list().await?;
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
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SharedError::Panicked(error.to_string()))
}
