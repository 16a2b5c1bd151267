//! Saved state machines, and what a server answers with.

use std::time::Duration;

use pet_core::coordinator::{
    self, Admission, Coordinator, CountRange, Front, PartDone, Settings, Sum2Settings, SumSettings,
    TimeRange, UpdateSettings, Verified,
};
use pet_core::mask::{DataType, MaskConfig};
use pet_core::participant::{self, Participant, TransportFault};
use pet_core::request::Call;
use pet_core::time::Timestamp;

use crate::federation::Federation;

/// The most outputs of a restored machine that are looked at: a few steps on.
const MOST_OUTPUTS: usize = 64;

/// Saved state machines: whatever is restored goes on in some way, its jobs included, and can be saved again. And
/// fronts: whatever is read answers, and can be written again. And what replicas tell each other.
pub fn snapshots(data: &[u8]) {
    if let Ok(machine) = Participant::restore(data, participant_settings()) {
        go_on(machine);
    }
    if let Ok(machine) = Coordinator::restore(data, settings(), Timestamp::ZERO) {
        go_on_with_rounds(machine);
    }
    if let Ok(front) = Front::from_bytes(data) {
        answer(&front);
        assert!(Front::from_bytes(&front.to_bytes()).is_ok());
    }
    if let Ok(message) = Verified::from_bytes(data, None) {
        assert!(Verified::from_bytes(&message.to_bytes(), message.large()).is_ok());
    }
    if let Ok(admission) = Admission::from_bytes(data) {
        assert_eq!(Admission::from_bytes(&admission.to_bytes()).as_ref(), Ok(&admission));
    }
    if let Ok(done) = PartDone::from_bytes(data) {
        assert_eq!(PartDone::from_bytes(&done.to_bytes()).as_ref(), Ok(&done));
    }
}

/// First inputs: what a coordinator is answered for with in each phase.
pub fn examples() -> Vec<(String, Vec<u8>)> {
    let mut federation = Federation::new();
    let mut examples = Vec::new();
    for _ in 0..40 {
        let front = federation.front();
        let name = format!("front-{}-{}", front.round_id().unwrap_or(0), front.phase());
        if !examples.iter().any(|(other, _)| *other == name) {
            examples.push((name, front.to_bytes().to_vec()));
        }
        federation.calm();
    }
    examples.truncate(8);
    examples
}

/// Everyone asks for everything, and sends something.
fn answer(front: &Front) {
    for call in [Call::Params, Call::Sums, Call::Model(DataType::F32)] {
        assert!(front.answer(&call).is_some());
    }
    for (participant, _) in front.sums().iter().flat_map(|sums| sums.iter()).take(4) {
        assert!(front.answer(&Call::Seeds(*participant)).is_some());
    }
    assert!(front.open(vec![0; 300]).is_err());
    let _ = (front.max_message_len(), format!("{front:?}"));
}

/// Nobody answers.
fn go_on(mut machine: Participant) {
    use participant::{Input, Output};
    let mut now = Timestamp::ZERO;
    for _ in 0..MOST_OUTPUTS {
        let input = match machine.poll_output() {
            Output::Request { id, .. } => Input::Fault { id, fault: TransportFault::TimedOut },
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Idle(idle) => {
                now = idle.wake_at.expect("somebody is to be asked, or it is too early");
                Input::Tick
            }
            _ => continue,
        };
        machine.handle_input(now, input).expect("it is due");
    }
    let saved = machine.snapshot().to_bytes();
    assert!(Participant::restore(&saved, participant_settings()).is_ok());
}

/// Everything is stored at once, and no message comes.
fn go_on_with_rounds(mut machine: Coordinator) {
    use coordinator::{Input, Output};
    let mut now = Timestamp::ZERO;
    for _ in 0..MOST_OUTPUTS {
        let input = match machine.poll_output() {
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Persist { id, .. } => Input::Persisted(id),
            Output::Idle(idle) => {
                now = idle.wake_at.expect("a phase's end");
                Input::Tick
            }
            _ => continue,
        };
        machine.handle_input(now, input).expect("it is due");
    }
    let saved = machine.snapshot().to_bytes();
    assert!(Coordinator::restore(&saved, settings(), Timestamp::ZERO).is_ok());
}

fn participant_settings() -> participant::Settings {
    participant::Settings::default().with_max_model_length(4096)
}

/// The settings that the snapshots in the corpus were made with.
fn settings() -> Settings {
    let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(60) };
    let count = CountRange { min: 1, max: 100 };
    let mask: MaskConfig = "Prime/F32/B0/M3".parse().expect("a known config");
    Settings::new(
        SumSettings::new(0.4, count, time),
        UpdateSettings::new(0.9, CountRange { min: 3, max: 100 }, time),
        Sum2Settings::new(count, time),
        mask,
        4,
    )
}
