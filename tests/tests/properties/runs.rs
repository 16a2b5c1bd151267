//! Whole runs in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use pet_core::coordinator::{Event, TimeRange};
use pet_core::mask::MaskConfig;
use pet_core::message::MessageSize;
use pet_core::model::Model;
use pet_core::participant::Settings;
use pet_core::request::Call;
use pet_testing::sim::random::Random;
use pet_testing::world::{settings, Fate, World};
use proptest::prelude::*;

const ROUNDS: usize = 2;

/// What goes wrong follows from a number; what was sent is kept.
#[derive(Debug)]
struct Weather {
    random: Random,
    /// Of 1000 requests.
    lost: u64,
    /// Of 1000 moments, for each machine.
    crashes: u64,
    sent: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl Weather {
    fn new(state: u64, lost: u64, crashes: u64) -> Self {
        Self { random: Random::new(state), lost, crashes, sent: BTreeMap::new() }
    }

    fn chance(&mut self, share: u64) -> bool {
        self.random.below(1000) < share
    }
}

impl Fate for Weather {
    fn lose(&mut self, client: usize, call: &Call) -> Option<bool> {
        if let Call::Message(body) = call {
            self.sent.entry(client).or_default().push(body.to_vec());
        }
        self.chance(self.lost).then(|| self.chance(500))
    }

    fn crash(&mut self, _: usize) -> bool {
        self.chance(self.crashes)
    }

    fn crash_server(&mut self) -> bool {
        self.chance(self.crashes)
    }
}

fn run(seed: u8, weather: Weather) -> World<Weather> {
    let config: MaskConfig = "Prime/F32/B0/M3".parse().unwrap();
    let participants = (0..8).map(|index| {
        Settings::default().with_max_message_size(match index % 2 {
            0 => MessageSize::UNLIMITED,
            _ => MessageSize::at_most(230).unwrap(),
        })
    });
    let mut settings = settings(config.into(), 3);
    // Longer than the longest pause between two looks: whoever has a task gets to do it, restored or not.
    for time in [&mut settings.sum.time, &mut settings.update.time, &mut settings.sum2.time] {
        *time = TimeRange { min: Duration::from_secs(30), max: Duration::from_secs(120) };
    }
    let mut world = World::new(settings, participants.collect(), seed, weather);
    world.run(ROUNDS, |client, round| {
        Model::F32(vec![client as f32 / 8.0, -(round as f32) / 64.0, 0.5])
    });
    world.check_means(1e-7);
    world
}

/// All that can be seen of a run.
#[derive(Debug, PartialEq)]
struct Seen {
    models: Vec<(u64, u64, Vec<u8>)>,
    events: Vec<Event>,
    sent: BTreeMap<usize, Vec<Vec<u8>>>,
    end: u64,
}

fn seen(world: World<Weather>) -> Seen {
    let models = world.server.models.iter();
    Seen {
        models: models.map(|m| (m.round_id, m.models, m.rationals.to_vec())).collect(),
        events: world.server.events,
        sent: world.fate.sent,
        end: world.now.as_millis(),
    }
}

proptest! {
    // A run takes some 100 milliseconds.
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_seeds_give_equal_runs(seed: u8, state: u64, lost in 0u64..300, crashes in 0u64..100) {
        let weather = || Weather::new(state, lost, crashes);
        prop_assert_eq!(seen(run(seed, weather())), seen(run(seed, weather())));
    }

    /// Of all machines, at any moments: the same global models, made of the same messages.
    #[test]
    fn restoring_snapshots_anywhere_changes_nothing(seed: u8, state: u64, crashes in 1u64..400) {
        let calm = seen(run(seed, Weather::new(state, 0, 0)));
        let restless = seen(run(seed, Weather::new(state, 0, crashes)));
        prop_assert_eq!(&calm.models, &restless.models);
        for (client, messages) in &restless.sent {
            for message in messages {
                prop_assert!(calm.sent[client].contains(message), "participant {client}");
            }
        }
    }
}

/// Another seed is another run: the comparison above sees something.
#[test]
fn other_seeds_give_other_runs() {
    let one = seen(run(1, Weather::new(1, 0, 0)));
    let other = seen(run(2, Weather::new(1, 0, 0)));
    assert_ne!(one.models, other.models);
    assert_ne!(one.sent, other.sent);
}
