//! Strategies give what they say, and machines survive it.

use std::cell::{Cell, RefCell};

use pet_core::coordinator::{Coordinator, Rejection};
use pet_core::crypto::RootSeed;
use pet_core::mask::{mask_model, MaskConfig, MaskSeed};
use pet_core::message::Tag;
use pet_core::model::Scalar;
use pet_core::participant::{self, Participant};
use pet_core::round::SumDict;
use pet_core::time::Timestamp;
use pet_testing::contract::Watched;
use pet_testing::sim::{run, shrink, Scenario};
use pet_testing::strategies::{
    calls, coordinator_settings, mask_configs, messages, models, participant_settings, responses,
    transport_faults, wild_coordinator_settings, Harm,
};
use pet_testing::world::{settings, Server};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn config() -> MaskConfig {
    "Prime/F32/B0/M3".parse().unwrap()
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn settings_are_valid_and_make_a_coordinator(settings in coordinator_settings(50)) {
        prop_assert_eq!(settings.validate(), Ok(()));
        prop_assert!(settings.update.count.min <= settings.mask.vect.max_nb_models());
        let machine = Coordinator::new(settings, RootSeed::new([1; 32]), Timestamp::ZERO);
        prop_assert!(machine.is_ok());
    }

    /// A machine takes no settings that break a rule, and says which.
    #[test]
    fn wild_settings_make_a_coordinator_or_an_error(settings in wild_coordinator_settings()) {
        let valid = settings.validate();
        let machine = Coordinator::new(settings, RootSeed::new([1; 32]), Timestamp::ZERO);
        prop_assert_eq!(machine.map(drop), valid);
    }

    #[test]
    fn models_fit_their_config(
        (config, model) in mask_configs().prop_flat_map(|c| (Just(c), models(c, 3)))
    ) {
        let masked = mask_model(&MaskSeed::new([7; 32]), config.into(), &Scalar::one(), &model);
        let (_, report) = masked.expect("it can be masked");
        prop_assert_eq!(report.clamped, 0);
    }

    /// Whatever a participant is answered: it goes on, and waits for something.
    #[test]
    fn participants_survive_any_answers(
        settings in participant_settings(),
        answers in vec(prop_oneof![
            4 => responses().prop_map(Ok),
            1 => transport_faults().prop_map(Err),
        ], 1..20),
    ) {
        let participant = Participant::from_seed(RootSeed::new([2; 32]), settings);
        let (mut machine, watch) = Watched::new(participant);
        let mut now = Timestamp::ZERO;
        let mut answers = answers.into_iter();
        machine.handle_input(now, participant::Input::Tick).unwrap();
        'all: loop {
            let mut inputs = Vec::new();
            let idle = loop {
                match machine.poll_output() {
                    participant::Output::Request { id, .. } => inputs.push(match answers.next() {
                        Some(Ok(response)) => participant::Input::Response { id, response },
                        Some(Err(fault)) => participant::Input::Fault { id, fault },
                        None => break 'all,
                    }),
                    participant::Output::Job(job) => {
                        inputs.push(participant::Input::JobDone(job.finish()));
                    }
                    participant::Output::Idle(idle) => break idle,
                    _ => {}
                }
            };
            if inputs.is_empty() {
                let at = idle.wake_at.expect("it waits for something");
                prop_assert!(at > now);
                now = at;
                inputs.push(participant::Input::Tick);
            }
            for input in inputs {
                machine.handle_input(now, input).unwrap();
            }
            prop_assert_eq!(watch.breach(), None);
        }
    }

    #[test]
    fn calls_of_any_kind_are_answered(calls in vec(calls(), 1..20)) {
        let mut server = Server::new(settings(config().into(), 2), RootSeed::new([3; 32]));
        for call in calls {
            let status = server.answer(Timestamp::ZERO, &call).status;
            prop_assert!([200, 204].contains(&status), "{call:?}: {status}");
        }
    }
}

/// In the sum phase right sum messages are accepted, once; and of all others those whose damage has changed nothing.
#[test]
fn messages_are_right_or_rejected() {
    let mut settings = settings(config().into(), 2);
    settings.sum.count.min = 50;
    let server = RefCell::new(Server::new(settings, RootSeed::new([4; 32])));
    let parameters = server.borrow().machine.parameters().clone();
    let accepted = Cell::new(0);
    let outcome =
        TestRunner::deterministic().run(&messages(&parameters, &SumDict::default()), |letter| {
            let outcome = server.borrow_mut().message(Timestamp::ZERO, letter.sealed);
            if outcome.is_ok() {
                accepted.set(accepted.get() + 1);
                prop_assert_eq!(letter.tag, Tag::Sum);
            } else if matches!(letter.harm, Harm::None) && letter.tag == Tag::Sum {
                prop_assert_eq!(outcome, Err(Rejection::DuplicateSum));
            }
            Ok(())
        });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    // There are four who have something to say.
    assert_eq!(accepted.get(), 4);
}

proptest! {
    #![proptest_config(cases(2))]

    #[test]
    fn any_scenario_ends_well(scenario: Scenario) {
        if let Err(failure) = run(&scenario) {
            panic!("{}", shrink(*failure, 50));
        }
    }
}
