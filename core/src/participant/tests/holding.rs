//! Answers that are held back until there is news.

use super::fixture::*;
use crate::crypto::{RootSeed, RoundSeed, Seed, SigningKeyPair, Task};
use crate::participant::*;
use crate::request::{Call, Patience, RequestId, Response};
use crate::round::RoundParameters;
use crate::time::Timestamp;
use std::time::Duration;

const MOST: Duration = Duration::from_secs(40);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A participant with nothing to do in its round, whose driver knows of answers that are held back.
fn idle() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.input(Input::Patience(MOST)).unwrap();
    fixture.params(&parameters(Task::None));
    fixture.pause();
    fixture
}

/// The next request, which is a patient look at the parameters.
fn look(fixture: &mut Fixture) -> (RequestId, Patience) {
    let (id, call) = fixture.request();
    assert_eq!(call, Call::Params);
    let patience = fixture.machine.patience(id).expect("it is patient").clone();
    (id, patience)
}

fn answer_after(fixture: &mut Fixture, time: Duration, id: RequestId, response: Response) {
    fixture.now = fixture.now + time;
    fixture.input(Input::Response { id, response }).unwrap();
}

fn fault_after(fixture: &mut Fixture, time: Duration, id: RequestId) {
    fixture.now = fixture.now + time;
    let fault = TransportFault::Unreachable("cut".into());
    fixture.input(Input::Fault { id, fault }).unwrap();
}

/// The next request, after the pause that there is before it, if there is one.
fn next_request(fixture: &mut Fixture) -> (RequestId, Call) {
    loop {
        match fixture.next() {
            Output::Request { id, call } => return (id, call),
            Output::Idle(idle) => {
                fixture.now = idle.wake_at.expect("a pause");
                fixture.input(Input::Tick).unwrap();
            }
            output => panic!("{output:?}"),
        }
    }
}

#[test]
fn a_driver_that_knows_nothing_of_it_has_its_answers_at_once() {
    let mut fixture = Fixture::new();
    for _ in 0..5 {
        let (id, _) = fixture.request();
        assert_eq!(fixture.machine.patience(id), None);
        let response = Response::ok(parameters(Task::None).to_bytes());
        fixture.input(Input::Response { id, response }).unwrap();
        fixture.pause();
    }
    let (id, _) = fixture.request();
    fixture.input(Input::Response { id, response: Response::new(304, "") }).unwrap();
    fixture.idle();
    assert!(matches!(fixture.events.last(), Some(Event::Trouble(_))));
}

#[test]
fn who_waits_for_the_next_round_says_which_one_it_knows() {
    let mut fixture = idle();
    let (id, patience) = look(&mut fixture);
    assert_eq!(patience.wait, MOST);
    assert_eq!(patience.known, Some(parameters(Task::None).tag().to_string()));
    assert_eq!(fixture.idle().wake_at, None);
    // It was held back for longer than any pause: the next look comes at once.
    answer_after(&mut fixture, MOST, id, Response::new(304, ""));
    let (id, _) = look(&mut fixture);
    assert!(fixture.machine.patience(RequestId(id.0 - 1)).is_none());
    // The next round.
    answer_after(&mut fixture, seconds(1), id, {
        Response::ok(parameters(Task::Update).to_bytes())
    });
    let (id, call) = next_request(&mut fixture);
    let sums = Call::Sums.of_round(parameters(Task::Update).tag());
    assert_eq!((call, fixture.machine.patience(id).unwrap().known.clone()), (sums, None));
    assert!(fixture.events.iter().any(|event| matches!(event, Event::NewRound { .. })));
    assert!(!fixture.events.iter().any(|event| matches!(event, Event::Trouble(_))));
}

/// What a coordinator of old that answers at once is asked, and when: after a while there is a round to update in, and
/// later the sum dictionary.
fn asked(patience: Option<Duration>) -> Vec<(Timestamp, String)> {
    let mut fixture = Fixture::new();
    if let Some(patience) = patience {
        fixture.input(Input::Patience(patience)).unwrap();
    }
    let mut asked = Vec::new();
    while asked.len() < 80 {
        match fixture.next() {
            Output::Request { id, call } => {
                asked.push((fixture.now, call.path_and_query()));
                let task = if asked.len() < 10 { Task::None } else { Task::Update };
                let response = match call {
                    Call::Params => Response::ok(parameters(task).to_bytes()),
                    Call::SumsOf(_) if asked.len() < 40 => Response::no_content(),
                    _ => sums(),
                };
                fixture.input(Input::Response { id, response }).unwrap();
            }
            Output::Idle(idle) => {
                fixture.now = idle.wake_at.expect("a pause");
                fixture.input(Input::Tick).unwrap();
            }
            output => panic!("{output:?}"),
        }
    }
    asked
}

#[test]
fn a_coordinator_that_answers_at_once_is_asked_as_often_as_without_patience() {
    assert_eq!(asked(Some(MOST)), asked(None));
}

#[test]
fn a_model_that_is_set_does_not_wait_for_the_next_round() {
    let mut fixture = Fixture::new();
    fixture.input(Input::Patience(MOST)).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.answer(&Call::Sums, sums());
    fixture.pause();
    let (id, _) = look(&mut fixture);
    assert_eq!(fixture.idle().why, Why::LocalModel);
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    assert!(matches!(fixture.next(), Output::Cancel(cancelled) if cancelled == id));
    let (next, call) = fixture.request();
    assert_eq!((call, fixture.machine.patience(next)), (Call::Params, None));
    // The old answer comes all the same.
    let late = Input::Response { id, response: Response::new(304, "") };
    assert_eq!(fixture.input(late), Err(Reject::UnknownRequest(id)));
    let response = Response::ok(parameters(Task::Update).to_bytes());
    fixture.input(Input::Response { id: next, response }).unwrap();
    fixture.run_job();
}

#[test]
fn a_look_that_was_not_polled_is_not_cancelled() {
    let mut fixture = Fixture::new();
    fixture.input(Input::Patience(MOST)).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.answer(&Call::Sums, sums());
    let wake_at = fixture.idle().wake_at.unwrap();
    fixture.input(Input::FetchModel).unwrap();
    fixture.now = wake_at;
    fixture.input(Input::Tick).unwrap();
    // The wish is before the look, so that the look is made and waits to be polled.
    assert_eq!(fixture.request().1.path_and_query(), "/model");
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    let (id, call) = fixture.request();
    assert_eq!((call, fixture.machine.patience(id)), (Call::Params, None));
}

#[test]
fn what_cuts_off_who_waits_is_no_trouble_and_is_asked_to_wait_for_less() {
    let mut fixture = idle();
    let mut waits = Vec::new();
    // Something on the way cuts off after 6 seconds.
    for _ in 0..40 {
        let (id, call) = next_request(&mut fixture);
        assert_eq!(call, Call::Params);
        let Some(patience) = fixture.machine.patience(id).cloned() else {
            let response = Response::ok(parameters(Task::None).to_bytes());
            fixture.input(Input::Response { id, response }).unwrap();
            continue;
        };
        waits.push(patience.wait.as_secs());
        if patience.wait > seconds(6) {
            fault_after(&mut fixture, seconds(6), id);
        } else {
            answer_after(&mut fixture, patience.wait, id, Response::new(304, ""));
        }
    }
    assert_eq!(waits[..5], [40, 20, 10, 5, 5]);
    // It is tried again, and not soon.
    let tried = waits.iter().skip(4).position(|wait| *wait == 10).unwrap();
    assert!(tried > 10, "{waits:?}");
    assert_eq!(fixture.events.len(), 1, "{:?}", fixture.events);
}

#[test]
fn if_nobody_is_there_at_all_that_is_told() {
    let mut fixture = idle();
    let (id, _) = look(&mut fixture);
    fault_after(&mut fixture, seconds(3), id);
    let (id, call) = fixture.request();
    assert_eq!((call, fixture.machine.patience(id)), (Call::Params, None));
    fault_after(&mut fixture, seconds(0), id);
    fixture.pause();
    assert!(matches!(fixture.events.last(), Some(Event::Trouble(_))));
    // No patience before it is back.
    let (id, _) = fixture.request();
    assert_eq!(fixture.machine.patience(id), None);
}

#[test]
fn who_is_to_come_later_comes_later() {
    let mut fixture = idle();
    let (id, _) = look(&mut fixture);
    let response = Response::new(503, "").retry_after(Some(seconds(30)));
    answer_after(&mut fixture, seconds(20), id, response);
    assert_eq!(fixture.pause(), seconds(30));
}

/// A proxy that gives up on the coordinator, or finds it gone.
#[test]
fn a_503_that_does_not_say_when_to_come_back_is_a_cut() {
    let mut fixture = idle();
    let (id, _) = look(&mut fixture);
    answer_after(&mut fixture, seconds(6), id, Response::new(503, "<html>"));
    assert!(!fixture.events.iter().any(|event| matches!(event, Event::Trouble(_))));
    let (id, call) = next_request(&mut fixture);
    assert_eq!((call, fixture.machine.patience(id)), (Call::Params, None));
    let response = Response::ok(parameters(Task::None).to_bytes());
    fixture.input(Input::Response { id, response }).unwrap();
    let (id, _) = next_request(&mut fixture);
    assert_eq!(fixture.machine.patience(id).unwrap().wait, MOST / 2);
}

/// A participant that has waited since a quarter of an hour, and hears of the next round now: when it asks for the sum
/// dictionary.
fn comes_after(byte: u8) -> (Fixture, Duration) {
    let keys = SigningKeyPair::from_seed(&Seed::new([byte; 32]));
    let machine = Participant::new(keys, RootSeed::new([byte; 32]), Settings::default());
    let mut fixture = Fixture::with(machine);
    fixture.input(Input::Patience(MOST)).unwrap();
    fixture.params(&parameters(Task::None));
    fixture.pause();
    for _ in 0..22 {
        let (id, _) = look(&mut fixture);
        answer_after(&mut fixture, MOST, id, Response::new(304, ""));
    }
    let (id, _) = look(&mut fixture);
    let response = Response::ok(parameters(Task::Update).to_bytes());
    answer_after(&mut fixture, seconds(20), id, response);
    let told = fixture.now;
    let saved = fixture.machine.snapshot().to_bytes();
    let (_, call) = next_request(&mut fixture);
    assert!(matches!(call, Call::SumsOf(_)));
    assert!(fixture.machine.snapshot().to_bytes() != saved, "it was as if it was not told yet");
    let after = fixture.now.saturating_since(told);
    (fixture, after)
}

/// All are told at one moment, and do not come at one moment. When each comes is the same in each run.
#[test]
fn who_hears_of_a_round_at_one_moment_does_not_come_at_one_moment() {
    let come: Vec<Duration> = (1..=40).map(|byte| comes_after(byte).1).collect();
    let again: Vec<Duration> = (1..=40).map(|byte| comes_after(byte).1).collect();
    assert_eq!(come, again);
    // As far apart as they were when they asked again and again.
    let longest = Settings::default().polling.max;
    assert!(come.iter().all(|after| *after <= longest), "{come:?}");
    for tenth in 0..4 {
        let (from, to) = (longest * tenth / 4, longest * (tenth + 1) / 4);
        let count = come.iter().filter(|after| (from..to).contains(*after)).count();
        assert!((3..=20).contains(&count), "{come:?}");
    }
}

/// Where nobody waits for long nobody is kept.
#[test]
fn news_that_come_soon_are_taken_in_soon() {
    let mut fixture = idle();
    let (id, _) = look(&mut fixture);
    let response = Response::ok(parameters(Task::Update).to_bytes());
    answer_after(&mut fixture, Duration::from_millis(160), id, response);
    let told = fixture.now;
    next_request(&mut fixture);
    assert!(fixture.now.saturating_since(told) <= Duration::from_millis(10));
}

/// A model that is set meanwhile is not kept either, nor is a wish.
#[test]
fn what_is_wanted_does_not_wait_for_its_turn() {
    let mut fixture = Fixture::new();
    fixture.input(Input::Patience(MOST)).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.answer(&Call::Sums, sums());
    fixture.pause();
    let (id, _) = look(&mut fixture);
    let next = RoundParameters { seed: RoundSeed::new([9; 32]), ..parameters(Task::Update) };
    answer_after(&mut fixture, MOST, id, Response::ok(next.to_bytes()));
    let idle = fixture.idle();
    assert_eq!(idle.why, Why::LocalModel);
    assert!(idle.wake_at.is_some_and(|at| at > fixture.now));
    fixture.input(Input::FetchModel).unwrap();
    assert_eq!(fixture.request().1.path_and_query(), "/model");
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    // There is nothing to cancel: it was answered.
    let (next_look, call) = fixture.request();
    assert_eq!((call, fixture.machine.patience(next_look)), (Call::Params, None));
    fixture
        .input(Input::Response { id: next_look, response: Response::ok(next.to_bytes()) })
        .unwrap();
    assert!(matches!(fixture.request().1, Call::SumsOf(_)));
}
