//! The example against a real coordinator.

use std::time::Duration;

use foreign_loop::{Error, Loop};
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
    let model = Loop::new(&url, 100).unwrap().run().unwrap();
    assert!(coordinator.metrics().rounds_completed >= 1);
    runtime.block_on(coordinator.shutdown()).unwrap();
    let Model::F32(weights) = &*model else { panic!("{model:?}") };
    assert_eq!(weights.len(), 1000);
    assert!(weights.iter().all(|weight| (0.0..=0.9).contains(weight)), "{weights:?}");
}

#[test]
fn urls_that_it_cannot_use_are_refused() {
    assert!(matches!(Loop::new("https://127.0.0.1:1", 1), Err(Error::Https)));
    assert!(matches!(Loop::new("nonsense", 1), Err(Error::Url(_))));
}
