//! Records: all that changes a coordinator, to be stored by a server.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Completed, Object, ObjectKind, Ruling};
use crate::crypto::{Digest, PublicEncryptKey, PublicSigningKey};
use crate::v2::{Announcement, GroupMaskHeader, Report, Roster, Terms, UpdateHeader, Vote};

/// A change of a coordinator. The records since a round began say all of it, together with the round that was completed
/// last: [`Recovery`](super::Recovery) makes a coordinator of them.
#[derive(Clone)]
#[non_exhaustive]
pub enum Record {
    /// A round has begun: nothing is left of the one before, but for what was completed.
    RoundBegan {
        /// What all that take part must know.
        terms: Arc<Terms>,
        /// Who takes part.
        roster: Arc<Roster>,
    },
    /// A member has announced itself.
    Announcement(Announcement),
    /// The announce phase has ended well.
    AnnounceEnded,
    /// The upload of an update has begun.
    Header {
        /// What it begins with.
        header: Arc<UpdateHeader>,
        /// The ephemeral key that it was sealed with: the key of the chunks follows from it.
        key: PublicEncryptKey,
    },
    /// An updater has sealed its upload anew.
    Rekeyed {
        /// Who.
        updater: PublicSigningKey,
        /// The new ephemeral key.
        key: PublicEncryptKey,
    },
    /// A chunk of a masked model has come.
    Chunk {
        /// Whose.
        updater: PublicSigningKey,
        /// Which one.
        index: u32,
        /// It is in [`Record::large`] only, and empty in a record that was read.
        data: Bytes,
    },
    /// An upload has given way to another one: nothing of it is needed any more.
    UploadDropped {
        /// Whose.
        updater: PublicSigningKey,
    },
    /// The update phase has ended well. Incomplete uploads are dropped.
    UpdateEnded,
    /// A member has reported.
    Report(Arc<Report>),
    /// The check phase has ended well.
    CheckEnded {
        /// What follows from the reports.
        ruling: Arc<Ruling>,
    },
    /// A member has voted.
    Vote(Vote),
    /// The agree phase has ended well.
    AgreeEnded,
    /// A member has signed the digest of its group's mask.
    Mask(Arc<GroupMaskHeader>),
    /// A chunk of a mask has come.
    MaskChunk {
        /// Of which group.
        group: u8,
        /// The digest of the mask.
        digest: Digest,
        /// Which chunk.
        index: u32,
        /// It is in [`Record::large`] only, and empty in a record that was read.
        data: Bytes,
    },
    /// The sum2 phase has ended well.
    Sum2Ended,
    /// The round has ended with a global model.
    Completed(Arc<Completed>),
    /// The round has ended without one.
    RoundFailed {
        /// Its number.
        round: u64,
        /// Why, in words.
        reason: String,
    },
}

/// The part of a record that grows with the model or the crowd, and is to be stored apart.
#[derive(Debug, Clone)]
pub enum Large {
    /// A part of an object.
    Chunk {
        /// Which object.
        object: Object,
        /// Where in it these bytes are.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// A completed round: [`Completed::to_bytes`] is its form.
    Completed(Arc<Completed>),
}

/// Shows whom it is about, and nothing that was collected.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::RoundBegan { terms, .. } => write!(f, "Record({name} {})", terms.round),
            Self::Announcement(announcement) => {
                write!(f, "Record({name} of {})", announcement.member)
            }
            Self::Header { header, .. } => write!(f, "Record({name} of {})", header.updater),
            Self::Chunk { updater, index, .. } => {
                write!(f, "Record({name} {index} of {updater})")
            }
            Self::Rekeyed { updater, .. } | Self::UploadDropped { updater } => {
                write!(f, "Record({name} of {updater})")
            }
            Self::Report(report) => write!(f, "Record({name} of {})", report.member),

            Self::CheckEnded { ruling } => write!(f, "Record({name}, {:?})", ruling.decision),
            Self::Vote(vote) => write!(f, "Record({name} of {})", vote.member),
            Self::Mask(header) => write!(f, "Record({name} of {})", header.member),
            Self::MaskChunk { group, digest, index, .. } => {
                write!(f, "Record({name} {index} of {digest}, group {group})")
            }
            Self::Completed(completed) => write!(f, "Record({name}, {completed:?})"),
            Self::RoundFailed { round, reason } => write!(f, "Record({name} {round}: {reason})"),
            Self::AnnounceEnded | Self::UpdateEnded | Self::AgreeEnded | Self::Sum2Ended => {
                write!(f, "Record({name})")
            }
        }
    }
}

impl Record {
    /// What kind of record it is, in a few words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoundBegan { .. } => "round began",
            Self::Announcement(_) => "announcement",
            Self::AnnounceEnded => "announce phase ended",
            Self::Header { .. } => "update header",
            Self::Rekeyed { .. } => "update sealed anew",
            Self::Chunk { .. } => "update chunk",
            Self::UploadDropped { .. } => "upload dropped",
            Self::UpdateEnded => "update phase ended",
            Self::Report(_) => "report",
            Self::CheckEnded { .. } => "check phase ended",
            Self::Vote(_) => "vote",
            Self::AgreeEnded => "agree phase ended",
            Self::Mask(_) => "mask header",
            Self::MaskChunk { .. } => "mask chunk",
            Self::Sum2Ended => "sum2 phase ended",
            Self::Completed(_) => "round completed",
            Self::RoundFailed { .. } => "round failed",
        }
    }

    /// Whether a phase begins with it: its clock begins anew.
    pub fn begins_phase(&self) -> bool {
        matches!(
            self,
            Self::RoundBegan { .. }
                | Self::AnnounceEnded
                | Self::UpdateEnded
                | Self::CheckEnded { .. }
                | Self::AgreeEnded
                | Self::Sum2Ended
                | Self::Completed(_)
                | Self::RoundFailed { .. }
        )
    }

    /// The part that is stored apart, in a round with this number and chunks of
    /// [`TREE_LEAF`](crate::v2::TREE_LEAF) bytes.
    pub fn large(&self, round: u64) -> Option<Large> {
        let chunk = |kind, index: u32, data: &Bytes| Large::Chunk {
            object: Object { round, kind },
            offset: u64::from(index) * crate::v2::TREE_LEAF as u64,
            data: data.clone(),
        };
        Some(match self {
            Self::Chunk { updater, index, data } => {
                chunk(ObjectKind::Update(*updater), *index, data)
            }
            Self::MaskChunk { group, digest, index, data } => {
                let kind = ObjectKind::Mask { group: *group, digest: *digest };
                chunk(kind, *index, data)
            }
            Self::Completed(completed) => Large::Completed(completed.clone()),
            _ => return None,
        })
    }

    /// How many bytes of chunks are in it.
    pub(super) fn chunk_bytes(&self) -> u64 {
        match self {
            Self::Chunk { data, .. } | Self::MaskChunk { data, .. } => data.len() as u64,
            _ => 0,
        }
    }
}
