//! A round with three groups of three members and a few updaters, all of it derived from numbers.

use std::collections::BTreeMap;

use crate::crypto::{Digest, EncryptKeyPair, Seed, SigningKeyPair};
use crate::mask::{tree, MaskConfig};
use crate::round::RoundParameters;
use crate::v2::*;

/// A seed for a purpose: never the same for two.
pub fn seed(purpose: &str, numbers: &[u64]) -> Seed {
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Seed::new(*crate::crypto::sha256(&[purpose.as_bytes(), &numbers].concat()).as_bytes())
}

pub fn signer(purpose: &str, number: u64) -> SigningKeyPair {
    SigningKeyPair::from_seed(&seed(purpose, &[number]))
}

/// A round, with all of its secrets.
pub struct Round {
    pub roster: Roster,
    pub terms: Terms,
    pub context: Context,
    pub announcements: Announcements,
    pub members: BTreeMap<MemberId, SigningKeyPair>,
    pub encrypt_keys: BTreeMap<MemberId, EncryptKeyPair>,
    pub vote_keys: BTreeMap<MemberId, SigningKeyPair>,
}

pub const OPENED_AT: u64 = 1_800_000_000;

pub fn authority() -> SigningKeyPair {
    signer("authority", 0)
}

/// Three groups of three, with an authority.
pub fn roster() -> (Roster, BTreeMap<MemberId, SigningKeyPair>) {
    roster_of(3, 3)
}

pub fn roster_of(groups: u8, size: u8) -> (Roster, BTreeMap<MemberId, SigningKeyPair>) {
    let ids = (0..groups).flat_map(|group| (0..size).map(move |index| MemberId::new(group, index)));
    let members: BTreeMap<_, _> = ids
        .map(|id| (id, signer("member", u64::from(id.group) << 8 | u64::from(id.index))))
        .collect();
    let group = |group| {
        let of_group = members.iter().filter(|(id, _)| id.group == group);
        Group::new(format!("group {group}"), of_group.map(|(_, keys)| keys.public()).collect())
    };
    let groups = (0..groups).map(group).collect();
    let roster = Roster::new(groups, Admission::Authority(authority().public())).unwrap();
    (roster, members)
}

pub fn terms(roster: &Roster, round: u64) -> Terms {
    Terms {
        roster: roster.hash(),
        round,
        parameters: RoundParameters {
            pk: EncryptKeyPair::from_seed(&seed("coordinator", &[round])).public(),
            sum: 0.0,
            update: 0.0,
            seed: crate::crypto::RoundSeed::new([0; 32]),
            mask_config: "Word32/F32/B0/M3".parse::<MaskConfig>().unwrap().into(),
            model_length: 4,
        },
        opened_at: OPENED_AT,
        model: None,
        n_min: 3,
        noise: None,
    }
}

impl Round {
    pub fn new() -> Self {
        Self::number(1)
    }

    pub fn number(round: u64) -> Self {
        let (roster, members) = roster();
        let terms = terms(&roster, round);
        Self::with(roster, members, terms)
    }

    pub fn with(roster: Roster, members: BTreeMap<MemberId, SigningKeyPair>, terms: Terms) -> Self {
        let context = terms.context();
        let number = |id: &MemberId| [terms.round, id.group.into(), id.index.into()];
        let encrypt_keys: BTreeMap<_, _> = members
            .keys()
            .map(|id| (*id, EncryptKeyPair::from_seed(&seed("E", &number(id)))))
            .collect();
        let vote_keys: BTreeMap<_, _> = members
            .keys()
            .map(|id| (*id, SigningKeyPair::from_seed(&seed("V", &number(id)))))
            .collect();
        let announce = |(id, keys): (&MemberId, &SigningKeyPair)| {
            let (e, v) = (encrypt_keys[id].public(), vote_keys[id].public());
            Announcement::sign(keys, &context, *id, e, v)
        };
        let announcements = Announcements::new(members.iter().map(announce).collect()).unwrap();
        Self { roster, terms, context, announcements, members, encrypt_keys, vote_keys }
    }

    pub fn l(&self) -> AnnouncementsHash {
        self.announcements.digest()
    }

    pub fn updater(number: u64) -> SigningKeyPair {
        signer("updater", number)
    }

    /// What an updater gives to a group.
    pub fn group_seed(&self, number: u64, group: u8) -> GroupSeed {
        seed("group seed", &[self.terms.round, number, group.into()]).into()
    }

    /// An updater's honest header, for a masked model of these bytes.
    pub fn header_of(&self, number: u64, masked: &[u8]) -> UpdateHeader {
        let keys = Self::updater(number);
        let updater = keys.public();
        let group_seeds: Vec<GroupSeed> = (0..self.roster.groups().len())
            .map(|group| self.group_seed(number, group as u8))
            .collect();
        let commit = |(group, seed): (usize, &GroupSeed)| {
            commitment(&self.context, &self.l(), &updater, group as u8, seed)
        };
        let seal = |announcement: &Announcement| {
            let MemberId { group, index } = announcement.member;
            let place = [self.terms.round, number, group.into(), index.into()];
            let ephemeral = EncryptKeyPair::from_seed(&seed("ephemeral", &place));
            let seed = &group_seeds[usize::from(group)];
            SealedGroupSeed::seal(seed, &announcement.encrypt_key, &ephemeral).unwrap()
        };
        let mut header = UpdateHeader {
            updater,
            credential: Some(Credential::issue(&authority(), &updater, OPENED_AT + 10)),
            commitments: group_seeds.iter().enumerate().map(commit).collect(),
            object_len: masked.len() as u64,
            leaves: tree::leaf_hashes(masked).map(Digest::new).collect(),
            statement: crate::crypto::Signature::new([0; 64]),
            boxes: self.announcements.list().iter().map(seal).collect(),
        };
        header.sign(&keys, &self.context, &self.l());
        header
    }

    /// The same for a masked model that is nonsense.
    pub fn header(&self, number: u64) -> UpdateHeader {
        self.header_of(number, &vec![number as u8; self.terms.object_len() as usize])
    }

    /// What a member sees of an update.
    pub fn entry(&self, number: u64, member: MemberId) -> Entry {
        let position = self.announcements.position(member).unwrap();
        Entry::of(&self.header(number), position).unwrap()
    }

    pub fn check(&self, entry: &Entry, member: MemberId) -> Result<GroupSeed, Accusation> {
        let keys = &self.encrypt_keys[&member];
        let (roster, terms) = (&self.roster, &self.terms);
        entry.check(roster, terms, &self.context, &self.l(), member.group, keys)
    }

    /// The decision for these updates.
    pub fn decision(&self, headers: &[UpdateHeader]) -> Decision {
        let digest = |header: &UpdateHeader| header.statement_digest(&self.context, &self.l());
        let mut updates: Vec<_> =
            headers.iter().map(|header| (header.updater, digest(header))).collect();
        updates.sort();
        Decision::of(self.context, self.l(), updates).unwrap()
    }

    pub fn vote(&self, member: MemberId, decision: &Decision) -> Vote {
        Vote::sign(&self.vote_keys[&member], member, &decision.digest())
    }

    pub fn mask_digest(&self, member: MemberId, decision: &Decision, digest: Digest) -> MaskDigest {
        let keys = &self.members[&member];
        MaskDigest::sign(keys, &self.context, &decision.digest(), member, digest)
    }

    /// The certificate that everyone has voted for, and signed these masks of the groups.
    pub fn certificate_of(&self, decision: Decision, masks: &[Digest]) -> Certificate {
        let ids = || self.members.keys().copied();
        let votes = ids().map(|id| self.vote(id, &decision)).collect();
        let digests =
            ids().map(|id| self.mask_digest(id, &decision, masks[usize::from(id.group)])).collect();
        Certificate {
            terms: self.terms.clone(),
            announcements: self.announcements.clone(),
            decision,
            votes: Votes::new(votes).unwrap(),
            masks: MaskDigests::new(digests).unwrap(),
        }
    }

    /// The same for five updates, and masks that are nonsense.
    pub fn certificate(&self) -> Certificate {
        let headers: Vec<_> = (0..5).map(|number| self.header(number)).collect();
        let masks: Vec<_> = (0..3).map(|group| Digest::new([group; 32])).collect();
        self.certificate_of(self.decision(&headers), &masks)
    }

    pub fn pin(&self) -> Pin {
        Pin::new(self.roster.hash(), 3)
    }
}
