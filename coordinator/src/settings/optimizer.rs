//! `[pet.optimizer]`: what becomes of the mean of a round.

use pet_core::coordinator::{LearningRate, Optimizer, OptimizerKind, StepRule};

use crate::key;

/// The rate of the optimisers that jump to the mean, or beyond: McMahan et al., Hsu et al.
const WHOLE_STEP: f64 = 1.0;
/// The rate of those with a step size for each weight.
const ADAPTIVE: f64 = 0.1;

/// `[pet.optimizer]`: a step towards the mean of a round takes the mean's place. Rounds of version 1 only. Not among the old keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptimizerSettings {
    /// Which one. Default: none, the mean is the global model.
    pub kind: Option<OptimizerKind>,
    /// How far a step goes: a rate, or one for each step. Default: 1 of FedAvg and FedAvgM, 0.1 of the others.
    pub learning_rate: Option<LearningRate>,
    /// FedAvgM: how much of the velocity stays, at least 0 and below 1. Default: 0.9.
    pub momentum: Option<f64>,
    /// FedAdagrad, FedAdam, FedYogi: how much of the mean difference stays, at least 0 and below 1. Default: 0.9; of FedAdagrad 0.
    pub beta1: Option<f64>,
    /// FedAdam, FedYogi: how much of the mean square stays, at least 0 and below 1. Default: 0.99.
    pub beta2: Option<f64>,
    /// FedAdagrad, FedAdam, FedYogi: how adaptive the steps are, above 0; smaller is more. Default: 0.001.
    pub tau: Option<f64>,
    /// How many numbers at the end of each model are sums beside it, the last of them the updates' weight that all others are
    /// divided by: what `xaynet_sdk.WeightedMean.extra` says. Default: 0, all are weights. It stays when the kind changes, and
    /// without one it says nothing.
    pub beside_model: u64,
}

impl OptimizerSettings {
    /// The defaults of an optimiser.
    pub fn of(kind: OptimizerKind) -> Self {
        let (momentum, beta1, beta2, tau) = match StepRule::of(kind) {
            StepRule::FedAvgM { momentum } => (Some(momentum), None, None, None),
            StepRule::FedAdagrad { beta1, tau } => (None, Some(beta1), None, Some(tau)),
            StepRule::FedAdam { beta1, beta2, tau } | StepRule::FedYogi { beta1, beta2, tau } => {
                (None, Some(beta1), Some(beta2), Some(tau))
            }
            _ => (None, None, None, None),
        };
        let rate = match kind {
            OptimizerKind::FedAvg | OptimizerKind::FedAvgM => WHOLE_STEP,
            _ => ADAPTIVE,
        };
        let learning_rate = LearningRate::constant(rate).ok();
        Self { kind: Some(kind), learning_rate, momentum, beta1, beta2, tau, beside_model: 0 }
    }

    /// As core has it; what is not given has its default.
    pub(super) fn optimizer(&self) -> Option<Optimizer> {
        let given = self;
        let kind = given.kind?;
        let default = Self::of(kind);
        let rate = given.learning_rate.clone().or(default.learning_rate)?;
        let mut optimizer = Optimizer::new(kind, rate);
        optimizer.beside_model = given.beside_model;
        match &mut optimizer.rule {
            StepRule::FedAvgM { momentum } => *momentum = given.momentum.unwrap_or(*momentum),
            StepRule::FedAdagrad { beta1, tau } => {
                *beta1 = given.beta1.unwrap_or(*beta1);
                *tau = given.tau.unwrap_or(*tau);
            }
            StepRule::FedAdam { beta1, beta2, tau } | StepRule::FedYogi { beta1, beta2, tau } => {
                *beta1 = given.beta1.unwrap_or(*beta1);
                *beta2 = given.beta2.unwrap_or(*beta2);
                *tau = given.tau.unwrap_or(*tau);
            }
            _ => {}
        }
        Some(optimizer)
    }

    /// What is given without effect: key, value and rule.
    pub(super) fn check(&self) -> Vec<(&'static str, Option<String>, String)> {
        let number = |number: Option<f64>| number.map(|number| format!("{number:?}"));
        let rate = self.learning_rate.as_ref().map(ToString::to_string);
        let all = "FedAvg, FedAvgM, FedAdagrad, FedAdam or FedYogi";
        let adaptive = "FedAdagrad, FedAdam or FedYogi";
        let given = [
            (key!(pet.optimizer.learning_rate), rate, all),
            (key!(pet.optimizer.momentum), number(self.momentum), "FedAvgM"),
            (key!(pet.optimizer.beta1), number(self.beta1), adaptive),
            (key!(pet.optimizer.beta2), number(self.beta2), "FedAdam or FedYogi"),
            (key!(pet.optimizer.tau), number(self.tau), adaptive),
        ];
        let is_of = |kinds: &str| {
            let mut names = kinds.split([' ', ',']);
            self.kind.is_some_and(|kind| names.any(|name| name == kind.name()))
        };
        let useless = given.into_iter().filter(|(_, value, of)| value.is_some() && !is_of(of));
        let problem = |(key, value, of): (&'static str, Option<String>, &str)| {
            let rule = match self.kind {
                None => format!("needs {} = {of} as well", key!(pet.optimizer.kind)),
                Some(kind) => format!(
                    "is for {} = {of}, and it is {kind}: leave it out",
                    key!(pet.optimizer.kind)
                ),
            };
            (key, value, rule)
        };
        useless.map(problem).collect()
    }
}
