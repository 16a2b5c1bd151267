//! Messages that were opened and verified.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::phases::Upload;
use super::MessageKind;
use crate::crypto::{Digest, PublicEncryptKey, PublicSigningKey};
use crate::v2::{Announcement, Context, GroupMaskHeader, MemberId, Report, UpdateHeader, Vote};

/// A message that is authentic, well-formed, for this round, and from whoever may send it. What it means beside the other
/// messages is for the machine to say.
#[derive(Clone)]
pub struct Verified {
    pub(super) context: Context,
    pub(super) body: Body,
}

/// What a verified message carries.
#[derive(Clone)]
pub(super) enum Body {
    /// It was sent in an earlier phase, and is there.
    Known(MessageKind),
    Announcement(Announcement),
    Header {
        header: Arc<UpdateHeader>,
        key: PublicEncryptKey,
    },
    /// A chunk that is the one that the upload's header has the hash of.
    Chunk {
        upload: Arc<Upload>,
        index: u32,
        data: Bytes,
    },
    /// A chunk of an upload that is complete, or is not there: the machine knows.
    AnyChunk {
        updater: PublicSigningKey,
    },
    Report(Arc<Report>),

    Vote(Vote),
    Mask(Arc<GroupMaskHeader>),
    MaskChunk {
        member: MemberId,
        digest: Digest,
        index: u32,
        data: Bytes,
    },
}

impl Body {
    pub(super) fn kind(&self) -> MessageKind {
        match self {
            Self::Known(kind) => *kind,
            Self::Announcement(_) => MessageKind::Announcement,
            Self::Header { .. } => MessageKind::Header,
            Self::Chunk { .. } | Self::AnyChunk { .. } => MessageKind::Chunk,
            Self::Report(_) => MessageKind::Report,
            Self::Vote(_) => MessageKind::Vote,
            Self::Mask(_) => MessageKind::Mask,
            Self::MaskChunk { .. } => MessageKind::MaskChunk,
        }
    }
}

impl Verified {
    /// The kind of message.
    pub fn kind(&self) -> MessageKind {
        self.body.kind()
    }

    /// The member that it is of, if it is a member's.
    pub fn member(&self) -> Option<MemberId> {
        match &self.body {
            Body::Announcement(announcement) => Some(announcement.member),
            Body::Report(report) => Some(report.member),
            Body::MaskChunk { member, .. } => Some(*member),
            Body::Vote(vote) => Some(vote.member),
            Body::Mask(header) => Some(header.member),
            _ => None,
        }
    }

    /// The updater that it is of, if it is an updater's.
    pub fn updater(&self) -> Option<PublicSigningKey> {
        match &self.body {
            Body::Header { header, .. } => Some(header.updater),
            Body::Chunk { upload, .. } => Some(upload.header.updater),
            Body::AnyChunk { updater } => Some(*updater),
            _ => None,
        }
    }
}

/// Shows no content.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("kind", &self.kind())
            .field("member", &self.member())
            .field("updater", &self.updater())
            .finish_non_exhaustive()
    }
}
