//! Each check against those who lie; beside each, the honest one that passes.

use std::time::Duration;

use super::fixture::*;
use crate::crypto::{Digest, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, Signature};
use crate::v2::*;

const MEMBER: MemberId = MemberId::new(1, 2);

#[test]
fn rosters_that_break_a_rule_are_refused_by_name() {
    let key = |at: u8| PublicSigningKey::new([at; 32]);
    let group =
        |name: &str, keys: &[u8]| Group::new(name, keys.iter().map(|at| key(*at)).collect());
    let admission = || Admission::Authority(key(99));
    let of = |groups: Vec<Group>| Roster::new(groups, admission());
    assert!(of(vec![group("a", &[1, 2, 3]), group("b", &[4, 5, 6])]).is_ok());
    assert_eq!(of(vec![]), Err(InvalidRoster::Groups(0)));
    let many = (0..17).map(|at| group(&at.to_string(), &[at])).collect();
    assert_eq!(of(many), Err(InvalidRoster::Groups(17)));
    let members = |members| Err(InvalidRoster::Members { name: "a".into(), members });
    assert_eq!(of(vec![group("a", &[])]), members(0));
    assert_eq!(of(vec![group("a", &[1, 2])]), members(2));
    assert_eq!(of(vec![group("a", &(0..33).collect::<Vec<_>>())]), members(33));
    let unequal = InvalidRoster::UnequalGroups { name: "b".into(), members: 3, first: 1 };
    assert_eq!(of(vec![group("a", &[1]), group("b", &[2, 3, 4])]), Err(unequal));
    assert_eq!(
        of(vec![group("a", &[1]), group("a", &[2])]),
        Err(InvalidRoster::SameName("a".into()))
    );
    assert_eq!(
        of(vec![group("a", &[1]), group("b", &[1])]),
        Err(InvalidRoster::SameMember(key(1)))
    );
    assert_eq!(of(vec![group("a", &[1, 1, 2])]), Err(InvalidRoster::SameMember(key(1))));
    for name in ["", " a", "a\n", "\u{1b}[31m", &"x".repeat(65)] {
        assert_eq!(of(vec![group(name, &[1])]), Err(InvalidRoster::Name(0)), "{name:?}");
    }
    for list in [vec![], vec![key(2), key(1)], vec![key(1), key(1)]] {
        let error = InvalidRoster::Updaters(list.len());
        assert_eq!(Roster::new(vec![group("a", &[1])], Admission::List(list)), Err(error));
    }
}

#[test]
fn a_majority_is_one_of_the_roster() {
    for (size, majority) in [(1, 1), (3, 2), (5, 3), (31, 16)] {
        let (roster, _) = roster_of(1, size);
        assert_eq!(roster.majority(), majority);
        let present = |count| (0..count).map(|index| MemberId::new(0, index as u8));
        assert_eq!(roster.lacking(present(majority)), None);
        let lacking = roster.lacking(present(majority - 1)).unwrap();
        assert_eq!((lacking.have, lacking.need), (majority - 1, majority));
    }
}

#[test]
fn credentials_are_for_one_key_and_until_one_second() {
    let authority = authority();
    let admission = Admission::Authority(authority.public());
    let [updater, other] = [1, 2].map(|number| Round::updater(number).public());
    let credential = Credential::issue(&authority, &updater, 100);
    assert_eq!(credential.check(&admission, &updater, 100), Ok(()));
    let expired = AdmissionError::Expired { updater, expired_at: 100, at: 101 };
    assert_eq!(credential.check(&admission, &updater, 101), Err(expired.clone()));
    assert_eq!(expired.blame(), Blame::Authority);
    assert_eq!(
        credential.check(&admission, &other, 100),
        Err(AdmissionError::Forged { updater: other })
    );
    let prolonged = Credential { expires_at: 101, ..credential };
    assert_eq!(prolonged.check(&admission, &updater, 101), Err(AdmissionError::Forged { updater }));
    let own = Credential::issue(&Round::updater(1), &updater, 200);
    assert_eq!(own.check(&admission, &updater, 100), Err(AdmissionError::Forged { updater }));
    assert_eq!(admission.check(&updater, None, 100), Err(AdmissionError::Missing { updater }));
    let list = Admission::List(vec![updater]);
    assert_eq!(list.check(&updater, None, 100), Ok(()));
    assert_eq!(list.check(&updater, Some(&own), 100), Ok(()), "only the list counts");
    let error = AdmissionError::NotListed { updater: other };
    assert_eq!(list.check(&other, Some(&credential), 100), Err(error));
}

#[test]
fn terms_that_make_no_sense_are_refused_by_name() {
    let (roster, _) = roster();
    let good = terms(&roster, 1);
    assert_eq!(good.check(), Ok(()));
    let with = |change: fn(&mut Terms)| {
        let mut terms = good.clone();
        change(&mut terms);
        terms.check().unwrap_err()
    };
    let config = |name: &str| name.parse::<crate::mask::MaskConfig>().unwrap().into();
    assert_eq!(with(|terms| terms.parameters.sum = 0.5), InvalidTerms::InvitesV1);
    assert_eq!(with(|terms| terms.parameters.update = 1.0), InvalidTerms::InvitesV1);
    let mut other = good.clone();
    other.parameters.mask_config = config("Prime/F32/B0/M3");
    assert!(matches!(other.check(), Err(InvalidTerms::MaskConfig(_))));
    other.parameters.mask_config = good.parameters.mask_config;
    other.parameters.mask_config.unit = config("Prime/F32/B0/M3").unit;
    assert!(matches!(other.check(), Err(InvalidTerms::MaskConfig(_))));
    assert_eq!(with(|terms| terms.parameters.model_length = 0), InvalidTerms::ModelLength(0));
    assert!(matches!(
        with(|terms| terms.parameters.model_length = u64::MAX),
        InvalidTerms::ModelLength(_)
    ));
    assert!(matches!(
        with(|terms| terms.n_min = 2),
        InvalidTerms::Updates { n_min: 2, most: 1000 }
    ));
    assert!(matches!(with(|terms| terms.n_min = 1001), InvalidTerms::Updates { n_min: 1001, .. }));
    let noisy = |multiplier_thousandths, clip| {
        let noise = Some(NoiseTerms { multiplier_thousandths, clip });
        Terms { noise, ..good.clone() }.check()
    };
    assert_eq!(noisy(1, 0.1), Ok(()));
    for (multiplier, clip) in
        [(0, 1.0), (1, 0.0), (1, -1.0), (1, f64::INFINITY), (1, f64::NAN), (1, 1e-310)]
    {
        assert!(
            matches!(noisy(multiplier, clip), Err(InvalidTerms::Noise(_))),
            "{multiplier} {clip}"
        );
    }
    let mut bound = good.clone();
    bound.noise = Some(NoiseTerms { multiplier_thousandths: 1, clip: 1.0 });
    bound.parameters.mask_config = config("Word64/F32/B2/M3");
    assert!(matches!(bound.check(), Err(InvalidTerms::NoiseConfig(_))));
    bound.parameters.mask_config = config("Word64/I32/B0/M3");
    assert!(matches!(bound.check(), Err(InvalidTerms::NoiseConfig(_))));
}

#[test]
fn rounds_from_the_future_and_from_long_ago_are_refused() {
    let (roster, _) = roster();
    let terms = terms(&roster, 1);
    let hour = Duration::from_secs(3600);
    let at = |now| terms.check_time(now, hour);
    let week = 7 * 24 * 3600;
    assert_eq!(at(OPENED_AT - 3600), Ok(()));
    let (opened_at, now) = (OPENED_AT, OPENED_AT - 3601);
    assert_eq!(at(now), Err(InvalidTerms::FromTheFuture { opened_at, now }));
    assert_eq!(at(OPENED_AT + week), Ok(()));
    let now = OPENED_AT + week + 1;
    assert_eq!(at(now), Err(InvalidTerms::Old { opened_at, now }));
    let never = Terms { opened_at: u64::MAX, ..terms.clone() };
    assert!(never.check_time(0, Duration::MAX).is_ok() && never.check_time(0, hour).is_err());
}

#[test]
fn every_field_of_the_terms_counts_for_the_context() {
    let (roster, _) = roster();
    let good = terms(&roster, 1);
    let noise = |multiplier_thousandths, clip| Some(NoiseTerms { multiplier_thousandths, clip });
    let mut parameters = good.parameters.clone();
    parameters.model_length += 1;
    let others = [
        Terms { roster: RosterHash::new([0; 32]), ..good.clone() },
        Terms { round: 2, ..good.clone() },
        Terms { parameters, ..good.clone() },
        Terms { opened_at: 0, ..good.clone() },
        Terms { model: Some(ModelHash::new([0; 32])), ..good.clone() },
        Terms { n_min: 4, ..good.clone() },
        Terms { noise: noise(1, 1.0), ..good.clone() },
        Terms { noise: noise(2, 1.0), ..good.clone() },
        Terms { noise: noise(1, 2.0), ..good.clone() },
    ];
    let mut contexts: Vec<_> = others.iter().map(Terms::context).chain([good.context()]).collect();
    contexts.sort();
    contexts.dedup();
    assert_eq!(contexts.len(), others.len() + 1);
}

#[test]
fn forged_and_replayed_announcements_are_refused() {
    let (round, other) = (Round::new(), Round::number(2));
    let list = round.announcements.list();
    let good = list[0];
    let (roster, context) = (&round.roster, &round.context);
    assert_eq!(good.verify(roster, context), Ok(()));
    let forged = Err(AnnouncementError::Signature(good.member));
    let key = other.announcements.list()[0];
    assert_eq!(good.verify(roster, &other.context), forged, "another context");
    assert_eq!(key.verify(roster, context), forged, "another round");
    let exchange = |change: fn(&mut Announcement, &Announcement)| {
        let mut announcement = good;
        change(&mut announcement, &key);
        assert_eq!(announcement.verify(roster, context), forged);
    };
    exchange(|own, other| own.encrypt_key = other.encrypt_key);
    exchange(|own, other| own.vote_key = other.vote_key);
    exchange(|own, other| own.signature = other.signature);
    let moved = Announcement { member: MemberId::new(0, 1), ..good };
    assert_eq!(moved.verify(roster, context), Err(AnnouncementError::Signature(moved.member)));
    for member in [MemberId::new(0, 3), MemberId::new(3, 0), MemberId::new(255, 255)] {
        let stranger = Announcement { member, ..good };
        assert_eq!(stranger.verify(roster, context), Err(AnnouncementError::NotInRoster(member)));
    }
    let keys = &round.members[&good.member];
    let weak = PublicEncryptKey::new([0; 32]);
    let weak = Announcement::sign(keys, context, good.member, weak, good.vote_key);
    let error = weak.verify(roster, context).unwrap_err();
    assert_eq!(error, AnnouncementError::WeakKey(good.member));
    assert_eq!(error.blame(), Blame::Member(good.member));
}

#[test]
fn announcements_need_a_majority_of_every_group() {
    let round = Round::new();
    let (roster, context) = (&round.roster, &round.context);
    assert_eq!(round.announcements.check(roster, context), Ok(()));
    let without = |gone: &[MemberId]| {
        let list = round.announcements.list().iter().copied();
        Announcements::new(list.filter(|one| !gone.contains(&one.member)).collect()).unwrap()
    };
    let id = MemberId::new;
    let minority_gone = without(&[id(0, 0), id(1, 2), id(2, 1)]);
    assert_eq!(minority_gone.check(roster, context), Ok(()));
    assert_ne!(minority_gone.digest(), round.l());
    let error = without(&[id(1, 0), id(1, 2)]).check(roster, context).unwrap_err();
    let AnnouncementsError::NoMajority(Lacking { group: 1, have: 1, need: 2 }) = error else {
        panic!("{error}")
    };
    assert_eq!(error.blame(), Blame::Coordinator);
    let empty = Announcements::new(Vec::new()).unwrap();
    assert!(matches!(empty.check(roster, context), Err(AnnouncementsError::NoMajority(_))));
    let twice = [round.announcements.list(), &round.announcements.list()[8..]].concat();
    assert_eq!(Announcements::new(twice), Err(AnnouncementsError::NotSorted));
    let mut forged = round.announcements.list().to_vec();
    forged[4].signature = forged[3].signature;
    let forged = Announcements::new(forged).unwrap();
    let error = AnnouncementError::Signature(id(1, 1)).into();
    assert_eq!(forged.check(roster, context), Err(error));
}

#[test]
fn commitments_and_streams_are_bound_to_all_that_they_name() {
    let (round, other) = (Round::new(), Round::number(2));
    let [a, b] = [1, 2].map(|number| Round::updater(number).public());
    let (seed, another) = (round.group_seed(1, 0), round.group_seed(1, 1));
    let cases = [
        (&round.context, round.l(), a, 0, &seed),
        (&other.context, round.l(), a, 0, &seed),
        (&round.context, other.l(), a, 0, &seed),
        (&round.context, round.l(), b, 0, &seed),
        (&round.context, round.l(), a, 1, &seed),
        (&round.context, round.l(), a, 0, &another),
    ];
    let mut seen: Vec<[u8; 32]> = Vec::new();
    for (context, l, updater, group, seed) in cases {
        seen.push(*commitment(context, &l, &updater, group, seed).as_bytes());
        seen.push(*stream_seed(context, &l, &updater, group, seed).as_bytes());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2 * cases.len());
}

#[test]
fn updates_that_break_a_rule_are_refused_by_name() {
    let round = Round::new();
    let verify =
        |header: &UpdateHeader| header.verify(&round.roster, &round.terms, &round.announcements);
    let good = round.header(0);
    let updater = good.updater;
    assert_eq!(verify(&good), Ok(()));
    let statement = Err(UpdateRefusal::Statement { updater });
    let with = |change: fn(&mut UpdateHeader)| {
        let mut header = good.clone();
        change(&mut header);
        verify(&header)
    };
    assert!(matches!(
        with(|header| header.commitments.truncate(2)),
        Err(UpdateRefusal::Commitments { found: 2, expected: 3, .. })
    ));
    assert!(matches!(
        with(|header| header.boxes.push(header.boxes[0])),
        Err(UpdateRefusal::Boxes { found: 10, expected: 9, .. })
    ));
    assert!(matches!(with(|header| header.object_len += 1), Err(UpdateRefusal::Length { .. })));
    assert!(matches!(
        with(|header| header.leaves.push(Digest::new([0; 32]))),
        Err(UpdateRefusal::Length { leaves: 2, .. })
    ));
    assert_eq!(with(|header| header.commitments.swap(0, 1)), statement);
    assert_eq!(with(|header| header.leaves[0] = Digest::new([0; 32])), statement);
    assert_eq!(with(|header| header.statement = Signature::new([0; 64])), statement);
    assert!(matches!(with(|header| header.credential = None), Err(UpdateRefusal::Admission(_))));
    let stolen = UpdateHeader { updater: Round::updater(1).public(), ..good.clone() };
    assert!(matches!(
        verify(&stolen),
        Err(UpdateRefusal::Admission(AdmissionError::Forged { .. }))
    ));
    // Admitted, but another's statement.
    let stolen = UpdateHeader { credential: round.header(1).credential, ..stolen };
    let error = verify(&stolen).unwrap_err();
    assert_eq!(error.blame(), Blame::Updater(stolen.updater));
    assert!(matches!(error, UpdateRefusal::Statement { .. }));
}

#[test]
fn a_statement_of_another_round_or_list_is_refused() {
    let (round, other) = (Round::new(), Round::number(2));
    let replayed = round.header(0);
    let error = replayed.verify(&other.roster, &other.terms, &other.announcements);
    assert!(matches!(error, Err(UpdateRefusal::Statement { .. })));
    // The same round with another list of as many announcements.
    let mut list = round.announcements.list().to_vec();
    let (id, keys) = (list[0].member, &round.members[&list[0].member]);
    let e = EncryptKeyPair::from_seed(&seed("another E", &[0])).public();
    list[0] = Announcement::sign(keys, &round.context, id, e, list[0].vote_key);
    let split = Announcements::new(list).unwrap();
    assert_eq!(split.check(&round.roster, &round.context), Ok(()));
    let error = replayed.verify(&round.roster, &round.terms, &split);
    assert!(matches!(error, Err(UpdateRefusal::Statement { .. })));
}

#[test]
fn an_expired_credential_is_told_by_updates_and_entries() {
    let round = Round::new();
    let mut header = round.header(0);
    header.credential = Some(Credential::issue(&authority(), &header.updater, OPENED_AT - 1));
    let error = header.verify(&round.roster, &round.terms, &round.announcements).unwrap_err();
    assert!(matches!(error, UpdateRefusal::Admission(AdmissionError::Expired { .. })), "{error}");
    assert_eq!(error.blame(), Blame::Authority);
    let entry = Entry::of(&header, round.announcements.position(MEMBER).unwrap()).unwrap();
    assert_eq!(round.check(&entry, MEMBER), Err(Accusation::Credential));
}

#[test]
fn a_member_finds_every_fault_of_an_entry() {
    let (round, other) = (Round::new(), Round::number(2));
    let good = round.entry(0, MEMBER);
    assert_eq!(round.check(&good, MEMBER), Ok(round.group_seed(0, MEMBER.group)));
    assert_eq!(Entry::of(&round.header(0), 9), None);
    let with = |change: &dyn Fn(&mut Entry)| {
        let mut entry = good.clone();
        change(&mut entry);
        round.check(&entry, MEMBER).unwrap_err()
    };
    let stranger = round.entry(1, MEMBER);
    // A box copied from another updater of the round opens, but holds a seed that this one has not committed to.
    assert_eq!(with(&|entry| entry.sealed = stranger.sealed), Accusation::Commitment);
    let of_group_0 = round.entry(0, MemberId::new(0, 0));
    assert_eq!(
        with(&|entry| entry.sealed = of_group_0.sealed),
        Accusation::Box,
        "another member's"
    );
    assert_eq!(with(&|entry| entry.sealed = other.entry(0, MEMBER).sealed), Accusation::Box);
    assert_eq!(with(&|entry| entry.sealed = SealedGroupSeed::new([0; 80])), Accusation::Box);
    assert_eq!(with(&|entry| entry.model_root = stranger.model_root), Accusation::Statement);
    assert_eq!(with(&|entry| entry.commitments.swap(0, 1)), Accusation::Statement);
    assert_eq!(with(&|entry| entry.commitments.truncate(2)), Accusation::Statement);
    assert_eq!(with(&|entry| entry.commitments.clear()), Accusation::Statement);
    assert_eq!(with(&|entry| entry.statement = stranger.statement), Accusation::Statement);
    assert_eq!(
        with(&|entry| entry.statement = other.entry(0, MEMBER).statement),
        Accusation::Statement
    );
    assert_eq!(with(&|entry| entry.credential = None), Accusation::Credential);
    assert_eq!(with(&|entry| entry.credential = stranger.credential), Accusation::Credential);
    assert_eq!(with(&|entry| entry.updater = stranger.updater), Accusation::Credential);
}

/// An updater that gives two members of a group different seeds is found by the one whose seed it has not committed to.
#[test]
fn inconsistent_seeds_are_found() {
    let round = Round::new();
    let mut header = round.header(0);
    let position = round.announcements.position(MEMBER).unwrap();
    let other: GroupSeed = seed("another seed", &[]).into();
    let e = round.announcements.list()[position].encrypt_key;
    let ephemeral = EncryptKeyPair::from_seed(&seed("ephemeral", &[77]));
    header.boxes[position] = SealedGroupSeed::seal(&other, &e, &ephemeral).unwrap();
    assert_eq!(header.verify(&round.roster, &round.terms, &round.announcements), Ok(()));
    let entry = Entry::of(&header, position).unwrap();
    assert_eq!(round.check(&entry, MEMBER), Err(Accusation::Commitment));
    let replica = MemberId::new(MEMBER.group, 0);
    let entry = Entry::of(&header, round.announcements.position(replica).unwrap()).unwrap();
    assert!(round.check(&entry, replica).is_ok());
}

#[test]
fn reports_are_signed_bounded_and_no_votes() {
    let (round, other) = (Round::new(), Round::number(2));
    let keys = &round.members[&MEMBER];
    let accuse = |count: u64| (0..count).map(|at| (Round::updater(at).public(), Accusation::Box));
    let sign =
        |count| Report::sign(keys, &round.context, &round.l(), MEMBER, accuse(count).collect());
    let verify = |report: &Report| report.verify(&round.roster, &round.context, &round.l());
    let report = sign(3);
    assert_eq!(verify(&report), Ok(()));
    assert_eq!(verify(&sign(0)), Ok(()), "an empty one is signed as well");
    assert_eq!(report.accusation(&Round::updater(1).public()), Some(Accusation::Box));
    assert_eq!(report.accusation(&Round::updater(9).public()), None);
    let forged = Err(ReportError::Signature(MEMBER));
    let mut changed = report.clone();
    changed.accused[0].1 = Accusation::Statement;
    assert_eq!(verify(&changed), forged);
    changed.accused.remove(0);
    assert_eq!(verify(&changed), forged);
    assert_eq!(report.verify(&round.roster, &other.context, &round.l()), forged);
    assert_eq!(report.verify(&round.roster, &round.context, &other.l()), forged);
    let member = MemberId::new(1, 1);
    let moved = Report { member, ..report.clone() };
    assert_eq!(verify(&moved), Err(ReportError::Signature(member)));
    let member = MemberId::new(7, 0);
    assert_eq!(verify(&Report { member, ..report.clone() }), Err(ReportError::NotInRoster(member)));
    // Neither is it a vote, nor a digest, whatever it is over.
    let decision = round.certificate().decision.digest();
    let vote = Vote { member: MEMBER, signature: report.signature };
    assert!(!vote.verify(&keys.public(), &decision));
    for (updates, limit) in [(0, 3), (3, 3), (399, 3), (400, 4), (10_000, 100)] {
        assert_eq!(Report::limit(updates), limit);
    }
    assert_eq!(report.check_limit(5), Ok(()));
    let error = sign(4).check_limit(399).unwrap_err();
    assert_eq!(error, ReportError::TooMany { member: MEMBER, accused: 4, limit: 3, updates: 399 });
    assert_eq!(error.blame(), Blame::Member(MEMBER));
    assert_eq!(sign(4).check_limit(400), Ok(()));
}

#[test]
fn a_report_names_each_updater_once() {
    let round = Round::new();
    let (a, b) = (Round::updater(0).public(), Round::updater(1).public());
    let accused =
        vec![(a, Accusation::Box), (b, Accusation::Statement), (a, Accusation::Commitment)];
    let report = Report::sign(&round.members[&MEMBER], &round.context, &round.l(), MEMBER, accused);
    assert_eq!(report.accused.len(), 2);
    assert_eq!(report.accusation(&a), Some(Accusation::Box));
    assert!(Report::from_bytes(&report.to_bytes()).is_ok());
}

#[test]
fn one_key_admitted_twice_makes_no_decision() {
    let round = Round::new();
    let (a, b) = (Round::updater(0).public(), Round::updater(1).public());
    let (low, high) = (a.min(b), a.max(b));
    let digest = Digest::new([0; 32]);
    let of = |updates: &[PublicSigningKey]| {
        Decision::of(round.context, round.l(), updates.iter().map(|key| (*key, digest)))
    };
    assert_eq!(of(&[low, high]).map(|decision| decision.count), Ok(2));
    assert_eq!(of(&[low, low]), Err(NotSorted(low)));
    assert_eq!(of(&[high, low]), Err(NotSorted(low)));
    assert_eq!(of(&[low, high, low]), Err(NotSorted(low)));
}

#[test]
fn a_decision_is_bound_to_round_list_and_every_statement() {
    let (round, other) = (Round::new(), Round::number(2));
    let headers: Vec<_> = (0..5).map(|number| round.header(number)).collect();
    let decision = round.decision(&headers);
    let mut changed = headers.clone();
    changed[2].statement = Signature::new([0; 64]);
    assert_eq!(round.decision(&changed), decision, "the signature is not in it, what is signed is");
    changed[2].leaves[0] = Digest::new([0; 32]);
    let digests = [
        decision,
        round.decision(&headers[..4]),
        round.decision(&changed),
        Decision { context: other.context, ..decision },
        Decision { announcements: other.l(), ..decision },
        Decision { count: 6, ..decision },
    ]
    .map(|decision| decision.digest());
    let unique: std::collections::BTreeSet<_> = digests.into_iter().collect();
    assert_eq!(unique.len(), digests.len());
}

#[test]
fn an_updater_sees_whether_it_is_included() {
    let round = Round::new();
    let mut headers: Vec<_> = (0..5).map(|number| round.header(number)).collect();
    headers.sort_by_key(|header| header.updater);
    let decision = round.decision(&headers);
    let digest = |header: &UpdateHeader| header.statement_digest(&round.context, &round.l());
    let leaf =
        |header: &UpdateHeader| merkle::leaf_hash(&decision_leaf(&header.updater, &digest(header)));
    let tree = merkle::Tree::new(headers.iter().map(leaf).collect());
    for (at, header) in headers.iter().enumerate() {
        let proof = tree.prove(at as u64).unwrap();
        assert!(decision.includes(&header.updater, &digest(header), &proof));
        let other = &headers[(at + 1) % 5];
        assert!(!decision.includes(&other.updater, &digest(other), &proof));
        assert!(
            !decision.includes(&header.updater, &digest(other), &proof),
            "another statement of its"
        );
        let of_another_size = merkle::InclusionProof { count: 6, ..proof };
        assert!(!decision.includes(&header.updater, &digest(header), &of_another_size));
    }
}

#[test]
fn a_view_shows_who_is_excluded_without_being_accused() {
    let round = Round::new();
    let keys: Vec<_> = (0..3).map(|number| Round::updater(number).public()).collect();
    let accused = vec![(keys[0], Accusation::Box)];
    let report = Report::sign(&round.members[&MEMBER], &round.context, &round.l(), MEMBER, accused);
    let mut excluded = keys[..2].to_vec();
    excluded.sort();
    let decision = round.certificate().decision;
    let set = SetView { decision, excluded, reports: vec![report] };
    assert_eq!(set.unaccused().collect::<Vec<_>>(), [keys[1]]);
}
