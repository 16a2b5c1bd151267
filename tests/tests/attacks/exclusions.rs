//! Attack 9: exclusions until few are left.

use pet_core::v2::member::Refusal;
use pet_core::v2::PinError;
use pet_testing::v2::by_hand::Committee;
use pet_testing::v2::stage::{Player, Said, Shown};

use super::scene::{has_refused, Scene};

/// Of five updates three are excluded: two are left, and n_min is three.
#[test]
fn below_n_min_nobody_votes() {
    let mut scene = Scene::new(5);
    scene.check(&[]);
    let all = scene.all();
    let excluded: Vec<_> = all[..3].iter().map(|update| update.key()).collect();
    for member in 0..3 {
        let shown = scene.agree(member, &all, &excluded);
        assert_eq!(scene.players[member].show(&shown), []);
        assert!(scene.has_refused(member, |r| *r == Refusal::TooFew { least: 3, found: 2 }));
    }
    // Friends of the coordinator can vote as they like: nobody sums.
    let decision = scene.decision(&all[3..]);
    let votes = scene.with_friends(Vec::new(), &decision);
    for member in 0..3 {
        assert_eq!(scene.sum(member, &all, &excluded, &votes), None);
    }
}

/// The control: three that are left are enough.
#[test]
fn at_n_min_they_vote() {
    let mut scene = Scene::new(5);
    scene.check(&[]);
    let all = scene.all();
    let excluded: Vec<_> = all[..2].iter().map(|update| update.key()).collect();
    assert_eq!(scene.vote(&[0, 1, 2], &all, &excluded).len(), 3);
}

/// A member's own pin counts, whatever the terms say; terms below it are not even announced.
#[test]
fn a_members_pin_is_above_the_terms() {
    let committee = Committee::new(2, 3, 5);
    let terms = committee.terms(1, 8);
    let mut pin = committee.pin();
    pin.n_min = 5;
    let id = committee.ids()[0];
    let mut player = Player::with_pin(&committee, id, pin);
    assert_eq!(player.show(&Shown::announce(&committee, &terms)), []);
    let expected = Refusal::Pin(PinError::Updates { pinned: 5, found: 3 });
    assert!(has_refused(&player, |refusal| *refusal == expected));
    let mut terms = terms;
    terms.n_min = 5;
    let mut player = Player::with_pin(&committee, id, pin);
    let said = player.show(&Shown::announce(&committee, &terms));
    assert!(matches!(said[..], [Said::Announcement(_)]));
}
