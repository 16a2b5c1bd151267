//! Attack 3: replicas of one group are asked for the sums of U and of U without one; and what a member does that lacks a box.
//!
//! The members are real machines, and the coordinator shows each of them what it likes. Group 0 is honest, group 1 is the
//! coordinator's friend, and votes for everything.

use pet_core::crypto::PublicSigningKey;
use pet_core::mask::derive_mask;
use pet_core::v2::member::Refusal;
use pet_core::v2::{Accusation, Decision, GroupMaskHeader, SealedGroupSeed, Vote};
use pet_testing::v2::by_hand::{config, HandUpdate};
use pet_testing::v2::stage::Said;
use pet_testing::v2::words;

use super::scene::{has_refused, Scene};

/// What a mask says once its header is taken off; nothing if there is none.
fn numbers(mask: Option<&(GroupMaskHeader, Vec<u8>)>) -> Option<Vec<u32>> {
    mask.map(|(_, bytes)| words::vector(bytes))
}

/// With all seeds of the other group, and the difference of two masks of the honest one: the model of the updater that one
/// of them lacks.
fn unmask(scene: &Scene, update: &HandUpdate, with: &[u32], without: &[u32]) -> Vec<u32> {
    let stream = words::sub(with, without);
    let other = words::of(&derive_mask(&update.stream(1), config(), scene.length()));
    words::sub(&words::sub(&words::vector(&update.object), &stream), &other)
}

#[test]
fn what_all_have_voted_for_is_summed_once() {
    let mut scene = Scene::new(4);
    scene.check(&[]);
    let updates = scene.all();
    let decision = scene.decision(&updates);
    let votes = scene.vote(&[0, 1, 2], &updates, &[]);
    assert_eq!(votes.len(), 3);
    let certified = scene.with_friends(votes, &decision);
    let masks: Vec<_> = (0..3).map(|m| scene.sum(m, &updates, &[], &certified)).collect();
    let expected = words::of(&scene.round().mask(0, &updates.iter().collect::<Vec<_>>()));
    for mask in &masks {
        assert_eq!(numbers(mask.as_ref()), Some(expected.clone()));
    }
}

/// Replica 0 is shown U, replica 1 is shown U without one; replica 2 whichever. No two sets get two of three votes, and without
/// them no replica sums.
#[test]
fn two_sets_are_never_summed() {
    for third in [true, false] {
        let mut scene = Scene::new(4);
        scene.check(&[]);
        let victim = scene.updates[1].key();
        let (all, less) = (scene.all(), scene.without(victim));
        let (whole, part) = (scene.decision(&all), scene.decision(&less));
        let mut for_whole = scene.vote(&[0], &all, &[]);
        let mut for_part = scene.vote(&[1], &all, &[victim]);
        assert_eq!((for_whole.len(), for_part.len()), (1, 1));
        if third {
            for_whole.extend(scene.vote(&[2], &all, &[]));
        } else {
            for_part.extend(scene.vote(&[2], &all, &[victim]));
        }
        // Whoever has voted for one set does not vote for the other, and has its reason.
        assert_eq!(scene.vote(&[0], &all, &[victim]), []);
        assert_eq!(scene.vote(&[1], &all, &[]), []);
        assert!(scene.has_refused(0, |r| matches!(r, Refusal::SecondDecision { .. })));
        let whole = scene.with_friends(for_whole, &whole);
        let part = scene.with_friends(for_part, &part);
        // Now each replica is shown both sets as certified, in both orders.
        let mut sums = Vec::new();
        for member in 0..3 {
            for order in [false, true] {
                let mut player = scene.players[member].fork();
                for first in [order, !order] {
                    let (excluded, votes) =
                        if first { (vec![], &whole) } else { (vec![victim], &part) };
                    scene.show_sum(&mut player, &all, &excluded, votes);
                }
                sums.extend(player.masks().into_iter().map(|mask| numbers(Some(&mask)).unwrap()));
            }
        }
        // They sum one set at most, and all the same one: there is no difference to be had.
        sums.dedup();
        assert!(sums.len() <= 1, "{} different sums", sums.len());
    }
}

/// The control: replicas that sum whatever they are shown, without asking for votes, give a difference that unmasks.
#[test]
fn without_votes_the_difference_unmasks() {
    let scene = Scene::new(4);
    let round = scene.round();
    let sum =
        |updates: &[HandUpdate]| words::of(&round.mask(0, &updates.iter().collect::<Vec<_>>()));
    let victim = &scene.updates[1];
    let (with, without) = (sum(&scene.all()), sum(&scene.without(victim.key())));
    assert_eq!(unmask(&scene, victim, &with, &without), words::encode(&scene.models[1]));
}

/// A decision that was certified is not exchanged for another, though votes for that one are shown as well (of a group whose
/// majority is corrupt: here all votes are forged by hand).
#[test]
fn a_certified_decision_is_not_exchanged() {
    let mut scene = Scene::new(4);
    scene.check(&[]);
    let victim = scene.updates[2].key();
    let all = scene.all();
    let whole = scene.decision(&all);
    let votes = scene.vote(&[0, 1], &all, &[]);
    let certified = scene.with_friends(votes, &whole);
    // Member 2 has not voted. It sees the certified set first, then the other one with the very same votes.
    let mut player = scene.players[2].fork();
    scene.show_sum(&mut player, &all, &[], &certified);
    assert_eq!(player.masks().len(), 1);
    scene.show_sum(&mut player, &all, &[victim], &certified);
    assert_eq!(player.masks().len(), 1);
    // The other way round: the set without votes for it comes first, and stays without a sum.
    let mut player = scene.players[2].fork();
    scene.show_sum(&mut player, &all, &[victim], &certified);
    assert_eq!(player.masks(), []);
}

/// The coordinator damages the box of one updater for one replica, after that replica has restarted and reads all boxes again.
/// It could sum the others. It must not.
#[test]
fn a_damaged_box_withholds_the_mask() {
    let mut scene = Scene::new(4);
    scene.check(&[]);
    let all = scene.all();
    let decision = scene.decision(&all);
    let votes = scene.vote(&[0, 1, 2], &all, &[]);
    let certified = scene.with_friends(votes, &decision);
    let mut damaged = all.clone();
    let sealed = &mut damaged[1].header.boxes[0];
    *sealed = SealedGroupSeed::new([7; 80]);
    let mut player = scene.players[0].fork();
    player.restart(None, 1);
    scene.show_sum(&mut player, &damaged, &[], &certified);
    assert_eq!(player.masks(), [], "all or nothing");
    // With its box it sums, though it was restarted.
    let mut player = scene.players[0].fork();
    player.restart(None, 1);
    scene.show_sum(&mut player, &all, &[], &certified);
    assert_eq!(player.masks().len(), 1);
}

/// The control: a member that does what it can, and sums what it could open, gives the stream of the one that it could not.
#[test]
fn a_member_that_sums_what_it_has_unmasks() {
    let scene = Scene::new(4);
    let round = scene.round();
    let all: Vec<&HandUpdate> = scene.updates.iter().collect();
    // Member 1 has all boxes, member 0 all but one.
    let opened: Vec<&HandUpdate> =
        all.iter().copied().filter(|u| u.key() != all[1].key()).collect();
    let (with, without) = (words::of(&round.mask(0, &all)), words::of(&round.mask(0, &opened)));
    assert_eq!(unmask(&scene, all[1], &with, &without), words::encode(&scene.models[1]));
}

/// A set that holds somebody whose box was bad gets no vote.
#[test]
fn who_was_accused_is_not_voted_for() {
    let mut scene = Scene::new(4);
    let mut damaged = scene.all();
    damaged[3].header.boxes[0] = SealedGroupSeed::new([7; 80]);
    let report = scene.check_one(0, &damaged);
    let bad: PublicSigningKey = damaged[3].key();
    assert_eq!(report.accused, [(bad, Accusation::Box)]);
    let mut player = scene.players[0].fork();
    assert_eq!(player.show(&scene.agree(0, &damaged, &[])), []);
    assert!(has_refused(&player, |refusal| matches!(refusal, Refusal::BadUpdate { .. })));
    // Without it, it votes.
    let shown = scene.agree(0, &damaged, &[bad]);
    let said = scene.players[0].show(&shown);
    assert!(matches!(said[..], [Said::Vote(_)]), "{said:?}");
}

/// Votes of the friends alone, of one honest member, or of another decision: nobody sums.
#[test]
fn minorities_get_no_mask() {
    let mut scene = Scene::new(4);
    scene.check(&[]);
    let all = scene.all();
    let decision = scene.decision(&all);
    let votes = scene.vote(&[0, 1], &all, &[]);
    let one: Vec<Vote> = votes[..1].to_vec();
    let other: Decision = scene.decision(&scene.without(all[0].key()));
    for shown in [
        scene.with_friends(Vec::new(), &decision),
        scene.with_friends(one, &decision),
        scene.with_friends(votes.clone(), &other),
        votes,
    ] {
        let mut player = scene.players[2].fork();
        scene.show_sum(&mut player, &all, &[], &shown);
        assert_eq!(player.masks(), []);
    }
}
