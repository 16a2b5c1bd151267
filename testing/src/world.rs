//! A coordinator and its participants in virtual time, without any IO.
//!
//! Time never ticks: it advances exactly to the next moment at which someone wants to be woken. A
//! machine that forgets to ask for its next wake-up therefore stands still, and the test fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pet_core::coordinator::{
    self, Coordinator, CountRange, Front, GlobalModel, Record, Rejection, Sum2Settings,
    SumSettings, Ticket, TimeRange, UpdateSettings,
};
use pet_core::crypto::{PublicSigningKey, RootSeed, Seed, SigningKeyPair};
use pet_core::mask::MaskConfigPair;
use pet_core::model::Model;
use pet_core::participant::{self, Participant, TransportFault};
use pet_core::request::{Call, Response};
use pet_core::time::Timestamp;

/// Settings with which rounds of a few participants end quickly.
pub fn settings(mask: MaskConfigPair, model_length: u64) -> coordinator::Settings {
    let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(60) };
    let count = CountRange { min: 1, max: 100 };
    coordinator::Settings::new(
        SumSettings::new(0.4, count, time),
        UpdateSettings::new(0.9, CountRange { min: 3, max: 100 }, time),
        Sum2Settings::new(count, time),
        mask,
        model_length,
    )
}

/// The server around a coordinator: what it has published, and what it has done.
#[derive(Debug)]
pub struct Server {
    /// The machine.
    pub machine: Coordinator,
    /// What it answers with.
    pub front: Front,
    /// All global models, in order.
    pub models: Vec<GlobalModel>,
    /// All events, in order.
    pub events: Vec<coordinator::Event>,
    /// Why messages were rejected, in order.
    pub rejections: Vec<Rejection>,
    /// Who has updated, by round.
    pub updaters: BTreeMap<u64, BTreeSet<PublicSigningKey>>,
    /// When it wants to be woken.
    pub wake_at: Option<Timestamp>,
    replies: BTreeMap<Ticket, Result<(), Rejection>>,
    tickets: u64,
}

impl Server {
    /// A server with a new coordinator.
    pub fn new(settings: coordinator::Settings, seed: RootSeed) -> Self {
        let machine = Coordinator::new(settings, seed, Timestamp::ZERO).expect("valid settings");
        let mut server = Self {
            machine,
            front: Front::new(),
            models: Vec::new(),
            events: Vec::new(),
            rejections: Vec::new(),
            updaters: BTreeMap::new(),
            wake_at: None,
            replies: BTreeMap::new(),
            tickets: 0,
        };
        server.drain(Timestamp::ZERO);
        server
    }

    /// Gives the machine an input and does what it says.
    pub fn input(&mut self, now: Timestamp, input: coordinator::Input) {
        self.machine.handle_input(now, input).expect("the input is expected");
        self.drain(now);
    }

    /// Opens a message and hands it to the machine; gives the machine's reply.
    pub fn message(&mut self, now: Timestamp, sealed: Vec<u8>) -> Result<(), Rejection> {
        let outcome = self.front.open(sealed).and_then(|message| {
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.input(now, coordinator::Input::Message { ticket, message });
            self.replies.remove(&ticket).expect("every message is answered")
        });
        if let Err(rejection) = &outcome {
            self.rejections.push(rejection.clone());
        }
        outcome
    }

    /// Answers a call as a server would.
    pub fn answer(&mut self, now: Timestamp, call: &Call) -> Response {
        match self.front.answer(call) {
            Some(response) => response,
            None => {
                // Rejected or not: the answer is the same.
                let _ = self.message(now, call.body().to_vec());
                Response::ok("")
            }
        }
    }

    /// Replaces the machine by one that is restored from its snapshot.
    pub fn restore(&mut self, now: Timestamp) {
        // A snapshot's clock stands where the latest input has put it: a machine that is restored again and
        // again without being told the time would never see a phase end.
        self.input(now, coordinator::Input::Tick);
        let snapshot = self.machine.snapshot().to_bytes();
        let settings = self.machine.settings().clone();
        self.machine = Coordinator::restore(&snapshot, settings, now).expect("a good snapshot");
        self.drain(now);
    }

    fn drain(&mut self, now: Timestamp) {
        use coordinator::{Input, Output};
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, record } => {
                    if let Record::Updates { seeds, .. } = record {
                        let updaters = self.updaters.entry(self.machine.round_id()).or_default();
                        for (participant, _) in seeds {
                            assert!(updaters.insert(participant), "an update was counted twice");
                        }
                    }
                    Input::Persisted(id)
                }
                Output::Front(front) => {
                    if let Some(model) = front.model() {
                        if self.models.last() != Some(model) {
                            self.models.push(model.clone());
                        }
                    }
                    self.front = front;
                    continue;
                }
                Output::Reply { ticket, outcome } => {
                    let earlier = self.replies.insert(ticket, outcome);
                    assert_eq!(earlier, None, "a message was answered twice");
                    continue;
                }
                Output::Event(event) => {
                    self.events.push(event);
                    continue;
                }
                Output::Idle(idle) => {
                    self.wake_at = idle.wake_at;
                    return;
                }
                other => panic!("unknown output {other:?}"),
            };
            self.machine.handle_input(now, input).expect("the input is expected");
        }
    }
}

/// A participant, and what it has said.
#[derive(Debug)]
pub struct Client {
    /// The machine.
    pub machine: Participant,
    /// All events, in order.
    pub events: Vec<participant::Event>,
    /// When it wants to be woken.
    pub wake_at: Option<Timestamp>,
}

impl Client {
    /// The participant's public key.
    pub fn key(&self) -> PublicSigningKey {
        self.machine.keys().public()
    }

    /// Replaces the machine by one that is restored from its snapshot.
    pub fn restore(&mut self) {
        let snapshot = self.machine.snapshot().to_bytes();
        let settings = self.machine.settings().clone();
        self.machine = Participant::restore(&snapshot, settings).expect("a good snapshot");
    }
}

/// What the world does to the requests and machines in it; by default nothing.
pub trait Fate {
    /// Whether a request is lost, and whether before it arrived (`false`) or its answer (`true`).
    fn lose(&mut self, client: usize, call: &Call) -> Option<bool> {
        let _ = (client, call);
        None
    }

    /// Whether a participant crashes now, and is restored from its snapshot.
    fn crash(&mut self, client: usize) -> bool {
        let _ = client;
        false
    }

    /// Whether the coordinator crashes now, and is restored from its snapshot.
    fn crash_server(&mut self) -> bool {
        false
    }
}

/// A fate in which nothing ever goes wrong.
#[derive(Debug, Default)]
pub struct Calm;

impl Fate for Calm {}

/// A world: the coordinator, the participants, and the time.
#[derive(Debug)]
pub struct World<F = Calm> {
    /// The time.
    pub now: Timestamp,
    /// The coordinator's side.
    pub server: Server,
    /// The participants.
    pub clients: Vec<Client>,
    /// What goes wrong.
    pub fate: F,
    /// The local models, by round and participant.
    pub trained: BTreeMap<(u64, PublicSigningKey), Model>,
}

impl<F: Fate> World<F> {
    /// A coordinator and some participants; everything random follows from `seed`.
    pub fn new(
        settings: coordinator::Settings,
        participants: Vec<participant::Settings>,
        seed: u8,
        fate: F,
    ) -> Self {
        let clients = participants.into_iter().zip(0u8..).map(|(settings, i)| {
            let mut bytes = [seed; 32];
            bytes[0] = i;
            let keys = SigningKeyPair::from_seed(&Seed::new(bytes));
            Client {
                machine: Participant::new(keys, RootSeed::new(bytes), settings),
                events: Vec::new(),
                wake_at: Some(Timestamp::ZERO),
            }
        });
        Self {
            now: Timestamp::ZERO,
            clients: clients.collect(),
            server: Server::new(settings, RootSeed::new([seed ^ 0xff; 32])),
            fate,
            trained: BTreeMap::new(),
        }
    }

    /// Lets time pass until there are so many global models. `train` gives a participant's local
    /// model, by its number and the round's.
    ///
    /// # Panics
    /// If nobody wants to be woken any more, or ten virtual hours pass.
    pub fn run(&mut self, models: usize, train: impl FnMut(usize, u64) -> Model) {
        self.run_watched(models, train, |_| {});
    }

    /// Like [`World::run`], with a look at the world after each moment.
    ///
    /// # Panics
    /// If nobody wants to be woken any more, or ten virtual hours pass.
    pub fn run_watched(
        &mut self,
        models: usize,
        mut train: impl FnMut(usize, u64) -> Model,
        mut look: impl FnMut(&Self),
    ) {
        while self.server.models.len() < models {
            for client in 0..self.clients.len() {
                if self.clients[client].wake_at.is_some_and(|at| at <= self.now) {
                    self.drive(client, &mut train);
                }
            }
            look(self);
            if self.fate.crash_server() {
                self.server.restore(self.now);
            }
            let wishes = self.clients.iter().filter_map(|client| client.wake_at);
            let next = wishes.chain(self.server.wake_at).min().expect("someone waits for the time");
            self.now = self.now.max(next);
            assert!(self.now < Timestamp::from_millis(36_000_000), "no end in sight");
            if self.server.wake_at.is_some_and(|at| at <= self.now) {
                self.server.input(self.now, coordinator::Input::Tick);
            }
        }
    }

    fn drive(&mut self, index: usize, train: &mut impl FnMut(usize, u64) -> Model) {
        use participant::{Event, Input, Output};
        let now = self.now;
        let client = &mut self.clients[index];
        client.machine.handle_input(now, Input::Tick).expect("not stopped");
        loop {
            if self.fate.crash(index) {
                client.restore();
                client.machine.handle_input(now, Input::Tick).expect("not stopped");
            }
            let input = match client.machine.poll_output() {
                Output::Request { id, call } => match self.fate.lose(index, &call) {
                    None => Input::Response { id, response: self.server.answer(now, &call) },
                    Some(arrives) => {
                        if arrives {
                            self.server.answer(now, &call);
                        }
                        Input::Fault { id, fault: TransportFault::TimedOut }
                    }
                },
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Event(event) => {
                    client.events.push(event.clone());
                    match event {
                        Event::ModelNeeded { .. } => {
                            let round = self.server.machine.round_id();
                            let model = train(index, round);
                            self.trained.insert((round, client.key()), model.clone());
                            Input::SetModel(model)
                        }
                        _ => continue,
                    }
                }
                Output::Idle(idle) => {
                    client.wake_at = idle.wake_at;
                    return;
                }
                other => panic!("unknown output {other:?}"),
            };
            // Late answers to what a crash has made it forget are turned down.
            let _ = client.machine.handle_input(now, input);
        }
    }

    /// Checks every global model so far against the weighted mean of exactly the accepted updates.
    ///
    /// # Panics
    /// If one differs by more than `tolerance` in any weight.
    pub fn check_means(&self, tolerance: f64) {
        for model in &self.server.models {
            let updaters = &self.server.updaters[&model.round_id];
            assert_eq!(model.models, updaters.len() as u64);
            let weights = floats(model.weights.as_ref().expect("in range"));
            let mut sums = vec![0.0; weights.len()];
            let mut scalars = 0.0;
            for key in updaters {
                let client = self.clients.iter().find(|client| client.key() == *key).unwrap();
                let scalar = client.machine.settings().scalar.to_f64();
                scalars += scalar;
                let local = floats(&self.trained[&(model.round_id, *key)]);
                for (sum, weight) in sums.iter_mut().zip(local) {
                    *sum += scalar * weight;
                }
            }
            for (index, (sum, weight)) in sums.iter().zip(weights).enumerate() {
                let expected = sum / scalars;
                assert!(
                    (expected - weight).abs() <= tolerance,
                    "round {}, weight {index}: {weight} instead of {expected}",
                    model.round_id,
                );
            }
        }
    }
}

/// The weights as doubles.
pub fn floats(model: &Model) -> Vec<f64> {
    match model {
        Model::F32(weights) => weights.iter().map(|weight| f64::from(*weight)).collect(),
        Model::F64(weights) => weights.clone(),
        Model::I32(weights) => weights.iter().map(|weight| f64::from(*weight)).collect(),
        Model::I64(weights) => weights.iter().map(|weight| *weight as f64).collect(),
    }
}
