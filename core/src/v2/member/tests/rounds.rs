//! Whole rounds.

use super::super::{Event, Why};
use super::fixture::*;
use crate::v2::{self, MemberId, NoiseTerms, Phase, TREE_LEAF};

/// All that a member posts, by path.
fn paths(coordinator: &Coordinator) -> Vec<&'static str> {
    coordinator.posted.iter().map(v2::Call::path).collect()
}

#[test]
fn a_member_does_its_part_of_a_round() {
    let (mut scene, mut coordinator) = until(Phase::Sum2);
    let member = scene.member;
    coordinator.wanted = vec![member];
    scene.run_on(&mut coordinator);
    let expected = ["/v2/announcement", "/v2/report", "/v2/vote", "/v2/mask", "/v2/mask/chunk"];
    assert_eq!(paths(&coordinator), expected);
    assert!(coordinator.reports[&member].accused.is_empty());
    let decision = coordinator.decide().digest();
    let list = coordinator.list.as_ref().unwrap();
    let vote = coordinator.votes[&member];
    assert!(vote.verify(&list.get(member).unwrap().vote_key, &decision));
    let header = &coordinator.masks[&member];
    header.verify(&coordinator.roster, coordinator.terms(), &decision).unwrap();
    let sum = sum_of_masks(&coordinator, &[0, 1, 2, 3], member.group).to_bytes().unwrap();
    assert_eq!(coordinator.chunks[&(member, 0)], sum);
    assert_eq!(header.object_len, sum.len() as u64);
    assert!(sum.len() < TREE_LEAF);
    assert_eq!(scene.labels(), [""; 0]);
    for (event, name) in [
        (scene.has(|e| matches!(e, Event::Announced { round: 1 })), "announced"),
        (scene.has(|e| matches!(e, Event::Announcements { members: 6, .. })), "announcements"),
        (scene.has(|e| matches!(e, Event::Reported { updates: 4, accused: 0 })), "reported"),
        (scene.has(|e| matches!(e, Event::Voted { updates: 4, .. })), "voted"),
        (scene.has(|e| matches!(e, Event::Certified { .. })), "certified"),
        (scene.has(|e| matches!(e, Event::MaskSent { updates: 4, .. })), "mask"),
        (scene.has(|e| matches!(e, Event::Progress { sent: 1, total: 1 })), "chunk"),
    ] {
        assert!(event, "{name}: {:?}", scene.events);
    }
}

#[test]
fn replicas_of_a_group_send_the_same_mask_and_groups_different_ones() {
    let mut coordinator = Coordinator::new();
    let mut scenes: Vec<_> = members().map(Scene::new).collect();
    for phase in [Phase::Announce, Phase::Update, Phase::Check, Phase::Agree, Phase::Sum2] {
        match phase {
            Phase::Update => coordinator.begin_updates(),
            Phase::Check => (0..4).for_each(|nth| coordinator.update(nth)),
            _ => {}
        }
        coordinator.phase = phase;
        scenes.iter_mut().for_each(|scene| scene.run_on(&mut coordinator));
    }
    let digests: Vec<_> =
        coordinator.masks.values().map(|header| header.mask_digest().digest).collect();
    assert_eq!(digests.len(), 6);
    assert!(digests[..3].iter().all(|digest| *digest == digests[0]));
    assert!(digests[3..].iter().all(|digest| *digest == digests[3]));
    assert_ne!(digests[0], digests[3]);
}

#[test]
fn excluded_updates_are_not_added_up() {
    let (mut scene, mut coordinator) = until(Phase::Check);
    coordinator.excluded = vec![updater_keys(2).public()];
    advance(&mut scene, &mut coordinator, Phase::Sum2);
    coordinator.wanted = vec![scene.member];
    scene.run_on(&mut coordinator);
    let sum = sum_of_masks(&coordinator, &[0, 1, 3], 0).to_bytes().unwrap();
    assert_eq!(coordinator.chunks[&(scene.member, 0)], sum);
}

/// Replicas make the same noise, and it is not 0; each group its own.
#[test]
fn noise_is_the_same_for_replicas() {
    let masks = |noise: Option<NoiseTerms>| {
        let mut coordinator = Coordinator::new();
        coordinator.open(v2::Terms { noise, ..terms(1) });
        let mut scenes: Vec<_> = members().map(Scene::new).collect();
        for phase in [Phase::Announce, Phase::Update, Phase::Check, Phase::Agree, Phase::Sum2] {
            match phase {
                Phase::Update => coordinator.begin_updates(),
                Phase::Check => (0..4).for_each(|nth| coordinator.update(nth)),
                Phase::Sum2 => coordinator.wanted = members().collect(),
                _ => {}
            }
            coordinator.phase = phase;
            scenes.iter_mut().for_each(|scene| scene.run_on(&mut coordinator));
        }
        let sums = [0, 1].map(|group| sum_of_masks(&coordinator, &[0, 1, 2, 3], group));
        let sums = sums.map(|sum| sum.to_bytes().unwrap());
        (coordinator.chunks.into_values().collect::<Vec<_>>(), sums)
    };
    let (plain, sums) = masks(None);
    assert_eq!((plain.len(), &plain[0][..], &plain[3][..]), (6, &sums[0][..], &sums[1][..]));
    let (noisy, sums) = masks(Some(NoiseTerms { multiplier_thousandths: 1000, clip: 1.0 }));
    assert!(noisy[..3].iter().all(|mask| *mask == noisy[0]));
    assert!(noisy[3..].iter().all(|mask| *mask == noisy[3]));
    assert!(noisy[0][..] != sums[0] && noisy[3][..] != sums[1]);
}

/// What it waits for, phase by phase.
#[test]
fn each_wait_says_what_for() {
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    coordinator.terms = None;
    coordinator.phase = Phase::Idle;
    scene.run(&mut coordinator);
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::Round);
    coordinator.open(terms(1));
    for (phase, why) in [
        (Phase::Announce, Why::Announcements),
        (Phase::Update, Why::Updates),
        (Phase::Check, Why::Reports),
        (Phase::Agree, Why::Votes),
        (Phase::Sum2, Why::Masks),
    ] {
        advance(&mut scene, &mut coordinator, phase);
        scene.run_on(&mut coordinator);
        let idle = scene.idle.as_ref().unwrap();
        assert_eq!((idle.why, scene.machine.status().waits_for), (why, why), "{phase}");
        assert!(idle.wake_at.is_some() && idle.failure.is_none());
        assert_eq!(scene.machine.status().phase, Some(phase));
    }
    coordinator.phase = Phase::Idle;
    scene.run_on(&mut coordinator);
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::Round);
    assert!(scene.has(|event| matches!(event, Event::RoundOver { round: 1 })));
}

/// It said "the announcements of the other members", whatever it had done before.
#[test]
fn in_the_middle_of_a_round_it_waits_for_a_coordinator_that_looks_for_its_state() {
    let (mut scene, mut coordinator) = until(Phase::Check);
    let (terms, phase) = (coordinator.terms.take(), coordinator.phase);
    coordinator.phase = Phase::Idle;
    scene.run_on(&mut coordinator);
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::Coordinator);
    assert!(scene.machine.status().takes_part);
    (coordinator.terms, coordinator.phase) = (terms, phase);
    scene.run_on(&mut coordinator);
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::Reports);
}

#[test]
fn rounds_follow_one_another() {
    let (mut scene, mut coordinator) = until(Phase::Sum2);
    for round in 2..5 {
        coordinator.open(terms(round + 100));
        coordinator.wait(std::time::Duration::from_secs(100));
        scene.run_on(&mut coordinator);
        advance(&mut scene, &mut coordinator, Phase::Sum2);
        assert!(coordinator.masks.contains_key(&scene.member), "round {round}");
    }
    assert_eq!(scene.labels(), [""; 0]);
}

#[test]
fn a_failed_round_ends_and_the_next_one_begins() {
    let (mut scene, mut coordinator) = until(Phase::Check);
    coordinator.phase = Phase::Failed;
    scene.run_on(&mut coordinator);
    assert!(scene.has(|event| matches!(event, Event::RoundFailed { round: 1, .. })));
    assert!(scene.has(|event| matches!(event, Event::RoundOver { round: 1 })));
    coordinator.open(terms(2));
    scene.run_on(&mut coordinator);
    advance(&mut scene, &mut coordinator, Phase::Sum2);
    assert!(coordinator.masks.contains_key(&scene.member));
}

/// What the coordinator has lost, as its own word says, is posted again, but not in a loop.
#[test]
fn what_the_coordinator_has_lost_is_posted_again() {
    let (mut scene, mut coordinator) = until(Phase::Check);
    let count = |coordinator: &Coordinator| {
        paths(coordinator).iter().filter(|path| **path == "/v2/report").count()
    };
    assert_eq!(count(&coordinator), 1);
    coordinator.reports.clear();
    scene.run_on(&mut coordinator);
    assert_eq!(count(&coordinator), 2);
    assert_eq!(coordinator.reports.len(), 1);
}

#[test]
fn the_mask_is_sent_again_if_it_is_still_wanted_later() {
    let (mut scene, mut coordinator) = until(Phase::Sum2);
    assert!(coordinator.chunks.is_empty(), "nobody has asked for it");
    coordinator.wanted = vec![scene.member];
    scene.run_on(&mut coordinator);
    assert_eq!(coordinator.chunks.len(), 1);
    coordinator.chunks.clear();
    coordinator.wanted = vec![scene.member];
    scene.run_on(&mut coordinator);
    assert_eq!(coordinator.chunks.len(), 1);
}
