//! The participant's state machine (specification, section 6).
//!
//! A [`Participant`] is told what happened ([`Participant::handle_input`]) and says what should happen
//! next ([`Participant::poll_output`]). It talks to no one itself: its driver sends the requests, runs
//! the jobs, and keeps the time.
//!
//! # How to drive it
//! 1. Call `poll_output` until it gives [`Output::Idle`]; do what each output says.
//! 2. Wait for whatever comes first: an answer to a request, a finished job, a command of the user,
//!    or `wake_at`.
//! 3. Tell the machine with `handle_input`, and begin again.
//!
//! Inputs are correct at any time, also while outputs are still queued. The crate's front page has a
//! complete example.
//!
//! # Few requests
//! A driver that can do something else while a request is under way may say [`Input::Patience`]. Then a participant that
//! only waits for news lets the coordinator hold its answers back until there is some ([`Participant::patience`] of the
//! request), instead of asking again and again. Pauses count from when such a request was sent: an answer that was held
//! back is followed by the next look at once, and a coordinator that does not hold back is asked as often as without
//! patience. If such requests are cut off, as by a proxy, that is no trouble; they ask for less, and a request that is
//! answered at once tells whether anybody is there.
//!
//! # Randomness
//! All keys and mask seeds are derived from one [`RootSeed`](crate::crypto::RootSeed) per (round,
//! purpose). A mask seed also depends on the model that it masks, its scalar, and the round's
//! parameters: a participant that is restored from an old snapshot and given another model masks it
//! with another seed, without having to remember anything.

mod answers;
mod holding;
mod io;
mod jobs;
mod machine;
mod models;
mod passed;
mod record;
mod results;
mod rounds;
mod settings;
mod snapshot;
mod stage;
#[cfg(test)]
mod tests;
mod versions;

pub(crate) use holding::give_up;
pub(crate) use io::advice;

pub use crate::snapshot::EnvelopeError as RestoreError;
pub use io::{
    Event, FetchError, Idle, Input, ModelMismatch, Output, Reject, TransportFault, Trouble,
    TroubleReason, Why,
};
pub use jobs::{ComposeError, Outcome};
pub use machine::Participant;
pub(crate) use models::fits;
pub(crate) use record::{read_input, write_input, Written};
pub use settings::{Polling, Settings};
pub(crate) use snapshot::is_snapshot;
pub use snapshot::Snapshot;
pub use versions::Machine;

/// A participant's job.
pub type Job = crate::job::Job<Outcome>;
/// What a participant's job has done.
pub type JobResult = crate::job::JobResult<Outcome>;
