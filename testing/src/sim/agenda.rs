//! The agenda: what is going to happen, in order.

use std::collections::BTreeMap;

use pet_core::coordinator;
use pet_core::participant;
use pet_core::request::{Call, RequestId, Response};
use pet_core::time::Timestamp;

use super::lies::Lie;

/// Something that is going to happen.
#[derive(Debug)]
pub enum Happening {
    /// A participant has asked to be woken.
    ClientWakes(usize),
    /// A participant's job is finished.
    ClientJob(Life, participant::Job),
    /// A participant's job is dropped. Whether anyone says so?
    ClientJobLost(Life, participant::Job, bool),
    /// A participant is restored after a crash.
    ClientRestored(usize),
    /// A call arrives at the coordinator.
    Arrives(Sender, Call),
    /// An answer arrives at a participant.
    Answered(Life, RequestId, Response),
    /// The connection was refused or has broken.
    Refused(Life, RequestId),
    /// A participant has waited too long for an answer.
    TimedOut(Life, RequestId),
    /// The coordinator has asked to be woken.
    ServerWakes,
    /// A message was opened and verified.
    Opened(u32, Sender, Box<coordinator::Verified>),
    /// A job of the coordinator is finished.
    ServerJob(u32, coordinator::Job),
    /// A job of the coordinator is dropped. Whether anyone says so?
    ServerJobLost(u32, coordinator::Job, bool),
    /// The store has stored what it was given.
    Stored(u32),
    /// The coordinator is started again after a crash.
    ServerRestored,
}

/// A participant between two crashes: what was meant for an earlier life does not reach a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Which participant.
    pub client: usize,
    /// How often it has crashed.
    pub crashes: u32,
}

/// Where a call comes from.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// From whom.
    pub life: Life,
    /// Where the answer goes; nowhere for what a liar sends beside.
    pub id: Option<RequestId>,
    /// What kind of lie it is, if it is one.
    pub lie: Option<Lie>,
}

/// When something happens: its time, and its place among what happens at the same time.
pub type Key = (Timestamp, u64);

/// All that is going to happen.
#[derive(Debug, Default)]
pub struct Agenda {
    happenings: BTreeMap<Key, Happening>,
    count: u64,
}

impl Agenda {
    /// Puts something on the agenda.
    pub fn add(&mut self, at: Timestamp, happening: Happening) -> Key {
        self.count += 1;
        let key = (at, self.count);
        self.happenings.insert(key, happening);
        key
    }

    /// Takes something off again.
    pub fn cancel(&mut self, key: Key) {
        self.happenings.remove(&key);
    }

    /// Takes the next happening, and its time.
    pub fn next(&mut self) -> Option<(Timestamp, Happening)> {
        self.happenings.pop_first().map(|((at, _), happening)| (at, happening))
    }
}
