//! Explores everything that can happen in a small federation.
//!
//! A coordinator and a few participants, with the real machines and the real cryptography; and between
//! them all that a network, a store and the time can do: messages that are lost, come twice, come late or
//! in another order; answers that are lost; jobs that end at any moment; records that are stored at any
//! moment; phases that end; both sides crashing, and being restored from what was saved. Every state that
//! can be reached within the bounds of a [`Plan`] is visited once, breadth first, so that the trace of a
//! violation is a shortest one.
//!
//! # What makes it small
//! Each machine alone has few states. They are numbered, and what an input does to one of them is
//! computed once: a state of the whole is a handful of numbers, and a step mostly a lookup.
//!
//! Steps that only concern one participant need not be told apart from the step before, as nobody can
//! see the difference. These reductions are sound, for the reasons given:
//!
//! 1. A participant's pauses, its jobs, and the user's model when it is asked for, belong to the step that
//!    brings them about. (Its next request can take any time to arrive, which is a pause. A crash in the
//!    middle of a job is one before the job: the snapshot is the same.)
//! 2. A GET is read and answered in one step. (Until the answer comes the participant does nothing; a
//!    late answer is the same as a late next request.)
//! 3. The answer to a POST reaches its sender at once. (For the same reason. That the answer is lost is
//!    the same as that the sender stops waiting before.)
//! 4. When the coordinator crashes, all who wait for an answer notice at once.
//!
//! # What is checked
//! Always, and on every path:
//! - the records that the coordinator puts out obey the grammar of a round: nothing is accepted outside
//!   its phase, and nobody's message is counted twice ([`Ledger`]);
//! - a global model is the mean of exactly the accepted updates, and a failed round has a named failure
//!   that honest participants can bring about;
//! - what was acknowledged is never forgotten, crashes included;
//! - no mask seed is used for two different masked models, in all that can happen taken together;
//! - every sum of masks that is sent is over at least three masks, and on one path never over two
//!   different sets of masks in one round: no data that the coordinator sees unmasks less than three updates;
//! - each machine always waits for something that can come.
//!
//! In the end: from every state a round's end can be reached without any further fault; and some path
//! ends in a global model.

mod cast;
mod clients;
mod ledger;
mod letters;
pub mod plans;
mod search;
mod server;
mod world;

pub use cast::{Cast, Plan};
pub use ledger::{End, Ledger};
pub use letters::Letters;
pub use search::{explore, Report, Violation};
