//! Attack 3, second half: certificates of minorities, of another round, of other announcements; and the control, in which
//! who does not look at majorities takes them.

use pet_core::crypto::Digest;
use pet_core::v2::{
    Certificate, CertificateError, Decision, MaskDigest, MaskDigestError, MaskDigests, MemberId,
    PinError, Terms, Votes, VotesError,
};
use pet_testing::v2::by_hand::{list, Committee, HandMember, HandUpdate, Round};

const LENGTH: u64 = 4;

/// What the members and updaters of a federation of three groups of three have signed by the end of a round.
struct Signed {
    committee: Committee,
    terms: Terms,
    hands: Vec<HandMember>,
    updates: Vec<HandUpdate>,
}

impl Signed {
    fn new(round: u64) -> Self {
        let committee = Committee::new(3, 3, 5);
        let terms = committee.terms(round, LENGTH);
        let hands = committee.hands();
        let mut signed = Self { committee, terms, hands, updates: Vec::new() };
        let list = signed.list();
        let Self { committee, terms, .. } = &signed;
        let round = Round { committee, terms, list: &list };
        let updates = (0..5).map(|i| round.update(i, &[0.1 * i as f32; 4])).collect();
        signed.updates = updates;
        signed
    }

    fn list(&self) -> pet_core::v2::Announcements {
        list(self.hands.iter().map(|hand| hand.announce(&self.terms.context())).collect())
    }

    /// The certificate for the first so many updates, with the votes and masks of these members.
    fn certificate(&self, count: usize, who: impl Fn(MemberId) -> bool) -> Certificate {
        let list = self.list();
        let round = Round { committee: &self.committee, terms: &self.terms, list: &list };
        let included: Vec<&HandUpdate> = self.updates[..count].iter().collect();
        let decision = round.decision(&included).unwrap();
        let voters = || self.hands.iter().filter(|hand| who(hand.id));
        let votes = voters().map(|hand| hand.vote(&decision)).collect();
        let masks = voters().map(|hand| self.mask(hand, &decision, 0)).collect();
        Certificate {
            terms: self.terms.clone(),
            announcements: list,
            decision,
            votes: Votes::new(votes).unwrap(),
            masks: MaskDigests::new(masks).unwrap(),
        }
    }

    fn mask(&self, hand: &HandMember, decision: &Decision, lie: u8) -> MaskDigest {
        let digest = Digest::new([hand.id.group ^ lie; 32]);
        MaskDigest::sign(&hand.keys, &self.terms.context(), &decision.digest(), hand.id, digest)
    }

    fn verify(&self, certificate: &Certificate) -> Result<(), CertificateError> {
        certificate.verify(&self.committee.roster, &self.committee.pin()).map(|_| ())
    }
}

fn all(_: MemberId) -> bool {
    true
}

#[test]
fn majorities_of_every_group_certify() {
    let signed = Signed::new(1);
    assert_eq!(signed.verify(&signed.certificate(5, all)), Ok(()));
    // One of each group may be missing.
    for missing in 0..3 {
        assert_eq!(signed.verify(&signed.certificate(5, |id| id.index != missing)), Ok(()));
    }
}

#[test]
fn minorities_certify_nothing() {
    let signed = Signed::new(1);
    for group in 0..3 {
        // Two members of one group are missing: seven of nine have voted, and that is not enough.
        let certificate = signed.certificate(5, |id| id.group != group || id.index == 0);
        let error = signed.verify(&certificate).unwrap_err();
        let CertificateError::Votes(VotesError::NoMajority(lacking)) = error else {
            panic!("{error}")
        };
        assert_eq!((lacking.group, lacking.have, lacking.need), (group, 1, 2));
    }
    // A majority is one of the roster, not of those who were there: of a group in which one member has announced itself
    // that one is none.
    let alone = |id: MemberId| id.group != 1 || id.index == 2;
    let mut certificate = signed.certificate(5, alone);
    let announced = certificate.announcements.list().iter().copied();
    certificate.announcements = list(announced.filter(|own| alone(own.member)).collect());
    certificate.decision.announcements = certificate.announcements.digest();
    let decision = certificate.decision;
    let votes = signed.hands.iter().filter(|hand| alone(hand.id)).map(|hand| hand.vote(&decision));
    certificate.votes = Votes::new(votes.collect()).unwrap();
    let error = signed.verify(&certificate).unwrap_err();
    assert!(matches!(error, CertificateError::Announcements(_)), "{error}");
}

/// The control: who counts votes of all groups together takes a decision that a whole group has not seen.
#[test]
fn counted_over_all_groups_a_minority_certifies() {
    let signed = Signed::new(1);
    let certificate = signed.certificate(5, |id| id.group != 1);
    assert!(signed.verify(&certificate).is_err());
    let votes = certificate.votes.list();
    let good = votes.iter().filter(|vote| {
        Votes::check_one(vote, &certificate.announcements, &certificate.decision.digest()).is_ok()
    });
    assert!(2 * good.count() > signed.hands.len(), "a majority of all nine");
}

#[test]
fn votes_are_counted_under_the_announced_keys_only() {
    let signed = Signed::new(1);
    let good = signed.certificate(5, all);
    // A member that was started anew has another vote key: its vote is worth nothing in this list.
    let mut votes = good.votes.list().to_vec();
    let restarted = HandMember::new(&signed.committee, MemberId::new(1, 0), 1);
    votes[3] = restarted.vote(&good.decision);
    let certificate = Certificate { votes: Votes::new(votes).unwrap(), ..good.clone() };
    let expected = VotesError::Signature(MemberId::new(1, 0)).into();
    assert_eq!(signed.verify(&certificate), Err(expected));
    // Nor is one for another set.
    let other = signed.certificate(4, all);
    let certificate = Certificate { votes: other.votes, ..good };
    assert!(matches!(signed.verify(&certificate), Err(CertificateError::Votes(_))));
}

#[test]
fn certificates_of_another_round_are_refused() {
    let (first, second) = (Signed::new(1), Signed::new(2));
    let (old, new) = (first.certificate(5, all), second.certificate(5, all));
    assert_eq!(second.verify(&new), Ok(()));
    // The old decision under the new terms.
    let passed_on = Certificate { terms: new.terms.clone(), ..old.clone() };
    let error = second.verify(&passed_on).unwrap_err();
    assert!(matches!(error, CertificateError::OtherRound { .. }), "{error}");
    // With the new announcements and a decision that says so, but the old votes and masks.
    let passed_on = Certificate { votes: old.votes.clone(), ..new.clone() };
    assert!(matches!(second.verify(&passed_on), Err(CertificateError::Votes(_))));
    let passed_on = Certificate { masks: old.masks.clone(), ..new.clone() };
    let error = second.verify(&passed_on).unwrap_err();
    assert_eq!(error, MaskDigestError::Signature(MemberId::new(0, 0)).into());
    let passed_on = Certificate { announcements: old.announcements, ..new };
    let error = second.verify(&passed_on).unwrap_err();
    assert!(matches!(error, CertificateError::OtherAnnouncements { .. }), "{error}");
}

#[test]
fn fewer_updates_than_pinned_are_refused() {
    let signed = Signed::new(1);
    let certificate = signed.certificate(2, all);
    let error = signed.verify(&certificate).unwrap_err();
    assert_eq!(error, CertificateError::TooFewUpdates { count: 2, least: 3 });
    let mut pin = signed.committee.pin();
    pin.n_min = 6;
    let error = signed.certificate(5, all).verify(&signed.committee.roster, &pin).unwrap_err();
    assert_eq!(error, PinError::Updates { pinned: 6, found: 3 }.into());
    let roster = Committee::new(3, 1, 0).roster;
    let error = signed.certificate(5, all).verify(&roster, &pin).unwrap_err();
    assert!(matches!(error, CertificateError::Pin(PinError::Roster { .. })), "{error}");
}

#[test]
fn a_mask_needs_a_majority_of_its_group() {
    let signed = Signed::new(1);
    let good = signed.certificate(5, all);
    let lies = |liars: &[u8]| {
        let mask = |hand: &HandMember| {
            let lie = u8::from(hand.id.group == 2 && liars.contains(&hand.id.index));
            signed.mask(hand, &good.decision, 0x80 * lie)
        };
        let masks = MaskDigests::new(signed.hands.iter().map(mask).collect()).unwrap();
        Certificate { masks, ..good.clone() }
    };
    let winners = lies(&[1]).verify(&signed.committee.roster, &signed.committee.pin()).unwrap();
    assert_eq!(winners[2], Digest::new([2; 32]), "one liar is outvoted");
    // Two liars have the mask that they like: the sum of a round is only as good as each group's majority.
    let winners = lies(&[0, 1]).verify(&signed.committee.roster, &signed.committee.pin()).unwrap();
    assert_eq!(winners[2], Digest::new([2 ^ 0x80; 32]));
}
