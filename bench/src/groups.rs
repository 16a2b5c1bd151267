//! Our steps of PET v2, on one thread: what updaters, members and the coordinator do with masks of several groups.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use pet_core::crypto::{
    Digest, EncryptKeyPair, PublicEncryptKey, RoundSeed, Seed, Signature, SigningKeyPair,
};
use pet_core::mask::noise::{Clip, Noise, NoiseSeed};
use pet_core::mask::{
    derive_mask, tree, Aggregation, GroupMask, KeyStream, MaskConfig, MaskConfigPair,
    MaskObjectView, MaskSeed, Masker, NoisyUnmasker, Unmasker,
};
use pet_core::model::{Model, Scalar};
use pet_core::round::RoundParameters;
use pet_core::v2::{
    commitment, Admission, Announcement, Announcements, Credential, Entry, Group, GroupSeed,
    MemberId, Roster, SealedGroupSeed, Terms, UpdateHeader,
};

use crate::limits::{key_stream_bytes, LENGTHS};
use crate::ours::{weights, MASKS};
use crate::runner::{Limit, Row, Runner, Target};

const MASK: &str = "v2: array under 3 masks";
const READY: &str = "v2: mask, hash, encrypt";
const TREE: &str = "v2: tree hash";
const ENCRYPT: &str = "v2: encrypt chunks";
const CLIP: &str = "v2: clip a difference";
const DERIVE: &str = "v2: derive 100 masks";
const SUM: &str = "v2: sum of 100 masks";
const NOISE: &str = "v2: noise of a group";
const UNMASK: &str = "v2: 3 masks off";
const NEXT: &str = "v2: 3 masks with noise off";
/// A "weight" of this row is an update.
const CHECK: &str = "v2: check of an update";

const WORD32: &str = "Word32/F32/B0/M3";
const WORD64: &str = "Word64/F32/B0/M3";
const GROUPS: usize = 3;
/// The noise multiplier, in thousandths.
const MULTIPLIER: u32 = 4000;

fn config(name: &str) -> MaskConfigPair {
    name.parse::<MaskConfig>().expect("a usable config").into()
}

fn model(length: usize) -> Arc<Model> {
    Arc::new(Model::F32(weights(length).iter().map(|w| *w as f32).collect()))
}

fn seeds(number: u8) -> Vec<MaskSeed> {
    (0..GROUPS as u8).map(|group| MaskSeed::new([number * 16 + group; 32])).collect()
}

fn mask(pair: MaskConfigPair, model: &Arc<Model>, seeds: &[MaskSeed]) -> Vec<u8> {
    Masker::behind_all(&[], 0, seeds, pair, &Scalar::one(), model.clone())
        .and_then(Masker::finish)
        .expect("finite weights")
        .0
}

fn encrypt(masked: &mut [u8]) {
    for (index, chunk) in masked.chunks_mut(tree::TREE_LEAF).enumerate() {
        KeyStream::new(&[7; 32], index as u64).xor(0, chunk);
    }
}

/// Measures all of them.
pub fn measure(runner: &mut Runner) {
    let length = LENGTHS[usize::from(!runner.is_quick())];
    update(runner, length);
    sum(runner, length);
    unmask(runner, length);
    check(runner);
}

fn update(runner: &mut Runner, length: usize) {
    let model = model(length);
    for name in [WORD32, WORD64] {
        let pair = config(name);
        let stream = key_stream_bytes(pair.vect);
        let row = |step| Row::new(step, name, length).inputs(4 * length);
        let mut masking = row(MASK).limit(Limit::KeyStream(GROUPS as f64 * stream));
        let mut ready = row(READY).limit(Limit::KeyStream((GROUPS + 1) as f64 * stream));
        if name == WORD32 {
            masking = masking.target(Target::Nanoseconds(4.0));
            ready = ready.target(Target::Nanoseconds(6.0));
        }
        let seeds = seeds(1);
        runner.measure(masking, || (), |()| mask(pair, &model, &seeds));
        runner.measure(
            ready,
            || (),
            |()| {
                let mut masked = mask(pair, &model, &seeds);
                let leaves: Vec<_> = tree::leaf_hashes(&masked).collect();
                encrypt(&mut masked);
                (Bytes::from(masked), leaves)
            },
        );
        let masked = mask(pair, &model, &seeds);
        let leaves = || tree::leaf_hashes(&masked).collect::<Vec<_>>();
        runner.measure(row(TREE), || (), |()| leaves());
        let mut chunks = masked.clone();
        let row = row(ENCRYPT).limit(Limit::KeyStream(stream));
        runner.measure(row, || (), |()| encrypt(&mut chunks));
    }
    let noise = Noise::new(config(WORD32).vect, length, MULTIPLIER).expect("a config for noise");
    runner.measure(
        Row::new(CLIP, WORD32, length).inputs(8 * length),
        || (),
        |()| {
            Clip::new(noise, model.clone(), Some(model.clone()), 1.0)
                .and_then(Clip::finish)
                .expect("finite weights")
        },
    );
}

/// A member's sum, and what it is held against: the same masks, each derived by itself.
fn sum(runner: &mut Runner, length: usize) {
    let seeds = |count: usize| (0..count).map(|number| MaskSeed::new([number as u8; 32]));
    let mask = |pair, count| GroupMask::new(pair, length, seeds(count)).expect("a word group");
    for name in [WORD32, WORD64] {
        let pair = config(name);
        let bytes = MaskObjectView::serialized_len(pair, length).expect("a short model") as u64;
        let limit = Limit::KeyStream(key_stream_bytes(pair.vect));
        let derive = Row::new(DERIVE, name, length * MASKS).limit(limit);
        let derived = derive.id();
        runner.measure(
            derive,
            || (),
            |()| seeds(MASKS).for_each(|seed| drop(black_box(derive_mask(&seed, pair, length)))),
        );
        let row = Row::new(SUM, name, length * MASKS)
            .limit(limit)
            .target(Target::TimesRow { wanted: 1.1, id: derived, count: 1.0 })
            .target(Target::Memory { wanted: 3.0, of: "the output", bytes });
        runner.measure(
            row,
            || (),
            |()| mask(pair, MASKS).finish().to_bytes().expect("a short model"),
        );
        // One mask is all that is added.
        let noise = Noise::new(pair.vect, length, MULTIPLIER).expect("a config for noise");
        let row = Row::new(NOISE, name, length).target(Target::Nanoseconds(300.0));
        runner.measure(
            row,
            || NoiseSeed::new([3; 32]),
            |seed| mask(pair, 1).with_noise(&noise, seed).expect("it fits").finish(),
        );
    }
}

fn unmask(runner: &mut Runner, length: usize) {
    let pair = config(WORD32);
    let (model, updates) = (model(length), 3u8);
    let mut aggregation = Aggregation::new(pair, length);
    for number in 0..updates {
        let masked = mask(pair, &model, &seeds(number));
        let view = MaskObjectView::parse_exact(&masked).expect("a mask object");
        aggregation.aggregate(&view).expect("it fits");
    }
    let aggregation = Arc::new(aggregation);
    let of_group = |group: usize| {
        let seeds = (0..updates).map(|number| seeds(number)[group].clone());
        let mask = GroupMask::new(pair, length, seeds).expect("a word group").finish();
        Bytes::from(mask.to_bytes().expect("a short model"))
    };
    let masks: Vec<_> = (0..GROUPS).map(of_group).collect();
    let limit = Limit::Memory(4.0 * (GROUPS + 2) as f64);
    runner.measure(
        Row::new(UNMASK, WORD32, length).limit(limit),
        || masks.clone(),
        |masks| {
            Unmasker::of_groups(aggregation.clone(), masks)
                .and_then(Unmasker::finish)
                .expect("it fits")
        },
    );
    runner.measure(
        Row::new(NEXT, WORD32, length).limit(Limit::Memory(4.0 * (GROUPS + 3) as f64)),
        || masks.clone(),
        |masks| {
            NoisyUnmasker::new(aggregation.clone(), masks, 1.0, Some(model.clone()))
                .and_then(NoisyUnmasker::finish)
                .expect("it fits")
        },
    );
}

/// What a member does for each update but adding its mask: two signatures, a box, a commitment.
fn check(runner: &mut Runner) {
    let keys = |number: u8| SigningKeyPair::from_seed(&Seed::new([number; 32]));
    let box_keys = |number: u8| EncryptKeyPair::from_seed(&Seed::new([number; 32]));
    let (authority, updater) = (keys(200), keys(201));
    let group = |group: u8| {
        let members = (0..3).map(|index| keys(10 * group + index).public()).collect();
        Group::new(format!("group {group}"), members)
    };
    let admission = Admission::Authority(authority.public());
    let roster = Roster::new((0..3).map(group).collect(), admission).expect("a roster");
    let length = 1_000_000;
    let parameters = RoundParameters {
        pk: PublicEncryptKey::new([1; 32]),
        sum: 0.0,
        update: 0.0,
        seed: RoundSeed::new([3; 32]),
        mask_config: config(WORD32),
        model_length: length,
    };
    let terms = Terms {
        roster: roster.hash(),
        round: 1,
        parameters,
        opened_at: 1_700_000_000,
        model: None,
        n_min: 3,
        noise: None,
    };
    let context = terms.context();
    let announce = |member: MemberId| {
        let number = 10 * member.group + member.index;
        let (own, vote) = (keys(number), keys(100 + number));
        Announcement::sign(&own, &context, member, box_keys(number).public(), vote.public())
    };
    let list = roster.members().map(|(member, _)| announce(member)).collect();
    let announcements = Announcements::new(list).expect("each once");
    let digest = announcements.digest();
    let seed = |group: u8| GroupSeed::new([group + 50; 32]);
    let seal = |(i, announcement): (usize, &Announcement)| {
        let ephemeral = box_keys(150 + i as u8);
        let seed = seed(announcement.member.group);
        SealedGroupSeed::seal(&seed, &announcement.encrypt_key, &ephemeral).expect("a good key")
    };
    let object_len = terms.object_len();
    let commit = |group| commitment(&context, &digest, &updater.public(), group, &seed(group));
    let mut header = UpdateHeader {
        updater: updater.public(),
        credential: Some(Credential::issue(&authority, &updater.public(), u64::MAX)),
        commitments: (0..3).map(commit).collect(),
        object_len,
        leaves: (0..tree::leaf_count(object_len)).map(|i| Digest::new([i as u8; 32])).collect(),
        statement: Signature::new([0; 64]),
        boxes: announcements.list().iter().enumerate().map(seal).collect(),
    };
    header.sign(&updater, &context, &digest);
    let entry = Entry::of(&header, 0).expect("a box for the first");
    let own = box_keys(0);
    runner.measure(
        Row::new(CHECK, "3 groups, an authority", 1).target(Target::Nanoseconds(200_000.0)),
        || (),
        |()| entry.check(&roster, &terms, &context, &digest, 0, &own).expect("a good update"),
    );
}
