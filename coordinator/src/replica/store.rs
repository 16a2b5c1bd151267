//! The store of a coordinator that leads: its records go into the log.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use pet_core::{
    coordinator::{PersistId, Record},
    mask::Aggregation,
};
use pet_ledger::{LetterId, Limits, PartName};
use tokio::{sync::Notify, task::JoinHandle};

use super::{flaws::Flaw, models::SharedModels, pace, writer::Writer};
use crate::{
    process::{
        spawn,
        time::{sleep, Instant},
    },
    store::{Confirmations, Models, Store},
};

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

    /// What waits to be written.
    pub fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }
}

impl Store for LedgerStore {
    fn begin(&mut self, confirmations: &Confirmations) {
        if let Some(writer) = self.writer.take() {
            let (queue, confirmations) = (Arc::clone(&self.queue), confirmations.clone());
            self.running = Some(spawn(writer.run(queue, confirmations)));
        }
    }

    fn persist(&mut self, id: PersistId, record: Record, _: &Confirmations) {
        self.queue.add(id, record);
    }

    fn clock(&mut self, elapsed: Duration) {
        self.queue.clock(elapsed);
    }

    fn is_shared(&self) -> bool {
        !Flaw::RejectsBefore.is_there()
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

/// What is written at once.
#[derive(Default)]
pub(super) struct Batch {
    pub records: Vec<(PersistId, Record)>,
    /// Since when the phase has been going on that they lead to.
    pub began: Option<Instant>,
    /// Those that need no record.
    pub answers: Vec<Answer>,
    /// Those that follow from these records: they are written together with them, or not at all.
    pub following: Vec<Answer>,
}

/// The answer to a letter, sealed.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub letter: LetterId,
    pub bytes: Bytes,
    /// The large piece of the letter.
    pub piece: Option<PartName>,
    /// Whether other letters may name the same.
    pub is_shared: bool,
    /// Whether the message counts.
    pub is_accepted: bool,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Waits>,
    /// Since when the phase has been going on that what was taken leads to.
    began: Option<Instant>,
    /// No more than there are letters that wait.
    answers: VecDeque<Answer>,
    /// Those that are to be written with a record, in order.
    following: VecDeque<(PersistId, Answer)>,
    /// The last record that was taken.
    taken: Option<PersistId>,
}

struct Waits {
    id: PersistId,
    record: Record,
    /// Since when the phase has been going on that it begins, if it does.
    began: Option<Instant>,
}

/// About how many records are written at once.
const BATCH: usize = 128;
/// How many letters are answered at once.
const ANSWERS: usize = 512;

/// So long answers wait for others: those to letters that were read at once are written at once.
const GATHER: Duration = Duration::from_millis(2);

/// At most so many records go together because they share an aggregate. With those before them they fit into one append.
const TOGETHER: usize = 512;

// (One that begins a round comes with an entry more.)
const _: () = assert!(BATCH + TOGETHER + BATCH < Limits::ALL.entries);

impl Waiting {
    /// The first records. One whose aggregate was superseded goes together with the one that has the aggregate: it must
    /// not count before that is stored.
    fn take(&mut self) -> Batch {
        let mut records = Vec::new();
        let mut owes_aggregate = false;
        let flaw = Flaw::CountsBeforeAggregate.is_there();
        let most = if flaw { 1 } else { BATCH };
        while records.len() < most || (owes_aggregate && !flaw) {
            let Some(Waits { id, record, began }) = self.records.pop_front() else { break };
            match &record {
                Record::Updates { aggregation, .. } => owes_aggregate = aggregation.is_none(),
                _ if record.begins_phase() => owes_aggregate = false,
                _ => {}
            }
            self.began = began.or(self.began);
            records.push((id, record));
        }
        self.taken = records.last().map(|(id, _)| *id).or(self.taken);
        let following = self.take_following();
        let answers = self.take_answers(ANSWERS - following.len());
        Batch { records, began: self.began, answers, following }
    }

    /// Whether there is something to write, or to answer.
    fn is_any(&self) -> bool {
        !self.records.is_empty() || !self.answers.is_empty() || self.has_following()
    }

    /// Whether the records that there are can wait for others.
    fn can_wait(&self) -> bool {
        let records = self.records.iter().map(|waits| &waits.record);
        self.records.len() < BATCH && !self.has_following() && pace::can_wait(records)
    }

    /// Whether there is nothing but answers that need no record.
    fn is_answers_only(&self) -> bool {
        self.records.is_empty() && !self.has_following()
    }

    /// Whether there is an answer that goes with what was taken.
    fn has_following(&self) -> bool {
        self.following.front().is_some_and(|(id, _)| Some(*id) <= self.taken)
    }

    /// The answers that go with what was taken. (Those that are too many come next.)
    fn take_following(&mut self) -> Vec<Answer> {
        let mut taken = Vec::new();
        while taken.len() < ANSWERS && self.has_following() {
            taken.extend(self.following.pop_front().map(|(_, answer)| answer));
        }
        taken
    }

    fn take_answers(&mut self, most: usize) -> Vec<Answer> {
        self.answers.drain(..most.min(self.answers.len())).collect()
    }

    /// The aggregate that is superseded by the next one, unless too many records would have to wait for that.
    fn supersede(&mut self) -> Option<Arc<Aggregation>> {
        let of_phase = self.records.iter().rev().take_while(|waits| waits.began.is_none());
        let has_aggregate =
            |waits: &&Waits| matches!(waits.record, Record::Updates { aggregation: Some(_), .. });
        let latest = of_phase.clone().position(|waits| has_aggregate(&waits))?;
        let since =
            of_phase.skip(latest + 1).take(TOGETHER).take_while(|waits| !has_aggregate(waits));
        // With the record to come.
        if latest + 1 + since.count() + 1 > TOGETHER {
            return None;
        }
        match self.records.iter_mut().rev().nth(latest) {
            Some(Waits { record: Record::Updates { aggregation, .. }, .. }) => aggregation.take(),
            _ => None,
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: PersistId, record: Record) {
        let began = record.begins_phase().then(Instant::now);
        let mut waiting = self.lock();
        let superseded = match &record {
            Record::Updates { aggregation: Some(_), .. } => waiting.supersede(),
            _ => None,
        };
        waiting.records.push_back(Waits { id, record, began });
        drop(waiting);
        self.changed.notify_one();
        drop(superseded);
    }

    fn clock(&self, elapsed: Duration) {
        let Some(since) = Instant::now().checked_sub(elapsed) else { return };
        let mut waiting = self.lock();
        // Of the phase that all records lead to: it may begin with one that waits.
        match waiting.records.iter_mut().rev().find_map(|waits| waits.began.as_mut()) {
            Some(began) => *began = since,
            None => waiting.began = Some(since),
        }
    }

    /// Letters are to be answered: with the next records, or without.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.lock().answers.extend(answers);
        self.changed.notify_one();
    }

    /// A letter is to be answered in one transaction with a record, which is to be added next.
    pub fn answer_with(&self, record: PersistId, answer: Answer) {
        self.lock().following.push_back((record, answer));
    }

    /// Waits for something to write.
    pub async fn take(&self) -> Batch {
        self.when(Waiting::is_any, |_| ()).await;
        if self.lock().is_answers_only() {
            sleep(GATHER).await;
        }
        self.when(Waiting::is_any, Waiting::take).await
    }

    /// Waits for something to write, or to answer.
    pub async fn any(&self) {
        self.when(Waiting::is_any, |_| ()).await;
    }

    /// Waits until there is something to write that cannot wait for others, or answers meanwhile, which it gives.
    pub async fn urgent_or_answers(&self) -> Vec<Answer> {
        let take = |waiting: &mut Waiting| match waiting.can_wait() {
            true => waiting.take_answers(ANSWERS),
            false => Vec::new(),
        };
        self.when(|waiting| !waiting.can_wait() || !waiting.answers.is_empty(), take).await
    }

    /// Waits for answers.
    pub async fn take_answers(&self) -> Vec<Answer> {
        self.when(|waiting| !waiting.answers.is_empty(), |_| ()).await;
        sleep(GATHER).await;
        self.when(|waiting| !waiting.answers.is_empty(), |waiting| waiting.take_answers(ANSWERS))
            .await
    }

    async fn when<T>(
        &self,
        is_it: impl Fn(&Waiting) -> bool,
        take: impl Fn(&mut Waiting) -> T,
    ) -> T {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.lock();
                if is_it(&waiting) {
                    return take(&mut waiting);
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use pet_core::{
        coordinator::{Coordinator, Output, Recovery},
        crypto::{PublicSigningKey, RootSeed},
        round::RoundParameters,
        time::Timestamp,
    };

    use super::*;
    use crate::settings::Settings;

    /// The record that a round begins with.
    fn began() -> (Record, Arc<RoundParameters>) {
        let settings = Settings::for_model_length(4).protocol();
        let recovery = Recovery::new(RootSeed::new([7; 32]));
        let machine = Coordinator::resume(recovery, Duration::ZERO, settings, Timestamp::ZERO);
        let mut machine = machine.unwrap();
        loop {
            if let Output::Persist { record, .. } = machine.poll_output() {
                let Record::RoundBegan { parameters, .. } = &record else { panic!("{record:?}") };
                let parameters = Arc::clone(parameters);
                return (record, parameters);
            }
        }
    }

    fn update(parameters: &RoundParameters, number: u64) -> Record {
        let sum = Aggregation::new(parameters.mask_config, 4).object().clone();
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Record::Updates {
            seeds: vec![(PublicSigningKey::new(key), Arc::default())],
            aggregation: Some(Arc::new(Aggregation::with_nb_models(sum, number))),
        }
    }

    fn has_aggregate(record: &Record) -> bool {
        matches!(record, Record::Updates { aggregation: Some(_), .. })
    }

    /// However many records wait: what is appended at once fits into one append, and nothing is appended that counts
    /// without its aggregate.
    #[tokio::test]
    async fn however_many_records_wait_each_batch_fits_into_an_append() {
        let (first, parameters) = began();
        let queue = Queue::default();
        let count = 3 * Limits::ALL.entries as u64;
        queue.add(PersistId(0), first);
        (1..=count).for_each(|number| queue.add(PersistId(number), update(&parameters, number)));
        let (mut next, mut aggregates) = (0, 0);
        while next <= count {
            let Batch { records, .. } = queue.take().await;
            assert!(records.len() + BATCH < Limits::ALL.entries, "{} records", records.len());
            for (id, _) in &records {
                assert_eq!(*id, PersistId(next));
                next += 1;
            }
            assert!(has_aggregate(&records.last().unwrap().1), "up to {next}");
            aggregates += records.iter().filter(|(_, record)| has_aggregate(record)).count();
        }
        // And hardly any that is superseded is stored.
        assert!(aggregates <= 8, "{aggregates}");
    }

    /// Updates of large models wait for others; nothing else waits, and nothing else is held up.
    #[tokio::test]
    async fn updates_of_large_models_wait_for_others_and_nothing_else_does() {
        use futures_util::FutureExt;
        let queue = Queue::default();
        assert!(queue.any().now_or_never().is_none());
        queue.add(PersistId(1), pace::tests::update(1, true));
        queue.any().await;
        let urgent = queue.urgent_or_answers();
        tokio::pin!(urgent);
        assert!(urgent.as_mut().now_or_never().is_none());
        queue.add(PersistId(2), pace::tests::update(2, true));
        assert!(urgent.as_mut().now_or_never().is_none());
        queue.add(PersistId(3), Record::UpdateEnded);
        assert!(urgent.await.is_empty());
        assert_eq!(queue.take().await.records.len(), 3);
        queue.add(PersistId(4), pace::tests::update(4, false));
        assert!(queue.urgent_or_answers().await.is_empty());
    }

    /// The phase's clock that is written with a batch is that of the phase that the batch leads to.
    #[tokio::test]
    async fn a_batch_has_the_clock_of_its_own_phase() {
        let (first, parameters) = began();
        let queue = Queue::default();
        // In minutes: whatever this takes itself is far less.
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let ago = |batch: &Batch| batch.began.unwrap().elapsed().as_secs() / 60;
        queue.add(PersistId(0), first.clone());
        queue.clock(minutes(50));
        for number in 1..=BATCH as u64 {
            queue.add(PersistId(number), Record::SumEnded);
            queue.clock(minutes(number));
        }
        let earlier = queue.take().await;
        assert_eq!((earlier.records.len(), ago(&earlier)), (BATCH, BATCH as u64 - 1));
        let later = queue.take().await;
        assert_eq!((later.records.len(), ago(&later)), (1, BATCH as u64));
        // What begins no phase leaves it as it was.
        queue.add(PersistId(900), update(&parameters, 1));
        queue.clock(minutes(200));
        assert_eq!(ago(&queue.take().await), 200);
    }
}
