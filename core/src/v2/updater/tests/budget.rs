//! Rounds with noise, and what they cost.

use super::world::*;
use crate::model::Model;
use crate::participant::Event;
use crate::v2::*;

const NOISE: NoiseTerms = NoiseTerms { multiplier_thousandths: 8000, clip: 0.5 };

fn world() -> World {
    World::with("Word32/F32/B0/M3", Some(NOISE))
}

fn spent(client: &mut Client) -> Vec<(u64, f64)> {
    client.take(|event| match event {
        Event::BudgetSpent { round, spent, .. } => Some((*round, *spent)),
        _ => None,
    })
}

#[test]
fn what_is_masked_is_the_clipped_difference_from_the_global_model() {
    let mut world = world();
    let mut clients: Vec<_> = [0.01f32, 0.02, 3.0]
        .into_iter()
        .zip(1..)
        .map(|(weight, number)| {
            Client::new(number, world.pin()).trains(Model::F32(vec![weight; LENGTH]))
        })
        .collect();
    run_all(&mut clients, &mut world, 6);
    let Model::F32(first) = world.complete(&[]) else { panic!() };
    // The third is clipped: sqrt(5) * 3 is far beyond 0.5.
    let clipped = 0.5 / 5f32.sqrt();
    let expected = (0.01 + 0.02 + clipped) / 3.0;
    assert!(first.iter().all(|weight| (weight - expected).abs() < 1e-5), "{first:?}");
    world.open();
    // The second round's differences are from that.
    run_all(&mut clients, &mut world, 6);
    let Model::F32(second) = world.complete(&[]) else { panic!() };
    let difference = |weight: f32| (weight - expected).clamp(-clipped, clipped);
    let expected = expected + (difference(0.01) + difference(0.02) + difference(3.0)) / 3.0;
    assert!(second.iter().all(|weight| (weight - expected).abs() < 1e-5), "{second:?}");
}

#[test]
fn weights_of_another_type_are_converted_before_they_are_clipped() {
    let mut world = world();
    let mut client = Client::new(1, world.pin()).trains(Model::F64(vec![0.1; LENGTH]));
    client.run(&mut world, 6);
    assert!(client.is_sent());
    let mut bad = Client::new(2, world.pin()).trains(Model::F64(vec![f64::NAN; LENGTH]));
    bad.run(&mut world, 6);
    assert!(bad.events.iter().any(|event| matches!(event, Event::ModelRejected(_))));
    assert_eq!(spent(&mut bad), []);
}

#[test]
fn each_masked_model_is_charged_and_beyond_the_budget_it_is_refused() {
    let mut world = world();
    let mut ledger = crate::mask::accounting::Ledger::new();
    (0..3).for_each(|_| ledger.charge(NOISE.multiplier_thousandths));
    // Enough for three rounds, and not for four.
    let epsilon = ledger.epsilon(1e-5) + 1e-9;
    let pin = world.pin().with_budget(Budget::new(epsilon, 1e-5));
    let mut client = Client::new(1, pin).trains(Model::F32(vec![0.01; LENGTH]));
    for round in 1..=3 {
        client.run(&mut world, 6);
        assert_eq!(spent(&mut client).len(), round);
        // Whether the round ends well does not matter.
        world.phase = Phase::Failed;
        client.run(&mut world, 2);
        client.restart();
        world.open();
    }
    assert!((spent(&mut client)[2].1 - ledger.epsilon(1e-5)).abs() < 1e-9);
    client.run(&mut world, 6);
    let refusals = client.refusals();
    assert_eq!(refusals.len(), 1);
    let Refusal::Budget { round: 4, next, .. } = refusals[0] else { panic!("{refusals:?}") };
    assert!(next > epsilon);
    assert_eq!(refusals[0].blame(), Blame::Settings);
    assert!(refusals[0].to_string().contains("the privacy budget is spent"));
    assert_eq!((world.sent.len(), client.machine.ledger().rounds()), (3, 3));
    // Control: a larger budget in the settings.
    let bytes = client.machine.snapshot().to_bytes();
    let pin = Pin { budget: Some(Budget::new(epsilon * 2.0, 1e-5)), ..pin };
    client.machine = super::super::Updater::restore(&bytes, pin, settings(1)).unwrap();
    client.run(&mut world, 6);
    assert_eq!((world.sent.len(), client.machine.ledger().rounds()), (4, 4));
}

#[test]
fn a_restart_in_a_round_that_was_paid_for_costs_nothing_more_and_is_not_refused() {
    let mut world = world();
    let mut ledger = crate::mask::accounting::Ledger::new();
    ledger.charge(NOISE.multiplier_thousandths);
    let budget = Budget::new(ledger.epsilon(1e-5) + 1e-9, 1e-5);
    let mut client =
        Client::new(1, world.pin().with_budget(budget)).trains(Model::F32(vec![0.01; LENGTH]));
    // Its header does not get through.
    world.lie.insert("/v2/update", Box::new(|_| crate::request::Response::new(502, "")));
    client.run(&mut world, 6);
    assert_eq!(client.machine.ledger().rounds(), 1);
    client.restart();
    world.lie.clear();
    client.run(&mut world, 6);
    assert!(client.is_sent());
    assert_eq!((client.refusals(), client.machine.ledger().rounds()), (vec![], 1));
}

#[test]
fn a_budget_takes_no_part_in_rounds_without_noise() {
    let mut world = World::new();
    let pin = world.pin().with_budget(Budget::new(1000.0, 1e-5));
    let mut client = Client::new(1, pin).trains(Model::F32(vec![0.01; LENGTH]));
    client.run(&mut world, 6);
    let refusals = client.refusals();
    assert_eq!(
        (refusals.len(), refusals[0].name(), refusals[0].blame()),
        (1, "no_noise", Blame::Coordinator)
    );
    assert!(world.sent.is_empty());
    world.terms.noise = Some(NOISE);
    client.now = client.now + std::time::Duration::from_secs(11);
    client.run(&mut world, 6);
    assert!(client.is_sent());
}

/// What was given away without noise is not nothing.
#[test]
fn after_a_round_without_noise_no_budget_is_left_and_that_is_told() {
    for pins_a_budget in [true, false] {
        let mut world = World::new();
        let mut client = Client::new(1, world.pin()).trains(Model::F32(vec![0.01; LENGTH]));
        client.run(&mut world, 6);
        assert!(client.is_sent());
        assert_eq!((client.machine.ledger().rounds(), spent(&mut client)), (1, vec![]));
        world.phase = Phase::Failed;
        client.run(&mut world, 2);
        world.open();
        world.terms.noise = Some(NOISE);
        client.events.clear();
        let bytes = client.machine.snapshot().to_bytes();
        let budget = pins_a_budget.then(|| Budget::new(1000.0, 1e-5));
        let pin = Pin { budget, ..world.pin() };
        client.machine = super::super::Updater::restore(&bytes, pin, settings(1)).unwrap();
        client.run(&mut world, 6);
        assert_eq!(client.is_sent(), !pins_a_budget, "{:?}", client.events);
        if pins_a_budget {
            let refusals = client.refusals();
            assert_eq!((refusals.len(), refusals[0].name()), (1, "budget"));
            assert!(refusals[0].to_string().contains("without noise"), "{}", refusals[0]);
        } else {
            assert_eq!(spent(&mut client), [(2, f64::INFINITY)]);
        }
    }
}

#[test]
fn noise_without_head_room_is_refused_with_the_numbers() {
    let noise = NoiseTerms { multiplier_thousandths: 100_000, ..NOISE };
    let mut world = World::with("Word32/F32/B0/M3", Some(noise));
    let mut client = Client::new(1, world.pin()).trains(Model::F32(vec![0.01; LENGTH]));
    client.run(&mut world, 6);
    let refusals = client.refusals();
    assert_eq!((refusals.len(), refusals[0].name()), (1, "head_room"));
    assert!(refusals[0].to_string().contains("Word64"), "{}", refusals[0]);
}
