//! Rounds that fail, each by its own name.

use super::fixture::{quick, Fixture, TIME};
use super::sender::mask_of;
use crate::coordinator::*;
use crate::mask::UnmaskError;

#[test]
fn ties_and_zero_scalars_fail_the_round_by_name() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(2);
    let updaters = fixture.update(1.0);
    for (summer, count) in summers.iter().zip([2, 3]) {
        fixture.send(summer.sum2(&mask_of(&updaters[..count]))).unwrap().unwrap();
    }
    fixture.wait(TIME);
    assert_eq!(fixture.failures(), [RoundFailure::TiedMasks { masks: 2, votes: 1 }]);
    assert_eq!(fixture.machine.round_id(), 2);

    let summers = fixture.sum(1);
    let updaters = fixture.update(0.0);
    fixture.send(summers[0].sum2(&mask_of(&updaters))).unwrap().unwrap();
    fixture.wait(TIME);
    assert_eq!(fixture.failures()[1], RoundFailure::Unmask(UnmaskError::ScalarSumZero));
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (3, Phase::Sum));
}

/// Three of five, of whom two agree: a plurality is not enough, nor is one vote alone where a share is needed.
#[test]
fn a_mask_without_a_quorum_fails_the_round_by_name() {
    let mut settings = quick();
    settings.sum.count = CountRange { min: 5, max: 5 };
    settings.sum2.count = CountRange { min: 1, max: 5 };
    let quorums = [Quorum::Majority, Quorum::Share(0.6), Quorum::Share(0.5)];
    let votes: [&[usize]; 3] = [&[3, 3, 2, 1], &[3], &[3, 3]];
    let failures = [
        RoundFailure::NoQuorum { votes: 2, cast: 4, needed: 3 },
        RoundFailure::LoneVote { sum_participants: 5, needed: 3 },
        RoundFailure::NoQuorum { votes: 2, cast: 2, needed: 3 },
    ];
    for ((quorum, votes), failure) in quorums.into_iter().zip(votes).zip(failures) {
        settings.sum2.quorum = quorum;
        let mut fixture = Fixture::new(settings.clone());
        let summers = fixture.sum(5);
        let updaters = fixture.update(1.0);
        for (summer, count) in summers.iter().zip(votes) {
            fixture.send(summer.sum2(&mask_of(&updaters[..*count]))).unwrap().unwrap();
        }
        fixture.wait(TIME);
        assert_eq!(fixture.failures(), [failure]);
        assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Sum));
    }
}

/// Three of five votes for one mask.
#[test]
fn a_mask_with_a_quorum_is_taken_off() {
    let mut settings = quick();
    settings.sum.count = CountRange { min: 5, max: 5 };
    settings.sum2.count = CountRange { min: 1, max: 5 };
    settings.sum2.quorum = Quorum::Share(0.6);
    let mut fixture = Fixture::new(settings);
    let summers = fixture.sum(5);
    let updaters = fixture.update(1.0);
    for (summer, count) in summers.iter().zip([3, 3, 3, 2, 1]) {
        fixture.send(summer.sum2(&mask_of(&updaters[..count]))).unwrap().unwrap();
    }
    fixture.wait(TIME);
    assert_eq!(fixture.failures(), []);
    assert!(fixture.bulletin.model().is_some());
}

/// Metrics begin with a zero for each of them.
#[test]
fn every_label_of_a_failure_is_listed() {
    let too_few = |phase| RoundFailure::TooFewMessages { phase, accepted: 0, needed: 1 };
    let failures = [
        too_few(Phase::Sum),
        too_few(Phase::Update),
        too_few(Phase::Sum2),
        too_few(Phase::Unmask),
        RoundFailure::Skipped,
        RoundFailure::NoMask,
        RoundFailure::TiedMasks { masks: 2, votes: 1 },
        RoundFailure::LoneVote { sum_participants: 5, needed: 3 },
        RoundFailure::NoQuorum { votes: 2, cast: 4, needed: 3 },
        RoundFailure::Unmask(UnmaskError::ScalarSumZero),
        RoundFailure::Unmask(UnmaskError::TooManyModels(1)),
        RoundFailure::Unmask(UnmaskError::OutOfMemory { len: 1, bytes: 1 }),
        RoundFailure::Unmask(UnmaskError::NoModel),
    ];
    let mut labels = failures.map(|failure| failure.label());
    labels.sort_unstable();
    assert_eq!(labels, RoundFailure::LABELS);
}
