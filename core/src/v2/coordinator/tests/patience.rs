//! Members that were started a moment after the round was opened sit it out: it is opened anew long before its time is over.

use std::time::Duration;

use super::fixture::{settings, Fixture, MAX};
use super::people::{members, roster, Member};
use crate::crypto::RootSeed;
use crate::request::{self, Response};
use crate::time::Timestamp;
use crate::v2::coordinator::*;
use crate::v2::{member, Call, MemberId, Pin};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_round_that_nobody_joins_is_opened_anew_after_a_wait_that_doubles() {
    let mut fixture = Fixture::new(settings());
    for (round, wait) in [(1, 12), (2, 24), (3, 48), (4, 60), (5, 60)] {
        let opened = Timestamp::from_millis(fixture.machine.terms().opened_at * 1000);
        assert_eq!((fixture.machine.round(), opened), (round, fixture.now));
        let idle = fixture.idle.as_ref().unwrap();
        assert_eq!(idle.why, Why::Messages(Phase::Announce));
        assert_eq!(idle.wake_at, Some(opened + seconds(wait)), "it says when");
        fixture.wait(seconds(wait) - Duration::from_millis(1));
        assert_eq!((fixture.machine.round(), fixture.machine.phase()), (round, Phase::Announce));
        fixture.wait(Duration::from_millis(1));
    }
    let failures = fixture.failures();
    assert!(failures.iter().all(|failure| failure.label() == "too_few_announce"), "{failures:?}");
    assert!(failures[0].to_string().contains("take part in the next one"), "{}", failures[0]);
}

#[test]
fn as_long_as_members_come_they_are_waited_for() {
    let mut fixture = Fixture::new(settings());
    let seen = fixture.seen();
    for (group, index) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        assert_eq!((fixture.machine.round(), fixture.machine.phase()), (1, Phase::Announce));
        fixture.wait(seconds(11));
        fixture.accepts(Member(MemberId::new(group, index)).announce(&seen));
    }
    assert_eq!((fixture.machine.round(), fixture.machine.phase()), (1, Phase::Update));
    // One that has announced itself before is no news.
    let mut fixture = Fixture::new(settings());
    let seen = fixture.seen();
    fixture.accepts(Member(MemberId::new(0, 0)).announce(&seen));
    fixture.wait(seconds(11));
    fixture.accepts(Member(MemberId::new(0, 0)).announce(&seen));
    fixture.wait(seconds(1));
    assert_eq!(fixture.machine.round(), 2);
}

#[test]
fn after_a_round_with_majorities_the_wait_is_short_again() {
    let mut fixture = Fixture::new(settings());
    fixture.wait(seconds(12));
    fixture.wait(seconds(24));
    fixture.announce();
    assert_eq!((fixture.machine.round(), fixture.machine.phase()), (3, Phase::Update));
    fixture.wait(MAX);
    assert_eq!((fixture.machine.round(), fixture.machine.phase()), (4, Phase::Announce));
    fixture.wait(seconds(12));
    assert_eq!(fixture.machine.round(), 5);
}

#[test]
fn a_coordinator_that_goes_on_in_the_announce_phase_waits_from_then_on() {
    let mut fixture = Fixture::new(settings());
    fixture.wait(seconds(10));
    let mut resumed = Fixture::resume(fixture.store, settings(), fixture.now + seconds(30));
    resumed.wait(seconds(11));
    assert_eq!(resumed.machine.round(), 1);
    resumed.wait(seconds(1));
    assert_eq!(resumed.machine.round(), 2);
}

/// Real members: all of them are started a moment after the coordinator, as a server starts them, from their saved states.
#[test]
fn members_that_are_started_after_the_coordinator_announce_themselves_within_half_a_minute() {
    let mut fixture = Fixture::new(settings());
    let began = fixture.now;
    fixture.wait(seconds(3));
    let pin = Pin::new(roster().hash(), 3);
    let mut machines: Vec<member::Member> = members()
        .map(|id| {
            let seeds = |kind| RootSeed::new([kind + 10 * id.group + id.index; 32]);
            let settings = member::Settings::default();
            let new = member::Member::new(Member(id).keys(), seeds(1), seeds(50), pin, settings);
            let saved = new.snapshot().to_bytes();
            member::Member::restore(&saved, seeds(100), member::Settings::default()).unwrap()
        })
        .collect();
    while fixture.machine.phase() == Phase::Announce {
        assert!(fixture.now < began + seconds(30), "round {}", fixture.machine.round());
        for machine in &mut machines {
            run(machine, &mut fixture);
        }
        fixture.wait(Duration::from_millis(100));
    }
    assert_eq!((fixture.machine.round(), fixture.machine.phase()), (2, Phase::Update));
    assert!(machines.iter().all(|machine| machine.status().may_vote));
}

/// Does all that a member asks for, until it waits for the time.
fn run(machine: &mut member::Member, fixture: &mut Fixture) {
    machine.handle_input(fixture.now, member::Input::Tick).unwrap();
    loop {
        let input = match machine.poll_output() {
            member::Output::Request { id, call: request::Call::V2(call) } => {
                member::Input::Response { id, response: answer(fixture, call) }
            }
            member::Output::Job(job) => member::Input::JobDone(job.finish()),
            member::Output::Persist { id, .. } => member::Input::Persisted(id),
            member::Output::Idle(_) => return,
            _ => continue,
        };
        machine.handle_input(fixture.now, input).unwrap();
    }
}

fn answer(fixture: &mut Fixture, call: Call) -> Response {
    if call.post().is_some() {
        let outcome = fixture.send(call);
        return Response::new(if outcome == Some(Ok(())) { 200 } else { 500 }, "");
    }
    fixture.front.answer(&call).respond(|_| None).unwrap()
}
