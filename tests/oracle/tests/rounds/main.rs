//! Whole rounds in memory: our participants with a coordinator made of the published crate, and
//! participants made of it with our coordinator; mixed, with every mask config, messages in parts.

mod old_coordinator;
mod old_participant;
mod our_coordinator;
mod our_participant;

use std::time::Duration;

use old_coordinator::OldCoordinator;
use old_participant::OldParticipant;
use our_coordinator::OurCoordinator;
use our_participant::OurParticipant;
use pet_core::{
    model::DataType,
    request::{Call, Response},
    time::Timestamp,
};
use pet_oracle::{
    old, ours,
    strategies::{any_pair, any_seed, positive_scalar, weights_for},
    PairBytes, Parameters, Weights,
};
use proptest::{collection::vec, prelude::*, test_runner::FileFailurePersistence};

const PARTICIPANTS: usize = 9;
const SUM_PROBABILITY: f64 = 0.35;
const MIN_UPDATES: usize = 3;
const PHASE: Duration = Duration::from_secs(3);
const TURN: Duration = Duration::from_millis(100);

/// A coordinator as its participants see it.
trait Serve {
    /// Answers a call. A message that is not accepted ends the test.
    fn call(&mut self, now: Timestamp, call: &Call) -> Response;
    /// Does what is due.
    fn pass(&mut self, now: Timestamp);
}

/// A participant.
trait TakePart {
    /// Does what can be done now.
    fn turn(&mut self, now: Timestamp, coordinator: &mut dyn Serve);
    /// What it takes the global model for, as published or in the round's data type.
    fn global_model(&mut self, now: Timestamp, coordinator: &mut dyn Serve) -> Received;
}

/// A global model as a participant gets it.
#[derive(Clone, Debug, PartialEq)]
enum Received {
    /// All of the old ones' arithmetic is exact.
    Exact(Vec<num_rational::BigRational>),
    /// Ours are given the round's data type, or told that it does not hold a weight.
    Typed(Result<pet_core::model::Model, String>),
}

/// Who takes part, and with what.
#[derive(Clone, Debug)]
struct Member {
    is_ours: bool,
    seed: [u8; 32],
    scalar: f64,
    weights: Weights,
    /// The most bytes of a sealed message.
    max_message_size: Option<usize>,
}

impl Member {
    fn signing_keys(&self) -> ([u8; 32], [u8; 64]) {
        old::signing_key_pair(&self.seed)
    }

    /// The (sum, update) task signatures.
    fn task_signatures(&self, round_seed: &[u8; 32]) -> ([u8; 64], [u8; 64]) {
        let (_, secret) = self.signing_keys();
        let sign = |task: &[u8]| old::sign(&secret, &[&round_seed[..], task].concat());
        (sign(b"sum"), sign(b"update"))
    }

    fn sums(&self, parameters: &Parameters) -> bool {
        old::is_eligible(&self.task_signatures(&parameters.seed).0, parameters.sum)
    }
}

fn members() -> impl Strategy<Value = (PairBytes, usize, Vec<Member>)> {
    (any_pair(), 1..=6usize).prop_flat_map(|(pair, len)| {
        let member =
            (
                any::<bool>(),
                any_seed(),
                positive_scalar(),
                weights_for(pair.vect, len..=len),
                prop::option::of(300..1200usize),
            )
                .prop_map(|(is_ours, seed, scalar, weights, max_message_size)| {
                    Member { is_ours, seed, scalar, weights, max_message_size }
                });
        (Just(pair), Just(len), vec(member, PARTICIPANTS).prop_map(with_different_keys))
    })
}

fn with_different_keys(mut members: Vec<Member>) -> Vec<Member> {
    for (index, member) in members.iter_mut().enumerate() {
        member.seed[0] = index as u8;
    }
    members
}

/// Runs one round with the coordinator, and checks what everybody gets out of it.
fn check_round(
    coordinator: &mut dyn Serve,
    pair: PairBytes,
    len: usize,
    members: &[Member],
) -> Result<(), TestCaseError> {
    let mut now = Timestamp::ZERO;
    coordinator.pass(now);
    let params = coordinator.call(now, &Call::Params);
    let parameters = old::read_parameters(&params.body).unwrap();
    let (summers, updaters): (Vec<_>, Vec<_>) =
        members.iter().partition(|member| member.sums(&parameters));
    prop_assume!(!summers.is_empty() && updaters.len() >= MIN_UPDATES);

    let mut participants: Vec<Box<dyn TakePart>> = members
        .iter()
        .map(|member| -> Box<dyn TakePart> {
            match member.is_ours {
                true => Box::new(OurParticipant::new(member)),
                false => Box::new(OldParticipant::new(member)),
            }
        })
        .collect();
    let published = loop {
        for participant in &mut participants {
            participant.turn(now, coordinator);
        }
        now = now + TURN;
        coordinator.pass(now);
        let model = coordinator.call(now, &Call::Model(DataType::F32));
        if model.status == 200 {
            break model.body;
        }
        prop_assert!(now < Timestamp::from_millis(60_000), "the round does not end");
    };

    // What was masked with which seeds makes no difference to the mean.
    let mut sum = old::Aggregation::new(pair, len);
    let mut mask = sum.clone();
    for member in updaters {
        sum.add(&old::mask(&member.seed, pair, member.scalar, &member.weights)).unwrap();
        mask.add(&old::derive_mask(&member.seed, pair, len)).unwrap();
    }
    let expected = sum.unmask(&mask.to_bytes()).unwrap();
    prop_assert_eq!(old::ratio_model_from_bincode(&published), Ok(expected.clone()));
    let typed = ours::read_published(&published, pair.vect);
    for (participant, member) in participants.iter_mut().zip(members) {
        let received = participant.global_model(now, coordinator);
        match (member.is_ours, received) {
            (false, received) => prop_assert_eq!(received, Received::Exact(expected.clone())),
            (true, Received::Typed(received)) => {
                prop_assert_eq!(received.ok(), typed.clone().ok());
            }
            (true, received) => prop_assert!(false, "{received:?}"),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        // A round is some hundred times the work of other cases.
        cases: (ProptestConfig::default().cases / 4).max(1),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn of_the_old_coordinator((pair, len, members) in members(), seed in any_seed()) {
        check_round(&mut OldCoordinator::new(seed, pair, len), pair, len, &members)?;
    }

    #[test]
    fn of_our_coordinator((pair, len, members) in members(), seed in any_seed()) {
        check_round(&mut OurCoordinator::new(seed, pair, len), pair, len, &members)?;
    }
}
