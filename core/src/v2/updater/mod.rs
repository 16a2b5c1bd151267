//! The updater's state machine: a participant of version 2.
//!
//! An [`Updater`] takes the inputs of a [`Participant`](crate::participant::Participant) and gives its outputs, so that
//! whoever drives one drives the other: see [`participant`](crate::participant) for how. Its time is the time of day, in
//! milliseconds since 1970: it compares what others have signed with it.
//!
//! # What it insists on
//! It pins the hash of a roster, and takes part only where all of this holds; otherwise it says what does not, who is to
//! blame and what to do ([`Event::Refused`](crate::participant::Event::Refused), a [`Refusal`]):
//!
//! - The coordinator offers rounds of version 2, with the pinned roster and terms that the pin allows. It never speaks
//!   version 1.
//! - The global model is the one that the terms name, and has a certificate of that roster. Its own model is in the sum,
//!   or it says that it was left out ([`Event::Certified`](crate::participant::Event::Certified)).
//! - Members of a majority of every group have announced themselves for these very terms.
//! - The credential admits it, and its privacy budget is not spent.
//!
//! # What it promises
//! It makes one statement in a round, and remembers that. Its seeds depend on all that is masked with them: whatever moment it is
//! restored from, no two different models are ever masked with the same seed. Both are tested in `tests/promises.rs`.

mod base;
mod delivery;
mod jobs;
mod look;
mod machine;
mod record;
mod refusal;
mod results;
mod state;
#[cfg(test)]
mod tests;
mod update;

pub use crate::mask::accounting::Ledger;
pub use jobs::UpdaterOutcome;
pub use machine::Updater;
pub use refusal::{Refusal, LARGEST_FIRST, LONGEST_LEAP};
pub(crate) use state::{is_snapshot, State, ENVELOPE};

/// The delta that what was spent is told for where no budget says another.
pub const DEFAULT_DELTA: f64 = 1e-5;
