//! The coordinator's side: a driver with a store, that crashes and is restored from what was stored.

use std::collections::BTreeMap;
use std::time::Duration;

use pet_core::coordinator::{
    Coordinator, Event, Front, GlobalModel, Input, Job, Output, PersistId, Record, Rejection,
    Snapshot, Ticket, Verified, Why,
};
use pet_core::crypto::{EncryptKeyPair, PublicEncryptKey, PublicSigningKey, RootSeed, RoundSeed};
use pet_core::message::{MessageError, ReassemblyError, Tag};
use pet_core::request::{Call, Response};
use pet_core::time::Timestamp;

use crate::bounds::{most_in_memory, most_waiting, Log};
use crate::contract::{Watch, Watched};

use super::agenda::{Happening, Key, Sender};
use super::drivers::CoordinatorDriver;
use super::ledger::Verdict;
use super::random::Random;
use super::report::Progress;
use super::scenario::Fault;
use super::simulation::{count, Simulation, PATIENCE};
use super::violation::Violation;

/// The coordinator and its driver.
#[derive(Debug)]
pub(super) struct Server {
    /// None while it is down.
    pub(super) driver: Option<Box<dyn CoordinatorDriver>>,
    watch: Watch,
    pub(super) random: Random,
    crashes: u32,
    /// When its clock was zero: a restored process has a clock of its own.
    epoch: Timestamp,
    front: Front,
    wake: Option<Key>,
    jobs: u64,
    tickets: BTreeMap<Ticket, Pending>,
    last_ticket: u64,
    /// What a store of records has to keep.
    log: Log,
    /// What is safe.
    stored: Option<Saved>,
    /// What is being stored.
    storing: Option<(Saved, PersistId)>,
    /// The latest record that is not being stored yet.
    unstored: Option<PersistId>,
    /// The keys of all rounds that ever began.
    pub(super) secrets: BTreeMap<PublicEncryptKey, EncryptKeyPair>,
}

/// A snapshot, and where the ledger was.
#[derive(Debug)]
struct Saved {
    snapshot: Snapshot,
    mark: usize,
    log: Log,
}

/// A message that the machine has not answered.
#[derive(Debug)]
struct Pending {
    sender: Sender,
    round: RoundSeed,
    tag: Tag,
    participant: PublicSigningKey,
    is_chunk: bool,
}

impl Server {
    pub(super) fn new(random: Random) -> Self {
        Self {
            driver: None,
            watch: Watch::default(),
            random,
            crashes: 0,
            epoch: Timestamp::ZERO,
            front: Front::new(),
            wake: None,
            jobs: 0,
            tickets: BTreeMap::new(),
            last_ticket: 0,
            log: Log::default(),
            stored: None,
            storing: None,
            unstored: None,
            secrets: BTreeMap::new(),
        }
    }

    fn is_new(&self, model: &GlobalModel) -> bool {
        self.front.model().is_none_or(|before| !before.is_same(model))
    }
}

impl Simulation<'_> {
    pub(super) fn arrives(&mut self, sender: Sender, call: Call) -> Result<(), Violation> {
        self.report.requests += 1;
        let Call::Message(sealed) = &call else {
            match self.server.driver {
                Some(_) => {
                    let response = self.server.front.answer(&call);
                    self.answer(sender, response.expect("not a message"));
                }
                None => self.refuse(sender),
            }
            return Ok(());
        };
        self.report.messages += 1;
        if self.server.driver.is_none() {
            self.refuse(sender);
            return Ok(());
        }
        self.keep_message(sealed);
        match self.server.front.open(sealed.to_vec()) {
            Ok(message) => {
                let at = self.now + Duration::from_millis(self.server.random.between(0, 20));
                let crashes = self.server.crashes;
                self.agenda.add(at, Happening::Opened(crashes, sender, Box::new(message)));
                Ok(())
            }
            Err(Rejection::NoRound) => {
                self.answer(sender, Response::new(503, ""));
                Ok(())
            }
            Err(rejection) => self.rejected(sender, &rejection),
        }
    }

    pub(super) fn opened(
        &mut self,
        crashes: u32,
        sender: Sender,
        message: Verified,
    ) -> Result<(), Violation> {
        if crashes != self.server.crashes || self.maybe_crash_server()? {
            self.refuse(sender);
            return Ok(());
        }
        let Some(driver) = &self.server.driver else { return Ok(()) };
        self.server.last_ticket += 1;
        let ticket = Ticket(self.server.last_ticket);
        let pending = Pending {
            sender,
            round: driver.machine().parameters().seed,
            tag: message.tag(),
            participant: message.participant(),
            is_chunk: message.is_chunk(),
        };
        self.server.tickets.insert(ticket, pending);
        self.server_input("a message", Input::Message { ticket, message })
    }

    pub(super) fn server_wakes(&mut self) -> Result<(), Violation> {
        self.server.wake = None;
        if self.maybe_crash_server()? {
            return Ok(());
        }
        self.trace.note(self.now, format_args!("coordinator wakes"));
        self.server_input("the time", Input::Tick)
    }

    pub(super) fn server_job(&mut self, crashes: u32, job: Job) -> Result<(), Violation> {
        if crashes != self.server.crashes || self.maybe_crash_server()? {
            return Ok(());
        }
        self.server.jobs -= 1;
        self.trace.note(self.now, format_args!("coordinator has done: {}", job.name()));
        // A job for a phase that has ended meanwhile is turned down: nothing is wrong.
        self.server_input("", Input::JobDone(job.finish()))
    }

    /// Who is not told has to find out, at the latest when the machine wants to be woken.
    pub(super) fn server_job_lost(
        &mut self,
        crashes: u32,
        job: Job,
        told: bool,
    ) -> Result<(), Violation> {
        if crashes != self.server.crashes || self.maybe_crash_server()? {
            return Ok(());
        }
        self.server.jobs -= 1;
        self.trace.note(self.now, format_args!("coordinator has lost a job"));
        let id = job.id();
        match told {
            true => self.server_input("", Input::JobLost(id)),
            false => {
                drop(job);
                self.server.watch.dropped(id);
                Ok(())
            }
        }
    }

    pub(super) fn stored(&mut self, crashes: u32) -> Result<(), Violation> {
        if crashes != self.server.crashes {
            return Ok(());
        }
        let Some((saved, id)) = self.server.storing.take() else { return Ok(()) };
        self.server.stored = Some(saved);
        self.server.watch.stored(id);
        if self.maybe_crash_server()? {
            return Ok(());
        }
        self.server_input("a confirmation", Input::Persisted(id))
    }

    /// Gives the machine an input; `what` names one that it may not turn down.
    fn server_input(&mut self, what: &str, input: Input) -> Result<(), Violation> {
        self.tell_server(what, input)?;
        self.drain_server()
    }

    fn tell_server(&mut self, what: &str, input: Input) -> Result<(), Violation> {
        let now = Timestamp::ZERO + self.now.saturating_since(self.server.epoch);
        let Some(driver) = &mut self.server.driver else { return Ok(()) };
        match driver.handle_input(now, input) {
            Err(reject) if !what.is_empty() => Err(Violation::Refused {
                who: "the coordinator".into(),
                what: format!("{what}: {reject}"),
            }),
            _ => Ok(()),
        }
    }

    fn drain_server(&mut self) -> Result<(), Violation> {
        loop {
            let Some(driver) = &mut self.server.driver else { return Ok(()) };
            match driver.poll_output() {
                Output::Job(job) => self.begin_server_job(job),
                Output::Persist { id, record } => self.persist(id, &record)?,
                Output::Front(front) => self.publish(front)?,
                Output::Reply { ticket, outcome } => self.reply(ticket, outcome)?,
                Output::Event(event) => self.server_event(&event),
                Output::Idle(idle) => {
                    self.check_server_driver()?;
                    self.check_memory()?;
                    self.store();
                    let server = &mut self.server;
                    if let Some(wake) = server.wake.take() {
                        self.agenda.cancel(wake);
                    }
                    let who = || String::from("the coordinator");
                    let is_lost = matches!(idle.why, Why::Job | Why::LostJob) && server.jobs == 0;
                    match idle.wake_at.filter(|_| !is_lost) {
                        Some(at) => {
                            let at = server.epoch + at.saturating_since(Timestamp::ZERO);
                            if at <= self.now {
                                return Err(Violation::Spinning { who: who() });
                            }
                            server.wake = Some(self.agenda.add(at, Happening::ServerWakes));
                        }
                        None => {
                            let waits = match idle.why {
                                Why::Store => server.storing.is_some(),
                                _ => false,
                            };
                            if !waits {
                                let why = format!("{:?}", idle.why);
                                return Err(Violation::Stuck { who: who(), why });
                            }
                        }
                    }
                    return Ok(());
                }
                other => panic!("unknown output {other:?}"),
            }
        }
    }

    fn begin_server_job(&mut self, job: Job) {
        let server = &mut self.server;
        server.jobs += 1;
        let at = self.now + Duration::from_millis(server.random.between(1, 50));
        let happening = match self.chaos.strikes(self.now, Fault::ServerJobLost, &mut server.random)
        {
            true => Happening::ServerJobLost(server.crashes, job, server.random.chance(0.5)),
            false => Happening::ServerJob(server.crashes, job),
        };
        self.agenda.add(at, happening);
    }

    fn persist(&mut self, id: PersistId, record: &Record) -> Result<(), Violation> {
        self.ledger.record(record)?;
        self.server.log.record(record);
        if let Record::RoundBegan { round_id, parameters, secret } = record {
            self.trace.note(self.now, format_args!("coordinator begins round {round_id}"));
            self.server.secrets.insert(parameters.pk, EncryptKeyPair::from_secret(secret.clone()));
            if !self.is_calm() {
                self.calm_rounds.clear();
            }
            self.calm_rounds.insert(parameters.seed);
        }
        self.server.unstored = Some(id);
        Ok(())
    }

    /// Stores a snapshot that has all records so far in it, once the store is free.
    fn store(&mut self) {
        let server = &mut self.server;
        let Some(driver) = &server.driver else { return };
        if server.storing.is_some() {
            return;
        }
        let Some(id) = server.unstored.take() else { return };
        let saved = Saved {
            snapshot: driver.machine().snapshot(),
            mark: self.ledger.mark(),
            log: server.log.clone(),
        };
        server.storing = Some((saved, id));
        let millis = match self.chaos.strikes(self.now, Fault::SlowStore, &mut server.random) {
            true => server.random.between(500, 8_000),
            false => server.random.between(1, 10),
        };
        let at = self.now + Duration::from_millis(millis);
        self.agenda.add(at, Happening::Stored(server.crashes));
    }

    fn publish(&mut self, front: Front) -> Result<(), Violation> {
        if let Some(model) = front.model().filter(|model| self.server.is_new(model)) {
            self.trace.note(
                self.now,
                format_args!("coordinator publishes the model of round {}", model.round_id),
            );
        }
        match self.ledger.published(&front)? {
            Some(Verdict::Mean) => {
                self.report.completed += 1;
                self.report.updates += front.model().map_or(0, |model| model.models);
                self.completed_in_calm += u64::from(self.is_calm());
            }
            Some(Verdict::Outvoted) => self.report.outvoted += 1,
            _ => {}
        }
        self.server.front = front;
        Ok(())
    }

    fn reply(&mut self, ticket: Ticket, outcome: Result<(), Rejection>) -> Result<(), Violation> {
        let pending = self.server.tickets.remove(&ticket).ok_or(Violation::AnsweredTwice)?;
        let Pending { sender, round, tag, participant, is_chunk } = pending;
        if let Err(rejection) = outcome {
            return self.rejected(sender, &rejection);
        }
        if let Some(lie) = sender.lie.filter(|lie| !lie.may_pass()) {
            return Err(Violation::LieAccepted(lie));
        }
        self.report.accepted += 1;
        // A chunk that is kept is no message yet.
        if !is_chunk {
            self.ledger.acknowledged(round, tag, participant);
        }
        self.trace.note(
            self.now,
            format_args!("coordinator accepts {tag} of participant {}", sender.life.client),
        );
        self.answer(sender, Response::ok(""));
        Ok(())
    }

    fn rejected(&mut self, sender: Sender, rejection: &Rejection) -> Result<(), Violation> {
        count(&mut self.report.rejected, rejection.label());
        self.trace.note(
            self.now,
            format_args!("coordinator rejects participant {}: {rejection}", sender.life.client),
        );
        if sender.lie.is_none() && !may_happen_to_anyone(rejection) {
            return Err(Violation::HonestRejected(rejection.clone()));
        }
        let round = self.server.front.round_id().unwrap_or(0);
        // Half of the participants do not want to know why.
        let wants_to_know = sender.life.client.is_multiple_of(2);
        let response = match rejection {
            Rejection::Chunk(ReassemblyError::NoRoom)
            | Rejection::InProgress(_)
            | Rejection::StoreBehind => {
                Response::new(503, "").retry_after(Some(Duration::from_secs(1)))
            }
            rejection if wants_to_know => {
                let problem = rejection.problem(round);
                Response::new(problem.status, problem.to_json())
            }
            _ => Response::ok(""),
        };
        self.answer(sender, response);
        Ok(())
    }

    fn server_event(&mut self, event: &Event) {
        self.trace.note(self.now, format_args!("coordinator says {event:?}"));
        if let Event::RoundFailed { failure, .. } = event {
            count(&mut self.report.failed, failure.label());
        }
        (self.watch)(&Progress { now: self.now, event, report: &self.report });
    }

    /// Whether the driver keeps its side of the contract.
    pub(super) fn check_server_driver(&self) -> Result<(), Violation> {
        if self.server.driver.is_none() {
            return Ok(());
        }
        let now = Timestamp::ZERO + self.now.saturating_since(self.server.epoch);
        match self.server.watch.finding(now, PATIENCE) {
            None => Ok(()),
            Some(breach) => Err(Violation::Breach { who: "the coordinator".into(), breach }),
        }
    }

    fn check_memory(&mut self) -> Result<(), Violation> {
        let Some(driver) = &self.server.driver else { return Ok(()) };
        let machine = driver.machine();
        let found = machine.incomplete_bytes();
        self.report.most_incomplete = self.report.most_incomplete.max(found);
        let limit = most_in_memory(&self.scenario.settings.reassembly);
        if found > limit {
            return Err(Violation::TooMuchMemory { found, limit });
        }
        let found = machine.waiting_outputs();
        let limit = most_waiting(self.server.tickets.len());
        if found > limit {
            return Err(Violation::TooManyWaiting { found, limit });
        }
        self.report.most_stored = self.report.most_stored.max(self.server.log.bytes());
        let too_much = |(found, limit)| Violation::TooMuchStored { found, limit };
        self.server.log.check(&self.scenario.settings).map_err(too_much)
    }

    fn answer(&mut self, sender: Sender, response: Response) {
        let Some(id) = sender.id else { return };
        let client = sender.life.client;
        if self.chaos.strikes(self.now, Fault::LoseAnswer, &mut self.clients[client].random) {
            return;
        }
        let at = self.arrival(client);
        self.agenda.add(at, Happening::Answered(sender.life, id, response));
    }

    fn refuse(&mut self, sender: Sender) {
        if let Some(id) = sender.id {
            let at = self.now + Duration::from_millis(20);
            self.agenda.add(at, Happening::Refused(sender.life, id));
        }
    }

    // Crashes.

    /// Whether it has crashed just now.
    fn maybe_crash_server(&mut self) -> Result<bool, Violation> {
        let server = &mut self.server;
        if server.driver.is_none() {
            return Ok(true);
        }
        if !self.chaos.strikes(self.now, Fault::ServerCrash, &mut server.random) {
            return Ok(false);
        }
        self.trace.note(self.now, format_args!("coordinator crashes"));
        server.driver = None;
        server.front = Front::new();
        server.crashes += 1;
        server.jobs = 0;
        server.unstored = None;
        // What was being stored may have been stored without the machine hearing of it.
        match server.storing.take() {
            Some((saved, _)) if server.random.chance(0.5) => server.stored = Some(saved),
            _ => {}
        }
        if let Some(wake) = server.wake.take() {
            self.agenda.cancel(wake);
        }
        if self.chaos.strikes(self.now, Fault::Amnesia, &mut server.random) {
            server.stored = None;
        }
        server.log = server.stored.as_ref().map(|saved| saved.log.clone()).unwrap_or_default();
        match &server.stored {
            Some(saved) => self.ledger.roll_back(saved.mark)?,
            None => self.ledger.forget(),
        }
        let at = self.now + Duration::from_millis(server.random.between(100, 20_000));
        self.agenda.add(at, Happening::ServerRestored);
        for pending in std::mem::take(&mut server.tickets).into_values() {
            self.refuse(pending.sender);
        }
        Ok(true)
    }

    pub(super) fn restore_server(&mut self) -> Result<(), Violation> {
        self.trace.note(self.now, format_args!("coordinator begins"));
        let server = &mut self.server;
        let settings = self.scenario.settings.clone();
        let not_restored =
            |error: String| Violation::NotRestored { who: "the coordinator".into(), error };
        let now = Timestamp::ZERO;
        let machine = match &server.stored {
            Some(saved) => Coordinator::restore(&saved.snapshot.to_bytes(), settings, now)
                .map_err(|error| not_restored(error.to_string()))?,
            None => {
                let root = RootSeed::new(server.random.bytes32());
                Coordinator::new(settings, root, now)
                    .map_err(|error| not_restored(error.to_string()))?
            }
        };
        let (machine, watch) = Watched::new(machine);
        // Nothing that it will put out is safe yet.
        watch.stored(PersistId::default());
        server.watch = watch;
        server.driver = Some(self.drivers.coordinator(machine));
        server.epoch = self.now;
        self.drain_server()
    }
}

/// Whether even an honest message can be turned down so: when it comes late, or a second time, or after
/// a crash, or when there is no room.
fn may_happen_to_anyone(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::WrongPhase { .. }
        | Rejection::DuplicateSum
        | Rejection::DuplicateUpdate
        | Rejection::DuplicateSum2
        | Rejection::InProgress(_)
        | Rejection::StoreBehind
        | Rejection::ShardFull
        | Rejection::Full(_)
        | Rejection::TooLate(_)
        | Rejection::TooManyModels
        // Its job was lost again and again.
        | Rejection::NotProcessed
        // The sum message came too late, but was delivered.
        | Rejection::UnknownSumParticipant => true,
        // Sealed for another round.
        Rejection::Message(error) => matches!(error, MessageError::DoesNotOpen),
        // A participant that was restored splits another message.
        Rejection::Chunk(error) => {
            matches!(error, ReassemblyError::NoRoom | ReassemblyError::Contradiction)
        }
        _ => false,
    }
}
