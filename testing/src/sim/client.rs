//! The participants' side: drivers that wait, ask, crash and lie.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use num_bigint::BigUint;
use pet_core::crypto::{RootSeed, Seed, SigningKeyPair};
use pet_core::mask::{BoundType, DataType};
use pet_core::message::{Chunk, MessageId, MessageSize, MessageView, Tag};
use pet_core::model::Scalar;
use pet_core::participant::{
    self, Event, Input, Job, Output, Participant, Snapshot, TransportFault, Why,
};
use pet_core::request::{Call, RequestId, Response};
use pet_core::time::Timestamp;

use super::agenda::{Happening, Key, Life, Sender};
use super::drivers::ParticipantDriver;
use super::ledger::Contribution;
use super::lies::{update_of, Honest, Lie};
use super::random::Random;
use super::scenario::{Fault, Scenario};
use super::simulation::{count, Simulation, PATIENCE};
use super::violation::Violation;
use crate::contract::{Breach, Watch, Watched};

/// How long a participant waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many snapshots are kept.
const MOST_SAVED: usize = 4;
/// How many old messages there are to choose from.
const OLD_MESSAGES: usize = 200;

/// A participant and its driver.
#[derive(Debug)]
pub(super) struct Client {
    /// None while it is down.
    pub(super) driver: Option<Box<dyn ParticipantDriver>>,
    watch: Watch,
    last_request: Option<RequestId>,
    settings: participant::Settings,
    pub(super) keys: SigningKeyPair,
    root: RootSeed,
    pub(super) honest: bool,
    pub(super) random: Random,
    crashes: u32,
    /// When its clock was zero: a restored process has a clock of its own.
    epoch: Timestamp,
    pub(super) wake: Option<Key>,
    requests: BTreeMap<RequestId, Key>,
    jobs: u64,
    cut_off_until: Timestamp,
    known: Known,
    saved: Vec<(Snapshot, Known)>,
    /// What it is restored from.
    restored_from: Option<(Snapshot, Known)>,
}

/// What the simulation knows of a participant's secrets. It goes with the machine's state.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The local model that is set.
    model: Option<Contribution>,
    /// What is in the update message that is being sent.
    masked: Option<Contribution>,
    /// The chunks of it that were sent. A machine that goes back to the state of half an upload goes on
    /// with the next chunk, and the coordinator may still have the others.
    parts: BTreeMap<MessageId, Parts>,
}

#[derive(Debug, Clone, Default)]
struct Parts {
    last: Option<u16>,
    data: BTreeMap<u16, Vec<u8>>,
}

impl Client {
    pub(super) fn new(scenario: &Scenario, mut random: Random) -> Self {
        let honest = random.below(100) >= scenario.liars;
        let max_message_size = match random.below(100) < scenario.splitters {
            true => MessageSize::at_most(random.between(220, 600) as usize).expect("large enough"),
            false => MessageSize::UNLIMITED,
        };
        let quarters = random.pick(&[1u32, 2, 4]);
        let scalar = Scalar::from_ratio(BigUint::from(quarters), BigUint::from(4u32));
        let settings = participant::Settings::default()
            .with_scalar(scalar.expect("not negative"))
            .with_max_message_size(max_message_size);
        Self {
            driver: None,
            watch: Watch::default(),
            last_request: None,
            settings,
            keys: SigningKeyPair::from_seed(&Seed::new(random.bytes32())),
            root: RootSeed::new(random.bytes32()),
            honest,
            random,
            crashes: 0,
            epoch: Timestamp::ZERO,
            wake: None,
            requests: BTreeMap::new(),
            jobs: 0,
            cut_off_until: Timestamp::ZERO,
            known: Known::default(),
            saved: Vec::new(),
            restored_from: None,
        }
    }

    /// A local model within the bounds of the mask config.
    fn train(&mut self, data_type: DataType, bound: BoundType, length: u64) -> Contribution {
        let one = Contribution::unit(data_type);
        let most = match bound {
            BoundType::B0 => one,
            _ => one * 100,
        };
        let range = 2 * most as u64 + 1;
        let weights = (0..length).map(|_| self.random.below(range) as i32 - most).collect();
        let quarters =
            u32::try_from(self.settings.scalar.numer() * 4u32 / self.settings.scalar.denom());
        Contribution { weights, quarters: quarters.expect("at most 4") }
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(self.random.between(2, 150))
    }
}

impl Simulation<'_> {
    fn life(&self, client: usize) -> Life {
        Life { client, crashes: self.clients[client].crashes }
    }

    fn is_alive(&self, life: Life) -> bool {
        self.life(life.client) == life
    }

    pub(super) fn client_wakes(&mut self, client: usize) -> Result<(), Violation> {
        self.clients[client].wake = None;
        self.trace.routine(self.now, format_args!("participant {client} wakes"));
        self.client_input(client, Input::Tick)
    }

    pub(super) fn client_job(&mut self, life: Life, job: Job) -> Result<(), Violation> {
        if !self.is_alive(life) {
            return Ok(());
        }
        self.clients[life.client].jobs -= 1;
        self.trace
            .note(self.now, format_args!("participant {} has done: {}", life.client, job.name()));
        self.client_input(life.client, Input::JobDone(job.finish()))
    }

    /// Who is not told has to find out, at the latest when the machine wants to be woken.
    pub(super) fn client_job_lost(
        &mut self,
        life: Life,
        job: Job,
        told: bool,
    ) -> Result<(), Violation> {
        if !self.is_alive(life) {
            return Ok(());
        }
        self.clients[life.client].jobs -= 1;
        self.trace.note(self.now, format_args!("participant {} has lost a job", life.client));
        let id = job.id();
        match told {
            true => self.client_input(life.client, Input::JobLost(id)),
            false => {
                drop(job);
                self.clients[life.client].watch.dropped(id);
                Ok(())
            }
        }
    }

    pub(super) fn client_answer(
        &mut self,
        life: Life,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Violation> {
        if !self.is_alive(life) {
            return Ok(());
        }
        let client = life.client;
        // The second answer to one request, or one that comes too late.
        let Some(timeout) = self.clients[client].requests.remove(&id) else { return Ok(()) };
        self.agenda.cancel(timeout);
        let input = match answer {
            Ok(response) => {
                let (status, bytes) = (response.status, response.body.len());
                self.trace.routine(
                    self.now,
                    format_args!("participant {client} gets {status}, {bytes} bytes"),
                );
                Input::Response { id, response }
            }
            Err(fault) => {
                self.trace.note(self.now, format_args!("participant {client}: {fault}"));
                Input::Fault { id, fault }
            }
        };
        self.client_input(client, input)
    }

    fn client_input(&mut self, index: usize, input: Input) -> Result<(), Violation> {
        self.tell_client(index, input)?;
        self.drain_client(index)
    }

    fn tell_client(&mut self, index: usize, input: Input) -> Result<(), Violation> {
        let client = &mut self.clients[index];
        let Some(driver) = &mut client.driver else { return Ok(()) };
        let local = Timestamp::ZERO + self.now.saturating_since(client.epoch);
        driver.handle_input(local, input).map_err(|reject| Violation::Refused {
            who: format!("participant {index}"),
            what: reject.to_string(),
        })
    }

    fn drain_client(&mut self, index: usize) -> Result<(), Violation> {
        loop {
            let Some(driver) = &mut self.clients[index].driver else { return Ok(()) };
            match driver.poll_output() {
                Output::Request { id, call } => self.send(index, id, call)?,
                Output::Job(job) => self.begin_client_job(index, job),
                Output::Event(event) => self.client_event(index, event)?,
                Output::Idle(idle) => {
                    self.check_client_driver(index)?;
                    let client = &mut self.clients[index];
                    if let Some(key) = client.wake.take() {
                        self.agenda.cancel(key);
                    }
                    let who = || format!("participant {index}");
                    let is_lost = matches!(idle.why, Why::Job | Why::LostJob) && client.jobs == 0;
                    match idle.wake_at.filter(|_| !is_lost) {
                        Some(at) => {
                            let at = client.epoch + at.saturating_since(Timestamp::ZERO);
                            if at <= self.now {
                                return Err(Violation::Spinning { who: who() });
                            }
                            client.wake = Some(self.agenda.add(at, Happening::ClientWakes(index)));
                        }
                        None => {
                            let waits = match idle.why {
                                Why::Answer => !client.requests.is_empty(),
                                _ => false,
                            };
                            if !waits {
                                let why = format!("{:?}", idle.why);
                                return Err(Violation::Stuck { who: who(), why });
                            }
                        }
                    }
                    break;
                }
                other => panic!("unknown output {other:?}"),
            }
        }
        self.maybe_crash_client(index);
        Ok(())
    }

    /// Whether the driver keeps its side of the contract.
    pub(super) fn check_client_driver(&self, index: usize) -> Result<(), Violation> {
        let client = &self.clients[index];
        if client.driver.is_none() {
            return Ok(());
        }
        let local = Timestamp::ZERO + self.now.saturating_since(client.epoch);
        match client.watch.finding(local, PATIENCE) {
            None => Ok(()),
            Some(breach) => Err(broken(index, breach)),
        }
    }

    fn begin_client_job(&mut self, index: usize, job: Job) {
        let life = self.life(index);
        let client = &mut self.clients[index];
        client.jobs += 1;
        let at = self.now + Duration::from_millis(client.random.between(1, 300));
        let happening = match self.chaos.strikes(self.now, Fault::JobLost, &mut client.random) {
            true => Happening::ClientJobLost(life, job, client.random.chance(0.5)),
            false => Happening::ClientJob(life, job),
        };
        self.agenda.add(at, happening);
    }

    fn client_event(&mut self, index: usize, event: Event) -> Result<(), Violation> {
        match &event {
            Event::NewRound { task, .. } => {
                self.trace
                    .note(self.now, format_args!("participant {index} sees a new round: {task:?}"));
            }
            event => {
                self.trace.note(self.now, format_args!("participant {index} says {event:?}"));
            }
        }
        let client = &mut self.clients[index];
        match event {
            Event::NewRound { .. } => {
                client.known.parts.clear();
                if client.random.chance(0.1) {
                    return self.tell_client(index, Input::FetchModel);
                }
                Ok(())
            }
            Event::ModelNeeded { data_type, length } => {
                let bound = self.scenario.settings.mask.vect.bound_type();
                let contribution = client.train(data_type, bound, length);
                let model = contribution.model(data_type);
                client.known.model = Some(contribution);
                self.tell_client(index, Input::SetModel(model))
            }
            Event::ModelMasked(_) => {
                client.known.masked = client.known.model.take();
                client.known.parts.clear();
                Ok(())
            }
            Event::ModelRejected(mismatch) => Err(Violation::Refused {
                who: format!("participant {index}"),
                what: mismatch.to_string(),
            }),
            _ => Ok(()),
        }
    }

    // Requests.

    fn send(&mut self, index: usize, id: RequestId, call: Call) -> Result<(), Violation> {
        let client = &mut self.clients[index];
        if client.last_request.is_some_and(|last| id <= last) {
            return Err(broken(index, Breach::RequestIdReused(id)));
        }
        client.last_request = Some(id);
        let mut messages = Vec::new();
        if let Call::Message(sealed) = &call {
            messages = self.post(index, sealed)?;
        } else {
            self.trace.routine(self.now, format_args!("participant {index} asks {call:?}"));
        }
        let life = self.life(index);
        let client = &mut self.clients[index];
        let timeout = self.agenda.add(self.now + TIMEOUT, Happening::TimedOut(life, id));
        client.requests.insert(id, timeout);
        if self.chaos.strikes(self.now, Fault::CutOff, &mut client.random) {
            let millis = client.random.between(10_000, 120_000);
            client.cut_off_until = self.now + Duration::from_millis(millis);
        }
        if self.now < client.cut_off_until {
            let at = self.now + client.delay();
            self.agenda.add(at, Happening::Refused(life, id));
            return Ok(());
        }
        if messages.is_empty() {
            self.transmit(Sender { life, id: Some(id), lie: None }, call);
        }
        // The answer to the first one is the answer to the request.
        for (nth, (sealed, lie)) in messages.into_iter().enumerate() {
            let sender = Sender { life, id: (nth == 0).then_some(id), lie };
            self.transmit(sender, Call::Message(sealed));
        }
        Ok(())
    }

    fn transmit(&mut self, sender: Sender, call: Call) {
        let client = &mut self.clients[sender.life.client];
        if self.chaos.strikes(self.now, Fault::LoseRequest, &mut client.random) {
            return;
        }
        let is_message = matches!(call, Call::Message(_));
        if is_message && self.chaos.strikes(self.now, Fault::Duplicate, &mut client.random) {
            let at = self.now + client.delay() + client.delay();
            self.agenda.add(at, Happening::Arrives(sender, call.clone()));
        }
        let at = self.arrival(sender.life.client);
        self.agenda.add(at, Happening::Arrives(sender, call));
    }

    /// When something that is sent now is there.
    pub(super) fn arrival(&mut self, index: usize) -> Timestamp {
        let client = &mut self.clients[index];
        let mut delay = client.delay();
        if self.chaos.strikes(self.now, Fault::Delay, &mut client.random) {
            delay += Duration::from_millis(client.random.between(1_000, 40_000));
        }
        self.now + delay
    }

    /// What a participant really sends instead of an honest message: mostly that.
    fn post(
        &mut self,
        index: usize,
        sealed: &Bytes,
    ) -> Result<Vec<(Bytes, Option<Lie>)>, Violation> {
        let bytes = sealed.len();
        let client = &mut self.clients[index];
        let machine = client.driver.as_ref().map(|driver| driver.machine());
        let parameters = machine.and_then(|machine| machine.parameters());
        let coordinator = parameters.expect("a message is for a round").pk;
        // It may be for a round that the simulated coordinator has begun and forgotten again.
        let keys = self.server.secrets.get(&coordinator).expect("every round's key was recorded");
        let splits = client.settings.max_message_size.limit().is_some();
        if client.known.masked.is_none() && client.honest {
            self.trace.note(self.now, format_args!("participant {index} posts {bytes} bytes"));
            return Ok(vec![(sealed.clone(), None)]);
        }
        let opened = keys.open(sealed).expect("sealed for the round's key");
        let view = MessageView::parse(&opened).expect("an honest message");
        self.trace.note(
            self.now,
            format_args!("participant {index} posts {bytes} bytes of {} message", view.tag),
        );
        let participant = client.keys.public();
        let masked_now = client.known.masked.clone();
        if let (Tag::Update, Some(contribution)) = (view.tag, masked_now) {
            let whole = match splits && view.is_multipart {
                true => client.known.parts_of(view.payload),
                false => Some(view.payload.to_vec()),
            };
            if let Some((seeds, masked)) = whole.as_deref().and_then(update_of) {
                self.ledger.made(participant, &seeds, masked, contribution)?;
            }
        }
        let client = &mut self.clients[index];
        if client.honest || !self.chaos.strikes(self.now, Fault::Lie, &mut client.random) {
            return Ok(vec![(sealed.clone(), None)]);
        }
        let mut told = Vec::new();
        let mut lie = Lie::Twice;
        // Not every lie suits every message.
        for _ in 0..8 {
            if told.is_empty() && !self.scenario.lies.is_empty() {
                lie = client.random.pick(&self.scenario.lies);
                let own = Lie::of(view.tag);
                if client.random.chance(0.2) && self.scenario.lies.contains(&own) {
                    lie = own;
                }
                let honest = Honest { opened: &opened, keys: &client.keys, coordinator };
                told = match lie {
                    Lie::Replay => old_messages(&self.old_messages, &mut client.random),
                    lie => {
                        let told = lie.tell(&honest, &mut client.random);
                        told.into_iter().map(Bytes::from).collect()
                    }
                };
            }
        }
        if told.is_empty() {
            return Ok(vec![(sealed.clone(), None)]);
        }
        if lie == Lie::SealedGarbage {
            let opened = keys.open(&told[0]).expect("sealed for the round's key");
            let view = MessageView::parse(&opened).expect("well-formed");
            if let (Some((seeds, masked)), Some(contribution)) =
                (update_of(view.payload), &client.known.masked)
            {
                self.ledger.made(participant, &seeds, masked, contribution.clone())?;
            }
        }
        self.trace.note(self.now, format_args!("participant {index} lies: {lie:?}"));
        count(&mut self.report.lies, format!("{lie:?}"));
        let mut messages: Vec<_> = told.into_iter().map(|sealed| (sealed, Some(lie))).collect();
        if !lie.replaces() && client.random.chance(0.7) {
            messages.insert(0, (sealed.clone(), None));
        }
        Ok(messages)
    }

    /// Keeps some messages for later.
    pub(super) fn keep_message(&mut self, sealed: &Bytes) {
        if self.server.random.chance(0.1) {
            self.old_messages.push_back(sealed.clone());
            if self.old_messages.len() > OLD_MESSAGES {
                self.old_messages.pop_front();
            }
        }
    }

    // Crashes.

    fn maybe_crash_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(driver) = &client.driver else { return };
        if self.scenario.faults.share(Fault::Crash) == 0.0 {
            return;
        }
        if self.now < Timestamp::ZERO + self.scenario.storm && client.random.chance(0.1) {
            if client.saved.len() == MOST_SAVED {
                client.saved.remove(0);
            }
            client.saved.push((driver.machine().snapshot(), client.known.clone()));
        }
        if !self.chaos.strikes(self.now, Fault::Crash, &mut client.random) {
            return;
        }
        let latest = (driver.machine().snapshot(), client.known.clone());
        let old = self.chaos.strikes(self.now, Fault::OldSnapshot, &mut client.random);
        client.restored_from = Some(match old && !client.saved.is_empty() {
            true => {
                let at = client.random.below(client.saved.len() as u64) as usize;
                client.saved[at].clone()
            }
            false => latest,
        });
        self.trace.note(self.now, format_args!("participant {index} crashes"));
        client.driver = None;
        client.crashes += 1;
        client.jobs = 0;
        for (_, timeout) in std::mem::take(&mut client.requests) {
            self.agenda.cancel(timeout);
        }
        if let Some(wake) = client.wake.take() {
            self.agenda.cancel(wake);
        }
        let at = self.now + Duration::from_millis(client.random.between(100, 60_000));
        self.agenda.add(at, Happening::ClientRestored(index));
    }

    pub(super) fn restore_client(&mut self, index: usize) -> Result<(), Violation> {
        self.trace.note(self.now, format_args!("participant {index} begins"));
        let client = &mut self.clients[index];
        client.wake = None;
        client.epoch = self.now;
        let machine = match client.restored_from.take() {
            Some((snapshot, known)) => {
                client.known = known;
                Participant::restore(&snapshot.to_bytes(), client.settings.clone()).map_err(
                    |error| Violation::NotRestored {
                        who: format!("participant {index}"),
                        error: error.to_string(),
                    },
                )?
            }
            None => {
                Participant::new(client.keys.clone(), client.root.clone(), client.settings.clone())
            }
        };
        let (machine, watch) = Watched::new(machine);
        client.watch = watch;
        client.last_request = None;
        client.driver = Some(self.drivers.participant(index, machine));
        self.drain_client(index)
    }
}

fn broken(index: usize, breach: Breach) -> Violation {
    Violation::Breach { who: format!("participant {index}"), breach }
}

fn old_messages(kept: &VecDeque<Bytes>, random: &mut Random) -> Vec<Bytes> {
    let count = kept.len() as u64;
    (0..3).filter_map(|_| kept.get(random.below(count.max(1)) as usize).cloned()).collect()
}

impl Known {
    /// The payload that a chunk belongs to, once all of it was seen.
    fn parts_of(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let chunk = Chunk::parse(payload).ok()?;
        let parts = self.parts.entry(chunk.message_id).or_default();
        if chunk.is_last {
            parts.last = Some(chunk.id);
        }
        parts.data.insert(chunk.id, chunk.data.to_vec());
        let complete = parts.last.is_some_and(|last| parts.data.len() == usize::from(last) + 1);
        complete.then(|| parts.data.values().flatten().copied().collect())
    }
}
