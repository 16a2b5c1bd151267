//! A round over HTTP, with all that its machines are told recorded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pet_coordinator::settings::{MinMax, Settings};
use pet_coordinator::{Coordinator, Options};
use pet_core::coordinator::Coordinator as Machine;
use pet_core::crypto::{RootSeed, Seed, SigningKeyPair, Task, TaskSignatures};
use pet_core::message::{MessageSize, Tag};
use pet_core::model::Model;
use pet_core::participant::Event;
use pet_core::record::Sink;
use pet_core::time::Timestamp;

/// The machines of a recorded round, in the order in which [`record_round`] gives their records.
pub const NAMES: [&str; 5] =
    ["coordinator", "sum-tokio", "update-tokio", "update-tokio-split", "update-blocking"];

/// From what everything random of the coordinator is derived.
pub const ROOT: [u8; 32] = [42; 32];

/// Bytes that a machine's record has grown to.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    fn sink(&self) -> Sink {
        let bytes = self.0.clone();
        Box::new(move |entry| {
            bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(entry);
        })
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs a round of one sum and three update participants, with both transports and a model of four
/// weights, until everyone has seen the global model. Gives the records of all machines.
///
/// # Panics
/// If the round does not end well.
pub async fn record_round() -> Vec<Vec<u8>> {
    let settings = settings();
    let tapes: Vec<Tape> = NAMES.iter().map(|_| Tape::default()).collect();

    let mut options = Options::default();
    options.seed = Some(ROOT);
    options.record = Some(tapes[0].sink());
    let coordinator = Coordinator::start_with(settings, options).await.expect("it starts");
    let url = format!("http://{}", coordinator.local_addr());

    let mut tasks = Vec::new();
    for (number, split) in [(0, None), (1, None), (2, Some(400))] {
        let sink = tapes[1 + number].sink();
        tasks.push(tokio::spawn(run_tokio(url.clone(), number, sink, split)));
    }
    let sink = tapes[4].sink();
    tasks.push(tokio::task::spawn_blocking(move || run_blocking(&url, 3, sink)));
    for task in tasks {
        task.await.expect("the participant ends well");
    }
    coordinator.shutdown().await.expect("it ends well");
    tapes.iter().map(Tape::take).collect()
}

fn settings() -> Settings {
    let exactly = |count| MinMax { min: count, max: count };
    let time = MinMax { min: Duration::ZERO, max: Duration::from_secs(60) };
    let mut settings = Settings::for_model_length(4);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.count = exactly(1);
    settings.pet.update.count = exactly(3);
    settings.pet.sum2.count = exactly(1);
    settings.pet.sum.time = time;
    settings.pet.update.time = time;
    settings.pet.sum2.time = time;
    settings
}

/// Who the participant with this number is. The first sums, the others update.
///
/// # Panics
/// Never.
pub fn identity(number: usize) -> SigningKeyPair {
    let machine = Machine::new(settings().protocol(), RootSeed::new(ROOT), Timestamp::ZERO);
    let parameters = machine.expect("valid settings").parameters().clone();
    let (task, nth) = match number {
        0 => (Task::Sum, 0),
        _ => (Task::Update, number - 1),
    };
    let candidates = (0..=u8::MAX).map(|seed| SigningKeyPair::from_seed(&Seed::new([seed; 32])));
    let mut chosen = candidates.filter(|keys| {
        let signatures = TaskSignatures::sign(keys, &parameters.seed);
        signatures.task(parameters.sum, parameters.update) == task
    });
    chosen.nth(nth).expect("some of so many have each task")
}

fn root(number: usize) -> RootSeed {
    RootSeed::new([number as u8 + 1; 32])
}

/// The local model of the participant with this number.
pub fn model(number: usize) -> Model {
    Model::F32(vec![number as f32 / 8.0, -0.5, 0.25, 0.0])
}

fn is_last(event: &Event) -> bool {
    matches!(event, Event::Sent(Tag::Update | Tag::Sum2))
}

async fn run_tokio(url: String, number: usize, sink: Sink, split: Option<usize>) {
    use pet_transport_tokio::{Config, Participant};
    let mut config = Config::new(&url).expect("a URL");
    if let Some(size) = split {
        config.settings.max_message_size = MessageSize::at_most(size).expect("large enough");
    }
    let participant =
        Participant::with_keys(config, identity(number), root(number)).expect("an HTTP client");
    let mut participant = participant.record(sink);
    let handle = participant.handle();
    loop {
        let event = participant.next_event().await.expect("nobody stops it");
        if let Event::ModelNeeded { .. } = event {
            handle.set_model(model(number)).expect("it fits");
        }
        if is_last(&event) {
            break;
        }
    }
    while participant.global_model().await.expect("it can be had").is_none() {
        participant.next_event().await.expect("nobody stops it");
    }
}

fn run_blocking(url: &str, number: usize, sink: Sink) {
    use pet_transport_blocking::{Config, Participant};
    let config = Config::new(url).expect("a URL");
    let mut participant = Participant::with_keys(config, identity(number), root(number))
        .expect("an HTTP client")
        .record(sink);
    let handle = participant.handle();
    loop {
        let event = participant.next_event(None).expect("nobody stops it");
        if let Some(Event::ModelNeeded { .. }) = event {
            handle.set_model(model(number)).expect("it fits");
        }
        if event.as_ref().is_some_and(is_last) {
            break;
        }
    }
    while participant.global_model().expect("it can be had").is_none() {
        let pause = Some(Duration::from_millis(50));
        participant.next_event(pause).expect("nobody stops it");
    }
}
