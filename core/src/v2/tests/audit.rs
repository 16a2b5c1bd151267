//! An audit finds whoever has lied, as far as anybody outside of the groups can.

use std::sync::Arc;

use super::fixture::*;
use crate::crypto::Digest;
use crate::mask::noise::{Noise, NoiseSeed};
use crate::mask::{tree, GroupMask, MaskSeed, Masker};
use crate::model::{Model, Scalar};
use crate::v2::*;

/// Everything that is published about a round.
struct Published {
    round: Round,
    certificate: Certificate,
    statements: StatementsPage,
    /// In the order of the statements.
    masked: Vec<Vec<u8>>,
    masks: Vec<Vec<u8>>,
    model: Model,
}

const UPDATERS: u64 = 4;

fn weights(number: u64) -> Vec<f32> {
    (0..4).map(|at| (number * 4 + at) as f32 / 32.0).collect()
}

fn streams(round: &Round, number: u64) -> Vec<MaskSeed> {
    let updater = Round::updater(number).public();
    let stream = |group: u8| {
        stream_seed(&round.context, &round.l(), &updater, group, &round.group_seed(number, group))
    };
    (0..3).map(stream).collect()
}

fn masked(round: &Round, number: u64) -> Vec<u8> {
    let model = Arc::new(Model::F32(weights(number)));
    let config = round.terms.parameters.mask_config;
    let streams = streams(round, number);
    let mut masker = Masker::behind_all(&[], 0, &streams, config, &Scalar::one(), model).unwrap();
    while !masker.step(usize::MAX) {}
    masker.finish().unwrap().0
}

/// A round with noise: its updates are differences from a start.
fn noisy() -> Round {
    let (roster, members) = roster();
    let noise = Some(NoiseTerms { multiplier_thousandths: 1, clip: CLIP });
    let model = Some(model_hash(&start()));
    let terms = Terms { noise, model, ..terms(&roster, 1) };
    Round::with(roster, members, terms)
}

const CLIP: f64 = 2.0;

fn start() -> Model {
    Model::F32(vec![1.0, 2.0, 3.0, 4.0])
}

/// A round of four, in which an updater may send something else than its masked model, and a group may sign something else than
/// its mask.
fn publish(
    change_masked: impl Fn(u64, &mut Vec<u8>),
    change_mask: impl Fn(u8, &mut Vec<u8>),
) -> Published {
    publish_of(Round::new(), change_masked, change_mask)
}

fn publish_of(
    round: Round,
    change_masked: impl Fn(u64, &mut Vec<u8>),
    change_mask: impl Fn(u8, &mut Vec<u8>),
) -> Published {
    let mut updates: Vec<(UpdateHeader, Vec<u8>)> = (0..UPDATERS)
        .map(|number| {
            let mut masked = masked(&round, number);
            change_masked(number, &mut masked);
            (round.header_of(number, &masked), masked)
        })
        .collect();
    updates.sort_by_key(|(header, _)| header.updater);
    let (headers, masked): (Vec<_>, Vec<_>) = updates.into_iter().unzip();
    let mask = |group: u8| {
        let config = round.terms.parameters.mask_config;
        let seeds = (0..UPDATERS).map(|number| streams(&round, number).remove(group.into()));
        let mut sum = GroupMask::new(config, 4, seeds).unwrap();
        if let Some(terms) = round.terms.noise {
            let noise = Noise::new(config.vect, 4, terms.multiplier_thousandths).unwrap();
            sum = sum.with_noise(&noise, NoiseSeed::new([group; 32])).unwrap();
        }
        while !sum.step(usize::MAX) {}
        let mut mask = sum.finish().to_bytes().unwrap();
        change_mask(group, &mut mask);
        mask
    };
    let masks: Vec<Vec<u8>> = (0..3).map(mask).collect();
    let root = |mask: &Vec<u8>| {
        let leaves: Vec<_> = tree::leaf_hashes(mask).map(Digest::new).collect();
        group_mask_root(mask.len() as u64, &leaves)
    };
    let roots: Vec<Digest> = masks.iter().map(root).collect();
    let certificate = round.certificate_of(round.decision(&headers), &roots);
    let statements = StatementsPage {
        context: round.context,
        total: UPDATERS,
        from: 0,
        statements: headers.iter().map(Statement::of).collect(),
    };
    let mean = |at: usize| (0..UPDATERS).map(|number| weights(number)[at]).sum::<f32>() / 4.0;
    let model = Model::F32((0..4).map(mean).collect());
    Published { round, certificate, statements, masked, masks, model }
}

fn honest() -> Published {
    publish(|_, _| {}, |_, _| {})
}

impl Published {
    fn begin(&self) -> Result<Audit, AuditError> {
        Audit::new(self.round.roster.clone(), self.certificate.clone(), 0)
    }

    fn audit(&self) -> Result<Audited, AuditError> {
        let mut audit = self.begin()?;
        audit.statements(&self.statements)?;
        for masked in &self.masked {
            audit.masked_model(masked)?;
        }
        for mask in &self.masks {
            audit.group_mask(mask)?;
        }
        audit.finish(None, &self.model)
    }
}

#[test]
fn an_honest_round_passes() {
    let published = honest();
    let audited = published.audit().unwrap();
    assert_eq!((audited.updates, audited.dissenters), (4, vec![]));
    assert_eq!(audited.model, model_hash(&published.model));
}

#[test]
fn it_says_what_it_needs_next_and_takes_nothing_else() {
    let published = honest();
    let mut audit = published.begin().unwrap();
    let page = |from: usize, count: usize| StatementsPage {
        from: from as u64,
        statements: published.statements.statements[from..from + count].to_vec(),
        ..published.statements.clone()
    };
    assert_eq!(audit.needs(), Needs::Statements { from: 0 });
    assert!(matches!(audit.masked_model(&published.masked[0]), Err(AuditError::NotNow(_))));
    assert!(matches!(audit.group_mask(&published.masks[0]), Err(AuditError::NotNow(_))));
    audit.statements(&page(0, 1)).unwrap();
    assert_eq!(audit.needs(), Needs::Statements { from: 1 });
    for wrong in [page(2, 2), page(0, 1), page(1, 0)] {
        assert!(matches!(audit.statements(&wrong), Err(AuditError::OtherPage(_))));
    }
    audit.statements(&page(1, 3)).unwrap();
    for (statement, masked) in published.statements.statements.iter().zip(&published.masked) {
        assert_eq!(audit.needs(), Needs::MaskedModel(statement.updater));
        assert!(matches!(audit.statements(&page(0, 4)), Err(AuditError::NotNow(_))));
        audit.masked_model(masked).unwrap();
    }
    for (group, mask) in published.masks.iter().enumerate() {
        assert_eq!(audit.needs(), Needs::GroupMask(group as u8));
        audit.group_mask(mask).unwrap();
    }
    assert_eq!(audit.needs(), Needs::Model);
    assert!(matches!(audit.group_mask(&published.masks[0]), Err(AuditError::NotNow(_))));
    assert!(audit.finish(None, &published.model).is_ok());
    let early = published.begin().unwrap().finish(None, &published.model);
    assert!(matches!(early, Err(AuditError::NotNow(Needs::Statements { from: 0 }))));
}

#[test]
fn a_coordinator_that_publishes_another_model_has_lied() {
    let mut published = honest();
    let Model::F32(right) = published.model.clone() else { panic!() };
    for at in 0..4 {
        let mut wrong = right.clone();
        wrong[at] = f32::from_bits(wrong[at].to_bits() ^ 1);
        published.model = Model::F32(wrong);
        let error = published.audit().unwrap_err();
        assert!(matches!(error, AuditError::OtherModel { index, .. } if index == at), "{error}");
        assert_eq!(error.blame(), Blame::Coordinator);
    }
    for shape in [Model::F32(right[..3].to_vec()), Model::F64(vec![0.0; 4]), Model::I32(vec![0; 4])]
    {
        published.model = shape;
        let error = published.audit().unwrap_err();
        assert!(matches!(error, AuditError::OtherShape { .. }), "{error}");
    }
}

#[test]
fn what_nobody_has_signed_is_the_coordinators_lie() {
    let lie = |change: &dyn Fn(&mut Published)| {
        let mut published = honest();
        change(&mut published);
        let error = published.audit().unwrap_err();
        assert_eq!(error.blame(), Blame::Coordinator);
        error
    };
    assert!(matches!(lie(&|it| it.masked[2][20] ^= 1), AuditError::OtherMaskedModel(_)));
    assert!(matches!(lie(&|it| it.masked.swap(0, 1)), AuditError::OtherMaskedModel(_)));
    assert!(matches!(lie(&|it| it.masked[0].truncate(35)), AuditError::OtherMaskedModel(_)));
    assert!(matches!(lie(&|it| it.masked[0].clear()), AuditError::OtherMaskedModel(_)));
    assert!(matches!(lie(&|it| it.masks[1][20] ^= 1), AuditError::OtherMask(1)));
    assert!(matches!(lie(&|it| it.masks.swap(1, 2)), AuditError::OtherMask(1)));
    let first = honest().statements.statements[0].updater;
    assert_eq!(
        lie(&|it| it.statements.statements[0].model_root = Digest::new([0; 32])),
        AuditError::Statement(first)
    );
    assert_eq!(
        lie(&|it| it.statements.statements[0].commitments.truncate(2)),
        AuditError::Statement(first)
    );
    assert!(matches!(lie(&|it| it.statements.statements.swap(0, 1)), AuditError::NotSorted(_)));
    assert!(matches!(
        lie(&|it| it.statements.statements[0].credential = None),
        AuditError::Admission(_)
    ));
    assert!(matches!(lie(&|it| it.statements.total = 5), AuditError::OtherPage(_)));
    let other = Round::number(2).context;
    assert!(matches!(lie(&|it| it.statements.context = other), AuditError::OtherPage(_)));
    // Another update of the round, rightly signed, but not voted for.
    let substitute = |it: &mut Published| {
        let stranger = Statement::of(&it.round.header(9));
        let list = &mut it.statements.statements;
        let place = list.partition_point(|one| one.updater < stranger.updater).min(3);
        list[place] = stranger;
    };
    let error = lie(&substitute);
    assert!(matches!(error, AuditError::OtherStatements | AuditError::NotSorted(_)), "{error}");
}

#[test]
fn an_updater_that_signs_what_is_no_masked_model_has_lied() {
    // Another group type: no mask object of this round.
    let published = publish(
        |number, masked| {
            if number == 1 {
                masked[0] = 17
            }
        },
        |_, _| {},
    );
    let error = published.audit().unwrap_err();
    assert!(matches!(error, AuditError::NoMaskedModel { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Updater(Round::updater(1).public()));
}

#[test]
fn a_group_that_signs_what_is_no_mask_has_lied() {
    let published = publish(
        |_, _| {},
        |group, mask| {
            if group == 2 {
                mask[0] = 17
            }
        },
    );
    let error = published.audit().unwrap_err();
    assert!(matches!(error, AuditError::NoMask { group: 2, .. }), "{error}");
    assert_eq!(error.blame(), Blame::Member(MemberId::new(2, 0)));
}

/// A wrong mask that a majority of a group has signed is believed where what is left can be a sum: nobody outside of the
/// group can tell. This is the limit of what an audit shows.
#[test]
fn a_majority_of_a_group_can_shift_the_sum_and_an_audit_does_not_see_it() {
    // The lowest bits of the first weight: 2^10 steps of 2^-21, over 4 models.
    let shift = |group, mask: &mut Vec<u8>| {
        if group == 1 {
            let number = u32::from_le_bytes(mask[8..12].try_into().unwrap()).wrapping_sub(1 << 10);
            mask[8..12].copy_from_slice(&number.to_le_bytes());
        }
    };
    let mut published = publish(|_, _| {}, shift);
    let error = published.audit().unwrap_err();
    assert!(matches!(error, AuditError::OtherModel { index: 0, .. }), "{error}");
    let Model::F32(mut weights) = published.model else { panic!() };
    weights[0] += (1u32 << 10) as f32 / (1u32 << 21) as f32 / 4.0;
    published.model = Model::F32(weights);
    assert!(published.audit().is_ok());
}

#[test]
fn a_mask_that_leaves_no_sum_is_found() {
    let shift = |group, mask: &mut Vec<u8>| {
        if group == 1 {
            mask[11] ^= 0x80;
        }
    };
    let error = publish(|_, _| {}, shift).audit().unwrap_err();
    assert!(matches!(error, AuditError::Unmask(_)), "{error}");
}

#[test]
fn the_minority_that_has_signed_another_mask_is_named() {
    let mut published = honest();
    let liar = MemberId::new(2, 1);
    let decision = published.certificate.decision;
    let lie = published.round.mask_digest(liar, &decision, Digest::new([9; 32]));
    let exchange = |mask: &MaskDigest| if mask.member == liar { lie } else { *mask };
    let masks = published.certificate.masks.list().iter().map(exchange).collect();
    published.certificate.masks = MaskDigests::new(masks).unwrap();
    assert_eq!(published.audit().unwrap().dissenters, [liar]);
}

#[test]
fn a_certificate_that_does_not_hold_is_no_beginning() {
    let mut published = honest();
    published.certificate.decision.count = 5;
    let error = published.audit().unwrap_err();
    assert!(matches!(error, AuditError::Certificate(CertificateError::Votes(_))), "{error}");
    assert!(Audit::new(published.round.roster.clone(), honest().certificate, 5).is_err());
}

#[test]
fn the_model_that_a_round_starts_from_is_the_one_of_its_terms() {
    let published = honest();
    let start = Model::F32(vec![0.0; 4]);
    let mut audit = published.begin().unwrap();
    audit.statements(&published.statements).unwrap();
    published.masked.iter().for_each(|masked| audit.masked_model(masked).unwrap());
    published.masks.iter().for_each(|mask| audit.group_mask(mask).unwrap());
    assert_eq!(audit.finish(Some(&start), &published.model), Err(AuditError::OtherStart));
}

#[test]
fn a_round_with_noise_is_recomputed_from_the_model_that_it_started_from() {
    let mut published = publish_of(noisy(), |_, _| {}, |_, _| {});
    let finish = |published: &Published, start: Option<&Model>| {
        let mut audit = published.begin().unwrap();
        audit.statements(&published.statements).unwrap();
        published.masked.iter().for_each(|masked| audit.masked_model(masked).unwrap());
        published.masks.iter().for_each(|mask| audit.group_mask(mask).unwrap());
        audit.finish(start, &published.model)
    };
    assert_eq!(finish(&published, None), Err(AuditError::NeedsStart));
    let other = Model::F32(vec![1.0; 4]);
    assert_eq!(finish(&published, Some(&other)), Err(AuditError::OtherStart));
    // The mean of the differences, times the clip, on top of the start; the noise is far below a hundredth.
    let Model::F32(mean) = published.model.clone() else { panic!() };
    let error = finish(&published, Some(&start())).unwrap_err();
    let AuditError::OtherModel { index: 0, computed, .. } = error else { panic!("{error}") };
    let expected = 1.0 + CLIP * f64::from(mean[0]);
    assert!((computed - expected).abs() < 0.01, "{computed} instead of {expected}");
    assert_ne!(computed, expected, "there is noise");
    // A coordinator that publishes what comes out passes.
    let mut weights = vec![computed as f32; 4];
    for at in 1..4 {
        published.model = Model::F32(weights.clone());
        let error = finish(&published, Some(&start())).unwrap_err();
        let AuditError::OtherModel { index, computed, .. } = error else { panic!("{error}") };
        assert_eq!(index, at);
        weights[at] = computed as f32;
    }
    published.model = Model::F32(weights);
    assert_eq!(finish(&published, Some(&start())).unwrap().updates, 4);
}
