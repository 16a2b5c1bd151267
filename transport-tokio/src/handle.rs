//! Handles, which reach a participant from other tasks and threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pet_core::crypto::{PublicSigningKey, Task};
use pet_core::model::Model;
use pet_core::participant::{self as core, Event, FetchError, Input, Snapshot};
use pet_core::round::RoundParameters;
use pet_core::time::Timestamp;
use pet_core::v2::updater::Ledger;
use pet_core::v2::Terms;
use tokio::sync::{oneshot, Notify};

use crate::clock::Clock;
use crate::Error;

/// What the driver and its handles share. The machine's calls are short, so nobody waits long.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) changed: Notify,
    pub(crate) clock: Clock,
    /// Seen by running jobs, without the lock.
    stopped: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) machine: core::Machine,
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
    Answer(oneshot::Sender<Fetched>),
}

impl Shared {
    pub(crate) fn new(machine: core::Machine) -> Arc<Self> {
        let clock = Clock::new(machine.needs_time_of_day());
        Arc::new(Self {
            state: Mutex::new(State { machine, wishes: VecDeque::new() }),
            changed: Notify::new(),
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

    /// Lets running jobs end early.
    pub(crate) fn cancel_jobs(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    fn input(&self, input: Input) -> Result<(), Error> {
        let now = self.now();
        self.lock().machine.handle_input(now, input)?;
        self.changed.notify_one();
        Ok(())
    }
}

impl State {
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
        let _ = sender.send(answer);
        None
    }
}

/// What has become of a wish; its sender is gone once the participant is stopped.
pub(crate) fn answered(
    received: Result<Fetched, oneshot::error::RecvError>,
) -> Result<Option<Arc<Model>>, Error> {
    match received {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(core::Reject::Stopped.into()),
    }
}

/// A handle that reaches a participant from any task or thread, also while it works. Cheap to
/// clone.
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
    /// coordinator anything is taken, and checked later), or the participant was stopped.
    pub fn set_model(&self, model: Model) -> Result<(), Error> {
        self.shared.input(Input::SetModel(model))
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
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Asks for the global model; whoever holds the receiver gets the answer.
    pub(crate) fn request_model(&self) -> Result<oneshot::Receiver<Fetched>, Error> {
        let (sender, receiver) = oneshot::channel();
        self.wish(Wish::Answer(sender)).map(|()| receiver)
    }

    /// Waits for the global model while another task drives the participant; `None` while there is no
    /// global model. Cancel-safe: a call that is given up leaves its answer to nobody.
    ///
    /// # Errors
    /// [`Error::Fetch`] if it cannot be had, [`Error::Rejected`] if the participant is stopped.
    pub async fn global_model(&self) -> Result<Option<Arc<Model>>, Error> {
        answered(self.request_model()?.await)
    }

    /// Takes a snapshot: all that is needed to go on later.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().machine.snapshot()
    }

    /// Stops the participant at once, whatever it is doing, and gives all that is needed to go on
    /// later. A request that is under way is dropped with the participant.
    pub fn stop(&self) -> Snapshot {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let snapshot = state.machine.snapshot();
        // Stopping twice changes nothing.
        let _ = state.machine.handle_input(now, Input::Stop);
        state.wishes.clear();
        drop(state);
        self.shared.cancel_jobs();
        self.shared.changed.notify_one();
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

    /// Whether the participant waits for a local model.
    pub fn needs_model(&self) -> bool {
        self.shared.lock().machine.needs_model()
    }
}
