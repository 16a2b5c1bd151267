//! What the driver tells, and the history that is made of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pet_core::{
    coordinator::{
        Coordinator, CountRange, Event, GlobalModel, Idle, PersistId, Phase, RoundFailure,
        Settings, TimeRange, Why,
    },
    message::Tag,
};
use tokio::{
    sync::{mpsc, watch, Notify},
    time::Instant,
};

use super::{
    measure::{self, Measure},
    view::{Keepers, View},
    CurrentPhase, CurrentRound, Failure, ModelForm, Outcome, PastPhase, PastRound,
};
use crate::{
    failure,
    metrics::{Counters, Rejections},
};

/// So many past rounds are kept.
const ROUNDS: usize = 50;

/// The driver's side. No method blocks or computes for long.
#[derive(Debug)]
pub(crate) struct Observer {
    shared: Arc<Shared>,
    models: mpsc::Sender<GlobalModel>,
}

/// What the observer writes and everyone reads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub counters: Arc<Counters>,
    /// Told when there is something new to show.
    pub changed: Notify,
    state: Mutex<State>,
}

/// An observer for a driver, the view of what it observes, and the tasks that keep the view up to date:
/// they are to be run until `stopped` becomes true, and end by themselves then.
pub(crate) fn channel(
    counters: Arc<Counters>,
    stopped: watch::Receiver<bool>,
) -> (Observer, View, Keepers) {
    let (models, to_measure) = mpsc::channel(measure::WAITING);
    let shared =
        Arc::new(Shared { counters, changed: Notify::new(), state: Mutex::new(State::new()) });
    let (view, keepers) = View::new(Arc::clone(&shared), to_measure, stopped);
    (Observer { shared, models }, view, keepers)
}

impl Observer {
    /// Hears of an event, and what was rejected since the last round's end if a round ends with it.
    pub fn event(&self, event: &Event, rejected: Option<&Rejections>) {
        self.shared.lock().event(event, rejected);
        self.shared.changed.notify_one();
    }

    /// Sees a new global model.
    pub fn model(&self, model: &GlobalModel) {
        // It is left out if those before it are not measured yet.
        let _ = self.models.try_send(model.clone());
    }

    /// Looks at the machine, which has nothing more to do now.
    pub fn idle(&self, machine: &Coordinator, idle: &Idle) {
        let seen = Seen {
            round: machine.round_id(),
            phase: machine.phase(),
            accepted: machine.accepted(),
            why: Some(idle.why),
        };
        let mut state = self.shared.lock();
        if state.seen == seen {
            return;
        }
        state.look(seen, machine.elapsed(), machine.settings());
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Hears that the store was given a record.
    pub fn storing(&self, id: PersistId) {
        self.shared.lock().unconfirmed.push_back((id, Instant::now()));
    }

    /// Hears that all records up to this one are stored.
    pub fn stored(&self, id: PersistId) {
        let mut state = self.shared.lock();
        while let Some((first, since)) = state.unconfirmed.front().copied() {
            if first > id {
                break;
            }
            state.unconfirmed.pop_front();
            self.shared.counters.stored_after(since.elapsed());
        }
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst an odd number on a dashboard.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn measured(&self, round: u64, measure: Measure) {
        self.lock().measured(round, measure);
        self.changed.notify_one();
    }
}

/// What was seen of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    round: u64,
    phase: Phase,
    accepted: u64,
    why: Option<Why>,
}

/// A round that is not over.
#[derive(Debug)]
struct OpenRound {
    began: f64,
    since: Instant,
    /// The phase that it is in, and since when.
    phase: (Phase, Instant),
    phases: Vec<PastPhase>,
}

#[derive(Debug)]
pub(crate) struct State {
    seen: Seen,
    phase_since: Instant,
    form: ModelForm,
    limits: Option<(CountRange, TimeRange)>,
    open: BTreeMap<u64, OpenRound>,
    rounds: Arc<Vec<PastRound>>,
    /// Of a round whose end is not known yet.
    measured: Option<(u64, Measure)>,
    last_completed: Option<f64>,
    /// Records that the store has not confirmed, and since when.
    unconfirmed: VecDeque<(PersistId, Instant)>,
}

impl State {
    fn new() -> Self {
        Self {
            seen: Seen { round: 0, phase: Phase::Idle, accepted: 0, why: None },
            phase_since: Instant::now(),
            form: ModelForm { length: 0, mask: String::new() },
            limits: None,
            open: BTreeMap::new(),
            rounds: Arc::default(),
            measured: None,
            last_completed: None,
            unconfirmed: VecDeque::new(),
        }
    }

    fn look(&mut self, seen: Seen, elapsed: Duration, settings: &Settings) {
        if (seen.round, seen.phase) != (self.seen.round, self.seen.phase) {
            self.phase_since = ago(elapsed);
            self.limits = limits(settings, seen.phase);
            self.form =
                ModelForm { length: settings.model_length, mask: settings.mask.vect.to_string() };
        }
        if seen.round != self.seen.round {
            // A round that goes on after a restart begins without an event.
            self.open(seen.round, seen.phase, elapsed);
        }
        self.seen = seen;
    }

    fn open(&mut self, round: u64, phase: Phase, elapsed: Duration) -> &mut OpenRound {
        self.open.entry(round).or_insert_with(|| OpenRound {
            began: unix(SystemTime::now()) - elapsed.as_secs_f64(),
            since: ago(elapsed),
            phase: (phase, ago(elapsed)),
            phases: Vec::new(),
        })
    }

    fn event(&mut self, event: &Event, rejected: Option<&Rejections>) {
        match event {
            // A failure is no phase of a round: the round was over before.
            Event::PhaseBegan { phase: Phase::Failure, .. } => {}
            Event::PhaseBegan { round_id, phase } => {
                let round = self.open(*round_id, *phase, Duration::ZERO);
                round.phase = (*phase, Instant::now());
            }
            Event::PhaseEnded { round_id, phase, accepted, took } => {
                let over = past_phase(*phase, *took, Some(*accepted));
                self.open(*round_id, *phase, *took).phases.push(over);
            }
            Event::RoundCompleted { round_id, models, votes } => {
                let mut round = self.close(*round_id, None, rejected);
                (round.models, round.votes) = (Some(*models), Some(*votes));
                if let Some((_, measure)) = self.measured.take_if(|(id, _)| id == round_id) {
                    (round.norm, round.change) = (Some(measure.norm), measure.change);
                }
                self.last_completed = Some(unix(SystemTime::now()));
                self.keep(round);
            }
            Event::RoundFailed { round_id, phase, failure } => {
                let mut round = self.close(*round_id, Some((*phase, failure)), rejected);
                round.outcome = Outcome::Failed;
                round.failure = Some(Failure {
                    phase: phase.to_string(),
                    reason: failure.label().to_owned(),
                    message: failure::in_words(failure),
                });
                self.keep(round);
            }
            _ => {}
        }
    }

    /// What is known of a round that has just ended.
    fn close(
        &mut self,
        id: u64,
        failed: Option<(Phase, &RoundFailure)>,
        rejected: Option<&Rejections>,
    ) -> PastRound {
        let round = self.open(id, self.seen.phase, Duration::ZERO);
        let (phase, since) = round.phase;
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
        };
        // Nor can an earlier one still be open, unless its end was lost.
        self.open.retain(|open, _| *open > id);
        // Only phases that take messages end with an event, and only if they end well.
        let last = over.phases.last().map(|phase| phase.name.as_str());
        if last != Some(phase.to_string().as_str()) {
            let accepted = phase.accepts().map(|_| match failed {
                Some((_, RoundFailure::TooFewMessages { accepted, .. })) => *accepted,
                _ => self.seen.accepted,
            });
            over.phases.push(past_phase(phase, since.elapsed(), accepted));
        }
        over
    }

    fn keep(&mut self, round: PastRound) {
        let rounds = Arc::make_mut(&mut self.rounds);
        if rounds.len() == ROUNDS {
            rounds.remove(0);
        }
        rounds.push(round);
    }

    fn measured(&mut self, id: u64, measure: Measure) {
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
            name: self.seen.phase.to_string(),
            seconds,
            min_seconds: self.limits.map(|(_, time)| time.min.as_secs_f64()),
            max_seconds,
            left_seconds: max_seconds.map(|max| (max - seconds).max(0.0)),
            min_count: self.limits.map(|(count, _)| count.min),
            max_count: self.limits.map(|(count, _)| count.max),
            accepted: self.seen.accepted,
            waits_for: match self.seen.why {
                Some(Why::MinTime(_)) => "min_time",
                Some(Why::Messages(_)) => "messages",
                Some(Why::Job | Why::LostJob) => "job",
                Some(Why::Store) => "store",
                Some(Why::Resume) => "resume",
                _ => "nothing",
            }
            .to_owned(),
        }
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

fn limits(settings: &Settings, phase: Phase) -> Option<(CountRange, TimeRange)> {
    let Settings { sum, update, sum2, .. } = settings;
    Some(match phase.accepts()? {
        Tag::Sum => (sum.count, sum.time),
        Tag::Update => (update.count, update.time),
        Tag::Sum2 => (sum2.count, sum2.time),
        _ => return None,
    })
}

fn past_phase(phase: Phase, took: Duration, accepted: Option<u64>) -> PastPhase {
    PastPhase { name: phase.to_string(), seconds: rounded(took), accepted }
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

#[cfg(test)]
mod tests {
    use pet_core::{
        coordinator::{Input, Output},
        crypto::RootSeed,
        time::Timestamp,
    };

    use super::*;
    use crate::settings;

    fn idle(machine: &mut Coordinator) -> Idle {
        loop {
            if let Output::Idle(idle) = machine.poll_output() {
                return idle;
            }
        }
    }

    /// The clocks go on, although no event tells that the round began.
    #[tokio::test]
    async fn a_round_that_is_gone_on_with_has_its_age() {
        let (_stop, stopped) = watch::channel(false);
        let (observer, view, _keepers) = channel(Arc::<Counters>::default(), stopped);
        let settings = settings::Settings::for_model_length(4).protocol();
        let at = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
        let mut machine =
            Coordinator::new(settings.clone(), RootSeed::new([1; 32]), at(0)).unwrap();
        machine.handle_input(at(20), Input::Tick).unwrap();
        let snapshot = machine.snapshot().to_bytes();
        let mut machine = Coordinator::restore(&snapshot, settings, at(0)).unwrap();
        let idle = idle(&mut machine);
        observer.idle(&machine, &idle);
        let now = view.status().now;
        assert_eq!((now.round.id, now.phase.name.as_str()), (1, "sum"));
        assert!((20.0..50.0).contains(&now.phase.seconds), "{now:?}");
        assert!((20.0..50.0).contains(&now.round.seconds), "{now:?}");
        assert!(now.phase.left_seconds.is_some_and(|left| left <= 40.0), "{now:?}");
        assert!(now.time - now.round.began >= 20.0, "{now:?}");
    }

    #[tokio::test]
    async fn a_round_may_fail_when_its_last_phase_has_ended_well() {
        let (_stop, stopped) = watch::channel(false);
        let (observer, view, _keepers) = channel(Arc::<Counters>::default(), stopped);
        let took = Duration::from_secs(1);
        for (phase, accepted) in [(Phase::Sum, 2), (Phase::Update, 3), (Phase::Sum2, 2)] {
            observer.event(&Event::PhaseBegan { round_id: 7, phase }, None);
            observer.event(&Event::PhaseEnded { round_id: 7, phase, accepted, took }, None);
        }
        let failure = RoundFailure::TiedMasks { masks: 2, votes: 1 };
        let failed = Event::RoundFailed { round_id: 7, phase: Phase::Sum2, failure };
        observer.event(&failed, None);
        observer.event(&Event::PhaseBegan { round_id: 7, phase: Phase::Failure }, None);
        let status = view.status();
        let [round] = &status.rounds[..] else { panic!("{:?}", status.rounds) };
        let phases: Vec<&str> = round.phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(phases, ["sum", "update", "sum2"]);
        assert_eq!(round.failure.as_ref().unwrap().reason, "tied_masks");
    }

    /// A small model is measured before the driver has got to the end of the round.
    #[tokio::test]
    async fn a_model_may_be_measured_before_its_round_is_over() {
        let (_stop, stopped) = watch::channel(false);
        let (observer, view, _keepers) = channel(Arc::<Counters>::default(), stopped);
        for round_id in [1, 2] {
            observer.event(&Event::PhaseBegan { round_id, phase: Phase::Unmask }, None);
            observer.shared.measured(round_id, Measure { norm: 1.5, change: None });
            observer.event(&Event::RoundCompleted { round_id, models: 3, votes: 1 }, None);
        }
        let norms: Vec<_> = view.status().rounds.iter().map(|round| round.norm).collect();
        assert_eq!(norms, [Some(1.5), Some(1.5)]);
    }
}
