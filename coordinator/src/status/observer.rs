//! What the driver tells.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pet_core::{
    coordinator::{
        Coordinator, Event, GlobalModel, Idle, PersistId, Phase, RoundFailure, Settings, Why,
    },
    message::Tag,
};
use tokio::sync::{mpsc, watch, Notify};

use super::{
    history::{named, Failed, Limits, Seen, State},
    measure::{self, Measure},
    view::{Keepers, View},
    Failure, ModelForm,
};
use crate::{
    failure,
    metrics::{Counters, Rejections},
};
#[cfg(feature = "replicas")]
use {
    super::{history::Step, Replica},
    pet_core::coordinator::Front,
    std::time::Duration,
};

/// The driver's side. No method blocks or computes for long.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    pub(super) shared: Arc<Shared>,
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
        let mut state = self.shared.lock();
        match event {
            // A failure is no phase of a round: the round was over before.
            Event::PhaseBegan { phase: Phase::Failure, .. } => {}
            Event::PhaseBegan { round_id, phase } => state.phase_began(*round_id, named(*phase)),
            Event::PhaseEnded { round_id, phase, accepted, took } => {
                state.phase_ended(*round_id, named(*phase), *accepted, *took);
            }
            Event::RoundCompleted { round_id, models, votes } => {
                state.completed(*round_id, Some(*models), Some(*votes), rejected);
            }
            Event::RoundFailed { round_id, phase, failure } => {
                state.failed(*round_id, failed(*phase, failure), rejected);
            }
            _ => {}
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Sees a new global model.
    pub fn model(&self, model: &GlobalModel) {
        // It is left out if those before it are not measured yet.
        let _ = self.models.try_send(model.clone());
    }

    /// Looks at the machine, which has nothing more to do now.
    pub fn idle(&self, machine: &Coordinator, idle: &Idle) {
        let phase = machine.phase();
        let seen = Seen {
            round: machine.round_id(),
            phase: phase.to_string(),
            accepted: machine.accepted(),
            waits_for: waits_for(idle.why),
        };
        let mut state = self.shared.lock();
        if let Some(replica) = &state.replica {
            replica.load.set_reserved(machine.reserved());
        }
        if state.has_seen(&seen) {
            return;
        }
        let settings = machine.settings();
        let form =
            ModelForm { length: settings.model_length, mask: settings.mask.vect.to_string() };
        let takes_messages = phase.accepts().is_some();
        state.look(seen, takes_messages, machine.elapsed(), limits(settings, phase), form);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Sees what is answered with by who does not lead.
    #[cfg(feature = "replicas")]
    pub fn follows(&self, front: &Front, accepted: u64, elapsed: Duration, settings: &Settings) {
        let (Some(round), Some(parameters)) = (front.round_id(), front.parameters()) else {
            return;
        };
        let phase = front.phase();
        let seen = Seen { round, phase: phase.to_string(), accepted, waits_for: "nothing" };
        let mut state = self.shared.lock();
        let mask = parameters.mask_config.vect.to_string();
        let form = ModelForm { length: parameters.model_length, mask };
        state.look(seen, phase.accepts().is_some(), elapsed, limits(settings, phase), form);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Sees in the log what has become of rounds.
    #[cfg(feature = "replicas")]
    pub fn followed(&self, steps: &[Step]) {
        if steps.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        steps.iter().for_each(|step| state.followed(step));
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Hears which of several coordinators this is; nothing is owed any more by a store of before if it does not lead.
    #[cfg(feature = "replicas")]
    pub fn replica(&self, replica: Replica) {
        let mut state = self.shared.lock();
        if !replica.is_leader {
            state.forget_unconfirmed();
        }
        state.replica = Some(replica);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Hears that the store was given a record.
    pub fn storing(&self, id: PersistId) {
        self.shared.lock().storing(id);
    }

    /// Hears that all records up to this one are stored.
    pub fn stored(&self, id: PersistId) {
        let took = self.shared.lock().stored(id);
        took.into_iter().for_each(|took| self.shared.counters.stored_after(took));
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

fn failed(phase: Phase, failure: &RoundFailure) -> Failed {
    let accepted = match failure {
        RoundFailure::TooFewMessages { accepted, .. } => Some(*accepted),
        _ => None,
    };
    let failure = Failure {
        phase: phase.to_string(),
        reason: failure.label().to_owned(),
        message: failure::in_words(failure),
    };
    Failed { failure, accepted }
}

fn waits_for(why: Why) -> &'static str {
    match why {
        Why::MinTime(_) => "min_time",
        Why::Messages(_) => "messages",
        Why::Job | Why::LostJob => "job",
        Why::Shards => "replicas",
        Why::Store => "store",
        Why::Resume => "resume",
        _ => "nothing",
    }
}

fn limits(settings: &Settings, phase: Phase) -> Option<Limits> {
    let Settings { sum, update, sum2, .. } = settings;
    Some(match phase.accepts()? {
        Tag::Sum => (sum.count, sum.time),
        Tag::Update => (update.count, update.time),
        Tag::Sum2 => (sum2.count, sum2.time),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
