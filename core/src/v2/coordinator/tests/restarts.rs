//! Machines that go on from what was stored, at any moment.

use std::time::Duration;

use super::fixture::{long, root, settings, Fixture, Store, MIN, START};
use super::people::{members, other_roster, Member, Updater};
use crate::crypto::RootSeed;
use crate::v2::coordinator::*;
use crate::v2::Certificate;

/// Goes on with a round from wherever it is: everybody sends everything that belongs to it.
fn finish(fixture: &mut Fixture) -> Certificate {
    let updaters: Vec<_> = (1..=3).map(Updater).collect();
    for _ in 0..100 {
        if fixture.front.completed().is_some() {
            break;
        }
        let seen = fixture.seen();
        match fixture.machine.phase() {
            Phase::Announce => {
                for member in members() {
                    fixture.accepts(Member(member).announce(&seen));
                }
            }
            Phase::Update => {
                updaters.iter().for_each(|updater| fixture.upload(*updater));
                fixture.wait(MIN);
            }
            Phase::Check => {
                for member in members() {
                    fixture.accepts(Member(member).report(&seen, &[]));
                }
            }
            Phase::Agree => {
                for member in members() {
                    fixture.accepts(Member(member).vote(&seen));
                }
            }
            Phase::Sum2 => {
                for member in members() {
                    let mask = Member(member).mask(&seen, &updaters);
                    fixture.accepts(Member(member).mask_header(&seen, &mask));
                }
                fixture.send_wanted(&seen, &updaters);
            }
            phase => panic!("{phase}: {:?}", fixture.idle),
        }
    }
    fixture.check_model(&updaters);
    fixture.front.completed().unwrap().certificate.clone()
}

#[test]
fn a_restart_at_any_record_ends_with_the_same_certificate() {
    let mut fixture = Fixture::new(long());
    let expected = finish(&mut fixture);
    let records = fixture.store.records.clone();
    let completed =
        records.iter().position(|record| matches!(record, Record::Completed(_))).unwrap();
    for count in 1..=completed + 1 {
        let mut store = Store::default();
        for record in &records[..count] {
            store.store(1, record);
        }
        let mut fixture = Fixture::resume(store, long(), START + MIN / 2);
        assert_eq!(finish(&mut fixture), expected, "after {:?}", records[count - 1]);
        assert_eq!(fixture.failures(), []);
    }
}

#[test]
fn a_restart_without_records_begins_the_round_after_the_last() {
    let mut fixture = Fixture::new(settings());
    fixture.round(3);
    let last = fixture.front.completed().unwrap();
    let bytes = last.to_bytes();
    let read = Completed::from_bytes(&bytes).unwrap();
    assert_eq!(read.to_bytes(), bytes);
    let recovery = Recovery::new(root()).with_completed(Some(read.into()));
    assert_eq!(recovery.completed().unwrap().round(), 1);
    let mut machine = Coordinator::resume(recovery, Duration::ZERO, settings(), START).unwrap();
    assert_eq!((machine.round(), machine.terms().model), (2, Some(last.model_hash)));
    assert!(matches!(machine.poll_output(), Output::Persist { id: PersistId(1), .. }));
}

/// As docs/v2-operation.md has a roster changed: nobody who pins the new one would accept the certificate of the old.
#[test]
fn after_the_roster_was_changed_the_round_starts_from_nothing_and_says_so() {
    let mut fixture = Fixture::new(settings());
    fixture.round(3);
    let (mut store, last) = (fixture.store.clone(), fixture.front.completed().cloned());
    let completed = |record: &Record| matches!(record, Record::Completed(_));
    store.records.truncate(store.records.iter().position(completed).unwrap() + 1);
    let told = |fixture: &Fixture| {
        let is_told = |event: &&Event| matches!(event, Event::StartsFromNothing { .. });
        fixture.events.iter().find(is_told).cloned()
    };
    // Control: with the same roster it goes on from the model.
    let fixture = Fixture::resume(store.clone(), settings(), START);
    assert!(fixture.machine.terms().model.is_some());
    assert_eq!(told(&fixture), None);

    let changed = Settings { roster: other_roster().into(), ..settings() };
    let mut fixture = Fixture::resume(store, changed.clone(), START);
    let terms = fixture.machine.terms().clone();
    assert_eq!((terms.round, terms.roster, terms.model), (2, other_roster().hash(), None));
    let expected = Event::StartsFromNothing { round: 2, last: 1, is_other_roster: true };
    assert_eq!(told(&fixture), Some(expected.clone()));
    let updaters = fixture.round(3);
    fixture.check_model(&updaters);
    assert!(fixture.machine.terms().model.is_some(), "the next one starts from its own");

    // The same for a coordinator that has the model, and no records.
    let recovery = Recovery::new(root()).with_completed(last);
    let mut machine = Coordinator::resume(recovery, Duration::ZERO, changed, START).unwrap();
    let mut events = Vec::new();
    loop {
        match machine.poll_output() {
            Output::Persist { id, .. } => {
                machine.handle_input(START, Input::Persisted(id)).unwrap()
            }
            Output::Event(event) => events.push(event),
            Output::Idle(_) => break,
            _ => {}
        }
    }
    assert!(events.contains(&expected), "{events:?}");
}

#[test]
fn a_failed_round_is_over_also_after_a_restart() {
    let mut fixture = Fixture::new(settings());
    fixture.storing = false;
    fixture.input(Input::Skip).unwrap();
    assert_eq!(fixture.idle.unwrap().why, Why::Store);
    let fixture = Fixture::resume(fixture.store, settings(), START);
    assert_eq!((fixture.machine.round(), fixture.machine.phase()), (2, Phase::Announce));
}

#[test]
fn the_time_in_a_phase_goes_on() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    (1..=3).for_each(|number| fixture.upload(Updater(number)));
    let recovery = fixture.recovery.clone();
    for (elapsed, phase) in [(MIN / 2, Phase::Update), (MIN, Phase::Check)] {
        let machine = Coordinator::resume(recovery.clone(), elapsed, settings(), START).unwrap();
        assert_eq!(machine.phase(), phase);
    }
}

#[test]
fn records_of_another_coordinator_are_refused() {
    let mut fixture = Fixture::new(settings());
    fixture.round(3);
    let records = &fixture.store.records;
    let mut other = Recovery::new(RootSeed::new([9; 32]));
    assert_eq!(other.apply(records[0].clone()), Err(RecoveryError::OtherRoot));
    for (at, record) in records.iter().enumerate() {
        let mut twice = Recovery::new(root());
        records[..=at].iter().for_each(|record| twice.apply(record.clone()).unwrap());
        assert!(twice.apply(record.clone()).is_err(), "{record:?} twice");
    }
    // A decision that leaves somebody out whom nobody has accused.
    let at = records.iter().position(|record| matches!(record, Record::CheckEnded { .. })).unwrap();
    let mut recovery = Recovery::new(root());
    records[..at].iter().for_each(|record| recovery.apply(record.clone()).unwrap());
    let Record::CheckEnded { ruling } = &records[at] else { panic!() };
    let mut ruling = Ruling::clone(ruling);
    ruling.decision.root = crate::crypto::Digest::new([1; 32]);
    let wrong = recovery.apply(Record::CheckEnded { ruling: ruling.into() });
    assert_eq!(wrong, Err(RecoveryError::WrongDecision));
}

/// A fork is told something else, and the machine is as it was.
#[test]
fn a_fork_goes_its_own_way() {
    let mut fixture = Fixture::new(settings());
    let before = fixture.machine.state.to_text();
    let mut fork = fixture.machine.fork().unwrap();
    fork.handle_input(fixture.now, Input::Skip).unwrap();
    assert!(fork.fork().is_none(), "outputs wait to be polled");
    assert_eq!(fixture.machine.state.to_text(), before);
    let updaters = fixture.round(3);
    fixture.check_model(&updaters);
}
