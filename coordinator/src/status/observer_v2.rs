//! What the driver of a federation's coordinator tells.

use pet_core::v2::{
    coordinator::{
        Coordinator, CountRange, Event, Idle, Record, RoundFailure, Settings, TimeRange, Why,
    },
    Phase,
};

use super::{
    federation::Federation,
    history::{Failed, Limits, Named, Seen},
    Failure, ModelForm, Note, Observer,
};
use crate::{metrics::Rejections, store::rounds::RestoredRounds};

impl Observer {
    /// Sees what was stored before.
    pub fn restored_rounds(&self, settings: &Settings, restored: &RestoredRounds) {
        let federation = Federation::restored(settings, &restored.records, restored.spent.clone());
        self.shared.lock().federation = Some(federation);
    }

    /// Sees a record.
    pub fn record(&self, record: &Record) {
        if let Some(federation) = &mut self.shared.lock().federation {
            federation.record(record);
        }
        self.shared.changed.notify_one();
    }

    /// Hears of an event, with words for what is strange, and what was rejected since the last round's end if a round ends
    /// with it.
    pub fn event_v2(&self, event: &Event, note: Option<&Note>, rejected: Option<&Rejections>) {
        let mut state = self.shared.lock();
        if let (Some(federation), Some(note)) = (&mut state.federation, note) {
            federation.note(note);
        }
        match event {
            Event::PhaseBegan { phase: Phase::Failed | Phase::Idle, .. } => {}
            Event::PhaseBegan { round, phase } => state.phase_began(*round, named(*phase)),
            Event::PhaseEnded { round, phase, accepted, took } => {
                state.phase_ended(*round, named(*phase), *accepted, *took);
            }
            Event::RoundCompleted { round, models, votes, .. } => {
                state.completed(*round, Some(*models), Some(*votes), rejected);
            }
            Event::RoundFailed { round, phase, failure } => {
                state.failed(*round, failed(*phase, failure), rejected);
            }
            _ => {}
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Looks at the machine, which has nothing more to do now.
    pub fn idle_v2(&self, machine: &Coordinator, idle: &Idle) {
        let phase =
            if machine.is_stopped() { "shutdown".to_owned() } else { machine.phase().to_string() };
        let seen = Seen {
            round: machine.round(),
            phase,
            accepted: machine.accepted(),
            waits_for: waits_for(idle.why),
        };
        let mut state = self.shared.lock();
        if state.has_seen(&seen) {
            return;
        }
        let settings = machine.settings();
        let form =
            ModelForm { length: settings.model_length, mask: settings.mask.vect.to_string() };
        let limits = limits(settings, machine.phase());
        state.look(seen, takes_messages(machine.phase()), machine.elapsed(), limits, form);
        drop(state);
        self.shared.changed.notify_one();
    }
}

fn takes_messages(phase: Phase) -> bool {
    !matches!(phase, Phase::Idle | Phase::Unmask | Phase::Failed)
}

fn named(phase: Phase) -> Named {
    Named { name: phase.to_string(), takes_messages: takes_messages(phase) }
}

fn failed(phase: Phase, failure: &RoundFailure) -> Failed {
    let accepted = match failure {
        RoundFailure::TooFewUpdates { accepted, .. } => Some(*accepted),
        _ => None,
    };
    let failure = Failure {
        phase: phase.to_string(),
        reason: failure.label().to_owned(),
        message: failure.to_string(),
    };
    Failed { failure, accepted }
}

fn waits_for(why: Why) -> &'static str {
    match why {
        Why::MinTime(_) => "min_time",
        Why::Messages(_) => "messages",
        Why::Job | Why::LostJob => "job",
        Why::Store | Why::Object => "store",
        Why::Resume => "resume",
        _ => "nothing",
    }
}

/// How many members must act in a phase of theirs, and how many there are.
fn limits(settings: &Settings, phase: Phase) -> Option<Limits> {
    let (roster, times) = (&settings.roster, &settings.times);
    let of_members = |time: TimeRange| {
        let groups = roster.groups().len();
        let (min, max) = (groups * roster.majority(), groups * roster.group_size());
        (CountRange { min: min as u64, max: max as u64 }, time)
    };
    Some(match phase {
        Phase::Announce => of_members(times.announce),
        Phase::Update => (settings.count, times.update),
        Phase::Check => of_members(times.check),
        Phase::Agree => of_members(times.agree),
        Phase::Sum2 => of_members(times.sum2),
        _ => return None,
    })
}
