//! Recording all that a machine is told, and replaying it.
//!
//! **A record holds all secrets of its machine**: signing keys, seeds, local models, the keys of rounds.
//! It is for tests, and for looking into a fault with test data; nothing records unless it is asked to.
//!
//! A [`Recorded`] machine behaves as the machine alone; what it is told, and when, goes to a [`Sink`] as
//! bytes. [`replay`] tells another machine the same and compares all that it says, without any IO. Of a
//! job's result only that it came is written: the replay runs the job itself.
//!
//! The bytes are a header (`PETr`, a version, the kind of machine), what the machine began with, one
//! entry for each input, and one for the end. An entry has: how often the machine was asked for outputs
//! before it, a hash of all that the machine has said so far, the time, and the input. At the end the
//! machine's snapshot counts as said.

mod machine;
mod replay;

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::crypto::{Blake2b, Digest};
use crate::time::Timestamp;

pub(crate) use machine::Machine;
pub(crate) use replay::Jobs;
pub use replay::{replay, Replay, ReplayError};

const MAGIC: [u8; 4] = *b"PETr";
/// Another one whenever records are written otherwise. (A change of what a machine says needs none: the
/// replay finds it.)
const VERSION: u16 = 2;

/// Takes the bytes of a record. Called with whole entries.
pub type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// A machine that can be recorded: a [`Participant`](crate::participant::Participant), an
/// [`Updater`](crate::v2::Updater) or a [`Coordinator`](crate::coordinator::Coordinator).
pub trait Recordable: Machine {}

/// One input.
#[derive(Serialize, Deserialize)]
struct Entry<I> {
    /// How often the machine was asked since the input before.
    polls: u32,
    /// The hash of all that it has said so far.
    said: Digest,
    now: Timestamp,
    /// Nothing at the end of the record.
    input: Option<I>,
}

/// What a machine has said, as a hash that grows with it.
struct Said(Digest);

impl Said {
    const NOTHING: Self = Self(Digest::new([0; 32]));

    fn add(&mut self, what: &dyn fmt::Debug, content: &[u8]) {
        self.0 = Blake2b::hash(&[self.0.as_bytes(), format!("{what:?}").as_bytes(), content]);
    }

    fn add_end(&mut self, machine: &impl Machine) {
        self.add(&"end", &machine.state());
    }
}

struct Tape {
    sink: Sink,
    polls: u32,
    said: Said,
    now: Timestamp,
}

impl Tape {
    fn begin<M: Machine>(mut sink: Sink, beginning: &M::Beginning) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.push(M::KIND);
        write_to(&mut bytes, beginning);
        sink(&bytes);
        Self { sink, polls: 0, said: Said::NOTHING, now: Timestamp::ZERO }
    }

    fn entry<I: Serialize>(&mut self, now: Timestamp, input: Option<I>) {
        let polls = std::mem::take(&mut self.polls);
        self.now = now;
        let mut bytes = Vec::new();
        write_to(&mut bytes, &Entry { polls, said: self.said.0, now, input });
        (self.sink)(&bytes);
    }
}

fn write_to(bytes: &mut Vec<u8>, value: &impl Serialize) {
    bincode::serialize_into(bytes, value).expect("plain fields serialize into memory");
}

/// A machine that may be recorded. Everything but [`handle_input`](Self::handle_input) and
/// [`poll_output`](Self::poll_output) is the machine's own.
pub struct Recorded<M: Recordable> {
    machine: M,
    tape: Option<Tape>,
}

/// A machine that is not recorded.
impl<M: Recordable> From<M> for Recorded<M> {
    fn from(machine: M) -> Self {
        Self { machine, tape: None }
    }
}

impl<M: Recordable> Recorded<M> {
    /// A machine that is recorded from its beginning.
    pub(crate) fn begin(beginning: M::Beginning, sink: Sink) -> Result<Self, String> {
        let tape = Tape::begin::<M>(sink, &beginning);
        Ok(Self { machine: M::begin(beginning)?, tape: Some(tape) })
    }

    /// Whether it is.
    pub fn is_recorded(&self) -> bool {
        self.tape.is_some()
    }

    /// The machine itself, to be set up before it is told anything: the record begins afterwards.
    pub(crate) fn set_up(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The machine's `handle_input`.
    ///
    /// # Errors
    /// As the machine's own.
    pub fn handle_input(&mut self, now: Timestamp, input: M::Input) -> Result<(), M::Reject> {
        self.tell_of_lost_jobs(now);
        self.tell(now, input)
    }

    fn tell(&mut self, now: Timestamp, input: M::Input) -> Result<(), M::Reject> {
        let Some(tape) = &mut self.tape else { return self.machine.tell(now, input) };
        tape.entry(now, Some(M::write(&input)));
        let outcome = self.machine.tell(now, input);
        if let Err(reject) = &outcome {
            tape.said.add(reject, &[]);
        }
        outcome
    }

    /// A loss is an input of its own in the record.
    fn tell_of_lost_jobs(&mut self, now: Timestamp) {
        for id in self.machine.take_lost_jobs() {
            // One that is no longer needed: nothing is wrong.
            let _ = self.tell(now, M::job_lost(id));
        }
    }

    /// The machine's `poll_output`.
    pub fn poll_output(&mut self) -> M::Output {
        let now = self.tape.as_ref().map_or(Timestamp::ZERO, |tape| tape.now);
        self.tell_of_lost_jobs(now);
        let output = self.machine.ask();
        if let Some(tape) = &mut self.tape {
            tape.polls += 1;
            tape.said.add(&output, &M::content(&output));
        }
        output
    }
}

impl<M: Recordable> Deref for Recorded<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.machine
    }
}

impl<M: Recordable + fmt::Debug> fmt::Debug for Recorded<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.machine.fmt(f)
    }
}

/// Ends the record, so that what was said last is compared as well.
impl<M: Recordable> Drop for Recorded<M> {
    fn drop(&mut self) {
        if let Some(tape) = &mut self.tape {
            tape.said.add_end(&self.machine);
            tape.entry(tape.now, None::<M::Written>);
        }
    }
}
