//! Attack 7: members that are restored from any earlier moment.

use pet_core::v2::member::Refusal;
use pet_core::v2::{Decision, Vote, Votes};
use pet_testing::v2::by_hand::{list, root, OPENED_AT};
use pet_testing::v2::stage::{Player, Said, Shown};

use super::scene::{has_refused, Scene};

/// A member that has voted, and all states that it has stored on the way.
fn voted() -> (Scene, Vec<Vote>) {
    let mut scene = Scene::new(4);
    scene.check(&[]);
    let all = scene.all();
    let votes = scene.vote(&[0], &all, &[]);
    assert_eq!(votes.len(), 1);
    (scene, votes)
}

/// Whatever is shown to a member that was restored from whichever state, it votes for nothing in the list that it stands in, and
/// does not announce itself again in the context.
#[test]
fn a_restored_member_never_votes_twice() {
    let (scene, _) = voted();
    let all = scene.all();
    let victim = all[1].key();
    for stored in 0..scene.players[0].stored.len() {
        let mut player = scene.players[0].fork();
        player.restart(Some(stored), 7);
        let before = player.said.len();
        // The announce phase once more, as if nothing had been.
        player.show(&Shown::announce(&scene.committee, &scene.terms));
        // Then the list that it is in, and two sets.
        let updates: Vec<_> = all.iter().collect();
        player.show(&Shown::check(&scene.round(), player.id, &updates));
        player.show(&scene.agree(0, &all, &[victim]));
        player.show(&scene.agree(0, &all, &[]));
        for said in &player.said[before..] {
            assert!(!matches!(said, Said::Vote(_)), "state {stored}: a second vote");
            assert!(!matches!(said, Said::Announcement(_)), "state {stored}: announced anew");
        }
    }
}

/// It still helps: restored from its last state it opens its boxes again and sends its mask.
#[test]
fn a_restored_member_still_sends_its_mask() {
    let (mut scene, mut votes) = voted();
    let all = scene.all();
    votes.extend(scene.vote(&[1], &all, &[]));
    let certified = scene.with_friends(votes, &scene.decision(&all));
    scene.players[0].restart(None, 7);
    let shown = scene.agree(0, &all, &[]);
    assert_eq!(scene.players[0].show(&shown), []);
    assert!(scene.sum(0, &all, &[], &certified).is_some());
}

/// The control: a member that keeps what it votes with on its disk. It is set back to before its vote, and votes for another set;
/// with one more member each there are two certified sets.
#[test]
fn with_vote_keys_on_the_disk_it_votes_twice() {
    let mut scene = Scene::new(4);
    scene.check(&[]);
    let all = scene.all();
    let victim = all[1].key();
    let (whole, part) = (scene.decision(&all), scene.decision(&scene.without(victim)));
    // `fork` is a copy of its memory, vote key included: what a disk with the key on it would bring back.
    let mut restored = scene.players[0].fork();
    let first = scene.vote(&[0], &all, &[]);
    let second = match &restored.show(&scene.agree(0, &all, &[victim]))[..] {
        [Said::Vote(vote)] => *vote,
        said => panic!("{said:?}"),
    };
    let third = scene.vote(&[1], &all, &[]);
    let fourth = scene.vote(&[2], &all, &[victim]);
    let certify = |mut votes: Vec<Vote>, decision: &Decision| {
        votes.sort_by_key(|vote| vote.member);
        let votes = Votes::new(votes).unwrap();
        votes.check(&scene.committee.roster, &scene.list, &decision.digest())
    };
    let for_whole = scene.with_friends([first, third].concat(), &whole);
    let for_part = scene.with_friends([vec![second], fourth].concat(), &part);
    assert_eq!(certify(for_whole, &whole), Ok(()));
    assert_eq!(certify(for_part, &part), Ok(()), "two certified sets");
}

/// A number is promised once: the same round with other terms, and any earlier one, are refused by name, also after a restart
/// from the state that was stored before the announcement left.
#[test]
fn a_number_is_announced_once() {
    let scene = Scene::new(4);
    let mut terms = scene.terms.clone();
    terms.n_min = 4;
    let mut player = scene.players[0].fork();
    assert_eq!(player.show(&Shown::announce(&scene.committee, &terms)), []);
    let is_named = |refusal: &Refusal| *refusal == Refusal::RoundNotAbove { last: 1, offered: 1 };
    assert!(has_refused(&player, is_named));
    player.restart(None, 3);
    terms.opened_at = OPENED_AT + 3600;
    player.now = pet_core::time::Timestamp::from_millis((OPENED_AT + 3601) * 1000);
    assert_eq!(player.show(&Shown::announce(&scene.committee, &terms)), []);
    terms.round = 2;
    let said = player.show(&Shown::announce(&scene.committee, &terms));
    assert!(matches!(said[..], [Said::Announcement(_)]), "{:?}", player.events);
}

/// A wrong number, once, must not use up all numbers.
#[test]
fn numbers_far_ahead_are_refused() {
    let scene = Scene::new(4);
    let mut terms = scene.terms.clone();
    let mut player = scene.players[0].fork();
    for round in [u64::MAX, (1 << 20) + 2] {
        terms.round = round;
        assert_eq!(player.show(&Shown::announce(&scene.committee, &terms)), []);
        let expected = Refusal::RoundTooFarAhead { last: 1, offered: round };
        assert!(has_refused(&player, |refusal| *refusal == expected));
    }
    terms.round = 2;
    let said = player.show(&Shown::announce(&scene.committee, &terms));
    assert!(matches!(said[..], [Said::Announcement(_)]));
}

/// What proves that nothing of the vote key is stored: from the last state and the same boot seed, which no disk has, the key
/// would be the same; from the state alone it is another in each life.
#[test]
fn each_life_has_its_own_vote_keys() {
    let scene = Scene::new(4);
    let mut terms = scene.terms.clone();
    let mut keys = Vec::new();
    for boot in [1, 2, 3] {
        let mut player = scene.players[0].fork();
        player.restart(Some(0), boot);
        terms.opened_at = OPENED_AT + 60;
        player.now = pet_core::time::Timestamp::from_millis((OPENED_AT + 61) * 1000);
        player.show(&Shown::announce(&scene.committee, &terms));
        keys.push(player.announcement().unwrap().vote_key);
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3);
    assert!(!keys.contains(&scene.players[0].announcement().unwrap().vote_key));
}

/// Two processes of one member, each with a vote key of its own: what one has announced the other does not vote in.
#[test]
fn a_second_process_does_not_vote_in_the_firsts_list() {
    let mut scene = Scene::new(4);
    let mut twin = Player::new(&scene.committee, scene.players[0].id);
    twin.machine = pet_core::v2::member::Member::restore(
        &scene.players[0].stored[0],
        root(22, 9),
        pet_core::v2::member::Settings::default(),
    )
    .unwrap();
    // It was started before the round was opened, and announces itself as well.
    twin.now = pet_testing::v2::stage::STARTED;
    let mut waiting = Shown::announce(&scene.committee, &scene.terms);
    waiting.view.phase = pet_core::v2::Phase::Idle;
    twin.show(&waiting);
    twin.now = pet_core::time::Timestamp::from_millis(OPENED_AT * 1000 + 1000);
    twin.show(&Shown::announce(&scene.committee, &scene.terms));
    assert!(twin.announcement().is_some(), "{:?}", twin.events);
    let all = scene.all();
    let updates: Vec<_> = all.iter().collect();
    let before = twin.said.len();
    twin.show(&Shown::check(&scene.round(), twin.id, &updates));
    twin.show(&scene.agree(0, &all, &[]));
    assert_eq!(twin.said.len(), before, "it finds an announcement that it has not made");
    let is_named = |refusal: &Refusal| matches!(refusal, Refusal::RolledBack { .. });
    assert!(has_refused(&twin, is_named));
    // Nor does the first one in a list that has the second's.
    let announced = scene.list.list().iter().map(|own| match own.member == twin.id {
        true => twin.announcement().unwrap(),
        false => *own,
    });
    scene.list = list(announced.collect());
    let shown = Shown::check(&scene.round(), twin.id, &[]);
    assert_eq!(scene.players[0].show(&shown), []);
    assert!(scene.has_refused(0, is_named));
}
