//! Inputs and outputs of a relay.

use std::fmt;

use bytes::Bytes;

use super::{
    Front, Job, JobResult, Letter, LetterNumber, PartId, Rejection, ShardSum, Ticket, Verified,
};
use crate::time::Timestamp;

/// The most that a relay holds; beyond it messages are turned away until there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of masked models, masks and chunks.
    pub bytes: usize,
    /// Messages.
    pub messages: usize,
}

/// What the log shows, as far as it was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What is published.
    pub front: Front,
    /// The latest epoch: it is another one when another machine runs.
    pub epoch: u64,
    /// The part of the relay's [shard](super::Relay::shard) that was recorded last, in this round or the one before.
    pub recorded: Option<PartId>,
    /// Whether all records since the last look were read: some may be gone when nobody looked for long.
    pub complete: bool,
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// Time has passed, and nothing else has happened.
    Tick,
    /// A message was opened and verified.
    Message {
        /// To be given back with the reply.
        ticket: Ticket,
        /// The message.
        message: Verified,
    },
    /// The log was read. To be told before anybody opens messages with this front.
    Log(Box<Seen>),
    /// A letter is in the engine: it may be posted again if no answer comes.
    Posted {
        /// Which.
        letter: LetterNumber,
    },
    /// A letter cannot be posted, whatever is tried.
    NotPosted {
        /// Which.
        letter: LetterNumber,
    },
    /// A letter was answered.
    Answered {
        /// Which.
        letter: LetterNumber,
        /// How.
        outcome: Result<(), Rejection>,
    },
    /// What was to be stored is safe.
    Stored {
        /// Under this name.
        part: PartId,
    },
    /// What was to be stored cannot be, or not for now.
    NotStored {
        /// Under this name.
        part: PartId,
    },
    /// A job is finished.
    JobDone(JobResult),
    /// The job was lost. (There is one at a time that is waited for.)
    JobLost,
}

/// Something that should happen.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "an output is said once: do what it says, and ask for the next one until it is Idle"]
pub enum Output {
    /// Post a letter to whoever runs the machine, in order; try until that is done, and tell [`Input::Posted`]. Until then
    /// the same letter is not given out again; later it may be. One that is posted already and has no answer need not be
    /// posted twice.
    Post {
        /// The relay's number for it.
        number: LetterNumber,
        /// The letter.
        letter: Letter,
    },
    /// Store bytes under a name; try until that is done.
    Store {
        /// The name.
        part: PartId,
        /// What to store.
        content: Content,
    },
    /// Run a job on any thread and report its result.
    Job(Job),
    /// Answer the sender of a message.
    Reply {
        /// Which.
        ticket: Ticket,
        /// Whether it counts.
        outcome: Result<(), Rejection>,
    },
    /// There is nothing to do until the next input.
    Idle(Idle),
}

/// What is to be stored.
#[derive(Clone)]
pub enum Content {
    /// The sum of models: [`ShardSum::to_bytes`] gives the bytes, which takes as long as a model is.
    Sum(ShardSum),
    /// The large piece of a message, which no other letter names.
    Piece(Bytes),
    /// A mask, which other letters name as well.
    Mask(Bytes),
}

/// Shows its size.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum(sum) => write!(f, "{sum:?}"),
            Self::Piece(bytes) => write!(f, "Piece({} bytes)", bytes.len()),
            Self::Mask(bytes) => write!(f, "Mask({} bytes)", bytes.len()),
        }
    }
}

/// Nothing is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// When to come back with [`Input::Tick`] if nothing else happens before.
    pub wake_at: Option<Timestamp>,
    /// What is waited for.
    pub why: Why,
}

/// What a relay waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Messages: nothing is under way.
    Messages,
    /// More updates, for a little while, to add them up together.
    Updates,
    /// Answers, or that something is stored.
    Engine,
    /// The end of a job.
    Job,
    /// The log: what became of a part.
    Log,
}

impl Idle {
    /// Nothing to do before this time, or before the next input.
    pub fn new(wake_at: Option<Timestamp>, why: Why) -> Self {
        Self { wake_at, why }
    }
}
