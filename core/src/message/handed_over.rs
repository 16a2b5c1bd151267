//! A message that never leaves its process.

use std::fmt;

use bytes::Bytes;

/// A participant's message on its way to a coordinator's machine in the same process, as in a simulation: complete, but neither
/// signed nor sealed, and the mask seeds in it are not sealed either. What these protect from, others that read or change it on
/// its way, is not there.
///
/// Only a participant's machine makes one, with
/// [`Settings::hand_over`](crate::participant::Settings::hand_over), and only
/// [`Front::take`](crate::coordinator::Front::take) reads it. Nothing here makes one of bytes that have come from elsewhere, and none
/// is ever posted. While it is under way it is also in the participant's
/// [`Snapshot`](crate::participant::Snapshot), which is secret in any case.
#[derive(Clone)]
pub struct HandedOver {
    /// A frame: the message behind the room for its seal.
    pub(crate) frame: Bytes,
}

/// Shows no content: the mask seeds are in it.
impl fmt::Debug for HandedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandedOver({} bytes)", self.frame.len())
    }
}
