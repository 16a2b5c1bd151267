//! The driver of a participant.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use pet_core::crypto::{RootSeed, SigningKeyPair, SnapshotKey};
use pet_core::job::{Job, JobResult};
use pet_core::model::Model;
use pet_core::participant::{self as core, Event, Input, Output, Reject, Snapshot, TransportFault};
use pet_core::record::Sink;
use pet_core::request::RequestId;
use pet_core::time::Timestamp;
use pet_network::Proxy;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::config::random_seed;
use crate::handle::{answered, Shared};
use crate::http::Client;
use crate::store::{StateStore, Store};
use crate::{Config, Error, Handle};

/// A participant that works while it is awaited. Dropping it ends its requests and jobs.
#[derive(Debug)]
pub struct Participant {
    shared: Arc<Shared>,
    client: Client,
    threads: usize,
    /// Requests and jobs under way: they outlive the futures that have begun them.
    tasks: JoinSet<Input>,
    /// The tasks that are requests: nobody else tells the machine when one is lost, with a runtime that has ended.
    requests: HashMap<Id, RequestId>,
    /// The latest request whose answer may be held back.
    held: Option<(RequestId, AbortHandle)>,
    /// Events that came while the caller waited for something else.
    events: VecDeque<Event>,
    /// Shared with the thread that stores.
    store: Arc<Mutex<Store>>,
}

impl Participant {
    /// A participant with a new, random identity.
    ///
    /// # Errors
    /// [`Error::Randomness`] if the operating system gives no random bytes; [`Error::Client`] if no
    /// HTTP client can be made.
    pub fn new(config: Config) -> Result<Self, Error> {
        let machine = core::Machine::from_seed(random_seed()?, config.settings.clone());
        Self::drive(machine, config)
    }

    /// A participant with a given identity and a seed for everything random that it makes. The seed
    /// must be unpredictable, and no other participant may have it.
    ///
    /// # Errors
    /// [`Error::Client`] if no HTTP client can be made.
    pub fn with_keys(config: Config, keys: SigningKeyPair, seed: RootSeed) -> Result<Self, Error> {
        Self::drive(core::Machine::new(keys, seed, config.settings.clone()), config)
    }

    /// A participant with a given identity, such as one that an admission authority has given a credential to, and
    /// a random seed for everything else.
    ///
    /// # Errors
    /// As [`Participant::new`].
    pub fn with_identity(config: Config, keys: SigningKeyPair) -> Result<Self, Error> {
        Self::with_keys(config, keys, random_seed()?)
    }

    /// Restores a stopped participant from its saved state, with new settings.
    ///
    /// # Errors
    /// [`Error::Restore`] if the bytes are no saved state; [`Error::Client`] if no HTTP client can be
    /// made.
    pub fn restore(config: Config, state: &[u8]) -> Result<Self, Error> {
        let machine = core::Machine::restore(state, config.settings.clone())?;
        Self::drive(machine, config)
    }

    /// Restores a stopped participant from its sealed state, with new settings.
    ///
    /// # Errors
    /// As [`Participant::restore`], and if the key is another one.
    pub fn restore_sealed(config: Config, state: &[u8], key: &SnapshotKey) -> Result<Self, Error> {
        let machine = core::Machine::restore_sealed(state, key, config.settings.clone())?;
        Self::drive(machine, config)
    }

    fn drive(machine: core::Machine, config: Config) -> Result<Self, Error> {
        // Nobody here would take what is handed over: it would wait for ever.
        if config.settings.hand_over {
            return Err(Error::HandOver);
        }
        let threads = config.threads.get();
        let this = Self {
            shared: Shared::new(machine),
            client: Client::new(config)?,
            threads,
            tasks: JoinSet::new(),
            requests: HashMap::new(),
            held: None,
            events: VecDeque::new(),
            store: Arc::default(),
        };
        this.allow_patience();
        Ok(this)
    }

    /// Tells the machine that answers may be held back.
    fn allow_patience(&self) {
        let now = self.shared.now();
        let patience = Input::Patience(self.client.patience());
        // Nothing stops a machine before it is driven.
        let _ = self.shared.lock().machine.handle_input(now, patience);
    }

    /// Stores the state whenever it holds what must not be forgotten: before an update of version 2 leaves, its promise and
    /// what it costs of the privacy budget. What is stored is to be gone on from after a crash; the masked model is not in
    /// it, so the round is sat out. Call it first. It is called on a thread that may block.
    #[must_use]
    pub fn with_store(mut self, store: impl StateStore + 'static) -> Self {
        self.shared.lock().machine.store_promises();
        self.store = Arc::new(Mutex::new(Store(Some(Box::new(store)))));
        self
    }

    /// Records all that the participant is told, **its secrets included**, so that
    /// [`replay`](pet_core::record::replay) can do the same again: for tests, and to look into a fault with
    /// test data. Call it first: whatever is under way is begun anew.
    #[must_use]
    pub fn record(self, sink: Sink) -> Self {
        self.shared.lock().machine.record(sink);
        self.allow_patience();
        self
    }

    /// The proxy through which the coordinator is asked, if there is one. (That of a client that was given is not
    /// known.)
    pub fn proxy(&self) -> Option<&Proxy> {
        self.client.proxy()
    }

    /// Makes a handle to this participant, for other tasks and threads.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }

    /// Works until there is an event. Cancel-safe. Must be awaited within a tokio runtime with time
    /// and IO enabled.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`Reject::Stopped`] once the participant was stopped.
    pub async fn next_event(&mut self) -> Result<Event, Error> {
        match self.events.pop_front() {
            Some(event) => Ok(event),
            None => self.work().await,
        }
    }

    /// Fetches the global model; `None` while there is none. It is the current one after the call was made,
    /// whatever was asked for before. Events that come in the meantime are given by
    /// [`Participant::next_event`] later. Cancel-safe: what is under way goes on with the next call, and the
    /// answer to a call that was given up is dropped.
    ///
    /// # Errors
    /// [`Error::Fetch`] if it cannot be had; [`Error::Rejected`] if the participant was stopped.
    pub async fn global_model(&mut self) -> Result<Option<Arc<Model>>, Error> {
        let mut answer = self.handle().request_model()?;
        loop {
            let event = tokio::select! {
                answer = &mut answer => return answered(answer),
                event = self.work() => event?,
            };
            self.events.push_back(event);
        }
    }

    /// Stops the participant and gives a snapshot: all that is needed to go on later.
    pub fn stop(self) -> Snapshot {
        self.handle().stop()
    }

    async fn work(&mut self) -> Result<Event, Error> {
        loop {
            let drained = self.drain();
            if drained.is_err() {
                // It was stopped.
                self.give_up_held(None);
            }
            let wake_at = match drained? {
                Drained::Event(event) => return Ok(event),
                Drained::Idle(wake_at) => wake_at,
            };
            let input = tokio::select! {
                Some(finished) = self.tasks.join_next_with_id() => self.finished(finished),
                () = self.shared.changed.notified() => Input::Tick,
                () = sleep_until(wake_at.map(|at| self.shared.clock.instant(at))) => Input::Tick,
            };
            let now = self.shared.now();
            // Any other rejection: the input came too late, nothing is wrong.
            if let Err(Reject::Stopped) = self.shared.lock().machine.handle_input(now, input) {
                return Err(Reject::Stopped.into());
            }
        }
    }

    /// Drops the request whose answer may be held back, any or this one.
    fn give_up_held(&mut self, id: Option<RequestId>) {
        let is_it = |held: &mut (RequestId, AbortHandle)| id.is_none_or(|id| id == held.0);
        if let Some((_, task)) = self.held.take_if(is_it) {
            task.abort();
            self.requests.remove(&task.id());
        }
    }

    fn finished(&mut self, finished: Result<(Id, Input), JoinError>) -> Input {
        let id = match &finished {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        match (joined(finished), self.requests.remove(&id)) {
            (Some((_, input)), _) => input,
            (None, Some(id)) => {
                let reason = "the runtime of the request has ended".into();
                Input::Fault { id, fault: TransportFault::Unreachable(reason) }
            }
            // The machine sees that its job is lost.
            (None, None) => Input::Tick,
        }
    }

    /// Does what the machine says until it is idle or has something to tell.
    fn drain(&mut self) -> Result<Drained, Error> {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        state.machine.handle_input(now, Input::Tick)?;
        loop {
            match state.machine.poll_output() {
                Output::Request { id, call } => {
                    let client = self.client.clone();
                    let patience = state.machine.patience(id).cloned();
                    let is_held = patience.is_some();
                    let task = self.tasks.spawn(async move {
                        match client.exchange(call, patience).await {
                            Ok(response) => Input::Response { id, response },
                            Err(fault) => Input::Fault { id, fault },
                        }
                    });
                    self.requests.insert(task.id(), id);
                    if is_held {
                        self.held = Some((id, task));
                    }
                }
                Output::Cancel(id) => {
                    drop(state);
                    self.give_up_held(Some(id));
                    state = self.shared.lock();
                }
                Output::Job(job) => {
                    let (shared, threads) = (self.shared.clone(), self.threads);
                    self.tasks.spawn(async move {
                        let result = run_on(job, threads, move || shared.is_stopped()).await;
                        result.map_or(Input::Tick, Input::JobDone)
                    });
                }
                Output::Persist { id, snapshot } => {
                    let store = self.store.clone();
                    let work = move || {
                        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
                        match store.store(&snapshot) {
                            Ok(()) => Input::Persisted(id),
                            Err(error) => Input::NotPersisted { id, reason: error.to_string() },
                        }
                    };
                    self.tasks.spawn(async move {
                        let stored = tokio::task::spawn_blocking(work).await;
                        stored.unwrap_or_else(|error| Input::NotPersisted {
                            id,
                            reason: error.to_string(),
                        })
                    });
                }
                Output::Event(event) => {
                    if let Some(event) = state.deliver(event) {
                        return Ok(Drained::Event(event));
                    }
                }
                Output::Idle(idle) => {
                    return Ok(Drained::Idle(idle.wake_at));
                }
                // An output of a newer core that this driver does not know.
                _ => {}
            }
        }
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        // Blocking threads cannot be aborted: they see this between two steps. Whoever waits for a
        // global model is told, too.
        self.handle().stop();
    }
}

enum Drained {
    Event(Event),
    /// Nothing is due before this time.
    Idle(Option<Timestamp>),
}

pub(crate) async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Runs a job on a blocking thread, and its parts on that and the process's rayon threads; gives nothing if it was
/// cancelled or has panicked.
pub(crate) async fn run_on<R: Send + 'static>(
    job: Job<R>,
    threads: usize,
    stopped: impl Fn() -> bool + Send + Sync + 'static,
) -> Option<JobResult<R>> {
    let work = move || {
        let stopped = &stopped;
        job.run(threads, stopped, |parts| {
            let mut results: Vec<_> = parts.iter().map(|_| None).collect();
            rayon::in_place_scope(|scope| {
                let mut work = parts.into_iter().zip(&mut results);
                let own = work.next();
                for (part, result) in work {
                    scope.spawn(move |_| *result = part.run(stopped));
                }
                if let Some((part, result)) = own {
                    *result = part.run(stopped);
                }
            });
            results.into_iter().collect()
        })
    };
    // One that panics is lost: the machine gives it out again, or tells the user.
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

/// What a task has given, nothing if it was cancelled. A panic is a bug, and is passed on.
pub(crate) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody would take what it hands over, and it would wait for ever.
    #[test]
    fn messages_are_not_handed_over_by_a_participant_of_a_network() {
        let mut config = Config::new("http://127.0.0.1:8081").unwrap();
        config.settings.hand_over = true;
        let error = Participant::new(config).unwrap_err();
        assert!(matches!(error, Error::HandOver));
        assert!(error.to_string().contains("Settings::hand_over"));
    }
}
