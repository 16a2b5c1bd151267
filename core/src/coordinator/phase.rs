//! The names of the phases. What happens in them is in [`phases`](super::phases).

use serde::{Deserialize, Serialize};

use super::phases::facts;
use crate::message::Tag;

/// Where in a round the coordinator is (specification, section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// Between two rounds.
    Idle,
    /// Sum participants announce themselves.
    Sum,
    /// Update participants send masked models.
    Update,
    /// Sum participants send the sum of the masks.
    Sum2,
    /// The mask is taken off the sum of the models.
    Unmask,
    /// The round has failed; the next begins when the store answers.
    Failure,
    /// The end.
    Shutdown,
}

impl Phase {
    /// The only messages that are accepted in this phase, if any are.
    pub fn accepts(self) -> Option<Tag> {
        facts(self).accepts
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(facts(*self).name)
    }
}
