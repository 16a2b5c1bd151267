//! The coordinator's machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::context::RoundContext;
use super::garbage::RELEASE_FROM;
use super::io::{Idle, Input, Output, PersistId, Reject, Ticket, Why};
use super::jobs::Outcome;
use super::outbox::Outbox;
use super::phases::facts;
use super::settings::{CountRange, InvalidSettings, Settings, TimeRange};
use super::shards::RESERVED_FOR;
use super::state::State;
use super::underway::{Running, UnderWay};
use super::{Front, GlobalModel, Phase, Record, Rejection};
use crate::crypto::RootSeed;
use crate::job::{Work, LOOK_EVERY};
use crate::round::RoundParameters;
use crate::time::Timestamp;

/// A coordinator. See the [module's page](super) for how to drive it.
pub struct Coordinator {
    pub(super) settings: Settings,
    /// What holds from the next round on.
    pub(super) next_settings: Option<Settings>,
    pub(super) clock: Clock,
    /// All that records tell of. Only [`Coordinator::record`] changes it.
    pub(super) state: State,
    pub(super) standing: Standing,
    /// No more rounds begin for now.
    pub(super) paused: bool,
    /// What messages are opened with in this phase.
    pub(super) context: Arc<RoundContext>,
    /// What was put out last to be answered with.
    pub(super) shown: Front,
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
            .field("round_id", &self.round_id())
            .field("phase", &self.phase())
            .field("accepted", &self.accepted())
            .field("running", &self.under_way.jobs())
            .finish_non_exhaustive()
    }
}

impl Coordinator {
    /// A coordinator that begins its first round at once. The seed must be unpredictable, and no
    /// other coordinator, a later one of the same server included, may have it: the keys of all rounds
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
        Ok(Self::begin(settings, root, None, now))
    }

    /// One that begins its first round at once, with a global model if there is one.
    pub(super) fn begin(
        settings: Settings,
        root: RootSeed,
        model: Option<GlobalModel>,
        now: Timestamp,
    ) -> Self {
        let record = State::first_round(&settings, &root);
        let state = State::first(root, model, &record);
        let state = state.expect("the record begins a round, with the keys of this root seed");
        let mut machine = Self::with(state, settings, Clock::new(now, Duration::ZERO));
        machine.outbox.persist(record);
        machine.begun_phase();
        machine
    }

    pub(super) fn with(mut state: State, settings: Settings, clock: Clock) -> Self {
        state.set_limits(settings.reassembly);
        let standing = Standing::InRound;
        let context = Arc::new(context(&state, standing));
        Self {
            settings,
            next_settings: None,
            clock,
            state,
            standing,
            paused: false,
            context,
            shown: Front::new(),
            under_way: UnderWay::default(),
            outbox: Outbox::default(),
        }
    }

    /// A second machine in exactly the same state: for exploring what could happen, by giving one this
    /// input and the other that. Only one of them may ever be seen by anyone. Nothing while outputs wait
    /// to be polled: there may be jobs among them, and a job is there once.
    pub fn fork(&self) -> Option<Self> {
        Some(Self {
            settings: self.settings.clone(),
            next_settings: self.next_settings.clone(),
            clock: self.clock,
            state: self.state.clone(),
            standing: self.standing,
            paused: self.paused,
            context: self.context.clone(),
            shown: self.shown.clone(),
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
    pub fn round_id(&self) -> u64 {
        self.state.round().id
    }

    /// The current round's parameters.
    pub fn parameters(&self) -> &Arc<RoundParameters> {
        &self.state.round().parameters
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        phase(&self.state, self.standing)
    }

    /// The time since the current phase began, as of the latest input.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// How many messages the current phase has accepted.
    pub fn accepted(&self) -> u64 {
        match self.standing {
            Standing::InRound => self.state.stage().collected().accepted(),
            Standing::BetweenRounds | Standing::Stopped => 0,
        }
    }

    /// How many updates are reserved for shards, which are adding them up.
    pub fn reserved(&self) -> usize {
        self.under_way.reservations().len()
    }

    /// How many bytes are in memory of multipart messages that are not accepted yet, with what each chunk
    /// costs beside its data: of incomplete ones, of complete ones that are being put together, and of those
    /// that were dropped, but are still on their way to the store.
    pub fn incomplete_bytes(&self) -> usize {
        self.state.reassembly().bytes()
    }

    /// The answers that follow from this record and those before it, as far as they are known when the record comes out:
    /// whoever can store them together with the record need not wait for the [reply](Output::Reply), which says the same.
    pub fn answers_with(
        &self,
        id: PersistId,
    ) -> impl Iterator<Item = (Ticket, &Result<(), Rejection>)> {
        self.outbox.answers_with(id)
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

    pub(super) fn take_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.clock.set(now);
        match input {
            // Also after the end, so that the last replies can be given.
            Input::Persisted(id) => {
                let stored = self.outbox.confirm(id);
                self.state.stored(stored);
            }
            _ if self.standing == Standing::Stopped => return Err(Reject::Stopped),
            Input::Tick => {}
            Input::Message { ticket, message } => {
                // What is due at this time comes first: the message may be too late.
                self.advance();
                match self.outbox.is_full() {
                    true => self.reply(Some(ticket), Err(Rejection::StoreBehind)),
                    false => self.handle_message(Some(ticket), message, None),
                }
            }
            Input::Admit { ticket, shard, admission } => {
                self.advance();
                match self.outbox.is_full() {
                    true => self.reply(Some(ticket), Err(Rejection::StoreBehind)),
                    false => self.handle_admission(ticket, shard, admission),
                }
            }
            Input::Part { ticket, done } => {
                self.advance();
                match self.outbox.is_full() {
                    true => self.reply(Some(ticket), Err(Rejection::StoreBehind)),
                    false => self.handle_part(ticket, done),
                }
            }
            Input::ShardLost { shard } => self.lose_shard(&shard),
            Input::Fetched { part, bytes } => self.handle_fetched(part, bytes)?,
            Input::JobDone(result) => self.handle_job(result)?,
            Input::JobLost(id) => self.handle_lost_job(id)?,
            Input::Pause => self.pause(),
            Input::Resume => self.resume_rounds(),
            Input::Skip => self.skip()?,
            Input::ChangeSettings(settings) => self.change_settings(*settings)?,
            Input::Stop => {
                self.stop();
                return Ok(());
            }
        }
        self.advance();
        self.aggregate();
        Ok(())
    }

    /// Says what should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        self.notice_lost_jobs(self.clock.now());
        self.next_output()
    }

    pub(super) fn next_output(&mut self) -> Output {
        let output = self.outbox.poll().unwrap_or_else(|| Output::Idle(self.idle_with_jobs()));
        if let Output::Front(front) = &output {
            self.shown(front.clone());
        }
        output
    }

    fn idle(&self) -> Idle {
        if self.standing == Standing::Stopped {
            let why = if self.outbox.is_waiting() { Why::Store } else { Why::Stopped };
            return Idle { wake_at: None, why };
        }
        let Some((count, time)) = self.limits() else {
            return match self.standing {
                Standing::BetweenRounds => Idle { wake_at: None, why: Why::Resume },
                _ if self.under_way.jobs() == 0 && self.under_way.is_merging() => {
                    Idle { wake_at: None, why: Why::Shards }
                }
                _ if self.under_way.jobs() == 0 => Idle { wake_at: None, why: Why::Store },
                _ => self.idle_until_done(),
            };
        };
        let phase = self.phase();
        if self.accepted() >= count.min {
            return Idle { wake_at: Some(self.clock.at(time.min)), why: Why::MinTime(phase) };
        }
        if self.elapsed() >= time.max {
            // Only what came in time is still being aggregated.
            return match self.under_way.updating() {
                0 => {
                    let wake_at = self.clock.at(time.max.saturating_add(RESERVED_FOR));
                    Idle { wake_at: Some(wake_at), why: Why::Shards }
                }
                _ => self.idle_until_done(),
            };
        }
        Idle { wake_at: Some(self.clock.at(time.max)), why: Why::Messages(phase) }
    }

    /// Comes back earlier while a job runs: it may be lost, and nobody may say so.
    fn idle_with_jobs(&self) -> Idle {
        let mut idle = self.idle();
        if self.under_way.jobs() > 0 && self.standing != Standing::Stopped {
            let look = self.clock.now() + LOOK_EVERY;
            idle.wake_at = idle.wake_at.map(|wake_at| wake_at.min(look));
        }
        idle
    }

    /// While the phase waits for a job.
    fn idle_until_done(&self) -> Idle {
        let why = if self.under_way.was_lost() { Why::LostJob } else { Why::Job };
        Idle { wake_at: Some(self.clock.now() + LOOK_EVERY), why }
    }

    pub(super) fn limits(&self) -> Option<(CountRange, TimeRange)> {
        (facts(self.phase()).limits)(&self.settings)
    }

    /// Changes the state, and has that stored. What is put out afterwards waits for it, if anything depends on
    /// it.
    pub(super) fn record(&mut self, record: Record) {
        let garbage = self.state.apply(&record);
        self.outbox.persist(record);
        for large in garbage.expect("each record is made from the state that it changes") {
            self.release_now(large);
        }
    }

    /// Nobody waits for the answer to a message that was restored.
    pub(super) fn reply(&mut self, ticket: Option<Ticket>, outcome: Result<(), Rejection>) {
        if let Some(ticket) = ticket {
            self.outbox.reply(ticket, outcome);
        }
    }

    pub(super) fn job(&mut self, work: impl Work<Outcome> + 'static, running: Running) {
        self.outbox.job(self.under_way.job(work, running));
    }

    /// Has memory freed elsewhere if it is much: that takes time, too.
    pub(super) fn release(&mut self, bytes: usize, garbage: impl Send + 'static) {
        if bytes >= RELEASE_FROM {
            self.release_now(garbage);
        }
    }

    fn release_now(&mut self, garbage: impl Send + 'static) {
        self.outbox.job(self.under_way.free(garbage));
    }

    /// Makes what messages are opened with in the current phase.
    pub(super) fn renew_context(&mut self) {
        let new = context(&self.state, self.standing).after(&self.context);
        let bytes = self.context.bytes_beside(&new);
        let old = std::mem::replace(&mut self.context, Arc::new(new));
        self.release(bytes, old);
    }

    /// Has everyone answered with what there is now, once it is stored.
    pub(super) fn show(&mut self) {
        self.outbox.front(Front::of(self.context.clone(), self.state.model().cloned()));
    }

    /// Notes what is answered with from now on. Whoever drives this replaces the front before by it: the memory of
    /// that is freed in a job.
    fn shown(&mut self, front: Front) {
        let bytes = self.shown.bytes_beside(&front);
        let old = std::mem::replace(&mut self.shown, front);
        self.release(bytes, old);
    }
}

fn phase(state: &State, standing: Standing) -> Phase {
    match standing {
        Standing::InRound => state.stage().phase(),
        Standing::BetweenRounds => Phase::Idle,
        Standing::Stopped => Phase::Shutdown,
    }
}

/// What messages are opened with where this has led to.
pub(super) fn context(state: &State, standing: Standing) -> RoundContext {
    let (round, collected) = (state.round(), state.stage().collected());
    let (sum_dict, seeds) = match standing {
        Standing::InRound => (collected.sum_dict(), collected.seeds()),
        Standing::BetweenRounds | Standing::Stopped => (None, None),
    };
    RoundContext::new(
        round.id,
        phase(state, standing),
        state.keys().clone(),
        round.parameters.clone(),
        sum_dict.cloned(),
        seeds.cloned(),
    )
}
