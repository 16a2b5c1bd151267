//! The agenda: what happens when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pet_core::participant::TransportFault;
use pet_core::request::{RequestId, Response};
use pet_core::time::Timestamp;
use pet_core::v2::{self, coordinator};

/// Something that is under way.
#[derive(Debug)]
pub enum Happening {
    /// An actor wants to be woken.
    Wake { actor: usize, life: u64 },
    /// A request arrives at the coordinator.
    Request { actor: usize, life: u64, id: RequestId, call: v2::Call, is_answer_lost: bool },
    /// An answer, or the lack of one, arrives.
    Answer { actor: usize, life: u64, id: RequestId, answer: Result<Response, TransportFault> },
    /// A member's state is on its disk.
    Stored { actor: usize, life: u64, id: v2::member::PersistId, bytes: Vec<u8> },
    /// The coordinator's record is in its store.
    Kept { life: u64, id: coordinator::PersistId },
    /// The coordinator wants to be woken.
    Tick { life: u64 },
    /// Somebody crashes.
    Crash,
    /// An actor that has crashed is started again.
    Start { actor: usize },
}

#[derive(Debug)]
struct Entry(Timestamp, u64, Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// All that is under way, by time; what is due at one moment comes in the order in which it was put there.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    count: u64,
}

impl Agenda {
    /// At this time this happens.
    pub fn put(&mut self, at: Timestamp, what: Happening) {
        self.count += 1;
        self.heap.push(Reverse(Entry(at, self.count, what)));
    }

    /// What comes next.
    pub fn next(&mut self) -> Option<(Timestamp, Happening)> {
        self.heap.pop().map(|Reverse(Entry(at, _, what))| (at, what))
    }
}
