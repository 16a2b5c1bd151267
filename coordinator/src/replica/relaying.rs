//! Runs the relay of a replica that follows: messages go to whoever leads, as letters.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use pet_core::{
    coordinator::{
        relay::{Content, Input, Letter, LetterNumber, Limits, Output, Piece, Relay, Seen},
        Front, Outcome, PartId, Rejection, Shard, Ticket,
    },
    message::Tag,
};
use pet_ledger::{Epoch, LetterId, PartName, ReplicaId};
use tokio::{
    sync::{mpsc, oneshot, watch, Semaphore},
    task::{self, JoinSet},
};

use super::{
    follower::Recorded,
    kept::shard_part,
    letters::{key, open_answer, piece_name, seal},
    mail::{self, Mail},
    shared::{aside, Shared},
    SharedError,
};
use crate::{
    driver::{is_for_shutdown, Clock, Delivery, Done, Jobs},
    metrics::Counters,
    process::{
        fill_random,
        time::{sleep, sleep_until, timeout, Duration, Instant},
        within,
    },
};

/// How many messages may wait for the relay.
const WAITING: usize = 256;
/// How many parts are stored at a time.
const STORING: usize = 8;
/// So soon after it has failed something is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// What cannot be stored for so long is given up: another replica may be able to.
const GIVE_UP: Duration = Duration::from_secs(15);
/// An answer to a letter that is not known to be posted is tried with so many that are on their way.
const TRIED: usize = 1024;
/// What a leader answers is shorter, in bytes.
const LONGEST_ANSWER: usize = 1 << 10;
/// How long the last letter may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the log shows, for the relay.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub front: Front,
    pub epoch: Epoch,
    pub parts: Arc<Recorded>,
    /// How often records were gone before they were read.
    pub gaps: u64,
}

/// Takes messages for whoever leads.
pub(super) struct Relaying {
    shared: Shared,
    replica: ReplicaId,
    origin: Shard,
    relay: Relay,
    clock: Clock,
    counters: Arc<Counters>,
    deliveries: mpsc::Receiver<Delivery>,
    view: watch::Receiver<Option<View>>,
    gaps: u64,
    waiting: BTreeMap<Ticket, (Tag, oneshot::Sender<Result<(), Rejection>>)>,
    last_ticket: u64,
    jobs: Jobs<Outcome>,
    jobs_done: mpsc::UnboundedReceiver<Done<Outcome>>,
    stored: JoinSet<Result<(), SharedError>>,
    /// What these tasks store.
    parts: HashMap<task::Id, PartId>,
    storing: Arc<Semaphore>,
    mail: Mail,
    /// The letters whose number in the engine is known.
    posted: BTreeMap<LetterId, LetterNumber>,
    /// Letters that are on their way, or were posted and have no answer yet.
    open: BTreeSet<LetterNumber>,
    /// Answers to letters whose number in the engine is not known yet.
    early: BTreeMap<LetterId, Bytes>,
    /// The most of each.
    most: usize,
}

impl Relaying {
    /// A relay of its own, and the way for messages to it.
    pub fn new(
        shared: Shared,
        replica: ReplicaId,
        limits: Limits,
        counters: Arc<Counters>,
        view: watch::Receiver<Option<View>>,
    ) -> Result<(Self, mpsc::Sender<Delivery>), SharedError> {
        let mut shard = [0; 16];
        fill_random(&mut shard).map_err(SharedError::Randomness)?;
        let origin = Shard::new(shard);
        let (deliver, deliveries) = mpsc::channel(WAITING);
        let (jobs, jobs_done) = Jobs::channel();
        let clock = Clock::start();
        let mail = Mail::start(&shared, replica);
        let relaying = Self {
            relay: Relay::new(origin, limits, clock.now()),
            shared,
            replica,
            origin,
            clock,
            counters,
            deliveries,
            view,
            gaps: 0,
            waiting: BTreeMap::new(),
            last_ticket: 0,
            jobs,
            jobs_done,
            stored: JoinSet::new(),
            parts: HashMap::new(),
            storing: Arc::new(Semaphore::new(STORING)),
            mail,
            posted: BTreeMap::new(),
            open: BTreeSet::new(),
            early: BTreeMap::new(),
            // Each message has a letter or two.
            most: limits.messages.saturating_mul(4).max(16 << 10),
        };
        Ok((relaying, deliver))
    }

    /// Runs until `stop` resolves, and says a farewell then if that is true. Whoever waits is not answered any more. Gives
    /// its shard.
    ///
    /// What is reserved for the shard `before`, of the relay before it, need not be waited for.
    pub async fn run(mut self, before: Option<Shard>, stop: oneshot::Receiver<bool>) -> Shard {
        tokio::pin!(stop);
        if let Some(shard) = before {
            // The relay's own numbers begin behind this one.
            self.post(LetterNumber(0), &Letter::Lost { shard });
        }
        self.view.mark_changed();
        let farewell = loop {
            let wake_at = self.drain();
            let input = tokio::select! {
                biased;
                farewell = &mut stop => break farewell.unwrap_or(false),
                // Before messages: they were opened with what the log showed, and no earlier.
                Ok(()) = self.view.changed() => match self.seen() {
                    Some(seen) => Input::Log(Box::new(seen)),
                    None => continue,
                },
                Some(news) = self.mail.next() => {
                    self.take_mail(news);
                    continue;
                }
                Some(stored) = self.stored.join_next_with_id() => match self.stored(stored) {
                    Some(input) => input,
                    None => continue,
                },
                Some(done) = self.jobs_done.recv() => done.map_or(Input::JobLost, Input::JobDone),
                () = wait(wake_at) => Input::Tick,
                Some(delivery) = self.deliveries.recv() => self.admit(delivery),
            };
            self.relay.handle_input(self.clock.now(), input);
        };
        self.shared.load().set(0, 0);
        let shard = self.relay.shard();
        if !farewell {
            return shard;
        }
        // What is reserved for it need not be waited for.
        let farewell = Letter::Lost { shard };
        let number = LetterNumber(u64::MAX);
        let letter = seal(self.shared.vault(), self.replica, key(self.origin, number), &farewell);
        let _ = timeout(FAREWELL, self.shared.ledger().post(vec![letter])).await;
        shard
    }

    /// What has become of something that was to be stored.
    fn stored(
        &mut self,
        stored: Result<(task::Id, Result<(), SharedError>), task::JoinError>,
    ) -> Option<Input> {
        let (task, stored) = match stored {
            Ok((task, stored)) => (task, stored),
            // A task that panics is told of elsewhere.
            Err(error) => {
                (error.id(), Err(SharedError::Panicked("a part was to be stored".into())))
            }
        };
        let part = self.parts.remove(&task)?;
        Some(match stored {
            Ok(()) => Input::Stored { part },
            Err(error) => {
                tracing::warn!(%error, "what of a message is large cannot be stored");
                Input::NotStored { part }
            }
        })
    }

    /// What the log shows now.
    fn seen(&mut self) -> Option<Seen> {
        let view = self.view.borrow_and_update().clone()?;
        let complete = std::mem::replace(&mut self.gaps, view.gaps) == view.gaps;
        let recorded = view.parts.get(&self.relay.shard()).map(|(_, part)| *part);
        self.mail.set_epoch(view.epoch);
        Some(Seen { front: view.front, epoch: view.epoch.0, recorded, complete })
    }

    fn admit(&mut self, Delivery { message, reply }: Delivery) -> Input {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.insert(ticket, (message.tag(), reply));
        Input::Message { ticket, message }
    }

    /// Does all that is due; tells when to come back.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.relay.poll_output() {
                Output::Post { number, letter } => self.post(number, &letter),
                Output::Store { part, content } => self.store(part, content),
                Output::Job(job) => self.jobs.start(job),
                Output::Reply { ticket, outcome } => self.reply(ticket, outcome),
                Output::Idle(idle) => {
                    self.mail.set_expecting(self.relay.letters() > 0);
                    self.shared.load().set(self.relay.updates(), self.relay.letters());
                    self.forget_answered();
                    return idle.wake_at.and_then(|at| self.clock.instant(at));
                }
                other => tracing::debug!(?other, "an output that this version does not know"),
            }
        }
    }

    fn post(&mut self, number: LetterNumber, letter: &Letter) {
        self.open.insert(number);
        let key = key(self.origin, number);
        self.mail.post(number, seal(self.shared.vault(), self.replica, key, letter));
    }

    /// Letters that nobody waits for any more may still be answered, but nobody looks.
    fn forget_answered(&mut self) {
        while self.open.len() > self.most {
            self.open.pop_first();
        }
        while self.posted.len() > self.most {
            self.posted.pop_first();
        }
        while self.early.len() > self.most {
            self.early.pop_first();
        }
    }

    fn take_mail(&mut self, news: mail::News) {
        match news {
            mail::News::Posted(letters) => {
                for (number, id) in letters {
                    // It may be answered already.
                    if self.open.contains(&number) {
                        self.posted.insert(id, number);
                    }
                    let input = Input::Posted { letter: number };
                    self.relay.handle_input(self.clock.now(), input);
                    if let Some(answer) = self.early.remove(&id) {
                        self.take_answer(id, answer);
                    }
                }
            }
            mail::News::NotPosted(number) => {
                self.open.remove(&number);
                let input = Input::NotPosted { letter: number };
                self.relay.handle_input(self.clock.now(), input);
            }
            mail::News::Answers(answers) => {
                for (id, answer) in answers {
                    self.take_answer(id, answer);
                }
            }
        }
    }

    fn take_answer(&mut self, id: LetterId, answer: Bytes) {
        let vault = self.shared.vault();
        let open = |number: &LetterNumber| {
            let key = key(self.origin, *number);
            Some((*number, open_answer(vault, self.replica, id, &key, &answer)?))
        };
        let known = self.posted.get(&id);
        // That it was posted may not be known yet, or never, if that answer was lost.
        let opened = match known {
            Some(number) => open(number),
            None => self.open.iter().rev().take(TRIED).find_map(open),
        };
        let Some((number, outcome)) = opened else {
            if known.is_none() && answer.len() <= LONGEST_ANSWER {
                self.early.insert(id, answer);
            }
            return;
        };
        self.posted.remove(&id);
        self.open.remove(&number);
        let input = Input::Answered { letter: number, outcome };
        self.relay.handle_input(self.clock.now(), input);
    }

    /// Stores something, unless that fails for long.
    fn store(&mut self, part: PartId, content: Content) {
        let (shared, storing) = (self.shared.clone(), Arc::clone(&self.storing));
        let task = self.stored.spawn(within(async move {
            // There is one sum at a time, and many wait for it. The semaphore is never closed.
            let _turn = match &content {
                Content::Sum(_) => None,
                _ => Some(storing.acquire_owned().await),
            };
            store(&shared, part, content).await
        }));
        self.parts.insert(task.id(), part);
    }

    fn reply(&mut self, ticket: Ticket, outcome: Result<(), Rejection>) {
        let Some((tag, reply)) = self.waiting.remove(&ticket) else { return };
        match &outcome {
            Ok(()) => self.counters.accepted(tag),
            Err(rejection) if is_for_shutdown(rejection) => {}
            Err(rejection) => self.counters.rejected(rejection.label()),
        }
        // A sender that has hung up does not want to know.
        let _ = reply.send(outcome);
    }
}

async fn store(shared: &Shared, part: PartId, content: Content) -> Result<(), SharedError> {
    let vault = shared.vault();
    let named = |is_shared| piece_name(vault, &Piece { part, is_shared });
    let (name, bytes): (PartName, _) = match content {
        Content::Sum(sum) => (shard_part(&part), aside(move || sum.to_bytes().into()).await?),
        Content::Piece(bytes) => (named(false), bytes),
        Content::Mask(bytes) => (named(true), bytes),
    };
    let began = Instant::now();
    loop {
        match shared.put_as(name.clone(), bytes.clone()).await {
            Err(error) if error.is_passing() && began.elapsed() < GIVE_UP => {
                tracing::debug!(%error, "a part is stored again");
                sleep(RETRY).await;
            }
            stored => return stored.map(drop),
        }
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
