//! The examples of the transports, run against a real coordinator. (Those of core and of a foreign event loop need
//! nothing of this package, and have tests of their own.)

use std::time::Duration;

use pet_coordinator::settings::Settings;
use pet_coordinator::Coordinator;
use pet_core::model::Model;

#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../transport-blocking/examples/participants.rs"]
mod blocking;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../core/examples/round.rs"]
mod core;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../transport-tokio/examples/participants.rs"]
mod tokio_example;

const LENGTH: u64 = 4;

async fn coordinator() -> (Coordinator, String) {
    let mut settings = Settings::for_model_length(LENGTH);
    settings.api.bind_address.set_port(0);
    // A round for which the lot has drawn too few of ten is over soon.
    settings.pet.sum.prob = 0.3;
    settings.pet.update.prob = 1.0;
    let pet = &mut settings.pet;
    for time in [&mut pet.sum.time, &mut pet.update.time, &mut pet.sum2.time] {
        time.min = Duration::ZERO;
        time.max = Duration::from_secs(5);
    }
    let coordinator = Coordinator::start(settings).await.unwrap();
    let url = format!("http://{}", coordinator.local_addr());
    (coordinator, url)
}

/// A mean of what the examples have trained.
fn check(model: &Model) {
    let Model::F32(weights) = model else { panic!("{model:?}") };
    assert_eq!(weights.len() as u64, LENGTH);
    assert!(weights.iter().all(|weight| (0.0..=0.9).contains(weight)), "{weights:?}");
    assert!(weights.iter().all(|weight| weight == &weights[0]), "{weights:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_participants_end_with_a_model() {
    let (coordinator, url) = coordinator().await;
    let model = tokio::task::spawn_blocking(move || blocking::run(&url)).await.unwrap().unwrap();
    check(&model);
    coordinator.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokio_participants_end_with_a_model() {
    let (coordinator, url) = coordinator().await;
    let model = tokio_example::run(&url).await.unwrap();
    check(&model);
    coordinator.shutdown().await.unwrap();
}

#[test]
fn a_round_in_memory_ends_with_the_mean() {
    let round = core::run().unwrap();
    assert!(round.models >= 3);
    assert!((round.weights[0] - round.expected).abs() < 1e-6, "{round:?}");
}
