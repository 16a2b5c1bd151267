//! Votes for a decision.

use thiserror::Error;

use super::announcement::Announcements;
use super::error::{Blame, DecodeError};
use super::hash::{hash, DecisionHash, Label};
use super::roster::{Lacking, MemberId, Roster, MOST_GROUPS, MOST_MEMBERS};
use super::wire::{is_rising, serde_as_bytes, Reader, Writer};
use crate::crypto::{Digest, PublicSigningKey, Signature, SigningKeyPair};

/// A member's vote: at most one in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Who votes.
    pub member: MemberId,
    /// The announced vote key's signature over the decision's digest and the member.
    pub signature: Signature,
}

impl Vote {
    pub(super) const LENGTH: usize = 1 + 2 + Signature::LENGTH;

    /// Votes for a decision with the key that the member has announced for it.
    pub fn sign(vote_keys: &SigningKeyPair, member: MemberId, decision: &DecisionHash) -> Self {
        Self { member, signature: vote_keys.sign(digest(member, decision).as_bytes()) }
    }

    /// Whether it is this key's vote for this decision.
    #[must_use]
    pub fn verify(&self, vote_key: &PublicSigningKey, decision: &DecisionHash) -> bool {
        vote_key.verify(&self.signature, digest(self.member, decision).as_bytes())
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(Self::LENGTH - 1);
        self.member.write(&mut writer);
        writer.raw(self.signature.as_bytes());
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a vote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("vote", bytes)?;
        let member = MemberId::read(&mut reader)?;
        let signature = Signature::new(reader.array("signature")?);
        reader.end()?;
        Ok(Self { member, signature })
    }
}

/// The member is named, so that nobody can announce another's key and have its vote counted twice.
fn digest(member: MemberId, decision: &DecisionHash) -> Digest {
    hash(Label::Vote, &[decision.as_bytes(), &[member.group], &[member.index]])
}

/// Votes for one decision, sorted by member, of each member one at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Votes(Vec<Vote>);

/// Why votes do not make a decision count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VotesError {
    /// Not sorted, or a member is there twice.
    #[error("the list of votes is not sorted, or has a member twice")]
    NotSorted,
    /// A vote of someone who has announced nothing.
    #[error("there is a vote of member {0}, which has not announced itself in this round")]
    NotAnnounced(MemberId),
    /// Not the vote of the announced key for this decision.
    #[error("the vote of member {0} is not signed with the key that it has announced, or is for another decision")]
    Signature(MemberId),
    /// A group without a majority.
    #[error("the decision does not count: {0}")]
    NoMajority(Lacking),
}

impl VotesError {
    /// Who is to blame: whoever shows the votes.
    pub fn blame(&self) -> Blame {
        Blame::Coordinator
    }
}

impl Votes {
    /// The list of these votes.
    ///
    /// # Errors
    /// [`VotesError::NotSorted`] if they are not sorted by member, or a member is there twice.
    pub fn new(votes: Vec<Vote>) -> Result<Self, VotesError> {
        match is_rising(votes.iter().map(|vote| vote.member)) {
            true => Ok(Self(votes)),
            false => Err(VotesError::NotSorted),
        }
    }

    /// All of them, sorted by member.
    pub fn list(&self) -> &[Vote] {
        &self.0
    }

    /// Whether a majority of every group has voted for this decision. One vote takes about 60 microseconds: whoever may not
    /// stall checks one after another with [`Votes::check_one`], and then [`Votes::check_majorities`].
    ///
    /// # Errors
    /// If a vote is wrong, or a group has no majority.
    pub fn check(
        &self,
        roster: &Roster,
        announcements: &Announcements,
        decision: &DecisionHash,
    ) -> Result<(), VotesError> {
        for vote in &self.0 {
            Self::check_one(vote, announcements, decision)?;
        }
        self.check_majorities(roster)
    }

    /// Whether one vote is for this decision, by the key that the member has announced.
    ///
    /// # Errors
    /// If it is not.
    pub fn check_one(
        vote: &Vote,
        announcements: &Announcements,
        decision: &DecisionHash,
    ) -> Result<(), VotesError> {
        let announced =
            announcements.get(vote.member).ok_or(VotesError::NotAnnounced(vote.member))?;
        match vote.verify(&announced.vote_key, decision) {
            true => Ok(()),
            false => Err(VotesError::Signature(vote.member)),
        }
    }

    /// Whether the members that have voted are a majority of every group.
    ///
    /// # Errors
    /// If they are not.
    pub fn check_majorities(&self, roster: &Roster) -> Result<(), VotesError> {
        if let Some(vote) = self.0.iter().find(|vote| roster.key(vote.member).is_none()) {
            return Err(VotesError::NotAnnounced(vote.member));
        }
        let lacking = roster.lacking(self.0.iter().map(|vote| vote.member));
        lacking.map_or(Ok(()), |lacking| Err(VotesError::NoMajority(lacking)))
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(4 + self.0.len() * Vote::LENGTH);
        writer.count(self.0.len());
        self.0.iter().for_each(|vote| writer.raw(&vote.to_bytes()));
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a list of votes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("list of votes", bytes)?;
        let votes = reader.list(Vote::LENGTH, MOST_GROUPS * MOST_MEMBERS, "votes", |reader| {
            Vote::from_bytes(reader.raw(Vote::LENGTH, "votes")?)
        })?;
        let unsorted = reader.malformed("list", "is not sorted, or has a member twice");
        reader.end()?;
        Self::new(votes).map_err(|_| unsorted)
    }
}

serde_as_bytes!(Vote, Votes);
