//! Optimisers: steps towards the means of rounds, wherever a coordinator is lost.

use std::time::Duration;

use super::fixture::{quick, read_back, Fixture, TIME};
use super::sender::mask_of;
use crate::coordinator::*;
use crate::crypto::{RootSeed, Task};
use crate::model::{ratio, Model};
use crate::time::Timestamp;

/// Half a step each time, with half of the velocity kept: all numbers are exact.
fn with_momentum() -> Settings {
    let rate = LearningRate::constant(0.5).unwrap();
    let rule = StepRule::FedAvgM { momentum: 0.5 };
    let optimizer = Optimizer { rule, ..Optimizer::new(OptimizerKind::FedAvgM, rate) };
    quick().with_optimizer(Some(optimizer))
}

/// The means of the rounds, and what becomes of them.
const MEANS: [f32; 4] = [0.25, 0.75, 0.25, 0.5];
/// The first is the mean; then v = 0.5, 0, 0.125.
const MODELS: [f32; 4] = [0.25, 0.5, 0.5, 0.5];

/// Rounds up to this one, by participants that send all they have to send whether it has arrived before or not.
fn play(fixture: &mut Fixture, rounds: u64) {
    for (round_id, mean) in (1..=rounds).zip(MEANS) {
        if fixture.machine.round_id() != round_id {
            continue;
        }
        let summers = fixture.with_task(Task::Sum, 2);
        let updaters = fixture.with_task(Task::Update, 3);
        for summer in &summers {
            fixture.send(summer.sum());
        }
        fixture.wait(TIME);
        if fixture.machine.phase() == Phase::Update {
            let sums = fixture.sums();
            for (updater, nudge) in updaters.iter().zip([-0.125, 0.0, 0.125]) {
                fixture.send(updater.update_of(&sums, mean + nudge));
            }
            fixture.wait(TIME);
        }
        for summer in &summers {
            fixture.send(summer.sum2(&mask_of(&updaters)));
        }
        fixture.wait(TIME);
    }
}

fn weight(model: &GlobalModel) -> f32 {
    match model.weights.as_deref() {
        Some(Model::F32(weights)) if weights.iter().all(|weight| *weight == weights[0]) => {
            weights[0]
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_global_model_is_a_step_towards_the_mean() {
    let mut fixture = Fixture::new(with_momentum());
    play(&mut fixture, 4);
    assert_eq!(fixture.failures(), []);
    let found: Vec<f32> = fixture.models.iter().map(weight).collect();
    // v = 0.5, then 0.25 - 0.25, then 0: the third mean is a quarter below, the fourth is where the model is.
    assert_eq!(found, MODELS);
    let steps =
        fixture.models.iter().map(|model| model.optimizer.as_ref().map_or(0, |o| o.steps()));
    assert_eq!(steps.collect::<Vec<_>>(), [0, 1, 2, 3]);
    for model in &fixture.models[1..] {
        assert!(model.rationals == ratio::encode_model(model.weights.as_ref().unwrap()).unwrap());
    }
}

/// Whenever a coordinator is lost, another one goes on from its records, or from the last global model and the records of its
/// round, to the very same models, with the same memory.
#[test]
fn any_prefix_of_the_records_is_gone_on_from_to_the_same_steps() {
    let mut whole = Fixture::new(with_momentum());
    play(&mut whole, 4);
    let root = RootSeed::new([1; 32]);
    let mut model = None;
    let mut of_round = Vec::new();
    for count in 0..=whole.records.len() {
        if let Some(record) = count.checked_sub(1).map(|last| &whole.records[last]) {
            if let Record::RoundBegan { .. } = record {
                of_round.clear();
            }
            of_round.push(record);
        }
        let mut all = Recovery::new(root.clone());
        whole.records[..count].iter().for_each(|record| all.apply(read_back(record)).unwrap());
        let mut latest = Recovery::new(root.clone()).with_model(model.clone());
        of_round.iter().for_each(|record| latest.apply(read_back(record)).unwrap());
        for recovery in [all, latest] {
            let mut resumed = Fixture::resume(recovery, Duration::ZERO, with_momentum());
            play(&mut resumed, 4);
            assert_eq!(resumed.models.last(), whole.models.last(), "after {count} records");
            for model in &resumed.models {
                assert!(whole.models.contains(model), "after {count} records");
            }
        }
        if let Some(Record::Model(made)) = of_round.last() {
            model = Some(GlobalModel::from_bytes(&made.to_bytes()).unwrap());
        }
    }
}

#[test]
fn a_snapshot_has_what_the_optimizer_remembers() {
    let mut whole = Fixture::new(with_momentum());
    play(&mut whole, 4);
    let mut fixture = Fixture::new(with_momentum());
    play(&mut fixture, 2);
    let saved = fixture.machine.snapshot().to_bytes();
    assert_eq!(saved[4..6], [3, 0]);
    let restored = |settings: Settings| {
        let now = Timestamp::ZERO;
        let machine = Coordinator::restore(&saved, settings, now).unwrap();
        let mut restored = Fixture::around(machine, None, now);
        restored.drain();
        play(&mut restored, 4);
        restored.models.last().cloned()
    };
    assert!(restored(with_momentum()).as_ref() == whole.models.last());
    // Without the optimizer the means are the models again, in the form that they always had.
    let mean = restored(quick()).unwrap();
    assert_eq!((weight(&mean), &mean.optimizer), (MEANS[3], &None));
    let mut plain = Fixture::new(quick());
    play(&mut plain, 2);
    assert_eq!(plain.machine.snapshot().to_bytes()[4..6], [1, 0]);
}

/// Another optimiser begins anew; another rate goes on.
#[test]
fn an_optimizer_is_changed_between_rounds() {
    let mut fixture = Fixture::new(with_momentum());
    play(&mut fixture, 2);
    let mut settings = with_momentum();
    let optimizer = settings.optimizer.as_mut().unwrap();
    optimizer.learning_rate = LearningRate::constant(0.25).unwrap();
    fixture.input(Input::ChangeSettings(Box::new(settings.clone()))).unwrap();
    fixture.input(Input::Skip).unwrap();
    let steps = |fixture: &Fixture| {
        let state = fixture.models.last().unwrap().optimizer.clone();
        state.map(|state| (state.kind(), state.steps()))
    };
    assert_eq!(steps(&fixture), Some((OptimizerKind::FedAvgM, 1)));
    let round = fixture.machine.round_id();
    let summers = fixture.sum(2);
    let sums = fixture.sums();
    let updaters = fixture.with_task(Task::Update, 3);
    for updater in &updaters {
        fixture.send(updater.update_of(&sums, 0.0));
    }
    fixture.wait(TIME);
    for summer in &summers {
        fixture.send(summer.sum2(&mask_of(&updaters)));
    }
    settings.optimizer.as_mut().unwrap().rule = StepRule::of(OptimizerKind::FedAvg);
    fixture.input(Input::ChangeSettings(Box::new(settings))).unwrap();
    fixture.wait(TIME);
    assert_eq!(
        (fixture.machine.round_id(), steps(&fixture)),
        (round + 1, Some((OptimizerKind::FedAvgM, 2)))
    );
    // v = 0.5 / 2 - 0.5: the memory is that of the two steps before.
    assert_eq!(weight(fixture.models.last().unwrap()), 0.5 - 0.25 * 0.25);
}

/// A step that cannot be made fails the round by name, and the next one begins from the last model.
#[test]
fn a_step_beyond_the_type_fails_the_round() {
    let mut fixture = Fixture::new(quick());
    play(&mut fixture, 1);
    let rate = LearningRate::constant(1e39).unwrap();
    let settings = quick().with_optimizer(Some(Optimizer::new(OptimizerKind::FedAvg, rate)));
    let mut fixture = fixture.crashed(settings);
    play(&mut fixture, 2);
    let error = OptimizeError::OutOfRange { index: 0 };
    assert_eq!(fixture.failures(), [RoundFailure::Optimizer(error)]);
    assert_eq!((fixture.models.len(), fixture.machine.round_id()), (1, 3));
    assert_eq!(RoundFailure::Optimizer(error).label(), "optimizer");
}

/// A record has nothing of optimisers: what is recorded would replay otherwise.
#[test]
fn no_coordinator_with_an_optimizer_is_recorded() {
    use crate::record::{Recorded, Sink};
    let root = RootSeed::new([1; 32]);
    let record =
        |settings| Recorded::<Coordinator>::record(settings, root.clone(), Timestamp::ZERO, sink());
    fn sink() -> Sink {
        Box::new(|_| {})
    }
    let error = record(with_momentum()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "invalid settings\n  optimizer.kind = FedAvgM: must be nothing where rounds are recorded: a record has nothing of optimizers"
    );
    assert!(record(quick()).is_ok());
}
