//! What each member says at the beginning of a round, and the list of it.

use thiserror::Error;

use super::error::{Blame, DecodeError};
use super::hash::{AnnouncementsHash, Context, Label, PartsHash};
use super::roster::{Lacking, MemberId, Roster, MOST_GROUPS, MOST_MEMBERS};
use super::wire::{is_rising, serde_as_bytes, Reader, Writer};
use crate::crypto::{Digest, PublicEncryptKey, PublicSigningKey, Signature, SigningKeyPair};

/// A member's keys for one round, signed with its roster key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// Who announces.
    pub member: MemberId,
    /// The key that seeds are sealed for in this round (`E`).
    pub encrypt_key: PublicEncryptKey,
    /// The key that the member votes with in this round (`V`). It is in no snapshot: a member that is restored cannot vote.
    pub vote_key: PublicSigningKey,
    /// The roster key's signature over the round's context and all of this.
    pub signature: Signature,
}

/// What is wrong with an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// No such member.
    #[error("member {0} has announced itself, and the roster has no such member")]
    NotInRoster(MemberId),
    /// Not the member's signature, or over another context.
    #[error("the announcement of member {0} is not signed by it for this round: it is forged, or from another round")]
    Signature(MemberId),
    /// A key that nothing can be sealed for.
    #[error("member {0} has announced a key that belongs to nobody (a point of low order)")]
    WeakKey(MemberId),
}

impl AnnouncementError {
    /// Who is to blame: a signature that does not fit can be anybody's.
    pub fn blame(&self) -> Blame {
        match self {
            Self::NotInRoster(_) | Self::Signature(_) => Blame::Coordinator,
            Self::WeakKey(member) => Blame::Member(*member),
        }
    }
}

impl Announcement {
    /// How many bytes it has on its own.
    pub const LENGTH: usize = 1 + 2 + 32 + 32 + Signature::LENGTH;

    /// Announces with the member's roster key.
    pub fn sign(
        keys: &SigningKeyPair,
        context: &Context,
        member: MemberId,
        encrypt_key: PublicEncryptKey,
        vote_key: PublicSigningKey,
    ) -> Self {
        let signature = Signature::new([0; Signature::LENGTH]);
        let mut announcement = Self { member, encrypt_key, vote_key, signature };
        announcement.signature = keys.sign(announcement.digest(context).as_bytes());
        announcement
    }

    /// Whether the member has made it for this round.
    ///
    /// # Errors
    /// If the roster has no such member, the signature is not its own, or the key is weak.
    pub fn verify(&self, roster: &Roster, context: &Context) -> Result<(), AnnouncementError> {
        let member = self.member;
        let key = roster.key(member).ok_or(AnnouncementError::NotInRoster(member))?;
        if !key.verify(&self.signature, self.digest(context).as_bytes()) {
            return Err(AnnouncementError::Signature(member));
        }
        match self.encrypt_key.is_weak() {
            true => Err(AnnouncementError::WeakKey(member)),
            false => Ok(()),
        }
    }

    fn digest(&self, context: &Context) -> Digest {
        let mut hash = PartsHash::new(Label::Announcement);
        hash.part(context.as_bytes());
        hash.part(&[self.member.group]);
        hash.part(&[self.member.index]);
        hash.part(self.encrypt_key.as_bytes());
        hash.part(self.vote_key.as_bytes());
        hash.finish()
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(Self::LENGTH - 1);
        self.member.write(&mut writer);
        writer.raw(self.encrypt_key.as_bytes());
        writer.raw(self.vote_key.as_bytes());
        writer.raw(self.signature.as_bytes());
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of an announcement.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("announcement", bytes)?;
        let announcement = Self {
            member: MemberId::read(&mut reader)?,
            encrypt_key: PublicEncryptKey::new(reader.array("key")?),
            vote_key: PublicSigningKey::new(reader.array("vote key")?),
            signature: Signature::new(reader.array("signature")?),
        };
        reader.end()?;
        Ok(announcement)
    }
}

/// The announcements of a round (`l`), sorted by member, of each member one at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcements {
    list: Vec<Announcement>,
    hash: AnnouncementsHash,
}

/// Why a list of announcements must not be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnnouncementsError {
    /// Not sorted, or a member is there twice.
    #[error("the list of announcements is not sorted, or has a member twice")]
    NotSorted,
    /// One of them is wrong.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// A group without a majority.
    #[error("too few members have announced themselves: {0}")]
    NoMajority(Lacking),
}

impl AnnouncementsError {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::NotSorted | Self::NoMajority(_) => Blame::Coordinator,
            Self::Announcement(error) => error.blame(),
        }
    }
}

impl Announcements {
    /// The list of these announcements.
    ///
    /// # Errors
    /// [`AnnouncementsError::NotSorted`] if they are not sorted by member, or a member is there twice.
    pub fn new(list: Vec<Announcement>) -> Result<Self, AnnouncementsError> {
        if !is_rising(list.iter().map(|announcement| announcement.member)) {
            return Err(AnnouncementsError::NotSorted);
        }
        let mut hash = PartsHash::new(Label::Announcements);
        list.iter().for_each(|announcement| hash.part(&announcement.to_bytes()));
        let hash = AnnouncementsHash::new(*hash.finish().as_bytes());
        Ok(Self { list, hash })
    }

    /// What everything that follows in the round names: `H(l)`.
    pub fn digest(&self) -> AnnouncementsHash {
        self.hash
    }

    /// All of them, sorted by member.
    pub fn list(&self) -> &[Announcement] {
        &self.list
    }

    /// A member's.
    pub fn get(&self, member: MemberId) -> Option<&Announcement> {
        self.position(member).map(|at| &self.list[at])
    }

    /// At which place of the list a member's is: the boxes of an update are in the same order.
    pub fn position(&self, member: MemberId) -> Option<usize> {
        self.list.binary_search_by_key(&member, |announcement| announcement.member).ok()
    }

    /// Whether all are genuine and for this round, and every group has a majority. One signature takes about 60
    /// microseconds: whoever may not stall checks one after another with [`Announcement::verify`], and then
    /// [`Announcements::check_majorities`].
    ///
    /// # Errors
    /// If one is not, or a group has none.
    pub fn check(&self, roster: &Roster, context: &Context) -> Result<(), AnnouncementsError> {
        for announcement in &self.list {
            announcement.verify(roster, context)?;
        }
        self.check_majorities(roster)
    }

    /// Whether every group has a majority, of members that are in the roster.
    ///
    /// # Errors
    /// If a group has none, or one is in no group.
    pub fn check_majorities(&self, roster: &Roster) -> Result<(), AnnouncementsError> {
        let mut members = self.list.iter().map(|announcement| announcement.member);
        if let Some(stranger) = members.find(|member| roster.key(*member).is_none()) {
            return Err(AnnouncementError::NotInRoster(stranger).into());
        }
        let members = self.list.iter().map(|announcement| announcement.member);
        roster
            .lacking(members)
            .map_or(Ok(()), |lacking| Err(AnnouncementsError::NoMajority(lacking)))
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(4 + self.list.len() * Announcement::LENGTH);
        writer.count(self.list.len());
        self.list.iter().for_each(|announcement| writer.raw(&announcement.to_bytes()));
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a list of announcements.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("list of announcements", bytes)?;
        let (length, most) = (Announcement::LENGTH, MOST_GROUPS * MOST_MEMBERS);
        let list = reader.list(length, most, "announcements", |reader| {
            Announcement::from_bytes(reader.raw(length, "announcements")?)
        })?;
        let unsorted = reader.malformed("list", "is not sorted, or has a member twice");
        reader.end()?;
        Self::new(list).map_err(|_| unsorted)
    }
}

serde_as_bytes!(Announcement, Announcements);
