//! The kinds of messages.

use std::fmt;

use crate::v2::Call;

/// What members and updaters send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// A member's announcement.
    Announcement,
    /// The sealed header of an update.
    Header,
    /// A chunk of a masked model.
    Chunk,
    /// A member's report.
    Report,
    /// A member's vote.
    Vote,
    /// The header of a group mask, with the member's signature.
    Mask,
    /// A chunk of a group mask.
    MaskChunk,
}

impl MessageKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Announcement,
        Self::Header,
        Self::Chunk,
        Self::Report,
        Self::Vote,
        Self::Mask,
        Self::MaskChunk,
    ];

    /// What a call sends; nothing if it asks for something.
    pub fn of(call: &Call) -> Option<Self> {
        Some(match call {
            Call::Announce(_) => Self::Announcement,
            Call::Update(_) => Self::Header,
            Call::UpdateChunk { .. } => Self::Chunk,
            Call::Report(_) => Self::Report,
            Call::Vote(_) => Self::Vote,
            Call::Mask(_) => Self::Mask,
            Call::MaskChunk { .. } => Self::MaskChunk,
            _ => return None,
        })
    }

    /// A short, stable name, for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Announcement => "announcement",
            Self::Header => "update_header",
            Self::Chunk => "update_chunk",
            Self::Report => "report",
            Self::Vote => "vote",
            Self::Mask => "mask_header",
            Self::MaskChunk => "mask_chunk",
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Announcement => "an announcement",
            Self::Header => "the header of an update",
            Self::Chunk => "a chunk of an update",
            Self::Report => "a report",
            Self::Vote => "a vote",
            Self::Mask => "the header of a mask",
            Self::MaskChunk => "a chunk of a mask",
        })
    }
}
