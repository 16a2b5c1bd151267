//! The end.

use super::{Collected, Facts, NO_MESSAGES};

pub(super) const FACTS: Facts = Facts { name: "shutdown", ..NO_MESSAGES };

/// Nothing is gone on with.
pub(super) struct Shutdown;

impl Collected for Shutdown {
    fn is_sound(&self, _: &super::Round, _: &super::Parts) -> bool {
        false
    }
}
