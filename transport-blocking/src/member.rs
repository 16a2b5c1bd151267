//! The driver of a member of version 2.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use pet_core::crypto::{PublicSigningKey, RootSeed, SigningKeyPair, SnapshotKey};
use pet_core::request::{CoordinatorUrl, RequestLimits};
use pet_core::v2::member::{
    self as core, Event, Input, Job, JobResult, Output, PersistId, Reject, Settings, Snapshot,
    Status,
};
use pet_core::v2::Pin;
use pet_network::{Environment, Proxy};

use crate::clock::Clock;
use crate::config::random_seed;
use crate::http::Client;
use crate::participant::run_on;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::{Config, Error, Tls};

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
    /// How many threads a job may use.
    pub threads: NonZeroUsize,
    /// Whom to trust if the coordinator's URL is https.
    pub tls: Tls,
    /// The environment variables that name proxies and certificate authorities: those of curl and requests.
    pub environment: Environment,
}

impl MemberConfig {
    /// A configuration with default settings, all cores for jobs, and the environment of this process.
    ///
    /// # Errors
    /// [`Error::Url`] if it is not an http or https URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        let Config { url, limits, threads, tls, environment, .. } = Config::new(url)?;
        Ok(Self { url, settings: Settings::default(), limits, threads, tls, environment })
    }

    fn network(&self) -> Config {
        let Self { url, limits, threads, tls, environment, .. } = self.clone();
        Config { url, settings: Default::default(), limits, threads, tls, environment }
    }
}

/// Where a member's states are kept.
///
/// It is dropped only after the last state is stored: as long as it holds a lock on the place, no second life begins
/// there with an older one.
pub trait MemberStore: Send {
    /// Stores a state in place of the one before; afterwards it is there even if the power fails.
    ///
    /// # Errors
    /// If it is not stored: the member waits, and it is tried again.
    fn store(&mut self, state: &Snapshot) -> io::Result<()>;
}

impl<F: FnMut(&Snapshot) -> io::Result<()> + Send> MemberStore for F {
    fn store(&mut self, state: &Snapshot) -> io::Result<()> {
        self(state)
    }
}

/// A member that works on the caller's thread.
///
/// Everything that it must not forget is stored before its signature leaves. What it votes with is made anew at every
/// start, from the operating system's randomness.
pub struct Member {
    shared: Arc<Shared>,
    client: Client,
    threads: usize,
    store: Box<dyn MemberStore>,
    /// A state that could not be stored: nothing goes on without it.
    unstored: Option<(PersistId, Snapshot)>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("shared", &self.shared).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
    machine: Mutex<core::Member>,
    changed: Condvar,
    clock: Clock,
    /// Seen by running jobs, without the lock.
    stopped: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, core::Member> {
        // No call of the machine panics, so the state behind a poisoned lock is whole.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// A member without a state. Its first state is stored at once, and it takes part in rounds that are opened from now on: its
    /// key may have had a life before.
    ///
    /// # Errors
    /// [`Error::Randomness`] if the operating system gives no random bytes; [`Error::Store`] if the state cannot be stored;
    /// [`Error::Network`] if the environment names a proxy that cannot be used.
    pub fn new(
        config: MemberConfig,
        keys: SigningKeyPair,
        pin: Pin,
        mut store: impl MemberStore + 'static,
    ) -> Result<Self, Error> {
        let (root, settings) = (random_seed()?, config.settings.clone());
        let new = core::Member::new(keys, root, boot_seed()?, pin, settings.clone()).snapshot();
        store.store(&new).map_err(not_stored)?;
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
        store: impl MemberStore + 'static,
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
        store: impl MemberStore + 'static,
    ) -> Result<Self, Error> {
        let settings = config.settings.clone();
        let machine = core::Member::restore_sealed(state, key, boot_seed()?, settings)?;
        Self::drive(machine, config, store)
    }

    /// Drives a machine that was made elsewhere.
    ///
    /// # Errors
    /// [`Error::Network`] if the environment names a proxy that cannot be used.
    pub fn drive(
        machine: core::Member,
        config: MemberConfig,
        store: impl MemberStore + 'static,
    ) -> Result<Self, Error> {
        let client = Client::new(config.network())?;
        let shared = Arc::new(Shared {
            machine: Mutex::new(machine),
            changed: Condvar::new(),
            clock: Clock::new(true),
            stopped: AtomicBool::new(false),
        });
        let threads = config.threads.get();
        Ok(Self { shared, client, threads, store: Box::new(store), unstored: None })
    }

    /// The proxy through which the coordinator is asked, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.client.proxy()
    }

    /// Makes a handle to this member, for other threads.
    pub fn handle(&self) -> MemberHandle {
        MemberHandle { shared: self.shared.clone() }
    }

    /// Works until there is an event, or until `timeout` is over and nothing is under way. A request that is under way is
    /// waited for, within the limits of the configuration.
    ///
    /// # Errors
    /// [`Error::Store`] if the state cannot be stored: nothing has left that depends on it, and the next call tries again.
    /// [`Error::MemberStopped`] once the member was stopped.
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if let Some((id, state)) = self.unstored.take() {
            self.persist(id, state)?;
        }
        loop {
            let now = self.shared.clock.now();
            let mut machine = self.shared.lock();
            if machine.handle_input(now, Input::Tick).is_err() {
                return Err(Error::MemberStopped);
            }
            let input = match machine.poll_output() {
                Output::Request { id, call } => {
                    drop(machine);
                    match self.client.send(&call) {
                        Ok(response) => Input::Response { id, response },
                        Err(fault) => Input::Fault { id, fault },
                    }
                }
                Output::Job(job) => {
                    drop(machine);
                    match self.run(job) {
                        Some(result) => Input::JobDone(result),
                        None => return Err(Error::MemberStopped),
                    }
                }
                Output::Persist { id, snapshot } => {
                    drop(machine);
                    self.persist(id, snapshot)?;
                    continue;
                }
                Output::Event(event) => return Ok(Some(event)),
                Output::Idle(idle) => {
                    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        return Ok(None);
                    }
                    let wake = idle.wake_at.map(|at| self.shared.clock.instant(at));
                    let until = match (wake, deadline) {
                        (Some(wake), Some(deadline)) => Some(wake.min(deadline)),
                        (wake, deadline) => wake.or(deadline),
                    };
                    self.wait(machine, until);
                    continue;
                }
                // An output of a newer core that this driver does not know.
                _ => continue,
            };
            self.input(input)?;
        }
    }

    fn input(&self, input: Input) -> Result<(), Error> {
        let now = self.shared.clock.now();
        match self.shared.lock().handle_input(now, input) {
            Err(Reject::Stopped) => Err(Error::MemberStopped),
            // Any other rejection: the input came too late, nothing is wrong.
            _ => Ok(()),
        }
    }

    fn persist(&mut self, id: PersistId, state: Snapshot) -> Result<(), Error> {
        match self.store.store(&state) {
            Ok(()) => self.input(Input::Persisted(id)),
            Err(error) => {
                self.unstored = Some((id, state));
                Err(not_stored(error))
            }
        }
    }

    fn wait(&self, machine: MutexGuard<'_, core::Member>, until: Option<Instant>) {
        let changed = &self.shared.changed;
        match until {
            Some(until) => {
                let timeout = until.saturating_duration_since(Instant::now());
                drop(changed.wait_timeout(machine, timeout));
            }
            None => drop(changed.wait(machine)),
        }
    }

    fn run(&self, job: Job) -> Option<JobResult> {
        let shared = &self.shared;
        let stopped = || shared.stopped.load(Ordering::Acquire);
        run_on(job, self.threads, stopped)
    }
}

/// A handle that reaches a member from any thread, also while it works. Cheap to clone.
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

    /// Stops the member at once, whatever it is doing. A request that is under way is not waited for. To go on later, it is
    /// restored from the last state that was stored.
    pub fn stop(&self) {
        let now = self.shared.clock.now();
        // Stopping twice changes nothing.
        let _ = self.shared.lock().handle_input(now, Input::Stop);
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.changed.notify_all();
    }

    /// Whether the member was stopped.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }
}

fn not_stored(error: io::Error) -> Error {
    Error::Store(error.to_string())
}

/// What this life votes with is derived from: it is kept in memory only.
fn boot_seed() -> Result<RootSeed, Error> {
    random_seed()
}

#[cfg(all(test, not(shuttle)))]
mod tests;
