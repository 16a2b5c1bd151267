//! Messages that a member signs although they are wrong.

use pet_core::crypto::Purpose;
use pet_core::crypto::{Digest, RootSeed, SigningKeyPair};
use pet_core::v2::{
    Accusation, Announcements, Call, Context, Decision, DecisionHash, Entry, GroupMaskHeader,
    MemberId, Post, Report, Vote,
};

use crate::Failure;

/// How to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Votes for a set in which an updater is missing.
    Vote,
    /// Signs a mask that is not the sum of its group's streams.
    Mask,
    /// Says of this many updaters that their boxes do not open.
    Accuse(usize),
}

impl Lie {
    /// Reads `vote`, `mask`, or `accuse N`.
    pub fn parse(words: &[&str]) -> Option<Self> {
        match words {
            ["vote"] => Some(Self::Vote),
            ["mask"] => Some(Self::Mask),
            ["accuse", count] => Some(Self::Accuse(count.parse().ok()?)),
            _ => None,
        }
    }

    /// Whether it is about this message.
    pub fn is_about(self, call: &Call) -> bool {
        matches!(
            (self, call),
            (Self::Vote, Call::Vote(_))
                | (Self::Mask, Call::Mask(_))
                | (Self::Accuse(_), Call::Report(_))
        )
    }

    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Mask => "mask",
            Self::Accuse(_) => "accuse",
        }
    }
}

/// Who lies, and what it knows of the round.
pub struct Liar<'a> {
    pub member: MemberId,
    pub keys: &'a SigningKeyPair,
    /// What its machine derives its vote keys from.
    pub boot: &'a RootSeed,
    pub context: Context,
    pub list: &'a Announcements,
    /// What is voted for, once it is known.
    pub decision: Option<DecisionHash>,
    pub entries: &'a [Entry],
}

impl Liar<'_> {
    /// What it says in place of what its machine would say; nothing if that is not the time for this lie.
    pub fn forge(&self, lie: Lie, honest: &Call) -> Result<Option<Call>, Failure> {
        Ok(Some(match (lie, honest) {
            (Lie::Accuse(count), Call::Report(post)) => {
                Call::Report(with(post, self.accuse(count).to_bytes()))
            }
            (Lie::Vote, Call::Vote(post)) => Call::Vote(with(post, self.vote()?.to_bytes())),
            (Lie::Mask, Call::Mask(post)) => {
                let header = GroupMaskHeader::from_bytes(&post.body)?;
                Call::Mask(with(post, self.mask(header)?.to_bytes()))
            }
            _ => return Ok(None),
        }))
    }

    fn accuse(&self, count: usize) -> Report {
        let accused = self.entries.iter().take(count).map(|entry| (entry.updater, Accusation::Box));
        let list = self.list.digest();
        Report::sign(self.keys, &self.context, &list, self.member, accused.collect())
    }

    /// A vote under the key that it has announced, for all updates but the first.
    fn vote(&self) -> Result<Vote, Failure> {
        let (context, list) = (self.context, self.list.digest());
        let leaves = self.entries.iter().skip(1);
        let leaves = leaves.map(|entry| (entry.updater, entry.statement_digest(&context, &list)));
        let decision = Decision::of(context, list, leaves)?;
        let MemberId { group, index } = self.member;
        let seed = self.boot.derive(Purpose::VoteKey, &[context.as_bytes(), &[group, index]]);
        Ok(Vote::sign(&SigningKeyPair::from_seed(&seed), self.member, &decision.digest()))
    }

    fn mask(&self, honest: GroupMaskHeader) -> Result<GroupMaskHeader, Failure> {
        let decision = self.decision.ok_or("it does not know what was voted for")?;
        let GroupMaskHeader { object_len, mut leaves, .. } = honest;
        if let Some(first) = leaves.first_mut() {
            *first = Digest::new([0x5a; 32]);
        }
        let (keys, context) = (self.keys, &self.context);
        Ok(GroupMaskHeader::sign(keys, context, &decision, self.member, object_len, leaves))
    }
}

fn with(post: &Post, body: Vec<u8>) -> Post {
    Post { round: post.round, body: body.into() }
}
