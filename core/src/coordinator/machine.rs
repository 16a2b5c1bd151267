//! The machine itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::bulletin::{GlobalModel, Publication};
use super::context::{Body, RoundContext, Verified};
use super::io::{Event, Idle, Input, Output, PersistId, Record, Reject, RoundFailure, Ticket, Why};
use super::jobs::{Aggregate, Assemble, Outcome, Unmask};
use super::settings::{CountRange, InvalidSettings, Settings, TimeRange};
use super::snapshot::{RestoreError, Saved, Snapshot};
use super::state::{Round, Stage, Vote};
use super::{Job, JobResult, Phase, Rejection};
use crate::crypto::{
    Digest, PublicEncryptKey, PublicSigningKey, Purpose, RootSeed, RoundSeed, SnapshotKey,
};
use crate::job::{JobId, Work};
use crate::mask::{Aggregation, Unmasked};
use crate::message::{Complete, LocalSeedDict, OwnedChunk, Reassembly, Tag};
use crate::round::{RoundParameters, SeedDict, SumDict};
use crate::time::Timestamp;

/// A coordinator. See the [module's page](super) for how to drive it.
#[derive(Debug)]
pub struct Coordinator {
    settings: Settings,
    root: RootSeed,
    now: Timestamp,
    round: Round,
    stage: Stage,
    /// When the current phase began.
    began: Timestamp,
    context: Arc<RoundContext>,
    reassembly: Reassembly,
    /// Verified updates that wait for the running aggregation to end.
    queue: Vec<Update>,
    running: BTreeMap<JobId, Running>,
    next_job: u64,
    last_record: PersistId,
    confirmed: PersistId,
    outputs: VecDeque<Output>,
    /// Outputs that wait for records to be stored.
    gated: VecDeque<(PersistId, Output)>,
    stopped: bool,
}

/// A verified update on its way into the aggregate.
#[derive(Debug)]
struct Update {
    ticket: Ticket,
    participant: PublicSigningKey,
    masked_model: Bytes,
    seeds: Arc<LocalSeedDict>,
}

/// A job that was given out, with what is needed to give it out again.
#[derive(Debug)]
enum Running {
    Aggregate(Vec<Update>),
    Unmask {
        models: u64,
        votes: u64,
    },
    Assemble {
        ticket: Ticket,
        participant: PublicSigningKey,
        complete: Complete,
    },
}

impl Coordinator {
    /// A coordinator that begins its first round at once. The seed must be unpredictable, and no
    /// other coordinator may have it: the round keys are derived from it.
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
    /// Settings that are part of the round's parameters hold from the next round on.
    ///
    /// # Errors
    /// If the bytes are not a coordinator's snapshot or of a version that is not known, or the
    /// settings break a rule.
    pub fn restore(
        snapshot: &[u8],
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, RestoreError> {
        Self::from_saved(Saved::from_bytes(snapshot)?, settings, now)
    }

    /// Like [`Coordinator::restore`], from a sealed snapshot.
    ///
    /// # Errors
    /// As [`Coordinator::restore`]; [`RestoreError::DoesNotOpen`] if the key is another one.
    pub fn restore_sealed(
        snapshot: &[u8],
        key: &SnapshotKey,
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, RestoreError> {
        Self::from_saved(Saved::unseal(snapshot, key)?, settings, now)
    }

    fn from_saved(saved: Saved, settings: Settings, now: Timestamp) -> Result<Self, RestoreError> {
        settings.validate()?;
        let Saved {
            root,
            round,
            stage,
            elapsed,
            reassembly,
        } = saved;
        let mut machine = Self::with(settings, root, now, round, stage, elapsed);
        machine.reassembly = reassembly;
        machine.publish_again();
        machine.advance();
        Ok(machine)
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
        let context = Arc::new(RoundContext {
            round_id: round.id,
            phase: stage.phase(),
            keys: round.keys(&root),
            parameters: round.parameters.clone(),
            sum_dict: stage.sum_dict().cloned(),
        });
        Self {
            settings,
            root,
            now,
            round,
            stage,
            began: now - elapsed,
            context,
            reassembly,
            queue: Vec::new(),
            running: BTreeMap::new(),
            next_job: 0,
            last_record: PersistId(0),
            confirmed: PersistId(0),
            outputs: VecDeque::new(),
            gated: VecDeque::new(),
            stopped: false,
        }
    }

    /// All that is needed to go on later. Cheap: the aggregate and the masks are shared, the rest is
    /// small; only the dictionaries being collected are copied.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(Saved {
            root: self.root.clone(),
            round: self.round.clone(),
            stage: self.stage.clone(),
            elapsed: self.now.saturating_since(self.began),
            reassembly: self.reassembly.clone(),
        })
    }

    /// The settings.
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

    /// When the current phase began.
    pub fn phase_began(&self) -> Timestamp {
        self.began
    }

    /// How many messages the current phase has accepted.
    pub fn accepted(&self) -> u64 {
        self.stage.accepted()
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
            Input::Persisted(id) => self.confirmed = self.confirmed.max(id.min(self.last_record)),
            _ if self.stopped => return Err(Reject::Stopped),
            Input::Tick => {}
            Input::Message { ticket, message } => self.handle_message(ticket, message),
            Input::JobDone(result) => self.handle_job(result)?,
            Input::JobLost(id) => self.handle_lost_job(id)?,
            Input::Stop => {
                self.stop();
                return Ok(());
            }
        }
        self.advance();
        Ok(())
    }

    /// What should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if let Some((_, output)) = self.gated.pop_front_if(|(id, _)| *id <= self.confirmed) {
            return output;
        }
        Output::Idle(self.idle())
    }

    fn idle(&self) -> Idle {
        if self.stopped {
            let why = if self.gated.is_empty() {
                Why::Stopped
            } else {
                Why::Store
            };
            return Idle { wake_at: None, why };
        }
        let Some((count, time)) = self.limits() else {
            let why = if self.running.is_empty() {
                Why::Store
            } else {
                Why::Job
            };
            return Idle { wake_at: None, why };
        };
        let phase = self.stage.phase();
        if self.stage.accepted() >= count.min {
            return Idle {
                wake_at: Some(self.began + time.min),
                why: Why::MinTime(phase),
            };
        }
        Idle {
            wake_at: Some(self.began + time.max),
            why: Why::Messages(phase),
        }
    }

    fn limits(&self) -> Option<(CountRange, TimeRange)> {
        let Settings {
            sum, update, sum2, ..
        } = &self.settings;
        match self.stage.phase() {
            Phase::Sum => Some((sum.count, sum.time)),
            Phase::Update => Some((update.count, update.time)),
            Phase::Sum2 => Some((sum2.count, sum2.time)),
            _ => None,
        }
    }

    // Outputs.

    /// Puts out a record; what is put out with `gate` afterwards waits until it is stored.
    fn persist(&mut self, record: Record) {
        self.last_record = PersistId(self.last_record.0 + 1);
        self.outputs.push_back(Output::Persist {
            id: self.last_record,
            record,
        });
    }

    fn gate(&mut self, output: Output) {
        self.gated.push_back((self.last_record, output));
    }

    fn reply(&mut self, ticket: Ticket, outcome: Result<(), Rejection>) {
        match outcome {
            Ok(()) => self.gate(Output::Reply { ticket, outcome }),
            // A rejection has changed nothing: it need not wait.
            Err(_) => self.outputs.push_back(Output::Reply { ticket, outcome }),
        }
    }

    fn event(&mut self, event: Event) {
        self.gate(Output::Event(event));
    }

    fn job(&mut self, work: impl Work<Outcome> + 'static, running: Running) {
        let id = JobId(self.next_job);
        self.next_job += 1;
        self.running.insert(id, running);
        self.outputs.push_back(Output::Job(Job::new(id, work)));
    }

    // Phases.

    /// Ends the current phase as often as that is due.
    fn advance(&mut self) {
        loop {
            let Some((count, time)) = self.limits() else {
                let stored =
                    matches!(self.stage, Stage::Failure { record } if record <= self.confirmed);
                if stored {
                    self.begin_round();
                    continue;
                }
                return;
            };
            let elapsed = self.now.saturating_since(self.began);
            let accepted = self.stage.accepted();
            if accepted >= count.min && elapsed >= time.min {
                self.end_phase();
            } else if elapsed >= time.max {
                let phase = self.stage.phase();
                self.fail(RoundFailure::TooFewMessages {
                    phase,
                    accepted,
                    needed: count.min,
                });
            } else {
                return;
            }
        }
    }

    fn begin_round(&mut self) {
        let id = self.round.id + 1;
        self.round = Round::begin(&self.settings, &self.root, id, &self.round.parameters.seed);
        self.persist(Record::RoundBegan {
            round_id: id,
            parameters: self.round.parameters.clone(),
            secret: self.round.keys(&self.root).secret().clone(),
        });
        self.enter(Stage::Sum {
            dict: SumDict::new(),
        });
        self.gate(Output::Publish(Publication::Parameters(
            self.round.parameters.clone(),
        )));
    }

    /// Begins a phase. Whatever messages of the phase before are still under way are turned down.
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.began = self.now;
        self.reassembly = Reassembly::new(self.settings.reassembly);
        let (round_id, phase) = (self.round.id, self.stage.phase());
        self.context = Arc::new(RoundContext {
            round_id,
            phase,
            keys: self.round.keys(&self.root),
            parameters: self.round.parameters.clone(),
            sum_dict: self.stage.sum_dict().cloned(),
        });
        self.turn_down_updates(phase);
        self.gate(Output::Context(self.context.clone()));
        self.event(Event::PhaseBegan { round_id, phase });
    }

    fn turn_down_updates(&mut self, phase: Phase) {
        let mut late = std::mem::take(&mut self.queue);
        self.running.retain(|_, running| match running {
            Running::Aggregate(updates) => {
                late.append(updates);
                false
            }
            Running::Unmask { .. } => false,
            Running::Assemble { .. } => true,
        });
        for update in late {
            let rejection = Rejection::WrongPhase {
                tag: Tag::Update,
                phase,
            };
            self.reply(update.ticket, Err(rejection));
        }
    }

    fn end_phase(&mut self) {
        self.event(Event::PhaseEnded {
            round_id: self.round.id,
            phase: self.stage.phase(),
            accepted: self.stage.accepted(),
            took: self.now.saturating_since(self.began),
        });
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Sum { dict } => {
                let sum_dict = Arc::new(dict);
                self.persist(Record::SumEnded);
                self.gate(Output::Publish(Publication::Sums(sum_dict.clone())));
                let config = self.round.parameters.mask_config;
                let aggregation = Aggregation::new(config, self.round.model_length());
                self.enter(Stage::Update {
                    sum_dict,
                    seeds: SeedDict::new(),
                    aggregation: Arc::new(aggregation),
                });
            }
            Stage::Update {
                sum_dict,
                seeds,
                aggregation,
            } => {
                let seeds = Arc::new(seeds);
                self.persist(Record::UpdateEnded);
                self.gate(Output::Publish(Publication::Seeds(seeds.clone())));
                self.enter(Stage::Sum2 {
                    sum_dict,
                    seeds,
                    aggregation,
                    voters: BTreeSet::new(),
                    votes: BTreeMap::new(),
                });
            }
            Stage::Sum2 {
                aggregation, votes, ..
            } => self.end_sum2(aggregation, votes),
            stage => self.stage = stage,
        }
    }

    fn end_sum2(&mut self, aggregation: Arc<Aggregation>, votes: BTreeMap<Digest, Vote>) {
        self.gate(Output::Publish(Publication::WithdrawDictionaries));
        let most = votes.values().map(|vote| vote.count).max().unwrap_or(0);
        let mut winners = votes.into_iter().filter(|(_, vote)| vote.count == most);
        let failure = match (winners.next(), winners.count()) {
            (None, _) => RoundFailure::NoMask,
            (Some((digest, Vote { mask, count })), 0) => {
                self.persist(Record::Sum2Ended { digest });
                self.enter(Stage::Unmask {
                    aggregation,
                    mask,
                    votes: count,
                });
                return self.unmask();
            }
            (Some(_), others) => RoundFailure::TiedMasks {
                masks: others + 1,
                votes: most,
            },
        };
        self.fail_in(Phase::Sum2, failure);
    }

    fn unmask(&mut self) {
        if let Stage::Unmask {
            aggregation,
            mask,
            votes,
        } = &self.stage
        {
            let (aggregation, mask, votes) = (aggregation.clone(), mask.clone(), *votes);
            let models = aggregation.nb_models();
            self.job(
                Unmask::new(aggregation, mask),
                Running::Unmask { models, votes },
            );
        }
    }

    fn fail(&mut self, failure: RoundFailure) {
        self.fail_in(self.stage.phase(), failure);
    }

    fn fail_in(&mut self, phase: Phase, failure: RoundFailure) {
        let round_id = self.round.id;
        self.event(Event::RoundFailed {
            round_id,
            phase,
            failure,
        });
        self.persist(Record::RoundFailed { round_id });
        self.gate(Output::Publish(Publication::WithdrawDictionaries));
        self.enter(Stage::Failure {
            record: self.last_record,
        });
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.turn_down_updates(Phase::Shutdown);
        for running in std::mem::take(&mut self.running).into_values() {
            if let Running::Assemble {
                ticket, complete, ..
            } = running
            {
                let rejection = Rejection::WrongPhase {
                    tag: complete.tag,
                    phase: Phase::Shutdown,
                };
                self.reply(ticket, Err(rejection));
            }
        }
        self.context = Arc::new(RoundContext {
            round_id: self.round.id,
            phase: Phase::Shutdown,
            keys: self.round.keys(&self.root),
            parameters: self.round.parameters.clone(),
            sum_dict: None,
        });
        self.outputs
            .push_back(Output::Context(self.context.clone()));
    }

    fn publish_again(&mut self) {
        self.gate(Output::Context(self.context.clone()));
        self.gate(Output::Publish(Publication::Parameters(
            self.round.parameters.clone(),
        )));
        if let Some(sum_dict) = self.stage.sum_dict().cloned() {
            self.gate(Output::Publish(Publication::Sums(sum_dict)));
        }
        if let Stage::Sum2 { seeds, .. } = &self.stage {
            let seeds = seeds.clone();
            self.gate(Output::Publish(Publication::Seeds(seeds)));
        }
        match self.stage {
            Stage::Unmask { .. } => self.unmask(),
            // The confirmation was for the machine that was saved.
            Stage::Failure { .. } => {
                self.persist(Record::RoundFailed {
                    round_id: self.round.id,
                });
                self.stage = Stage::Failure {
                    record: self.last_record,
                };
            }
            _ => {}
        }
    }

    // Messages.

    fn handle_message(&mut self, ticket: Ticket, message: Verified) {
        let Verified {
            round_id,
            participant,
            tag,
            body,
        } = message;
        let outcome = if round_id != self.round.id {
            Err(Rejection::WrongPhase {
                tag,
                phase: self.stage.phase(),
            })
        } else {
            self.context.check_phase(tag)
        };
        let outcome = outcome.and_then(|()| match body {
            Body::Sum { ephemeral_key } => self.take_sum(participant, ephemeral_key).map(Some),
            Body::Update {
                masked_model,
                seeds,
            } => self
                .take_update(Update {
                    ticket,
                    participant,
                    masked_model,
                    seeds,
                })
                .map(|()| None),
            Body::Sum2 { mask, digest } => self.take_sum2(participant, mask, digest).map(Some),
            Body::Chunk {
                chunk,
                proven,
                max_payload,
            } => self.take_chunk(ticket, participant, tag, chunk, proven, max_payload),
        });
        match outcome {
            Ok(Some(())) => self.reply(ticket, Ok(())),
            // The reply comes later.
            Ok(None) => {}
            Err(rejection) => self.reply(ticket, Err(rejection)),
        }
    }

    fn take_sum(
        &mut self,
        participant: PublicSigningKey,
        ephemeral_key: PublicEncryptKey,
    ) -> Result<(), Rejection> {
        let Stage::Sum { dict } = &mut self.stage else {
            return Err(self.wrong_phase(Tag::Sum));
        };
        if dict.contains(&participant) {
            return Err(Rejection::DuplicateSum);
        }
        if dict.len() as u64 >= self.settings.sum.count.max {
            return Err(Rejection::Full(Phase::Sum));
        }
        dict.insert(participant, ephemeral_key);
        self.persist(Record::Sum {
            participant,
            ephemeral_key,
        });
        Ok(())
    }

    fn take_update(&mut self, update: Update) -> Result<(), Rejection> {
        let Stage::Update { seeds, .. } = &self.stage else {
            return Err(self.wrong_phase(Tag::Update));
        };
        let under_way = self.running.values().flat_map(|running| match running {
            Running::Aggregate(updates) => updates.as_slice(),
            _ => &[],
        });
        let mut under_way = under_way.chain(&self.queue);
        let mut count = seeds.len() as u64;
        if seeds.contains(&update.participant)
            || under_way.any(|other| {
                count += 1;
                other.participant == update.participant
            })
        {
            return Err(Rejection::DuplicateUpdate);
        }
        if count >= self.settings.update.count.max {
            return Err(Rejection::Full(Phase::Update));
        }
        let config = self.round.parameters.mask_config;
        if count >= config.vect.max_nb_models().min(config.unit.max_nb_models()) {
            return Err(Rejection::TooManyModels);
        }
        self.queue.push(update);
        self.aggregate();
        Ok(())
    }

    /// Gives out all waiting updates as one job, unless one is running.
    fn aggregate(&mut self) {
        let busy = self
            .running
            .values()
            .any(|running| matches!(running, Running::Aggregate(_)));
        if busy || self.queue.is_empty() {
            return;
        }
        if let Stage::Update { aggregation, .. } = &self.stage {
            let updates = std::mem::take(&mut self.queue);
            let models = updates
                .iter()
                .map(|update| update.masked_model.clone())
                .collect();
            let work = Aggregate::new(aggregation.clone(), models);
            self.job(work, Running::Aggregate(updates));
        }
    }

    fn take_sum2(
        &mut self,
        participant: PublicSigningKey,
        mask: Bytes,
        digest: Digest,
    ) -> Result<(), Rejection> {
        let Stage::Sum2 {
            sum_dict,
            voters,
            votes,
            ..
        } = &mut self.stage
        else {
            return Err(self.wrong_phase(Tag::Sum2));
        };
        if !sum_dict.contains(&participant) {
            return Err(Rejection::UnknownSumParticipant);
        }
        if voters.contains(&participant) {
            return Err(Rejection::DuplicateSum2);
        }
        if voters.len() as u64 >= self.settings.sum2.count.max {
            return Err(Rejection::Full(Phase::Sum2));
        }
        voters.insert(participant);
        let mut first = None;
        votes
            .entry(digest)
            .or_insert_with(|| {
                first = Some(mask.clone());
                Vote { mask, count: 0 }
            })
            .count += 1;
        self.persist(Record::Sum2 {
            participant,
            digest,
            mask: first,
        });
        Ok(())
    }

    fn take_chunk(
        &mut self,
        ticket: Ticket,
        participant: PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
        proven: bool,
        max_payload: usize,
    ) -> Result<Option<()>, Rejection> {
        self.reject_done(&participant, tag)?;
        match self
            .reassembly
            .add(participant, tag, chunk, proven, max_payload)?
        {
            None => Ok(Some(())),
            Some(complete) => {
                self.assemble(ticket, participant, complete);
                Ok(None)
            }
        }
    }

    /// Turns down chunks of a message that could only be a second one.
    fn reject_done(&self, participant: &PublicSigningKey, tag: Tag) -> Result<(), Rejection> {
        match &self.stage {
            Stage::Sum { dict } if dict.contains(participant) => Err(Rejection::DuplicateSum),
            Stage::Update { seeds, .. } if seeds.contains(participant) => {
                Err(Rejection::DuplicateUpdate)
            }
            Stage::Sum2 { voters, .. } if voters.contains(participant) => {
                Err(Rejection::DuplicateSum2)
            }
            _ => self.context.check_phase(tag),
        }
    }

    fn assemble(&mut self, ticket: Ticket, participant: PublicSigningKey, complete: Complete) {
        let context = self.context.clone();
        let work = Assemble {
            context,
            participant,
            complete: complete.clone(),
        };
        self.job(
            work,
            Running::Assemble {
                ticket,
                participant,
                complete,
            },
        );
    }

    fn wrong_phase(&self, tag: Tag) -> Rejection {
        Rejection::WrongPhase {
            tag,
            phase: self.stage.phase(),
        }
    }

    // Jobs.

    fn handle_job(&mut self, result: JobResult) -> Result<(), Reject> {
        let running = self
            .running
            .remove(&result.id)
            .ok_or(Reject::UnknownJob(result.id))?;
        match (running, result.outcome) {
            (Running::Aggregate(updates), Outcome::Aggregated(sum)) => {
                self.aggregated(updates, sum)
            }
            (Running::Unmask { models, votes }, Outcome::Unmasked(unmasked)) => match unmasked {
                Ok(unmasked) => self.complete_round(unmasked, models, votes),
                Err(error) => self.fail(error.into()),
            },
            (Running::Assemble { ticket, .. }, Outcome::Assembled(message)) => match message {
                Ok(message) => self.handle_message(ticket, message),
                Err(rejection) => self.reply(ticket, Err(rejection)),
            },
            // A result with a foreign machine's id.
            (running, _) => {
                self.running.insert(result.id, running);
                return Err(Reject::UnknownJob(result.id));
            }
        }
        Ok(())
    }

    fn aggregated(&mut self, updates: Vec<Update>, sum: Arc<Aggregation>) {
        let Stage::Update {
            seeds, aggregation, ..
        } = &mut self.stage
        else {
            return;
        };
        *aggregation = sum.clone();
        let mut accepted = Vec::with_capacity(updates.len());
        for update in &updates {
            seeds.insert(update.participant, update.seeds.clone());
            accepted.push((update.participant, update.seeds.clone()));
        }
        self.persist(Record::Updates {
            seeds: accepted,
            aggregation: sum,
        });
        for update in updates {
            self.reply(update.ticket, Ok(()));
        }
        self.aggregate();
    }

    fn complete_round(&mut self, unmasked: Unmasked, models: u64, votes: u64) {
        let round_id = self.round.id;
        let model = GlobalModel {
            round_id,
            seed: self.round.parameters.seed,
            models,
            rationals: unmasked.ratios.into(),
            weights: unmasked.model.ok().map(Arc::new),
        };
        self.persist(Record::Model(model.clone()));
        self.gate(Output::Publish(Publication::Model(model)));
        self.event(Event::RoundCompleted {
            round_id,
            models,
            votes,
        });
        self.begin_round();
    }

    fn handle_lost_job(&mut self, id: JobId) -> Result<(), Reject> {
        match self.running.remove(&id).ok_or(Reject::UnknownJob(id))? {
            Running::Aggregate(mut updates) => {
                updates.append(&mut self.queue);
                self.queue = updates;
                self.aggregate();
            }
            Running::Unmask { .. } => self.unmask(),
            Running::Assemble {
                ticket,
                participant,
                complete,
            } => {
                self.assemble(ticket, participant, complete);
            }
        }
        Ok(())
    }
}
