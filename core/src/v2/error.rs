//! Who is to blame, and why bytes are not what they should be.

use std::fmt;

use thiserror::Error;

use super::roster::{InvalidRoster, MemberId};
use crate::crypto::PublicSigningKey;

/// Who has to do something about a failure or a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// The coordinator has published or asked for something that it must not.
    Coordinator,
    /// A member of a group.
    Member(MemberId),
    /// An updater.
    Updater(PublicSigningKey),
    /// The admission authority, or whoever should have renewed a credential with it.
    Authority,
    /// Our own settings, or our clock.
    Settings,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.write_str("the coordinator"),
            Self::Member(member) => write!(f, "member {member}"),
            Self::Updater(key) => write!(f, "updater {key}"),
            Self::Authority => f.write_str("the admission authority"),
            Self::Settings => f.write_str("the settings here"),
        }
    }
}

/// Why bytes are not a value of version 2. Whoever made or passed on the bytes is to blame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A version of the protocol that this program does not know.
    #[error(
        "the {what} is of version {found} of the protocol, and this program knows version {known}: \
         update the older of the two programs"
    )]
    UnknownVersion {
        /// What was to be read.
        what: &'static str,
        /// What the first byte says.
        found: u8,
        /// What is understood.
        known: u8,
    },
    /// It ends in the middle of a field.
    #[error("the {what} ends inside its {field}")]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Where it ends.
        field: &'static str,
    },
    /// Something follows it.
    #[error("{count} bytes follow the {what}")]
    TrailingBytes {
        /// What was read.
        what: &'static str,
        /// How many bytes are too many.
        count: usize,
    },
    /// A field does not hold a legal value.
    #[error("the {field} of the {what} {reason}")]
    Malformed {
        /// What was to be read.
        what: &'static str,
        /// Where.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A roster that breaks a rule of rosters.
    #[error(transparent)]
    Roster(#[from] InvalidRoster),
}
