//! Whole rounds.

use super::world::*;
use crate::crypto::Task;
use crate::model::Model;
use crate::participant::{Event, Input, Output};
use crate::v2::{model_hash, Phase};

fn certified(client: &mut Client) -> Vec<(u64, u64, Option<bool>)> {
    client.take(|event| match event {
        Event::Certified { round, count, included } => Some((*round, *count, *included)),
        _ => None,
    })
}

#[test]
fn three_rounds_give_the_mean_and_everybody_is_proven_to_be_in_it() {
    let mut world = World::new();
    let mut clients = clients(&world);
    for round in 1..=3u64 {
        run_all(&mut clients, &mut world, 6);
        assert_eq!(world.uploads.len(), 5, "round {round}");
        let Model::F32(model) = world.complete(&[]) else { panic!() };
        for weight in model {
            assert!((weight - 3.0 / 16.0).abs() < 1e-5, "{weight}");
        }
        world.open();
    }
    run_all(&mut clients, &mut world, 6);
    let last = world.completed[&3].model.clone();
    for client in &mut clients {
        assert_eq!(certified(client), [1, 2, 3].map(|round| (round, 5, Some(true))));
        // The global models that it was given: each with a certificate, the last one of the last round.
        let given = client.take(|event| match event {
            Event::GlobalModel(model) => Some(model.clone()),
            _ => None,
        });
        assert_eq!(given.len(), 4);
        assert!(given[0].is_none());
        assert!(**given[3].as_ref().unwrap() == last);
        assert_eq!(client.refusals(), []);
        assert_eq!(client.machine.task(), Task::Update);
    }
    assert!(world.calls.iter().all(|call| call.starts_with("/v2/")), "it speaks no version 1");
}

#[test]
fn nothing_is_handed_out_before_certificate_and_inclusion_are_checked() {
    let mut world = World::new();
    let mut clients = clients(&world);
    run_all(&mut clients, &mut world, 6);
    world.complete(&[]);
    world.open();
    world.calls.clear();
    let client = &mut clients[0];
    client.events.clear();
    client.run(&mut world, 1);
    let paths: Vec<_> = world.calls.iter().map(|call| call.split('?').next().unwrap()).collect();
    assert_eq!(paths[..4], ["/v2/round", "/v2/certificate", "/v2/proof", "/v2/model"]);
    let order: Vec<_> = client
        .events
        .iter()
        .map(|event| match event {
            Event::Certified { .. } => "certified",
            Event::NewRound { .. } => "round",
            Event::ModelNeeded { .. } => "train",
            Event::GlobalModel(Some(_)) => "model",
            Event::ModelMasked(_) | Event::Progress { .. } | Event::Sent(_) => "later",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order[..5], ["certified", "round", "train", "model", "later"]);
}

#[test]
fn who_is_left_out_is_told_and_goes_on() {
    let mut world = World::new();
    let mut clients = clients(&world);
    run_all(&mut clients, &mut world, 6);
    let left_out = clients[1].key();
    world.complete(&[left_out]);
    world.open();
    run_all(&mut clients, &mut world, 6);
    assert_eq!(certified(&mut clients[1]), [(1, 4, Some(false))]);
    assert_eq!(certified(&mut clients[0]), [(1, 4, Some(true))]);
    assert_eq!(world.uploads.len(), 5, "the next round is open to it");
    // Who was not there in a round has nothing to be included.
    let mut late = Client::new(9, world.pin()).trains(Model::F32(vec![0.5; LENGTH]));
    late.run(&mut world, 6);
    assert_eq!(certified(&mut late), [(1, 4, None)]);
    assert!(late.is_sent());
}

#[test]
fn the_model_of_the_last_round_is_had_without_another_round() {
    let mut world = World::new();
    let mut clients = clients(&world);
    run_all(&mut clients, &mut world, 6);
    let model = world.complete(&[]);
    let client = &mut clients[0];
    client.events.clear();
    client.input(Input::FetchModel);
    client.run(&mut world, 2);
    let given = client.take(|event| match event {
        Event::GlobalModel(model) => model.clone(),
        _ => None,
    });
    assert!(given.len() == 1 && *given[0] == model);
    assert_eq!(certified(client), [(1, 5, Some(true))]);
}

#[test]
fn a_round_that_fails_is_told_and_the_next_goes_on() {
    let mut world = World::new();
    let mut clients = clients(&world);
    run_all(&mut clients, &mut world, 6);
    world.failure = Some("too few votes".into());
    world.phase = Phase::Failed;
    world.open();
    run_all(&mut clients, &mut world, 6);
    for client in &mut clients {
        let failed = client.take(|event| match event {
            Event::NotCertified { round, reason } => Some((*round, reason.clone())),
            _ => None,
        });
        assert_eq!(failed, [(1, Some("too few votes".into()))]);
    }
    assert_eq!(world.uploads.len(), 5);
}

#[test]
fn a_model_that_was_trained_on_another_global_model_is_dropped_and_told() {
    let mut world = World::new();
    let mut clients = clients(&world);
    run_all(&mut clients, &mut world, 6);
    world.complete(&[]);
    world.open();
    // It is given the model of round 1, and trains too long.
    let client = &mut clients[0];
    client.trained = None;
    client.run(&mut world, 6);
    run_all(&mut clients[1..], &mut world, 6);
    world.complete(&[]);
    world.open();
    let client = &mut clients[0];
    client.fetches = false;
    client.input(Input::SetModel(Model::F32(vec![0.5; LENGTH])));
    client.run(&mut world, 6);
    assert!(client.events.iter().any(|event| matches!(event, Event::ModelOutdated)));
    assert!(!world.uploads.contains_key(&client.key()));
    // Trained on the right one, it is sent.
    client.input(Input::FetchModel);
    client.run(&mut world, 2);
    client.input(Input::SetModel(Model::F32(vec![0.5; LENGTH])));
    client.run(&mut world, 4);
    assert!(world.uploads.contains_key(&client.key()));
    assert_eq!(world.terms.model, Some(model_hash(&world.completed[&2].model)));
}

#[test]
fn every_wish_gets_an_answer_of_its_own_also_a_bad_one() {
    let mut world = World::new();
    let mut client = Client::new(1, world.pin());
    client.fetches = false;
    for _ in 0..3 {
        client.input(Input::FetchModel);
    }
    // One that comes while the look is under way is answered after the next.
    let Output::Request { id, call } = client.machine.poll_output() else { panic!() };
    client.input(Input::FetchModel);
    let response = world.answer(&call);
    client.input(Input::Response { id, response });
    client.run(&mut world, 3);
    let answers = client.take(|event| match event {
        Event::GlobalModel(None) => Some(()),
        _ => None,
    });
    assert_eq!(answers.len(), 4);
    world.lie.insert("/v2/round", Box::new(|_| crate::request::Response::new(502, "")));
    client.input(Input::FetchModel);
    client.run(&mut world, 2);
    assert!(client.events.iter().any(|event| matches!(event, Event::GlobalModelFailed(_))));
}
