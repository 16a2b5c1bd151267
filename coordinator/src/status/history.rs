//! The history that is made of what the driver tells: rounds and phases by their names, whatever the version of the
//! protocol.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pet_core::coordinator::{CountRange, PersistId, Phase, TimeRange};
use tokio::time::Instant;

use super::{
    federation::Federation, measure::Measure, replica::Replica, CurrentPhase, CurrentRound,
    Failure, ModelForm, Outcome, PastPhase, PastRound,
};
use crate::metrics::Rejections;

/// So many past rounds are kept.
const ROUNDS: usize = 50;

/// What was seen of the machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub round: u64,
    pub phase: String,
    pub accepted: u64,
    pub waits_for: &'static str,
}

/// The limits of a phase.
pub(super) type Limits = (CountRange, TimeRange);

/// A phase's name, and whether it takes messages.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub name: String,
    pub takes_messages: bool,
}

/// What the log tells of rounds.
#[cfg(feature = "replicas")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A phase has begun.
    Began { round: u64, phase: Phase },
    /// A phase has ended well.
    Ended { round: u64, phase: Phase, accepted: u64 },
    /// The round has a model.
    Completed { round: u64, models: u64, votes: u64 },
    /// The round has a model, as its successors tell: how it came about was gone before it was read.
    HasModel { round: u64, models: Option<u64> },
    /// The round has none, and never will.
    Failed { round: u64, phase: Phase, accepted: u64 },
}

/// A phase as it is shown.
pub(super) fn named(phase: Phase) -> Named {
    Named { name: phase.to_string(), takes_messages: phase.accepts().is_some() }
}

/// How a round has failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub failure: Failure,
    /// How many messages the phase had accepted, if the failure knows.
    pub accepted: Option<u64>,
}

/// A round that is not over.
#[derive(Debug)]
struct OpenRound {
    began: f64,
    since: Instant,
    /// The phase that it is in, and since when.
    phase: (Named, Instant),
    phases: Vec<PastPhase>,
}

#[derive(Debug)]
pub(crate) struct State {
    seen: Seen,
    phase_since: Instant,
    form: ModelForm,
    limits: Option<Limits>,
    open: BTreeMap<u64, OpenRound>,
    rounds: Arc<Vec<PastRound>>,
    /// Of a round whose end is not known yet.
    measured: Option<(u64, Measure)>,
    last_completed: Option<f64>,
    /// Records that the store has not confirmed, and since when.
    unconfirmed: VecDeque<(PersistId, Instant)>,
    /// Of rounds of v2.
    pub(super) federation: Option<Federation>,
    /// Of a replica.
    pub(super) replica: Option<Replica>,
}

impl State {
    pub(super) fn new() -> Self {
        let seen = Seen { phase: "idle".to_owned(), waits_for: "nothing", ..Seen::default() };
        Self {
            seen,
            phase_since: Instant::now(),
            form: ModelForm { length: 0, mask: String::new() },
            limits: None,
            open: BTreeMap::new(),
            rounds: Arc::default(),
            measured: None,
            last_completed: None,
            unconfirmed: VecDeque::new(),
            federation: None,
            replica: None,
        }
    }

    /// Whether there is nothing new in this.
    pub(super) fn has_seen(&self, seen: &Seen) -> bool {
        self.seen == *seen
    }

    /// Sees the machine `elapsed` into its phase, which has these limits.
    pub(super) fn look(
        &mut self,
        seen: Seen,
        takes_messages: bool,
        elapsed: Duration,
        limits: Option<Limits>,
        form: ModelForm,
    ) {
        if (seen.round, &seen.phase) != (self.seen.round, &self.seen.phase) {
            self.phase_since = ago(elapsed);
            self.limits = limits;
            self.form = form;
        }
        if seen.round != self.seen.round {
            // A round that goes on after a restart begins without an event.
            self.open(seen.round, Named { name: seen.phase.clone(), takes_messages }, elapsed);
        }
        self.seen = seen;
    }

    fn open(&mut self, round: u64, phase: Named, elapsed: Duration) -> &mut OpenRound {
        self.open.entry(round).or_insert_with(|| OpenRound {
            began: unix(SystemTime::now()) - elapsed.as_secs_f64(),
            since: ago(elapsed),
            phase: (phase, ago(elapsed)),
            phases: Vec::new(),
        })
    }

    pub(super) fn phase_began(&mut self, round: u64, phase: Named) {
        let open = self.open(round, phase.clone(), Duration::ZERO);
        open.phase = (phase, Instant::now());
    }

    pub(super) fn phase_ended(&mut self, round: u64, phase: Named, accepted: u64, took: Duration) {
        let over = past_phase(phase.name.clone(), took, Some(accepted));
        self.open(round, phase, took).phases.push(over);
    }

    pub(super) fn completed(
        &mut self,
        id: u64,
        models: Option<u64>,
        votes: Option<u64>,
        rejected: Option<&Rejections>,
    ) {
        let mut round = self.close(id, None, rejected);
        (round.models, round.votes) = (models, votes);
        if let Some((_, measure)) = self.measured.take_if(|(measured, _)| *measured == id) {
            (round.norm, round.change) = (Some(measure.norm), measure.change);
        }
        self.last_completed = Some(unix(SystemTime::now()));
        self.keep(round);
    }

    pub(super) fn failed(&mut self, id: u64, failed: Failed, rejected: Option<&Rejections>) {
        let mut round = self.close(id, failed.accepted, rejected);
        round.outcome = Outcome::Failed;
        round.failure = Some(failed.failure);
        self.keep(round);
    }

    /// Sees in the log what whoever leads was told; perhaps once more.
    #[cfg(feature = "replicas")]
    pub(super) fn followed(&mut self, step: &Step) {
        let is_over = |id: &u64| self.rounds.iter().any(|round| round.id == *id);
        match step {
            Step::Began { round, .. }
            | Step::Ended { round, .. }
            | Step::Completed { round, .. }
            | Step::HasModel { round, .. }
            | Step::Failed { round, .. }
                if is_over(round) => {}
            Step::Began { round, phase } => {
                let before = round.saturating_sub(1);
                if self.open.contains_key(&before) && !is_over(&before) {
                    // It has no model, and how it ended was gone before it was read.
                    let Seen { phase, accepted, .. } = &self.seen;
                    let (phase, accepted) = (phase.clone(), *accepted);
                    self.failed(before, failed_elsewhere(phase, accepted), None);
                }
                let phase = named(*phase);
                let name = phase.name.clone();
                let open = self.open(*round, phase.clone(), Duration::ZERO);
                let is_known =
                    open.phase.0.name == name || open.phases.iter().any(|past| past.name == name);
                if !is_known {
                    open.phase = (phase, Instant::now());
                }
            }
            Step::Ended { round, phase, accepted } => {
                let phase = named(*phase);
                let open = self.open(*round, phase.clone(), Duration::ZERO);
                if open.phases.iter().all(|past| past.name != phase.name) {
                    let took = open.phase.1.elapsed();
                    open.phases.push(past_phase(phase.name, took, Some(*accepted)));
                }
            }
            Step::Completed { round, models, votes } => {
                self.completed(*round, Some(*models), Some(*votes), None);
            }
            // What is known of it begins with its end, and that it has one is all that is known.
            Step::HasModel { round, .. } if !self.open.contains_key(round) => {}
            Step::HasModel { round, models } => self.completed(*round, *models, None, None),
            Step::Failed { round, phase, accepted } => {
                self.failed(*round, failed_elsewhere(phase.to_string(), *accepted), None);
            }
        }
    }

    /// What is known of a round that has just ended.
    fn close(
        &mut self,
        id: u64,
        accepted: Option<u64>,
        rejected: Option<&Rejections>,
    ) -> PastRound {
        let (seen_accepted, seen_phase) = (self.seen.accepted, self.seen.phase.clone());
        let round = self.open(id, Named { name: seen_phase, takes_messages: true }, Duration::ZERO);
        let (phase, since) = round.phase.clone();
        let mut over = PastRound {
            id,
            outcome: Outcome::Completed,
            began: round.began,
            seconds: rounded(round.since.elapsed()),
            phases: std::mem::take(&mut round.phases),
            failure: None,
            models: None,
            votes: None,
            rejected: rejected.map(labelled).unwrap_or_default(),
            norm: None,
            change: None,
            certificate: None,
        };
        // Nor can an earlier one still be open, unless its end was lost.
        self.open.retain(|open, _| *open > id);
        // Only phases that take messages end with an event, and only if they end well.
        if over.phases.last().is_none_or(|last| last.name != phase.name) {
            let accepted = phase.takes_messages.then(|| accepted.unwrap_or(seen_accepted));
            over.phases.push(past_phase(phase.name, since.elapsed(), accepted));
        }
        over
    }

    fn keep(&mut self, mut round: PastRound) {
        round.certificate = self.federation.as_mut().and_then(|all| all.take_certificate(round.id));
        let rounds = Arc::make_mut(&mut self.rounds);
        if rounds.len() == ROUNDS {
            rounds.remove(0);
        }
        rounds.push(round);
    }

    pub(super) fn measured(&mut self, id: u64, measure: Measure) {
        let rounds = Arc::make_mut(&mut self.rounds);
        match rounds.iter_mut().rev().find(|round| round.id == id) {
            Some(round) => (round.norm, round.change) = (Some(measure.norm), measure.change),
            None => self.measured = Some((id, measure)),
        }
    }

    pub fn round(&self) -> CurrentRound {
        let id = self.seen.round;
        let open = self.open.get(&id);
        CurrentRound {
            id,
            began: open.map_or(0.0, |round| round.began),
            seconds: open.map_or(0.0, |round| rounded(round.since.elapsed())),
            phases: open.map(|round| round.phases.clone()).unwrap_or_default(),
        }
    }

    pub fn phase(&self) -> CurrentPhase {
        let seconds = rounded(self.phase_since.elapsed());
        let max_seconds = self.limits.map(|(_, time)| time.max.as_secs_f64());
        CurrentPhase {
            name: self.seen.phase.clone(),
            seconds,
            min_seconds: self.limits.map(|(_, time)| time.min.as_secs_f64()),
            max_seconds,
            left_seconds: max_seconds.map(|max| (max - seconds).max(0.0)),
            min_count: self.limits.map(|(count, _)| count.min),
            max_count: self.limits.map(|(count, _)| count.max),
            accepted: self.seen.accepted,
            waits_for: self.seen.waits_for.to_owned(),
        }
    }

    /// The store was given a record.
    pub(super) fn storing(&mut self, id: PersistId) {
        self.unconfirmed.push_back((id, Instant::now()));
    }

    /// All records up to this one are stored: how long each has taken.
    pub(super) fn stored(&mut self, id: PersistId) -> Vec<Duration> {
        let mut took = Vec::new();
        while let Some((first, since)) = self.unconfirmed.front().copied() {
            if first > id {
                break;
            }
            self.unconfirmed.pop_front();
            took.push(since.elapsed());
        }
        took
    }

    /// The store that was given records is used no more.
    #[cfg(feature = "replicas")]
    pub(super) fn forget_unconfirmed(&mut self) {
        self.unconfirmed.clear();
    }

    pub fn form(&self) -> ModelForm {
        self.form.clone()
    }

    pub fn rounds(&self) -> Arc<Vec<PastRound>> {
        Arc::clone(&self.rounds)
    }

    /// When a round was last completed.
    pub fn last_completed(&self) -> Option<f64> {
        self.last_completed
    }

    /// How long the store has owed a confirmation.
    pub fn store_waits(&self) -> Duration {
        self.unconfirmed.front().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

#[cfg(feature = "replicas")]
fn failed_elsewhere(phase: String, accepted: u64) -> Failed {
    let (reason, message) = ("elsewhere", "the replica that led then knows why: see its log");
    let failure = Failure { phase, reason: reason.to_owned(), message: message.to_owned() };
    Failed { failure, accepted: Some(accepted) }
}

fn past_phase(name: String, took: Duration, accepted: Option<u64>) -> PastPhase {
    PastPhase { name, seconds: rounded(took), accepted }
}

/// Counts by reason, as they are shown.
pub(super) fn labelled(rejections: &Rejections) -> BTreeMap<String, u64> {
    rejections.iter().map(|(label, count)| (label.to_owned(), count)).collect()
}

/// In seconds; nobody needs more than milliseconds.
pub(super) fn rounded(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1e3
}

/// A Unix time.
pub(super) fn unix(time: SystemTime) -> f64 {
    rounded(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn ago(elapsed: Duration) -> Instant {
    let now = Instant::now();
    now.checked_sub(elapsed).unwrap_or(now)
}
