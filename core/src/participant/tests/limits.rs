//! What a participant has no part in, whatever a coordinator says.

use super::fixture::*;
use crate::crypto::{RootSeed, RoundSeed, Seed, SigningKeyPair, Task};
use crate::participant::*;
use crate::request::{Call, Response};
use crate::round::RoundParameters;

/// A coordinator that announces a giant model gets nobody to compute with it, and no sum participant that could not.
#[test]
fn models_longer_than_the_settings_allow_are_refused() {
    for (task, length, max_model_length) in
        [(Task::Sum, 1 << 40, 1 << 28), (Task::Update, 1 << 40, 1 << 28), (Task::Update, 3, 2)]
    {
        let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
        let settings = Settings { max_model_length, ..Settings::default() };
        let mut fixture = Fixture::with(Participant::new(keys, RootSeed::new([2; 32]), settings));
        let long = RoundParameters { model_length: length, ..parameters(task) };
        fixture.params(&long);
        // Neither a job nor another request, and nobody is asked for a model.
        fixture.idle();
        let given_up = Event::GaveUp(ComposeError::TooLong(length));
        assert_eq!(fixture.events[1..], [given_up], "{task:?}");
        // The next round is another matter.
        fixture.pause();
        fixture.params(&RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(task) });
        if max_model_length > 3 {
            assert!(!matches!(fixture.next(), Output::Idle(_)), "{task:?}");
        }
    }
}

/// Also who is restored with other settings after having announced itself.
#[test]
fn a_restored_participant_refuses_models_longer_than_its_settings_allow() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    fixture.params(&parameters(Task::Sum));
    payload_of(&mut fixture);
    let settings = Settings { max_model_length: 2, ..Settings::default() };
    let saved = fixture.machine.snapshot().to_bytes();
    let mut fixture = Fixture::with(Participant::restore(&saved, settings).unwrap());
    fixture.params(&parameters(Task::Sum));
    fixture.idle();
    assert_eq!(fixture.events, [Event::GaveUp(ComposeError::TooLong(3))]);
}

#[test]
fn sums_of_few_masks_are_refused() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    fixture.params(&parameters(Task::Sum));
    payload_of(&mut fixture);
    fixture.pause();
    fixture.params(&parameters(Task::Sum));
    let seeds = Call::Seeds(fixture.machine.keys().public());
    let two: crate::round::UpdateSeedDict = [1, 2]
        .map(|byte| {
            let seed = crate::message::EncryptedMaskSeed::new([byte; 80]);
            (crate::crypto::PublicSigningKey::new([byte; 32]), seed)
        })
        .into_iter()
        .collect();
    fixture.answer(&seeds, Response::ok(two.to_bytes()));
    fixture.run_job();
    fixture.idle();
    assert_eq!(fixture.events.last(), Some(&Event::GaveUp(ComposeError::TooFewSeeds(2))));
}
