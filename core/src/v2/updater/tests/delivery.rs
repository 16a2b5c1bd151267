//! An update on its way: what is sent again, what is given up, and that it is the same bytes.

use super::world::*;
use crate::crypto::RootSeed;
use crate::job::{JobKind, MAX_LOSSES};
use crate::message::Tag;
use crate::model::Model;
use crate::participant::{ComposeError, Event, Input, Job, Output, TransportFault};
use crate::request::Response;
use crate::v2::updater::Updater;
use crate::v2::{Phase, TREE_LEAF};

/// Models of three leaves.
const LONG: usize = 300_000;

fn long() -> (World, Client) {
    let mut world = World::new();
    world.terms.parameters.model_length = LONG as u64;
    let weights = (0..LONG).map(|i| (i % 1000) as f32 / 1001.0).collect();
    let client = Client::new(1, world.pin()).trains(Model::F32(weights));
    (world, client)
}

fn rejected(client: &mut Client) -> Vec<String> {
    client.take(|event| match event {
        Event::Rejected { tag: Tag::Update, problem } => Some(problem.name.to_string()),
        _ => None,
    })
}

#[test]
fn long_models_go_in_leaves_and_are_whole() {
    let (mut world, mut client) = long();
    client.run(&mut world, 6);
    let key = client.key();
    let header = world.header(&key).unwrap().clone();
    assert_eq!(header.leaves.len(), (header.object_len as usize).div_ceil(TREE_LEAF));
    assert!(header.leaves.len() == 3 && world.masked(&key).len() as u64 == header.object_len);
    let progress = client.take(|event| match event {
        Event::Progress { sent, total, .. } => Some((*sent, *total)),
        _ => None,
    });
    assert_eq!(progress, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    let model = world.complete(&[]);
    let Model::F32(weights) = model else { panic!() };
    assert!(weights.iter().enumerate().all(|(i, w)| (w - (i % 1000) as f32 / 1001.0).abs() < 1e-5));
}

/// Whoever runs the job, and in how many parts, the bytes are the same.
#[test]
fn parts_make_the_same_bytes() {
    let mut all = Vec::new();
    for parts in [1, 2, 3, 8] {
        let (mut world, mut client) = long();
        for _ in 0..6 {
            client.input(Input::Tick);
            loop {
                match client.machine.poll_output() {
                    Output::Request { id, call } => {
                        let response = world.answer(&call);
                        client.input(Input::Response { id, response });
                    }
                    Output::Job(job) => {
                        let run = |pieces: Vec<crate::job::Part<_>>| {
                            pieces
                                .into_iter()
                                .rev()
                                .map(|piece| piece.run(|| false))
                                .rev()
                                .collect()
                        };
                        let result = job.run(parts, || false, run).unwrap();
                        client.input(Input::JobDone(result));
                    }
                    Output::Event(event) => client.see(event),
                    Output::Persist { .. } => unreachable!("nobody stores here"),
                    Output::Cancel(_) => unreachable!("nothing is held back here"),
                    Output::HandOver { .. } => unreachable!("version 2 hands nothing over"),
                    Output::Idle(idle) => {
                        client.now = idle.wake_at.unwrap();
                        break;
                    }
                }
            }
        }
        assert_eq!(world.sent.len(), 1);
        all.push((world.sent[0].sealed.clone(), world.masked(&client.key())));
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_does_not_get_through_is_sent_again_from_where_it_was() {
    let (mut world, mut client) = long();
    let mut count = 0;
    world.lie.insert(
        "/v2/update/chunk",
        Box::new(move |response| {
            count += 1;
            if count % 2 == 1 {
                Response::new(502, "")
            } else {
                response
            }
        }),
    );
    client.run(&mut world, 3);
    // Also after a restart.
    client.restart();
    client.run(&mut world, 12);
    assert!(client.is_sent());
    let headers = world.calls.iter().filter(|call| call.starts_with("/v2/update?")).count();
    assert_eq!((headers, world.sent.len()), (1, 1));
    world.masked(&client.key());
}

#[test]
fn a_coordinator_that_has_forgotten_the_header_gets_everything_again() {
    let (mut world, mut client) = long();
    let mut count = 0;
    world.lie.insert(
        "/v2/update/chunk",
        Box::new(move |response| {
            count += 1;
            if count == 2 {
                problem("unknown_upload", 409)
            } else {
                response
            }
        }),
    );
    client.run(&mut world, 12);
    assert!(client.is_sent());
    assert_eq!(world.sent.len(), 2);
    assert_eq!(world.sent[0].sealed, world.sent[1].sealed);
    world.masked(&client.key());
    // One that does so for ever is given up.
    let (mut world, mut client) = long();
    world.lie.insert("/v2/update/chunk", Box::new(|_| problem("unknown_upload", 409)));
    client.run(&mut world, 60);
    assert_eq!(rejected(&mut client), ["unknown_upload"]);
    assert_eq!(world.sent.len(), 8);
    world.forget();
}

#[test]
fn a_rejection_ends_it_for_this_round_and_too_much_work_does_not() {
    let mut world = World::new();
    let mut client = Client::new(1, world.pin()).trains(Model::F32(vec![0.5; LENGTH]));
    world.lie.insert(
        "/v2/update",
        Box::new(|_| problem("no_room", 503).retry_after(Some(std::time::Duration::from_secs(20)))),
    );
    client.run(&mut world, 4);
    let before = client.now;
    client.run(&mut world, 1);
    assert!(client.now.saturating_since(before) >= std::time::Duration::from_secs(20));
    world.lie.insert("/v2/update", Box::new(|_| problem("full", 409)));
    client.run(&mut world, 4);
    assert_eq!(rejected(&mut client), ["full"]);
    world.lie.clear();
    client.run(&mut world, 4);
    assert!(!client.is_sent());
}

#[test]
fn the_end_of_the_phase_ends_it() {
    let mut world = World::new();
    let mut client = Client::new(1, world.pin()).trains(Model::F32(vec![0.5; LENGTH]));
    world.lie.insert("/v2/update", Box::new(|_| Response::new(502, "")));
    client.run(&mut world, 4);
    world.phase = Phase::Check;
    client.run(&mut world, 4);
    assert_eq!(rejected(&mut client), ["too_late"]);
    // Who has not trained in time has nothing to send.
    let mut slow = Client::new(2, world.pin());
    slow.run(&mut world, 3);
    slow.input(Input::SetModel(Model::F32(vec![0.5; LENGTH])));
    slow.run(&mut world, 3);
    assert!(slow.machine.has_model() && !slow.machine.needs_model());
}

#[test]
fn what_lets_nothing_through_is_told() {
    let mut world = World::new();
    let mut client = Client::new(1, world.pin()).trains(Model::F32(vec![0.5; LENGTH]));
    world.lie.insert("/v2/update/chunk", Box::new(|_| Response::new(413, "")));
    client.run(&mut world, 4);
    let gave_up = client.take(|event| match event {
        Event::GaveUp(ComposeError::NotLetThrough { size }) => Some(*size),
        _ => None,
    });
    assert_eq!(gave_up.len(), 1);
}

#[test]
fn lost_jobs_are_given_out_again_and_then_given_up() {
    let mut world = World::new();
    let mut client = Client::new(1, world.pin()).trains(Model::F32(vec![0.5; LENGTH]));
    let mut lost = 0;
    for _ in 0..30 {
        client.input(Input::Tick);
        loop {
            match client.machine.poll_output() {
                Output::Request { id, call } => {
                    let response = world.answer(&call);
                    client.input(Input::Response { id, response });
                }
                Output::Job(job) if job.kind() == JobKind::MaskModel => {
                    lost += 1;
                    drop::<Job>(job);
                }
                Output::Job(job) => client.input(Input::JobDone(job.finish())),
                Output::Event(event) => client.see(event),
                Output::Persist { .. } => unreachable!("nobody stores here"),
                Output::Cancel(_) => unreachable!("nothing is held back here"),
                Output::HandOver { .. } => unreachable!("version 2 hands nothing over"),
                Output::Idle(idle) => {
                    client.now = idle.wake_at.unwrap();
                    break;
                }
            }
        }
    }
    let gave_up = client.take(|event| match event {
        Event::GaveUp(ComposeError::JobLost { job: JobKind::MaskModel, times }) => Some(*times),
        _ => None,
    });
    assert_eq!((lost, gave_up), (MAX_LOSSES, vec![MAX_LOSSES]));
    assert_eq!(client.machine.watch.len(), 0);
    assert_eq!(client.machine.ledger().rounds(), 0);
}

#[test]
fn faults_and_stops_and_strange_answers_do_no_harm() {
    let mut world = World::new();
    let mut client = Client::new(1, world.pin());
    let Output::Request { id, .. } = client.machine.poll_output() else { panic!() };
    client.input(Input::Fault { id, fault: TransportFault::TimedOut });
    let late = Input::Response { id, response: Response::ok("") };
    assert!(client.machine.handle_input(client.now, late).is_err());
    client.run(&mut world, 4);
    assert!(client.events.iter().any(|event| matches!(event, Event::Trouble(_))));
    client.input(Input::Stop);
    assert!(client.machine.handle_input(client.now, Input::Tick).is_err());
    let fork =
        Updater::new(super::world::keys(1), RootSeed::new([1; 32]), world.pin(), settings(1));
    assert!(fork.fork().is_some());
}
