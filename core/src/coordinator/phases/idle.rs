//! Between two rounds.

use super::{Collected, Facts, NO_MESSAGES};

pub(super) const FACTS: Facts = Facts { name: "idle", ..NO_MESSAGES };

/// Nothing is collected. The next round begins at once, unless the operator has paused them.
pub(super) struct Idle;

impl Collected for Idle {
    /// A machine rests here only when it is paused, and that is not saved.
    fn is_sound(&self, _: &super::Round, _: &super::Parts) -> bool {
        false
    }
}
