//! The driver of a participant.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pet_core::crypto::{RootSeed, SigningKeyPair, SnapshotKey};
use pet_core::job::{Job, JobResult};
use pet_core::model::Model;
use pet_core::participant::{self as core, Event, Input, Output, Reject, Snapshot};
use pet_core::record::Sink;
use pet_network::Proxy;
use rayon::ThreadPoolBuilder;

use crate::config::random_seed;
use crate::handle::Shared;
use crate::http::Client;
use crate::store::{StateStore, Store};
use crate::sync::mpsc::TryRecvError;
use crate::{Config, Error, Handle, Observer};

/// A participant that works on the caller's thread.
#[derive(Debug)]
pub struct Participant {
    shared: Arc<Shared>,
    client: Client,
    threads: usize,
    store: Store,
}

impl Participant {
    /// A participant with a new, random identity.
    ///
    /// # Errors
    /// [`Error::Randomness`] if the operating system gives no random bytes; [`Error::Network`] if the environment
    /// names a proxy that cannot be used.
    pub fn new(config: Config) -> Result<Self, Error> {
        let machine = core::Machine::from_seed(random_seed()?, config.settings.clone());
        Self::drive(machine, config)
    }

    /// A participant with a given identity and a seed for everything random that it makes. The seed
    /// must be unpredictable, and no other participant may have it.
    ///
    /// # Errors
    /// [`Error::Network`] if the environment names a proxy that cannot be used.
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
    /// [`Error::Restore`] if the bytes are no saved state; [`Error::Network`] if the environment names a proxy that
    /// cannot be used.
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

    pub(crate) fn drive(machine: core::Machine, config: Config) -> Result<Self, Error> {
        // Nobody here would take what is handed over: it would wait for ever.
        if config.settings.hand_over {
            return Err(Error::HandOver);
        }
        let threads = config.threads.get();
        let store = Store::default();
        let this =
            Self { shared: Shared::new(machine), client: Client::new(config)?, threads, store };
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

    /// The proxy through which the coordinator is asked, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.client.proxy()
    }

    /// Stores the state whenever it holds what must not be forgotten: before an update of version 2 leaves, its promise and
    /// what it costs of the privacy budget. What is stored is to be gone on from after a crash; the masked model is not in
    /// it, so the round is sat out. Call it first.
    #[must_use]
    pub fn with_store(mut self, store: impl StateStore + 'static) -> Self {
        self.shared.lock().machine.store_promises();
        self.store = Store(Some(Box::new(store)));
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

    /// Makes a handle to this participant, for other threads.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }

    /// Makes an observer, which asks the same coordinator for its status, from any thread.
    pub fn observer(&self) -> Observer {
        Observer::new(self.client.clone())
    }

    /// Works until there is an event, or until `timeout` is over and nothing is under way. A
    /// request that is under way is waited for, within the limits of the configuration; not so one that only waits
    /// for news, whose answer the coordinator may hold back: it goes on by itself until the next call.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`Reject::Stopped`] once the participant was stopped.
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        if let Some(event) = self.shared.lock().events.pop_front() {
            return Ok(Some(event));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            match self.work(deadline)? {
                Worked::Event(event) => return Ok(Some(event)),
                Worked::Answered => {}
                Worked::TimedOut => return Ok(None),
            }
        }
    }

    /// As [`Participant::next_event`], with all that has happened at the same moment, in its order: a new round comes
    /// together with what it means for the local model. Empty if `timeout` is over.
    ///
    /// # Errors
    /// As [`Participant::next_event`].
    pub fn next_events(&mut self, timeout: Option<Duration>) -> Result<Vec<Event>, Error> {
        let Some(first) = self.next_event(timeout)? else { return Ok(Vec::new()) };
        let mut events = vec![first];
        events.append(&mut self.shared.lock().take_events().into());
        Ok(events)
    }

    /// Fetches the global model; `None` while there is none. It is the current one after the call was made,
    /// whatever was asked for before. Events that come in the meantime are given by
    /// [`Participant::next_event`] later.
    ///
    /// # Errors
    /// [`Error::Fetch`] if it cannot be had; [`Error::Rejected`] if the participant was stopped.
    pub fn global_model(&mut self) -> Result<Option<Arc<Model>>, Error> {
        let answer = self.handle().request_model()?;
        loop {
            match answer.try_recv() {
                Ok(answer) => return Ok(answer?),
                Err(TryRecvError::Disconnected) => return Err(Reject::Stopped.into()),
                Err(TryRecvError::Empty) => {}
            }
            if let Worked::Event(event) = self.work(None)? {
                self.shared.lock().events.push_back(event);
            }
        }
    }

    /// Stops the participant and gives a snapshot: all that is needed to go on later.
    pub fn stop(self) -> Snapshot {
        self.handle().stop()
    }

    fn work(&mut self, deadline: Option<Instant>) -> Result<Worked, Error> {
        loop {
            let now = self.shared.now();
            let mut state = self.shared.lock();
            state.machine.handle_input(now, Input::Tick)?;
            let output = match state.held.take_answer() {
                Some(answer) => {
                    drop(state);
                    self.tell(answer)?;
                    continue;
                }
                None => state.next_output(),
            };
            let input = match output {
                Output::Request { id, call } => {
                    let patience = state.machine.patience(id).cloned();
                    if let Some(patience) = patience {
                        if state.held.send(&self.shared, &self.client, id, &call, patience) {
                            continue;
                        }
                    }
                    drop(state);
                    match self.client.send(&call) {
                        Ok(response) => Input::Response { id, response },
                        Err(fault) => Input::Fault { id, fault },
                    }
                }
                Output::Cancel(id) => {
                    state.held.cancel(id);
                    continue;
                }
                Output::Job(job) => {
                    drop(state);
                    match run_on(job, self.threads, || self.shared.is_stopped()) {
                        Some(result) => Input::JobDone(result),
                        None => return Err(Reject::Stopped.into()),
                    }
                }
                Output::Persist { id, snapshot } => {
                    drop(state);
                    match self.store.store(&snapshot) {
                        Ok(()) => Input::Persisted(id),
                        Err(error) => Input::NotPersisted { id, reason: error.to_string() },
                    }
                }
                Output::Event(event) => match state.deliver(event) {
                    Some(event) => return Ok(Worked::Event(event)),
                    None => return Ok(Worked::Answered),
                },
                Output::Idle(idle) => {
                    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        return Ok(Worked::TimedOut);
                    }
                    drop(self.shared.wait(state, idle.wake_at, deadline));
                    continue;
                }
                // An output of a newer core that this driver does not know.
                _ => continue,
            };
            self.tell(input)?;
        }
    }

    fn tell(&self, input: Input) -> Result<(), Error> {
        let now = self.shared.now();
        match self.shared.lock().machine.handle_input(now, input) {
            Err(Reject::Stopped) => Err(Reject::Stopped.into()),
            // Any other rejection: the input came too late, nothing is wrong.
            _ => Ok(()),
        }
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.shared.lock().held.hang_up();
    }
}

/// Why the driver looks up from its work.
enum Worked {
    /// There is something to tell.
    Event(Event),
    /// Somebody who waits for the global model was answered.
    Answered,
    /// The deadline is over, and nothing is under way.
    TimedOut,
}

/// Runs a job on some threads; gives up, and gives nothing, once it is stopped.
///
/// The threads end with the job: a process that forks afterwards, as Python programs do, loses none that
/// somebody waits for.
pub(crate) fn run_on<R: Send>(
    job: Job<R>,
    threads: usize,
    stopped: impl Fn() -> bool + Copy + Sync + Send,
) -> Option<JobResult<R>> {
    // This thread is one of them.
    let others = threads.saturating_sub(1).max(1);
    let pool = LazyCell::new(|| ThreadPoolBuilder::new().num_threads(others).build().ok());
    job.run(threads, stopped, |parts| {
        // The system gives no more threads: this one will do.
        let Some(pool) = &*pool else {
            return parts.into_iter().map(|part| part.run(stopped)).collect();
        };
        let mut results: Vec<_> = parts.iter().map(|_| None).collect();
        pool.in_place_scope(|scope| {
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
