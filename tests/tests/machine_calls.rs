//! No call of a state machine does work that grows with the model: jobs do.
//!
//! Counted in bytes of memory that a call takes, as time would depend on the machine. (What the calls
//! took is printed: `cargo test --release -p pet-tests --test machine_calls -- --nocapture`.)

#![expect(clippy::print_stdout, reason = "the durations are for whoever looks")]

use std::alloc::System;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pet_core::coordinator::{
    self, Admission, Coordinator, Front, MaskedModel, PartId, Shard, ShardSum, Ticket,
};
use pet_core::crypto::{RootSeed, Seed, SigningKeyPair};
use pet_core::job::JobId;
use pet_core::mask::MaskConfig;
use pet_core::message::MessageSize;
use pet_core::model::Model;
use pet_core::participant::{self, Event, Participant, Settings};
use pet_core::request::{Call, Response};
use pet_core::time::Timestamp;
use pet_testing::world::settings;
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WEIGHTS: usize = 1_000_000;
/// A small part of the 4,000,000 bytes of a model: keys, parameters, queue entries.
const MOST_BYTES: usize = 64 << 10;

/// Watches calls.
#[derive(Debug, Default)]
struct Watch {
    calls: usize,
    most_bytes: usize,
    /// The longest call of each kind.
    longest: BTreeMap<String, Duration>,
}

impl Watch {
    fn call<T>(&mut self, what: &str, call: impl FnOnce() -> T) -> T {
        let (region, begin) = (Region::new(ALLOCATOR), Instant::now());
        let result = call();
        let (took, change) = (begin.elapsed(), region.change());
        let bytes = change.bytes_allocated;
        assert!(bytes <= MOST_BYTES, "{what} took {bytes} bytes of memory");
        self.calls += 1;
        self.most_bytes = self.most_bytes.max(bytes);
        let longest = self.longest.entry(what.into()).or_default();
        *longest = took.max(*longest);
        result
    }
}

struct Server {
    machine: Coordinator,
    front: Front,
    watch: Watch,
    /// Another replica, which adds up the updates that do not come in chunks, and the parts that it has stored.
    shard: Option<ShardSum>,
    parts: BTreeMap<PartId, Vec<u8>>,
}

impl Server {
    fn input(&mut self, now: Timestamp, input: coordinator::Input) {
        use coordinator::{Input, Output};
        let (machine, watch) = (&mut self.machine, &mut self.watch);
        watch.call("coordinator input", || machine.handle_input(now, input)).unwrap();
        loop {
            let input = match watch.call("coordinator output", || machine.poll_output()) {
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, .. } => Input::Persisted(id),
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Reply { outcome, .. } => {
                    assert_eq!(outcome, Ok(()));
                    continue;
                }
                Output::Fetch { part } => {
                    Input::Fetched { part, bytes: self.parts.remove(&part).map(Into::into) }
                }
                Output::Idle(_) => return,
                _ => continue,
            };
            watch.call("coordinator input", || machine.handle_input(now, input)).unwrap();
            watch.call("coordinator snapshot", || machine.snapshot());
        }
    }

    fn answer(&mut self, now: Timestamp, call: Call) -> Response {
        self.front.answer(&call).unwrap_or_else(|| {
            let message = self.front.open(call.body().to_vec()).unwrap();
            if let Some((admission, model)) = message.admission() {
                self.add_elsewhere(now, admission, model);
                return Response::ok("");
            }
            self.input(now, coordinator::Input::Message { ticket: Ticket(0), message });
            Response::ok("")
        })
    }
}

impl Server {
    fn add_elsewhere(&mut self, now: Timestamp, admission: Admission, model: MaskedModel) {
        use coordinator::Input;
        let ticket = Ticket(0);
        let id = |sum: &ShardSum| PartId::new([sum.models() as u8; 16]);
        let before = self.shard.take();
        let predecessor = before.as_ref().map(id);
        let shard = Shard::new([1; 16]);
        let sum = before.or_else(|| ShardSum::new(shard, &self.front)).unwrap();
        self.input(now, Input::Admit { ticket, shard, admission });
        let models = [model];
        let sum = sum.added(sum.add(JobId(1), &models).unwrap().finish()).unwrap();
        self.parts.insert(id(&sum), sum.to_bytes());
        let done = sum.part(id(&sum), predecessor, &models);
        self.shard = Some(sum);
        self.input(now, Input::Part { ticket, done });
    }
}

#[test]
fn calls_take_little_memory_whatever_the_models_length() {
    let config = "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap();
    let machine = Coordinator::new(
        settings(config.into(), WEIGHTS as u64),
        RootSeed::new([2; 32]),
        Timestamp::ZERO,
    )
    .unwrap();
    let watch = Watch::default();
    let (front, parts) = (Front::new(), BTreeMap::new());
    let mut server = Server { machine, front, watch, shard: None, parts };
    server.input(Timestamp::ZERO, coordinator::Input::Tick);

    let mut watch = Watch::default();
    let mut participants: Vec<Participant> = (0..6)
        .map(|i| {
            let keys = SigningKeyPair::from_seed(&Seed::new([i; 32]));
            let mut settings = Settings::default();
            if i % 2 == 0 {
                settings.max_message_size = MessageSize::at_most(1 << 20).unwrap();
            }
            Participant::new(keys, RootSeed::new([i; 32]), settings)
        })
        .collect();
    let mut now = Timestamp::ZERO;
    while server.front.model().is_none() {
        for participant in &mut participants {
            drive(participant, now, &mut server, &mut watch);
        }
        now = now + Duration::from_millis(100);
        server.input(now, coordinator::Input::Tick);
        assert!(now < Timestamp::from_millis(600_000), "no global model");
    }
    // Reading the global model is the job's work as well.
    watch
        .call("fetch", || participants[0].handle_input(now, participant::Input::FetchModel))
        .unwrap();
    drive(&mut participants[0], now, &mut server, &mut watch);
    assert!(server.shard.is_some(), "no updates were added elsewhere");
    println!("participants: {watch:?}");
    println!("coordinator: {:?}", server.watch);
}

fn drive(participant: &mut Participant, now: Timestamp, server: &mut Server, watch: &mut Watch) {
    use participant::{Input, Output};
    watch.call("tick", || participant.handle_input(now, Input::Tick)).unwrap();
    loop {
        let input = match watch.call("output", || participant.poll_output()) {
            Output::Request { id, call } => {
                Input::Response { id, response: server.answer(now, call) }
            }
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Event(Event::ModelNeeded { .. }) => {
                Input::SetModel(Model::F32(vec![0.5; WEIGHTS]))
            }
            Output::Event(Event::GlobalModel(model)) => {
                assert_eq!(model.unwrap().len(), WEIGHTS);
                continue;
            }
            Output::Idle(_) => return,
            _ => continue,
        };
        watch.call("input", || participant.handle_input(now, input)).unwrap();
        watch.call("snapshot", || participant.snapshot());
    }
}
