//! Errors of messages.

use thiserror::Error;

use crate::crypto::{PublicSigningKey, Signature};
use crate::mask::MaskObjectError;

/// Why a message is refused. All of these are the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is not a sealed box for the round's key.
    #[error("the message does not open: it is damaged or was sealed for another round's key")]
    DoesNotOpen,
    /// It ends in the middle of a field.
    #[error(
        "the message ends inside its {field}: {needed} bytes are needed, {available} are there"
    )]
    Truncated {
        /// The field that is cut.
        field: &'static str,
        /// How many bytes the field has.
        needed: usize,
        /// How many there are.
        available: usize,
    },
    /// The length field is not the number of bytes received.
    #[error("the length field says {stated} bytes, but {actual} were received")]
    Length {
        /// What the field says.
        stated: u32,
        /// How many bytes there are.
        actual: usize,
    },
    /// The tag is none of sum, update and sum2.
    #[error("unknown message tag {0}: 1 (sum), 2 (update) and 3 (sum2) are known")]
    UnknownTag(u8),
    /// The signature is not the participant's.
    #[error("the signature is not the participant's, or does not cover the message")]
    BadSignature,
    /// It is meant for another coordinator or round.
    #[error("the message names another coordinator key: it belongs to another round")]
    OtherCoordinator,
    /// A task signature does not have the form of an Ed25519 signature.
    #[error("the {field} is not in the form of an Ed25519 signature")]
    MalformedSignature {
        /// Which signature.
        field: &'static str,
    },
    /// Something follows the payload.
    #[error("{count} bytes follow the end of the {field}")]
    TrailingBytes {
        /// What should have been last.
        field: &'static str,
        /// How many bytes are too many.
        count: usize,
    },
    /// The masked model or mask is malformed.
    #[error(transparent)]
    MaskObject(#[from] MaskObjectError),
    /// The length field of the local seed dictionary fits no number of entries.
    #[error(
        "the seed dictionary's length {0} is not 4 bytes and a whole number of 112-byte entries"
    )]
    SeedDictLength(u32),
    /// The local seed dictionary has an entry twice.
    #[error("the seed dictionary has two entries for sum participant {0}")]
    DuplicateSeed(PublicSigningKey),
}

impl MessageError {
    /// A short, stable name of the reason, for counting.
    pub fn label(&self) -> &'static str {
        match self {
            Self::DoesNotOpen => "does_not_open",
            Self::Truncated { .. } => "truncated",
            Self::Length { .. } => "length",
            Self::UnknownTag(_) => "unknown_tag",
            Self::BadSignature => "bad_signature",
            Self::OtherCoordinator => "other_coordinator",
            Self::MalformedSignature { .. } => "malformed_signature",
            Self::TrailingBytes { .. } => "trailing_bytes",
            Self::MaskObject(_) => "mask_object",
            Self::SeedDictLength(_) => "seed_dict_length",
            Self::DuplicateSeed(_) => "duplicate_seed",
        }
    }

    /// Whether it is found before it is known that the message is the participant's.
    pub(crate) fn is_before_authentication(&self) -> bool {
        match self {
            Self::DoesNotOpen
            | Self::Truncated { field: HEADER, .. }
            | Self::Length { .. }
            | Self::UnknownTag(_)
            | Self::BadSignature
            | Self::OtherCoordinator => true,
            Self::Truncated { .. }
            | Self::MalformedSignature { .. }
            | Self::TrailingBytes { .. }
            | Self::MaskObject(_)
            | Self::SeedDictLength(_)
            | Self::DuplicateSeed(_) => false,
        }
    }
}

/// What errors call a message's header.
pub(super) const HEADER: &str = "header";

/// Takes a fixed number of bytes off the front of a slice.
pub(super) fn take<'a>(
    bytes: &mut &'a [u8],
    needed: usize,
    field: &'static str,
) -> Result<&'a [u8], MessageError> {
    let (head, tail) = bytes.split_at_checked(needed).ok_or(MessageError::Truncated {
        field,
        needed,
        available: bytes.len(),
    })?;
    *bytes = tail;
    Ok(head)
}

/// Like [`take`], as an array.
pub(super) fn take_array<const N: usize>(
    bytes: &mut &[u8],
    field: &'static str,
) -> Result<[u8; N], MessageError> {
    let mut array = [0; N];
    array.copy_from_slice(take(bytes, N, field)?);
    Ok(array)
}

/// Takes a signature off the front of a slice, if it is in the form of one: the highest three bits are
/// never set (RFC 8032, section 5.1.7).
pub(super) fn take_signature(
    bytes: &mut &[u8],
    field: &'static str,
) -> Result<Signature, MessageError> {
    let signature: [u8; Signature::LENGTH] = take_array(bytes, field)?;
    if signature[Signature::LENGTH - 1] & 0xe0 != 0 {
        return Err(MessageError::MalformedSignature { field });
    }
    Ok(Signature::new(signature))
}

/// Refuses anything left over.
pub(super) fn end(bytes: &[u8], field: &'static str) -> Result<(), MessageError> {
    match bytes.len() {
        0 => Ok(()),
        count => Err(MessageError::TrailingBytes { field, count }),
    }
}
