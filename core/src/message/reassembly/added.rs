//! The outcome for a chunk.

use super::Complete;

/// The outcome for a chunk that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Added {
    /// It is kept.
    New,
    /// It is there already: nothing has changed.
    Duplicate,
    /// It was the last one missing. Nothing is kept of the message any more.
    Complete(Complete),
}

impl Added {
    /// The message, if it is complete.
    pub fn complete(self) -> Option<Complete> {
        match self {
            Self::Complete(complete) => Some(complete),
            Self::New | Self::Duplicate => None,
        }
    }
}
