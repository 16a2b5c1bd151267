//! A certificate that does not hold is refused by name, whatever is wrong with it.

use super::fixture::*;
use crate::crypto::Digest;
use crate::v2::*;

const MEMBER: MemberId = MemberId::new(1, 2);

fn verify(round: &Round, certificate: &Certificate) -> Result<Vec<Digest>, CertificateError> {
    certificate.verify(&round.roster, &round.pin())
}

#[test]
fn the_digests_that_win_are_told() {
    let round = Round::new();
    let expected = (0..3).map(|group| Digest::new([group; 32])).collect();
    assert_eq!(verify(&round, &round.certificate()), Ok(expected));
}

#[test]
fn a_pin_decides() {
    let round = Round::new();
    let certificate = round.certificate();
    let with = |pin: Pin| certificate.verify(&round.roster, &pin);
    let pinned = RosterHash::new([7; 32]);
    let found = round.roster.hash();
    let error = with(Pin::new(pinned, 3)).unwrap_err();
    assert_eq!(error, PinError::Roster { pinned, found }.into());
    assert_eq!(error.blame(), Blame::Coordinator);
    let error = with(Pin::new(found, 4)).unwrap_err();
    assert_eq!(error, PinError::Updates { pinned: 4, found: 3 }.into());
    let error = with(Pin::new(found, 2)).unwrap_err();
    assert_eq!(error, PinError::TooFew(2).into());
    assert_eq!(error.blame(), Blame::Settings);
    let error = with(round.pin().with_budget(Budget::new(1.0, 1e-5))).unwrap_err();
    assert_eq!(error, PinError::NoNoise.into(), "no budget lasts without noise");
    for (epsilon, delta) in
        [(0.0, 0.1), (f64::NAN, 0.1), (f64::INFINITY, 0.1), (1.0, 0.0), (1.0, 1.0)]
    {
        let error = with(round.pin().with_budget(Budget::new(epsilon, delta)));
        assert!(matches!(error, Err(CertificateError::Pin(PinError::Budget(_)))));
    }
    let noise = Some(NoiseTerms { multiplier_thousandths: 4000, clip: 1.0 });
    let (roster, members) = roster();
    let noisy = Round::with(roster, members, Terms { noise, ..round.terms.clone() });
    let pin = noisy.pin().with_budget(Budget::new(1.0, 1e-5));
    assert!(noisy.certificate().verify(&noisy.roster, &pin).is_ok());
}

#[test]
fn another_roster_is_refused_even_with_its_pin() {
    let round = Round::new();
    let (other, _) = roster_of(3, 1);
    let pin = Pin::new(other.hash(), 3);
    let error = round.certificate().verify(&other, &pin).unwrap_err();
    assert!(matches!(error, CertificateError::Pin(PinError::Roster { .. })));
    let error = round.certificate().verify_without_pin(&other, 3).unwrap_err();
    assert_eq!(error, CertificateError::OtherRoster);
}

#[test]
fn parts_of_another_round_are_refused() {
    let (round, other) = (Round::new(), Round::number(2));
    let (good, foreign) = (round.certificate(), other.certificate());
    let terms = Certificate { terms: foreign.terms.clone(), ..good.clone() };
    assert!(matches!(verify(&round, &terms), Err(CertificateError::OtherRound { .. })));
    let decision = Certificate { decision: foreign.decision, ..good.clone() };
    assert!(matches!(verify(&round, &decision), Err(CertificateError::OtherRound { .. })));
    let list = Certificate { announcements: foreign.announcements.clone(), ..good.clone() };
    assert!(matches!(verify(&round, &list), Err(CertificateError::OtherAnnouncements { .. })));
    let votes = Certificate { votes: foreign.votes.clone(), ..good.clone() };
    let error = VotesError::Signature(MemberId::new(0, 0)).into();
    assert_eq!(verify(&round, &votes), Err(error));
    let masks = Certificate { masks: foreign.masks.clone(), ..good.clone() };
    let error = MaskDigestError::Signature(MemberId::new(0, 0)).into();
    assert_eq!(verify(&round, &masks), Err(error));
    // A decision that names this round, with the announcements of the other.
    let decision = Decision { announcements: other.l(), ..good.decision };
    let announcements = other.announcements.clone();
    let mixed = Certificate { decision, announcements, ..good.clone() };
    let error = verify(&round, &mixed).unwrap_err();
    assert!(matches!(error, CertificateError::Announcements(_)), "{error}");
}

#[test]
fn few_updates_are_refused_whoever_voted_for_them() {
    let round = Round::new();
    let headers: Vec<_> = (0..2).map(|number| round.header(number)).collect();
    let masks = [Digest::new([0; 32]); 3];
    let certificate = round.certificate_of(round.decision(&headers), &masks);
    let error = CertificateError::TooFewUpdates { count: 2, least: 3 };
    assert_eq!(verify(&round, &certificate), Err(error.clone()));
    assert_eq!(certificate.verify_without_pin(&round.roster, 0), Err(error));
}

#[test]
fn a_minority_of_any_group_does_not_certify() {
    let round = Round::new();
    let good = round.certificate();
    let without = |gone: &[MemberId]| {
        let votes = good.votes.list().iter().copied();
        let votes = votes.filter(|vote| !gone.contains(&vote.member)).collect();
        let votes = Votes::new(votes).unwrap();
        verify(&round, &Certificate { votes, ..good.clone() })
    };
    let id = MemberId::new;
    assert!(without(&[id(0, 0), id(1, 1), id(2, 2)]).is_ok());
    for group in 0..3 {
        let error = without(&[id(group, 0), id(group, 2)]).unwrap_err();
        let CertificateError::Votes(VotesError::NoMajority(lacking)) = error else {
            panic!("{error}")
        };
        assert_eq!((lacking.group, lacking.have, lacking.need), (group, 1, 2));
    }
}

#[test]
fn wrong_votes_are_refused() {
    let round = Round::new();
    let good = round.certificate();
    let digest = good.decision.digest();
    let with = |at: usize, vote: Vote| {
        let mut votes = good.votes.list().to_vec();
        votes[at] = vote;
        let votes = Votes::new(votes).map_err(CertificateError::from)?;
        verify(&round, &Certificate { votes, ..good.clone() })
    };
    let at = good.votes.list().iter().position(|vote| vote.member == MEMBER).unwrap();
    let wrong = Err(VotesError::Signature(MEMBER).into());
    // Signed with the roster key: reports and digests are, votes are not.
    assert_eq!(with(at, Vote::sign(&round.members[&MEMBER], MEMBER, &digest)), wrong);
    // For another decision.
    let other = Decision { count: 4, ..good.decision };
    assert_eq!(with(at, round.vote(MEMBER, &other)), wrong);
    // Another member's.
    let other = good.votes.list()[0];
    assert_eq!(with(at, Vote { member: MEMBER, ..other }), wrong);
    assert_eq!(with(at, other), Err(VotesError::NotSorted.into()));
    let twice = [good.votes.list(), &good.votes.list()[8..]].concat();
    assert_eq!(Votes::new(twice), Err(VotesError::NotSorted));
    let stranger = MemberId::new(2, 7);
    let error = Err(VotesError::NotAnnounced(stranger).into());
    assert_eq!(with(8, Vote { member: stranger, ..other }), error);
}

/// Who announces another's vote key gets no vote out of it: a vote names its member.
#[test]
fn anothers_vote_does_not_count_twice() {
    let round = Round::new();
    let (victim, thief) = (MemberId::new(0, 0), MemberId::new(1, 0));
    let mut list = round.announcements.list().to_vec();
    let place = round.announcements.position(thief).unwrap();
    let keys = &round.members[&thief];
    let v = round.vote_keys[&victim].public();
    list[place] = Announcement::sign(keys, &round.context, thief, list[place].encrypt_key, v);
    let announcements = Announcements::new(list).unwrap();
    assert_eq!(announcements.check(&round.roster, &round.context), Ok(()));
    let decision =
        Decision { announcements: announcements.digest(), ..round.certificate().decision };
    let vote = round.vote(victim, &decision);
    let check = |vote| Votes::check_one(&vote, &announcements, &decision.digest());
    assert_eq!(check(vote), Ok(()));
    assert_eq!(check(Vote { member: thief, ..vote }), Err(VotesError::Signature(thief)));
}

/// A member that has not announced itself in the list has no vote, whatever it signs.
#[test]
fn who_is_not_in_the_list_has_no_vote() {
    let round = Round::new();
    let list = round.announcements.list().iter().copied();
    let shorter = Announcements::new(list.filter(|one| one.member != MEMBER).collect()).unwrap();
    let decision = Decision { announcements: shorter.digest(), ..round.certificate().decision };
    let error = Votes::check_one(&round.vote(MEMBER, &decision), &shorter, &decision.digest());
    assert_eq!(error, Err(VotesError::NotAnnounced(MEMBER)));
}

#[test]
fn the_mask_with_a_majority_wins_and_a_liar_is_seen() {
    let round = Round::new();
    let good = round.certificate();
    let lie = Digest::new([99; 32]);
    let with = |liars: &[MemberId], gone: &[MemberId]| {
        let digests = good.masks.list().iter().filter(|mask| !gone.contains(&mask.member));
        let lie = |mask: &MaskDigest| match liars.contains(&mask.member) {
            true => round.mask_digest(mask.member, &good.decision, lie),
            false => *mask,
        };
        let masks = MaskDigests::new(digests.map(lie).collect()).unwrap();
        verify(&round, &Certificate { masks, ..good.clone() })
    };
    let id = MemberId::new;
    let truth: Vec<_> = (0..3).map(|group| Digest::new([group; 32])).collect();
    assert_eq!(with(&[id(0, 0), id(2, 2)], &[id(1, 1)]), Ok(truth));
    let error = with(&[id(1, 0)], &[id(1, 2)]).unwrap_err();
    assert_eq!(error, MaskDigestError::NoMajority { group: 1, have: 1, need: 2 }.into());
    // A majority that lies is believed: it is the whole group's word.
    assert_eq!(with(&[id(1, 0), id(1, 1)], &[]).unwrap()[1], lie);
    let error = with(&[], &[id(2, 0), id(2, 1), id(2, 2)]).unwrap_err();
    assert_eq!(error, MaskDigestError::NoMajority { group: 2, have: 0, need: 2 }.into());
    let list = good.masks.list();
    let twice = [list, &list[8..]].concat();
    assert_eq!(MaskDigests::new(twice), Err(MaskDigestError::NotSorted));
}

#[test]
fn a_masks_digest_of_something_else_is_refused() {
    let (round, other) = (Round::new(), Round::number(2));
    let good = round.certificate();
    let decision = good.decision.digest();
    let digest = good.masks.list()[5];
    let verify = |digest: &MaskDigest| digest.verify(&round.roster, &round.context, &decision);
    assert_eq!(verify(&digest), Ok(()));
    let wrong = Err(MaskDigestError::Signature(digest.member));
    assert_eq!(digest.verify(&round.roster, &other.context, &decision), wrong);
    let another = Decision { count: 4, ..good.decision }.digest();
    assert_eq!(digest.verify(&round.roster, &round.context, &another), wrong);
    assert_eq!(verify(&MaskDigest { digest: Digest::new([0; 32]), ..digest }), wrong);
    let member = MemberId::new(0, 2);
    assert_eq!(verify(&MaskDigest { member, ..digest }), Err(MaskDigestError::Signature(member)));
    let member = MemberId::new(0, 3);
    assert_eq!(verify(&MaskDigest { member, ..digest }), Err(MaskDigestError::NotInRoster(member)));
}

#[test]
fn a_masks_header_is_bound_to_its_leaves() {
    let round = Round::new();
    let decision = round.certificate().decision.digest();
    let (keys, length) = (&round.members[&MEMBER], round.terms.object_len());
    let sign = |leaves: Vec<Digest>, length| {
        GroupMaskHeader::sign(keys, &round.context, &decision, MEMBER, length, leaves)
    };
    let verify = |header: &GroupMaskHeader| header.verify(&round.roster, &round.terms, &decision);
    let leaf = Digest::new([1; 32]);
    let good = sign(vec![leaf], length);
    assert_eq!(verify(&good), Ok(()));
    let changed = GroupMaskHeader { leaves: vec![Digest::new([2; 32])], ..good.clone() };
    assert_eq!(verify(&changed), Err(MaskDigestError::Signature(MEMBER)));
    for header in [sign(vec![leaf; 2], length), sign(vec![], length), sign(vec![leaf], length + 1)]
    {
        let error = verify(&header).unwrap_err();
        assert!(matches!(error, MaskDigestError::Length { .. }), "{error}");
        assert_eq!(error.blame(), Blame::Member(MEMBER));
    }
    // The hash of a masked model with the same leaves is another one.
    assert_ne!(group_mask_root(length, &[leaf]), model_root(length, &[leaf]));
}
