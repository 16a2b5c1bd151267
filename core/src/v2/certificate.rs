//! The certificate of a round: that its global model is the sum of exactly the updates that every group has agreed on.

use thiserror::Error;

use super::announcement::{Announcement, Announcements, AnnouncementsError};
use super::decision::Decision;
use super::error::{Blame, DecodeError};
use super::hash::{AnnouncementsHash, Context};
use super::mask_digest::{MaskDigest, MaskDigestError, MaskDigests};
use super::pin::{Pin, PinError};
use super::roster::{Roster, MOST_GROUPS, MOST_MEMBERS};
use super::terms::Terms;
use super::vote::{Vote, Votes, VotesError};
use super::wire::{serde_as_bytes, Reader, Writer};
use crate::crypto::Digest;

/// What is published with a global model.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// The terms of the round.
    pub terms: Terms,
    /// Who took part, with which keys.
    pub announcements: Announcements,
    /// Which updates were added up.
    pub decision: Decision,
    /// That a majority of every group has voted for it.
    pub votes: Votes,
    /// What members have signed about the masks of their groups.
    pub masks: MaskDigests,
}

/// Why a certificate does not hold.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It breaks the pin, or is for another roster.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The terms name another roster than the one at hand.
    #[error("the certificate is for another roster than the one at hand")]
    OtherRoster,
    /// The announcements are not in order.
    #[error(transparent)]
    Announcements(#[from] AnnouncementsError),
    /// A decision of another round.
    #[error("the certificate's decision belongs to another round: its context is {found}, and that of the terms is {expected}")]
    OtherRound {
        /// That of the terms.
        expected: Context,
        /// That of the decision.
        found: Context,
    },
    /// A decision with other announcements.
    #[error("the certificate's decision was made with other announcements: {found} instead of {expected}")]
    OtherAnnouncements {
        /// The list at hand.
        expected: AnnouncementsHash,
        /// That of the decision.
        found: AnnouncementsHash,
    },
    /// Fewer updates than the terms or the pin ask for.
    #[error("only {count} updates were added up, and at least {least} must be")]
    TooFewUpdates {
        /// How many there were.
        count: u64,
        /// How many there must be.
        least: u64,
    },
    /// Too few or wrong votes.
    #[error(transparent)]
    Votes(#[from] VotesError),
    /// Too few or wrong masks.
    #[error(transparent)]
    Masks(#[from] MaskDigestError),
}

impl CertificateError {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Pin(error) => error.blame(),
            Self::Announcements(error) => error.blame(),
            Self::Votes(error) => error.blame(),
            Self::Masks(error) => error.blame(),
            Self::OtherRoster
            | Self::OtherRound { .. }
            | Self::OtherAnnouncements { .. }
            | Self::TooFewUpdates { .. } => Blame::Coordinator,
        }
    }
}

/// The most bytes of a certificate.
const MOST_BYTES: usize =
    MOST_GROUPS * MOST_MEMBERS * (Announcement::LENGTH + Vote::LENGTH + MaskDigest::LENGTH)
        + (1 << 10);

impl Certificate {
    /// Whether it holds, for someone with this pin; the digest of each group's mask that was taken, in the order of the
    /// groups.
    ///
    /// It takes three signatures a member, about 1.5 ms for three groups of three: whoever may not stall does this in a job.
    ///
    /// # Errors
    /// Why it does not hold.
    pub fn verify(&self, roster: &Roster, pin: &Pin) -> Result<Vec<Digest>, CertificateError> {
        pin.check_roster(roster)?;
        pin.check_terms(&self.terms)?;
        self.verify_without_pin(roster, pin.n_min)
    }

    /// The same for someone who pins nothing but knows the roster, as an auditor may.
    ///
    /// # Errors
    /// Why it does not hold.
    pub fn verify_without_pin(
        &self,
        roster: &Roster,
        n_min: u64,
    ) -> Result<Vec<Digest>, CertificateError> {
        if self.terms.roster != roster.hash() {
            return Err(CertificateError::OtherRoster);
        }
        self.terms.check().map_err(PinError::from)?;
        let (expected, found) = (self.terms.context(), self.decision.context);
        if found != expected {
            return Err(CertificateError::OtherRound { expected, found });
        }
        let context = expected;
        let (expected, found) = (self.announcements.digest(), self.decision.announcements);
        if found != expected {
            return Err(CertificateError::OtherAnnouncements { expected, found });
        }
        let (count, least) = (self.decision.count, self.terms.least_updates(n_min));
        if count < least {
            return Err(CertificateError::TooFewUpdates { count, least });
        }
        self.announcements.check(roster, &context)?;
        let decision = self.decision.digest();
        self.votes.check(roster, &self.announcements, &decision)?;
        Ok(self.masks.check(roster, &context, &decision)?)
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(0);
        writer.bytes(&self.terms.to_bytes());
        writer.bytes(&self.announcements.to_bytes());
        writer.raw(&self.decision.to_bytes());
        writer.bytes(&self.votes.to_bytes());
        writer.bytes(&self.masks.to_bytes());
        writer.finish()
    }

    /// Reads the bytes. Nothing is verified.
    ///
    /// # Errors
    /// If they are not those of a certificate.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("certificate", bytes)?;
        let certificate = Self {
            terms: Terms::from_bytes(reader.bytes(MOST_BYTES, "terms")?)?,
            announcements: Announcements::from_bytes(reader.bytes(MOST_BYTES, "announcements")?)?,
            decision: Decision::from_bytes(reader.raw(Decision::LENGTH, "decision")?)?,
            votes: Votes::from_bytes(reader.bytes(MOST_BYTES, "votes")?)?,
            masks: MaskDigests::from_bytes(reader.bytes(MOST_BYTES, "masks")?)?,
        };
        reader.end()?;
        Ok(certificate)
    }
}

serde_as_bytes!(Certificate);
