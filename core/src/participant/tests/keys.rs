//! Keys and mask seeds: what follows from the root seed, also after going back to an older state.

use super::fixture::*;
use crate::crypto::{
    EncryptKeyPair, PublicEncryptKey, Purpose, RootSeed, RoundSeed, Seed, SigningKeyPair, Task,
    TaskSignatures,
};
use crate::message::Tag;
use crate::participant::snapshot::State;
use crate::participant::stage::{Round, Stage};
use crate::participant::*;
use crate::request::Call;
use crate::round::RoundParameters;

/// A machine that is restored from an old snapshot masks another model with another seed.
#[test]
fn no_two_models_are_masked_with_one_seed() {
    // Restored in the round itself, and before it began: then the root seed has to go on once more.
    let in_round = waiting_for_model().machine.snapshot().to_bytes();
    let before = Fixture::new().machine.snapshot().to_bytes();
    no_two_models_share_a_seed(&|| Fixture::with(restored(&in_round)), 0.25);
    no_two_models_share_a_seed(&|| Fixture::with(restored(&before)), 0.25);
    // One that has gone on in the meantime, and one that was restored from before.
    let states = [in_round, before];
    let turn = std::cell::Cell::new(0);
    no_two_models_share_a_seed(
        &|| {
            turn.set(turn.get() + 1);
            Fixture::with(restored(&states[turn.get() % 2]))
        },
        0.25,
    );
}

fn restored(saved: &[u8]) -> Participant {
    Participant::restore(saved, Settings::default()).unwrap()
}

fn no_two_models_share_a_seed(new: &dyn Fn() -> Fixture, weight: f32) {
    let masked = |weight: f32, scalar: f64| {
        let scalar = crate::model::Scalar::from_f64(scalar).unwrap();
        let settings = Settings { scalar, ..Settings::default() };
        let saved = new().machine.snapshot().to_bytes();
        let mut fixture = Fixture::with(Participant::restore(&saved, settings).unwrap());
        fixture.input(Input::SetModel(model(weight))).unwrap();
        fixture.params(&parameters(Task::Update));
        let mut output = fixture.next();
        if let Output::Request { id, call: Call::SumsOf(_) } = output {
            fixture.input(Input::Response { id, response: sums() }).unwrap();
            output = fixture.next();
        }
        let Output::Job(job) = output else { panic!("{output:?}") };
        fixture.input(Input::JobDone(job.finish())).unwrap();
        fixture.params(&parameters(Task::Update));
        let (_, payload) = payload_of(&mut fixture);
        // The first masked number, after two signatures and the vector's header.
        payload[128 + 8..][..6].to_vec()
    };
    let number = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..6].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    assert_eq!(masked(weight, 1.0), masked(weight, 1.0));
    // With one seed, numbers would differ by exactly the difference of the weights.
    let order = u64::try_from(parameters(Task::Update).mask_config.vect.order()).unwrap();
    let difference = |a: &[u8], b: &[u8]| (number(a) + order - number(b)) % order;
    assert_ne!(difference(&masked(0.5, 1.0), &masked(weight, 1.0)), 2_500_000_000);
    assert_ne!(difference(&masked(0.5, 1.0), &masked(0.5, 0.5)), 2_500_000_000);
}

/// The ephemeral key that a sum participant sends in a round.
fn ephemeral_key(fixture: &mut Fixture, round: &RoundParameters) -> PublicEncryptKey {
    fixture.params(round);
    fixture.run_job();
    fixture.params(round);
    let (tag, payload) = payload_of(fixture);
    assert_eq!(tag, Tag::Sum);
    PublicEncryptKey::from_slice(&payload[64..96]).unwrap()
}

fn sum_round(seed: u8) -> RoundParameters {
    RoundParameters { seed: RoundSeed::new([seed; 32]), ..parameters(Task::Sum) }
}

/// Which of the first rounds' ephemeral keys of these parameters follow from a state.
fn keys_of(state: &State, round: &RoundParameters) -> Vec<PublicEncryptKey> {
    let key = |number: u64| {
        let context: [&[u8]; 2] = [&round.to_bytes(), &number.to_le_bytes()];
        EncryptKeyPair::from_seed(&state.root.derive(Purpose::EphemeralKey, &context)).public()
    };
    (0..10).map(key).collect()
}

/// The root seed goes on with each round, and nobody gets back from a later one to an earlier.
#[test]
fn a_later_state_opens_no_earlier_round() {
    let mut fixture = Fixture::new();
    let rounds = [1, 2, 3].map(sum_round);
    let mut keys = Vec::new();
    let mut states = Vec::new();
    for round in &rounds {
        keys.push(ephemeral_key(&mut fixture, round));
        states.push(State::from_bytes(&fixture.machine.snapshot().to_bytes()).unwrap());
        fixture.pause();
    }
    for (state_of, state) in states.iter().enumerate() {
        for (of, round) in rounds.iter().enumerate() {
            let found = keys_of(state, round).contains(&keys[of]);
            assert_eq!(found, of == state_of, "state of round {state_of}, key of round {of}");
        }
    }
    // Nor is an earlier root kept anywhere in what is saved.
    let last = fixture.machine.snapshot().to_bytes();
    for state in &states[..2] {
        assert!(!last.windows(32).any(|window| window == state.root.as_bytes()));
    }
    assert!(!last.windows(32).any(|window| window == [2; 32]), "the seed that it began with");
}

/// What was lost in a crash comes out the same again, in whatever round the state was saved.
#[test]
fn a_restored_participant_goes_on_with_the_same_keys() {
    let mut fixture = Fixture::new();
    let mut saved = vec![fixture.machine.snapshot().to_bytes()];
    let rounds = [1, 2, 3].map(sum_round);
    let mut keys = Vec::new();
    for round in &rounds {
        keys.push(ephemeral_key(&mut fixture, round));
        saved.push(fixture.machine.snapshot().to_bytes());
        fixture.pause();
    }
    for (first, saved) in saved.iter().enumerate() {
        let restored = Participant::restore(saved, Settings::default()).unwrap();
        let mut fixture = Fixture::with(restored);
        for (round, key) in rounds.iter().zip(&keys).skip(first) {
            assert_eq!(ephemeral_key(&mut fixture, round), *key);
            fixture.pause();
        }
    }
}

/// States that were saved in the middle of a round before root seeds went on: the form is the same, and the round
/// is finished with what it was begun with.
#[test]
fn a_state_from_before_root_seeds_went_on_finishes_its_round() {
    let round = sum_round(1);
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let signatures = TaskSignatures::sign(&keys, &round.seed);
    let state = State {
        secret: keys.secret().clone(),
        root: RootSeed::new([2; 32]),
        round: Some(Round {
            parameters: round.clone().into(),
            number: 7,
            signatures,
            task: Task::Sum,
        }),
        stage: Stage::Sum(None),
        model: None,
        passed: Default::default(),
    };
    let expected = keys_of(&state, &round)[7];
    let saved = Snapshot::new(state).to_bytes();
    let mut fixture = Fixture::with(Participant::restore(&saved, Settings::default()).unwrap());
    assert_eq!(ephemeral_key(&mut fixture, &round), expected);
    fixture.pause();
    ephemeral_key(&mut fixture, &sum_round(2));
    let state = State::from_bytes(&fixture.machine.snapshot().to_bytes()).unwrap();
    assert!(state.root != RootSeed::new([2; 32]));
    assert!(!keys_of(&state, &round).contains(&expected));
}
