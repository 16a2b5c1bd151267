//! What waits to be written. The machine bounds it: by the bytes of chunks, and the answers, that wait for the store.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pet_core::v2::coordinator::{PersistId, Record};

/// How long the phase may go on without its clock being written, as long as nothing else is.
const CLOCK: Duration = Duration::from_secs(30);

/// So many bytes of chunks are written at a time, and one chunk at least: they are copied into one file.
const MOST_BYTES: usize = 16 << 20;

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<(PersistId, Record)>,
    /// How long the phase has been going on that all of these records lead to.
    clock: Option<Duration>,
    /// What the clock was when it was last written.
    written: Duration,
    closed: bool,
}

/// What is written at a time.
pub(super) struct Batch {
    pub records: VecDeque<(PersistId, Record)>,
    pub clock: Option<Duration>,
}

impl Waiting {
    /// Whether it is worth a sync: a clock by itself rarely is, but at the end.
    fn is_due(&self) -> bool {
        let clock = self.clock;
        !self.records.is_empty()
            || clock.is_some_and(|clock| self.closed || clock.abs_diff(self.written) >= CLOCK)
    }

    fn take(&mut self) -> Batch {
        let mut bytes = 0;
        let taken = self.records.iter().take_while(|(_, record)| {
            let fits = bytes == 0 || bytes + chunk_len(record) <= MOST_BYTES;
            bytes += chunk_len(record);
            fits
        });
        let count = taken.count();
        let rest = self.records.split_off(count);
        let records = std::mem::replace(&mut self.records, rest);
        // It is that of the phase that the last record leads to.
        let clock = if self.records.is_empty() { self.clock.take() } else { None };
        self.written = clock.unwrap_or_default();
        Batch { records, clock }
    }
}

fn chunk_len(record: &Record) -> usize {
    match record {
        Record::Chunk { data, .. } | Record::MaskChunk { data, .. } => data.len(),
        _ => 0,
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, id: PersistId, record: Record) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        if record.begins_phase() {
            waiting.clock = None;
        }
        waiting.records.push_back((id, record));
        drop(waiting);
        self.changed.notify_one();
    }

    pub fn clock(&self, elapsed: Duration) {
        let mut waiting = self.lock();
        waiting.clock = Some(elapsed);
        if waiting.is_due() {
            drop(waiting);
            self.changed.notify_one();
        }
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for something to write; nothing at the end.
    pub fn take(&self) -> Option<Batch> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_due() {
                return Some(waiting.take());
            }
            if waiting.closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
