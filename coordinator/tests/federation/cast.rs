//! Members and updaters that do what the protocol says, by hand: what each of them sends can be changed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pet_coordinator::roster::RosterFile;
use pet_core::{
    crypto::{Digest, EncryptKeyPair, PublicSigningKey, Seed, Signature, SigningKeyPair},
    mask::{tree, KeyStream, MaskObject, MaskSum, Masker},
    model::{Model, Scalar},
    v2::{
        commitment, stream_seed, Accusation, Admission, Announcement, Announcements, Call,
        Credential, Decision, EntriesPage, Entry, Group, GroupMaskHeader, GroupSeed, MemberId,
        Phase, Post, Report, Roster, RoundView, SealedGroupSeed, SetView, Terms, UpdateHeader,
        UploadKey, Vote, Votes, TREE_LEAF,
    },
};

use super::server::Client;

pub fn seed(parts: &[u64]) -> Seed {
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
    Seed::new(*Digest::as_bytes(&pet_core::crypto::Blake2b::hash(&[&bytes])))
}

fn keys(kind: u64, number: u64) -> SigningKeyPair {
    SigningKeyPair::from_seed(&seed(&[kind, number]))
}

/// Everybody.
pub struct Cast {
    pub roster: Roster,
    pub members: Vec<Member>,
    pub updaters: Vec<SigningKeyPair>,
    pub authority: SigningKeyPair,
}

pub struct Member {
    pub id: MemberId,
    pub keys: SigningKeyPair,
}

impl Member {
    /// What it opens boxes with in a round.
    fn encrypt(&self, terms: &Terms) -> EncryptKeyPair {
        EncryptKeyPair::from_seed(&seed(&[3, self.number(), terms.round]))
    }

    /// What it votes with in a round.
    fn vote_keys(&self, terms: &Terms) -> SigningKeyPair {
        SigningKeyPair::from_seed(&seed(&[4, self.number(), terms.round]))
    }

    fn number(&self) -> u64 {
        u64::from(self.id.group) * 100 + u64::from(self.id.index)
    }

    pub fn announcement(&self, terms: &Terms) -> Announcement {
        let (e, v) = (self.encrypt(terms).public(), self.vote_keys(terms).public());
        Announcement::sign(&self.keys, &terms.context(), self.id, e, v)
    }

    /// The entries that it sees, and what it finds in each.
    pub fn check(
        &self,
        client: &Client,
        cast: &Cast,
        round: &Round,
    ) -> Vec<(Entry, Result<GroupSeed, Accusation>)> {
        let mut found = Vec::new();
        loop {
            let call = Call::Entries { member: self.id, from: found.len() as u64 };
            let page = EntriesPage::from_bytes(&client.done(&call)).unwrap();
            let (terms, keys) = (&round.terms, self.encrypt(&round.terms));
            for entry in page.entries {
                let (context, list) = (terms.context(), round.announcements.digest());
                let checked =
                    entry.check(&cast.roster, terms, &context, &list, self.id.group, &keys);
                found.push((entry, checked));
            }
            if found.len() as u64 == page.total {
                return found;
            }
        }
    }

    pub fn report(&self, round: &Round, accused: Vec<(PublicSigningKey, Accusation)>) -> Report {
        let (context, list) = (round.terms.context(), round.announcements.digest());
        Report::sign(&self.keys, &context, &list, self.id, accused)
    }

    pub fn vote(&self, terms: &Terms, decision: &Decision) -> Vote {
        Vote::sign(&self.vote_keys(terms), self.id, &decision.digest())
    }

    /// The sum of its group's masks over a set of updates.
    pub fn mask(&self, client: &Client, cast: &Cast, round: &Round, set: &SetView) -> Vec<u8> {
        let (terms, context) = (&round.terms, round.terms.context());
        let list = round.announcements.digest();
        let found = self.check(client, cast, round);
        let seeds = found.into_iter().filter(|(entry, _)| !set.excluded.contains(&entry.updater));
        let seeds = seeds.map(|(entry, seed)| {
            stream_seed(&context, &list, &entry.updater, self.id.group, &seed.unwrap())
        });
        let parameters = &terms.parameters;
        let mut sum = MaskSum::new(parameters.mask_config, parameters.model_length as usize);
        sum.add_seeds(seeds);
        while !sum.step(1 << 20) {}
        to_bytes(&sum.finish())
    }

    pub fn mask_header(&self, terms: &Terms, decision: &Decision, mask: &[u8]) -> GroupMaskHeader {
        let (context, decision) = (terms.context(), decision.digest());
        GroupMaskHeader::sign(
            &self.keys,
            &context,
            &decision,
            self.id,
            mask.len() as u64,
            leaves(mask),
        )
    }
}

fn to_bytes(mask: &MaskObject) -> Vec<u8> {
    mask.to_bytes().unwrap()
}

pub fn leaves(object: &[u8]) -> Vec<Digest> {
    object.chunks(TREE_LEAF).map(|leaf| Digest::new(tree::leaf(leaf))).collect()
}

/// A round as far as it is fixed.
pub struct Round {
    pub terms: Terms,
    pub announcements: Announcements,
}

impl Round {
    pub fn post(&self, body: impl Into<bytes::Bytes>) -> Post {
        Post::new(self.terms.context().tag(), body)
    }
}

/// An update as it is sent.
pub struct Update {
    pub header: UpdateHeader,
    pub sealed: Vec<u8>,
    pub chunks: Vec<Vec<u8>>,
}

/// What may be wrong with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// A member of group 0 gets another seed than was committed to.
    OtherSeed,
}

impl Cast {
    /// `groups` groups of `size` members, and some updaters; the roster is in the directory.
    pub fn new(dir: &Path, groups: u8, size: u8, updaters: u64) -> Self {
        let authority = keys(9, 0);
        let ids =
            (0..groups).flat_map(|group| (0..size).map(move |index| MemberId::new(group, index)));
        let members: Vec<Member> = ids
            .map(|id| Member { id, keys: keys(1, u64::from(id.group) * 100 + u64::from(id.index)) })
            .collect();
        let group = |number: usize| {
            let members = members.iter().filter(|member| usize::from(member.id.group) == number);
            Group::new(
                format!("group {number}"),
                members.map(|member| member.keys.public()).collect(),
            )
        };
        let groups = (0..usize::from(groups)).map(group).collect();
        let roster = Roster::new(groups, Admission::Authority(authority.public())).unwrap();
        let mut file = RosterFile::new(roster.clone());
        members.iter().for_each(|member| _ = file.sign(&member.keys).unwrap());
        fs::write(dir.join("roster.toml"), file.to_toml()).unwrap();
        let updaters = (0..updaters).map(|number| keys(2, number)).collect();
        Self { roster, members, updaters, authority }
    }

    /// The model of an updater: known, so that the mean is.
    pub fn weights(number: usize, length: usize) -> Vec<f32> {
        (0..length).map(|at| ((at + 7 * number) % 17) as f32 / 32.0 - 0.25).collect()
    }

    /// What an updater sends.
    pub fn update(&self, number: usize, round: &Round, length: usize, fault: Fault) -> Update {
        let (terms, context, list) =
            (&round.terms, round.terms.context(), round.announcements.digest());
        let keys = &self.updaters[number];
        let updater = keys.public();
        let number = number as u64;
        let groups = 0..self.roster.groups().len() as u8;
        let seeds: Vec<GroupSeed> = groups
            .map(|group| GroupSeed::from(seed(&[5, number, terms.round, u64::from(group)])))
            .collect();
        let of_group = |group: u8| &seeds[usize::from(group)];
        let streams: Vec<_> = (0..seeds.len() as u8)
            .map(|group| stream_seed(&context, &list, &updater, group, of_group(group)))
            .collect();
        let model = Arc::new(Model::F32(Self::weights(number as usize, length)));
        let config = terms.parameters.mask_config;
        let mut masker =
            Masker::behind_all(&[], 0, &streams, config, &Scalar::one(), model).unwrap();
        while !masker.step(1 << 20) {}
        let (object, _) = masker.finish().unwrap();
        let boxes = round.announcements.list().iter().enumerate().map(|(at, announcement)| {
            let MemberId { group, index } = announcement.member;
            let other = GroupSeed::from(seed(&[6]));
            let is_other = fault == Fault::OtherSeed && (group, index) == (0, 0);
            let sealed = if is_other { &other } else { of_group(group) };
            let ephemeral = EncryptKeyPair::from_seed(&seed(&[7, number, terms.round, at as u64]));
            SealedGroupSeed::seal(sealed, &announcement.encrypt_key, &ephemeral).unwrap()
        });
        let boxes = boxes.collect();
        let commitments = (0..seeds.len() as u8)
            .map(|group| commitment(&context, &list, &updater, group, of_group(group)))
            .collect();
        let mut header = UpdateHeader {
            updater,
            credential: Some(Credential::issue(&self.authority, &updater, u64::MAX)),
            commitments,
            object_len: object.len() as u64,
            leaves: leaves(&object),
            statement: Signature::new([0; 64]),
            boxes,
        };
        header.sign(keys, &context, &list);
        let ephemeral = EncryptKeyPair::from_seed(&seed(&[8, number, terms.round]));
        let sealed = terms.parameters.pk.seal(&header.to_bytes(), &ephemeral).unwrap();
        let key = UploadKey::of_sender(&ephemeral, &terms.parameters.pk).unwrap();
        let chunks = object.chunks(TREE_LEAF).enumerate().map(|(at, leaf)| {
            let mut chunk = leaf.to_vec();
            KeyStream::new(key.as_bytes(), at as u64).xor(0, &mut chunk);
            chunk
        });
        Update { header, sealed, chunks: chunks.collect() }
    }

    /// All members announce themselves.
    pub fn announce(&self, client: &Client) -> Terms {
        let terms = client.phase(Phase::Announce).terms.unwrap();
        for member in &self.members {
            self.announce_one(client, member, &terms);
        }
        terms
    }

    pub fn announce_one(&self, client: &Client, member: &Member, terms: &Terms) {
        let post = Post::new(terms.context().tag(), member.announcement(terms).to_bytes());
        client.done(&Call::Announce(post));
    }

    /// The round, once announcements are fixed.
    pub fn round(&self, client: &Client) -> Round {
        let view = client.until("the list of announcements", |view| view.announcements.is_some());
        let announcements = Announcements::from_bytes(&client.done(&Call::Announcements)).unwrap();
        let terms = view.terms.unwrap();
        announcements.check(&self.roster, &terms.context()).unwrap();
        Round { terms, announcements }
    }

    pub fn send(&self, client: &Client, round: &Round, update: &Update) {
        client.done(&Call::Update(round.post(update.sealed.clone())));
        for (index, chunk) in update.chunks.iter().enumerate() {
            client.done(&Self::chunk(round, update, index, chunk));
        }
    }

    pub fn chunk(round: &Round, update: &Update, index: usize, chunk: &[u8]) -> Call {
        Call::UpdateChunk {
            updater: update.header.updater,
            index: index as u32,
            post: round.post(chunk.to_vec()),
        }
    }

    /// All members report what they find.
    pub fn report(&self, client: &Client, round: &Round) {
        client.phase(Phase::Check);
        for member in &self.members {
            let found = member.check(client, self, round);
            let accused =
                found.into_iter().filter_map(|(entry, found)| Some((entry.updater, found.err()?)));
            let report = member.report(round, accused.collect());
            client.done(&Call::Report(round.post(report.to_bytes())));
        }
    }

    /// The set that is voted for, which must be what all entries but the excluded ones give.
    pub fn set(&self, client: &Client, round: &Round) -> SetView {
        client.until("the set", |view| view.decision.is_some());
        let set = SetView::from_bytes(&client.done(&Call::Set)).unwrap();
        let entries = self.members[0].check(client, self, round);
        let (context, list) = (round.terms.context(), round.announcements.digest());
        let statements: Vec<_> = entries
            .iter()
            .map(|(entry, _)| entry)
            .filter(|entry| !set.excluded.contains(&entry.updater))
            .map(|entry| (entry.updater, entry.statement_digest(&context, &list)))
            .collect();
        assert_eq!(set.decision, Decision::of(context, list, statements).unwrap());
        set
    }

    pub fn vote(&self, client: &Client, round: &Round, set: &SetView) {
        for member in &self.members {
            let vote = member.vote(&round.terms, &set.decision);
            client.done(&Call::Vote(round.post(vote.to_bytes())));
        }
    }

    /// Members send their masks, and the chunks that are asked for.
    pub fn send_masks(&self, client: &Client, round: &Round, set: &SetView) {
        let votes = Votes::from_bytes(&client.done(&Call::Votes)).unwrap();
        votes.check(&self.roster, &round.announcements, &set.decision.digest()).unwrap();
        let masks: Vec<_> =
            self.members.iter().map(|member| member.mask(client, self, round, set)).collect();
        for (member, mask) in self.members.iter().zip(&masks) {
            let header = member.mask_header(&round.terms, &set.decision, mask);
            client.done(&Call::Mask(round.post(header.to_bytes())));
        }
        self.send_wanted(client, round, |member| {
            masks[self.members.iter().position(|other| other.id == member).unwrap()].clone()
        });
    }

    /// Sends chunks as long as any are asked for.
    pub fn send_wanted(&self, client: &Client, round: &Round, mask: impl Fn(MemberId) -> Vec<u8>) {
        let is_over = |view: &RoundView| {
            view.terms.as_ref() != Some(&round.terms) || view.phase != Phase::Sum2
        };
        loop {
            let view =
                client.until("a wanted mask", |view| is_over(view) || !view.wanted.is_empty());
            if is_over(&view) {
                return;
            }
            for member in view.wanted {
                for (index, chunk) in mask(member).chunks(TREE_LEAF).enumerate() {
                    let post = round.post(chunk.to_vec());
                    let answer =
                        client.call(&Call::MaskChunk { member, index: index as u32, post });
                    let name = answer.problem.as_deref();
                    // It may be that another was asked meanwhile, or that it was over with this chunk.
                    assert!(
                        answer.status == 200
                            || matches!(name, Some("not_needed" | "other_round" | "wrong_phase")),
                        "{answer:?}"
                    );
                }
            }
        }
    }
}
