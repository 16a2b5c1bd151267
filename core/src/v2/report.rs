//! What a member has against the updates of a round.

use thiserror::Error;

use super::entry::Accusation;
use super::error::{Blame, DecodeError};
use super::hash::{hash, AnnouncementsHash, Context, Label};
use super::roster::{MemberId, Roster};
use super::wire::{is_rising, serde_as_bytes, Reader, Writer};
use crate::crypto::{Digest, PublicSigningKey, Signature, SigningKeyPair};

/// The most accusations that are ever read in one report.
pub const MOST_ACCUSED: usize = 1 << 20;

/// A member's report: the updates that it found bad, each with the reason; maybe none. Every announced member sends one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who reports.
    pub member: MemberId,
    /// The accused updaters, sorted, each once.
    pub accused: Vec<(PublicSigningKey, Accusation)>,
    /// The roster key's signature over the context, the announcements and all of this. It is a signature over nothing
    /// that could be taken for a vote.
    pub signature: Signature,
}

/// Why a report does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// No such member.
    #[error("there is a report of member {0}, and the roster has no such member")]
    NotInRoster(MemberId),
    /// Not the member's signature, or over another round.
    #[error("the report of member {0} is not signed by it for this round: it is forged, or from another round")]
    Signature(MemberId),
    /// More accusations than a member may make.
    #[error(
        "member {member} accuses {accused} updaters, and {limit} is the most of {updates} updates: none of its accusations count"
    )]
    TooMany {
        /// Who accuses.
        member: MemberId,
        /// How many updaters.
        accused: usize,
        /// How many it may accuse.
        limit: usize,
        /// How many updates there are.
        updates: u64,
    },
}

impl ReportError {
    /// Who is to blame: a signature that does not fit can be anybody's.
    pub fn blame(&self) -> Blame {
        match self {
            Self::NotInRoster(_) | Self::Signature(_) => Blame::Coordinator,
            Self::TooMany { member, .. } => Blame::Member(*member),
        }
    }
}

impl Report {
    /// How many of so many updates a member may accuse: one in a hundred, and three at least.
    pub fn limit(updates: u64) -> usize {
        usize::try_from((updates / 100).max(3)).unwrap_or(usize::MAX)
    }

    /// Reports with the member's roster key. The accused are sorted; of one that is there twice, the first counts.
    pub fn sign(
        keys: &SigningKeyPair,
        context: &Context,
        announcements: &AnnouncementsHash,
        member: MemberId,
        mut accused: Vec<(PublicSigningKey, Accusation)>,
    ) -> Self {
        accused.sort_by_key(|(updater, _)| *updater);
        accused.dedup_by_key(|(updater, _)| *updater);
        let mut report = Self { member, accused, signature: Signature::new([0; 64]) };
        report.signature = keys.sign(report.digest(context, announcements).as_bytes());
        report
    }

    /// Whether it is the member's, for this round.
    ///
    /// # Errors
    /// If it is not.
    pub fn verify(
        &self,
        roster: &Roster,
        context: &Context,
        announcements: &AnnouncementsHash,
    ) -> Result<(), ReportError> {
        let member = self.member;
        let key = roster.key(member).ok_or(ReportError::NotInRoster(member))?;
        let digest = self.digest(context, announcements);
        match key.verify(&self.signature, digest.as_bytes()) {
            true => Ok(()),
            false => Err(ReportError::Signature(member)),
        }
    }

    /// Whether it accuses no more of so many updates than a member may.
    ///
    /// # Errors
    /// [`ReportError::TooMany`] if it does.
    pub fn check_limit(&self, updates: u64) -> Result<(), ReportError> {
        let (member, accused, limit) = (self.member, self.accused.len(), Self::limit(updates));
        match accused > limit {
            true => Err(ReportError::TooMany { member, accused, limit, updates }),
            false => Ok(()),
        }
    }

    /// What it has against an updater.
    pub fn accusation(&self, updater: &PublicSigningKey) -> Option<Accusation> {
        let at = self.accused.binary_search_by_key(updater, |(accused, _)| *accused).ok()?;
        Some(self.accused[at].1)
    }

    fn digest(&self, context: &Context, announcements: &AnnouncementsHash) -> Digest {
        let MemberId { group, index } = self.member;
        let mut accused = Writer::new();
        self.write_accused(&mut accused);
        let (group, index, accused) = ([group], [index], accused.finish());
        let parts: [&[u8]; 5] =
            [context.as_bytes(), announcements.as_bytes(), &group, &index, &accused];
        hash(Label::Report, &parts)
    }

    fn write_accused(&self, writer: &mut Writer) {
        writer.count(self.accused.len());
        for (updater, accusation) in &self.accused {
            writer.raw(updater.as_bytes());
            writer.u8(accusation.code());
        }
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(70 + 33 * self.accused.len());
        self.member.write(&mut writer);
        self.write_accused(&mut writer);
        writer.raw(self.signature.as_bytes());
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a report.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("report", bytes)?;
        let member = MemberId::read(&mut reader)?;
        let accused = reader.list(33, MOST_ACCUSED, "accusations", |reader| {
            let updater = PublicSigningKey::new(reader.array("accusations")?);
            let code = reader.u8("accusations")?;
            let accusation =
                Accusation::ALL.into_iter().find(|accusation| accusation.code() == code);
            Ok((
                updater,
                accusation.ok_or(reader.malformed("accusations", "have an unknown reason"))?,
            ))
        })?;
        if !is_rising(accused.iter().map(|(updater, _)| updater)) {
            return Err(
                reader.malformed("accusations", "are not sorted, or accuse an updater twice")
            );
        }
        let signature = Signature::new(reader.array("signature")?);
        reader.end()?;
        Ok(Self { member, accused, signature })
    }
}

serde_as_bytes!(Report);
