//! Getting the global model.

use super::fixture::*;
use crate::crypto::{RoundSeed, Task};
use crate::mask::DataType;
use crate::model::{array, ratio, ArrayError, Model};
use crate::participant::*;
use crate::request::{Call, ModelForm, RequestId, Response};
use crate::round::RoundParameters;

#[test]
fn every_wish_for_the_global_model_is_answered() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    for _ in 0..3 {
        fixture.input(Input::FetchModel).unwrap();
    }
    let bytes = ratio::encode_model(&model(0.5)).unwrap();
    fixture.answer(&Call::Model(DataType::F32), Response::ok(bytes));
    fixture.run_job();
    fixture.idle();
    let answer = Event::GlobalModel(Some(model(0.5).into()));
    assert_eq!(fixture.events.iter().filter(|event| **event == answer).count(), 3);
}

fn encoded(weight: f32) -> Response {
    Response::ok(ratio::encode_model(&model(weight)).unwrap())
}

fn global_models(fixture: &Fixture) -> Vec<f32> {
    let weight = |event: &Event| match event {
        Event::GlobalModel(Some(model)) => match &**model {
            Model::F32(weights) => Some(weights[0]),
            _ => None,
        },
        _ => None,
    };
    fixture.events.iter().filter_map(weight).collect()
}

/// One that has asked for the model and whose request is under way, and what is to be answered.
fn fetching() -> (Fixture, RequestId) {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    fixture.input(Input::FetchModel).unwrap();
    let (id, call) = fixture.request();
    assert_eq!(call, Call::Model(DataType::F32));
    (fixture, id)
}

fn next_round() -> RoundParameters {
    RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::None) }
}

/// The old round's request is under way when a new round is seen: a wish does not join it.
#[test]
fn a_wish_after_a_new_round_gets_no_older_model() {
    let (mut fixture, id) = fetching();
    fixture.pause();
    fixture.params(&next_round());
    fixture.idle();
    fixture.input(Input::FetchModel).unwrap();
    fixture.idle();
    fixture.input(Input::Response { id, response: encoded(0.25) }).unwrap();
    fixture.run_job();
    assert!(global_models(&fixture).is_empty());
    fixture.answer(&Call::Model(DataType::F32), encoded(0.5));
    assert_eq!(global_models(&fixture), [0.25], "the first wish is content with the first answer");
    fixture.run_job();
    fixture.idle();
    assert_eq!(global_models(&fixture), [0.25, 0.5]);
}

/// Nobody has driven the machine meanwhile, so that it does not know of a new round.
#[test]
fn a_wish_after_a_round_that_nobody_has_seen_gets_no_older_model() {
    let (mut fixture, id) = fetching();
    fixture.input(Input::FetchModel).unwrap();
    fixture.input(Input::Response { id, response: encoded(0.25) }).unwrap();
    fixture.run_job();
    fixture.params(&next_round());
    fixture.answer(&Call::Model(DataType::F32), encoded(0.5));
    fixture.run_job();
    fixture.idle();
    assert_eq!(global_models(&fixture), [0.25, 0.5]);
}

/// In the same round the model is got once, however many ask for it, and whenever they do.
#[test]
fn late_wishes_of_the_same_round_cost_a_look_at_the_parameters() {
    let (mut fixture, id) = fetching();
    for _ in 0..5 {
        fixture.input(Input::FetchModel).unwrap();
    }
    fixture.input(Input::Response { id, response: encoded(0.25) }).unwrap();
    fixture.input(Input::FetchModel).unwrap();
    fixture.run_job();
    let (id, call) = fixture.request();
    assert_eq!(call, Call::Params);
    assert_eq!(global_models(&fixture).len(), 1);
    fixture.input(Input::FetchModel).unwrap();
    fixture
        .input(Input::Response { id, response: Response::ok(parameters(Task::None).to_bytes()) })
        .unwrap();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    assert_eq!(global_models(&fixture), [0.25; 8]);
}

/// Whatever fails and however often rounds change, each wish is answered once.
#[test]
fn wishes_are_answered_whatever_happens() {
    for failing in 0..5 {
        let (mut fixture, mut id) = fetching();
        for step in 0..10 {
            fixture.input(Input::FetchModel).unwrap();
            let response = match (step + failing) % 5 {
                0 => Response::new(500, ""),
                1 => Response::no_content(),
                2 => Response::ok("nonsense"),
                3 => Response::ok(next_round().to_bytes()),
                _ => encoded(0.5),
            };
            fixture.input(Input::Response { id, response }).unwrap();
            id = loop {
                match fixture.next() {
                    Output::Job(job) => fixture.input(Input::JobDone(job.finish())).unwrap(),
                    Output::Request { id, .. } => break id,
                    output => panic!("{output:?}"),
                }
            };
        }
        let fault = || TransportFault::TimedOut;
        fixture.input(Input::Fault { id, fault: fault() }).unwrap();
        while let Output::Request { id, .. } = fixture.next() {
            fixture.input(Input::Fault { id, fault: fault() }).unwrap();
        }
        let is_answer =
            |event: &&Event| matches!(event, Event::GlobalModel(_) | Event::GlobalModelFailed(_));
        assert_eq!(fixture.events.iter().filter(is_answer).count(), 11);
    }
}

#[test]
fn the_global_model_is_read_in_the_form_that_it_comes_in() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    let data_type = model(0.5).data_type();
    let mut bytes = Vec::new();
    array::write_weights(&model(0.5), &mut bytes);
    let mut fetch = |bytes: &[u8], form| {
        fixture.input(Input::FetchModel).unwrap();
        let response = Response::ok(bytes.to_vec()).model_form(form);
        fixture.answer(&Call::Model(data_type), response);
        fixture.run_job();
        fixture.idle();
        fixture.events.pop().unwrap()
    };
    let answer = Event::GlobalModel(Some(model(0.5).into()));
    assert_eq!(fetch(&bytes, ModelForm::Array(data_type)), answer);
    let rationals = fetch(&bytes, ModelForm::Rationals);
    assert!(matches!(rationals, Event::GlobalModelFailed(FetchError::Model(_))), "{rationals:?}");
    let other = fetch(&bytes, ModelForm::Array(DataType::I64));
    let expected = ArrayError::DataType { expected: data_type, actual: DataType::I64 };
    assert_eq!(other, Event::GlobalModelFailed(expected.into()));
}

#[test]
fn a_global_model_of_another_length_is_none_of_this_round() {
    for weights in [vec![], vec![0.5; 2], vec![0.5; 4]] {
        let mut fixture = Fixture::new();
        fixture.params(&parameters(Task::None));
        fixture.idle();
        fixture.input(Input::FetchModel).unwrap();
        let actual = weights.len() as u64;
        let bytes = ratio::encode_model(&Model::F32(weights)).unwrap();
        fixture.answer(&Call::Model(DataType::F32), Response::ok(bytes));
        fixture.run_job();
        fixture.idle();
        let error = FetchError::Length { expected: 3, actual };
        assert_eq!(fixture.events.last(), Some(&Event::GlobalModelFailed(error)));
    }
}
