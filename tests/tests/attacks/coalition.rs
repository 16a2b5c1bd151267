//! Attack 1: the coordinator and all groups but one, with all they have, try to unmask a participant.

use pet_core::crypto::{EncryptKeyPair, RoundSeed, Seed, Task};
use pet_core::mask::{derive_mask, mask_model, MaskConfig, MaskSeed};
use pet_core::message::UpdatePayload;
use pet_core::model::{Model, Scalar};
use pet_core::round::{RoundParameters, SumDict};
use pet_core::v2::MemberId;
use pet_testing::by_hand::Hand;
use pet_testing::v2::by_hand::{config, list, Committee, HandMember, HandUpdate, Round};
use pet_testing::v2::words;

const LENGTH: usize = 60_000;

/// A model with a shape that anyone would recognize.
fn waves(number: usize) -> Vec<f32> {
    (0..LENGTH).map(|i| 0.5 * (i as f32 / 1000.0 + number as f32).sin()).collect()
}

/// How much two vectors go together: 1 if they are the same up to scale, 0 if they have nothing to do with each other, with a
/// standard deviation of 1 / sqrt(LENGTH) = 0.004.
fn correlation(a: &[f64], b: &[f32]) -> f64 {
    let mean = |v: &mut dyn Iterator<Item = f64>| v.sum::<f64>() / LENGTH as f64;
    let (ma, mb) = (mean(&mut a.iter().copied()), mean(&mut b.iter().map(|b| f64::from(*b))));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - ma, f64::from(*b) - mb);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    ab / (aa * bb).sqrt()
}

/// What a coalition makes of a masked model: it takes off the streams of the groups of which it has a member, who opens its box.
fn unmask(round: &Round<'_>, update: &HandUpdate, corrupt: &[HandMember]) -> Vec<u32> {
    let mut left = words::vector(&update.object);
    for member in corrupt {
        let position = round.list.position(member.id).unwrap();
        let seed = update.header.boxes[position].open(&member.encrypt).unwrap();
        let (context, announcements) = (round.terms.context(), round.list.digest());
        let stream = pet_core::v2::stream_seed(
            &context,
            &announcements,
            &update.key(),
            member.id.group,
            &seed,
        );
        left = words::sub(&left, &words::of(&derive_mask(&stream, config(), LENGTH)));
    }
    left
}

/// Three groups of three, four hospitals; gives what a coalition with a member of each of these groups is left with of each
/// hospital's model.
fn attack(groups: &[u8]) -> Vec<Vec<u32>> {
    let committee = Committee::new(3, 3, 4);
    let terms = committee.terms(1, LENGTH as u64);
    let hands = committee.hands();
    let list = list(hands.iter().map(|hand| hand.announce(&terms.context())).collect());
    let round = Round { committee: &committee, terms: &terms, list: &list };
    // One member of a group is enough: all have the same.
    let corrupt: Vec<_> = groups
        .iter()
        .map(|group| hands.iter().find(|hand| hand.id == MemberId::new(*group, 1)).unwrap().clone())
        .collect();
    (0..4).map(|i| unmask(&round, &round.update(i, &waves(i)), &corrupt)).collect()
}

#[test]
fn all_groups_but_one_see_uniform_numbers() {
    for groups in [[0, 1], [0, 2], [1, 2]] {
        for (hospital, left) in attack(&groups).iter().enumerate() {
            assert!(words::off_uniform(left).abs() < 6.0, "{groups:?}, hospital {hospital}");
            let together = correlation(&words::decode(left), &waves(hospital));
            assert!(together.abs() < 0.025, "{groups:?}, hospital {hospital}: {together}");
        }
    }
}

/// What two hospitals' numbers have in common is nothing either: their difference is as uniform.
#[test]
fn differences_of_two_hospitals_are_uniform_as_well() {
    let left = attack(&[0, 1]);
    for (a, b) in [(0, 1), (1, 2), (0, 3)] {
        assert!(words::off_uniform(&words::sub(&left[a], &left[b])).abs() < 6.0);
    }
}

/// The control: with a member of *each* group it is the model, to the bit.
#[test]
fn with_all_groups_a_model_is_unmasked() {
    for (hospital, left) in attack(&[0, 1, 2]).iter().enumerate() {
        assert_eq!(*left, words::encode(&waves(hospital)));
        assert!(words::off_uniform(left) > 100.0);
        assert!(correlation(&words::decode(left), &waves(hospital)) > 0.999);
    }
}

/// The control: in version 1 one participant who sums is enough, however many honest ones there are.
#[test]
fn in_version_1_one_who_sums_is_enough() {
    let config: MaskConfig = "Word32/F32/B0/M3".parse().unwrap();
    let parameters = RoundParameters {
        pk: EncryptKeyPair::from_seed(&Seed::new([1; 32])).public(),
        sum: 0.5,
        update: 0.9,
        seed: RoundSeed::new([2; 32]),
        mask_config: config.into(),
        model_length: LENGTH as u64,
    };
    let summers = Hand::with_task(Task::Sum, 5, &parameters);
    let mut sums = SumDict::new();
    for summer in &summers {
        sums.insert(summer.key(), summer.ephemeral().public());
    }
    let corrupt = &summers[3];
    for (number, hospital) in Hand::with_task(Task::Update, 4, &parameters).iter().enumerate() {
        let model = Model::F32(waves(number));
        let (masked, _) =
            mask_model(&hospital.mask_seed(), config.into(), &Scalar::one(), &model).unwrap();
        let sent = hospital.update_payload(&sums, &masked);
        // What the coordinator reads, and what the summer opens.
        let payload = UpdatePayload::parse(&sent).unwrap();
        let sealed = payload.seeds.get(&corrupt.key()).unwrap();
        let seed: MaskSeed = sealed.open(&corrupt.ephemeral()).unwrap();
        let mask = words::of(&derive_mask(&seed, config.into(), LENGTH));
        let left = words::sub(&words::vector(&masked), &mask);
        assert_eq!(left, words::encode(&waves(number)));
    }
}
