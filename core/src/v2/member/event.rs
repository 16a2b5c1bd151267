//! What a member's operator may want to know.

use thiserror::Error;

use super::Refusal;
use crate::crypto::{Digest, PublicSigningKey};
use crate::participant::TransportFault;
use crate::problem::Problem;
use crate::v2::{Accusation, AnnouncementsHash, Blame, Context, DecisionHash, MemberId, Phase};

/// What a member posts in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Post {
    /// Its announcement.
    Announcement,
    /// Its report.
    Report,
    /// Its vote.
    Vote,
    /// The digests of its group's mask.
    Mask,
    /// A chunk of its group's mask.
    MaskChunk,
}

impl Post {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Announcement, Self::Report, Self::Vote, Self::Mask, Self::MaskChunk];

    /// A short, stable name, for metrics and other languages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Announcement => "announcement",
            Self::Report => "report",
            Self::Vote => "vote",
            Self::Mask => "mask",
            Self::MaskChunk => "mask_chunk",
        }
    }
}

/// For people.
impl std::fmt::Display for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MaskChunk => "mask chunk",
            post => post.label(),
        })
    }
}

/// Events for a member's operator.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The pinned roster came: this is who the member is.
    Roster {
        /// Its place.
        member: MemberId,
        /// The name of its group.
        group: String,
        /// How many groups there are.
        groups: usize,
        /// How many members each has.
        members: usize,
    },
    /// Another round is on.
    NewRound {
        /// Its number.
        round: u64,
        /// Its context.
        context: Context,
    },
    /// Another phase of the round is on.
    Phase {
        /// The round's number.
        round: u64,
        /// The phase.
        phase: Phase,
    },
    /// The member has announced itself.
    Announced {
        /// The round's number.
        round: u64,
    },
    /// The list of announcements is valid.
    Announcements {
        /// How many members are in it.
        members: usize,
        /// Its hash.
        hash: AnnouncementsHash,
    },
    /// An update is bad, and is reported.
    Accused {
        /// Whose.
        updater: PublicSigningKey,
        /// What is wrong.
        accusation: Accusation,
    },
    /// All updates are checked, and the report was taken.
    Reported {
        /// How many updates.
        updates: u64,
        /// How many are accused.
        accused: usize,
    },
    /// The vote was taken.
    Voted {
        /// For what.
        decision: DecisionHash,
        /// How many updates it covers.
        updates: u64,
    },
    /// The decision is certified by a majority of every group.
    Certified {
        /// Which.
        decision: DecisionHash,
    },
    /// The digest of the group's mask was taken.
    MaskSent {
        /// The digest.
        digest: Digest,
        /// How many masks were added up.
        updates: u64,
    },
    /// A chunk of the group's mask was delivered.
    Progress {
        /// How many are delivered.
        sent: u32,
        /// How many there are.
        total: u32,
    },
    /// The round is over for this member: what it kept of it is wiped, and no earlier boxes can be opened any more.
    RoundOver {
        /// The round's number.
        round: u64,
    },
    /// The round has failed, as the coordinator says.
    RoundFailed {
        /// The round's number.
        round: u64,
        /// Why, in the coordinator's words.
        reason: String,
    },
    /// The member does not do something. Said once for each round and reason.
    Refused {
        /// In which round, if it is about one.
        round: Option<u64>,
        /// What, why, and what to do about it.
        refusal: Refusal,
    },
    /// The coordinator has rejected something for good.
    Rejected {
        /// What.
        post: Post,
        /// Why.
        problem: Problem,
    },
    /// The coordinator could not be asked, or gave a wrong answer: it is asked again later.
    Trouble(Trouble),
}

impl Event {
    /// Who has to do something about it; nothing for what is as it should be.
    pub fn blame(&self) -> Option<Blame> {
        match self {
            Self::Refused { refusal, .. } => refusal.blame(),
            Self::Accused { updater, .. } => Some(Blame::Updater(*updater)),
            Self::Rejected { .. } | Self::Trouble(_) => Some(Blame::Coordinator),
            _ => None,
        }
    }
}

/// An unsuccessful request to the coordinator.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{call}: {reason}")]
#[non_exhaustive]
pub struct Trouble {
    /// What was asked: `round`, `roster`, `announcements`, `entries`, `set`, `votes`, or a [`Post`].
    pub call: &'static str,
    /// What went wrong.
    pub reason: TroubleReason,
}

impl Trouble {
    pub(super) fn new(call: &'static str, reason: impl Into<TroubleReason>) -> Self {
        Self { call, reason: reason.into() }
    }
}

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TroubleReason {
    /// There was no answer.
    #[error(transparent)]
    Transport(#[from] TransportFault),
    /// The answer has an unexpected status.
    #[error("the coordinator answered with HTTP status {0}{advice}", advice = advice(*.0))]
    Status(u16),
    /// The answer is wrong.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What to do about an unexpected status.
fn advice(status: u16) -> &'static str {
    match status {
        204 => ": it does not have it yet",
        404 | 405 | 410 => ": there is no coordinator of version 2 under this URL; is its path right, and its port, and does it have a roster?",
        413 => ": something before the coordinator, such as a proxy, refuses bodies of 512 KiB; have its limit raised (nginx: client_max_body_size)",
        status => crate::participant::advice(status),
    }
}
