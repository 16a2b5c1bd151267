//! The coordinator's machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::garbage::RELEASE_FROM;
use super::io::{Idle, Input, Output, Reject, Why};
use super::jobs::Outcome;
use super::outbox::Outbox;
use super::patience::Patience;
use super::phases::{End, Stage};
use super::settings::{InvalidSettings, Settings};
use super::state::State;
use super::underway::{Running, UnderWay};
use super::{Completed, Front, Phase, Record, Rejection};
use crate::crypto::RootSeed;
use crate::job::{Work, LOOK_EVERY};
use crate::time::Timestamp;
use crate::v2::{MemberId, Terms};

/// A coordinator of version 2. See the [module's page](super) for how to drive it.
pub struct Coordinator {
    pub(super) settings: Settings,
    /// What holds from the next round on.
    pub(super) next_settings: Option<Settings>,
    pub(super) clock: Clock,
    /// How long the announce phase goes on without news.
    pub(super) patience: Patience,
    /// All that records tell of. Only [`Coordinator::record`] changes it.
    pub(super) state: State,
    pub(super) standing: Standing,
    /// No more rounds begin for now.
    pub(super) paused: bool,
    /// What was put out last to be answered with.
    pub(super) shown: Front,
    /// Who is asked for masks, as it was shown.
    pub(super) wanted: Vec<MemberId>,
    pub(super) under_way: UnderWay,
    pub(super) outbox: Outbox,
}

/// Whether the machine is in the phase that its records have led to. There are no records of the other two:
/// who goes on from records goes on with the round, or with the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    InRound,
    /// The round is over, and the next one may not begin.
    BetweenRounds,
    Stopped,
}

/// Shows where it is, and nothing that was collected.
impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator")
            .field("round", &self.round())
            .field("phase", &self.phase())
            .field("accepted", &self.accepted())
            .field("running", &self.under_way.jobs())
            .finish_non_exhaustive()
    }
}

impl Coordinator {
    /// A coordinator that begins its first round at once, at a time since the Unix epoch. The seed must be unpredictable,
    /// and no other coordinator, a later one of the same server included, may have it: the keys of all rounds
    /// are derived from it and the round's number.
    ///
    /// # Errors
    /// If the settings break a rule.
    pub fn new(
        settings: Settings,
        root: RootSeed,
        now: Timestamp,
    ) -> Result<Self, InvalidSettings> {
        settings.validate()?;
        Ok(Self::start(settings, root, None, now))
    }

    /// Begins the round after the last that was completed, or the first of all.
    pub(super) fn start(
        settings: Settings,
        root: RootSeed,
        last: Option<Arc<Completed>>,
        now: Timestamp,
    ) -> Self {
        let next = last.as_ref().map_or(1, |last| last.round().saturating_add(1));
        let round = next.max(settings.first_round);
        let record = State::begin(&settings, &root, last.as_deref(), round, now);
        let state = State::first(root, last, &record);
        let state = state.expect("the record begins a round, with the keys of this root seed");
        let mut machine = Self::with(state, settings, Clock::new(now, Duration::ZERO));
        machine.outbox.persist(record);
        machine.begun_phase();
        machine.tell_start();
        machine
    }

    fn with(state: State, settings: Settings, clock: Clock) -> Self {
        Self {
            settings,
            next_settings: None,
            clock,
            patience: Patience::default(),
            state,
            standing: Standing::InRound,
            paused: false,
            shown: Front::new(),
            wanted: Vec::new(),
            under_way: UnderWay::default(),
            outbox: Outbox::default(),
        }
    }

    /// Goes on from a state that records have led to.
    pub(super) fn go_on(state: State, settings: Settings, clock: Clock) -> Self {
        let mut machine = Self::with(state, settings, clock);
        machine.patience.heard(machine.elapsed());
        if let Stage::Update(update) = machine.state.stage() {
            let now = machine.clock.now();
            machine.under_way.active = update.uploads().keys().map(|key| (*key, now)).collect();
        }
        machine.show();
        if let Stage::Idle = machine.state.stage() {
            machine.next_round();
        }
        machine.advance();
        machine.go_on_working();
        machine
    }

    /// A second machine in exactly the same state: for exploring what could happen, by giving one this
    /// input and the other that. Only one of them may ever be seen by anyone. Nothing while outputs wait
    /// to be polled: there may be jobs among them, and a job is there once.
    pub fn fork(&self) -> Option<Self> {
        Some(Self {
            settings: self.settings.clone(),
            next_settings: self.next_settings.clone(),
            clock: self.clock,
            patience: self.patience,
            state: self.state.clone(),
            standing: self.standing,
            paused: self.paused,
            shown: self.shown.clone(),
            wanted: self.wanted.clone(),
            under_way: self.under_way.fork(),
            outbox: self.outbox.fork()?,
        })
    }

    /// Whether the coordinator is paused: it begins no other round.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The settings that the next round will have.
    pub fn next_settings(&self) -> &Settings {
        self.next_settings.as_ref().unwrap_or(&self.settings)
    }

    /// The settings of this round.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The number of the current round, from 1.
    pub fn round(&self) -> u64 {
        self.terms().round
    }

    /// The current round's terms.
    pub fn terms(&self) -> &Arc<Terms> {
        &self.state.round().terms
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        match self.standing {
            Standing::InRound => self.state.stage().phase(),
            Standing::BetweenRounds | Standing::Stopped => Phase::Idle,
        }
    }

    /// Whether the coordinator was stopped.
    pub fn is_stopped(&self) -> bool {
        self.standing == Standing::Stopped
    }

    /// The time since the current phase began, as of the latest input.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// How many messages the current phase has accepted: announcements, complete updates, reports, votes, masks.
    pub fn accepted(&self) -> u64 {
        match self.standing {
            Standing::InRound => self.state.stage().accepted(),
            Standing::BetweenRounds | Standing::Stopped => 0,
        }
    }

    /// How many uploads are incomplete, and how many bytes they have when they are complete.
    pub fn incomplete(&self) -> (u64, u64) {
        match self.state.stage() {
            Stage::Update(update) => {
                let count = update.uploads().len() as u64;
                (count, update.reserved_bytes(self.state.round()))
            }
            _ => (0, 0),
        }
    }

    /// How many bytes of chunks wait for the store.
    pub fn unstored_bytes(&self) -> u64 {
        self.outbox.unstored_bytes()
    }

    /// How many outputs wait for the store, or to be polled: answers for the most part.
    pub fn waiting_outputs(&self) -> usize {
        self.outbox.len()
    }

    /// Tells the machine what happened. Then call [`Coordinator::poll_output`] until it is idle.
    ///
    /// # Errors
    /// [`Reject`] if the input means nothing now; the machine is as it was.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.notice_lost_jobs(now);
        self.take_input(now, input)
    }

    fn notice_lost_jobs(&mut self, now: Timestamp) {
        for id in self.under_way.take_lost() {
            // One that is no longer needed: nothing is wrong.
            let _ = self.take_input(now, Input::JobLost(id));
        }
    }

    fn take_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.clock.set(now);
        match input {
            // Also after the end, so that the last replies can be given.
            Input::Persisted(id) => self.outbox.confirm(id),
            _ if self.is_stopped() => return Err(Reject::Stopped),
            Input::Tick => {}
            Input::Message { ticket, message } => {
                // What is due at this time comes first: the message may be too late.
                self.advance();
                match self.is_store_behind() {
                    true => self.outbox.reply(ticket, Err(Rejection::StoreBehind)),
                    false => self.handle_message(ticket, message),
                }
            }
            Input::JobDone(result) => self.handle_job(result)?,
            Input::JobLost(id) => self.handle_lost_job(id)?,
            Input::Loaded { object, bytes } => self.handle_loaded(object, bytes)?,
            Input::Pause => self.paused = true,
            Input::Resume => self.paused = false,
            Input::Skip => self.skip()?,
            Input::ChangeSettings(settings) => {
                settings.validate().map_err(|_| Reject::InvalidSettings)?;
                self.next_settings = Some(*settings);
            }
            Input::Stop => {
                self.stop();
                return Ok(());
            }
        }
        if !self.is_stopped() {
            self.advance();
            self.go_on_working();
        }
        Ok(())
    }

    fn is_store_behind(&self) -> bool {
        let limits = &self.settings.limits;
        self.outbox.waiting() >= limits.waiting_answers
            || self.outbox.unstored_bytes() >= limits.unstored_bytes
    }

    /// Says what should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        self.notice_lost_jobs(self.clock.now());
        let output = self.outbox.poll().unwrap_or_else(|| Output::Idle(self.idle()));
        if let Output::Front(front) = &output {
            let bytes = self.shown.bytes_beside(front);
            let old = std::mem::replace(&mut self.shown, front.clone());
            self.release(bytes, old);
        }
        output
    }

    fn idle(&self) -> Idle {
        let (wake_at, why) = self.waits_for();
        let look = (self.under_way.jobs() > 0).then(|| self.clock.now() + LOOK_EVERY);
        let mask = self.next_source_at();
        let wake_at = match self.standing {
            Standing::InRound => [wake_at, look, mask].into_iter().flatten().min(),
            Standing::BetweenRounds | Standing::Stopped => None,
        };
        Idle { wake_at, why }
    }

    fn waits_for(&self) -> (Option<Timestamp>, Why) {
        match self.standing {
            Standing::Stopped if self.outbox.waiting() > 0 => return (None, Why::Store),
            Standing::Stopped => return (None, Why::Stopped),
            Standing::BetweenRounds => return (None, Why::Resume),
            Standing::InRound => {}
        }
        let stage = self.state.stage();
        let (phase, elapsed) = (stage.phase(), self.elapsed());
        if let Some(time) = stage.time(&self.settings) {
            match stage.end(self.state.round(), &self.settings) {
                End::NotYet => {
                    return (Some(self.clock.at(self.longest(time))), Why::Messages(phase));
                }
                End::AfterMinTime if elapsed < time.min => {
                    return (Some(self.clock.at(time.min)), Why::MinTime(phase));
                }
                End::AfterMinTime | End::Now => {}
            }
        }
        let why = match () {
            () if self.under_way.jobs() > 0 && self.under_way.was_lost() => Why::LostJob,
            () if self.under_way.jobs() > 0 => Why::Job,
            () if self.under_way.sums.is_asking() => Why::Object,
            () => Why::Store,
        };
        (None, why)
    }

    /// Changes the state, and has that stored. What is put out afterwards waits for it, if anything depends on
    /// it.
    pub(super) fn record(&mut self, record: Record) {
        let garbage = self.state.apply(&record);
        self.outbox.persist(record);
        for large in garbage.expect("each record is made from the state that it changes") {
            self.outbox.job(self.under_way.free(large));
        }
    }

    pub(super) fn job(&mut self, work: impl Work<Outcome> + 'static, running: Running) {
        self.outbox.job(self.under_way.job(work, running));
    }

    /// Has memory freed elsewhere if it is much: that takes time, too.
    pub(super) fn release(&mut self, bytes: usize, garbage: impl Send + 'static) {
        if bytes >= RELEASE_FROM {
            self.outbox.job(self.under_way.free(garbage));
        }
    }

    /// Has everyone answered with what there is now, once it is stored.
    pub(super) fn show(&mut self) {
        let (phase, page) = (self.phase(), self.settings.limits.page);
        self.outbox.front(Front::of(&self.state, phase, self.wanted.clone(), page));
    }
}
