//! The driver: the one task that owns core's state machine, and runs it.
//!
//! Everything that takes time happens elsewhere: messages are opened in [`intake`](crate::intake),
//! jobs run on blocking threads, records go to the [`Store`]. What they give comes back as inputs.
//! No call of the machine blocks or computes for long, so the task may share its thread with
//! others.

mod command;
mod held;
mod jobs;
#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
mod relayed;

use std::{
    collections::{btree_map::Entry, BTreeMap},
    sync::Arc,
};

use pet_core::{
    coordinator::{
        Coordinator, Event, Idle, Input, Outcome, Output, PersistId, Phase, Reject, Rejection,
        Ticket, Verified, Why,
    },
    message::{ReassemblyError, Tag},
    record::Recorded,
    time::Timestamp,
};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use self::held::Held;
pub(crate) use self::held::Progress;
use self::relayed::Others;
pub(crate) use self::relayed::Relayed;
#[cfg(feature = "replicas")]
pub(crate) use self::relayed::{Answers, Envelope, ToOthers};
pub(crate) use self::{
    command::{Action, Command, Refused, Situation},
    jobs::{cores, Done, Jobs},
};
use crate::{
    board::Board,
    coordinator::StartError,
    failure,
    metrics::{Counters, Rejections},
    process::time::{interval, sleep_until, Duration, Instant, MissedTickBehavior},
    status::Observer,
    store::{Confirmations, Confirmed, Store, StoreError},
    summary::Summary,
};

/// How many verified messages may wait for the machine; further senders wait before that.
const WAITING_MESSAGES: usize = 256;

/// How long the store has to confirm its last records once the coordinator is to stop.
const STORE_GRACE: Duration = Duration::from_secs(10);

/// How often the store is told how long a phase has been going on, at least.
const CLOCK: Duration = Duration::from_secs(1);

/// A verified message on its way to the machine, and the way back for its fate.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub message: Verified,
    pub reply: oneshot::Sender<Result<(), Rejection>>,
}

/// Why the rounds have failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The store had not confirmed all records when the coordinator was to stop: they may be lost.
    #[error(
        "the store did not confirm in time that all is stored: check it before you start again"
    )]
    StoreStuck,
    /// The store has stopped storing. What it did not confirm was not acknowledged to anyone.
    #[error("the store has failed: {0}")]
    Store(#[from] StoreError),
}

/// The time of the machine: milliseconds since the driver's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_duration(self.0.elapsed())
    }

    pub fn instant(&self, at: Timestamp) -> Option<Instant> {
        self.0.checked_add(at.as_duration())
    }
}

/// Whoever waits for the fate of a message.
#[derive(Debug)]
enum Waiting {
    /// Its sender.
    Sender { tag: Tag, reply: oneshot::Sender<Result<(), Rejection>> },
    /// Another replica.
    Other(relayed::Envelope),
}

/// The way back for an answer.
#[derive(Debug)]
enum ReplyTo {
    Sender(oneshot::Sender<Result<(), Rejection>>),
    Other(relayed::Envelope),
}

impl ReplyTo {
    fn send(self, outcome: Result<(), Rejection>) {
        match self {
            // A sender that has hung up does not want to know.
            Self::Sender(reply) => drop(reply.send(outcome)),
            Self::Other(back) => back.answer(&outcome),
        }
    }
}

/// The machine and all that is connected to it.
pub(crate) struct Driver {
    machine: Recorded<Coordinator>,
    clock: Clock,
    board: watch::Sender<Board>,
    counters: Arc<Counters>,
    observer: Observer,
    store: Box<dyn Store>,
    confirmations: Confirmations,
    confirmed: Confirmed,
    deliveries: mpsc::Receiver<Delivery>,
    commands: mpsc::Receiver<Command>,
    command: mpsc::Sender<Command>,
    jobs_done: mpsc::UnboundedReceiver<Done<Outcome>>,
    jobs: Jobs<Outcome>,
    /// Other replicas that take messages, if there can be any.
    others: Option<Others>,
    waiting: BTreeMap<Ticket, Waiting>,
    /// Rejections that follow from what is not stored yet.
    held: Held<(ReplyTo, Rejection)>,
    /// The store is to be told how long the phase has been going on.
    clock_due: bool,
    last_ticket: u64,
    /// The rejections up to the end of the last round.
    reported: Rejections,
    summary: Summary,
}

impl Driver {
    /// Connects a machine made at `clock`'s start. Gives the way to deliver messages to it.
    pub fn new(
        machine: impl Into<Recorded<Coordinator>>,
        clock: Clock,
        board: watch::Sender<Board>,
        counters: Arc<Counters>,
        observer: Observer,
        store: Box<dyn Store>,
    ) -> (Self, mpsc::Sender<Delivery>) {
        let (deliver, deliveries) = mpsc::channel(WAITING_MESSAGES);
        let (confirmations, confirmed) = Confirmations::channel();
        let (command, commands) = Command::channel();
        let (jobs, jobs_done) = Jobs::channel();
        let driver = Self {
            machine: machine.into(),
            clock,
            board,
            counters,
            observer,
            store,
            confirmations,
            confirmed,
            deliveries,
            commands,
            command,
            jobs_done,
            jobs,
            others: None,
            waiting: BTreeMap::new(),
            held: Held::default(),
            clock_due: false,
            last_ticket: 0,
            reported: Rejections::default(),
            summary: Summary::new(),
        };
        (driver, deliver)
    }

    /// The way for the operator to act on the machine.
    pub fn commands(&self) -> mpsc::Sender<Command> {
        self.command.clone()
    }

    /// The ways to and from other replicas that take messages.
    #[cfg(feature = "replicas")]
    pub fn others(&mut self) -> ToOthers {
        let (others, ends) = Others::channel();
        self.others = Some(others);
        ends
    }

    /// Runs rounds until `stop` resolves or its sender is gone, and then until all is stored.
    pub async fn run(mut self, stop: oneshot::Receiver<()>) -> Result<(), DriverError> {
        tokio::pin!(stop);
        self.store.begin(&self.confirmations);
        let mut give_up_at = None;
        let mut others_first = false;
        let mut ticks = interval(CLOCK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let idle = self.drain();
            if std::mem::take(&mut self.clock_due) && give_up_at.is_none() {
                self.store.clock(self.machine.elapsed());
            }
            if idle.why == Why::Stopped {
                return Ok(());
            }
            let wake_at = idle.wake_at.and_then(|at| self.clock.instant(at));
            let input = tokio::select! {
                biased;
                _ = &mut stop, if give_up_at.is_none() => {
                    give_up_at = Some(Instant::now() + STORE_GRACE);
                    Input::Stop
                }
                () = wait(give_up_at) => return Err(DriverError::StoreStuck),
                // The machine's own affairs before new messages: they are what makes room for more.
                // The machine sees by itself that one is lost.
                Some(done) = self.jobs_done.recv() => done.map_or(Input::Tick, Input::JobDone),
                Some(confirmed) = self.confirmed.recv() => {
                    let id = confirmed?;
                    self.observer.stored(id);
                    while let Some((reply, rejection)) = self.held.stored(id) {
                        reply.send(Err(rejection));
                    }
                    Input::Persisted(id)
                }
                () = wait(wake_at) => Input::Tick,
                _ = ticks.tick(), if give_up_at.is_none() => {
                    self.summary.look(&self.counters);
                    self.clock_due = true;
                    Input::Tick
                }
                Some(command) = self.commands.recv() => {
                    self.obey(command);
                    continue;
                }
                next = next(&mut self.others, &mut self.deliveries, others_first) => {
                    // Neither keeps the other one waiting.
                    others_first = !others_first;
                    match next {
                        Next::Told(told) => self.admit_other(told),
                        Next::Delivery(delivery) => self.admit(delivery),
                    }
                }
            };
            if let Err(reject) = self.machine.handle_input(self.clock.now(), input) {
                debug!(%reject, "an input came too late");
            }
        }
    }

    /// Tells how far the store is behind.
    #[cfg(feature = "replicas")]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.held.progress()
    }

    /// Does what is due before anything happens, so that what is published is what the machine has.
    #[cfg(feature = "replicas")]
    pub fn settle(&mut self) {
        self.drain();
    }

    fn obey(&mut self, Command { action, reply }: Command) {
        let has_optimizer = matches!(&action, Action::ChangeSettings(settings) if settings.pet.optimizer.kind.is_some());
        if has_optimizer && self.machine.is_recorded() {
            let _ = reply.send(Err(Refused::Because(StartError::RecordOfOptimizer.to_string())));
            return;
        }
        let input = match action {
            Action::Pause => Input::Pause,
            Action::Resume => Input::Resume,
            Action::Skip => Input::Skip,
            Action::ChangeSettings(settings) => {
                Input::ChangeSettings(Box::new(settings.protocol()))
            }
        };
        let told = self.machine.handle_input(self.clock.now(), input);
        let situation = Situation {
            round_id: self.machine.round_id(),
            phase: self.machine.phase().to_string(),
            paused: self.machine.is_paused(),
        };
        let told = told.map(|()| situation).map_err(|reject| match reject {
            Reject::Stopped => Refused::Stopped,
            reject => Refused::Because(reject.to_string()),
        });
        // Whoever has hung up does not want to know.
        let _ = reply.send(told);
    }

    fn admit(&mut self, Delivery { message, reply }: Delivery) -> Input {
        let ticket = self.next_ticket();
        self.waiting.insert(ticket, Waiting::Sender { tag: message.tag(), reply });
        Input::Message { ticket, message }
    }

    fn admit_other(&mut self, told: Relayed) -> Input {
        let ticket = self.next_ticket();
        let (input, back) = told.input(ticket);
        if let Some(back) = back {
            self.waiting.insert(ticket, Waiting::Other(back));
        }
        input
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Does all that is due.
    fn drain(&mut self) -> Idle {
        let mut board = None;
        loop {
            match self.machine.poll_output() {
                Output::Front(front) => {
                    if let Some(model) = self.draft(&mut board).show(front) {
                        self.observer.model(&model);
                    }
                }
                Output::Job(job) => self.jobs.start(job),
                Output::Persist { id, record } => {
                    self.observer.storing(id);
                    self.held.given(id);
                    self.answer_with(id);
                    self.store.persist(id, record, &self.confirmations);
                    self.clock_due = true;
                }
                Output::Reply { ticket, outcome } => {
                    self.show(&mut board);
                    self.reply(ticket, outcome);
                }
                Output::Event(event) => self.report(event),
                Output::Fetch { part } => {
                    if !Others::fetch(&self.others, part) {
                        let nothing = Input::Fetched { part, bytes: None };
                        // It was just asked for.
                        let _ = self.machine.handle_input(self.clock.now(), nothing);
                    }
                }
                Output::Idle(idle) => {
                    self.show(&mut board);
                    self.observer.idle(&self.machine, &idle);
                    return idle;
                }
                other => debug!(?other, "an output that this version does not know"),
            }
        }
    }

    /// The board's next state.
    fn draft<'a>(&self, board: &'a mut Option<Board>) -> &'a mut Board {
        board.get_or_insert_with(|| self.board.borrow().clone())
    }

    fn show(&self, board: &mut Option<Board>) {
        if let Some(board) = board.take() {
            self.board.send_replace(board);
        }
    }

    /// Other replicas are answered in one transaction with the record that their answers follow from.
    fn answer_with(&mut self, id: PersistId) {
        if self.others.is_none() {
            return;
        }
        for (ticket, outcome) in self.machine.answers_with(id) {
            if let Entry::Occupied(waiting) = self.waiting.entry(ticket) {
                if matches!(waiting.get(), Waiting::Other(_)) {
                    let Waiting::Other(back) = waiting.remove() else { continue };
                    back.answer_with(outcome, id);
                }
            }
        }
    }

    fn reply(&mut self, ticket: Ticket, outcome: Result<(), Rejection>) {
        // The machine answers each ticket once.
        let reply = match self.waiting.remove(&ticket) {
            Some(Waiting::Sender { tag, reply }) => {
                match &outcome {
                    Ok(()) => self.counters.accepted(tag),
                    // Nothing is wrong with it: its sender is told to send it again.
                    Err(rejection) if is_for_shutdown(rejection) => {}
                    Err(rejection) => self.counters.rejected(rejection.label()),
                }
                ReplyTo::Sender(reply)
            }
            // Whoever leads next says what becomes of it.
            Some(Waiting::Other(_)) if outcome.as_ref().is_err_and(is_for_shutdown) => return,
            // It counts where the message came in.
            Some(Waiting::Other(back)) => ReplyTo::Other(back),
            None => return,
        };
        let outcome = match outcome {
            Err(rejection) if self.store.is_shared() && is_final(&rejection) => {
                // Who goes on from what is stored must not find that it was right.
                let Some((reply, rejection)) = self.held.hold((reply, rejection)) else { return };
                return reply.send(Err(rejection));
            }
            outcome => outcome,
        };
        reply.send(outcome);
    }

    fn report(&mut self, event: Event) {
        let rejected = matches!(&event, Event::RoundCompleted { .. } | Event::RoundFailed { .. })
            .then(|| self.rejected_in_round());
        self.observer.event(&event, rejected.as_ref());
        let rejected = rejected.unwrap_or_default();
        match event {
            Event::PhaseBegan { round_id, phase } => {
                info!(round = round_id, %phase, "phase begins");
            }
            Event::PhaseEnded { round_id, phase, accepted, took } => {
                self.counters.phase_took(&phase, took);
                info!(round = round_id, %phase, accepted, took = ?took, "phase ends");
            }
            Event::RoundCompleted { round_id, models, votes } => {
                self.counters.round_completed();
                info!(round = round_id, models, votes, %rejected, "round completed: new global model");
            }
            Event::RoundFailed { round_id, phase, failure } => {
                self.counters.round_failed(failure.label());
                warn!(round = round_id, %phase, reason = failure::in_words(&failure), %rejected, "round failed");
            }
            other => info!(event = ?other, "event"),
        }
    }

    /// The messages rejected since the end of the round before.
    fn rejected_in_round(&mut self) -> Rejections {
        let now = self.counters.read().rejections;
        let since = now.since(&self.reported);
        self.reported = now;
        since
    }
}

/// What the machine is told next, by others or by senders.
enum Next {
    Told(Relayed),
    Delivery(Delivery),
}

async fn next(
    others: &mut Option<Others>,
    deliveries: &mut mpsc::Receiver<Delivery>,
    others_first: bool,
) -> Next {
    let told = Others::next(others);
    match others_first {
        true => tokio::select! {
            biased;
            told = told => Next::Told(told),
            Some(delivery) = deliveries.recv() => Next::Delivery(delivery),
        },
        false => tokio::select! {
            biased;
            Some(delivery) = deliveries.recv() => Next::Delivery(delivery),
            told = told => Next::Told(told),
        },
    }
}

/// Whether a message is turned down only because the coordinator is about to end.
pub(crate) fn is_for_shutdown(rejection: &Rejection) -> bool {
    matches!(rejection, Rejection::WrongPhase { phase: Phase::Shutdown, .. })
}

/// Whether the sender of a message is told not to send it again.
fn is_final(rejection: &Rejection) -> bool {
    let may_come_again = matches!(
        rejection,
        Rejection::InProgress(_)
            | Rejection::StoreBehind
            | Rejection::ShardFull
            | Rejection::Chunk(ReassemblyError::NoRoom)
    );
    !is_for_shutdown(rejection) && !may_come_again
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use pet_core::crypto::RootSeed;

    use super::*;
    use crate::{models::Library, settings, status, Volatile};

    #[test]
    fn messages_turned_down_by_the_end_are_not_counted() {
        let settings = settings::Settings::for_model_length(4).protocol();
        let machine = Coordinator::new(settings, RootSeed::new([1; 32]), Timestamp::ZERO).unwrap();
        let (board, _) = watch::channel(Board::new(0, Arc::new(Library::new(0))));
        let counters = Arc::new(Counters::default());
        let store = Box::new(Volatile::default());
        let (_stop, stopped) = watch::channel(false);
        let (observer, ..) = status::channel(Arc::clone(&counters), stopped);
        let (mut driver, _) =
            Driver::new(machine, Clock::start(), board, Arc::clone(&counters), observer, store);
        for (ticket, phase, counted) in [(1, Phase::Shutdown, 0), (2, Phase::Sum2, 1)] {
            let (reply, mut outcome) = oneshot::channel();
            driver.waiting.insert(Ticket(ticket), Waiting::Sender { tag: Tag::Update, reply });
            let rejection = Rejection::WrongPhase { tag: Tag::Update, phase };
            driver.reply(Ticket(ticket), Err(rejection.clone()));
            assert_eq!(outcome.try_recv(), Ok(Err(rejection)));
            assert_eq!(counters.read().rejections.total(), counted);
        }
    }
}
