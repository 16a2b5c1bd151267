//! What a member signs once only, whatever becomes of it.

use std::time::Duration;

use super::super::{Event, Input, Output, Refusal, Why};
use super::fixture::*;
use crate::v2::{self, Announcement, MemberId, Phase, Vote};

/// The announcements that were posted.
fn announced(coordinator: &Coordinator) -> Vec<Announcement> {
    let posts = coordinator.posted.iter().filter_map(|call| match call {
        v2::Call::Announce(post) => Some(Announcement::from_bytes(&post.body).unwrap()),
        _ => None,
    });
    posts.collect()
}

fn voted(coordinator: &Coordinator) -> Vec<Vote> {
    let posts = coordinator.posted.iter().filter_map(|call| match call {
        v2::Call::Vote(post) => Some(Vote::from_bytes(&post.body).unwrap()),
        _ => None,
    });
    posts.collect()
}

#[test]
fn nothing_is_announced_before_the_promise_is_stored() {
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    scene.confirms = false;
    scene.run_on(&mut coordinator);
    assert_eq!(scene.stored.len(), 1);
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::Storage);
    assert!(announced(&coordinator).is_empty());
    // Another confirmation is not taken for this one.
    let other = super::super::PersistId(1 << 40);
    assert!(scene.machine.handle_input(coordinator.now, Input::Persisted(other)).is_err());
    scene.run_on(&mut coordinator);
    assert!(announced(&coordinator).is_empty());
}

#[test]
fn nothing_is_voted_before_the_promise_is_stored() {
    let (mut scene, mut coordinator) = until(Phase::Check);
    let before = scene.stored.len();
    scene.confirms = false;
    coordinator.phase = Phase::Agree;
    scene.run_on(&mut coordinator);
    assert_eq!(scene.stored.len(), before + 1);
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::Storage);
    assert!(voted(&coordinator).is_empty());
}

#[test]
fn a_second_context_for_a_number_is_refused_by_name() {
    let (mut scene, mut coordinator) = until(Phase::Announce);
    let mut other = terms(1);
    other.n_min = 4;
    coordinator.open(other);
    coordinator.wait(Duration::from_secs(10));
    scene.run_on(&mut coordinator);
    assert_eq!(announced(&coordinator).len(), 1);
    assert_eq!(scene.labels(), ["round_not_above"]);
    // A higher number is fine.
    coordinator.open(terms(2));
    scene.run_on(&mut coordinator);
    assert_eq!(announced(&coordinator).len(), 2);
}

#[test]
fn a_second_decision_is_refused_by_name() {
    let (mut scene, mut coordinator) = until(Phase::Agree);
    assert_eq!(voted(&coordinator).len(), 1);
    coordinator.excluded = vec![updater_keys(0).public()];
    scene.run_on(&mut coordinator);
    assert_eq!(voted(&coordinator).len(), 1);
    assert_eq!(scene.labels(), ["second_decision"]);
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::SitsOut);
}

/// Two masks of one group for two sets would differ by what one updater has sent.
#[test]
fn a_certified_decision_is_not_exchanged() {
    // By one that was started anew, and so has not voted.
    let (scene, mut coordinator) = until(Phase::Check);
    let state = scene.machine.snapshot().to_bytes().to_vec();
    let mut scene = Scene::restored(&state, 77, scene.member);
    advance(&mut scene, &mut coordinator, Phase::Sum2);
    assert!(scene.has(|event| matches!(event, Event::Certified { .. })));
    let masks = |coordinator: &Coordinator| {
        coordinator.posted.iter().filter(|call| matches!(call, v2::Call::Mask(_))).count()
    };
    assert_eq!(masks(&coordinator), 1);
    coordinator.excluded = vec![updater_keys(0).public()];
    coordinator.masks.clear();
    coordinator.others_vote();
    scene.run_on(&mut coordinator);
    assert_eq!(masks(&coordinator), 1);
    assert!(scene.labels().contains(&"other_than_certified"), "{:?}", scene.labels());
}

/// A state that was stored at any moment before or after: whoever goes on from there never announces itself in the same
/// context with another key, and never votes for another decision.
#[test]
fn whatever_state_is_restored_there_is_one_announcement_and_one_decision_for_a_context() {
    let phases = [Phase::Announce, Phase::Update, Phase::Check, Phase::Agree, Phase::Sum2];
    // The states of a life of two rounds, the very first one included.
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    let mut states = vec![scene.machine.snapshot()];
    for round in [1, 2] {
        if round == 2 {
            coordinator.open(terms(300));
            coordinator.wait(Duration::from_secs(300));
        }
        for phase in phases {
            advance(&mut scene, &mut coordinator, phase);
            scene.run_on(&mut coordinator);
            states.push(scene.machine.snapshot());
        }
    }
    states.extend(scene.stored);
    assert!(states.len() > 14);
    for (nth, state) in states.iter().enumerate() {
        for set_back_at in phases {
            // A third round, in which the member is set back; the coordinator forgets its signatures, and asks again.
            let (mut coordinator, mut scene) = (Coordinator::new(), {
                let bytes = scene.machine.snapshot().to_bytes();
                Scene::restored(&bytes, 50, scene.member)
            });
            coordinator.wait(Duration::from_secs(5000));
            scene.run(&mut coordinator);
            let mut third = terms(4000);
            third.opened_at = coordinator.now.as_millis() / 1000 + 1;
            third.round = 301;
            coordinator.wait(Duration::from_secs(2));
            coordinator.open(third);
            scene.run_on(&mut coordinator);
            advance(&mut scene, &mut coordinator, set_back_at);
            scene.run_on(&mut coordinator);
            let before = announced(&coordinator);
            assert_eq!(before.len(), 1, "{:?}", scene.events);
            let votes = voted(&coordinator);

            let mut scene = Scene::restored(&state.to_bytes(), 51, scene.member);
            coordinator.phase = Phase::Announce;
            coordinator.list = None;
            coordinator.announced.clear();
            coordinator.votes.clear();
            scene.run_on(&mut coordinator);
            coordinator.updates.clear();
            advance(&mut scene, &mut coordinator, Phase::Agree);
            scene.run_on(&mut coordinator);
            coordinator.excluded = vec![updater_keys(0).public()];
            scene.run_on(&mut coordinator);
            assert_eq!(announced(&coordinator), before, "state {nth}, {set_back_at}");
            assert_eq!(voted(&coordinator), votes, "state {nth}, {set_back_at}");
        }
    }
}

/// The control: with a clock that was set back together with the disk, a second life announces itself once more.
#[test]
fn with_a_clock_that_was_set_back_as_well_there_are_two_announcements() {
    let mut coordinator = Coordinator::new();
    let start = coordinator.now;
    let (mut scene, member) = (Scene::new(MemberId::new(0, 0)), MemberId::new(0, 0));
    let state = scene.machine.snapshot().to_bytes().to_vec();
    scene.run_on(&mut coordinator);
    let mut scene = Scene::restored(&state, 51, member);
    coordinator.announced.clear();
    coordinator.now = start - Duration::from_secs(60);
    scene.run(&mut coordinator);
    coordinator.now = start;
    scene.run_on(&mut coordinator);
    let [first, second] = announced(&coordinator)[..] else { panic!("{:?}", scene.events) };
    assert_ne!(first.vote_key, second.vote_key);
}

#[test]
fn one_that_was_started_anew_does_not_vote_but_opens_boxes_and_sends_its_mask() {
    for phase in [Phase::Announce, Phase::Update, Phase::Check, Phase::Agree] {
        let (scene, mut coordinator) = until(phase);
        let votes = voted(&coordinator).len();
        let state = scene.stored.last().unwrap().to_bytes().to_vec();
        let mut scene = Scene::restored(&state, 77, scene.member);
        scene.run_on(&mut coordinator);
        advance(&mut scene, &mut coordinator, Phase::Sum2);
        coordinator.wanted = vec![scene.member];
        scene.run_on(&mut coordinator);
        assert_eq!(voted(&coordinator).len(), votes, "{phase}");
        assert_eq!(announced(&coordinator).len(), 1, "{phase}");
        assert!(coordinator.reports.contains_key(&scene.member), "{phase}");
        let sum = sum_of_masks(&coordinator, &[0, 1, 2, 3], 0).to_bytes().unwrap();
        assert_eq!(coordinator.chunks[&(scene.member, 0)], sum, "{phase}: {:?}", scene.events);
        // After Agree it had voted before, and remembers.
        let expected: &[&str] = if phase == Phase::Agree { &[] } else { &["restarted"] };
        assert_eq!(scene.labels(), expected, "{phase}");
        assert!(!scene.machine.status().may_vote);
    }
}

#[test]
fn one_that_was_set_back_finds_its_own_announcement_and_says_so() {
    let (mut scene, mut coordinator) = until(Phase::Announce);
    let state = scene.stored.last().unwrap().to_bytes().to_vec();
    // Somebody who has the same key, and another boot seed, has announced in its place.
    let (e, v) = (other_keys(scene.member).public(), other_vote_keys(scene.member).public());
    let context = coordinator.context();
    let other = Announcement::sign(&member_keys(scene.member), &context, scene.member, e, v);
    coordinator.announced.insert(scene.member, other);
    coordinator.begin_updates();
    for mut scene in [Scene::restored(&state, 3, scene.member), {
        scene.events.clear();
        scene
    }] {
        scene.run_on(&mut coordinator);
        let is_named = |event: &Event| {
            matches!(event, Event::Refused { refusal: Refusal::RolledBack { .. }, .. })
        };
        assert!(scene.has(is_named), "{:?}", scene.events);
        assert_eq!(scene.idle.as_ref().unwrap().why, Why::SitsOut);
        let refusal = scene.machine.status().sits_out.unwrap();
        assert!(refusal.to_string().contains("rolled back"));
        assert_eq!(refusal.blame(), Some(v2::Blame::Member(scene.member)));
    }
}

#[test]
fn one_that_was_set_back_finds_its_own_vote_and_says_so() {
    let (scene, mut coordinator) = until(Phase::Check);
    // Stored before it has voted.
    let state = scene.stored.last().unwrap().to_bytes().to_vec();
    let mut voter = scene;
    advance(&mut voter, &mut coordinator, Phase::Agree);
    let mut scene = Scene::restored(&state, 3, voter.member);
    advance(&mut scene, &mut coordinator, Phase::Sum2);
    assert!(scene.labels().contains(&"rolled_back"), "{:?}", scene.events);
    assert!(coordinator.masks.is_empty());
}

#[test]
fn a_restored_member_does_not_announce_itself_in_a_round_that_was_opened_before_its_start() {
    let mut coordinator = Coordinator::new();
    let member = MemberId::new(0, 0);
    let state = Scene::new(member).machine.snapshot().to_bytes().to_vec();
    let mut scene = Scene::restored(&state, 3, member);
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["opened_before"]);
    assert!(announced(&coordinator).is_empty());
    let mut next = terms(2);
    next.opened_at = coordinator.now.as_millis() / 1000;
    coordinator.open(next);
    coordinator.wait(Duration::from_secs(2));
    scene.run_on(&mut coordinator);
    assert_eq!(announced(&coordinator).len(), 1);
}

/// Openings are told in seconds, and a round may take less than one. What a member has promised since it was restored it knows.
#[test]
fn a_restored_member_takes_part_in_two_rounds_of_one_second() {
    let mut coordinator = Coordinator::new();
    let member = MemberId::new(0, 0);
    let state = Scene::new(member).machine.snapshot().to_bytes().to_vec();
    let mut scene = Scene::restored(&state, 3, member);
    scene.run(&mut coordinator);
    scene.look(&mut coordinator);
    let second = coordinator.now.as_millis() / 1000;
    for round in [2, 3] {
        let mut next = terms(round);
        next.opened_at = second;
        coordinator.open(next);
        scene.run_on(&mut coordinator);
        assert_eq!(announced(&coordinator).len() as u64, round - 1, "{:?}", scene.events);
    }
}

#[test]
fn nothing_is_announced_before_the_own_clock_has_passed_the_opening() {
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    let mut ahead = terms(1);
    ahead.opened_at = coordinator.now.as_millis() / 1000 + 1800;
    coordinator.open(ahead);
    scene.run_on(&mut coordinator);
    assert!(announced(&coordinator).is_empty());
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::Clock);
    coordinator.wait(Duration::from_secs(1800));
    scene.run_on(&mut coordinator);
    assert_eq!(announced(&coordinator).len(), 1);
    assert_eq!(scene.labels(), [""; 0]);
}

/// A fork knows what the other one knows; it is for exploring.
#[test]
fn a_fork_signs_the_same() {
    let (scene, mut coordinator) = until(Phase::Check);
    let mut machine = scene.machine.fork().unwrap();
    machine.handle_input(coordinator.now, Input::Tick).unwrap();
    assert!(matches!(machine.poll_output(), Output::Request { .. } | Output::Idle(_)));
    let mut fork = Scene::of(scene.machine.fork().unwrap(), scene.member);
    let mut scene = scene;
    coordinator.phase = Phase::Agree;
    scene.run_on(&mut coordinator);
    fork.run_on(&mut coordinator);
    let votes = voted(&coordinator);
    assert_eq!((votes.len(), votes[0]), (2, votes[1]));
}
