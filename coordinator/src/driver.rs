//! The driver: the one task that owns core's state machine, and runs it.
//!
//! Everything that takes time happens elsewhere: messages are opened in [`intake`](crate::intake),
//! jobs run on blocking threads, records go to the [`Store`]. What they give comes back as inputs.
//! No call of the machine blocks or computes for long, so the task may share its thread with
//! others.

mod command;
mod jobs;

use std::{collections::BTreeMap, sync::Arc};

use pet_core::{
    coordinator::{
        Coordinator, Event, Idle, Input, Outcome, Output, Phase, Reject, Rejection, Ticket,
        Verified, Why,
    },
    message::Tag,
    record::Recorded,
    time::Timestamp,
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{interval, sleep_until, Duration, Instant, MissedTickBehavior},
};
use tracing::{debug, info, warn};

pub(crate) use self::{
    command::{Action, Command, Refused, Situation},
    jobs::{cores, Done, Jobs},
};
use crate::{
    board::Board,
    failure,
    metrics::{Counters, Rejections},
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

    fn instant(&self, at: Timestamp) -> Option<Instant> {
        self.0.checked_add(at.as_duration())
    }
}

/// Whoever waits for the fate of a message.
#[derive(Debug)]
struct Waiting {
    tag: Tag,
    reply: oneshot::Sender<Result<(), Rejection>>,
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
    waiting: BTreeMap<Ticket, Waiting>,
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
            waiting: BTreeMap::new(),
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

    /// Runs rounds until `stop` resolves or its sender is gone, and then until all is stored.
    pub async fn run(mut self, stop: oneshot::Receiver<()>) -> Result<(), DriverError> {
        tokio::pin!(stop);
        let mut give_up_at = None;
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
                Some(delivery) = self.deliveries.recv() => self.admit(delivery),
            };
            if let Err(reject) = self.machine.handle_input(self.clock.now(), input) {
                debug!(%reject, "an input came too late");
            }
        }
    }

    fn obey(&mut self, Command { action, reply }: Command) {
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
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.insert(ticket, Waiting { tag: message.tag(), reply });
        Input::Message { ticket, message }
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
                    self.store.persist(id, record, &self.confirmations);
                    self.clock_due = true;
                }
                Output::Reply { ticket, outcome } => {
                    self.show(&mut board);
                    self.reply(ticket, outcome);
                }
                Output::Event(event) => self.report(event),
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

    fn reply(&mut self, ticket: Ticket, outcome: Result<(), Rejection>) {
        // The machine answers each ticket once.
        let Some(Waiting { tag, reply }) = self.waiting.remove(&ticket) else {
            return;
        };
        match &outcome {
            Ok(()) => self.counters.accepted(tag),
            // Nothing is wrong with it: its sender is told to send it again.
            Err(rejection) if is_for_shutdown(rejection) => {}
            Err(rejection) => self.counters.rejected(rejection.label()),
        }
        // A sender that has hung up does not want to know.
        let _ = reply.send(outcome);
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

/// Whether a message is turned down only because the coordinator is about to end.
pub(crate) fn is_for_shutdown(rejection: &Rejection) -> bool {
    matches!(rejection, Rejection::WrongPhase { phase: Phase::Shutdown, .. })
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
            driver.waiting.insert(Ticket(ticket), Waiting { tag: Tag::Update, reply });
            let rejection = Rejection::WrongPhase { tag: Tag::Update, phase };
            driver.reply(Ticket(ticket), Err(rejection.clone()));
            assert_eq!(outcome.try_recv(), Ok(Err(rejection)));
            assert_eq!(counters.read().rejections.total(), counted);
        }
    }
}
