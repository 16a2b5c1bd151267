//! Who takes part: replicas, what stands in front of them, and participants.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use pet_coordinator::{
    settings::{MinMax, Settings},
    Coordinator, Options, SharedStore, StartError,
};
use pet_core::{
    coordinator::GlobalModel,
    crypto::{RootSeed, Seed, SigningKeyPair, Task, TaskSignatures},
    message::Tag,
    model::{Model, Scalar},
    participant::Event,
    round::RoundParameters,
};
use pet_ledger::memory::{MemoryEngine, MemoryLedger, MemoryParts};
use pet_transport_tokio::{Config, Participant};
use reqwest::Client;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

/// Nothing here takes a tenth of this; what does is stuck.
pub const DEADLINE: Duration = Duration::from_secs(60);
pub const SECRET: &[u8] = b"a secret of the tests";
pub const LENGTH: u64 = 100;

/// A round of exactly so many participants of each kind, without minimal times.
pub fn settings(summers: u64, updaters: u64) -> Settings {
    let exactly = |count| MinMax { min: count, max: count };
    let time = MinMax { min: Duration::ZERO, max: DEADLINE };
    let mut settings = Settings::for_model_length(LENGTH);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.count = exactly(summers);
    settings.pet.update.count = exactly(updaters);
    settings.pet.sum2.count = exactly(summers);
    settings.pet.sum.time = time;
    settings.pet.update.time = time;
    settings.pet.sum2.time = time;
    // (A process that stands still for a second leads on.)
    settings.storage.lease_time = Duration::from_secs(3);
    settings
}

/// A replica, and its connections to the engine.
pub struct Replica {
    pub coordinator: Coordinator,
    pub ledger: MemoryLedger,
    pub parts: MemoryParts,
}

impl Replica {
    pub async fn start(engine: &MemoryEngine, settings: Settings) -> Self {
        let (ledger, parts) = (engine.ledger(), engine.parts());
        let coordinator = start(&ledger, &parts, settings, SECRET).await.unwrap();
        Self { coordinator, ledger, parts }
    }

    pub fn address(&self) -> SocketAddr {
        self.coordinator.local_addr()
    }

    pub fn leads(&self) -> bool {
        let replica = self.coordinator.status().now.replica;
        replica.is_some_and(|replica| replica.role == "leader")
    }

    /// The body of an answer; nothing if there is none.
    pub async fn get(&self, client: &Client, path: &str) -> Vec<u8> {
        let response = client.get(format!("http://{}{path}", self.address())).send().await.unwrap();
        assert!(matches!(response.status().as_u16(), 200 | 204), "{path}: {}", response.status());
        response.bytes().await.unwrap().to_vec()
    }

    /// The status of a message that is none.
    pub async fn post(&self, client: &Client) -> (u16, String) {
        let request = client.post(format!("http://{}/message", self.address())).body(vec![1; 300]);
        let response = request.header("accept", "application/problem+json").send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

pub async fn start(
    ledger: &MemoryLedger,
    parts: &MemoryParts,
    settings: Settings,
    secret: &[u8],
) -> Result<Coordinator, StartError> {
    let shared = SharedStore::new(
        Arc::new(ledger.clone()),
        Arc::new(parts.clone()),
        &settings.storage.federation,
        Some(secret),
    );
    let mut options = Options::default();
    options.shared = Some(shared.unwrap());
    Coordinator::start_with(settings, options).await
}

/// Waits until `condition` holds, looking again and again.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let looked = timeout(DEADLINE, async {
        while !condition().await {
            sleep(Duration::from_millis(5)).await;
        }
    });
    looked.await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// Which of them leads, once one does and answers.
pub async fn leader(replicas: &[Replica]) -> usize {
    let client = Client::new();
    let mut found = 0;
    until("one leads", async || {
        let Some(index) = replicas.iter().position(Replica::leads) else { return false };
        found = index;
        replicas[index].post(&client).await.0 == 400
    })
    .await;
    found
}

/// Leads each connection to where the test wants it; cuts all when that changes.
pub struct Door {
    pub address: SocketAddr,
    to: watch::Sender<Vec<SocketAddr>>,
    running: JoinHandle<()>,
}

impl Door {
    pub async fn to(first: SocketAddr) -> Self {
        Self::to_all(vec![first]).await
    }

    /// Leads connections to each of these in turn, but for those where nobody listens.
    pub async fn to_all(all: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to, where_to) = watch::channel(all);
        let running = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut turn = 0;
            while let Ok((mut client, _)) = listener.accept().await {
                let mut where_to = where_to.clone();
                turn += 1;
                connections.spawn(async move {
                    let mut targets = where_to.borrow_and_update().clone();
                    let first = turn % targets.len();
                    targets.rotate_left(first);
                    for target in targets {
                        let Ok(mut server) = TcpStream::connect(target).await else { continue };
                        tokio::select! {
                            _ = copy_bidirectional(&mut client, &mut server) => {}
                            _ = where_to.changed() => {}
                        }
                        return;
                    }
                });
            }
        });
        Self { address, to, running }
    }

    pub fn target(&self) -> SocketAddr {
        self.to.borrow()[0]
    }

    pub fn lead_to(&self, target: SocketAddr) {
        self.to.send_replace(vec![target]);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The first identities that have a task in a round.
pub fn with_task(parameters: &RoundParameters, task: Task, count: usize) -> Vec<SigningKeyPair> {
    (0u64..)
        .map(|number| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            SigningKeyPair::from_seed(&Seed::new(seed))
        })
        .filter(|keys| {
            TaskSignatures::sign(keys, &parameters.seed).task(parameters.sum, parameters.update)
                == task
        })
        .take(count)
        .collect()
}

pub async fn parameters(replica: &Replica, client: &Client) -> RoundParameters {
    RoundParameters::from_bytes(&replica.get(client, "/params").await).unwrap()
}

/// A participant that takes part once; ends when its last message was answered with a 200.
pub fn participant(
    door: &Door,
    keys: SigningKeyPair,
    number: u8,
) -> impl std::future::Future<Output = Participant> + Send + 'static {
    participant_at(door.address, keys, number)
}

/// The same, at this address.
pub fn participant_at(
    address: SocketAddr,
    keys: SigningKeyPair,
    number: u8,
) -> impl std::future::Future<Output = Participant> + Send + 'static {
    let mut config = Config::new(&format!("http://{address}")).unwrap();
    config.settings.scalar = Scalar::from_f64(1.0).unwrap();
    config.settings.polling.max = Duration::from_millis(20);
    config.settings.polling.initial = Duration::from_millis(5);
    config.settings.polling.after_progress = Duration::from_millis(1);
    let mut participant =
        Participant::with_keys(config, keys, RootSeed::new([number + 100; 32])).unwrap();
    async move {
        let handle = participant.handle();
        loop {
            match participant.next_event().await.unwrap() {
                Event::ModelNeeded { length, .. } => {
                    let weights = vec![f32::from(number) / 100.0; length as usize];
                    handle.set_model(Model::F32(weights)).unwrap();
                }
                Event::Sent(Tag::Update | Tag::Sum2) => return participant,
                _ => {}
            }
        }
    }
}

/// The participants of a round, two of which add up masks.
pub struct Crowd {
    pub summers: JoinSet<Participant>,
    updaters: Vec<SigningKeyPair>,
    sent: Vec<u8>,
}

impl Crowd {
    pub async fn of(parameters: &RoundParameters, door: &Door, updaters: usize) -> Self {
        let mut summers = JoinSet::new();
        for (index, keys) in with_task(parameters, Task::Sum, 2).into_iter().enumerate() {
            summers.spawn(participant(door, keys, index as u8));
        }
        Self { summers, ..Self::without_summers(parameters, updaters) }
    }

    pub fn without_summers(parameters: &RoundParameters, updaters: usize) -> Self {
        let mut updaters = with_task(parameters, Task::Update, updaters);
        updaters.reverse();
        Self { summers: JoinSet::new(), updaters, sent: Vec::new() }
    }

    /// The next one that sends an update.
    pub fn updater(
        &mut self,
        door: &Door,
    ) -> impl std::future::Future<Output = Participant> + Send + 'static {
        self.updater_at(door.address)
    }

    /// The same, at this address.
    pub fn updater_at(
        &mut self,
        address: SocketAddr,
    ) -> impl std::future::Future<Output = Participant> + Send + 'static {
        let number = 10 + self.sent.len() as u8;
        self.sent.push(number);
        participant_at(address, self.updaters.pop().unwrap(), number)
    }

    /// Checks that a model is the mean of exactly what was sent.
    pub fn check(&self, model: &GlobalModel) {
        assert_eq!(model.models, self.sent.len() as u64);
        assert_eq!(model.weights.as_ref().unwrap().len() as u64, LENGTH);
        self.check_weights(model.weights.as_deref().unwrap());
    }

    /// Checks that these are the mean of exactly what was sent.
    pub fn check_weights(&self, weights: &Model) {
        let sum: f64 = self.sent.iter().map(|number| f64::from(*number) / 100.0).sum();
        let mean = (sum / self.sent.len() as f64) as f32;
        let Model::F32(weights) = weights else { panic!("{weights:?}") };
        assert!(!weights.is_empty());
        for weight in weights {
            assert!((weight - mean).abs() < 1e-6, "{weight} is not {mean}");
        }
    }
}

/// The model of a round, once a replica has it.
pub async fn model(replica: &Replica, round: u64) -> GlobalModel {
    let mut model = None;
    let models = Arc::clone(replica.coordinator.models());
    until("the round is completed", async || {
        let models = Arc::clone(&models);
        // The answer may be one of those that are lost: it is asked for again.
        let load = tokio::task::spawn_blocking(move || models.load(round).unwrap_or(None));
        model = load.await.unwrap();
        model.is_some()
    })
    .await;
    model.unwrap()
}

/// How long it takes until somebody leads and answers, after something was done.
pub async fn since(began: Instant, replicas: &[Replica]) -> (usize, Duration) {
    let index = leader(replicas).await;
    (index, began.elapsed())
}
