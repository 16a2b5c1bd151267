//! Members and updaters, as far as a coordinator sees them: what they send is made here by hand.

use bytes::Bytes;

use crate::crypto::{
    Digest, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, Seed, SigningKeyPair,
};
use crate::mask::{tree, KeyStream, MaskConfigPair, MaskSeed, MaskSum, Masker};
use crate::model::{Model, Scalar};
use crate::v2::coordinator::Front;
use crate::v2::*;

/// How many groups there are, and how many members in each.
pub(super) const GROUPS: u8 = 2;
pub(super) const MEMBERS: u8 = 3;

pub(super) fn members() -> impl Iterator<Item = MemberId> + Clone {
    (0..GROUPS).flat_map(|group| (0..MEMBERS).map(move |index| MemberId::new(group, index)))
}

fn seed(kind: u8, number: u16) -> Seed {
    let mut bytes = [kind; 32];
    bytes[..2].copy_from_slice(&number.to_le_bytes());
    Seed::new(bytes)
}

fn number(member: MemberId) -> u16 {
    u16::from(member.group) * 100 + u16::from(member.index)
}

pub(super) fn authority() -> SigningKeyPair {
    SigningKeyPair::from_seed(&seed(9, 0))
}

pub(super) fn roster() -> Roster {
    let key = |group, index| Member(MemberId::new(group, index)).keys().public();
    let group = |group| {
        Group::new(format!("group {group}"), (0..MEMBERS).map(|index| key(group, index)).collect())
    };
    let admission = Admission::Authority(authority().public());
    Roster::new((0..GROUPS).map(group).collect(), admission).unwrap()
}

/// The same members in groups that are called something else: another roster.
pub(super) fn other_roster() -> Roster {
    let roster = roster();
    let renamed = |group: &Group| Group::new(format!("new {}", group.name), group.members.clone());
    let groups = roster.groups().iter().map(renamed).collect();
    Roster::new(groups, roster.admission().clone()).unwrap()
}

/// What everybody sees of the round.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) terms: Terms,
    pub(super) context: Context,
    pub(super) announcements: Option<Announcements>,
    pub(super) set: Option<SetView>,
}

fn body(front: &Front, call: Call) -> Option<Bytes> {
    let response = front.answer(&call).respond(|_| None).unwrap();
    (response.status == 200).then_some(response.body)
}

impl Seen {
    pub(super) fn of(front: &Front) -> Self {
        let terms =
            RoundView::from_bytes(&body(front, Call::Round).unwrap()).unwrap().terms.unwrap();
        let announcements = body(front, Call::Announcements);
        let set = body(front, Call::Set);
        Self {
            context: terms.context(),
            terms,
            announcements: announcements.map(|bytes| Announcements::from_bytes(&bytes).unwrap()),
            set: set.map(|bytes| SetView::from_bytes(&bytes).unwrap()),
        }
    }

    fn list(&self) -> AnnouncementsHash {
        self.announcements.as_ref().map_or(AnnouncementsHash::new([0; 32]), Announcements::digest)
    }

    fn config(&self) -> MaskConfigPair {
        self.terms.parameters.mask_config
    }

    fn length(&self) -> usize {
        self.terms.parameters.model_length as usize
    }

    pub(super) fn post(&self, body: impl Into<Bytes>) -> Post {
        Post::new(self.context.tag(), body)
    }
}

/// A member of a group.
#[derive(Clone, Copy)]
pub(super) struct Member(pub(super) MemberId);

impl Member {
    pub(super) fn keys(self) -> SigningKeyPair {
        SigningKeyPair::from_seed(&seed(1, number(self.0)))
    }

    fn encrypt_keys(self) -> EncryptKeyPair {
        EncryptKeyPair::from_seed(&seed(2, number(self.0)))
    }

    fn vote_keys(self) -> SigningKeyPair {
        SigningKeyPair::from_seed(&seed(3, number(self.0)))
    }

    pub(super) fn announce(self, seen: &Seen) -> Call {
        self.announce_with(seen, self.vote_keys().public())
    }

    pub(super) fn announce_with(self, seen: &Seen, vote_key: PublicSigningKey) -> Call {
        let encrypt_key = self.encrypt_keys().public();
        let announcement =
            Announcement::sign(&self.keys(), &seen.context, self.0, encrypt_key, vote_key);
        Call::Announce(seen.post(announcement.to_bytes()))
    }

    pub(super) fn report(self, seen: &Seen, accused: &[PublicSigningKey]) -> Call {
        let accused = accused.iter().map(|updater| (*updater, Accusation::Box)).collect();
        let report = Report::sign(&self.keys(), &seen.context, &seen.list(), self.0, accused);
        Call::Report(seen.post(report.to_bytes()))
    }

    pub(super) fn vote(self, seen: &Seen) -> Call {
        let decision = seen.set.as_ref().unwrap().decision.digest();
        Call::Vote(seen.post(Vote::sign(&self.vote_keys(), self.0, &decision).to_bytes()))
    }

    /// The mask of the group over these updaters.
    pub(super) fn mask(self, seen: &Seen, updaters: &[Updater]) -> Bytes {
        let mut sum = MaskSum::new(seen.config(), seen.length());
        sum.add_seeds(updaters.iter().map(|updater| updater.stream(seen, self.0.group)));
        sum.finish().to_bytes().unwrap().into()
    }

    pub(super) fn mask_header(self, seen: &Seen, mask: &Bytes) -> Call {
        let decision = seen.set.as_ref().unwrap().decision.digest();
        let (leaves, len) = (leaves(mask), mask.len() as u64);
        let header =
            GroupMaskHeader::sign(&self.keys(), &seen.context, &decision, self.0, len, leaves);
        Call::Mask(seen.post(header.to_bytes()))
    }

    pub(super) fn mask_chunk(self, seen: &Seen, mask: &Bytes, index: u32) -> Call {
        let chunk = mask.chunks(TREE_LEAF).nth(index as usize).unwrap_or_default().to_vec();
        Call::MaskChunk { member: self.0, index, post: seen.post(chunk) }
    }
}

fn leaves(object: &[u8]) -> Vec<Digest> {
    tree::leaf_hashes(object).map(Digest::new).collect()
}

/// An updater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Updater(pub(super) u16);

impl Updater {
    pub(super) fn keys(self) -> SigningKeyPair {
        SigningKeyPair::from_seed(&seed(4, self.0))
    }

    pub(super) fn key(self) -> PublicSigningKey {
        self.keys().public()
    }

    /// Every weight of its model.
    pub(super) fn weight(self) -> f32 {
        f32::from(self.0 % 8) / 8.0
    }

    fn group_seed(self, group: u8) -> GroupSeed {
        seed(10 + group, self.0).into()
    }

    pub(super) fn stream(self, seen: &Seen, group: u8) -> MaskSeed {
        stream_seed(&seen.context, &seen.list(), &self.key(), group, &self.group_seed(group))
    }

    /// The masked model.
    pub(super) fn masked(self, seen: &Seen) -> Bytes {
        self.masked_with(seen, self.weight())
    }

    pub(super) fn masked_with(self, seen: &Seen, weight: f32) -> Bytes {
        let seeds: Vec<_> = (0..GROUPS).map(|group| self.stream(seen, group)).collect();
        let model = std::sync::Arc::new(Model::F32(vec![weight; seen.length()]));
        let masker = Masker::behind_all(&[], 0, &seeds, seen.config(), &Scalar::one(), model);
        masker.unwrap().finish().unwrap().0.into()
    }

    pub(super) fn header(self, seen: &Seen, masked: &[u8]) -> UpdateHeader {
        let (context, list) = (&seen.context, seen.list());
        let commit =
            |group| commitment(context, &list, &self.key(), group, &self.group_seed(group));
        let announced = seen.announcements.as_ref().map_or(&[][..], Announcements::list);
        let seal = |announcement: &Announcement| {
            let ephemeral = EncryptKeyPair::from_seed(&seed(20, self.0));
            let group_seed = self.group_seed(announcement.member.group);
            SealedGroupSeed::seal(&group_seed, &announcement.encrypt_key, &ephemeral).unwrap()
        };
        let mut header = UpdateHeader {
            updater: self.key(),
            credential: Some(Credential::issue(&authority(), &self.key(), u64::MAX)),
            commitments: (0..GROUPS).map(commit).collect(),
            object_len: masked.len() as u64,
            leaves: leaves(masked),
            statement: crate::crypto::Signature::new([0; 64]),
            boxes: announced.iter().map(seal).collect(),
        };
        header.sign(&self.keys(), context, &list);
        header
    }

    /// The pair that the upload is sealed with, the first time or when it is sealed anew.
    fn ephemeral(self, time: u8) -> EncryptKeyPair {
        EncryptKeyPair::from_seed(&seed(30 + time, self.0))
    }

    pub(super) fn send_header(self, seen: &Seen, header: &UpdateHeader, time: u8) -> Call {
        let coordinator: PublicEncryptKey = seen.terms.parameters.pk;
        let sealed = coordinator.seal(&header.to_bytes(), &self.ephemeral(time)).unwrap();
        Call::Update(seen.post(sealed))
    }

    pub(super) fn send_chunk(self, seen: &Seen, masked: &[u8], index: u32, time: u8) -> Call {
        let coordinator = seen.terms.parameters.pk;
        let key = UploadKey::of_sender(&self.ephemeral(time), &coordinator).unwrap();
        let mut chunk = masked.chunks(TREE_LEAF).nth(index as usize).unwrap_or_default().to_vec();
        KeyStream::new(key.as_bytes(), u64::from(index)).xor(0, &mut chunk);
        Call::UpdateChunk { updater: self.key(), index, post: seen.post(chunk) }
    }
}
