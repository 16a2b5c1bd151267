//! The large objects of a round, which a driver stores chunk by chunk.

use std::fmt;

use crate::crypto::{Digest, PublicSigningKey};

/// A masked model or a group mask: it came in chunks, is stored by the driver, and is read back as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// The round's number.
    pub round: u64,
    /// Which of the round's objects.
    pub kind: ObjectKind,
}

/// Which object of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ObjectKind {
    /// The masked model of an updater.
    Update(PublicSigningKey),
    /// A mask of a group, which one or more of its members have signed the digest of.
    Mask {
        /// The group's number.
        group: u8,
        /// The digest.
        digest: Digest,
    },
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ObjectKind::Update(updater) => {
                write!(f, "the masked model of updater {updater} in round {}", self.round)
            }
            ObjectKind::Mask { group, digest } => {
                write!(f, "the mask {digest} of group {group} in round {}", self.round)
            }
        }
    }
}
