//! The coordinator's long work.

mod add;
mod decide;
mod intact;
mod unmask;

use std::sync::Arc;

pub(super) use add::Add;
pub(super) use decide::Decide;
pub(super) use intact::{Leaves, Stored};
pub(super) use unmask::{Noisy, Unmask};

use super::{ObjectKind, RoundFailure, Ruling};
use crate::coordinator;
use crate::mask::{Aggregation, NoisyUnmaskPart, UnmaskPart};
use crate::model::Model;
use crate::v2::ModelHash;

/// What a coordinator's job has done. Opaque: it is handed back to the machine.
pub enum Outcome {
    #[doc(hidden)]
    Decided(Box<Ruling>),
    /// A part of the work of adding up, which is that of version 1.
    #[doc(hidden)]
    Part(coordinator::Outcome),
    #[doc(hidden)]
    Intact(Option<ObjectKind>),
    /// What was read back is not what was stored.
    #[doc(hidden)]
    Damaged(ObjectKind),
    #[doc(hidden)]
    Added(Arc<Aggregation>),
    #[doc(hidden)]
    UnmaskedRange(UnmaskPart),
    #[doc(hidden)]
    NoisyRange(NoisyUnmaskPart),
    #[doc(hidden)]
    Unmasked(Result<(Arc<Model>, ModelHash), RoundFailure>),
    #[doc(hidden)]
    Released,
}
