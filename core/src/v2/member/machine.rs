//! The member's machine.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, Post, Trouble, TroubleReason};
use super::io::{Idle, Input, Output, PersistId, Reject, Why};
use super::round::Round;
use super::settings::Settings;
use super::snapshot::{Promise, Snapshot, State};
use super::{Job, Outcome, Refusal};
use crate::crypto::{RootSeed, SigningKeyPair, SnapshotKey};
use crate::job::{JobId, JobKind, Release, Watch, Work, LOOK_EVERY};
use crate::request::{Call, RequestId};
use crate::snapshot::EnvelopeError;
use crate::time::Timestamp;
use crate::v2::{self, Context, MemberId, Pin, Roster, RoundView};

/// Values at least this large, in bytes, are freed in a job.
const RELEASE_FROM: usize = 1 << 16;

/// The longest pause that a coordinator can ask for.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// While a look at the round is not older than this, the next step is taken without another.
const FRESH: Duration = Duration::from_millis(500);

/// A member. See the [module's page](super) for how to drive it.
#[derive(Debug)]
pub struct Member {
    pub(super) keys: SigningKeyPair,
    pub(super) root: RootSeed,
    /// What vote keys are derived from: of this start, and never stored.
    pub(super) boot: RootSeed,
    pub(super) pin: Pin,
    pub(super) settings: Settings,
    pub(super) now: Timestamp,
    /// Whether there was a life before this one.
    pub(super) is_restored: bool,
    /// When it was first called.
    pub(super) started: Option<Timestamp>,
    pub(super) promise: Option<Promise>,
    /// Whether something must be stored before anything leaves.
    pub(super) is_unsaved: bool,
    pub(super) roster: Option<(Arc<Roster>, MemberId)>,
    /// The coordinator's round, as it was last seen, and when that was.
    pub(super) view: Option<Arc<RoundView>>,
    pub(super) looked_at: Timestamp,
    pub(super) seen: Option<Context>,
    /// The reasons that were told in the round that is seen.
    pub(super) told: BTreeSet<&'static str>,
    /// The round that it takes part in.
    pub(super) round: Option<Box<Round>>,
    pub(super) activity: Activity,
    /// Why the last try has failed.
    pub(super) failure: Option<Arc<Trouble>>,
    /// How many looks at the coordinator in a row brought no progress.
    pub(super) misses: u32,
    /// How long the next pause is at least.
    pub(super) least_pause: Duration,
    outputs: VecDeque<Output>,
    next_id: u64,
    pub(super) watch: Watch,
    /// How often in a row a job was lost.
    pub(super) losses: u32,
    is_stopped: bool,
}

/// What the machine is doing: one thing at a time.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Activity {
    /// Nothing until then.
    Waiting(Timestamp, Why),
    /// Looking at the round.
    Look(RequestId),
    /// Getting something of the round.
    Fetch(RequestId, Wanted),
    /// Delivering something.
    Post(RequestId, Post),
    /// Checking or making something.
    Job(JobId, JobKind, Wanted),
    /// Having the state stored.
    Persist(PersistId),
}

/// What is fetched, and then checked in a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Roster,
    Announcements,
    Entries,
    Set,
    Votes,
    /// Made, not fetched.
    Mask,
}

impl Wanted {
    /// The name in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Roster => "roster",
            Self::Announcements => "announcements",
            Self::Entries => "entries",
            Self::Set => "set",
            Self::Votes => "votes",
            Self::Mask => "mask",
        }
    }
}

impl Member {
    /// A member with an identity that never announced itself before (whoever cannot know that
    /// [restores](Member::restore) its first snapshot, as the drivers do), and a seed for everything random that it makes.
    /// Both seeds must be unpredictable, and nobody else may have them; `boot` must be drawn anew at every start, and
    /// never be stored: what it votes with is derived from it.
    pub fn new(
        keys: SigningKeyPair,
        root: RootSeed,
        boot: RootSeed,
        pin: Pin,
        settings: Settings,
    ) -> Self {
        let state = State { secret: keys.secret().clone(), root, pin, promise: None };
        Self::from_state(state, boot, settings, false)
    }

    /// Goes on where a saved member was, with other settings if need be. `boot` must be drawn anew.
    ///
    /// It takes part in rounds that are opened after it was started; in one in which it has announced itself before, it
    /// still opens boxes and sends its mask, but does not vote.
    ///
    /// # Errors
    /// If the bytes are not a snapshot of a member, or of a version that is not known.
    pub fn restore(
        snapshot: &[u8],
        boot: RootSeed,
        settings: Settings,
    ) -> Result<Self, EnvelopeError> {
        State::from_bytes(snapshot).map(|state| Self::from_state(state, boot, settings, true))
    }

    /// Like [`Member::restore`], from a sealed snapshot.
    ///
    /// # Errors
    /// As [`Member::restore`]; [`EnvelopeError::DoesNotOpen`] if the key is another one.
    pub fn restore_sealed(
        snapshot: &[u8],
        key: &SnapshotKey,
        boot: RootSeed,
        settings: Settings,
    ) -> Result<Self, EnvelopeError> {
        State::unseal(snapshot, key).map(|state| Self::from_state(state, boot, settings, true))
    }

    fn from_state(state: State, boot: RootSeed, settings: Settings, is_restored: bool) -> Self {
        Self {
            keys: SigningKeyPair::from_secret(state.secret),
            root: state.root,
            boot,
            pin: state.pin,
            settings,
            now: Timestamp::ZERO,
            is_restored,
            started: None,
            promise: state.promise,
            is_unsaved: false,
            roster: None,
            view: None,
            looked_at: Timestamp::ZERO,
            seen: None,
            told: BTreeSet::new(),
            round: None,
            activity: Activity::Waiting(Timestamp::ZERO, Why::Coordinator),
            failure: None,
            misses: 0,
            least_pause: Duration::ZERO,
            outputs: VecDeque::new(),
            next_id: 0,
            watch: Watch::default(),
            losses: 0,
            is_stopped: false,
        }
    }

    /// This member with another pin: what it pins is part of its state, so that nobody changes it by mistake with a
    /// settings file.
    #[must_use]
    pub fn with_pin(mut self, pin: Pin) -> Self {
        self.pin = pin;
        self
    }

    /// All that is needed to go on later. It is only good until the next [`Output::Persist`]: never go back to an older
    /// one.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(State {
            secret: self.keys.secret().clone(),
            root: self.root.clone(),
            pin: self.pin,
            promise: self.promise.clone(),
        })
    }

    /// A second machine in exactly the same state: for exploring what could happen, by giving one this input and the
    /// other that. Only one of them may ever be seen by anyone. Nothing while outputs wait to be polled: there may be
    /// jobs among them, and a job is there once.
    pub fn fork(&self) -> Option<Self> {
        if !self.outputs.is_empty() {
            return None;
        }
        Some(Self {
            keys: self.keys.clone(),
            root: self.root.clone(),
            boot: self.boot.clone(),
            pin: self.pin,
            settings: self.settings.clone(),
            now: self.now,
            is_restored: self.is_restored,
            started: self.started,
            promise: self.promise.clone(),
            is_unsaved: self.is_unsaved,
            roster: self.roster.clone(),
            view: self.view.clone(),
            looked_at: self.looked_at,
            seen: self.seen,
            told: self.told.clone(),
            round: self.round.clone(),
            activity: self.activity.clone(),
            failure: self.failure.clone(),
            misses: self.misses,
            least_pause: self.least_pause,
            outputs: VecDeque::new(),
            next_id: self.next_id,
            // The jobs under way belong to the other one: a job is there once.
            watch: Watch::default(),
            losses: self.losses,
            is_stopped: self.is_stopped,
        })
    }

    /// This member's identity.
    pub fn keys(&self) -> &SigningKeyPair {
        &self.keys
    }

    /// What it pins.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes in what happened. Afterwards [`Member::poll_output`] is to be called until it is idle.
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

    fn take_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.now = self.now.max(now);
        self.started.get_or_insert_with(|| {
            // The clock may have been set back: what was promised in the life before was promised before this one. What is
            // promised in this life is not forgotten in it.
            let promised = self.promise.as_ref().map_or(0, |promise| promise.at);
            self.now.max(Timestamp::from_millis(promised))
        });
        if self.is_stopped {
            return Err(Reject::Stopped);
        }
        match input {
            Input::Tick => Ok(()),
            Input::Response { id, response } => self.handle_answer(id, Ok(response)),
            Input::Fault { id, fault } => self.handle_answer(id, Err(fault)),
            Input::JobDone(result) => self.handle_job(result),
            Input::JobLost(id) => self.handle_lost_job(id),
            Input::Persisted(id) => self.handle_persisted(id),
            Input::Stop => {
                self.is_stopped = true;
                self.outputs.clear();
                Ok(())
            }
        }
    }

    /// Says what should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        self.notice_lost_jobs(self.now);
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if let Activity::Waiting(until, _) = self.activity {
            if until <= self.now && !self.is_stopped {
                self.end_old_round();
                if self.is_unsaved {
                    self.persist();
                    return self.poll_output();
                }
                let id = self.request(v2::Call::Round);
                self.activity = Activity::Look(id);
                return self.poll_output();
            }
        }
        Output::Idle(self.idle())
    }

    /// What it waits for, and until when at most.
    fn idle(&self) -> Idle {
        let (wake_at, why) = match self.activity {
            _ if self.is_stopped => (None, Why::Stopped),
            Activity::Waiting(until, why) => (Some(until), why),
            Activity::Job(..) => {
                let why = if self.losses == 0 { Why::Job } else { Why::LostJob };
                (Some(self.now + LOOK_EVERY), why)
            }
            Activity::Persist(_) => (None, Why::Storage),
            Activity::Look(_) | Activity::Fetch(..) | Activity::Post(..) => (None, Why::Answer),
        };
        Idle { wake_at, why, failure: self.failure.clone() }
    }

    pub(super) fn why(&self) -> Why {
        self.idle().why
    }

    pub(super) fn request(&mut self, call: v2::Call) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.outputs.push_back(Output::Request { id, call: Call::V2(call) });
        id
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Says what is refused, once in a round.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        if self.told.insert(refusal.label()) {
            let round = self.view.as_ref().and_then(|view| view.terms.as_ref());
            let round = round.map(|terms| terms.round);
            self.event(Event::Refused { round, refusal });
        }
    }

    /// Says what is refused, and does nothing more in the round.
    pub(super) fn sit_out(&mut self, refusal: Refusal) {
        self.refuse(refusal.clone());
        if let Some(round) = &mut self.round {
            round.out = Some(refusal);
        }
    }

    pub(super) fn trouble(&mut self, call: &'static str, reason: impl Into<TroubleReason>) {
        let trouble = Trouble::new(call, reason);
        self.failure = Some(Arc::new(trouble.clone()));
        self.event(Event::Trouble(trouble));
        let why = if self.view.is_some() { Why::Answer } else { Why::Coordinator };
        self.wait_longer(why);
    }

    // Pauses.

    pub(super) fn wait_longer(&mut self, why: Why) {
        self.misses = self.misses.saturating_add(1);
        self.wait(why);
    }

    fn wait(&mut self, why: Why) {
        let least = std::mem::take(&mut self.least_pause);
        let pause = self.settings.polling.pause(self.misses).max(least);
        self.activity = Activity::Waiting(self.now + pause, why);
    }

    /// Something has come about: the next thing is done at once, with a look at the round if the last is not fresh.
    pub(super) fn go_on(&mut self) {
        self.misses = 0;
        self.failure = None;
        if self.now.saturating_since(self.looked_at) < FRESH {
            self.step();
        } else {
            self.activity = Activity::Waiting(self.now, Why::Coordinator);
        }
    }

    // Storing.

    /// Has the state stored; nothing else happens before that is confirmed.
    pub(super) fn persist(&mut self) {
        let id = PersistId(self.next_id);
        self.next_id += 1;
        let snapshot = self.snapshot();
        self.outputs.push_back(Output::Persist { id, snapshot });
        self.activity = Activity::Persist(id);
    }

    fn handle_persisted(&mut self, id: PersistId) -> Result<(), Reject> {
        if self.activity != Activity::Persist(id) {
            return Err(Reject::UnknownPersist(id));
        }
        self.is_unsaved = false;
        self.go_on();
        Ok(())
    }

    // Jobs.

    pub(super) fn job(&mut self, wanted: Wanted, work: impl Work<Outcome> + 'static) {
        let id = JobId(self.next_id);
        self.next_id += 1;
        self.activity = Activity::Job(id, work.kind(), wanted);
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
}

/// What a member waits for that has been unable to check something.
impl Member {
    pub(super) fn why_of(&self, wanted: Wanted) -> Why {
        let is_out = self.round.as_deref().is_some_and(|round| round.out.is_some());
        match wanted {
            _ if is_out => Why::SitsOut,
            Wanted::Roster => Why::Round,
            Wanted::Announcements => Why::Announcements,
            Wanted::Entries => Why::Updates,
            Wanted::Set => Why::Reports,
            Wanted::Votes => Why::Votes,
            Wanted::Mask => Why::Masks,
        }
    }
}
