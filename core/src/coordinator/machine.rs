//! The machine itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::context::RoundContext;
use super::io::{Idle, Input, Output, Reject, Ticket, Why};
use super::jobs::Outcome;
use super::outbox::Outbox;
use super::settings::{CountRange, InvalidSettings, Settings, TimeRange};
use super::snapshot::{RestoreError, Saved, Snapshot};
use super::state::{Round, Stage};
use super::{Front, GlobalModel, Job, Phase, Rejection};
use crate::crypto::{
    EncryptKeyPair, PublicSigningKey, Purpose, RootSeed, RoundSeed, SecretEncryptKey, SnapshotKey,
};
use crate::job::{JobId, Release, Work};
use crate::message::{Complete, LocalSeedDict, MessageId, Reassembly};
use crate::round::RoundParameters;
use crate::time::Timestamp;

/// From so many bytes on memory is freed in a job.
pub(super) const RELEASE_FROM: usize = 1 << 16;

/// A coordinator. See the [module's page](super) for how to drive it.
pub struct Coordinator {
    pub(super) settings: Settings,
    pub(super) root: RootSeed,
    pub(super) now: Timestamp,
    pub(super) round: Round,
    keys: EncryptKeyPair,
    pub(super) stage: Stage,
    /// When the current phase began, or when this machine was restored in the middle of it.
    pub(super) began: Timestamp,
    /// For how long the phase had been going on by then.
    pub(super) before: Duration,
    pub(super) context: Arc<RoundContext>,
    /// What was put out last to be answered with.
    pub(super) shown: Front,
    pub(super) reassembly: Reassembly,
    /// The latest global model.
    pub(super) model: Option<GlobalModel>,
    /// Whose updates are under way.
    pub(super) updating: BTreeSet<PublicSigningKey>,
    /// Verified updates that wait for the running aggregation to end.
    pub(super) queue: Vec<Update>,
    pub(super) running: BTreeMap<JobId, Running>,
    next_job: u64,
    pub(super) outbox: Outbox,
    pub(super) stopped: bool,
    /// No more rounds begin for now.
    pub(super) paused: bool,
    /// What holds from the next round on.
    pub(super) next_settings: Option<Settings>,
}

/// A verified update on its way into the aggregate.
#[derive(Clone)]
pub(super) struct Update {
    /// Nobody waits for an answer if it was restored.
    pub(super) ticket: Option<Ticket>,
    pub(super) participant: PublicSigningKey,
    pub(super) masked_model: Bytes,
    pub(super) seeds: Arc<LocalSeedDict>,
    /// The chunks that it came in, if it did.
    pub(super) split: Option<Split>,
}

/// A job that was given out, with what is needed to give it out again.
#[derive(Clone)]
pub(super) enum Running {
    Aggregate(Vec<Update>),
    Unmask { models: u64, votes: u64 },
    Assemble { ticket: Option<Ticket>, participant: PublicSigningKey, split: Split },
}

/// A message that came in chunks. All but the last of them were accepted and will not be sent again: until
/// the message itself is accepted or rejected it has to be saved.
#[derive(Clone)]
pub(super) struct Split {
    /// In which round.
    pub(super) round_id: u64,
    pub(super) message_id: MessageId,
    pub(super) complete: Complete,
}

/// Which split message it was, and in how many parts it came.
#[derive(Clone, Copy)]
pub(super) struct SplitId {
    pub(super) round_id: u64,
    pub(super) message_id: MessageId,
    pub(super) parts: usize,
}

impl Split {
    pub(super) fn id(&self) -> SplitId {
        let Self { round_id, message_id, complete } = self;
        SplitId { round_id: *round_id, message_id: *message_id, parts: complete.parts.len() }
    }
}

/// Shows where it is, and nothing that was collected.
impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator")
            .field("round_id", &self.round_id())
            .field("phase", &self.phase())
            .field("accepted", &self.accepted())
            .field("running", &self.running.len())
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
        let seed = RoundSeed::new(*root.derive(Purpose::FirstRoundSeed, &[]).as_bytes());
        let round = Round::begin(&settings, &root, 0, &seed);
        let mut machine = Self::with(settings, root, now, round, Stage::Idle, Duration::ZERO);
        machine.begin_round();
        Ok(machine)
    }

    /// Goes on where a saved coordinator was: in the same round and phase, with the phase's clock
    /// where it stood. What is published is put out again. Messages that were in the middle of being
    /// processed are gone: they were not acknowledged.
    ///
    /// Settings that are part of the round's parameters hold from the next round on. Always restore the
    /// latest snapshot: an older one repeats rounds, with the same keys.
    ///
    /// # Errors
    /// If the bytes are not a coordinator's snapshot or of a version that is not known, or the
    /// settings break a rule.
    pub fn restore(
        snapshot: &[u8],
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, RestoreError> {
        settings.validate()?;
        Ok(Self::from_saved(Saved::from_bytes(snapshot)?, settings, now))
    }

    /// Like [`Coordinator::restore`], from a sealed snapshot.
    ///
    /// # Errors
    /// As [`Coordinator::restore`], and if the key is another one.
    pub fn restore_sealed(
        snapshot: &[u8],
        key: &SnapshotKey,
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, RestoreError> {
        settings.validate()?;
        Ok(Self::from_saved(Saved::unseal(snapshot, key)?, settings, now))
    }

    /// The settings are valid.
    pub(super) fn from_saved(saved: Saved, settings: Settings, now: Timestamp) -> Self {
        let Saved { root, round, stage, elapsed, reassembly, model } = saved;
        let mut machine = Self::with(settings, root, now, round, stage, elapsed);
        machine.reassembly = reassembly.with_limits(machine.settings.reassembly).restarted(now);
        machine.model = model;
        machine.check_stage();
        machine.assemble_again();
        machine.publish_again();
        machine.advance();
        machine
    }

    fn with(
        settings: Settings,
        root: RootSeed,
        now: Timestamp,
        round: Round,
        stage: Stage,
        elapsed: Duration,
    ) -> Self {
        let reassembly = Reassembly::new(settings.reassembly);
        let keys = round.keys(&root);
        let context = Arc::new(context(&round, &keys, &stage));
        Self {
            settings,
            root,
            now,
            round,
            keys,
            stage,
            began: now,
            before: elapsed,
            context,
            shown: Front::new(),
            reassembly,
            model: None,
            updating: BTreeSet::new(),
            queue: Vec::new(),
            running: BTreeMap::new(),
            next_job: 0,
            outbox: Outbox::default(),
            stopped: false,
            paused: false,
            next_settings: None,
        }
    }

    /// All that is needed to go on later (take it before [`Input::Stop`]). The aggregate, masks and models are shared; what is copied is
    /// small for each participant: keys, and references to their seeds.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(Saved {
            root: self.root.clone(),
            round: self.round.clone(),
            stage: self.stage.clone(),
            elapsed: self.elapsed(),
            reassembly: self.saved_reassembly(),
            model: self.model.clone(),
        })
    }

    /// With the split messages that are not accepted yet.
    fn saved_reassembly(&self) -> Reassembly {
        fn of(update: &Update) -> Option<(&PublicSigningKey, &Split)> {
            Some((&update.participant, update.split.as_ref()?))
        }
        let mut reassembly = self.reassembly.clone();
        let mut keep = |(participant, split): (&PublicSigningKey, &Split)| {
            let Split { round_id, message_id, complete } = split;
            let is_due = self.stage.phase().accepts() == Some(complete.tag);
            if is_due && *round_id == self.round.id {
                reassembly.keep_complete(*participant, *message_id, complete);
            }
        };
        self.queue.iter().filter_map(of).for_each(&mut keep);
        for running in self.running.values() {
            match running {
                Running::Aggregate(updates) => updates.iter().filter_map(of).for_each(&mut keep),
                Running::Assemble { participant, split, .. } => keep((participant, split)),
                Running::Unmask { .. } => {}
            }
        }
        reassembly
    }

    /// A second machine in exactly the same state: for exploring what could happen, by giving one this
    /// input and the other that. Only one of them may ever be seen by anyone. Nothing while outputs wait
    /// to be polled: there may be jobs among them, and a job is there once.
    pub fn fork(&self) -> Option<Self> {
        Some(Self {
            settings: self.settings.clone(),
            root: self.root.clone(),
            now: self.now,
            round: self.round.clone(),
            keys: self.keys.clone(),
            stage: self.stage.clone(),
            began: self.began,
            before: self.before,
            context: self.context.clone(),
            shown: self.shown.clone(),
            reassembly: self.reassembly.clone(),
            model: self.model.clone(),
            updating: self.updating.clone(),
            queue: self.queue.clone(),
            running: self.running.clone(),
            next_job: self.next_job,
            outbox: self.outbox.fork()?,
            stopped: self.stopped,
            paused: self.paused,
            next_settings: self.next_settings.clone(),
        })
    }

    /// Whether it was told not to begin another round.
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
        self.round.id
    }

    /// The current round's parameters.
    pub fn parameters(&self) -> &Arc<RoundParameters> {
        &self.round.parameters
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        if self.stopped {
            return Phase::Shutdown;
        }
        self.stage.phase()
    }

    /// For how long the current phase has been going on, at the time of the latest input.
    pub fn elapsed(&self) -> Duration {
        self.before.saturating_add(self.now.saturating_since(self.began))
    }

    /// How many messages the current phase has accepted.
    pub fn accepted(&self) -> u64 {
        self.stage.accepted()
    }

    /// How many bytes are in memory of multipart messages that are not accepted yet, with what each chunk
    /// costs beside its data: of incomplete ones, of complete ones that are being put together, and of those
    /// that were dropped, but are still on their way to the store.
    pub fn incomplete_bytes(&self) -> usize {
        self.reassembly.bytes()
    }

    /// How many outputs wait for the store, or to be polled: answers for the most part.
    pub fn waiting_outputs(&self) -> usize {
        self.outbox.len()
    }

    /// Takes in what happened. Afterwards [`Coordinator::poll_output`] is to be called until it is
    /// idle.
    ///
    /// # Errors
    /// [`Reject`] if the input means nothing now; the machine is as it was.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.now = self.now.max(now);
        match input {
            // Also after the end, so that the last replies can be given.
            Input::Persisted(id) => {
                let stored = self.outbox.confirm(id);
                self.reassembly.stored(stored.0);
            }
            _ if self.stopped => return Err(Reject::Stopped),
            Input::Tick => {}
            Input::Message { ticket, message } => {
                // What is due at this time comes first: the message may be too late.
                self.advance();
                match self.outbox.is_full() {
                    true => self.reply(Some(ticket), Err(Rejection::StoreBehind)),
                    false => self.handle_message(Some(ticket), message, None),
                }
            }
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

    /// What should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        let output = self.outbox.poll().unwrap_or_else(|| Output::Idle(self.idle()));
        if let Output::Front(front) = &output {
            self.shown(front.clone());
        }
        output
    }

    fn idle(&self) -> Idle {
        if self.stopped {
            let why = if self.outbox.is_waiting() { Why::Store } else { Why::Stopped };
            return Idle { wake_at: None, why };
        }
        let Some((count, time)) = self.limits() else {
            let why = match self.stage {
                Stage::Idle => Why::Resume,
                _ if self.running.is_empty() => Why::Store,
                _ => Why::Job,
            };
            return Idle { wake_at: None, why };
        };
        let phase = self.stage.phase();
        let after = |time: Duration| Some(self.began + time.saturating_sub(self.before));
        if self.stage.accepted() >= count.min {
            return Idle { wake_at: after(time.min), why: Why::MinTime(phase) };
        }
        if self.elapsed() >= time.max {
            // Only what came in time is still being aggregated.
            return Idle { wake_at: None, why: Why::Job };
        }
        Idle { wake_at: after(time.max), why: Why::Messages(phase) }
    }

    pub(super) fn limits(&self) -> Option<(CountRange, TimeRange)> {
        let Settings { sum, update, sum2, .. } = &self.settings;
        match self.stage.phase() {
            Phase::Sum => Some((sum.count, sum.time)),
            Phase::Update => Some((update.count, update.time)),
            Phase::Sum2 => Some((sum2.count, sum2.time)),
            _ => None,
        }
    }

    /// Nobody waits for the answer to a message that was restored.
    pub(super) fn reply(&mut self, ticket: Option<Ticket>, outcome: Result<(), Rejection>) {
        if let Some(ticket) = ticket {
            self.outbox.reply(ticket, outcome);
        }
    }

    pub(super) fn job(&mut self, work: impl Work<Outcome> + 'static, running: Running) {
        let id = self.next_job();
        self.running.insert(id, running);
        self.outbox.job(Job::new(id, work));
    }
}

impl Coordinator {
    /// Makes what messages are opened with in the current phase.
    pub(super) fn renew_context(&mut self) {
        let new = context(&self.round, &self.keys, &self.stage).after(&self.context);
        let bytes = self.context.bytes_beside(&new);
        let old = std::mem::replace(&mut self.context, Arc::new(new));
        self.release(bytes, old);
    }

    /// Has everyone answered with what there is now, once it is stored.
    pub(super) fn show(&mut self) {
        self.outbox.front(Front::of(self.context.clone(), self.model.clone()));
    }

    /// Notes what is answered with from now on. Whoever drives this replaces the front before by it: the memory of
    /// that is freed in a job.
    fn shown(&mut self, front: Front) {
        let bytes = self.shown.bytes_beside(&front);
        let old = std::mem::replace(&mut self.shown, front);
        self.release(bytes, old);
    }

    pub(super) fn set_round(&mut self, round: Round) {
        self.keys = round.keys(&self.root);
        self.round = round;
    }

    pub(super) fn round_secret(&self) -> &SecretEncryptKey {
        self.keys.secret()
    }

    /// Has memory freed elsewhere if it is much: that takes time, too.
    pub(super) fn release(&mut self, bytes: usize, garbage: impl Send + 'static) {
        if bytes >= RELEASE_FROM {
            let id = self.next_job();
            self.outbox.job(Job::new(id, Release::new(garbage, Outcome::Released)));
        }
    }

    fn next_job(&mut self) -> JobId {
        self.next_job += 1;
        JobId(self.next_job)
    }
}

fn context(round: &Round, keys: &EncryptKeyPair, stage: &Stage) -> RoundContext {
    RoundContext::new(
        round.id,
        stage.phase(),
        keys.clone(),
        round.parameters.clone(),
        stage.sum_dict().cloned(),
        stage.seeds().cloned(),
    )
}
