//! The one task that owns the machine of a federation's coordinator, and runs it: as the driver of version 1 does. What it
//! does beside that is to read objects back that the machine asks for.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use pet_core::{
    coordinator::GlobalModel,
    time::Timestamp,
    v2::coordinator::{
        Completed, Coordinator, Event, Front, Idle, Input, MessageKind, Object, Outcome, Output,
        Reject, Rejection, Ticket, Verified, Why,
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
    time::{interval, sleep_until, Duration, Instant, MissedTickBehavior},
};
use tracing::{debug, error, info, warn};

use super::{models::global_model, Board};
use crate::{
    driver::{Action, Command, Done, DriverError, Jobs, Refused, Situation},
    metrics::{Counters, Rejections},
    status::{note, Note, Observer},
    store::{
        rounds::{Archive, RoundStore},
        Confirmations, Confirmed,
    },
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

/// The time of the machine: milliseconds since the Unix epoch, that never jump.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
    epoch: Duration,
}

impl Clock {
    pub fn start() -> Self {
        // Before 1970 no clock of a coordinator is set.
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), epoch }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_duration(self.epoch + self.began.elapsed())
    }

    fn instant(&self, at: Timestamp) -> Option<Instant> {
        self.began.checked_add(at.as_duration().saturating_sub(self.epoch))
    }
}

/// Whoever waits for the fate of a message.
#[derive(Debug)]
struct Waiting {
    kind: MessageKind,
    reply: oneshot::Sender<Result<(), Rejection>>,
}

/// What was read of an object.
type Read = (Object, Option<Bytes>);

/// The machine and all that is connected to it.
pub(crate) struct Driver {
    machine: Coordinator,
    clock: Clock,
    board: watch::Sender<Board>,
    counters: Arc<Counters>,
    observer: Observer,
    store: Box<dyn RoundStore>,
    archive: Arc<dyn Archive>,
    confirmations: Confirmations,
    confirmed: Confirmed,
    deliveries: mpsc::Receiver<Delivery>,
    commands: mpsc::Receiver<Command>,
    command: mpsc::Sender<Command>,
    jobs_done: mpsc::UnboundedReceiver<Done<Outcome>>,
    jobs: Jobs<Outcome>,
    /// The machine asks for few objects at a time.
    objects: (mpsc::UnboundedSender<Read>, mpsc::UnboundedReceiver<Read>),
    /// Global models in the old form, once that is made.
    models: (mpsc::UnboundedSender<GlobalModel>, mpsc::UnboundedReceiver<GlobalModel>),
    /// The latest round whose model is handed out, or on its way to be.
    published: Option<u64>,
    waiting: BTreeMap<Ticket, Waiting>,
    /// The store is to be told how long the phase has been going on.
    clock_due: bool,
    last_ticket: u64,
    /// The rejections up to the end of the last round.
    reported: Rejections,
    summary: Summary,
}

impl Driver {
    /// Connects a machine made with `clock`'s time. Gives the way to deliver messages to it.
    pub fn new(
        machine: Coordinator,
        clock: Clock,
        board: watch::Sender<Board>,
        counters: Arc<Counters>,
        observer: Observer,
        store: Box<dyn RoundStore>,
        archive: Arc<dyn Archive>,
    ) -> (Self, mpsc::Sender<Delivery>) {
        let (deliver, deliveries) = mpsc::channel(WAITING_MESSAGES);
        let (confirmations, confirmed) = Confirmations::channel();
        let (command, commands) = Command::channel();
        let (jobs, jobs_done) = Jobs::channel();
        let driver = Self {
            machine,
            clock,
            board,
            counters,
            observer,
            store,
            archive,
            confirmations,
            confirmed,
            deliveries,
            commands,
            command,
            jobs_done,
            jobs,
            objects: mpsc::unbounded_channel(),
            models: mpsc::unbounded_channel(),
            published: None,
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
                Some(done) = self.jobs_done.recv() => done.map_or(Input::Tick, Input::JobDone),
                Some((object, bytes)) = self.objects.1.recv() => Input::Loaded { object, bytes },
                Some(confirmed) = self.confirmed.recv() => {
                    let id = confirmed?;
                    self.observer.stored(id);
                    Input::Persisted(id)
                }
                Some(model) = self.models.1.recv() => {
                    self.observer.model(&model);
                    self.board.send_modify(|board| board.publish(model));
                    continue;
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
                // The roster stays as it is while the coordinator runs.
                let roster = Arc::clone(&self.machine.settings().roster);
                Input::ChangeSettings(Box::new(settings.federation(roster)))
            }
        };
        let told = self.machine.handle_input(self.clock.now(), input);
        let situation = Situation {
            round_id: self.machine.round(),
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
        self.waiting.insert(ticket, Waiting { kind: message.kind(), reply });
        Input::Message { ticket, message }
    }

    /// Does all that is due.
    fn drain(&mut self) -> Idle {
        let mut shown = None;
        loop {
            match self.machine.poll_output() {
                Output::Front(front) => shown = Some(front),
                Output::Job(job) => self.jobs.start(job),
                Output::Persist { id, record } => {
                    self.observer.storing(id);
                    self.observer.record(&record);
                    self.store.persist(id, record, &self.confirmations);
                    self.clock_due = true;
                }
                Output::Load(object) => self.load(object),
                Output::Reply { ticket, outcome } => {
                    self.show(&mut shown);
                    self.reply(ticket, outcome);
                }
                Output::Event(event) => self.report(&event),
                Output::Idle(idle) => {
                    self.show(&mut shown);
                    self.observer.idle_v2(&self.machine, &idle);
                    return idle;
                }
                other => debug!(?other, "an output that this version does not know"),
            }
        }
    }

    fn show(&mut self, shown: &mut Option<Front>) {
        let Some(front) = shown.take() else { return };
        if let Some(completed) = front.completed() {
            if self.published != Some(completed.round()) {
                self.published = Some(completed.round());
                self.publish(Arc::clone(completed));
            }
        }
        self.board.send_modify(|board| board.show(front));
    }

    /// Has a model handed out in the forms of version 1 as well, once they are made.
    fn publish(&self, completed: Arc<Completed>) {
        let models = self.models.0.clone();
        spawn_blocking(move || {
            let _ = models.send(global_model(&completed));
        });
    }

    /// Reads an object back, on a thread that may block.
    fn load(&self, object: Object) {
        let (archive, objects) = (Arc::clone(&self.archive), self.objects.0.clone());
        spawn_blocking(move || {
            let bytes = archive.object(&object).unwrap_or_else(|error| {
                error!(%error, %object, "a stored object cannot be read");
                None
            });
            let _ = objects.send((object, bytes));
        });
    }

    fn reply(&mut self, ticket: Ticket, outcome: Result<(), Rejection>) {
        // The machine answers each ticket once.
        let Some(Waiting { kind, reply }) = self.waiting.remove(&ticket) else {
            return;
        };
        match &outcome {
            Ok(()) => self.counters.accepted_as(kind.label()),
            // Nothing is wrong with it: its sender is told to send it again.
            Err(Rejection::Stopped) => {}
            Err(rejection) => self.counters.rejected(rejection.label()),
        }
        // A sender that has hung up does not want to know.
        let _ = reply.send(outcome);
    }

    fn report(&mut self, event: &Event) {
        let is_over = matches!(event, Event::RoundCompleted { .. } | Event::RoundFailed { .. });
        let rejected = is_over.then(|| self.rejected_in_round());
        let note = note(event, &self.machine.settings().roster);
        self.observer.event_v2(event, note.as_ref(), rejected.as_ref());
        let rejected = rejected.unwrap_or_default();
        match event {
            Event::PhaseBegan { round, phase } => info!(round, %phase, "phase begins"),
            Event::PhaseEnded { round, phase, accepted, took } => {
                self.counters.phase_took(phase, *took);
                info!(round, %phase, accepted, ?took, "phase ends");
            }
            Event::RoundCompleted { round, models, excluded, votes } => {
                self.counters.round_completed();
                info!(round, models, excluded, votes, %rejected, "round completed: new global model, with its certificate");
            }
            Event::RoundFailed { round, phase, failure } => {
                self.counters.round_failed(failure.label());
                let blame = failure.blame().map(tracing::field::display);
                warn!(round, %phase, blame, reason = %failure, %rejected, "round failed");
            }
            _ => {}
        }
        if let Some(Note { round, name, message }) = note {
            warn!(round, name, "{message}");
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

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
