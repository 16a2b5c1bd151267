//! The coordinator's machine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::io::{Event, Idle, Input, Output, Reject, Trouble, TroubleReason, Why};
use super::jobs::Outcome;
use super::passed::Passed;
use super::settings::Settings;
use super::snapshot::{Snapshot, State};
use super::stage::{Round, Stage};
use super::Job;
use crate::crypto::{Purpose, RootSeed, SigningKeyPair, SnapshotKey, Task};
use crate::holding::{Holding, Parked};
use crate::job::{JobId, JobKind, Release, Watch, Work, LOOK_EVERY};
use crate::message::{HandedOver, MessageSize};
use crate::model::Model;
use crate::request::{Call, RequestId};
use crate::round::RoundParameters;
use crate::snapshot::EnvelopeError;
use crate::time::Timestamp;

/// Values at least this large, in bytes, are freed in a job.
const RELEASE_FROM: usize = 1 << 16;

/// The longest pause that a coordinator can ask for.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A participant. See the [module's page](super) for how to drive it.
#[derive(Debug)]
pub struct Participant {
    pub(super) keys: SigningKeyPair,
    pub(super) root: RootSeed,
    pub(super) settings: Settings,
    pub(super) now: Timestamp,
    pub(super) round: Option<Round>,
    /// The rounds before.
    pub(super) passed: Passed,
    pub(super) stage: Stage,
    /// Whether it has looked at the coordinator's parameters: before, a restored participant's round may be over.
    pub(super) has_looked: bool,
    pub(super) model: Option<Arc<Model>>,
    /// The local model that is being masked: it is used up when that succeeds.
    pub(super) masking: Option<Arc<Model>>,
    /// Whether the user was asked for a model in this round.
    pub(super) model_asked: bool,
    pub(super) activity: Activity,
    pub(super) fetch: Fetch,
    /// How many wishes for the global model get what is under way: each is answered, in order.
    pub(super) wishes: usize,
    /// How many more came when its request had been sent already: the answer may be older than they are.
    pub(super) late_wishes: usize,
    /// How many looks at the coordinator in a row brought no progress.
    pub(super) misses: u32,
    /// How long the next pause is at least.
    pub(super) least_pause: Duration,
    pub(super) holding: Holding,
    /// While an answer is taken that could be held back: when its request was sent. The pause counts from then: who
    /// has waited already does not wait again.
    pub(super) held_since: Option<Timestamp>,
    /// The most bytes of a message that something on the way has been found to let through.
    pub(super) way: MessageSize,
    pub(super) outputs: VecDeque<Output>,
    next_id: u64,
    pub(super) watch: Watch,
    /// How often in a row a job of the main line was lost, and one that reads the global model.
    pub(super) losses: u32,
    pub(super) fetch_losses: u32,
    stopped: bool,
}

/// What the main line of the machine is doing. Every step begins with a look at the round's
/// parameters, so that work for a round that is over is never begun.
#[derive(Debug, Clone)]
pub(super) enum Activity {
    /// Nothing until then.
    Waiting(Timestamp),
    /// Getting the round parameters.
    Params(RequestId),
    /// Getting the sum dictionary.
    Sums(RequestId),
    /// Getting this participant's column of the seed dictionary.
    Seeds(RequestId),
    /// Delivering a part of a message.
    Post(RequestId),
    /// Making a message, or a chunk of it.
    Job(JobId, JobKind),
}

/// How far getting the global model is: it goes on beside the main line.
#[derive(Debug, Clone)]
pub(super) enum Fetch {
    /// It is not asked for.
    None,
    /// Getting the round parameters first, for the data type.
    Params(RequestId),
    /// Getting the model.
    Model(RequestId, Arc<RoundParameters>),
    /// Reading the model.
    Job(JobId, Arc<RoundParameters>),
    /// Looking whether it is still the round of a model that was got, for wishes that came meanwhile.
    Check(RequestId, Arc<RoundParameters>, Option<Arc<Model>>),
}

impl Participant {
    /// A participant with an identity and a seed for everything random that it makes. The seed must
    /// be unpredictable, and no other participant may have it.
    pub fn new(keys: SigningKeyPair, root: RootSeed, settings: Settings) -> Self {
        let state = State {
            secret: keys.secret().clone(),
            root,
            round: None,
            stage: Stage::Awaiting,
            model: None,
            passed: Passed::default(),
        };
        Self::from_state(state, settings)
    }

    /// A participant whose identity, too, follows from the seed. The seed must be unpredictable, and no
    /// other participant may have it.
    pub fn from_seed(root: RootSeed, settings: Settings) -> Self {
        let keys = SigningKeyPair::from_seed(&root.derive(Purpose::Identity, &[]));
        Self::new(keys, root, settings)
    }

    /// Goes on where a saved participant was, with other settings if need be.
    ///
    /// # Errors
    /// If the bytes are not a snapshot of a participant, or of a version that is not known.
    pub fn restore(snapshot: &[u8], settings: Settings) -> Result<Self, EnvelopeError> {
        State::from_bytes(snapshot).map(|state| Self::from_state(state, settings))
    }

    /// Like [`Participant::restore`], from a sealed snapshot.
    ///
    /// # Errors
    /// As [`Participant::restore`]; [`EnvelopeError::DoesNotOpen`] if the key is another one.
    pub fn restore_sealed(
        snapshot: &[u8],
        key: &SnapshotKey,
        settings: Settings,
    ) -> Result<Self, EnvelopeError> {
        State::unseal(snapshot, key).map(|state| Self::from_state(state, settings))
    }

    fn from_state(state: State, settings: Settings) -> Self {
        Self {
            keys: SigningKeyPair::from_secret(state.secret),
            root: state.root,
            settings,
            now: Timestamp::ZERO,
            round: state.round,
            passed: state.passed,
            stage: state.stage,
            has_looked: false,
            model: state.model,
            masking: None,
            model_asked: false,
            activity: Activity::Waiting(Timestamp::ZERO),
            fetch: Fetch::None,
            wishes: 0,
            late_wishes: 0,
            misses: 0,
            least_pause: Duration::ZERO,
            holding: Holding::default(),
            held_since: None,
            way: MessageSize::UNLIMITED,
            outputs: VecDeque::new(),
            next_id: 0,
            watch: Watch::default(),
            losses: 0,
            fetch_losses: 0,
            stopped: false,
        }
    }

    /// All that is needed to go on later. Cheap: models and messages are shared, not copied. What is
    /// under way (a request, a job) is begun again after restoring, with the same bytes.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(State {
            secret: self.keys.secret().clone(),
            root: self.root.clone(),
            round: self.round.clone(),
            stage: self.stage.clone(),
            model: self.model.clone(),
            passed: self.passed.clone(),
        })
    }

    /// A second machine in exactly the same state: for exploring what could happen, by giving one this
    /// input and the other that. Only one of them may ever be seen by anyone. Nothing while outputs wait
    /// to be polled: there may be jobs among them, and a job is there once.
    pub fn fork(&self) -> Option<Self> {
        if !self.outputs.is_empty() {
            return None;
        }
        Some(Self {
            keys: self.keys.clone(),
            root: self.root.clone(),
            settings: self.settings.clone(),
            now: self.now,
            round: self.round.clone(),
            passed: self.passed.clone(),
            stage: self.stage.clone(),
            has_looked: self.has_looked,
            model: self.model.clone(),
            masking: self.masking.clone(),
            model_asked: self.model_asked,
            activity: self.activity.clone(),
            fetch: self.fetch.clone(),
            wishes: self.wishes,
            late_wishes: self.late_wishes,
            misses: self.misses,
            least_pause: self.least_pause,
            holding: self.holding.clone(),
            held_since: self.held_since,
            way: self.way,
            outputs: VecDeque::new(),
            next_id: self.next_id,
            // The jobs under way belong to the other one: a job is there once.
            watch: Watch::default(),
            losses: self.losses,
            fetch_losses: self.fetch_losses,
            stopped: self.stopped,
        })
    }

    /// This participant's identity.
    pub fn keys(&self) -> &SigningKeyPair {
        &self.keys
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What this participant does in the current round; [`Task::None`] before the first.
    pub fn task(&self) -> Task {
        self.round.as_ref().map_or(Task::None, |round| round.task)
    }

    /// The parameters of the current round; `None` before the first.
    pub fn parameters(&self) -> Option<&Arc<RoundParameters>> {
        self.round.as_ref().map(|round| &round.parameters)
    }

    /// Whether a local model is there that was not yet used.
    pub fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// The local model that was not yet used, as it was set.
    pub fn local_model(&self) -> Option<&Arc<Model>> {
        self.model.as_ref()
    }

    /// Whether this participant waits for a local model.
    pub fn needs_model(&self) -> bool {
        matches!(self.stage, Stage::Mask { .. } | Stage::FetchSums)
            && self.model.is_none()
            && !matches!(self.activity, Activity::Job(..))
    }

    /// The most bytes that a message may have: as the settings say, or less if something on the way to the
    /// coordinator has refused that.
    pub fn message_size(&self) -> MessageSize {
        self.settings.max_message_size.min(self.way)
    }

    /// Takes in what happened. Afterwards [`Participant::poll_output`] is to be called until it is
    /// idle.
    ///
    /// # Errors
    /// [`Reject`] if the input means nothing now; the machine is as it was.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.notice_lost_jobs(now);
        self.take_input(now, input)
    }

    fn notice_lost_jobs(&mut self, now: Timestamp) {
        for id in self.watch.take_lost() {
            // One that is no longer needed: nothing is wrong.
            let _ = self.take_input(now, Input::JobLost(id));
        }
    }

    pub(super) fn take_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.now = self.now.max(now);
        if self.stopped {
            return Err(Reject::Stopped);
        }
        match input {
            Input::Tick => Ok(()),
            Input::Response { id, response } => self.handle_answer(id, Ok(response)),
            Input::Fault { id, fault } => self.handle_answer(id, Err(fault)),
            Input::JobDone(result) => self.handle_job(result),
            Input::JobLost(id) => self.handle_lost_job(id),
            Input::SetModel(model) => self.set_model(model),
            Input::FetchModel => {
                self.fetch_model();
                Ok(())
            }
            Input::Patience(most) => {
                self.holding.set_most(most);
                Ok(())
            }
            // Only updaters of version 2 ask for that.
            Input::Persisted(id) | Input::NotPersisted { id, .. } => {
                Err(Reject::UnknownPersist(id))
            }
            Input::Stop => {
                self.stopped = true;
                self.outputs.clear();
                Ok(())
            }
        }
    }

    /// Says what should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        self.notice_lost_jobs(self.now);
        self.next_output()
    }

    pub(super) fn next_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if self.stopped {
            return Output::Idle(Idle { wake_at: None, why: Why::Stopped });
        }
        if let Some(Parked { id, sent, response, .. }) = self.holding.take_parked(self.now) {
            // It is what the main line waits for: else it would have been given up.
            let _ = self.take_held_answer(id, sent, Ok(response));
            return self.next_output();
        }
        let idle = match self.activity {
            Activity::Waiting(until) if until <= self.now => {
                self.activity = Activity::Params(self.look());
                return self.next_output();
            }
            Activity::Waiting(until) => Idle {
                // The global model may be read meanwhile.
                wake_at: Some(match self.fetch {
                    Fetch::Job(..) => until.min(self.now + LOOK_EVERY),
                    _ => until,
                }),
                why: match self.stage {
                    Stage::Mask { .. } if self.model.is_none() => Why::LocalModel,
                    _ => Why::Poll,
                },
            },
            Activity::Job(..) => Idle {
                wake_at: Some(self.now + LOOK_EVERY),
                why: if self.losses == 0 { Why::Job } else { Why::LostJob },
            },
            // The global model is read meanwhile.
            _ if matches!(self.fetch, Fetch::Job(..)) => {
                Idle { wake_at: Some(self.now + LOOK_EVERY), why: Why::Answer }
            }
            _ if self.holding.is_held()
                && self.needs_model()
                && matches!(self.stage, Stage::Mask { .. }) =>
            {
                Idle { wake_at: self.holding.parked_until(), why: Why::LocalModel }
            }
            _ => match self.holding.parked_until() {
                Some(until) => Idle { wake_at: Some(until), why: Why::Poll },
                None => Idle { wake_at: None, why: Why::Answer },
            },
        };
        Output::Idle(idle)
    }

    pub(super) fn request(&mut self, call: Call) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.outputs.push_back(Output::Request { id, call });
        id
    }

    pub(super) fn hand_over(&mut self, message: HandedOver) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.outputs.push_back(Output::HandOver { id, message });
        id
    }

    /// Whether a request was not yet polled.
    pub(super) fn is_unsent(&self, request: RequestId) -> bool {
        let is_it =
            |output: &Output| matches!(output, Output::Request { id, .. } if *id == request);
        self.outputs.iter().any(is_it)
    }

    pub(super) fn trouble(&mut self, call: &'static str, reason: TroubleReason) {
        self.event(Event::Trouble(Trouble { call, reason }));
        self.wait_longer();
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    // Pauses.

    pub(super) fn wait_after_progress(&mut self) {
        self.misses = 0;
        self.wait();
    }

    pub(super) fn wait_longer(&mut self) {
        self.misses = self.misses.saturating_add(1);
        self.wait();
    }

    fn wait(&mut self) {
        let least = std::mem::take(&mut self.least_pause);
        let from = self.held_since.unwrap_or(self.now);
        let until = from + self.settings.polling.pause(self.misses);
        self.activity = Activity::Waiting(until.max(self.now + least));
    }

    pub(super) fn go_on(&mut self) {
        self.misses = 0;
        self.activity = Activity::Waiting(self.now);
    }

    // Jobs.

    pub(super) fn job(&mut self, work: impl Work<Outcome> + 'static) -> JobId {
        let id = JobId(self.next_id);
        self.next_id += 1;
        self.outputs.push_back(Output::Job(Job::watched(id, work, &mut self.watch)));
        id
    }

    pub(super) fn has_given_out(&self, id: JobId) -> bool {
        id.0 < self.next_id
    }

    /// Has memory freed elsewhere if it is much: that takes time, too.
    pub(super) fn release(&mut self, bytes: usize, garbage: impl Send + 'static) {
        if bytes >= RELEASE_FROM {
            let id = JobId(self.next_id);
            self.next_id += 1;
            let work = Release::new(garbage, Outcome::Released);
            self.outputs.push_back(Output::Job(Job::new(id, work)));
        }
    }

    pub(super) fn set_stage(&mut self, stage: Stage) {
        let old = std::mem::replace(&mut self.stage, stage);
        self.release(old.bytes(), old);
    }
}
