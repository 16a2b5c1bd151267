//! Rounds that fail, each by its own name.

use num_bigint::BigUint;

use super::fixture::{quick, Fixture, TIME};
use super::sender::mask_of;
use crate::coordinator::*;
use crate::crypto::Task;
use crate::mask::{MaskConfigPair, MaskObject, MaskObjectPart, MaskObjectView, UnmaskError};
use crate::message::Tag;
use crate::model::Model;

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
    assert!(fixture.front.model().is_some());
}

/// A round of three participants with weights of 0.25 and scalars of 1, one of whom adds residues to what it has
/// masked, as many units of the weights' and the scalar's steps: the first weight of the global model.
fn round_with_a_cheat(residue: i128, unit_residue: i128) -> Result<f32, RoundFailure> {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(1);
    let sums = fixture.sums();
    let updaters = fixture.with_task(Task::Update, 3);
    for (index, updater) in updaters.iter().enumerate() {
        let config = updater.parameters.mask_config;
        let mut masked = updater.masked(config.vect, 4, 1.0);
        if index == 2 {
            masked = with_residues(config, &masked, residue, unit_residue);
        }
        let payload = updater.update_payload(&sums, &masked);
        assert_eq!(fixture.send(updater.seal(Tag::Update, false, &payload)), Some(Ok(())));
    }
    fixture.wait(TIME);
    fixture.send(summers[0].sum2(&mask_of(&updaters))).unwrap().unwrap();
    fixture.wait(TIME);
    match (fixture.failures().pop(), fixture.models.pop().and_then(|model| model.weights)) {
        (Some(failure), None) => Err(failure),
        (None, Some(weights)) => match &*weights {
            Model::F32(weights) => Ok(weights[0]),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn with_residues(config: MaskConfigPair, masked: &[u8], residue: i128, unit: i128) -> Vec<u8> {
    let view = MaskObjectView::parse_exact(masked).unwrap();
    let shift = |number: BigUint, by: i128, order: BigUint| match by {
        0.. => (number + by.unsigned_abs()) % order,
        _ => (number + &order - by.unsigned_abs()) % order,
    };
    let chunks = view.vector().chunks_exact(config.vect.bytes_per_number());
    let mut numbers: Vec<_> = chunks.map(BigUint::from_bytes_le).collect();
    numbers[0] = shift(numbers[0].clone(), residue, config.vect.order());
    let unit = shift(BigUint::from_bytes_le(view.unit()), unit, config.unit.order());
    MaskObject::from_numbers(config, &numbers, unit).unwrap().to_bytes().unwrap()
}

/// What docs/threat-model.md says of one participant's power (Prime/F32/B0/M3: A and A1 are 1, steps 10^-10).
#[test]
fn a_cheat_moves_the_mean_as_far_as_the_documentation_says_and_no_further() {
    const ONE: i128 = 10_000_000_000;
    assert_eq!(round_with_a_cheat(0, 0), Ok(0.25));
    // Within the rules: a weight of 1 and a scalar of 0.
    assert_eq!(round_with_a_cheat(3 * ONE / 4, -ONE), Ok(0.75));
    // The sum of the weights is at most 3.
    assert_eq!(round_with_a_cheat(9 * ONE / 4, 0), Ok(1.0));
    let impossible = |part| {
        Err(RoundFailure::Unmask(UnmaskError::ImpossibleSum { part, index: 0, nb_models: 3 }))
    };
    let vector = impossible(MaskObjectPart::Vector);
    assert_eq!(round_with_a_cheat(9 * ONE / 4 + 1, 0), vector);
    assert_eq!(round_with_a_cheat(-(15 * ONE / 4), 0), Ok(-1.0));
    assert_eq!(round_with_a_cheat(-(15 * ONE / 4) - 1, 0), vector);
    // What was possible once: 666 times the bound, or any other number of the group.
    for residue in [1995 * ONE, 1000 * ONE, 10 * ONE, -10 * ONE] {
        assert_eq!(round_with_a_cheat(residue, 0), vector, "{residue}");
    }
    // The sum of the scalars is above 0 and at most 3: whoever knows that of the others' can have it vanish.
    assert_eq!(round_with_a_cheat(9 * ONE / 4, 1 - 3 * ONE), Ok(3e10));
    let zero = Err(RoundFailure::Unmask(UnmaskError::ScalarSumZero));
    assert_eq!(round_with_a_cheat(0, -3 * ONE), zero);
    for residue in [-3 * ONE - 1, 1, 10 * ONE, 900 * ONE] {
        assert_eq!(round_with_a_cheat(0, residue), impossible(MaskObjectPart::Unit), "{residue}");
    }
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
        RoundFailure::JobLost { job: crate::job::JobKind::Unmask, times: 5 },
        RoundFailure::PartLost { part: PartId::new([1; 16]), fault: PartFault::Missing },
        RoundFailure::Skipped,
        RoundFailure::NoMask,
        RoundFailure::TiedMasks { masks: 2, votes: 1 },
        RoundFailure::LoneVote { sum_participants: 5, needed: 3 },
        RoundFailure::NoQuorum { votes: 2, cast: 4, needed: 3 },
        RoundFailure::Unmask(UnmaskError::ScalarSumZero),
        RoundFailure::Unmask(UnmaskError::TooManyModels(1)),
        RoundFailure::Unmask(UnmaskError::OutOfMemory { len: 1, bytes: 1 }),
        RoundFailure::Unmask(UnmaskError::ImpossibleSum {
            part: MaskObjectPart::Vector,
            index: 3,
            nb_models: 3,
        }),
        RoundFailure::Unmask(UnmaskError::NoModel),
        RoundFailure::Optimizer(OptimizeError::NoWeight),
    ];
    let mut labels = failures.map(|failure| failure.label());
    labels.sort_unstable();
    assert_eq!(labels, RoundFailure::LABELS);
}
