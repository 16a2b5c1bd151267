//! Steps are those of the papers, in whatever pieces.

use super::super::{LearningRate, OptimizerKind};
use super::*;
use crate::crypto::{Blake2b, RoundSeed};
use crate::mask::DataType;

const LENGTH: usize = 200;

/// Numbers without a pattern that a step would keep.
fn numbers(data_type: DataType, number: impl Fn(i64) -> f64) -> Model {
    let all = (0..LENGTH as i64).map(number);
    match data_type {
        DataType::F64 => Model::F64(all.collect()),
        _ => Model::F32(all.map(|number| number as f32).collect()),
    }
}

fn mean(data_type: DataType, round: i64) -> Model {
    numbers(data_type, |i| ((i * 53 + round * 29) % 97 - 48) as f64 / 33.0)
}

fn global(weights: Model, optimizer: Option<OptimizerState>) -> GlobalModel {
    GlobalModel {
        round_id: 1,
        seed: RoundSeed::new([1; 32]),
        models: 3,
        rationals: ratio::encode_model(&weights).unwrap().into(),
        weights: Some(Arc::new(weights)),
        optimizer: optimizer.map(Arc::new),
    }
}

fn optimizer(kind: OptimizerKind) -> Optimizer {
    Optimizer::new(kind, "0.5, 0.25*2, 0.125".parse().unwrap())
}

/// The next model, made in pieces of so many numbers.
fn next(
    optimizer: &Optimizer,
    last: &GlobalModel,
    mean: Model,
    most: usize,
) -> Result<GlobalModel, OptimizeError> {
    let plan = Plan::of(Some(optimizer), Some(last), mean.len()).expect("there is a step");
    let mut step = Optimizing::new(plan, Ok(mean))?;
    let mut before = step.progress().0;
    while !step.step(most) {
        let done = step.progress().0;
        assert!(done > before && done <= before + most, "{before} {done}");
        before = done;
    }
    let Optimized { model, ratios, state } = step.finish()?;
    assert!(ratios == ratio::encode_model(&model).unwrap());
    Ok(global(model, Some(state)))
}

fn bytes(model: &Model) -> Vec<u8> {
    match model {
        Model::F32(all) => all.iter().flat_map(|weight| weight.to_le_bytes()).collect(),
        Model::F64(all) => all.iter().flat_map(|weight| weight.to_le_bytes()).collect(),
        _ => Vec::new(),
    }
}

/// Five steps with a schedule, and all moments, have the digests that `xaynet_sdk.optimizers` gives, which is tested against
/// plain transcriptions of the algorithms in the papers.
#[test]
fn steps_are_those_of_the_papers_to_the_last_bit() {
    const DIGESTS: [(DataType, [&str; 5]); 2] = [
        (
            DataType::F32,
            [
                "9c70b8d07841a91ef249a552a795133fe5a0c308d107a52b51251664b4d00070",
                "f9f9ac39ce320ff2af2a304598a9f0cc561a2e8408ac462b2482c52a82b200c2",
                "427d42ba35a67d8c8052b3e1a23d8a49cbd0048448520ab99cc2b31cac5c6a86",
                "307b62cfeeced1734e38ebce37fe725d03b72ad327ef6ed3091b3856b927420d",
                "951d09f5705f883d471f6e97916b2b26dafee5a8a5f9925e3f2fff924e9d8a56",
            ],
        ),
        (
            DataType::F64,
            [
                "5d9dde17c3a74d6083e04c40245830209b97a4a029d802ff86d31d8f8a714a89",
                "a021d1ad351ef08eec7488d9696d93ae68c23cd8cefc6ce1eed085993e84d6a1",
                "897e7b25e8b1478f15ffc8ec556fb59473f9aa7881841ebf7f95c80d23de59db",
                "3aaa197f7e800d3bd38947f5f5daf68aa8ac7643c75eaf9884421fccfe356975",
                "49eb908e1fa59b85d96f7891ec093f633aa15bc54bed93a8a83aab161acadb17",
            ],
        ),
    ];
    for (data_type, digests) in DIGESTS {
        for (kind, digest) in OptimizerKind::ALL.into_iter().zip(digests) {
            for most in [usize::MAX, LENGTH, 7] {
                let first = numbers(data_type, |i| ((i * 37) % 101 - 50) as f64 / 70.0);
                let mut model = global(first, None);
                let mut made = Vec::new();
                for round in 0..5 {
                    model = next(&optimizer(kind), &model, mean(data_type, round), most).unwrap();
                    made.extend(bytes(model.weights.as_ref().unwrap()));
                }
                let state = model.optimizer.as_ref().unwrap();
                assert_eq!((state.kind(), state.steps()), (kind, 5));
                made.extend(state.moments().iter().flatten().flat_map(|n| n.to_le_bytes()));
                let found = Blake2b::hash(&[&made]).to_string();
                assert_eq!(found, digest, "{kind} {data_type} {most}");
                // What is stored is all that the next step needs.
                let stored = GlobalModel::from_bytes(&model.to_bytes()).unwrap();
                assert!(stored == model);
            }
        }
    }
}

#[test]
fn fedavg_with_a_rate_of_one_is_the_mean() {
    let one = Optimizer::new(OptimizerKind::FedAvg, LearningRate::constant(1.0).unwrap());
    for data_type in [DataType::F32, DataType::F64] {
        let last = global(numbers(data_type, |i| 1e-30 * i as f64), None);
        let made = next(&one, &last, mean(data_type, 1), 64).unwrap();
        assert!(made.weights.as_deref() == Some(&mean(data_type, 1)));
    }
}

/// A difference of 0 leaves a weight as it is; that of a Yogi's `v` as large as the square is 0, too.
#[test]
fn nothing_moves_where_nothing_has_changed() {
    for kind in OptimizerKind::ALL {
        let last = global(mean(DataType::F32, 0), None);
        let made = next(&optimizer(kind), &last, mean(DataType::F32, 0), 64).unwrap();
        assert!(made.weights == last.weights, "{kind}");
    }
    assert_eq!([sign(0.0), sign(-0.0), sign(3.0), sign(-3.0)], [0.0, 0.0, 1.0, -1.0]);
}

/// The model is what comes of dividing by the last number; the others beside it stay as they are.
#[test]
fn sums_beside_the_model_stay_as_they_are() {
    let with_sums = |weights: [f32; 2], sums: [f32; 2]| Model::F32([weights, sums].concat());
    let rate = LearningRate::constant(0.5).unwrap();
    let half = Optimizer { beside_model: 2, ..Optimizer::new(OptimizerKind::FedAvg, rate) };
    let last = global(with_sums([1.0, 2.0], [0.0, 1.0]), None);
    for most in [1, 3, 4] {
        // Models of 3 and -2 with a mean weight of a quarter.
        let made = next(&half, &last, with_sums([0.75, -0.5], [0.125, 0.25]), most).unwrap();
        let expected = with_sums([2.0 * 0.25, 0.0], [0.125, 0.25]);
        assert!(made.weights.as_deref() == Some(&expected));
        assert!(made.optimizer.unwrap().moments().is_empty());
    }
    for weight in [0.0, -1.0, f32::INFINITY] {
        let mean = with_sums([0.75, -0.5], [0.125, weight]);
        assert_eq!(next(&half, &last, mean, 4), Err(OptimizeError::NoWeight));
    }
    // As it was before somebody told of the sums: a new beginning.
    let other = global(with_sums([1.0, 2.0], [0.0, 0.0]), None);
    assert!(Plan::of(Some(&half), Some(&other), 4).is_none());
}

#[test]
fn what_is_beyond_its_type_is_an_error() {
    let rate = LearningRate::constant(1e36).unwrap();
    let far = Optimizer::new(OptimizerKind::FedAvg, rate);
    let last = global(Model::F32(vec![0.0, 0.0, 0.0]), None);
    let mean = Model::F32(vec![1.0, 1000.0, 2000.0]);
    let error = OptimizeError::OutOfRange { index: 1 };
    for most in [1, 3] {
        assert_eq!(next(&far, &last, mean.clone(), most), Err(error));
    }
    // Also of what is remembered: the square of a difference.
    let adam = optimizer(OptimizerKind::FedAdam);
    let last = global(Model::F64(vec![0.0, 0.0]), None);
    let made = next(&adam, &last, Model::F64(vec![1.0, 1e200]), 1);
    assert_eq!(made, Err(error));
}

/// Without a model to go on from the mean is the next model; another optimiser's memory is no use, nor one of another length.
#[test]
fn what_cannot_be_gone_on_from_is_a_new_beginning() {
    let (adam, length) = (optimizer(OptimizerKind::FedAdam), LENGTH);
    let last = global(mean(DataType::F32, 0), None);
    assert!(Plan::of(None, Some(&last), length).is_none());
    assert!(Plan::of(Some(&adam), None, length).is_none());
    assert!(Plan::of(Some(&adam), Some(&last), length + 1).is_none());
    let beyond = GlobalModel { weights: None, ..last.clone() };
    assert!(Plan::of(Some(&adam), Some(&beyond), length).is_none());
    let after = next(&adam, &last, mean(DataType::F32, 1), 64).unwrap();
    let yogi = optimizer(OptimizerKind::FedYogi);
    let forgotten = GlobalModel { optimizer: None, ..after.clone() };
    for (of, steps) in [(&adam, 2), (&yogi, 1)] {
        let made = next(of, &after, mean(DataType::F32, 2), 64).unwrap();
        assert_eq!(made.optimizer.as_ref().unwrap().steps(), steps);
        let anew = next(of, &forgotten, mean(DataType::F32, 2), 64).unwrap();
        assert_eq!(made == anew, steps == 1);
    }
}

#[test]
fn damaged_memories_are_refused() {
    let (adam, last) = (optimizer(OptimizerKind::FedAdam), global(mean(DataType::F32, 0), None));
    let model = next(&adam, &last, mean(DataType::F32, 1), 64).unwrap();
    assert_eq!(model.to_bytes()[4..6], [2, 0]);
    assert_eq!(last.to_bytes()[4..6], [1, 0]);
    let mut state = (**model.optimizer.as_ref().unwrap()).clone();
    state.moments.pop();
    let damaged = GlobalModel { optimizer: Some(Arc::new(state.clone())), ..model.clone() };
    assert!(GlobalModel::from_bytes(&damaged.to_bytes()).is_err());
    state.moments.push(vec![0.0; 3]);
    let damaged = GlobalModel { optimizer: Some(Arc::new(state)), ..model.clone() };
    assert!(GlobalModel::from_bytes(&damaged.to_bytes()).is_err());
    let bytes = model.to_bytes();
    for length in (0..bytes.len()).step_by(101) {
        assert!(GlobalModel::from_bytes(&bytes[..length]).is_err());
    }
}
