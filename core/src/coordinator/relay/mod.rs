//! Relays: how a replica takes messages when the machine runs at another one.
//!
//! A [`Relay`] stands where messages come in, and writes letters to wherever the machine runs. Letters and their
//! answers may come late, twice, or never, and another machine may answer than the one that was asked; the relay sees to
//! it that each sender is told what is true, and that each update that counts is in exactly one part.
//!
//! * A sum or sum2 message, and a chunk, goes as a letter as a whole; what of it is large is stored first, as a part
//!   that the letter names. The machine's answer is the sender's.
//! * Of an update the [`Admission`] goes as a letter, and the masked model stays: as [`shards`](super::shards) says, it is
//!   added to the relay's sum together with others, the sum is stored as a part, and the sender is told `Ok` once that
//!   part is recorded. Each relay is a [`Shard`] of its own.
//!
//! What a relay is told: verified messages, what the log shows ([`Input::Log`]), answers, and what became of parts and
//! jobs. What it says is done as with any machine: [`Relay::poll_output`] until it is [`Output::Idle`].
//!
//! # What can go wrong
//! * **The machine is another one** (the log shows another epoch): whoever was reserved is admitted again. Letters without
//!   an answer need not be written anew: whoever runs the machine reads them.
//! * **A part is turned down** as not reserved: its participants are admitted again; if all are, the same part is
//!   handed in again, else another one is made without those that are not.
//! * **No answer comes**: after [`PATIENCE`] the sender is told that its message is in progress, which is nothing final. An
//!   update stays none the less: if it comes again it is the same one. So does another message, which takes up room until it
//!   is answered. Letters are posted again now and then, unless they are still on their way; the same letter may be
//!   answered twice.
//! * **The phase ends**: what the log shows is the truth. What is recorded counts; all else came too late.
//! * **Too much is held**: the sender is told to come again ([`Rejection::ShardFull`]).

mod answer;
mod io;
mod letter;
mod machine;
mod part;
mod passed;
mod updates;

use std::time::Duration;

pub use answer::{read_answer, write_answer, Told};
pub use io::{Content, Idle, Input, Limits, Output, Seen, Why};
pub use letter::{Letter, LetterNumber, Piece};
pub use machine::Relay;

use super::{
    Admission, EnvelopeError, Front, Job, JobResult, MaskedModel, PartDone, PartId, Phase,
    Rejection, Shard, ShardSum, Ticket, Verified, MOST_IN_PART,
};

/// How long a sender waits for its answer; then it is told to come again.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long an update that is reserved waits for others, if there are others: at least so long, and as long as it took to store
/// and record the part before. What a part costs is the same however many updates it adds, so at most half of the time goes to that.
pub const LINGER: Duration = Duration::from_millis(100);

/// And no longer than this, however long parts take.
pub const MOST_LINGER: Duration = Duration::from_secs(1);

/// A letter without an answer is posted again after so long: it may be lost, with all that a replica had posted that was
/// believed to be gone.
const REPEAT: Duration = Duration::from_secs(20);

/// So soon a letter is posted again that the machine had no room for.
const RETRY: Duration = Duration::from_millis(200);

/// How many senders wait for the same update.
const MOST_WAITING: usize = 4;
