//! A small federation in memory, whose every step is somebody else's choice: what is delivered, lost,
//! repeated or damaged, who crashes and goes back to an older state, when time passes. It checks at
//! every step what must hold whatever the choices are.
//!
//! Weights are chosen so that a global model tells which local models are in it: the k-th model of
//! participant `i` is the integer `k * 16^i`, so that the digits of the sum are the models.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::OnceLock;
use std::time::Duration;

use pet_core::coordinator::{
    self, Coordinator, CountRange, Front, GlobalModel, PersistId, Record, Settings, Sum2Settings,
    SumSettings, Ticket, TimeRange, UpdateSettings,
};
use pet_core::crypto::{
    EncryptKeyPair, PublicSigningKey, RootSeed, SecretEncryptKey, Seed, SigningKeyPair, Task,
    TaskSignatures,
};
use pet_core::mask::MaskConfig;
use pet_core::message::{EncryptedMaskSeed, MessageSize, MessageView, Payload, ReassemblyLimits};
use pet_core::model::Model;
use pet_core::participant::{self, Participant, TransportFault};
use pet_core::request::{Call, RequestId, Response};
use pet_core::time::Timestamp;

use crate::bounds::{most_in_memory, most_waiting, Log};

/// How many participants there are.
pub const CLIENTS: usize = 5;
/// The most local models of one participant: a digit of a number to the base of 16 tells them apart.
const MOST_MODELS: u32 = 15;
/// The most outputs that one input can lead to here; more would be an endless loop.
const MOST_OUTPUTS: usize = 1000;

/// The coordinator's settings.
pub fn settings() -> Settings {
    let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(60) };
    let count = CountRange { min: 1, max: 4 };
    let mask: MaskConfig = "Prime/F64/B6/M3".parse().expect("a known config");
    Settings::new(
        SumSettings::new(0.4, count, time),
        UpdateSettings::new(0.9, CountRange { min: 3, max: 4 }, time),
        Sum2Settings::new(count, time),
        mask,
        1,
    )
    .with_reassembly(ReassemblyLimits::default().with_bytes(1 << 14, 1 << 12))
}

/// Settings of a participant; every other one splits its messages.
pub fn client_settings(index: usize) -> participant::Settings {
    let max_message_size = match index % 2 {
        1 => MessageSize::at_most(300).expect("large enough"),
        _ => MessageSize::UNLIMITED,
    };
    participant::Settings::default()
        .with_max_message_size(max_message_size)
        .with_max_model_length(4096)
}

/// Keys of participants of whom, in the first round, two sum and the others update.
pub fn client_seeds() -> &'static [[u8; 32]; CLIENTS] {
    static SEEDS: OnceLock<[[u8; 32]; CLIENTS]> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let machine = coordinator();
        let parameters = machine.parameters();
        let of_task = |task| {
            (0..=u8::MAX).map(|byte| [byte; 32]).filter(move |seed| {
                let keys = SigningKeyPair::from_seed(&Seed::new(*seed));
                let signatures = TaskSignatures::sign(&keys, &parameters.seed);
                signatures.task(parameters.sum, parameters.update) == task
            })
        };
        let mut seeds = of_task(Task::Sum).take(2).chain(of_task(Task::Update));
        std::array::from_fn(|_| seeds.next().expect("enough of each task"))
    })
}

fn coordinator() -> Coordinator {
    Coordinator::new(settings(), RootSeed::new([0xc0; 32]), Timestamp::ZERO)
        .expect("valid settings")
}

/// What a violation is called, and how it came about.
pub type Violation = String;

/// A participant, and all that is between it and the coordinator.
pub struct Client {
    machine: Participant,
    jobs: VecDeque<participant::Job>,
    requests: VecDeque<(RequestId, Call)>,
    /// An older state of it.
    saved: Vec<u8>,
    /// How many local models it was given.
    models: u32,
    wake_at: Option<Timestamp>,
}

/// The coordinator, and all that is around it.
pub struct Server {
    machine: Coordinator,
    front: Front,
    jobs: VecDeque<coordinator::Job>,
    /// The last record that was put out, and the last that was stored.
    records: (PersistId, PersistId),
    /// The state and what had been accepted when the store last answered.
    saved: (Vec<u8>, Accepted, Log),
    accepted: Accepted,
    /// What a store of records has to keep.
    log: Log,
    tickets: u64,
    waiting: BTreeSet<Ticket>,
    wake_at: Option<Timestamp>,
    secrets: BTreeMap<u64, SecretEncryptKey>,
}

/// Whose updates are accepted, by round.
type Accepted = BTreeMap<u64, BTreeSet<PublicSigningKey>>;

/// All of them, and the time.
pub struct Federation {
    now: Timestamp,
    /// The coordinator.
    pub server: Server,
    /// The participants.
    pub clients: Vec<Client>,
    /// All messages that were ever sent.
    log: Vec<Vec<u8>>,
    /// What was masked with each seed, named by its sealed form.
    masked: BTreeMap<EncryptedMaskSeed, Vec<u8>>,
    /// All global models.
    pub models: Vec<GlobalModel>,
    /// What must not be.
    pub violations: Vec<Violation>,
}

impl Default for Federation {
    fn default() -> Self {
        Self::new()
    }
}

impl Federation {
    /// At the beginning of the first round.
    pub fn new() -> Self {
        let clients = client_seeds().iter().enumerate().map(|(index, seed)| {
            let keys = SigningKeyPair::from_seed(&Seed::new(*seed));
            let machine = Participant::new(keys, RootSeed::new(*seed), client_settings(index));
            Client {
                saved: machine.snapshot().to_bytes().to_vec(),
                machine,
                jobs: VecDeque::new(),
                requests: VecDeque::new(),
                models: 0,
                wake_at: Some(Timestamp::ZERO),
            }
        });
        let machine = coordinator();
        let saved = (machine.snapshot().to_bytes().to_vec(), Accepted::new(), Log::default());
        let mut federation = Self {
            now: Timestamp::ZERO,
            clients: clients.collect(),
            server: Server {
                machine,
                front: Front::new(),
                jobs: VecDeque::new(),
                records: (PersistId(0), PersistId(0)),
                saved,
                accepted: Accepted::new(),
                log: Log::default(),
                tickets: 0,
                waiting: BTreeSet::new(),
                wake_at: None,
                secrets: BTreeMap::new(),
            },
            log: Vec::new(),
            masked: BTreeMap::new(),
            models: Vec::new(),
            violations: Vec::new(),
        };
        federation.drain_server();
        federation
    }

    /// What the coordinator answers with.
    pub fn front(&self) -> &Front {
        &self.server.front
    }

    /// The coordinator's state.
    pub fn server_snapshot(&self) -> Vec<u8> {
        self.server.machine.snapshot().to_bytes().to_vec()
    }

    /// The coordinator's phase.
    pub fn phase(&self) -> coordinator::Phase {
        self.server.machine.phase()
    }

    /// The participants' states.
    pub fn client_snapshots(&self) -> Vec<Vec<u8>> {
        self.clients.iter().map(|client| client.machine.snapshot().to_bytes().to_vec()).collect()
    }

    /// All messages so far, opened.
    pub fn opened_messages(&self) -> Vec<Vec<u8>> {
        self.log.iter().filter_map(|sealed| self.open(sealed)).collect()
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let secrets = self.server.secrets.values();
        secrets
            .filter_map(|secret| EncryptKeyPair::from_secret(secret.clone()).open(sealed).ok())
            .next()
    }

    fn violated(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    // The coordinator.

    fn server_input(&mut self, input: coordinator::Input) {
        // A late result is turned down, and nothing is wrong.
        let _ = self.server.machine.handle_input(self.now, input);
        self.drain_server();
    }

    fn drain_server(&mut self) {
        use coordinator::Output;
        for _ in 0..MOST_OUTPUTS {
            match self.server.machine.poll_output() {
                Output::Job(job) => self.server.jobs.push_back(job),
                Output::Persist { id, record } => {
                    self.server.records.0 = id;
                    self.recorded(record);
                }
                Output::Front(front) => {
                    let before = self.server.front.model();
                    let is_new =
                        |model: &&GlobalModel| before.is_none_or(|old| !old.is_same(model));
                    if let Some(model) = front.model().filter(is_new) {
                        self.published(model.clone());
                    }
                    self.server.front = front;
                }
                Output::Reply { ticket, .. } if !self.server.waiting.remove(&ticket) => {
                    self.violated("a reply to nothing, or a second one");
                }
                Output::Idle(idle) => {
                    self.server.wake_at = idle.wake_at;
                    let (put_out, stored) = self.server.records;
                    self.check_bounds();
                    if idle.wake_at.is_none() && self.server.jobs.is_empty() && put_out == stored {
                        self.violated(format!("the coordinator waits for nothing: {:?}", idle.why));
                    }
                    return;
                }
                _ => {}
            }
        }
        self.violated("the coordinator never comes to rest");
    }

    /// What is in memory and what is stored is bounded by the settings, and what waits for the store by the
    /// messages that have no answer.
    fn check_bounds(&mut self) {
        let settings = settings();
        let incomplete = self.server.machine.incomplete_bytes();
        if incomplete > most_in_memory(&settings.reassembly) {
            self.violated(format!("{incomplete} bytes of split messages are in memory"));
        }
        if let Err((found, most)) = self.server.log.check(&settings) {
            self.violated(format!("{found} bytes are to be stored, and {most} may be"));
        }
        let waiting = self.server.machine.waiting_outputs();
        // A store may be stuck for any number of phases here.
        if waiting > most_waiting(self.server.waiting.len()) + 8 * MOST_OUTPUTS {
            self.violated(format!("{waiting} outputs wait for the store"));
        }
    }

    fn recorded(&mut self, record: Record) {
        self.server.log.record(&record);
        match record {
            Record::RoundBegan { round_id, secret, .. } => {
                self.server.secrets.insert(round_id, secret);
            }
            Record::Updates { seeds, .. } => {
                let round = self.server.machine.round_id();
                for (participant, _) in seeds {
                    if !self.server.accepted.entry(round).or_default().insert(participant) {
                        self.violated("an update was counted twice");
                    }
                }
            }
            _ => {}
        }
    }

    fn published(&mut self, model: GlobalModel) {
        let accepted = self.server.accepted.get(&model.round_id).cloned().unwrap_or_default();
        let given: Vec<_> =
            self.clients.iter().map(|client| (client.key(), client.models)).collect();
        if let Err(violation) = check_mean(&model, &accepted, &given) {
            self.violated(violation);
        }
        self.models.push(model);
    }

    /// Takes a sealed message in, as the coordinator's server would.
    pub fn message(&mut self, sealed: Vec<u8>) {
        let Ok(message) = self.server.front.open(sealed) else { return };
        self.server.tickets += 1;
        let ticket = Ticket(self.server.tickets);
        self.server.waiting.insert(ticket);
        self.server_input(coordinator::Input::Message { ticket, message });
    }

    fn answer(&mut self, call: &Call) -> Response {
        match self.server.front.answer(call) {
            Some(response) => response,
            None => {
                let sealed = call.body().to_vec();
                self.log.push(sealed.clone());
                self.check_seeds(&sealed);
                self.message(sealed);
                Response::ok("")
            }
        }
    }

    /// No seed masks two models. A sealed seed is the same if and only if the seed is: its box is made
    /// with a key that is derived from it.
    fn check_seeds(&mut self, sealed: &[u8]) {
        let Some(opened) = self.open(sealed) else { return };
        let Ok(view) = MessageView::parse(&opened) else { return };
        let Ok(Payload::Update(update)) = view.parse_payload() else { return };
        let object = [update.masked_model.vector(), update.masked_model.unit()].concat();
        let mut again = false;
        for (_, seed) in update.seeds.entries() {
            let before = self.masked.entry(*seed).or_insert_with(|| object.clone());
            again |= *before != object;
        }
        if again {
            self.violated("a mask seed masks two models");
        }
    }

    /// Runs the coordinator's oldest job in up to so many parts, or loses it.
    pub fn server_job(&mut self, parts: usize, lose: bool) {
        let Some(job) = self.server.jobs.pop_front() else { return };
        let input = match lose {
            true => {
                drop(job);
                coordinator::Input::Tick
            }
            false => coordinator::Input::JobDone(run_in_parts(job, parts)),
        };
        self.server_input(input);
    }

    /// Stores what the coordinator has put out.
    pub fn store(&mut self) {
        let snapshot = self.server_snapshot();
        let Server { accepted, log, .. } = &self.server;
        self.server.saved = (snapshot, accepted.clone(), log.clone());
        self.server.records.1 = self.server.records.0;
        self.server_input(coordinator::Input::Persisted(self.server.records.0));
    }

    /// The coordinator's process ends, and goes on with what was stored.
    pub fn crash_server(&mut self) {
        let (snapshot, accepted, log) = self.server.saved.clone();
        let restored = Coordinator::restore(&snapshot, settings(), self.now);
        self.server.machine = restored.expect("what was saved can be restored");
        (self.server.accepted, self.server.log) = (accepted, log);
        self.server.records = (PersistId(0), PersistId(0));
        self.server.jobs.clear();
        self.server.waiting.clear();
        self.drain_server();
    }

    // The participants.

    fn client_input(&mut self, index: usize, input: participant::Input) {
        let now = self.now;
        let _ = self.clients[index].machine.handle_input(now, input);
        self.drain_client(index);
    }

    fn drain_client(&mut self, index: usize) {
        use participant::Output;
        let client = &mut self.clients[index];
        for _ in 0..MOST_OUTPUTS {
            match client.machine.poll_output() {
                Output::Request { id, call } => client.requests.push_back((id, call)),
                Output::Job(job) => client.jobs.push_back(job),
                Output::Idle(idle) => {
                    client.wake_at = idle.wake_at;
                    let nothing = client.jobs.is_empty() && client.requests.is_empty();
                    if idle.wake_at.is_none() && nothing {
                        self.violated(format!("a participant waits for nothing: {:?}", idle.why));
                    }
                    return;
                }
                _ => {}
            }
        }
        self.violated("a participant never comes to rest");
    }

    /// Tells a participant the time.
    pub fn tick(&mut self, index: usize) {
        self.client_input(index, participant::Input::Tick);
    }

    /// Gives a participant a local model.
    pub fn set_model(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.models < MOST_MODELS {
            client.models += 1;
            let weight = f64::from(client.models) * 16f64.powi(index as i32);
            self.client_input(index, participant::Input::SetModel(Model::F64(vec![weight])));
        }
    }

    /// A participant asks for the global model.
    pub fn fetch_model(&mut self, index: usize) {
        self.client_input(index, participant::Input::FetchModel);
    }

    /// Delivers a participant's oldest request, so many times, and brings back what `spoil` makes of
    /// the last answer.
    pub fn deliver(&mut self, index: usize, times: usize, spoil: impl FnOnce(&mut Response)) {
        let Some((id, call)) = self.clients[index].requests.pop_front() else { return };
        for _ in 1..times {
            self.answer(&call);
        }
        let mut response = self.answer(&call);
        spoil(&mut response);
        self.client_input(index, participant::Input::Response { id, response });
    }

    /// Loses a participant's oldest request, or only its answer.
    pub fn lose(&mut self, index: usize, arrives: bool) {
        let Some((id, call)) = self.clients[index].requests.pop_front() else { return };
        if arrives {
            self.answer(&call);
        }
        let fault = TransportFault::TimedOut;
        self.client_input(index, participant::Input::Fault { id, fault });
    }

    /// Runs a participant's oldest job in up to so many parts, or loses it.
    pub fn client_job(&mut self, index: usize, parts: usize, lose: bool) {
        let Some(job) = self.clients[index].jobs.pop_front() else { return };
        let input = match lose {
            true => {
                drop(job);
                participant::Input::Tick
            }
            false => participant::Input::JobDone(run_in_parts(job, parts)),
        };
        self.client_input(index, input);
    }

    /// Keeps a participant's state.
    pub fn save_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.saved = client.machine.snapshot().to_bytes().to_vec();
    }

    /// A participant's process ends, and goes on with what was kept.
    pub fn crash_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let restored = Participant::restore(&client.saved, client_settings(index));
        client.machine = restored.expect("what was saved can be restored");
        let again = client.machine.snapshot().to_bytes().to_vec();
        let is_same = again == client.saved;
        (client.jobs, client.requests) = (VecDeque::new(), VecDeque::new());
        if !is_same {
            self.violated("a restored participant is another one");
        }
        self.tick(index);
    }

    // The world.

    /// Sends the coordinator a message that was sent before, with one bit changed if that is wanted.
    pub fn replay(&mut self, which: usize, flip: Option<usize>) {
        if self.log.is_empty() {
            return;
        }
        let mut sealed = self.log[which % self.log.len()].clone();
        if let Some(bit) = flip {
            let length = sealed.len();
            sealed[bit / 8 % length] ^= 1 << (bit % 8);
        }
        self.message(sealed);
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.server_input(coordinator::Input::Tick);
    }

    /// Lets time pass until somebody wants to be woken.
    pub fn pass_to_next(&mut self) {
        let wishes = self.clients.iter().filter_map(|client| client.wake_at);
        if let Some(next) = wishes.chain(self.server.wake_at).min() {
            self.now = self.now.max(next);
        }
        self.server_input(coordinator::Input::Tick);
    }

    /// Does all that a participant wants, as it should be.
    pub fn calm_client(&mut self, index: usize) {
        self.tick(index);
        for _ in 0..MOST_OUTPUTS {
            let client = &self.clients[index];
            if !client.requests.is_empty() {
                self.deliver(index, 1, |_| {});
            } else if !client.jobs.is_empty() {
                self.client_job(index, 1, false);
            } else if client.machine.needs_model() && client.models < MOST_MODELS {
                self.set_model(index);
            } else {
                return;
            }
            self.calm_server();
        }
        self.violated("a participant never comes to rest");
    }

    /// Does all that the coordinator wants, as it should be.
    pub fn calm_server(&mut self) {
        for _ in 0..MOST_OUTPUTS {
            if self.server.jobs.is_empty() && self.server.records.0 == self.server.records.1 {
                return;
            }
            self.server_job(1, false);
            self.store();
        }
        self.violated("the coordinator never comes to rest");
    }

    /// One moment in which nothing goes wrong.
    pub fn calm(&mut self) {
        self.calm_server();
        for index in 0..CLIENTS {
            if self.clients[index].wake_at.is_some_and(|at| at <= self.now) {
                self.calm_client(index);
            }
        }
        self.pass_to_next();
        self.calm_server();
    }
}

impl Client {
    fn key(&self) -> PublicSigningKey {
        self.machine.keys().public()
    }
}

fn run_in_parts<R>(job: pet_core::job::Job<R>, parts: usize) -> pet_core::job::JobResult<R> {
    let run_parts = |pieces: Vec<pet_core::job::Part<R>>| {
        Some(pieces.into_iter().map(pet_core::job::Part::finish).collect())
    };
    job.run(parts, || false, run_parts).expect("it is not cancelled")
}

/// A global model is the mean of one local model of each participant whose update was accepted, and of
/// nothing else. `given` has the participants in order, each with the number of its models.
pub fn check_mean(
    model: &GlobalModel,
    accepted: &BTreeSet<PublicSigningKey>,
    given: &[(PublicSigningKey, u32)],
) -> Result<(), Violation> {
    if model.models != accepted.len() as u64 || model.models < 3 {
        let violation = format!("a model of {}, {} accepted", model.models, accepted.len());
        return Err(violation);
    }
    let Some(Model::F64(weights)) = model.weights.as_deref() else {
        return Err("a model beyond its range".into());
    };
    let sum = weights.first().copied().unwrap_or(f64::NAN) * model.models as f64;
    if weights.len() != 1 || (sum - sum.round()).abs() > 1e-6 || sum < 0.0 {
        return Err(format!("a model of {weights:?} is no mean of integers"));
    }
    let mut digits = sum.round() as u64;
    for (key, models) in given {
        let digit = digits % 16;
        digits /= 16;
        let fits = match accepted.contains(key) {
            true => (1..=u64::from(*models)).contains(&digit),
            false => digit == 0,
        };
        if !fits {
            return Err(format!("{digit} of a participant that was accepted or not ({sum})"));
        }
    }
    match digits {
        0 => Ok(()),
        _ => Err(format!("a model of {sum}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn calm_until_a_model() -> Federation {
        let mut federation = Federation::new();
        for _ in 0..1000 {
            federation.calm();
            if !federation.models.is_empty() {
                return federation;
            }
        }
        panic!("no model: {:?}", federation.violations);
    }

    #[test]
    fn calm_rounds_break_no_rule() {
        let federation = calm_until_a_model();
        assert_eq!(federation.violations, Vec::<Violation>::new());
        assert_eq!(federation.models[0].models, 3);
    }

    /// What the checkers are for: each is shown a run that breaks its rule.
    #[test]
    fn wrong_means_are_found() {
        let federation = calm_until_a_model();
        let model = federation.models[0].clone();
        let accepted = federation.server.accepted[&model.round_id].clone();
        let given: Vec<_> =
            federation.clients.iter().map(|client| (client.key(), client.models)).collect();
        assert_eq!(check_mean(&model, &accepted, &given), Ok(()));

        let Some(Model::F64(weights)) = model.weights.as_deref() else { panic!() };
        for wrong in [0.0, weights[0] + 1.0 / 3.0, weights[0] * 2.0, weights[0] + 0.1, -1.0] {
            let weights = Some(Arc::new(Model::F64(vec![wrong])));
            let wrong = GlobalModel { weights, ..model.clone() };
            assert!(check_mean(&wrong, &accepted, &given).is_err());
        }
        let mut fewer = accepted.clone();
        fewer.pop_first();
        assert!(check_mean(&model, &fewer, &given).is_err());
        assert!(check_mean(&GlobalModel { models: 2, ..model.clone() }, &fewer, &given).is_err());
        let unseen: Vec<_> = given.iter().map(|(key, _)| (*key, 0)).collect();
        assert!(check_mean(&model, &accepted, &unseen).is_err());
    }

    #[test]
    fn a_seed_used_twice_is_found() {
        let mut federation = calm_until_a_model();
        for object in federation.masked.values_mut() {
            object[0] ^= 1;
        }
        for sealed in federation.log.clone() {
            federation.check_seeds(&sealed);
        }
        assert!(federation.violations.iter().any(|violation| violation.contains("two models")));
    }

    #[test]
    fn an_update_counted_twice_is_found() {
        let mut federation = calm_until_a_model();
        let round = federation.server.machine.round_id();
        let everyone = federation.clients.iter().map(Client::key).collect();
        federation.server.accepted.insert(round, everyone);
        for _ in 0..1000 {
            federation.calm();
        }
        assert!(federation.violations.iter().any(|violation| violation.contains("counted twice")));
    }

    #[test]
    fn a_lost_wake_up_is_found() {
        let mut federation = Federation::new();
        federation.tick(0);
        // The request is forgotten: neither answered nor given up.
        federation.clients[0].requests.clear();
        federation.tick(0);
        assert!(federation.violations.iter().any(|violation| violation.contains("for nothing")));
    }
}
