//! The coordinator's side: its machine, and a store that keeps what was confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pet_core::crypto::RootSeed;
use pet_core::request::{RequestId, Response};
use pet_core::time::Timestamp;
use pet_core::v2::coordinator::{
    Completed, Coordinator, Event, Front, Input, Large, Object, Output, PersistId, Record,
    Recovery, Rejection, Settings, Ticket,
};
use pet_core::v2::Call;

/// Who has sent a message: actor, life, request.
pub type Sender = (usize, u64, RequestId);

/// What the server has to say to the world.
#[derive(Debug)]
pub enum Said {
    /// A record is to be kept.
    Keep(PersistId),
    /// An answer for somebody.
    Reply(Sender, Result<(), Rejection>),
    /// Something for the operator.
    Event(Event),
    /// A round has ended with a model.
    Completed(Arc<Completed>),
    /// When it wants to be woken.
    Wake(Option<Timestamp>),
}

/// The coordinator, its front, and its store.
#[derive(Debug)]
pub struct Server {
    /// The machine.
    pub machine: Coordinator,
    /// What it answers with.
    pub front: Front,
    settings: Settings,
    root: RootSeed,
    /// Put out and not yet kept, with the time.
    waiting: Vec<(PersistId, Record, Timestamp)>,
    /// Kept, since the last round began; and when its latest phase did.
    kept: Vec<Record>,
    began: Timestamp,
    last: Option<Arc<Completed>>,
    objects: BTreeMap<Object, Vec<u8>>,
    tickets: BTreeMap<Ticket, Sender>,
    next_ticket: u64,
    round: u64,
}

impl Server {
    /// A new one.
    pub fn new(settings: Settings, root: RootSeed, now: Timestamp) -> Self {
        let machine = Coordinator::new(settings.clone(), root.clone(), now).expect("good settings");
        Self {
            machine,
            front: Front::new(),
            settings,
            root,
            waiting: Vec::new(),
            kept: Vec::new(),
            began: now,
            last: None,
            objects: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            round: 0,
        }
    }

    /// Answers what is only asked; nothing for a message.
    pub fn answer(&self, call: &Call) -> Option<Response> {
        let load = |object| self.objects.get(&object).map(|bytes| Bytes::from(bytes.clone()));
        self.front.answer(call).respond(load)
    }

    /// Takes a message; what follows says the rest.
    ///
    /// # Errors
    /// If it does not even open.
    pub fn message(
        &mut self,
        now: Timestamp,
        from: Sender,
        call: Call,
    ) -> Result<Vec<Said>, Rejection> {
        let message = self.front.open(call)?;
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, from);
        Ok(self.input(now, Input::Message { ticket, message }))
    }

    /// Tells the machine something.
    pub fn input(&mut self, now: Timestamp, input: Input) -> Vec<Said> {
        // What is late is turned down.
        let _ = self.machine.handle_input(now, input);
        self.drain(now)
    }

    /// Does what the machine says.
    pub fn drain(&mut self, now: Timestamp) -> Vec<Said> {
        let mut said = Vec::new();
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, record } => {
                    self.waiting.push((id, record, now));
                    said.push(Said::Keep(id));
                    continue;
                }
                Output::Load(object) => {
                    let bytes = self.objects.get(&object).map(|bytes| Bytes::from(bytes.clone()));
                    Input::Loaded { object, bytes }
                }
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Reply { ticket, outcome } => {
                    let sender = self.tickets.remove(&ticket).expect("one answer for a message");
                    said.push(Said::Reply(sender, outcome));
                    continue;
                }
                Output::Event(event) => {
                    said.push(Said::Event(event));
                    continue;
                }
                Output::Idle(idle) => {
                    said.push(Said::Wake(idle.wake_at));
                    return said;
                }
                other => panic!("unknown output {other:?}"),
            };
            let _ = self.machine.handle_input(now, input);
        }
    }

    /// A record, and all before it, is in the store.
    pub fn kept(&mut self, now: Timestamp, id: PersistId) -> Vec<Said> {
        let mut said = Vec::new();
        while self.waiting.first().is_some_and(|(first, ..)| *first <= id) {
            let (_, record, at) = self.waiting.remove(0);
            said.extend(self.keep(record, at));
        }
        said.extend(self.input(now, Input::Persisted(id)));
        said
    }

    fn keep(&mut self, record: Record, at: Timestamp) -> Option<Said> {
        if let Record::RoundBegan { terms, .. } = &record {
            self.round = terms.round;
            self.kept.clear();
            let oldest = self.round.saturating_sub(2);
            self.objects.retain(|object, _| object.round >= oldest);
        }
        if let Some(Large::Chunk { object, offset, data }) = record.large(self.round) {
            let bytes = self.objects.entry(object).or_default();
            let (from, to) = (offset as usize, offset as usize + data.len());
            bytes.resize(bytes.len().max(to), 0);
            bytes[from..to].copy_from_slice(&data);
        }
        if record.begins_phase() {
            self.began = at;
        }
        let completed = match &record {
            Record::Completed(completed) => Some(completed.clone()),
            _ => None,
        };
        // What is read from a store has no chunks in it.
        self.kept.push(match record {
            Record::Chunk { updater, index, .. } => {
                Record::Chunk { updater, index, data: Bytes::new() }
            }
            Record::MaskChunk { group, digest, index, .. } => {
                Record::MaskChunk { group, digest, index, data: Bytes::new() }
            }
            record => record,
        });
        self.last = completed.clone().or(self.last.take());
        completed.map(Said::Completed)
    }

    /// Ends the process and starts it again: some of what was not confirmed is in the store, the rest is lost. Gives those who
    /// wait for an answer in vain, and what the new one says.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn crash(&mut self, now: Timestamp, survive: usize) -> (Vec<Sender>, Vec<Said>) {
        let mut said = Vec::new();
        let waiting = std::mem::take(&mut self.waiting);
        for (_, record, at) in waiting.into_iter().take(survive) {
            said.extend(self.keep(record, at));
        }
        let last = self.last.clone().filter(|last| last.round() != self.round);
        let mut recovery = Recovery::new(self.root.clone()).with_completed(last);
        for record in &self.kept {
            recovery.apply(record.clone()).expect("its own records");
        }
        let elapsed = now.saturating_since(self.began);
        let elapsed = if self.kept.is_empty() { Duration::ZERO } else { elapsed };
        self.machine = Coordinator::resume(recovery, elapsed, self.settings.clone(), now)
            .expect("it comes back from what it has stored");
        self.front = Front::new();
        said.extend(self.drain(now));
        (std::mem::take(&mut self.tickets).into_values().collect(), said)
    }

    /// How many records wait for the store, and how many are kept for a restart.
    pub fn records(&self) -> (usize, usize) {
        (self.waiting.len(), self.kept.len())
    }
}
