//! When a local model is asked for, and which one counts.

use super::fixture::*;
use crate::crypto::{RootSeed, RoundSeed, Seed, SigningKeyPair, Task};
use crate::mask::{DataType, MaskError};
use crate::message::Tag;
use crate::model::Model;
use crate::participant::*;
use crate::request::{Call, Response};
use crate::round::RoundParameters;

#[test]
fn a_model_is_asked_for_once_a_round() {
    let mut fixture = waiting_for_model();
    for _ in 0..5 {
        fixture.pause();
        fixture.params(&parameters(Task::Update));
    }
    fixture.idle();
    let needed = Event::ModelNeeded { data_type: DataType::F32, length: 3 };
    assert_eq!(fixture.events.iter().filter(|event| **event == needed).count(), 1);
    assert!(fixture.machine.needs_model());

    // A new round: once more.
    let next = RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Update) };
    fixture.pause();
    fixture.params(&next);
    fixture.answer(&Call::Sums, sums());
    fixture.idle();
    assert_eq!(fixture.events.iter().filter(|event| **event == needed).count(), 2);
}

#[test]
fn a_model_is_used_up_by_one_round_and_the_latest_counts() {
    let mut fixture = Fixture::new();
    // Before the first contact, and replaced.
    fixture.input(Input::SetModel(model(0.1))).unwrap();
    fixture.input(Input::SetModel(model(0.2))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.answer(&Call::Sums, sums());
    let job = fixture.job();
    // Set while the other one is being masked: for the next round.
    fixture.input(Input::SetModel(model(0.3))).unwrap();
    fixture.input(Input::JobDone(job.finish())).unwrap();
    assert!(fixture.machine.has_model());
    fixture.params(&parameters(Task::Update));
    assert_eq!(payload_of(&mut fixture).0, Tag::Update);
    fixture.pause();
    let next = RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Update) };
    fixture.params(&next);
    fixture.answer(&Call::Sums, sums());
    fixture.run_job();
    assert!(!fixture.machine.has_model());
}

/// Python's classes have it so: what was trained on one global model must not count as an answer to another.
#[test]
fn a_model_for_one_round_never_serves_in_a_later_one() {
    let settings = Settings { keep_models: false, ..Settings::default() };
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let next = RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Update) };
    let begin = || {
        let machine = Participant::new(keys.clone(), RootSeed::new([2; 32]), settings.clone());
        let mut fixture = Fixture::with(machine);
        // Before the first contact: it is for the first round.
        fixture.input(Input::SetModel(model(0.1))).unwrap();
        fixture.params(&parameters(Task::Update));
        assert!(fixture.machine.has_model());
        fixture
    };
    let expect_dropped = |fixture: &mut Fixture| {
        fixture.params(&next);
        fixture.answer(&Call::Sums, sums());
        assert_eq!(fixture.idle().why, Why::LocalModel);
        assert!(fixture.events.contains(&Event::ModelOutdated));
        assert!(!fixture.machine.has_model());
    };
    // The round changes at the last look before it is masked.
    let mut fixture = begin();
    let (id, _) = fixture.request();
    fixture.input(Input::Response { id, response: Response::no_content() }).unwrap();
    fixture.pause();
    expect_dropped(&mut fixture);
    // Also where that happens while the participant is a saved state.
    let saved = begin().machine.snapshot().to_bytes();
    let restored = Participant::restore(&saved, settings.clone()).unwrap();
    expect_dropped(&mut Fixture::with(restored));
    // In the same round it is as good as ever.
    let mut restored = Fixture::with(Participant::restore(&saved, settings.clone()).unwrap());
    restored.params(&parameters(Task::Update));
    restored.answer(&Call::Sums, sums());
    restored.run_job();
    assert!(!restored.events.contains(&Event::ModelOutdated));
}

#[test]
fn a_bad_model_is_dropped_and_told() {
    let mut fixture = waiting_for_model();
    let wrong = fixture.input(Input::SetModel(Model::F32(vec![0.0; 4])));
    let length = ModelMismatch::Length { expected: 3, actual: 4 };
    assert_eq!(wrong, Err(Reject::Model(length)));
    // That a weight is not finite is found only in the job.
    fixture.input(Input::SetModel(Model::F32(vec![0.0, f32::NAN, 0.0]))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    fixture.idle();
    let not_finite = ModelMismatch::Mask(MaskError::NotFinite { index: 1 });
    assert_eq!(fixture.events.last(), Some(&Event::ModelRejected(not_finite)));
    assert!(!fixture.machine.has_model());
    // A better one is taken in the same round.
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    fixture.params(&parameters(Task::Update));
    assert_eq!(payload_of(&mut fixture).0, Tag::Update);
}

#[test]
fn a_new_round_ends_what_was_being_done() {
    let mut fixture = waiting_for_model();
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    let next = RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Sum) };
    fixture.params(&next);
    fixture.run_job();
    fixture.params(&next);
    assert_eq!(payload_of(&mut fixture).0, Tag::Sum);
}
