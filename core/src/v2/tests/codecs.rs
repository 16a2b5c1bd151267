//! Every value is read as what was written; damaged bytes are another value or a typed error.

use std::fmt::Debug;

use proptest::prelude::*;

use super::fixture::*;
use crate::crypto::{Digest, PublicSigningKey, Signature, SigningKeyPair};
use crate::v2::merkle::{InclusionProof, Tree};
use crate::v2::*;

type Bytes = Vec<u8>;
/// Reads bytes as one kind of value, and writes what was read.
type Again = fn(&[u8]) -> Result<Bytes, DecodeError>;

/// One value of each kind as bytes, with how to read it and write it again.
fn values() -> Vec<(&'static str, Bytes, Again)> {
    macro_rules! kind {
        ($name:ident, $value:expr) => {{
            let value: $name = $value;
            let bytes = value.to_bytes();
            assert_eq!($name::from_bytes(&bytes).as_ref(), Ok(&value), stringify!($name));
            assert_serde(&value);
            let again: Again = |bytes| $name::from_bytes(bytes).map(|value| value.to_bytes());
            (stringify!($name), bytes, again)
        }};
    }
    let round = Round::new();
    let member = MemberId::new(1, 2);
    let certificate = round.certificate();
    let decision = certificate.decision;
    let (header, entry) = (round.header(0), round.entry(0, member));
    let list =
        Admission::List(vec![PublicSigningKey::new([1; 32]), PublicSigningKey::new([2; 32])]);
    let mut headers: Vec<_> = (0..4).map(|number| round.header(number)).collect();
    headers.sort_by_key(|header| header.updater);
    let entries = headers.iter().map(|header| Entry::of(header, 5).unwrap()).collect();
    let report = report(&round, member, 3);
    let leaves = (0..7).map(|at| Digest::new([at; 32])).collect();
    let mask = GroupMaskHeader::sign(
        &round.members[&member],
        &round.context,
        &decision.digest(),
        member,
        round.terms.object_len(),
        vec![Digest::new([9; 32])],
    );
    let noise = Some(NoiseTerms { multiplier_thousandths: 8000, clip: 1.5 });
    let model = Some(ModelHash::new([4; 32]));
    vec![
        kind!(Roster, round.roster.clone()),
        kind!(Roster, Roster::new(round.roster.groups().to_vec(), list).unwrap()),
        kind!(Credential, header.credential.unwrap()),
        kind!(Terms, round.terms.clone()),
        kind!(Terms, Terms { noise, model, ..round.terms.clone() }),
        kind!(Announcement, round.announcements.list()[0]),
        kind!(Announcements, round.announcements.clone()),
        kind!(UpdateHeader, header.clone()),
        kind!(UpdateHeader, UpdateHeader { credential: None, ..header.clone() }),
        kind!(Entry, entry.clone()),
        kind!(EntriesPage, EntriesPage { context: round.context, total: 9, from: 5, entries }),
        kind!(Statement, Statement::of(&header)),
        kind!(
            StatementsPage,
            StatementsPage {
                context: round.context,
                total: 4,
                from: 0,
                statements: headers.iter().map(Statement::of).collect(),
            }
        ),
        kind!(Report, report.clone()),
        kind!(Report, self::report(&round, member, 0)),
        kind!(Decision, decision),
        kind!(InclusionProof, Tree::new(leaves).prove(4).unwrap()),
        kind!(Vote, certificate.votes.list()[0]),
        kind!(Votes, certificate.votes.clone()),
        kind!(MaskDigest, certificate.masks.list()[0]),
        kind!(MaskDigests, certificate.masks.clone()),
        kind!(GroupMaskHeader, mask),
        kind!(Certificate, certificate.clone()),
        kind!(RoundView, RoundView::idle()),
        kind!(
            RoundView,
            RoundView {
                phase: Phase::Sum2,
                terms: Some(round.terms.clone()),
                announced: 9,
                announcements: Some(round.l()),
                entries: 5,
                reported: vec![MemberId::new(0, 1), member],
                excluded: 1,
                decision: Some(decision.digest()),
                voted: vec![member],
                certified: true,
                masked: vec![member],
                wanted: vec![member],
                completed: Some(7),
                failure: Some("too few updates: 2 of 3 \u{e9}".into()),
            }
        ),
        kind!(
            SetView,
            SetView {
                decision,
                excluded: report.accused.iter().map(|(updater, _)| *updater).collect(),
                reports: vec![report],
            }
        ),
    ]
}

fn report(round: &Round, member: MemberId, accused: u64) -> Report {
    let accuse = |at: u64| (Round::updater(at).public(), Accusation::ALL[at as usize % 4]);
    let accused = (0..accused).map(accuse).collect();
    Report::sign(&round.members[&member], &round.context, &round.l(), member, accused)
}

fn assert_serde<T>(value: &T)
where
    T: serde::Serialize + for<'a> serde::Deserialize<'a> + PartialEq + Debug,
{
    let bytes = bincode::serialize(value).unwrap();
    assert_eq!(&bincode::deserialize::<T>(&bytes).unwrap(), value);
    assert!(bincode::deserialize::<T>(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn whatever_is_cut_off_or_added_is_refused() {
    for (name, bytes, again) in values() {
        for length in 0..bytes.len() {
            assert!(again(&bytes[..length]).is_err(), "{name} cut to {length} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(again(&longer).is_err(), "{name} with a byte more");
    }
}

#[test]
fn another_version_is_refused_by_name() {
    for (name, mut bytes, again) in values() {
        for found in [0, 1, 3, 255] {
            bytes[0] = found;
            let error = again(&bytes).unwrap_err();
            let expected = matches!(error, DecodeError::UnknownVersion { found: f, known: 2, .. } if f == found);
            assert!(expected, "{name}: {error}");
        }
    }
}

/// What is read is written back byte for byte: no value has two forms.
#[test]
fn no_value_has_two_forms() {
    for (name, bytes, again) in values() {
        assert_eq!(again(&bytes).as_ref(), Ok(&bytes), "{name}");
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                if let Ok(written) = again(&damaged) {
                    assert_eq!(written, damaged, "{name}, byte {at}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), versioned: bool) {
        let mut bytes = bytes;
        if let (true, Some(first)) = (versioned, bytes.first_mut()) {
            *first = VERSION;
        }
        for (name, _, again) in values_once() {
            if let Ok(written) = again(&bytes) {
                prop_assert_eq!(&written, &bytes, "{}", name);
            }
        }
    }

    #[test]
    fn damaged_values_are_read_or_refused(
        which: proptest::sample::Index,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let (name, bytes, again) = which.get(values_once());
        let mut damaged = bytes.clone();
        for (at, byte) in damage {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        if let Some(cut) = cut {
            damaged.truncate(cut.index(damaged.len()));
        }
        if let Ok(written) = again(&damaged) {
            prop_assert_eq!(written, damaged, "{}", name);
        }
    }

    #[test]
    fn rosters_round_trip(groups in 1u8..=16, half in 0u8..=15) {
        let (roster, _) = quick_roster(groups, 2 * half + 1);
        let read = Roster::from_bytes(&roster.to_bytes()).unwrap();
        prop_assert_eq!(read.hash(), roster.hash());
        prop_assert_eq!(read, roster);
    }

    #[test]
    fn terms_round_trip(
        round: u64, opened_at: u64, n_min: u64,
        model in proptest::option::of(any::<[u8; 32]>()),
        noise in proptest::option::of((any::<u32>(), any::<f64>())),
    ) {
        let (roster, _) = quick_roster(1, 1);
        let noise = noise.map(|(multiplier_thousandths, clip)| NoiseTerms { multiplier_thousandths, clip });
        let model = model.map(ModelHash::new);
        let terms = Terms { round, opened_at, n_min, model, noise, ..terms(&roster, 0) };
        let read = Terms::from_bytes(&terms.to_bytes()).unwrap();
        prop_assert_eq!(read.context(), terms.context());
        prop_assert_eq!(read, terms);
    }

    #[test]
    fn reports_round_trip(mut accused in proptest::collection::btree_map(any::<[u8; 32]>(), 0usize..4, 0..20)) {
        let accused: Vec<_> = std::mem::take(&mut accused)
            .into_iter()
            .map(|(key, reason)| (PublicSigningKey::new(key), Accusation::ALL[reason]))
            .collect();
        let report = Report { member: MemberId::new(0, 0), accused, signature: Signature::new([1; 64]) };
        prop_assert_eq!(Report::from_bytes(&report.to_bytes()), Ok(report));
    }
}

/// The values once for all cases: signing takes its time.
fn values_once() -> &'static Vec<(&'static str, Bytes, Again)> {
    static VALUES: std::sync::OnceLock<Vec<(&'static str, Bytes, Again)>> =
        std::sync::OnceLock::new();
    VALUES.get_or_init(values)
}

/// A roster of keys that nobody has.
fn quick_roster(groups: u8, size: u8) -> (Roster, SigningKeyPair) {
    let key = |group: u8, index: u8| {
        let mut key = [0; 32];
        (key[0], key[1]) = (group, index);
        PublicSigningKey::new(key)
    };
    let group = |group: u8| {
        Group::new(format!("{group}"), (0..size).map(|index| key(group, index)).collect())
    };
    let keys = authority();
    let admission = Admission::Authority(keys.public());
    (Roster::new((0..groups).map(group).collect(), admission).unwrap(), keys)
}

#[test]
fn an_entry_has_at_most_400_bytes() {
    let round = Round::new();
    let length = |entries: usize| {
        let mut headers: Vec<_> = (0..entries as u64).map(|number| round.header(number)).collect();
        headers.sort_by_key(|header| header.updater);
        let entries = headers.iter().map(|header| Entry::of(header, 0).unwrap()).collect();
        EntriesPage { context: round.context, total: 9, from: 0, entries }.to_bytes().len()
    };
    let entry = length(2) - length(1);
    assert_eq!(entry, 378);
    assert!(entry <= 400);
}

#[test]
fn lists_that_are_not_sorted_are_refused() {
    let round = Round::new();
    let swapped = |mut bytes: Bytes, header: usize, length: usize| {
        let (first, second) = bytes[header..].split_at_mut(length);
        first.swap_with_slice(&mut second[..length]);
        bytes
    };
    let certificate = round.certificate();
    let announcements = swapped(round.announcements.to_bytes(), 5, Announcement::LENGTH);
    let error = Announcements::from_bytes(&announcements).unwrap_err();
    assert!(error.to_string().contains("not sorted"), "{error}");
    assert!(Votes::from_bytes(&swapped(certificate.votes.to_bytes(), 5, 67)).is_err());
    assert!(MaskDigests::from_bytes(&swapped(certificate.masks.to_bytes(), 5, 99)).is_err());
    let report = report(&round, MemberId::new(0, 0), 2);
    assert!(Report::from_bytes(&swapped(report.to_bytes(), 7, 33)).is_err());
    let (entry, other) = (round.entry(0, MemberId::new(0, 0)), round.entry(1, MemberId::new(0, 0)));
    for entries in [vec![entry.clone(), entry.clone()], {
        let mut falling = vec![entry, other];
        falling.sort_by_key(|entry| std::cmp::Reverse(entry.updater));
        falling
    }] {
        let page = EntriesPage { context: round.context, total: 2, from: 0, entries };
        let error = EntriesPage::from_bytes(&page.to_bytes()).unwrap_err();
        assert!(error.to_string().contains("an updater twice"), "{error}");
    }
}

#[test]
fn a_page_beyond_its_total_is_refused() {
    let round = Round::new();
    let entries = vec![round.entry(0, MemberId::new(0, 0))];
    for (from, total) in [(0, 0), (5, 5), (u64::MAX, u64::MAX)] {
        let page = EntriesPage { context: round.context, total, from, entries: entries.clone() };
        assert!(EntriesPage::from_bytes(&page.to_bytes()).is_err(), "{from} of {total}");
    }
}

#[test]
fn a_long_failure_is_cut_at_a_character() {
    let failure = Some("\u{e9}".repeat(600));
    let view = RoundView { failure, ..RoundView::idle() };
    let read = RoundView::from_bytes(&view.to_bytes()).unwrap();
    assert_eq!(read.failure, Some("\u{e9}".repeat(500)));
}
