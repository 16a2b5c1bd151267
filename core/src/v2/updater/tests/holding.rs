//! Looks whose answers are held back until the round is in another phase.

use std::time::Duration;

use super::world::*;
use crate::model::Model;
use crate::participant::{Event, Input, Output, Reject, Why};
use crate::request::{RequestId, Response};
use crate::v2::Phase;

const MOST: Duration = Duration::from_secs(40);

/// An updater that has no model to send, and whose driver knows of answers that are held back.
fn waiting(world: &mut World) -> (Client, RequestId) {
    let mut client = Client::new(1, world.pin());
    client.input(Input::Patience(MOST));
    let held = until_held(&mut client, world);
    (client, held)
}

/// Goes on until a look is to be held back; pauses pass.
fn until_held(client: &mut Client, world: &mut World) -> RequestId {
    loop {
        match client.machine.poll_output() {
            Output::Request { id, call } => {
                if client.machine.patience(id).is_some() {
                    assert_eq!(call.path_and_query(), "/v2/round");
                    return id;
                }
                let response = world.answer(&call);
                client.input(Input::Response { id, response });
            }
            Output::Job(job) => client.input(Input::JobDone(job.finish())),
            Output::Event(event) => client.see(event),
            Output::Idle(idle) => {
                client.now = idle.wake_at.expect("a pause");
                client.input(Input::Tick);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_waits_names_the_stage_and_is_not_woken_by_messages() {
    let mut world = World::new();
    world.phase = Phase::Announce;
    let (mut client, held) = waiting(&mut world);
    let patience = client.machine.patience(held).unwrap().clone();
    assert_eq!(patience.wait, MOST);
    assert_eq!(patience.known, Some(world.view().stage_tag().to_string()));
    let mut later = world.view();
    (later.entries, later.announced) = (7, 3);
    assert_eq!(later.stage_tag(), world.view().stage_tag());
    for phase in [Phase::Update, Phase::Check, Phase::Failed] {
        later.phase = phase;
        assert_ne!(later.stage_tag(), world.view().stage_tag());
    }
    // Nothing new: it asks again at once, and tells nobody of trouble.
    let before = client.events.len();
    client.now = client.now + MOST;
    client.input(Input::Response { id: held, response: Response::new(304, "") });
    let again = until_held(&mut client, &mut world);
    assert!(again > held && client.events.len() == before, "{:?}", client.events);
}

#[test]
fn a_whole_round_takes_few_requests() {
    let mut world = World::new();
    let mut client = Client::new(1, world.pin()).trains(Model::F32(vec![0.25; LENGTH]));
    client.input(Input::Patience(MOST));
    let mut others = clients(&world).split_off(1);
    let mut held = until_held(&mut client, &mut world);
    assert!(client.is_sent());
    for round in 2..=3 {
        run_all(&mut others, &mut world, 6);
        world.calls.clear();
        // Two waits end without news, then the round is completed, and the next one is open.
        for _ in 0..2 {
            world.calls.push("/v2/round".into());
            client.now = client.now + MOST;
            client.input(Input::Response { id: held, response: Response::new(304, "") });
            held = until_held(&mut client, &mut world);
        }
        world.complete(&[]);
        world.open();
        client.now = client.now + Duration::from_secs(20);
        let response = world.answer(&crate::request::Call::V2(crate::v2::Call::Round));
        client.input(Input::Response { id: held, response });
        held = until_held(&mut client, &mut world);
        assert!(client.take(|event| matches!(event, Event::Sent(_)).then_some(())).len() >= round);
        let looks = world.calls.iter().filter(|call| *call == "/v2/round").count();
        // Certificate, proof, model, announcements, header and chunks are asked for or sent once each.
        assert!(looks <= 10 && world.calls.len() <= looks + 8, "{:?}", world.calls);
    }
}

#[test]
fn a_model_and_a_wish_do_not_wait_for_the_next_phase() {
    for wish in [false, true] {
        let mut world = World::new();
        let (mut client, held) = waiting(&mut world);
        let Output::Idle(idle) = client.machine.poll_output() else { panic!("it waits") };
        assert_eq!((idle.why, idle.wake_at), (Why::LocalModel, None));
        match wish {
            true => client.input(Input::FetchModel),
            false => client.input(Input::SetModel(Model::F32(vec![0.5; LENGTH]))),
        }
        assert!(matches!(client.machine.poll_output(), Output::Cancel(id) if id == held));
        let late = Input::Response { id: held, response: Response::new(304, "") };
        assert_eq!(
            client.machine.handle_input(client.now, late),
            Err(Reject::UnknownRequest(held))
        );
        let before = client.now;
        until_held(&mut client, &mut world);
        assert!(client.now.saturating_since(before) < Duration::from_secs(2));
        let is_done = match wish {
            true => client.events.iter().any(|event| matches!(event, Event::GlobalModel(None))),
            false => client.is_sent(),
        };
        assert!(is_done, "{:?}", client.events);
    }
}

/// A coordinator of old knows nothing of stages and answers each look at once.
#[test]
fn a_coordinator_that_answers_at_once_is_asked_as_often_as_without_patience() {
    let asked = |patience: Option<Duration>| {
        let mut world = World::new();
        world.phase = Phase::Announce;
        let mut client = Client::new(1, world.pin());
        if let Some(patience) = patience {
            client.input(Input::Patience(patience));
        }
        let mut asked = Vec::new();
        while asked.len() < 40 {
            match client.machine.poll_output() {
                Output::Request { id, call } => {
                    asked.push((client.now, call.path_and_query()));
                    let response = world.answer(&call);
                    client.input(Input::Response { id, response });
                }
                Output::Job(job) => client.input(Input::JobDone(job.finish())),
                Output::Idle(idle) => {
                    client.now = idle.wake_at.expect("a pause");
                    client.input(Input::Tick);
                }
                _ => {}
            }
        }
        asked
    };
    assert_eq!(asked(Some(MOST)), asked(None));
}
