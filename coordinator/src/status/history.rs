//! The history that is made of what the driver tells: rounds and phases by their names, whatever the version of the
//! protocol.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pet_core::coordinator::{CountRange, PersistId, TimeRange};
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
        models: u64,
        votes: u64,
        rejected: Option<&Rejections>,
    ) {
        let mut round = self.close(id, None, rejected);
        (round.models, round.votes) = (Some(models), Some(votes));
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
    #[cfg(feature = "postgres")]
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
