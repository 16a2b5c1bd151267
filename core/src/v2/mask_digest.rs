//! What members say about the mask of their group.

use thiserror::Error;

use super::error::{Blame, DecodeError};
use super::hash::{hash, Context, DecisionHash, Label};
use super::roster::{MemberId, Roster, MOST_GROUPS, MOST_MEMBERS};
use super::statement::{leaf_count, read_leaves, tree_root, write_leaves};
use super::terms::Terms;
use super::wire::{is_rising, serde_as_bytes, Reader, Writer};
use crate::crypto::{Digest, Signature, SigningKeyPair};

/// The tree hash of a group's mask.
pub fn group_mask_root(object_len: u64, leaves: &[Digest]) -> Digest {
    tree_root(Label::GroupMask, object_len, leaves)
}

/// A member's word for the mask of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskDigest {
    /// Whose word it is.
    pub member: MemberId,
    /// The [tree hash](group_mask_root) of the mask.
    pub digest: Digest,
    /// The roster key's signature over the context, the decision's digest, the group and this digest.
    pub signature: Signature,
}

/// Why a member's word for a mask does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MaskDigestError {
    /// No such member.
    #[error("there is a mask of member {0}, and the roster has no such member")]
    NotInRoster(MemberId),
    /// Not the member's signature, or over something else.
    #[error(
        "the mask of member {0} is not signed by it for this decision: it is forged, or from another round"
    )]
    Signature(MemberId),
    /// Not as many bytes as a mask of this round has.
    #[error("the mask of member {member} has {found} bytes in {leaves} leaves, and this round's have {expected} bytes")]
    Length {
        /// Whose.
        member: MemberId,
        /// How many bytes it has.
        found: u64,
        /// In how many leaves.
        leaves: usize,
        /// How many bytes it should have.
        expected: u64,
    },
    /// Not sorted, or a member is there twice.
    #[error("the list of masks is not sorted, or has a member twice")]
    NotSorted,
    /// No mask that a majority of a group has signed.
    #[error("group {group} has no mask that {need} of its members, a majority, have signed: at most {have} agree")]
    NoMajority {
        /// The group.
        group: u8,
        /// How many members agree.
        have: usize,
        /// How many must.
        need: usize,
    },
}

impl MaskDigestError {
    /// Who is to blame: a signature that does not fit can be anybody's.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Length { member, .. } => Blame::Member(*member),
            _ => Blame::Coordinator,
        }
    }
}

impl MaskDigest {
    pub(super) const LENGTH: usize = 1 + 2 + 32 + Signature::LENGTH;

    /// Signs with the member's roster key.
    pub fn sign(
        keys: &SigningKeyPair,
        context: &Context,
        decision: &DecisionHash,
        member: MemberId,
        digest: Digest,
    ) -> Self {
        let message = message(context, decision, member.group, &digest);
        Self { member, digest, signature: keys.sign(message.as_bytes()) }
    }

    /// Whether it is the member's word, for this decision.
    ///
    /// # Errors
    /// If it is not.
    pub fn verify(
        &self,
        roster: &Roster,
        context: &Context,
        decision: &DecisionHash,
    ) -> Result<(), MaskDigestError> {
        let member = self.member;
        let key = roster.key(member).ok_or(MaskDigestError::NotInRoster(member))?;
        let message = message(context, decision, member.group, &self.digest);
        match key.verify(&self.signature, message.as_bytes()) {
            true => Ok(()),
            false => Err(MaskDigestError::Signature(member)),
        }
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(Self::LENGTH - 1);
        self.member.write(&mut writer);
        writer.raw(self.digest.as_bytes());
        writer.raw(self.signature.as_bytes());
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a mask's digest.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("digest of a mask", bytes)?;
        let digest = Self {
            member: MemberId::read(&mut reader)?,
            digest: Digest::new(reader.array("digest")?),
            signature: Signature::new(reader.array("signature")?),
        };
        reader.end()?;
        Ok(digest)
    }
}

fn message(context: &Context, decision: &DecisionHash, group: u8, digest: &Digest) -> Digest {
    let parts: [&[u8]; 4] = [context.as_bytes(), decision.as_bytes(), &[group], digest.as_bytes()];
    hash(Label::MaskDigest, &parts)
}

/// Members' words for the masks of all groups, sorted by member, of each member one at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaskDigests(Vec<MaskDigest>);

impl MaskDigests {
    /// The list of these.
    ///
    /// # Errors
    /// [`MaskDigestError::NotSorted`] if they are not sorted by member, or a member is there twice.
    pub fn new(list: Vec<MaskDigest>) -> Result<Self, MaskDigestError> {
        match is_rising(list.iter().map(|digest| digest.member)) {
            true => Ok(Self(list)),
            false => Err(MaskDigestError::NotSorted),
        }
    }

    /// All of them, sorted by member.
    pub fn list(&self) -> &[MaskDigest] {
        &self.0
    }

    /// The digest that wins in a group: the one that a majority of the roster's members of it have signed. Signatures are
    /// not looked at.
    ///
    /// # Errors
    /// [`MaskDigestError::NoMajority`] if there is none.
    pub fn winner(&self, roster: &Roster, group: u8) -> Result<Digest, MaskDigestError> {
        let of_group = || self.0.iter().filter(|mask| mask.member.group == group);
        let votes = |digest| of_group().filter(|mask| mask.digest == digest).count();
        let best = of_group().map(|mask| (votes(mask.digest), mask.digest)).max();
        let (have, need) = (best.map_or(0, |(have, _)| have), roster.majority());
        match best {
            Some((have, digest)) if have >= need => Ok(digest),
            _ => Err(MaskDigestError::NoMajority { group, have, need }),
        }
    }

    /// Whether all are genuine; the digest that wins in each group, in the order of the groups.
    ///
    /// # Errors
    /// If one is not, or a group has no majority for any.
    pub fn check(
        &self,
        roster: &Roster,
        context: &Context,
        decision: &DecisionHash,
    ) -> Result<Vec<Digest>, MaskDigestError> {
        for digest in &self.0 {
            digest.verify(roster, context, decision)?;
        }
        (0..roster.groups().len()).map(|group| self.winner(roster, group as u8)).collect()
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(4 + self.0.len() * MaskDigest::LENGTH);
        writer.count(self.0.len());
        self.0.iter().for_each(|digest| writer.raw(&digest.to_bytes()));
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a list of masks' digests.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("list of masks", bytes)?;
        let most = MOST_GROUPS * MOST_MEMBERS;
        let list = reader.list(MaskDigest::LENGTH, most, "masks", |reader| {
            MaskDigest::from_bytes(reader.raw(MaskDigest::LENGTH, "masks")?)
        })?;
        let unsorted = reader.malformed("list", "is not sorted, or has a member twice");
        reader.end()?;
        Self::new(list).map_err(|_| unsorted)
    }
}

/// The beginning of a member's upload: its word for the mask, and the hashes of the mask's leaves, which follow if the
/// coordinator asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMaskHeader {
    /// Whose word it is.
    pub member: MemberId,
    /// How many bytes the mask has.
    pub object_len: u64,
    /// The hash of each [`TREE_LEAF`](super::TREE_LEAF) bytes of it.
    pub leaves: Vec<Digest>,
    /// The signature of the [`MaskDigest`].
    pub signature: Signature,
}

impl GroupMaskHeader {
    /// Signs with the member's roster key.
    pub fn sign(
        keys: &SigningKeyPair,
        context: &Context,
        decision: &DecisionHash,
        member: MemberId,
        object_len: u64,
        leaves: Vec<Digest>,
    ) -> Self {
        let digest = group_mask_root(object_len, &leaves);
        let MaskDigest { signature, .. } =
            MaskDigest::sign(keys, context, decision, member, digest);
        Self { member, object_len, leaves, signature }
    }

    /// The member's word, without the leaves.
    pub fn mask_digest(&self) -> MaskDigest {
        let digest = group_mask_root(self.object_len, &self.leaves);
        MaskDigest { member: self.member, digest, signature: self.signature }
    }

    /// Whether it may be taken in a round with these terms, for this decision.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(
        &self,
        roster: &Roster,
        terms: &Terms,
        decision: &DecisionHash,
    ) -> Result<(), MaskDigestError> {
        let (member, found, leaves) = (self.member, self.object_len, self.leaves.len());
        let expected = terms.object_len();
        if found != expected || leaves as u64 != leaf_count(found) {
            return Err(MaskDigestError::Length { member, found, leaves, expected });
        }
        self.mask_digest().verify(roster, &terms.context(), decision)
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(80 + 32 * self.leaves.len());
        self.member.write(&mut writer);
        writer.u64(self.object_len);
        write_leaves(&mut writer, &self.leaves);
        writer.raw(self.signature.as_bytes());
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of the header of a mask.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("header of a mask", bytes)?;
        let header = Self {
            member: MemberId::read(&mut reader)?,
            object_len: reader.u64("length")?,
            leaves: read_leaves(&mut reader)?,
            signature: Signature::new(reader.array("signature")?),
        };
        reader.end()?;
        Ok(header)
    }
}

serde_as_bytes!(MaskDigest, MaskDigests, GroupMaskHeader);
