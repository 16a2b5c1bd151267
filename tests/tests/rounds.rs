//! Whole rounds in virtual time.

use std::collections::BTreeMap;

use pet_core::coordinator::{Event, Phase, Rejection, RoundFailure};
use pet_core::mask::{DataType, MaskConfig, MaskConfigPair};
use pet_core::message::MessageSize;
use pet_core::model::{Model, Scalar};
use pet_core::participant;
use pet_core::request::Call;
use pet_testing::sim::random::Random;
use pet_testing::world::{settings, Calm, Fate, World};

const PARTICIPANTS: usize = 10;

fn config(name: &str) -> MaskConfig {
    name.parse().unwrap()
}

fn participants() -> Vec<participant::Settings> {
    vec![participant::Settings::default(); PARTICIPANTS]
}

/// A different model for each participant and round, within every bound.
fn train(client: usize, round: u64) -> Model {
    let base = (client as f32 + 1.0) / 16.0 - round as f32 / 64.0;
    Model::F32(vec![base, -base / 2.0, 0.25, 0.0])
}

fn scalar(numer: u32, denom: u32) -> Scalar {
    Scalar::from_ratio(numer.into(), denom.into()).unwrap()
}

#[test]
fn rounds_follow_each_other_and_each_gives_the_mean() {
    let mut world =
        World::new(settings(config("Prime/F32/B0/M3").into(), 4), participants(), 1, Calm);
    world.run(5, train);
    world.check_means(1e-7);
    assert_eq!(world.server.rejections, []);
    let ids: Vec<u64> = world.server.models.iter().map(|model| model.round_id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[test]
fn every_data_type_and_mixed_configs_work() {
    let pairs: [MaskConfigPair; 9] = [
        config("Integer/F64/B2/M6").into(),
        config("Power2/I32/B6/M3").into(),
        config("Prime/I64/Bmax/M12").into(),
        config("Integer/F32/Bmax/M9").into(),
        MaskConfigPair { vect: config("Power2/F64/Bmax/M3"), unit: config("Prime/F32/B0/M6") },
        config("Word32/I32/B6/M3").into(),
        config("Word64/F32/B2/M6").into(),
        config("Word64/I32/Bmax/M9").into(),
        MaskConfigPair { vect: config("Word64/F64/B2/M3"), unit: config("Word32/F32/B0/M3") },
    ];
    for pair in pairs {
        let mut world = World::new(settings(pair, 3), participants(), 2, Calm);
        world.run(1, |client, _| {
            let weight = client as i32 * 100 - 450;
            match pair.vect.data_type() {
                DataType::F32 => Model::F32(vec![weight as f32 / 8.0, 1.5, -2.5]),
                DataType::F64 => Model::F64(vec![f64::from(weight) / 8.0, 1.5, -42.0]),
                DataType::I32 => Model::I32(vec![weight, 7, -900_000]),
                DataType::I64 => Model::I64(vec![weight.into(), 7, -(1 << 40)]),
            }
        });
        world.check_means(match pair.vect.data_type() {
            DataType::F32 => 1e-5,
            DataType::F64 => 1e-8,
            // Integers are cut toward zero.
            DataType::I32 | DataType::I64 => 1.0,
        });
        assert_eq!(world.server.rejections, [], "{pair}");
    }
}

#[test]
fn scalars_weigh_the_models() {
    let settings_of = |i: u32| participant::Settings::default().with_scalar(scalar(i + 1, 10));
    let participants = (0..PARTICIPANTS as u32).map(settings_of).collect();
    let mut world =
        World::new(settings(config("Prime/F64/B2/M3").into(), 4), participants, 3, Calm);
    world.run(3, |client, round| {
        let Model::F32(weights) = train(client, round) else { unreachable!() };
        Model::F64(weights.into_iter().map(f64::from).collect())
    });
    world.check_means(1e-12);
}

#[test]
fn messages_are_split_and_put_together() {
    let settings_of = |i: usize| {
        let size = MessageSize::at_most(194 + 7 * i).unwrap();
        participant::Settings::default().with_max_message_size(size)
    };
    let participants = (0..PARTICIPANTS).map(settings_of).collect();
    let mut world =
        World::new(settings(config("Prime/F32/B0/M3").into(), 4), participants, 4, Calm);
    world.run(2, train);
    world.check_means(1e-7);
    assert_eq!(world.server.rejections, []);
    let split =
        world.clients.iter().flat_map(|client| &client.events).any(
            |event| matches!(event, participant::Event::Progress { total, .. } if *total > 10),
        );
    assert!(split);
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = |seed| {
        let mut world =
            World::new(settings(config("Prime/F32/B0/M3").into(), 4), participants(), seed, Calm);
        world.run(2, train);
        let rationals: Vec<_> =
            world.server.models.iter().map(|model| model.rationals.clone()).collect();
        (world.now, rationals, world.server.events)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).2, run(6).2);
}

/// Loses a share of the requests, and restarts machines, as a fixed sequence decides.
struct Storm {
    random: Random,
    lose: u64,
    crash: u64,
}

impl Storm {
    /// True in about `share` of 1000 cases.
    fn chance(&mut self, share: u64) -> bool {
        self.random.below(1000) < share
    }
}

impl Fate for Storm {
    fn lose(&mut self, _: usize, _: &Call) -> Option<bool> {
        self.chance(self.lose).then(|| self.chance(500))
    }

    fn crash(&mut self, _: usize) -> bool {
        self.chance(self.crash)
    }

    fn crash_server(&mut self) -> bool {
        self.chance(self.crash)
    }
}

#[test]
fn lost_requests_and_crashes_change_no_mean() {
    for seed in 0..20 {
        let fate = Storm { random: Random::new(seed), lose: 200, crash: 100 };
        let small = participant::Settings::default()
            .with_max_message_size(MessageSize::at_most(220).unwrap());
        let mut participants = participants();
        participants[..5].fill(small);
        let settings = settings(config("Prime/F32/B0/M3").into(), 4);
        let mut world = World::new(settings, participants, seed as u8, fate);
        world.run(3, train);
        world.check_means(1e-7);
        // A message whose answer was lost is sent again, and only that is turned down.
        for rejection in &world.server.rejections {
            let again = matches!(
                rejection,
                Rejection::DuplicateSum
                    | Rejection::DuplicateUpdate
                    | Rejection::DuplicateSum2
                    | Rejection::WrongPhase { .. }
                    | Rejection::Message(pet_core::message::MessageError::DoesNotOpen)
            );
            assert!(again, "seed {seed}: {rejection:?}");
        }
    }
}

/// A participant that is restored at any point goes on with the very same bytes.
#[test]
fn restoring_a_participant_at_any_point_changes_nothing() {
    struct Observe(Storm, BTreeMap<usize, Vec<Vec<u8>>>);
    impl Fate for Observe {
        fn lose(&mut self, client: usize, call: &Call) -> Option<bool> {
            if let Call::Message(body) = call {
                self.1.entry(client).or_default().push(body.to_vec());
            }
            None
        }
        fn crash(&mut self, client: usize) -> bool {
            self.0.crash(client)
        }
    }
    let observe =
        |crash| Observe(Storm { random: Random::new(1), lose: 0, crash }, BTreeMap::new());
    let settings = settings(config("Prime/F32/B0/M3").into(), 4);
    let mut calm = World::new(settings.clone(), participants(), 7, observe(0));
    calm.run(1, train);
    let mut restless = World::new(settings, participants(), 7, observe(400));
    restless.run(1, train);
    restless.check_means(1e-7);
    for (client, messages) in &restless.fate.1 {
        for message in messages {
            assert!(calm.fate.1[client].contains(message), "participant {client}");
        }
    }
}

#[test]
fn a_phase_without_enough_messages_fails_the_round_and_the_next_begins() {
    // Three of two participants are asked for.
    let mut settings = settings(config("Prime/F32/B0/M3").into(), 4);
    settings.update.count.min = 3;
    let mut world = World::new(settings.clone(), vec![Default::default(); 2], 8, Calm);
    let time = settings.sum.time.max.as_secs() + settings.update.time.max.as_secs();
    let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(1, train)));
    assert!(rounds.is_err(), "no round can end well");
    let failures: Vec<_> = world
        .server
        .events
        .iter()
        .filter_map(|event| match event {
            Event::RoundFailed { failure, .. } => Some(failure.clone()),
            _ => None,
        })
        .collect();
    assert!(failures.len() as u64 >= 36_000 / time);
    assert!(failures.iter().any(|failure| matches!(
        failure,
        RoundFailure::TooFewMessages { phase: Phase::Update, needed: 3, accepted } if *accepted < 3
    )));
    assert_eq!(world.server.machine.round_id(), failures.len() as u64 + 1);
}
