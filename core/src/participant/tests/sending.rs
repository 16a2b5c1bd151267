//! What it asks and sends, when, and how it takes answers.

use std::time::Duration;

use super::fixture::*;
use crate::crypto::{RootSeed, RoundSeed, Seed, SigningKeyPair, Task};
use crate::message::{MessageSize, Tag};
use crate::participant::*;
use crate::request::{Call, Response};
use crate::round::RoundParameters;

#[test]
fn without_a_task_it_only_looks_for_the_next_round() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::None));
    assert_eq!(fixture.idle().why, Why::Poll);
    let expected = Event::NewRound { task: Task::None, parameters: parameters(Task::None).into() };
    assert_eq!(fixture.events, [expected]);
    // 100 ms * 1.2^n, up to 10 s.
    let mut pauses = Vec::new();
    for _ in 0..40 {
        pauses.push(fixture.pause().as_millis());
        fixture.params(&parameters(Task::None));
    }
    assert_eq!(pauses[..4], [100, 120, 144, 173]);
    assert_eq!(pauses[35..], [10_000; 5]);
    assert_eq!(fixture.events.len(), 1);
}

#[test]
fn faults_and_wrong_answers_are_told_and_asked_again() {
    let mut fixture = Fixture::new();
    let (id, _) = fixture.request();
    fixture.input(Input::Fault { id, fault: TransportFault::TimedOut }).unwrap();
    fixture.pause();
    fixture.answer(&Call::Params, Response::no_content());
    fixture.pause();
    fixture.answer(&Call::Params, Response::ok("nonsense"));
    fixture.pause();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    let reasons: Vec<_> = fixture
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Trouble(trouble) => Some(trouble.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 3);
    assert!(reasons[0].contains("in time") && reasons[1].contains("204"), "{reasons:?}");
    assert!(reasons[2].contains("136"), "{reasons:?}");
}

#[test]
fn a_sum_participant_sends_its_key_and_waits_for_seeds() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    // A look at the parameters comes before every step.
    fixture.params(&parameters(Task::Sum));
    let (tag, payload) = payload_of(&mut fixture);
    assert_eq!((tag, payload.len()), (Tag::Sum, 96));
    assert_eq!(fixture.pause(), Duration::from_millis(100));
    assert_eq!(fixture.events.last(), Some(&Event::Sent(Tag::Sum)));
    fixture.params(&parameters(Task::Sum));
    let seeds = Call::Seeds(fixture.machine.keys().public());
    fixture.answer(&seeds, Response::no_content());
    assert_eq!(fixture.idle().why, Why::Poll);
}

#[test]
fn a_failed_send_is_repeated_with_the_same_bytes() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    let mut bodies = Vec::new();
    for status in [500, 404, 302] {
        fixture.params(&parameters(Task::Sum));
        let (id, call) = fixture.request();
        bodies.push(call.body());
        let response = Response::new(status, "");
        fixture.input(Input::Response { id, response }).unwrap();
        fixture.pause();
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    // Also after being restored.
    let saved = fixture.machine.snapshot().to_bytes();
    let mut restored = Fixture::with(Participant::restore(&saved, Settings::default()).unwrap());
    restored.params(&parameters(Task::Sum));
    assert_eq!(restored.request().1.body(), bodies[0]);
}

#[test]
fn a_rejected_message_ends_the_round_and_is_told() {
    for (name, status) in [("wrong_phase", 409), ("not_authentic", 400), ("duplicate_update", 409)]
    {
        let (mut fixture, id) = posting();
        fixture.input(Input::Response { id, response: told(name, status) }).unwrap();
        assert_eq!(fixture.idle().why, Why::Poll);
        match fixture.events.last() {
            Some(Event::Rejected { tag: Tag::Sum, problem }) => assert_eq!(problem.name, name),
            other => panic!("{other:?}"),
        }
        // It is not sent again in this round.
        fixture.pause();
        fixture.params(&parameters(Task::Sum));
        assert_eq!(fixture.idle().why, Why::Poll);
        // The next round is another matter.
        fixture.pause();
        fixture.params(&RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Sum) });
        fixture.run_job();
    }
}

#[test]
fn a_message_that_was_accepted_before_is_sent() {
    let (mut fixture, id) = posting();
    fixture.input(Input::Response { id, response: told("duplicate_sum", 409) }).unwrap();
    fixture.idle();
    assert_eq!(fixture.events.last(), Some(&Event::Sent(Tag::Sum)));
    fixture.pause();
    fixture.params(&parameters(Task::Sum));
    assert!(matches!(fixture.request().1, Call::SeedsOf(..)));
}

/// All of it: the coordinator looks at a part only as long as it does not have the whole.
#[test]
fn a_split_message_that_was_accepted_before_is_sent() {
    let settings =
        Settings { max_message_size: MessageSize::at_most(300).unwrap(), ..Settings::default() };
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let mut fixture = Fixture::with(Participant::new(keys, RootSeed::new([2; 32]), settings));
    fixture.params(&parameters(Task::Update));
    fixture.answer(&Call::Sums, sums());
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    let (id, _) = fixture.request();
    fixture.input(Input::Response { id, response: told("duplicate_update", 409) }).unwrap();
    fixture.idle();
    assert_eq!(fixture.events.last(), Some(&Event::Sent(Tag::Update)));
    assert!(!fixture.events.iter().any(|event| matches!(event, Event::Progress { .. })));
}

#[test]
fn a_problem_that_may_pass_is_no_reason_to_give_up() {
    for response in [
        told("chunks_no_room", 503),
        told("rate", 429),
        told("stalled", 408),
        Response::new(409, "no problem document"),
    ] {
        let (mut fixture, id) = posting();
        let status = response.status;
        fixture.input(Input::Response { id, response }).unwrap();
        fixture.pause();
        let trouble = Trouble { call: "message", reason: TroubleReason::Status(status) };
        assert_eq!(fixture.events.last(), Some(&Event::Trouble(trouble)));
        fixture.params(&parameters(Task::Sum));
        assert!(matches!(fixture.request().1, Call::Message(_)));
    }
}

#[test]
fn a_coordinator_that_asks_for_a_pause_gets_it_within_reason() {
    let seconds = Duration::from_secs;
    for (status, said, pause) in [
        (503, Some(seconds(7)), seconds(7)),
        (429, Some(seconds(7)), seconds(7)),
        (503, Some(Duration::MAX), seconds(60)),
        // Shorter than it would be anyway.
        (503, Some(Duration::ZERO), Duration::from_millis(100)),
        (503, None, Duration::from_millis(100)),
        // It means something else there.
        (500, Some(seconds(7)), Duration::from_millis(100)),
    ] {
        let response = Response::new(status, "").retry_after(said);
        let (mut fixture, id) = posting();
        fixture.input(Input::Response { id, response: response.clone() }).unwrap();
        assert_eq!(fixture.idle().wake_at, Some(fixture.now + pause), "{status} {said:?}");
        // The same for a look at the parameters; and the pause after that is an ordinary one.
        let mut fixture = Fixture::new();
        let (id, _) = fixture.request();
        fixture.input(Input::Response { id, response }).unwrap();
        assert_eq!(fixture.idle().wake_at, Some(fixture.now + pause), "{status} {said:?}");
        fixture.pause();
        let (id, _) = fixture.request();
        fixture.input(Input::Response { id, response: Response::new(503, "") }).unwrap();
        let ordinary = Duration::from_millis(120);
        assert_eq!(fixture.idle().wake_at, Some(fixture.now + ordinary));
    }
}
