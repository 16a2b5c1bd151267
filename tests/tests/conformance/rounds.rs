//! Rounds with a real coordinator, and with one whose line is cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pet_coordinator::settings::{MinMax, Settings};
use pet_coordinator::Coordinator;
use pet_core::crypto::{PublicSigningKey, RootSeed, RoundSeed};
use pet_core::mask::MaskConfig;
use pet_core::message::{MessageSize, Tag};
use pet_core::model::{DataType, Model, Scalar};
use pet_core::participant::Event;
use pet_core::request::Call;
use pet_core::time::Timestamp;
use pet_testing::world::{floats, settings, Server};
use pet_tests::fake::{Action, FakeServer, Request};

use crate::conformance;
use crate::driver::{Driver, Start, DEADLINE};

conformance!(
    a_round_through_a_real_coordinator_gives_the_weighted_mean,
    an_interrupted_upload_goes_on_where_it_stopped,
);

const PARTICIPANTS: u32 = 8;
const LENGTH: usize = 1000;

fn a_round_through_a_real_coordinator_gives_the_weighted_mean<D: Driver>() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut settings = Settings::for_model_length(LENGTH as u64);
    settings.api.bind_address.set_port(0);
    // Everyone has time to take part; without any sum participant the round fails quickly.
    let time = MinMax { min: Duration::from_millis(300), max: Duration::from_secs(20) };
    settings.pet.sum.time = MinMax { max: Duration::from_secs(4), ..time };
    settings.pet.update.time = time;
    settings.pet.sum2.time = time;
    let coordinator = runtime.block_on(Coordinator::start(settings)).unwrap();
    let url = format!("http://{}", coordinator.local_addr());

    // What each participant has delivered, by round seed.
    type Sent = BTreeMap<RoundSeed, Vec<(f64, f64)>>;
    let sent = Mutex::new(Sent::new());
    let fetched = Mutex::new(Vec::new());
    // The rounds in which somebody was at the end: of what he has sent he may not have told yet.
    let unfinished = Mutex::new(BTreeSet::new());
    let kept = coordinator.models().clone();
    let deadline = Instant::now() + 5 * DEADLINE;
    std::thread::scope(|scope| {
        for i in 0..PARTICIPANTS {
            let (url, sent, fetched, unfinished, kept) =
                (&url, &sent, &fetched, &unfinished, &kept);
            scope.spawn(move || {
                let mut start = Start::new(url);
                start.settings.scalar = Scalar::from_ratio((i + 1).into(), 10u32.into()).unwrap();
                if i % 2 == 0 {
                    start.settings.max_message_size = MessageSize::at_most(2000).unwrap();
                }
                let mut driver = D::start(&start).unwrap();
                let mut seed = None;
                let weight = f64::from(i) / 16.0 - 0.25;
                while kept.rounds().len() < 2 {
                    assert!(Instant::now() < deadline, "no two rounds in time");
                    match driver.next_event().unwrap() {
                        Event::NewRound { parameters, .. } => {
                            if let Some(model) = driver.global_model().unwrap() {
                                fetched.lock().unwrap().push(floats(&model));
                            }
                            seed = Some(parameters.seed);
                        }
                        Event::ModelNeeded { length, .. } => {
                            driver
                                .set_model(Model::F32(vec![weight as f32; length as usize]))
                                .unwrap();
                        }
                        Event::Sent(Tag::Update) => {
                            let seed = seed.expect("a round has begun");
                            let mut sent = sent.lock().unwrap();
                            let scalar = f64::from(i + 1) / 10.0;
                            sent.entry(seed).or_default().push((scalar, weight));
                        }
                        _ => {}
                    }
                }
                unfinished.lock().unwrap().extend(seed);
            });
        }
    });
    let (sent, unfinished) = (sent.into_inner().unwrap(), unfinished.into_inner().unwrap());
    let rejections = coordinator.metrics().rejections;
    runtime.block_on(coordinator.shutdown()).unwrap();
    let models: Vec<_> =
        kept.rounds().into_iter().map(|round| kept.load(round).unwrap().unwrap()).collect();
    // What participants read is what the coordinator has, whatever the form in which it came.
    let fetched = fetched.into_inner().unwrap();
    assert!(!fetched.is_empty());
    let all: Vec<_> = models.iter().map(|model| floats(model.weights.as_ref().unwrap())).collect();
    assert!(fetched.iter().all(|model| all.contains(model)));
    // On a busy machine a message can come after its phase: then, and only then, one that was
    // delivered is not in the mean.
    let late = rejections.total() > 0;
    let mut checked = 0;
    for (model, weights) in models.iter().zip(all) {
        let sent = sent.get(&model.seed).cloned().unwrap_or_default();
        let scalars: f64 = sent.iter().map(|(scalar, _)| scalar).sum();
        let mean = sent.iter().map(|(scalar, weight)| scalar * weight).sum::<f64>() / scalars;
        let is_mean = weights.iter().all(|weight| (weight - mean).abs() < 1e-6);
        assert_eq!(weights.len(), LENGTH);
        if is_mean && sent.len() as u64 == model.models {
            checked += 1;
        } else {
            let (first, models) = (weights[0], model.models);
            let is_known = late || unfinished.contains(&model.seed);
            assert!(is_known, "{first} of {models} instead of {mean}: {sent:?}");
        }
    }
    assert!(checked > 0, "{rejections:?}");
}

/// Core's coordinator behind the fake server.
struct Line {
    server: Server,
    epoch: Instant,
    /// The bodies of all posts, by the order in which they came.
    posts: Vec<Vec<u8>>,
    /// From this post on nothing comes through.
    cut_after: usize,
}

impl Line {
    fn handle(&mut self, request: &Request) -> Action {
        let call = match request.path.split('?').next().unwrap() {
            "/params" => Call::Params,
            "/sums" => Call::Sums,
            "/model" => Call::Model(DataType::F32),
            "/seeds" => Call::Seeds(PublicSigningKey::new([0; 32])),
            _ => {
                self.posts.push(request.body.clone());
                if self.posts.len() > self.cut_after {
                    return Action::Answer(502, Vec::new());
                }
                Call::Message(request.body.clone().into())
            }
        };
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap();
        let response = self.server.answer(Timestamp::from_millis(now), &call);
        Action::Answer(response.status, response.body.to_vec())
    }
}

fn an_interrupted_upload_goes_on_where_it_stopped<D: Driver>() {
    let config = "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap();
    let mut settings = settings(config.into(), 200);
    // Nearly everyone sums: a sum message, split, is an upload that needs nobody else.
    settings.sum.prob = 0.999_999;
    settings.sum.count.min = 1;
    settings.sum.time.min = Duration::from_secs(40);
    let line = Arc::new(Mutex::new(Line {
        server: Server::new(settings, RootSeed::new([3; 32])),
        epoch: Instant::now(),
        posts: Vec::new(),
        cut_after: 3,
    }));
    let behind = line.clone();
    let server = FakeServer::start(move |request| behind.lock().unwrap().handle(&request));
    let mut start = Start::new(&server.url());
    // 96 bytes of payload in chunks of 8.
    start.settings.max_message_size = MessageSize::at_most(136 + 48 + 8 + 8).unwrap();

    let mut driver = D::start(&start).unwrap();
    let delivered = driver.wait_for(|event| match event {
        Event::Progress { sent: 3, total, .. } => Some(*total),
        _ => None,
    });
    assert_eq!(delivered, 12);
    // The fourth is refused, and refused again.
    driver.wait_for(|event| matches!(event, Event::Trouble(_)).then_some(()));
    driver.wait_for(|event| matches!(event, Event::Trouble(_)).then_some(()));
    start.state = Some(driver.stop());
    drop(driver);
    let fourth = {
        let line = line.lock().unwrap();
        assert!(line.posts.len() >= 5);
        assert!(line.posts[3..].iter().all(|post| *post == line.posts[3]), "other bytes");
        line.posts[3].clone()
    };

    line.lock().unwrap().cut_after = usize::MAX;
    let before = line.lock().unwrap().posts.len();
    let mut driver = D::start(&start).unwrap();
    driver.wait_for(|event| matches!(event, Event::Sent(Tag::Sum)).then_some(()));
    driver.stop();
    let line = line.lock().unwrap();
    assert_eq!(line.posts[before], fourth, "a restored participant sends the same bytes");
    assert_eq!(line.posts.len() - before, 9);
    assert_eq!(line.server.machine.accepted(), 1);
    assert_eq!(line.server.rejections, []);
}
