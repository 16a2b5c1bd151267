//! Attack 6: inconsistent seeds. The updater is excluded by name, and the round completes; many of them do not block it.

use pet_core::v2::member::Refusal;
use pet_core::v2::{Accusation, GroupSeed, Report, SealedGroupSeed};
use pet_testing::v2::by_hand::{seed, HandUpdate};
use pet_testing::v2::sim::{run, CheatKind, Scenario};

use super::scene::Scene;

#[test]
fn inconsistent_seeds_exclude_their_updater() {
    for kind in [CheatKind::OtherSeeds, CheatKind::BadBoxes, CheatKind::OneBadBox] {
        let scenario = Scenario { cheats: vec![kind], ..Scenario::calm(6) };
        let report = run(&scenario).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert!(report.completed >= 2, "{kind:?}: {report:?}");
        assert!(report.excluded > 0, "{kind:?}: {report:?}");
        assert_eq!(report.failed, [].into(), "{kind:?}");
    }
}

/// Different seeds for different replicas of one group, each properly sealed: whoever has the one that was committed to finds
/// nothing; the others do, and one report is enough.
#[test]
fn different_seeds_for_replicas_are_found() {
    let mut scene = Scene::new(4);
    let mut updates = scene.all();
    let other = GroupSeed::from(seed(80, 0));
    let announced = *scene.list.get(scene.players[1].id).unwrap();
    updates[2].header.boxes[1] = updates[2].sealed(&announced, &other);
    updates[2].sign();
    let reports: Vec<_> = (0..3).map(|member| scene.check_one(member, &updates).accused).collect();
    let accused = vec![(updates[2].key(), Accusation::Commitment)];
    assert_eq!(reports, [vec![], accused, vec![]]);
}

/// The control: without commitments each replica opens its box, and they find different masks: no majority for either, or a
/// wrong one.
#[test]
fn without_commitments_replicas_disagree() {
    let scene = Scene::new(4);
    let round = scene.round();
    let mut updates = scene.all();
    let honest: Vec<&HandUpdate> = scene.updates.iter().collect();
    updates[2].seeds[0] = GroupSeed::from(seed(80, 0));
    let split: Vec<&HandUpdate> = updates.iter().collect();
    assert_ne!(round.mask(0, &honest), round.mask(0, &split));
}

/// Five updaters of nine send broken boxes to everyone: more than a member may accuse. They are excluded all the same.
#[test]
fn many_cheats_do_not_block_the_round() {
    let scenario = Scenario { cheats: vec![CheatKind::BadBoxes; 5], ..Scenario::calm(6) };
    let report = run(&scenario).unwrap_or_else(|failure| panic!("{failure:?}"));
    assert!(report.completed >= 2 && report.excluded >= 10, "{report:?}");
    assert_eq!(report.failed, [].into());
}

/// The control: with the limit alone every honest member is disregarded, the cheats stay, and nobody votes: in each round
/// again.
#[test]
fn with_the_limit_alone_four_cheats_block_every_round() {
    let mut scene = Scene::new(8);
    let mut updates = scene.all();
    for update in &mut updates[..4] {
        update.header.boxes.fill(SealedGroupSeed::new([9; 80]));
    }
    let (roster, context, list) =
        (scene.committee.roster.clone(), scene.terms.context(), scene.list.digest());
    for member in 0..3 {
        let report: Report = scene.check_one(member, &updates);
        assert_eq!(report.verify(&roster, &context, &list), Ok(()));
        assert!(report.accused.len() > Report::limit(8), "it is over the limit");
        let shown = scene.agree(member, &updates, &[]);
        assert_eq!(scene.players[member].show(&shown), []);
        assert!(scene.has_refused(member, |refusal| matches!(refusal, Refusal::BadUpdate { .. })));
    }
}
