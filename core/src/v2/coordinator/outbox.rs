//! What a coordinator puts out, and what of it waits for the store.
//!
//! There are two lanes. Jobs, records and rejections come out as soon as they are asked for. What must not be seen
//! before it is stored, and what needs that it is stored, waits until all records are confirmed that were put out
//! before it. Within a lane the order is kept.

use std::collections::VecDeque;

use super::io::{Event, Output, PersistId, Ticket};
use super::{Front, Job, Object, Record, Rejection};

/// All that a coordinator has put out, and nobody has taken yet.
#[derive(Default)]
pub(super) struct Outbox {
    ready: VecDeque<Output>,
    /// With the record that each waits for, in order.
    gated: VecDeque<(PersistId, Output)>,
    /// The chunks that are not confirmed, with their bytes.
    unstored: VecDeque<(PersistId, u64)>,
    unstored_bytes: u64,
    last_record: PersistId,
    confirmed: PersistId,
}

impl Outbox {
    /// Numbers a record and has it stored: what is put out from now on waits for it, if it waits at all.
    pub(super) fn persist(&mut self, record: Record) {
        self.last_record = PersistId(self.last_record.0 + 1);
        let (id, bytes) = (self.last_record, record.chunk_bytes());
        if bytes > 0 {
            self.unstored.push_back((id, bytes));
            self.unstored_bytes += bytes;
        }
        self.ready.push_back(Output::Persist { id, record });
    }

    /// Gives out a job. It shows nothing to anyone, so it waits for nothing.
    pub(super) fn job(&mut self, job: Job) {
        self.ready.push_back(Output::Job(job));
    }

    /// Has an object read back, once it is stored.
    pub(super) fn load(&mut self, object: Object) {
        self.gate(Output::Load(object));
    }

    /// Has everyone answered with this, once it is stored that it holds.
    pub(super) fn front(&mut self, front: Front) {
        self.gate(Output::Front(front));
    }

    /// Has no message taken any more, from now on: there is no record of that. `shown` is the front that came out
    /// last; those that still wait come out closed, too.
    pub(super) fn close(&mut self, shown: &Front) {
        self.ready.push_back(Output::Front(shown.clone().closed()));
        for (_, output) in &mut self.gated {
            if let Output::Front(front) = output {
                *front = std::mem::take(front).closed();
            }
        }
    }

    /// Tells the operator, once it is stored.
    pub(super) fn event(&mut self, event: Event) {
        self.gate(Output::Event(event));
    }

    /// Answers a message. Who is told that its message is there must not send it again, so that answer waits for the
    /// store; a rejection has changed nothing and need not.
    pub(super) fn reply(&mut self, ticket: Ticket, outcome: Result<(), Rejection>) {
        let is_there = outcome.is_ok();
        let output = Output::Reply { ticket, outcome };
        match is_there {
            true => self.gate(output),
            false => self.ready.push_back(output),
        }
    }

    fn gate(&mut self, output: Output) {
        self.gated.push_back((self.last_record, output));
    }

    /// Takes a confirmation that all records up to this one are stored. Records that were never put out are not
    /// confirmed in advance.
    pub(super) fn confirm(&mut self, id: PersistId) {
        self.confirmed = self.confirmed.max(id.min(self.last_record));
        while let Some((id, bytes)) = self.unstored.front() {
            if *id > self.confirmed {
                break;
            }
            self.unstored_bytes -= bytes;
            self.unstored.pop_front();
        }
    }

    /// The next output, if there is one that waits for nothing.
    pub(super) fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.ready.pop_front() {
            return Some(output);
        }
        let (record, _) = self.gated.front()?;
        match *record <= self.confirmed {
            true => self.gated.pop_front().map(|(_, output)| output),
            false => None,
        }
    }

    /// Whether all records are stored.
    pub(super) fn is_stored(&self) -> bool {
        self.confirmed == self.last_record
    }

    /// How many outputs wait for the store.
    pub(super) fn waiting(&self) -> usize {
        self.gated.len()
    }

    /// How many bytes of chunks wait for the store.
    pub(super) fn unstored_bytes(&self) -> u64 {
        self.unstored_bytes
    }

    /// How many outputs there are.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.gated.len()
    }

    /// Another one like this. Nothing if there are outputs that could be taken without a confirmation: there
    /// may be jobs among them, and a job is there once.
    pub(super) fn fork(&self) -> Option<Self> {
        if !self.ready.is_empty() {
            return None;
        }
        let gated = self.gated.iter().map(|(id, output)| Some((*id, output.copy()?)));
        Some(Self {
            ready: VecDeque::new(),
            gated: gated.collect::<Option<_>>()?,
            unstored: self.unstored.clone(),
            unstored_bytes: self.unstored_bytes,
            last_record: self.last_record,
            confirmed: self.confirmed,
        })
    }
}
