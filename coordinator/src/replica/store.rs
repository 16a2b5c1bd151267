//! The store of a coordinator that leads: its records go into the log.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pet_core::coordinator::{PersistId, Record};
use tokio::{sync::Notify, task::JoinHandle, time::Instant};

use super::{models::SharedModels, writer::Writer};
use crate::store::{Confirmations, Models, Store};

/// Records on their way into the log. Dropping it ends the writing.
pub(super) struct LedgerStore {
    /// Until it runs.
    writer: Option<Writer>,
    running: Option<JoinHandle<()>>,
    queue: Arc<Queue>,
    models: Arc<SharedModels>,
}

impl LedgerStore {
    pub fn new(writer: Writer, models: Arc<SharedModels>) -> Self {
        Self { writer: Some(writer), running: None, queue: Arc::default(), models }
    }
}

impl Store for LedgerStore {
    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations) {
        if let Some(writer) = self.writer.take() {
            let (queue, confirmations) = (Arc::clone(&self.queue), confirmations.clone());
            self.running = Some(tokio::spawn(writer.run(queue, confirmations)));
        }
        self.queue.add(id, record);
    }

    fn clock(&mut self, elapsed: Duration) {
        self.queue.clock(elapsed);
    }

    fn models(&self) -> Arc<dyn Models> {
        self.models.clone()
    }
}

impl Drop for LedgerStore {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // Whoever leads next writes from the end of the log on, wherever that is.
            running.abort();
        }
    }
}

/// What waits to be written. Its length is bounded by the number of messages without an answer; and of the aggregates
/// only the latest waits.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

/// Records that are written at once.
#[derive(Default)]
pub(super) struct Batch {
    pub records: Vec<(PersistId, Record)>,
    /// Since when the phase has been going on that they lead to.
    pub began: Option<Instant>,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<(PersistId, Record)>,
    began: Option<Instant>,
}

/// About how many records are written at once.
const BATCH: usize = 128;

impl Waiting {
    /// The first records. One whose aggregate was superseded goes together with the one that has the aggregate: it must
    /// not count before that is stored.
    fn take(&mut self) -> Batch {
        let mut records = Vec::new();
        let mut owes_aggregate = false;
        while records.len() < BATCH || owes_aggregate {
            let Some((id, record)) = self.records.pop_front() else { break };
            match &record {
                Record::Updates { aggregation, .. } => owes_aggregate = aggregation.is_none(),
                _ if record.begins_phase() => owes_aggregate = false,
                _ => {}
            }
            records.push((id, record));
        }
        Batch { records, began: self.began }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: PersistId, record: Record) {
        let mut superseded = None;
        let mut waiting = self.lock();
        if record.begins_phase() {
            waiting.began = Some(Instant::now());
        }
        if matches!(record, Record::Updates { aggregation: Some(_), .. }) {
            let of_phase =
                waiting.records.iter_mut().rev().take_while(|(_, before)| !before.begins_phase());
            superseded = of_phase
                .filter_map(|(_, before)| match before {
                    Record::Updates { aggregation, .. } => aggregation.take(),
                    _ => None,
                })
                .next();
        }
        waiting.records.push_back((id, record));
        drop(waiting);
        self.changed.notify_one();
        drop(superseded);
    }

    fn clock(&self, elapsed: Duration) {
        self.lock().began = Instant::now().checked_sub(elapsed);
    }

    /// Waits for something to write.
    pub async fn take(&self) -> Batch {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.lock();
                if !waiting.records.is_empty() {
                    return waiting.take();
                }
            }
            changed.await;
        }
    }
}
