//! Attack 8: one member of each group lost in each phase, a lying mask, a member that accuses everyone. Whole federations in
//! virtual time, with the real coordinator, members and updaters; each completed model is compared with the plain mean.

use std::time::Duration;

use pet_core::v2::Phase;
use pet_testing::v2::sim::{run, LieKind, Report, Scenario, Violation};

/// Three groups of three, five updaters; these members lie.
fn play(liars: Vec<(usize, LieKind)>) -> Report {
    let scenario = Scenario { liars, updaters: 5, ..Scenario::calm(8) };
    run(&scenario).unwrap_or_else(|failure| panic!("{}: {:?}", failure.violation, failure.report))
}

/// The same, given up after some rounds.
fn hopeless(liars: Vec<(usize, LieKind)>) -> Scenario {
    Scenario { liars, updaters: 5, patience: Duration::from_secs(150), ..Scenario::calm(8) }
}

/// The same where no round is completed: how the rounds have failed.
fn fails(liars: Vec<(usize, LieKind)>) -> Report {
    let failure = run(&hopeless(liars)).expect_err("no round is completed");
    assert!(matches!(failure.violation, Violation::NoProgress(..)), "{}", failure.violation);
    assert_eq!(failure.report.completed, 0);
    failure.report
}

const PHASES: [(Phase, &str); 4] = [
    (Phase::Announce, "too_few_announce"),
    (Phase::Check, "too_few_check"),
    (Phase::Agree, "too_few_agree"),
    (Phase::Sum2, "too_few_sum2"),
];

#[test]
fn one_member_of_each_group_may_vanish_in_each_phase() {
    for (phase, _) in PHASES {
        // Another member of each group.
        let report = play([0, 4, 8].map(|place| (place, LieKind::Vanish(phase))).into());
        assert!(report.completed >= 2, "{phase}: {report:?}");
        assert_eq!(report.failed, [].into(), "{phase}");
    }
    // Each in a phase of its own: in no group is there a majority that is missing.
    let vanish = PHASES.map(|(phase, _)| LieKind::Vanish(phase));
    let report = play(vec![(1, vanish[1]), (5, vanish[2]), (6, vanish[3])]);
    assert_eq!(report.failed, [].into());
}

/// The control: two of one group, and the round fails by the name of the phase in which they are missing.
#[test]
fn two_members_of_one_group_may_not() {
    for (phase, name) in PHASES {
        let report = fails(vec![(3, LieKind::Vanish(phase)), (5, LieKind::Vanish(phase))]);
        assert!(report.failed.keys().eq([&name]), "{phase}: {report:?}");
    }
}

/// A wrong mask in each group: outvoted, told by name, and the models are the plain means.
#[test]
fn a_lying_mask_is_outvoted() {
    let report = play([0, 4, 8].map(|place| (place, LieKind::WrongMask)).into());
    assert!(report.completed >= 2 && report.lying_masks > 0, "{report:?}");
    assert_eq!(report.failed, [].into());
}

/// The control: the majority of one group sends the same wrong mask. It wins, and the model is no mean any more (or the
/// round fails, because no models have such a sum): what nobody outside of the group can tell.
#[test]
fn a_lying_majority_of_one_group_falsifies_the_sum() {
    let liars = vec![(3, LieKind::WrongMask), (4, LieKind::WrongMask)];
    match run(&hopeless(liars)) {
        Err(failure) => match failure.violation {
            Violation::WrongMean { .. } => {}
            Violation::NoProgress(..) => {
                let names: Vec<_> = failure.report.failed.keys().collect();
                assert!(names == [&"unmask"], "{names:?}");
            }
            other => panic!("{other}"),
        },
        Ok(report) => panic!("a wrong mask that changes nothing: {report:?}"),
    }
}

/// One that signs a digest and keeps its mask: another one of its group is asked.
#[test]
fn who_keeps_its_mask_is_passed_over() {
    let report = play(vec![(0, LieKind::KeepMask), (4, LieKind::KeepMask)]);
    assert!(report.completed >= 2, "{report:?}");
    assert_eq!(report.failed, [].into());
}

#[test]
fn who_accuses_everyone_is_disregarded() {
    let report = play([2, 3, 7].map(|place| (place, LieKind::AccuseEveryone)).into());
    assert!(report.completed >= 2 && report.disregarded > 0, "{report:?}");
    assert_eq!((report.excluded, report.failed), (0, [].into()));
}

/// The control: two of three accuse everyone. They are the majority of their group, which is listened to: nobody is left. (They
/// could have withheld their votes as well.)
#[test]
fn a_majority_that_accuses_everyone_is_not() {
    let liars = vec![(0, LieKind::AccuseEveryone), (1, LieKind::AccuseEveryone)];
    let report = fails(liars);
    assert!(report.failed.keys().eq([&"too_few_after_exclusions"]), "{report:?}");
}

/// A vote under another key counts for nothing.
#[test]
fn votes_of_other_keys_do_not_count() {
    let report = play(vec![(0, LieKind::WrongVote)]);
    assert_eq!(report.failed, [].into());
    let report = fails(vec![(0, LieKind::WrongVote), (1, LieKind::WrongVote)]);
    assert!(report.failed.keys().eq([&"too_few_agree"]), "{report:?}");
}

/// All that and a storm: losses, doubled messages, crashes of everyone, split views. Nothing that is promised breaks.
#[test]
fn a_storm_with_liars_breaks_no_promise() {
    let liars = vec![(0, LieKind::WrongMask), (4, LieKind::AccuseEveryone), (8, LieKind::KeepMask)];
    let scenario = Scenario {
        liars,
        updaters: 6,
        loss: 0.05,
        doubled: 0.05,
        crashes: Duration::from_secs(15),
        server_crashes: true,
        splits: 0.3,
        storm: Duration::from_secs(200),
        ..Scenario::calm(9)
    };
    let report = run(&scenario).unwrap_or_else(|failure| panic!("{failure:?}"));
    assert!(report.crashes > 5, "{report:?}");
}
