//! Handles, which reach a participant from other threads.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use pet_core::crypto::{PublicSigningKey, Task};
use pet_core::model::Model;
use pet_core::participant::{
    self as core, Event, FetchError, Input, Output, Snapshot, TransportFault,
};
use pet_core::request::{RequestId, Response};
use pet_core::round::RoundParameters;
use pet_core::time::Timestamp;
use pet_core::v2::updater::Ledger;
use pet_core::v2::Terms;

use crate::clock::Clock;
use crate::held::Held;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::Error;

/// What the driver and its handles share. The machine's calls are short, so nobody waits long.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    clock: Clock,
    /// Seen by running jobs, without the lock.
    stopped: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) machine: core::Machine,
    /// Events that came while the caller waited for something else.
    pub(crate) events: VecDeque<Event>,
    /// What comes after the events that were taken together: it is to be done next.
    ahead: Option<Output>,
    /// The request whose answer may be held back.
    pub(crate) held: Held,
    /// Who gets the answers about the global model: they come in the order of the wishes.
    wishes: VecDeque<Wish>,
}

/// What is known of the global model, or why it is not.
pub(crate) type Fetched = Result<Option<Arc<Model>>, FetchError>;

#[derive(Debug)]
enum Wish {
    /// The answer is an event.
    Event,
    /// It is for one who waits, if that one still does.
    Answer(SyncSender<Fetched>),
}

impl Shared {
    pub(crate) fn new(machine: core::Machine) -> Arc<Self> {
        let clock = Clock::new(machine.needs_time_of_day());
        let state = State {
            machine,
            events: VecDeque::new(),
            ahead: None,
            held: Held::default(),
            wishes: VecDeque::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            clock,
            stopped: AtomicBool::new(false),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // No call of the machine panics, so the state behind a poisoned lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits until a handle changes something, or until `wake_at`, or until `deadline`.
    pub(crate) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        wake_at: Option<Timestamp>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        let wake = wake_at.map(|at| self.clock.instant(at));
        let until = match (wake, deadline) {
            (Some(wake), Some(deadline)) => Some(wake.min(deadline)),
            (wake, deadline) => wake.or(deadline),
        };
        match until {
            Some(until) => {
                let timeout = until.saturating_duration_since(Instant::now());
                let waited = self.changed.wait_timeout(state, timeout);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Takes in the answer to a request that was sent on another thread.
    pub(crate) fn answered(&self, id: RequestId, answer: Result<Response, TransportFault>) {
        if self.lock().held.answered(id, answer) {
            self.changed.notify_all();
        }
    }

    fn input(&self, input: Input) -> Result<(), Error> {
        let now = self.now();
        self.lock().machine.handle_input(now, input)?;
        self.changed.notify_all();
        Ok(())
    }
}

impl State {
    /// What the machine wants next.
    pub(crate) fn next_output(&mut self) -> Output {
        self.ahead.take().unwrap_or_else(|| self.machine.poll_output())
    }

    /// All events that are there without anything being done for them.
    pub(crate) fn take_events(&mut self) -> VecDeque<Event> {
        while self.ahead.is_none() {
            match self.machine.poll_output() {
                Output::Event(event) => {
                    if let Some(event) = self.deliver(event) {
                        self.events.push_back(event);
                    }
                }
                // It is asked for again: time goes on.
                Output::Idle(_) => break,
                output => self.ahead = Some(output),
            }
        }
        std::mem::take(&mut self.events)
    }

    /// Gives an answer about the global model to whose wish it is; other events are given back.
    pub(crate) fn deliver(&mut self, event: Event) -> Option<Event> {
        if !matches!(event, Event::GlobalModel(_) | Event::GlobalModelFailed(_)) {
            return Some(event);
        }
        let Some(Wish::Answer(sender)) = self.wishes.pop_front() else {
            return Some(event);
        };
        let answer = match event {
            Event::GlobalModel(model) => Ok(model),
            Event::GlobalModelFailed(error) => Err(error),
            event => return Some(event),
        };
        // Whoever has given up waiting needs none, and nobody else may have it: it may be an old one.
        let _ = sender.try_send(answer);
        None
    }
}

/// A handle that reaches a participant from any thread, also while it works. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// Sets the local model: it is sent when the participant is next chosen to update. It replaces an
    /// earlier one that was not yet used.
    ///
    /// # Errors
    /// [`Error::Rejected`] if it does not fit the current round (before the first contact with the
    /// coordinator, a restored participant's included, anything is taken, and checked later), or the participant
    /// was stopped. Weights of another type than the round's are converted: see
    /// [`Input::SetModel`](core::Input::SetModel).
    pub fn set_model(&self, model: Model) -> Result<(), Error> {
        self.shared.input(Input::SetModel(model))
    }

    /// Sets the local model like [`Handle::set_model`], if the round with these parameters is still on;
    /// otherwise nothing is done. Gives whether it was set. With
    /// [`Settings::keep_models`](core::Settings::keep_models) off, a model that was trained for one round
    /// never serves in another.
    ///
    /// # Errors
    /// As [`Handle::set_model`].
    pub fn set_model_for(&self, round: &RoundParameters, model: Model) -> Result<bool, Error> {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        if state.machine.parameters().is_none_or(|current| **current != *round) {
            return Ok(false);
        }
        state.machine.handle_input(now, Input::SetModel(model))?;
        drop(state);
        self.shared.changed.notify_all();
        Ok(true)
    }

    /// Asks for the global model: the answer is an [`Event::GlobalModel`] or an
    /// [`Event::GlobalModelFailed`].
    ///
    /// # Errors
    /// [`Error::Rejected`] if the participant was stopped.
    pub fn fetch_model(&self) -> Result<(), Error> {
        self.wish(Wish::Event)
    }

    fn wish(&self, wish: Wish) -> Result<(), Error> {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        state.machine.handle_input(now, Input::FetchModel)?;
        state.wishes.push_back(wish);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Asks for the global model; whoever holds the receiver gets the answer.
    pub(crate) fn request_model(&self) -> Result<Receiver<Fetched>, Error> {
        let (sender, receiver) = sync_channel(1);
        self.wish(Wish::Answer(sender)).map(|()| receiver)
    }

    /// Waits for the global model while another thread drives the participant; `None` while there is
    /// no global model. (On the driving thread use
    /// [`Participant::global_model`](crate::Participant::global_model).)
    ///
    /// # Errors
    /// [`Error::Fetch`] if it cannot be had, [`Error::NotDriven`] after `timeout`,
    /// [`Error::Rejected`] if the participant is stopped.
    pub fn global_model(&self, timeout: Duration) -> Result<Option<Arc<Model>>, Error> {
        match self.request_model()?.recv_timeout(timeout) {
            Ok(answer) => Ok(answer?),
            Err(RecvTimeoutError::Timeout) => Err(Error::NotDriven),
            Err(RecvTimeoutError::Disconnected) => Err(core::Reject::Stopped.into()),
        }
    }

    /// Takes a snapshot: all that is needed to go on later.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().machine.snapshot()
    }

    /// Stops the participant at once, whatever it is doing, and gives all that is needed to go on
    /// later. A request that is under way is not waited for.
    pub fn stop(&self) -> Snapshot {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let snapshot = state.machine.snapshot();
        // Stopping twice changes nothing.
        let _ = state.machine.handle_input(now, Input::Stop);
        state.wishes.clear();
        state.held.hang_up();
        drop(state);
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.changed.notify_all();
        snapshot
    }

    /// Whether the participant was stopped.
    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    /// The participant's public key.
    pub fn public_key(&self) -> PublicSigningKey {
        self.shared.lock().machine.keys().public()
    }

    /// What a participant of v2 has spent of its privacy; `None` for one of v1.
    pub fn ledger(&self) -> Option<Ledger> {
        self.shared.lock().machine.ledger().copied()
    }

    /// The terms of the round that a participant of v2 is in; `None` before the first, and for one of v1.
    pub fn terms(&self) -> Option<Arc<Terms>> {
        self.shared.lock().machine.terms().cloned()
    }

    /// The participant's task in the current round.
    pub fn task(&self) -> Task {
        self.shared.lock().machine.task()
    }

    /// The parameters of the current round; `None` before the first.
    pub fn parameters(&self) -> Option<Arc<RoundParameters>> {
        self.shared.lock().machine.parameters().cloned()
    }

    /// The local model that was not yet used, as it was set.
    pub fn local_model(&self) -> Option<Arc<Model>> {
        self.shared.lock().machine.local_model().cloned()
    }

    /// Whether the participant waits for a local model.
    pub fn needs_model(&self) -> bool {
        self.shared.lock().machine.needs_model()
    }
}
