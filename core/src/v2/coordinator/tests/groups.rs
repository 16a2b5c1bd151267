//! Members that accuse, lie, or do not send what they have promised.

use super::fixture::{long, settings, Fixture, MIN};
use super::people::{members, Member};
use crate::v2::coordinator::*;
use crate::v2::{Accusation, MemberId, SetView};

const LIAR: MemberId = MemberId::new(1, 1);

#[test]
fn an_accused_updater_is_excluded_and_the_round_completes() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(4);
    let seen = fixture.seen();
    for member in members() {
        let bad = [updaters[2].key()];
        let accused = if member == LIAR { &bad[..] } else { &[] };
        fixture.accepts(Member(member).report(&seen, accused));
    }
    let excluded = vec![(updaters[2].key(), LIAR, Accusation::Box)];
    assert!(fixture.events.contains(&Event::UpdatersExcluded { round: 1, excluded, count: 1 }));
    let set: SetView = fixture.seen().set.unwrap();
    assert_eq!((set.decision.count, &set.excluded[..]), (3, &[updaters[2].key()][..]));
    assert_eq!(set.unaccused().count(), 0, "its accuser's report is shown with it");
    fixture.agree();
    let left = [updaters[0], updaters[1], updaters[3]];
    fixture.sum2(members(), &left);
    fixture.check_model(&left);
    let last = fixture.front.completed().unwrap();
    assert!(!last.includes(&updaters[2].key()) && last.prove(&updaters[2].key()).is_none());
    assert_eq!(last.headers().count(), 3);
}

#[test]
fn a_member_that_accuses_everyone_is_disregarded_and_named() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(4);
    let seen = fixture.seen();
    let all: Vec<_> = updaters.iter().map(|updater| updater.key()).collect();
    for member in members() {
        let accused = if member == LIAR { &all[..] } else { &[] };
        fixture.accepts(Member(member).report(&seen, accused));
    }
    let told = Event::MemberDisregarded { round: 1, member: LIAR, accused: 4, most: 3 };
    assert!(fixture.events.contains(&told));
    let rejection = Rejection::Disregarded(LIAR);
    assert_eq!(rejection.problem(None).status, 403);
    fixture.rejects(Member(LIAR).report(&seen, &all), rejection);
    // Its vote and its mask are good or bad by themselves.
    fixture.agree();
    fixture.sum2(members(), &updaters);
    fixture.check_model(&updaters);
    assert_eq!(fixture.front.completed().unwrap().certificate.votes.list().len(), 6);
}

/// One member of a group lies: it accuses nobody, though four cheats are bad for all, and neither votes nor sends a mask.
/// The other two are a majority.
#[test]
fn one_liar_and_four_cheats_do_not_end_the_round() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(8);
    let seen = fixture.seen();
    let cheats: Vec<_> = updaters[..4].iter().map(|updater| updater.key()).collect();
    for member in members() {
        let accused = if member == LIAR { &[] } else { &cheats[..] };
        fixture.accepts(Member(member).report(&seen, accused));
    }
    let is_disregarded = |event: &Event| matches!(event, Event::MemberDisregarded { .. });
    assert!(!fixture.events.iter().any(is_disregarded), "{:?}", fixture.events);
    let honest: Vec<_> = members().filter(|member| *member != LIAR).collect();
    fixture.agree_with(&honest);
    fixture.wait(MIN);
    fixture.sum2(honest.into_iter(), &updaters[4..]);
    fixture.wait(MIN);
    fixture.check_model(&updaters[4..]);
    assert_eq!(fixture.failures(), []);
}

/// Four cheats that are bad for all members: each honest one accuses one more than it may. All the same the round goes on
/// without the cheats.
#[test]
fn a_few_bad_updaters_do_not_block_every_round() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(8);
    let seen = fixture.seen();
    let cheats: Vec<_> = updaters[..4].iter().map(|updater| updater.key()).collect();
    for member in members() {
        fixture.accepts(Member(member).report(&seen, &cheats));
    }
    assert_eq!(fixture.machine.phase(), Phase::Agree);
    assert_eq!(fixture.seen().set.unwrap().decision.count, 4);
    fixture.agree();
    fixture.sum2(members(), &updaters[4..]);
    fixture.check_model(&updaters[4..]);
}

#[test]
fn a_lying_mask_loses_and_its_member_is_named() {
    for first in [true, false] {
        let mut fixture = Fixture::new(settings());
        fixture.announce();
        let updaters = fixture.update(4);
        fixture.check();
        fixture.agree();
        let seen = fixture.seen();
        let lie = Member(LIAR).mask(&seen, &updaters[1..]);
        let mut order: Vec<_> = members().filter(|member| *member != LIAR).collect();
        order.insert(if first { 0 } else { order.len() }, LIAR);
        for member in order {
            let mask = Member(member).mask(&seen, &updaters);
            let mask = if member == LIAR { &lie } else { &mask };
            fixture.accepts(Member(member).mask_header(&seen, mask));
            if first && member == LIAR {
                assert_eq!(fixture.view().wanted, [LIAR], "nobody can know yet");
                fixture.accepts(Member(LIAR).mask_chunk(&seen, mask, 0));
            }
        }
        fixture.send_wanted(&seen, &updaters);
        fixture.check_model(&updaters);
        assert!(fixture.events.contains(&Event::LyingMask { round: 1, member: LIAR }));
        let last = fixture.front.completed().unwrap();
        let masks = last.certificate.masks.list();
        assert!(masks.iter().all(|mask| mask.member != LIAR));
    }
}

#[test]
fn whoever_does_not_send_its_mask_gives_way_to_another() {
    let mut fixture = Fixture::new(long());
    fixture.announce();
    let updaters = fixture.update(3);
    fixture.check();
    fixture.agree();
    let seen = fixture.seen();
    for member in members() {
        let mask = Member(member).mask(&seen, &updaters);
        fixture.accepts(Member(member).mask_header(&seen, &mask));
    }
    let [first, second] = [MemberId::new(0, 0), MemberId::new(1, 0)];
    assert_eq!(fixture.view().wanted, [first, second]);
    let idle = fixture.idle.unwrap();
    let patience = fixture.machine.settings().limits.mask_patience;
    assert_eq!(idle.wake_at, Some(fixture.now + patience));
    // One of them stops in the middle of it, the other one sends nothing.
    fixture.wait(patience / 2);
    let mask = Member(first).mask(&seen, &updaters);
    fixture.accepts(Member(first).mask_chunk(&seen, &mask, 0));
    fixture.wait(patience / 2);
    assert_eq!(fixture.view().wanted, [first, MemberId::new(1, 1)]);
    fixture.wait(patience / 2);
    let now = [MemberId::new(0, 1), MemberId::new(1, 1)];
    assert_eq!(fixture.view().wanted, now);
    let changed = Event::MaskSourceChanged { round: 1, from: first, to: now[0] };
    assert!(fixture.events.contains(&changed));
    // What was there stays.
    let records = fixture.last_record;
    fixture.accepts(Member(now[0]).mask_chunk(&seen, &mask, 0));
    assert_eq!(fixture.last_record, records);
    fixture.send_wanted(&seen, &updaters);
    fixture.check_model(&updaters);
}

#[test]
fn a_mask_that_is_not_needed_is_refused() {
    let mut fixture = Fixture::new(long());
    fixture.announce();
    let updaters = fixture.update(4);
    fixture.check();
    fixture.agree();
    let seen = fixture.seen();
    let lie = Member(LIAR).mask(&seen, &updaters[1..]);
    fixture.accepts(Member(LIAR).mask_header(&seen, &lie));
    for member in members().filter(|member| *member != LIAR) {
        let mask = Member(member).mask(&seen, &updaters);
        fixture.accepts(Member(member).mask_header(&seen, &mask));
    }
    fixture.rejects(Member(LIAR).mask_chunk(&seen, &lie, 0), Rejection::NotNeeded(LIAR));
    let stranger = MemberId::new(1, 7);
    let unknown = Rejection::UnknownMask(stranger);
    fixture.rejects(Member(stranger).mask_chunk(&seen, &lie, 0), unknown);
}
