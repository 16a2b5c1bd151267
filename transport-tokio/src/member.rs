//! The driver of a member of version 2.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pet_core::crypto::{PublicSigningKey, RootSeed, SigningKeyPair, SnapshotKey};
use pet_core::participant::TransportFault;
use pet_core::request::{CoordinatorUrl, RequestId, RequestLimits};
use pet_core::v2::member::{
    self as core, Event, Input, Output, PersistId, Reject, Settings, Snapshot, Status,
};
use pet_core::v2::Pin;
use pet_network::{Environment, Proxy};
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};

use crate::clock::Clock;
use crate::config::random_seed;
use crate::http::Client;
use crate::participant::{joined, run_on, sleep_until};
use crate::{Config, Error};

/// Where the coordinator is, and how the member behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemberConfig {
    /// The coordinator.
    pub url: CoordinatorUrl,
    /// What it accepts, and how often it asks.
    pub settings: Settings,
    /// What a single request must not exceed.
    pub limits: RequestLimits,
    /// How many parts of a job may run at the same time, on rayon's threads.
    pub threads: NonZeroUsize,
    /// The HTTP client to use, for instance one with certificates of its own; `None` for a new one. It must not follow
    /// redirects.
    pub client: Option<reqwest::Client>,
    /// The environment variables that name proxies and certificate authorities: those of curl and requests. It does not
    /// matter if a client is given.
    pub environment: Environment,
}

impl MemberConfig {
    /// A configuration with default settings, all cores for jobs, and the environment of this process.
    ///
    /// # Errors
    /// [`Error::Url`] if it is not an http or https URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        let Config { url, limits, threads, client, environment, .. } = Config::new(url)?;
        Ok(Self { url, settings: Settings::default(), limits, threads, client, environment })
    }

    fn network(&self) -> Config {
        let Self { url, limits, threads, client, environment, .. } = self.clone();
        Config { url, settings: Default::default(), limits, threads, client, environment }
    }
}

/// Where a member's states are kept.
///
/// It is dropped only after the last state is stored: as long as it holds a lock on the place, no second life begins
/// there with an older one.
pub trait MemberStore: Send + 'static {
    /// Stores a state in place of the one before; afterwards it is there even if the power fails. It is called on a
    /// thread that may block.
    ///
    /// # Errors
    /// If it is not stored: the member waits, and it is tried again.
    fn store(&mut self, state: &Snapshot) -> io::Result<()>;
}

impl<F: FnMut(&Snapshot) -> io::Result<()> + Send + 'static> MemberStore for F {
    fn store(&mut self, state: &Snapshot) -> io::Result<()> {
        self(state)
    }
}

/// A member that works while it is awaited. Dropping it ends its requests and jobs.
///
/// Everything that it must not forget is stored before its signature leaves. What it votes with is made anew at every
/// start, from the operating system's randomness.
pub struct Member {
    shared: Arc<Shared>,
    client: Client,
    threads: usize,
    store: Arc<Mutex<dyn MemberStore>>,
    /// A state that could not be stored: nothing goes on without it.
    unstored: Option<(PersistId, Snapshot)>,
    /// What is under way: it outlives the futures that have begun it.
    tasks: JoinSet<Done>,
    /// The tasks that are requests: nobody else tells the machine when one is lost, with a runtime that has ended.
    requests: HashMap<Id, RequestId>,
    /// States that are being stored, by task.
    states: HashMap<Id, (PersistId, Snapshot)>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// What a task has done.
enum Done {
    Input(Input),
    /// The state was not stored.
    NotStored(String),
}

#[derive(Debug)]
struct Shared {
    machine: Mutex<core::Member>,
    changed: Notify,
    clock: Clock,
    /// Seen by running jobs, without the lock.
    stopped: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, core::Member> {
        // No call of the machine panics, so the state behind a poisoned lock is whole.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl Member {
    /// A member without a state. Its first state is stored before anything else, and it takes part in rounds that are opened
    /// from now on: its key may have had a life before.
    ///
    /// # Errors
    /// [`Error::Randomness`] if the operating system gives no random bytes; [`Error::Store`] if the state cannot be stored;
    /// [`Error::Client`] if no HTTP client can be made.
    pub fn new(
        config: MemberConfig,
        keys: SigningKeyPair,
        pin: Pin,
        mut store: impl MemberStore,
    ) -> Result<Self, Error> {
        let (root, settings) = (random_seed()?, config.settings.clone());
        let new = core::Member::new(keys, root, boot_seed()?, pin, settings.clone()).snapshot();
        store.store(&new).map_err(|error| Error::Store(error.to_string()))?;
        // A key may have had a life before, whose state is lost: this one, too, only takes part in rounds that are opened from
        // now on.
        let machine = core::Member::restore(&new.to_bytes(), boot_seed()?, settings)?;
        Self::drive(machine, config, store)
    }

    /// Goes on from the last state that was stored, and never from an older one.
    ///
    /// # Errors
    /// [`Error::Restore`] if the bytes are no saved state; otherwise as [`Member::new`].
    pub fn restore(
        config: MemberConfig,
        state: &[u8],
        store: impl MemberStore,
    ) -> Result<Self, Error> {
        let machine = core::Member::restore(state, boot_seed()?, config.settings.clone())?;
        Self::drive(machine, config, store)
    }

    /// Like [`Member::restore`], from a sealed state.
    ///
    /// # Errors
    /// As [`Member::restore`], and if the key is another one.
    pub fn restore_sealed(
        config: MemberConfig,
        state: &[u8],
        key: &SnapshotKey,
        store: impl MemberStore,
    ) -> Result<Self, Error> {
        let settings = config.settings.clone();
        let machine = core::Member::restore_sealed(state, key, boot_seed()?, settings)?;
        Self::drive(machine, config, store)
    }

    /// Drives a machine that was made elsewhere.
    ///
    /// # Errors
    /// [`Error::Client`] if no HTTP client can be made.
    pub fn drive(
        machine: core::Member,
        config: MemberConfig,
        store: impl MemberStore,
    ) -> Result<Self, Error> {
        Ok(Self {
            shared: Arc::new(Shared {
                machine: Mutex::new(machine),
                changed: Notify::new(),
                clock: Clock::new(true),
                stopped: AtomicBool::new(false),
            }),
            client: Client::new(config.network())?,
            threads: config.threads.get(),
            store: Arc::new(Mutex::new(store)),
            unstored: None,
            tasks: JoinSet::new(),
            requests: HashMap::new(),
            states: HashMap::new(),
        })
    }

    /// The proxy through which the coordinator is asked, if there is one. (That of a client that was given is not known.)
    pub fn proxy(&self) -> Option<&Proxy> {
        self.client.proxy()
    }

    /// Makes a handle to this member, for other tasks and threads.
    pub fn handle(&self) -> MemberHandle {
        MemberHandle { shared: self.shared.clone() }
    }

    /// Works until there is an event. Cancel-safe. Must be awaited within a tokio runtime with time and IO enabled.
    ///
    /// # Errors
    /// [`Error::Store`] if the state cannot be stored: nothing has left that depends on it, and the next call tries again.
    /// [`Error::MemberStopped`] once the member was stopped.
    pub async fn next_event(&mut self) -> Result<Event, Error> {
        if let Some((id, state)) = self.unstored.take() {
            self.persist(id, state);
        }
        loop {
            let wake_at = match self.drain()? {
                Drained::Event(event) => return Ok(event),
                Drained::Idle(wake_at) => wake_at,
            };
            let input = tokio::select! {
                Some(finished) = self.tasks.join_next_with_id() => self.finished(finished)?,
                () = self.shared.changed.notified() => Input::Tick,
                () = sleep_until(wake_at.map(|at| self.shared.clock.instant(at))) => Input::Tick,
            };
            let now = self.shared.clock.now();
            // Any other rejection: the input came too late, nothing is wrong.
            if let Err(Reject::Stopped) = self.shared.lock().handle_input(now, input) {
                return Err(Error::MemberStopped);
            }
        }
    }

    fn finished(&mut self, finished: Result<(Id, Done), JoinError>) -> Result<Input, Error> {
        let id = match &finished {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let (request, state) = (self.requests.remove(&id), self.states.remove(&id));
        match (joined(finished), request, state) {
            (Some((_, Done::Input(input))), ..) => Ok(input),
            (Some((_, Done::NotStored(error))), _, state) => {
                self.unstored = state;
                Err(Error::Store(error))
            }
            (None, Some(id), _) => {
                let reason = "the runtime of the request has ended".into();
                Ok(Input::Fault { id, fault: TransportFault::Unreachable(reason) })
            }
            (None, None, Some(state)) => {
                self.unstored = Some(state);
                Err(Error::Store("the runtime that was to store it has ended".into()))
            }
            // The machine sees that its job is lost.
            (None, None, None) => Ok(Input::Tick),
        }
    }

    /// Has a state stored on a thread that may block.
    fn persist(&mut self, id: PersistId, state: Snapshot) {
        let (store, copy) = (self.store.clone(), state.clone());
        let task = self.tasks.spawn_blocking(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            match store.store(&copy) {
                Ok(()) => Done::Input(Input::Persisted(id)),
                Err(error) => Done::NotStored(error.to_string()),
            }
        });
        self.states.insert(task.id(), (id, state));
    }

    /// Does what the machine says until it is idle or has something to tell.
    fn drain(&mut self) -> Result<Drained, Error> {
        loop {
            let now = self.shared.clock.now();
            let mut machine = self.shared.lock();
            if machine.handle_input(now, Input::Tick).is_err() {
                return Err(Error::MemberStopped);
            }
            match machine.poll_output() {
                Output::Request { id, call } => {
                    let client = self.client.clone();
                    let task = self.tasks.spawn(async move {
                        Done::Input(match client.send(call).await {
                            Ok(response) => Input::Response { id, response },
                            Err(fault) => Input::Fault { id, fault },
                        })
                    });
                    self.requests.insert(task.id(), id);
                }
                Output::Job(job) => {
                    let (shared, threads) = (self.shared.clone(), self.threads);
                    self.tasks.spawn(async move {
                        let result = run_on(job, threads, move || shared.is_stopped()).await;
                        Done::Input(result.map_or(Input::Tick, Input::JobDone))
                    });
                }
                Output::Persist { id, snapshot } => {
                    drop(machine);
                    self.persist(id, snapshot);
                }
                Output::Event(event) => return Ok(Drained::Event(event)),
                Output::Idle(idle) => return Ok(Drained::Idle(idle.wake_at)),
                // An output of a newer core that this driver does not know.
                _ => {}
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Blocking threads cannot be aborted: they see this between two steps.
        self.handle().stop();
    }
}

enum Drained {
    Event(Event),
    /// Nothing is due before this time.
    Idle(Option<pet_core::time::Timestamp>),
}

/// A handle that reaches a member from any task or thread, also while it works. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MemberHandle {
    shared: Arc<Shared>,
}

impl MemberHandle {
    /// How the member stands.
    pub fn status(&self) -> Status {
        self.shared.lock().status()
    }

    /// The member's public key.
    pub fn public_key(&self) -> PublicSigningKey {
        self.shared.lock().keys().public()
    }

    /// What it pins.
    pub fn pin(&self) -> Pin {
        *self.shared.lock().pin()
    }

    /// Stops the member at once, whatever it is doing. To go on later, it is restored from the last state that was stored.
    pub fn stop(&self) {
        let now = self.shared.clock.now();
        // Stopping twice changes nothing.
        let _ = self.shared.lock().handle_input(now, Input::Stop);
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.changed.notify_one();
    }

    /// Whether the member was stopped.
    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }
}

/// What this life votes with is derived from: it is kept in memory only.
fn boot_seed() -> Result<RootSeed, Error> {
    random_seed()
}

#[cfg(test)]
mod tests;
