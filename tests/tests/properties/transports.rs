//! Driven by either transport over HTTP, participants send the very bytes that their machines send alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pet_core::coordinator::{self, Phase};
use pet_core::crypto::{PublicSigningKey, RootSeed, Seed, SigningKeyPair, Task, TaskSignatures};
use pet_core::mask::MaskConfig;
use pet_core::message::MessageSize;
use pet_core::model::{DataType, Model};
use pet_core::participant::{Event, Polling, Settings};
use pet_core::request::Call;
use pet_core::time::Timestamp;
use pet_testing::world::{settings, Fate, Server, World};
use pet_tests::fake::{Action, FakeServer, Request};
use proptest::prelude::*;

const PARTICIPANTS: u8 = 6;
/// Nothing here takes nearly as long; what does is stuck.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a federation is like.
#[derive(Debug, Clone)]
struct Choice {
    seed: u8,
    length: usize,
    /// The largest size of every other participant's messages.
    size: usize,
}

impl Choice {
    fn coordinator(&self) -> coordinator::Settings {
        let config: MaskConfig = "Prime/F32/B0/M3".parse().unwrap();
        let mut settings = settings(config.into(), self.length as u64);
        // Everybody updates who does not sum.
        settings.update.prob = 1.0;
        settings
    }

    /// As [`World::new`] starts it.
    fn server(&self) -> Server {
        Server::new(self.coordinator(), RootSeed::new([self.seed ^ 0xff; 32]))
    }

    fn participant(&self, index: u8) -> Settings {
        let mut polling = Polling::default();
        polling.after_progress = Duration::from_millis(1);
        polling.initial = Duration::from_millis(2);
        polling.max = Duration::from_millis(10);
        let max_message_size = match index % 2 {
            0 => MessageSize::UNLIMITED,
            _ => MessageSize::at_most(self.size).unwrap(),
        };
        Settings::default().with_polling(polling).with_max_message_size(max_message_size)
    }

    /// As [`World::new`] makes them.
    fn keys(&self, index: u8) -> (SigningKeyPair, RootSeed) {
        let mut bytes = [self.seed; 32];
        bytes[0] = index;
        (SigningKeyPair::from_seed(&Seed::new(bytes)), RootSeed::new(bytes))
    }

    fn model(&self, index: u8) -> Model {
        Model::F32((0..self.length).map(|i| f32::from(index) / 64.0 + i as f32 / 512.0).collect())
    }

    /// Who sums and who updates in the first round; nothing if it cannot end well.
    fn tasks(&self) -> Option<(Vec<PublicSigningKey>, usize)> {
        let server = self.server();
        let parameters = server.machine.parameters();
        let summers: Vec<_> = (0..PARTICIPANTS)
            .map(|index| self.keys(index).0)
            .filter(|keys| {
                let signatures = TaskSignatures::sign(keys, &parameters.seed);
                signatures.task(parameters.sum, parameters.update) == Task::Sum
            })
            .map(|keys| keys.public())
            .collect();
        let updaters = usize::from(PARTICIPANTS) - summers.len();
        (!summers.is_empty() && updaters >= 3).then_some((summers, updaters))
    }
}

/// All messages of the first round, and its global model.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    messages: BTreeSet<Vec<u8>>,
    model: Vec<u8>,
}

#[derive(Default)]
struct Log(BTreeSet<Vec<u8>>);

impl Fate for Log {
    fn lose(&mut self, _: usize, call: &Call) -> Option<bool> {
        if let Call::Message(body) = call {
            self.0.insert(body.to_vec());
        }
        None
    }
}

/// The machines alone, in virtual time.
fn alone(choice: &Choice) -> Sent {
    let participants = (0..PARTICIPANTS).map(|index| choice.participant(index)).collect();
    let mut world = World::new(choice.coordinator(), participants, choice.seed, Log::default());
    world.run(1, |client, _| choice.model(client as u8));
    Sent { messages: world.fate.0, model: world.server.models[0].rationals.to_vec() }
}

/// A coordinator for whom time passes only when all is there that a phase can get: how busy the machine is that
/// this runs on makes no difference.
struct Patient {
    server: Server,
    now: Timestamp,
    summers: Vec<PublicSigningKey>,
    updaters: usize,
    sent: Sent,
}

impl Patient {
    fn start(choice: &Choice) -> (FakeServer, Arc<Mutex<Self>>) {
        let (summers, updaters) = choice.tasks().expect("a round that can end well");
        let patient = Arc::new(Mutex::new(Self {
            server: choice.server(),
            now: Timestamp::ZERO,
            summers,
            updaters,
            sent: Sent::default(),
        }));
        let behind = patient.clone();
        (FakeServer::start(move |request| behind.lock().unwrap().handle(&request)), patient)
    }

    fn handle(&mut self, request: &Request) -> Action {
        let seeds = self.summers.iter().map(|key| Call::Seeds(*key));
        let Some(call) = [Call::Params, Call::Sums, Call::Model(DataType::F32)]
            .into_iter()
            .chain(seeds)
            .chain([Call::Message(request.body.clone().into())])
            .find(|call| call.path_and_query() == request.path)
        else {
            return Action::Answer(404, Vec::new());
        };
        let is_first = self.server.models.is_empty();
        if let (Call::Message(body), true) = (&call, is_first) {
            self.sent.messages.insert(body.to_vec());
        }
        let response = self.server.answer(self.now, &call);
        self.pass();
        Action::Answer(response.status, response.body.to_vec())
    }

    fn pass(&mut self) {
        let all = match self.server.machine.phase() {
            Phase::Update => self.updaters,
            _ => self.summers.len(),
        };
        if !self.server.models.is_empty() || self.server.machine.accepted() != all as u64 {
            return;
        }
        self.now = self.now + Duration::from_secs(1);
        self.server.input(self.now, coordinator::Input::Tick);
        if let Some(model) = self.server.models.first() {
            self.sent.model = model.rationals.to_vec();
        }
    }
}

/// How a participant is told what to do, whatever drives it; false once the second round has begun.
fn react(event: &Event, rounds: &mut usize, set_model: impl FnOnce()) -> bool {
    match event {
        Event::NewRound { .. } => *rounds += 1,
        Event::ModelNeeded { .. } => set_model(),
        _ => {}
    }
    *rounds < 2
}

fn with_ureq(choice: &Choice) -> Sent {
    use pet_transport_blocking::{Config, Participant};
    let (server, patient) = Patient::start(choice);
    std::thread::scope(|scope| {
        for index in 0..PARTICIPANTS {
            let mut config = Config::new(&server.url()).unwrap();
            config.settings = choice.participant(index);
            let (keys, root) = choice.keys(index);
            scope.spawn(move || {
                let mut participant = Participant::with_keys(config, keys, root).unwrap();
                let (handle, mut rounds) = (participant.handle(), 0);
                while {
                    let event = participant.next_event(Some(DEADLINE)).unwrap().expect("an event");
                    react(&event, &mut rounds, || handle.set_model(choice.model(index)).unwrap())
                } {}
            });
        }
    });
    let sent = std::mem::take(&mut patient.lock().unwrap().sent);
    sent
}

fn with_reqwest(choice: &Choice) -> Sent {
    use pet_transport_tokio::{Config, Participant};
    let (server, patient) = Patient::start(choice);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running: Vec<_> = (0..PARTICIPANTS)
        .map(|index| {
            let mut config = Config::new(&server.url()).unwrap();
            config.settings = choice.participant(index);
            let (keys, root) = choice.keys(index);
            let choice = choice.clone();
            runtime.spawn(async move {
                let mut participant = Participant::with_keys(config, keys, root).unwrap();
                let (handle, mut rounds) = (participant.handle(), 0);
                while {
                    let event = tokio::time::timeout(DEADLINE, participant.next_event()).await;
                    let event = event.expect("an event").unwrap();
                    react(&event, &mut rounds, || handle.set_model(choice.model(index)).unwrap())
                } {}
            })
        })
        .collect();
    for participant in running {
        runtime.block_on(participant).unwrap();
    }
    let sent = std::mem::take(&mut patient.lock().unwrap().sent);
    sent
}

fn choices() -> impl Strategy<Value = Choice> {
    (any::<u8>(), 1usize..40, 200usize..500)
        .prop_map(|(seed, length, size)| Choice { seed, length, size })
        .prop_filter("the first round can end well", |choice| choice.tasks().is_some())
}

proptest! {
    // Sockets and threads: some 100 milliseconds each.
    #![proptest_config(ProptestConfig { cases: 5, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn participants_send_what_their_machines_send_alone(choice in choices()) {
        let alone = alone(&choice);
        prop_assert!(!alone.messages.is_empty() && !alone.model.is_empty());
        prop_assert_eq!(&with_ureq(&choice), &alone);
        prop_assert_eq!(&with_reqwest(&choice), &alone);
    }
}

/// Another model is another message: the comparison above sees something.
#[test]
fn another_federation_sends_other_messages() {
    let choice = |length| Choice { seed: 1, length, size: 300 };
    let seed = (0..=u8::MAX).find(|seed| Choice { seed: *seed, ..choice(3) }.tasks().is_some());
    let seed = seed.expect("a round that can end well");
    let [one, other] = [3, 4].map(|length| alone(&Choice { seed, ..choice(length) }));
    assert_ne!(one.model, other.model);
    assert!(one.messages.is_disjoint(&other.messages));
}
