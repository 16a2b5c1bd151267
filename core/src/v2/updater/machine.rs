//! The updater's machine: what it is, and how it is driven.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::base::{Base, Certified};
use super::state::{Given, Local, Promise, Round, Stage, State, ENVELOPE};
use super::{Ledger, Refusal};
use crate::crypto::{Purpose, RootSeed, SigningKeyPair, SnapshotKey, Task};
use crate::holding::{GivenUp, Holding, Parked};
use crate::job::{JobId, JobKind, Release, Watch, Work, LOOK_EVERY};
use crate::model::Model;
use crate::participant::{
    give_up, is_snapshot as is_v1_snapshot, Event, FetchError, Idle, Input, Job, Outcome, Output,
    Reject, Settings, Snapshot, Trouble, TroubleReason, Why,
};
use crate::request::{self, Patience, RequestId};
use crate::round::RoundParameters;
use crate::snapshot::EnvelopeError;
use crate::time::Timestamp;
use crate::v2::member::PersistId;
use crate::v2::{Call, Context, Pin, Roster, RoundView, Terms};

/// Values at least this large, in bytes, are freed in a job.
const RELEASE_FROM: usize = 1 << 16;

/// The longest pause that a coordinator can ask for.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// An updater. See the [module's page](super).
#[derive(Debug)]
pub struct Updater {
    pub(super) keys: SigningKeyPair,
    pub(super) root: RootSeed,
    pub(super) pin: Pin,
    pub(super) settings: Settings,
    pub(super) now: Timestamp,
    pub(super) roster: Option<Arc<Roster>>,
    /// What the latest look at the coordinator has shown.
    pub(super) view: Option<RoundView>,
    pub(super) round: Option<Round>,
    /// The context of the round whose terms were looked at, and are in order.
    pub(super) accepted: Option<Context>,
    /// The round's, as [`Updater::parameters`] gives them.
    parameters: Option<Arc<RoundParameters>>,
    pub(super) stage: Stage,
    pub(super) promise: Option<Promise>,
    /// The latest certificate that was checked.
    pub(super) certificate: Option<Certified>,
    pub(super) certified: Option<u64>,
    /// The global model that was got last.
    pub(super) base: Option<Base>,
    /// Of which round the certificate or the model is that a job has.
    pub(super) checking: u64,
    pub(super) given: Option<Given>,
    pub(super) local: Option<Local>,
    /// The local model that is being masked: it is used up when that succeeds.
    pub(super) masking: Option<Arc<Model>>,
    /// Whether the user was asked for a model in this round.
    pub(super) model_asked: bool,
    pub(super) ledger: Ledger,
    pub(super) activity: Activity,
    /// How many wishes for the global model are answered after the look that is under way, and how many after the next.
    pub(super) wishes: usize,
    pub(super) late_wishes: usize,
    /// The name of what was refused last: it is told once.
    pub(super) told: Option<&'static str>,
    /// Whether that was about the round before the one that begins next: there it is not told again.
    pub(super) told_before_round: bool,
    /// Whether the latest look has ended in trouble or a refusal: whoever wishes for the global model then waits for the next
    /// one, which is not taken any earlier for that.
    pub(super) is_troubled: bool,
    /// How many looks at the coordinator in a row brought no progress.
    pub(super) misses: u32,
    /// How long the next pause is at least, and until when the coordinator is left alone whoever wishes for something.
    pub(super) least_pause: Duration,
    hold: Timestamp,
    pub(super) holding: Holding,
    /// While an answer is taken that could be held back: when its request was sent.
    pub(super) held_since: Option<Timestamp>,
    /// Whether the latest look has shown that nothing is to be done before the round is another one, or in another phase.
    pub(super) only_waits: bool,
    /// How often in a row a job of this kind was lost.
    pub(super) losses: u32,
    pub(super) lost: Option<JobKind>,
    outputs: VecDeque<Output>,
    next_id: u64,
    pub(super) watch: Watch,
    /// Whether promises are stored before an update leaves.
    pub(super) stores: bool,
    /// Whether what was promised and spent is not stored yet.
    pub(super) is_unsaved: bool,
    stopped: bool,
}

/// What the machine is doing. Every step begins with a look at the round.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activity {
    /// Nothing until then.
    Waiting(Timestamp),
    /// Waiting for an answer.
    Asking(RequestId, Asked),
    /// Waiting for a job.
    Job(JobId, JobKind),
    /// Having the state stored.
    Persist(PersistId),
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Round,
    Roster,
    Announcements,
    Certificate(u64),
    Proof,
    Model(u64),
    Delivery,
}

impl Asked {
    /// As trouble is told.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::Roster => "roster",
            Self::Announcements => "announcements",
            Self::Certificate(_) => "certificate",
            Self::Proof => "proof",
            Self::Model(_) => "model",
            Self::Delivery => "update",
        }
    }
}

impl Updater {
    /// An updater with an identity and a seed for everything random that it makes. The seed must be unpredictable, and
    /// no other participant may have it.
    pub fn new(keys: SigningKeyPair, root: RootSeed, pin: Pin, settings: Settings) -> Self {
        let state = State {
            secret: keys.secret().clone(),
            root,
            round: None,
            stage: Stage::Idle,
            promise: None,
            certified: None,
            given: None,
            local: None,
            ledger: Ledger::default(),
        };
        Self::from_state(state, pin, settings)
    }

    /// An updater whose identity, too, follows from the seed.
    pub fn from_seed(root: RootSeed, pin: Pin, settings: Settings) -> Self {
        let keys = SigningKeyPair::from_seed(&root.derive(Purpose::Identity, &[]));
        Self::new(keys, root, pin, settings)
    }

    /// Goes on where a saved updater was, with another pin and settings if need be.
    ///
    /// # Errors
    /// If the bytes are not a snapshot of an updater, or of a version that is not known.
    pub fn restore(snapshot: &[u8], pin: Pin, settings: Settings) -> Result<Self, EnvelopeError> {
        is_v2(snapshot)?;
        ENVELOPE.read(snapshot).map(|state| Self::from_state(state, pin, settings))
    }

    /// Like [`Updater::restore`], from a sealed snapshot.
    ///
    /// # Errors
    /// As [`Updater::restore`]; [`EnvelopeError::DoesNotOpen`] if the key is another one.
    pub fn restore_sealed(
        snapshot: &[u8],
        key: &SnapshotKey,
        pin: Pin,
        settings: Settings,
    ) -> Result<Self, EnvelopeError> {
        is_v2(snapshot)?;
        ENVELOPE.unseal(snapshot, key).map(|state| Self::from_state(state, pin, settings))
    }

    fn from_state(state: State, pin: Pin, settings: Settings) -> Self {
        let State { secret, root, round, stage, promise, certified, given, local, ledger } = state;
        let is_unsaved = matches!(stage, Stage::Deliver(_));
        let parameters = round.as_ref().map(|round| Arc::new(round.terms.parameters.clone()));
        Self {
            keys: SigningKeyPair::from_secret(secret),
            root,
            pin,
            settings: Settings { pin: Some(pin), ..settings },
            now: Timestamp::ZERO,
            roster: None,
            view: None,
            round,
            accepted: None,
            parameters,
            stage,
            promise,
            certificate: None,
            certified,
            base: None,
            checking: 0,
            given,
            local,
            masking: None,
            model_asked: false,
            ledger,
            activity: Activity::Waiting(Timestamp::ZERO),
            wishes: 0,
            late_wishes: 0,
            told: None,
            told_before_round: false,
            is_troubled: false,
            misses: 0,
            least_pause: Duration::ZERO,
            hold: Timestamp::ZERO,
            holding: Holding::default(),
            held_since: None,
            only_waits: false,
            losses: 0,
            lost: None,
            outputs: VecDeque::new(),
            next_id: 0,
            watch: Watch::default(),
            stores: false,
            // Nobody knows whether what is restored is what is stored.
            is_unsaved,
            stopped: false,
        }
    }

    /// The driver stores states: what is promised and spent is stored with [`Output::Persist`] before an update leaves.
    /// Without this it is in memory only, and who is killed forgets what it has spent since its state was saved.
    pub fn store_promises(&mut self) {
        self.stores = true;
    }

    /// All that is needed to go on later. Cheap: models and messages are shared, not copied. What is under way is begun again
    /// after restoring, with the same bytes.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of_updater(self.state())
    }

    fn state(&self) -> State {
        State {
            secret: self.keys.secret().clone(),
            root: self.root.clone(),
            round: self.round.clone(),
            stage: self.stage.clone(),
            promise: self.promise,
            certified: self.certified,
            given: self.given,
            local: self.local.clone(),
            ledger: self.ledger,
        }
    }

    /// A second machine in exactly the same state: for exploring what could happen, by giving one this input and the other
    /// that. Only one of them may ever be seen by anyone. Nothing while outputs wait to be polled.
    pub fn fork(&self) -> Option<Self> {
        if !self.outputs.is_empty() {
            return None;
        }
        Some(Self {
            keys: self.keys.clone(),
            root: self.root.clone(),
            pin: self.pin,
            settings: self.settings.clone(),
            now: self.now,
            roster: self.roster.clone(),
            view: self.view.clone(),
            round: self.round.clone(),
            accepted: self.accepted,
            parameters: self.parameters.clone(),
            stage: self.stage.clone(),
            promise: self.promise,
            certificate: self.certificate,
            certified: self.certified,
            base: self.base.clone(),
            checking: self.checking,
            given: self.given,
            local: self.local.clone(),
            masking: self.masking.clone(),
            model_asked: self.model_asked,
            ledger: self.ledger,
            activity: self.activity,
            wishes: self.wishes,
            late_wishes: self.late_wishes,
            told: self.told,
            told_before_round: self.told_before_round,
            is_troubled: self.is_troubled,
            misses: self.misses,
            least_pause: self.least_pause,
            hold: self.hold,
            holding: self.holding.clone(),
            held_since: self.held_since,
            only_waits: self.only_waits,
            losses: self.losses,
            lost: self.lost,
            outputs: VecDeque::new(),
            next_id: self.next_id,
            // The jobs under way belong to the other one: a job is there once.
            watch: Watch::default(),
            stores: self.stores,
            is_unsaved: self.is_unsaved,
            stopped: self.stopped,
        })
    }

    /// This updater's identity.
    pub fn keys(&self) -> &SigningKeyPair {
        &self.keys
    }

    /// What it insists on.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// The settings, with the pin.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it has spent of its privacy.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether it takes part in a round: every updater updates. [`Task::None`] before the first.
    pub fn task(&self) -> Task {
        self.round.as_ref().map_or(Task::None, |_| Task::Update)
    }

    /// The parameters of the current round; `None` before the first.
    pub fn parameters(&self) -> Option<&Arc<RoundParameters>> {
        self.parameters.as_ref()
    }

    /// The terms of the current round; `None` before the first.
    pub fn terms(&self) -> Option<&Arc<Terms>> {
        self.round.as_ref().map(|round| &round.terms)
    }

    /// Whether a local model is there that was not yet used.
    pub fn has_model(&self) -> bool {
        self.local.is_some()
    }

    /// The local model that was not yet used, as it was set.
    pub fn local_model(&self) -> Option<&Arc<Model>> {
        self.local.as_ref().map(|local| &local.model)
    }

    /// Whether this updater waits for a local model.
    pub fn needs_model(&self) -> bool {
        matches!(self.stage, Stage::Train)
            && self.model_asked
            && self.local.is_none()
            && !matches!(self.activity, Activity::Job(..))
    }

    /// Takes in what happened. Afterwards [`Updater::poll_output`] is to be called until it is idle.
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
            Input::Patience(most) => {
                self.holding.set_most(most);
                Ok(())
            }
            Input::Response { id, response } => self.handle_answer(id, Ok(response)),
            Input::Fault { id, fault } => self.handle_answer(id, Err(fault)),
            Input::JobDone(result) => self.handle_job(result),
            Input::JobLost(id) => self.handle_lost_job(id),
            Input::SetModel(model) => self.set_model(model),
            Input::FetchModel => {
                self.wish();
                Ok(())
            }
            Input::Persisted(id) => self.handle_persisted(id, Ok(())),
            Input::NotPersisted { id, reason } => self.handle_persisted(id, Err(reason)),
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
            return Output::Idle(Idle::new(None, Why::Stopped));
        }
        if let Some(Parked { id, sent, response, .. }) = self.holding.take_parked(self.now) {
            // It is what is waited for: else it would have been given up.
            let _ = self.take_held_answer(id, sent, Ok(response));
            return self.next_output();
        }
        let idle = match self.activity {
            Activity::Waiting(until) if until <= self.now => {
                // Who wishes for the global model now gets one that is looked for now.
                self.wishes = self.wishes.saturating_add(std::mem::take(&mut self.late_wishes));
                self.look();
                return self.next_output();
            }
            Activity::Waiting(until) => {
                Idle::new(Some(until), if self.needs_model() { Why::LocalModel } else { Why::Poll })
            }
            Activity::Job(..) => Idle::new(
                Some(self.now + LOOK_EVERY),
                if self.losses == 0 { Why::Job } else { Why::LostJob },
            ),
            Activity::Asking(..) if self.holding.is_held() && self.needs_model() => {
                Idle::new(self.holding.parked_until(), Why::LocalModel)
            }
            Activity::Asking(..) => match self.holding.parked_until() {
                Some(until) => Idle::new(Some(until), Why::Poll),
                None => Idle::new(None, Why::Answer),
            },
            Activity::Persist(_) => Idle::new(None, Why::Storage),
        };
        Output::Idle(idle)
    }

    /// Looks at the round. Where nothing but another phase brings this updater on, the answer may be held back until there is
    /// one.
    fn look(&mut self) {
        let only_waits = std::mem::take(&mut self.only_waits) && self.wishes == 0;
        let id = self.ask(Call::Round, Asked::Round);
        let known = self.view.as_ref().filter(|_| only_waits && self.holding.is_on());
        if let Some(tag) = known.map(|view| view.stage_tag().to_string()) {
            self.holding.ask(id, self.now, Some(tag));
        }
    }

    /// How long the answer to a request may be held back, as
    /// [`Participant::patience`](crate::participant::Participant::patience).
    pub fn patience(&self, id: RequestId) -> Option<&Patience> {
        self.holding.patience(id)
    }

    /// There is something to do that does not wait for a look that is held back: whether there was one.
    pub(super) fn give_up_held_look(&mut self) -> bool {
        let Activity::Asking(look, Asked::Round) = self.activity else { return false };
        match self.holding.give_up(look) {
            GivenUp::Nothing => return false,
            GivenUp::Answered => {}
            GivenUp::Request => give_up(&mut self.outputs, look),
        }
        self.activity = Activity::Waiting(self.now.max(self.hold));
        true
    }

    pub(super) fn ask(&mut self, call: Call, asked: Asked) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.outputs.push_back(Output::Request { id, call: request::Call::V2(call) });
        self.activity = Activity::Asking(id, asked);
        id
    }

    /// Whether the update has to wait until what it promises is stored: that is asked for.
    pub(super) fn persist_first(&mut self) -> bool {
        if !(self.stores && self.is_unsaved) {
            return false;
        }
        let id = PersistId(self.next_id);
        self.next_id += 1;
        let mut state = self.state();
        // Small, however large the models are: who goes on from it sits the round out.
        state.stage = Stage::Idle;
        state.local = None;
        self.outputs.push_back(Output::Persist { id, snapshot: Snapshot::of_updater(state) });
        self.activity = Activity::Persist(id);
        true
    }

    fn handle_persisted(
        &mut self,
        id: PersistId,
        stored: Result<(), String>,
    ) -> Result<(), Reject> {
        if !matches!(self.activity, Activity::Persist(expected) if expected == id) {
            return Err(Reject::UnknownPersist(id));
        }
        match stored {
            Ok(()) => {
                self.is_unsaved = false;
                self.go_on();
            }
            Err(reason) => self.trouble("state", TroubleReason::NotStored(reason)),
        }
        Ok(())
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// The coordinator could not be asked, or has given nonsense: another look is taken later.
    pub(super) fn trouble(&mut self, call: &'static str, reason: TroubleReason) {
        let trouble = Trouble { call, reason };
        self.event(Event::Trouble(trouble.clone()));
        self.fail_wishes(&trouble.into());
        self.is_troubled = true;
        self.wait_longer();
    }

    /// It is told once, until something else is, or the next round begins: another look is taken later, as it may be put right.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.fail_wishes(&FetchError::Refused(refusal.clone()));
        self.is_troubled = true;
        if self.told.replace(refusal.name()) != Some(refusal.name()) {
            self.event(Event::Refused(refusal));
        }
        self.wait_longer();
    }

    // Wishes for the global model. Each gets an answer of its own, with what a look has found that was begun later.

    fn wish(&mut self) {
        self.late_wishes = self.late_wishes.saturating_add(1);
        if let (Activity::Waiting(until), false) = (self.activity, self.is_troubled) {
            self.activity = Activity::Waiting(until.min(self.hold.max(self.now)));
        }
        self.give_up_held_look();
    }

    pub(super) fn answer_wishes(&mut self, model: Option<Arc<Model>>) {
        for _ in 0..std::mem::take(&mut self.wishes) {
            self.event(Event::GlobalModel(model.clone()));
        }
    }

    pub(super) fn fail_wishes(&mut self, error: &FetchError) {
        for _ in 0..std::mem::take(&mut self.wishes) {
            self.event(Event::GlobalModelFailed(error.clone()));
        }
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
        self.hold = self.now + std::mem::take(&mut self.least_pause);
        // Who has waited for its answer already does not wait again.
        let from = self.held_since.unwrap_or(self.now);
        let until = match self.late_wishes {
            0 => self.hold.max(from + self.settings.polling.pause(self.misses)),
            _ if self.is_troubled => self.hold.max(from + self.settings.polling.pause(self.misses)),
            _ => self.hold,
        };
        self.activity = Activity::Waiting(until);
    }

    pub(super) fn go_on(&mut self) {
        self.misses = 0;
        self.only_waits = false;
        self.activity = Activity::Waiting(self.now);
    }

    // Jobs.

    pub(super) fn job(&mut self, work: impl Work<Outcome> + 'static) {
        let id = JobId(self.next_id);
        self.next_id += 1;
        self.activity = Activity::Job(id, work.kind());
        self.outputs.push_back(Output::Job(Job::watched(id, work, &mut self.watch)));
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

    pub(super) fn set_round(&mut self, round: Round) {
        self.parameters = Some(Arc::new(round.terms.parameters.clone()));
        self.round = Some(round);
    }

    /// The time of day, in seconds since 1970.
    pub(super) fn seconds(&self) -> u64 {
        self.now.as_millis() / 1000
    }
}

fn is_v2(snapshot: &[u8]) -> Result<(), EnvelopeError> {
    match is_v1_snapshot(snapshot) {
        true => Err(EnvelopeError::OtherProtocol { found: 1, wanted: 2 }),
        false => Ok(()),
    }
}
