//! The example against a real coordinator.

use std::time::Duration;

use foreign_loop::{Done, Error, Loop};
use pet_coordinator::settings::Settings;
use pet_coordinator::Coordinator;
use pet_core::model::Model;

#[test]
fn a_hundred_participants_in_one_thread_get_a_global_model() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut settings = Settings::for_model_length(1000);
    settings.api.bind_address.set_port(0);
    // Of a hundred, one and more are drawn by lot to sum, and three and more to train.
    settings.pet.sum.prob = 0.3;
    settings.pet.update.prob = 0.9;
    for time in
        [&mut settings.pet.sum.time, &mut settings.pet.update.time, &mut settings.pet.sum2.time]
    {
        time.min = Duration::ZERO;
    }
    let coordinator = runtime.block_on(Coordinator::start(settings)).unwrap();
    let url = format!("http://{}", coordinator.local_addr());
    let done = Loop::new(&url, 100).unwrap().run().unwrap();
    assert!(coordinator.metrics().rounds_completed >= 1);
    runtime.block_on(coordinator.shutdown()).unwrap();
    let Model::F32(weights) = &*done.model else { panic!("{done:?}") };
    assert_eq!(weights.len(), 1000);
    assert!(weights.iter().all(|weight| (0.0..=0.9).contains(weight)), "{weights:?}");
}

/// Whoever waits for news does not ask again and again, in an event loop of one's own neither.
#[test]
fn a_round_takes_at_most_eight_requests_of_a_participant() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut settings = Settings::for_model_length(100);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.prob = 0.3;
    settings.pet.update.prob = 0.9;
    for time in
        [&mut settings.pet.sum.time, &mut settings.pet.update.time, &mut settings.pet.sum2.time]
    {
        // Long enough for many looks, if they were made.
        time.min = Duration::from_millis(700);
        time.max = Duration::from_secs(60);
    }
    let coordinator = runtime.block_on(Coordinator::start(settings)).unwrap();
    let url = format!("http://{}", coordinator.local_addr());
    let done = Loop::new(&url, 20).unwrap().run().unwrap();
    runtime.block_on(coordinator.shutdown()).unwrap();
    assert!(done.rounds >= 20 && done.requests >= done.rounds, "{done:?}");
    let Done { requests, rounds, .. } = done;
    assert!(requests <= 8 * rounds, "{requests} requests in {rounds} rounds");
}

#[test]
fn urls_that_it_cannot_use_are_refused() {
    assert!(matches!(Loop::new("https://127.0.0.1:1", 1), Err(Error::Https)));
    assert!(matches!(Loop::new("nonsense", 1), Err(Error::Url(_))));
}
