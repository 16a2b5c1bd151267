//! Local models of another type than the round's, and local models of restored participants.

use super::fixture::*;
use crate::crypto::{RoundSeed, Task};
use crate::job::JobResult;
use crate::mask::{DataType, MaskConfig, MaskConfigPair, MaskError};
use crate::model::{CastError, Model};
use crate::participant::*;
use crate::request::{Call, Response};
use crate::round::RoundParameters;

fn round(config: &str, model_length: usize) -> RoundParameters {
    let mask_config: MaskConfigPair = config.parse::<MaskConfig>().unwrap().into();
    RoundParameters { mask_config, model_length: model_length as u64, ..parameters(Task::Update) }
}

/// Masks a model in the round, its job done at once or in parts; gives the message, or why it was rejected.
fn masked(
    model: impl Into<Model>,
    round: &RoundParameters,
    parts: usize,
) -> Result<Vec<u8>, ModelMismatch> {
    let mut fixture = Fixture::new();
    fixture.params(round);
    fixture.answer(&Call::Sums, sums());
    fixture.idle();
    match fixture.input(Input::SetModel(model.into())) {
        Ok(()) => {}
        Err(Reject::Model(mismatch)) => return Err(mismatch),
        Err(reject) => panic!("{reject}"),
    }
    fixture.params(round);
    let result: JobResult<_> = fixture
        .job()
        .run(parts, || false, |parts| parts.into_iter().map(|part| part.run(|| false)).collect())
        .unwrap();
    fixture.input(Input::JobDone(result)).unwrap();
    // The events are among jobs that free memory.
    let mut rejected = None;
    loop {
        match fixture.machine.poll_output() {
            Output::Event(Event::ModelRejected(mismatch)) => rejected = Some(mismatch),
            Output::Event(_) => {}
            Output::Job(job) => fixture.input(Input::JobDone(job.finish())).unwrap(),
            Output::Request { id, call: Call::Params } => {
                let response = Response::ok(round.to_bytes());
                fixture.input(Input::Response { id, response }).unwrap();
            }
            Output::Request { call, .. } => return Ok(call.body().to_vec()),
            _ => return Err(rejected.expect("it was rejected, or it is sent")),
        }
    }
}

/// As many as need several leaves of the model's hash, and parts that begin anywhere.
const LONG: usize = 300_003;

#[test]
fn a_model_of_another_type_makes_the_bytes_that_its_conversion_makes() {
    let f64s: Vec<f64> = (0..LONG).map(|i| ((i * 37 % 1009) as f64 / 1009.0 - 0.5) * 1.1).collect();
    let i64s: Vec<i64> = (0..LONG).map(|i| i as i64 % 5 - 2).collect();
    let i32s: Vec<i32> = i64s.iter().map(|&weight| weight as i32).collect();
    let f32s: Vec<f32> = f64s.iter().map(|&weight| weight as f32).collect();
    let converted: [(&str, Model, Model); 7] = [
        ("Prime/F32/B0/M3", f64s.clone().into(), f32s.clone().into()),
        ("Word32/F32/B0/M3", f64s.into(), f32s.clone().into()),
        (
            "Prime/F64/B0/M3",
            f32s.clone().into(),
            f32s.into_iter().map(f64::from).collect::<Vec<_>>().into(),
        ),
        (
            "Prime/F32/B0/M3",
            i32s.clone().into(),
            i32s.iter().map(|&weight| weight as f32).collect::<Vec<_>>().into(),
        ),
        (
            "Integer/F64/B2/M3",
            i64s.clone().into(),
            i64s.iter().map(|&weight| weight as f64).collect::<Vec<_>>().into(),
        ),
        ("Prime/I32/B0/M3", i64s.clone().into(), i32s.clone().into()),
        ("Prime/I64/B0/M3", i32s.into(), i64s.into()),
    ];
    for (config, model, expected) in converted {
        let round = round(config, LONG);
        let expected = masked(expected, &round, 1).unwrap();
        for parts in [1, 3] {
            let found = masked(model.clone(), &round, parts).unwrap();
            assert!(found == expected, "{config} {model:?} in {parts} parts");
        }
    }
}

#[test]
fn a_weight_that_the_rounds_type_does_not_have_is_named() {
    for at in [0, LONG / 2, LONG - 1] {
        let mut weights = vec![0.5f64; LONG];
        (weights[at], weights[LONG - 1]) = (1e39, 1e40);
        let beyond = if at == LONG - 1 { "1e40" } else { "1e39" };
        let error =
            CastError::OutOfRange { index: at, value: beyond.into(), wanted: DataType::F32 };
        let mut not_a_number = vec![0.5f64; LONG];
        not_a_number[at] = f64::NAN;
        for parts in [1, 3] {
            let round = round("Prime/F32/B0/M3", LONG);
            assert_eq!(
                masked(weights.clone(), &round, parts),
                Err(MaskError::Cast(error.clone()).into())
            );
            assert_eq!(
                masked(not_a_number.clone(), &round, parts),
                Err(MaskError::NotFinite { index: at }.into())
            );
        }
    }
}

#[test]
fn floats_are_not_taken_for_integers() {
    let round = round("Prime/I32/B0/M3", 3);
    let refused = masked(model(0.5), &round, 1).unwrap_err();
    let (expected, actual) = (DataType::I32, DataType::F32);
    assert_eq!(refused, ModelMismatch::DataType { expected, actual });
    assert_eq!(
        refused.to_string(),
        "the local model has F32 weights, but this coordinator's models have I32 weights: round them yourself"
    );
    // Also where the round is not known yet.
    let mut fixture = Fixture::new();
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    fixture.params(&round);
    fixture.request();
    assert_eq!(fixture.events.last(), Some(&Event::ModelRejected(refused)));
    assert!(!fixture.machine.has_model());
}

/// A participant that was saved in a round of three weights, and restored.
fn restored() -> Fixture {
    let saved = waiting_for_model().machine.snapshot().to_bytes();
    Fixture::with(Participant::restore(&saved, Settings::default()).unwrap())
}

#[test]
fn a_restored_participant_takes_any_model_until_it_knows_its_round() {
    let longer = || Model::F32(vec![0.5; 5]);
    let next = RoundParameters { seed: RoundSeed::new([4; 32]), ..round("Prime/F32/B0/M3", 5) };
    // For the round to come.
    let mut fixture = restored();
    fixture.input(Input::SetModel(longer())).unwrap();
    assert_eq!(fixture.machine.local_model().unwrap().len(), 5);
    fixture.params(&next);
    fixture.answer(&Call::Sums, sums());
    fixture.run_job();
    assert!(!fixture.events.iter().any(|event| matches!(event, Event::ModelRejected(_))));
    // The round goes on.
    let length = ModelMismatch::Length { expected: 3, actual: 5 };
    let mut fixture = restored();
    fixture.input(Input::SetModel(longer())).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.idle();
    assert!(fixture.events.contains(&Event::ModelRejected(length.clone())));
    assert!(!fixture.machine.has_model() && fixture.machine.needs_model());
    // From then on it is told at once.
    assert_eq!(fixture.input(Input::SetModel(longer())), Err(Reject::Model(length)));
}

#[test]
fn a_restored_participants_model_that_fits_only_the_next_round_is_not_outdated() {
    let settings = Settings { keep_models: false, ..Settings::default() };
    let saved = waiting_for_model().machine.snapshot().to_bytes();
    let next = |length| RoundParameters {
        seed: RoundSeed::new([4; 32]),
        ..round("Prime/F32/B0/M3", length)
    };
    for (length, is_outdated) in [(5, false), (3, true)] {
        let mut fixture = Fixture::with(Participant::restore(&saved, settings.clone()).unwrap());
        fixture.input(Input::SetModel(Model::F32(vec![0.5; length]))).unwrap();
        fixture.params(&next(length));
        fixture.request();
        assert_eq!(fixture.events.contains(&Event::ModelOutdated), is_outdated);
        assert_eq!(fixture.machine.has_model(), !is_outdated);
    }
}

#[test]
fn a_model_of_another_type_is_saved_as_it_is() {
    let mut fixture = Fixture::new();
    fixture.params(&round("Prime/F32/B0/M3", 2));
    fixture.input(Input::SetModel(Model::F64(vec![0.1, 0.2]))).unwrap();
    let saved = fixture.machine.snapshot().to_bytes();
    let restored = Participant::restore(&saved, Settings::default()).unwrap();
    assert!(**restored.local_model().unwrap() == Model::F64(vec![0.1, 0.2]));
}
