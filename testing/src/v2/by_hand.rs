//! A committee whose keys are all at hand, and updates that are written by hand: right ones, and, after a change of a field,
//! wrong ones.

use pet_core::crypto::{
    Digest, EncryptKeyPair, PublicSigningKey, RootSeed, RoundSeed, Seed, Signature, SigningKeyPair,
};
use pet_core::mask::tree;
use pet_core::mask::{derive_mask, MaskConfig, MaskConfigPair, MaskObject, MaskSum, Masker};
use pet_core::model::{Model, Scalar};
use pet_core::round::RoundParameters;
use pet_core::v2::{
    commitment, stream_seed, Admission, Announcement, Announcements, AnnouncementsHash, Commitment,
    Context, Credential, Decision, Entry, Group, GroupSeed, MemberId, NotSorted, Pin, Roster,
    SealedGroupSeed, Terms, UpdateHeader, Vote,
};

/// When rounds made by hand are opened, in seconds since the Unix epoch.
pub const OPENED_AT: u64 = 1_800_000_000;

/// The mask config of rounds made by hand, unless something else is asked for.
///
/// # Panics
/// Never.
pub fn config() -> MaskConfigPair {
    "Word32/F32/B0/M3".parse::<MaskConfig>().expect("a config").into()
}

fn bytes(kind: u8, number: u64) -> [u8; 32] {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// A seed for this purpose and number.
pub fn seed(kind: u8, number: u64) -> Seed {
    Seed::new(bytes(kind, number))
}

/// A root seed for this purpose and number.
pub fn root(kind: u8, number: u64) -> RootSeed {
    RootSeed::new(bytes(kind, number))
}

/// Groups, updaters and an authority, with all their keys.
#[derive(Debug, Clone)]
pub struct Committee {
    /// Who takes part.
    pub roster: Roster,
    /// The members' roster keys, by group.
    pub members: Vec<Vec<SigningKeyPair>>,
    /// The updaters' keys, sorted by the public ones.
    pub updaters: Vec<SigningKeyPair>,
    /// The admission authority's keys.
    pub authority: SigningKeyPair,
}

impl Committee {
    /// So many groups of so many members, and so many updaters.
    ///
    /// # Panics
    /// If there is no such roster.
    pub fn new(groups: usize, members: usize, updaters: usize) -> Self {
        let keys = |kind, number| SigningKeyPair::from_seed(&seed(kind, number as u64));
        let members: Vec<Vec<_>> = (0..groups)
            .map(|group| (0..members).map(|index| keys(1, 100 * group + index)).collect())
            .collect();
        let mut updaters: Vec<_> = (0..updaters).map(|updater| keys(2, updater)).collect();
        updaters.sort_by_key(SigningKeyPair::public);
        let authority = keys(3, 0);
        let list = members.iter().enumerate().map(|(group, members)| {
            Group::new(
                format!("group {group}"),
                members.iter().map(SigningKeyPair::public).collect(),
            )
        });
        let admission = Admission::Authority(authority.public());
        let roster = Roster::new(list.collect(), admission).expect("a good roster");
        Self { roster, members, updaters, authority }
    }

    /// A member's roster keys.
    pub fn member(&self, member: MemberId) -> &SigningKeyPair {
        &self.members[usize::from(member.group)][usize::from(member.index)]
    }

    /// All members.
    pub fn ids(&self) -> Vec<MemberId> {
        self.roster.members().map(|(member, _)| member).collect()
    }

    /// What participants pin.
    pub fn pin(&self) -> Pin {
        Pin::new(self.roster.hash(), 3)
    }

    /// An updater's credential, good for a day.
    pub fn credential(&self, updater: usize) -> Credential {
        let key = self.updaters[updater].public();
        Credential::issue(&self.authority, &key, OPENED_AT + 86_400)
    }

    /// Terms of a round with models of so many weights.
    pub fn terms(&self, round: u64, length: u64) -> Terms {
        let parameters = RoundParameters {
            pk: EncryptKeyPair::from_seed(&seed(4, round)).public(),
            sum: 0.0,
            update: 0.0,
            seed: RoundSeed::new([5; 32]),
            mask_config: config(),
            model_length: length,
        };
        Terms {
            roster: self.roster.hash(),
            round,
            parameters,
            opened_at: OPENED_AT,
            model: None,
            n_min: 3,
            noise: None,
        }
    }

    /// Members who do by hand what they like, one for each.
    pub fn hands(&self) -> Vec<HandMember> {
        self.ids().into_iter().map(|member| HandMember::new(self, member, 0)).collect()
    }
}

/// A member by hand: it does what a test says.
#[derive(Debug, Clone)]
pub struct HandMember {
    /// Which.
    pub id: MemberId,
    /// Its roster keys.
    pub keys: SigningKeyPair,
    /// What seeds are sealed to.
    pub encrypt: EncryptKeyPair,
    /// What it votes with.
    pub vote: SigningKeyPair,
}

impl HandMember {
    /// This member; others `boots` have other vote keys.
    pub fn new(committee: &Committee, id: MemberId, boot: u64) -> Self {
        let number = u64::from(id.group) * 100 + u64::from(id.index);
        Self {
            id,
            keys: committee.member(id).clone(),
            encrypt: EncryptKeyPair::from_seed(&seed(6, number)),
            vote: SigningKeyPair::from_seed(&seed(7, 10_000 * boot + number)),
        }
    }

    /// Its announcement in a round.
    pub fn announce(&self, context: &Context) -> Announcement {
        let (encrypt, vote) = (self.encrypt.public(), self.vote.public());
        Announcement::sign(&self.keys, context, self.id, encrypt, vote)
    }

    /// Its vote.
    pub fn vote(&self, decision: &Decision) -> Vote {
        Vote::sign(&self.vote, self.id, &decision.digest())
    }
}

/// The list of announcements of these.
///
/// # Panics
/// If a member is there twice.
pub fn list(mut announcements: Vec<Announcement>) -> Announcements {
    announcements.sort_by_key(|announcement| announcement.member);
    Announcements::new(announcements).expect("each once")
}

/// An update by hand, with all its secrets.
#[derive(Debug, Clone)]
pub struct HandUpdate {
    /// What is uploaded first.
    pub header: UpdateHeader,
    /// The masked model.
    pub object: Vec<u8>,
    /// The seed for each group.
    pub seeds: Vec<GroupSeed>,
    keys: SigningKeyPair,
    context: Context,
    announcements: AnnouncementsHash,
}

/// How a round's updates are made.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// Who takes part.
    pub committee: &'a Committee,
    /// The terms.
    pub terms: &'a Terms,
    /// The announcements.
    pub list: &'a Announcements,
}

impl Round<'_> {
    /// The update of this updater with these weights.
    ///
    /// # Panics
    /// If the weights are not those of the terms.
    pub fn update(&self, updater: usize, weights: &[f32]) -> HandUpdate {
        let model = Model::F32(weights.to_vec());
        self.update_with(updater, &model, 0)
    }

    /// The same with any model, and with seeds of which there are as many as there are numbers.
    ///
    /// # Panics
    /// If the model does not go with the terms.
    pub fn update_with(&self, updater: usize, model: &Model, number: u64) -> HandUpdate {
        let Self { committee, terms, list } = *self;
        let keys = committee.updaters[updater].clone();
        let (context, announcements) = (terms.context(), list.digest());
        let groups = 0..committee.roster.groups().len() as u8;
        let number = |group: u8| number * 1_000_000 + updater as u64 * 100 + u64::from(group);
        let seeds: Vec<GroupSeed> =
            groups.clone().map(|group| GroupSeed::from(seed(8, number(group)))).collect();
        let streams: Vec<_> = groups
            .clone()
            .map(|group| {
                let seed = &seeds[usize::from(group)];
                stream_seed(&context, &announcements, &keys.public(), group, seed)
            })
            .collect();
        let config = terms.parameters.mask_config;
        let masker =
            Masker::behind_all(&[], 0, &streams, config, &Scalar::one(), model.clone().into());
        let (object, _) = masker.expect("word groups").finish().expect("finite weights");
        let mut update = HandUpdate {
            header: UpdateHeader {
                updater: keys.public(),
                credential: Some(committee.credential(updater)),
                commitments: Vec::new(),
                object_len: object.len() as u64,
                leaves: tree::leaf_hashes(&object).map(Digest::new).collect(),
                statement: Signature::new([0; 64]),
                boxes: Vec::new(),
            },
            object,
            seeds,
            keys,
            context,
            announcements,
        };
        update.header.commitments = groups.map(|group| update.commitment(group)).collect();
        update.header.boxes = list
            .list()
            .iter()
            .map(|announcement| {
                let seed = &update.seeds[usize::from(announcement.member.group)];
                update.sealed(announcement, seed)
            })
            .collect();
        update.sign();
        update
    }

    /// The sum of a group's streams for these updates: what its members should send.
    pub fn mask(&self, group: u8, updates: &[&HandUpdate]) -> MaskObject {
        let parameters = &self.terms.parameters;
        let mut sum = MaskSum::new(parameters.mask_config, parameters.model_length as usize);
        sum.add_seeds(updates.iter().map(|update| update.stream(group)));
        sum.finish()
    }

    /// The decision for these updates, which must be sorted by updater.
    ///
    /// # Errors
    /// If they are not.
    pub fn decision(&self, updates: &[&HandUpdate]) -> Result<Decision, NotSorted> {
        let leaves = updates.iter().map(|update| (update.key(), update.statement_digest()));
        Decision::of(self.terms.context(), self.list.digest(), leaves)
    }

    /// What this member sees of these updates.
    ///
    /// # Panics
    /// If it is not in the list.
    pub fn entries(&self, member: MemberId, updates: &[&HandUpdate]) -> Vec<Entry> {
        let position = self.list.position(member).expect("it has announced itself");
        updates.iter().map(|update| Entry::of(&update.header, position).expect("a box")).collect()
    }
}

impl HandUpdate {
    /// Whose it is.
    pub fn key(&self) -> PublicSigningKey {
        self.header.updater
    }

    /// The stream seed of a group.
    pub fn stream(&self, group: u8) -> pet_core::mask::MaskSeed {
        let seed = &self.seeds[usize::from(group)];
        stream_seed(&self.context, &self.announcements, &self.key(), group, seed)
    }

    /// The stream itself, as a mask object.
    pub fn stream_of(&self, group: u8, config: MaskConfigPair, length: usize) -> MaskObject {
        derive_mask(&self.stream(group), config, length)
    }

    fn commitment(&self, group: u8) -> Commitment {
        let seed = &self.seeds[usize::from(group)];
        commitment(&self.context, &self.announcements, &self.key(), group, seed)
    }

    /// A seed, sealed for this member.
    ///
    /// # Panics
    /// If the member's key is weak.
    pub fn sealed(&self, announcement: &Announcement, value: &GroupSeed) -> SealedGroupSeed {
        let MemberId { group, index } = announcement.member;
        let mut ephemeral = *value.as_bytes();
        ephemeral[0] ^= group.wrapping_mul(31).wrapping_add(index) | 0x80;
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new(ephemeral));
        SealedGroupSeed::seal(value, &announcement.encrypt_key, &ephemeral).expect("a good key")
    }

    /// Signs the statement over what the header says now.
    pub fn sign(&mut self) {
        self.header.sign(&self.keys, &self.context, &self.announcements);
    }

    /// What the statement is a signature over.
    pub fn statement_digest(&self) -> Digest {
        self.header.statement_digest(&self.context, &self.announcements)
    }
}
