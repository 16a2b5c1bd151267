//! What rounds with noise cost: zero-concentrated differential privacy.
//!
//! A round whose noise has the multiplier z costs `rho = 1 / (2 z²)`, and costs add up, whoever else takes part: there is no credit
//! for sampling, as the server sees who does. One honest group's noise counts, and is enough. From rho and a delta follows an
//! [`epsilon`]: the conversion is that of Canonne, Kamath and Steinke (Proposition 12), as in PyPI's `dp-accounting`.
//!
//! A [`Ledger`] is kept by whoever has a budget to keep, and saved before the masked model leaves.

use serde::{Deserialize, Serialize};

/// A cost of 1, in the units of a ledger.
const UNIT: u64 = 1 << 40;

/// The epsilon that goes with a delta, for a cost of rho: the least that the conversion gives.
///
/// `rho·a + ln(1 - 1/a) - ln(delta·a)/(a - 1)` is one for every order `a` above 1; the best is searched. 0 for a rho of 0;
/// infinite where rho is not finite or delta is not between 0 and 1.
///
/// ```
/// use pet_mask::accounting::{epsilon, rho};
///
/// // A hundred rounds with z = 8.
/// assert!((epsilon(100.0 * rho(8000), 1e-5) - 6.1).abs() < 0.05);
/// ```
pub fn epsilon(rho: f64, delta: f64) -> f64 {
    if !(delta > 0.0 && delta < 1.0 && (0.0..f64::INFINITY).contains(&rho)) {
        return f64::INFINITY;
    }
    if rho == 0.0 {
        return 0.0;
    }
    let at = |log_excess: f64| {
        let excess = log_excess.exp();
        let order = 1.0 + excess;
        // ln(1 - 1/a) = ln(a - 1) - ln(a).
        let ln_order = excess.ln_1p();
        rho * order + (log_excess - ln_order) - (delta.ln() + ln_order) / excess
    };
    // Every order gives a bound that holds: to miss the best one would cost digits, not privacy. It is near
    // 1 + sqrt(ln(1/delta)/rho).
    let middle = ((-delta.ln()).sqrt() / rho.sqrt()).ln();
    let (mut low, mut high) = (middle - 6.0, middle + 6.0);
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    for _ in 0..100 {
        let width = golden * (high - low);
        let (left, right) = (high - width, low + width);
        if at(left) <= at(right) {
            high = right;
        } else {
            low = left;
        }
    }
    at((low + high) / 2.0).max(0.0)
}

/// What a round costs whose noise multiplier is so many thousandths: `1 / (2 z²)`. Infinite for 0, which is no noise.
pub fn rho(multiplier_thousandths: u32) -> f64 {
    match cost(multiplier_thousandths) {
        u64::MAX => f64::INFINITY,
        cost => cost as f64 / UNIT as f64,
    }
}

/// The same in units, rounded up; the most for no noise.
fn cost(multiplier_thousandths: u32) -> u64 {
    let square = u128::from(multiplier_thousandths).pow(2);
    let cost = (500_000 * u128::from(UNIT)).checked_div(square).map(|cost| {
        let exact = cost * square == 500_000 * u128::from(UNIT);
        cost + u128::from(!exact)
    });
    cost.and_then(|cost| u64::try_from(cost).ok()).unwrap_or(u64::MAX)
}

/// What was spent so far.
///
/// Costs are added up in whole units of 2^-40, each rounded up: the same everywhere, and never too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    spent: u64,
    rounds: u64,
}

/// One more round would spend more than the budget.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "the privacy budget is spent: with this round, number {rounds} at noise multiplier {}, epsilon would be {epsilon:.4} at delta \
     {delta:e}, and the budget is {budget}: take part in no more rounds, raise the budget, or wait for rounds with more noise",
    f64::from(*.multiplier_thousandths) / 1000.0
)]
#[non_exhaustive]
pub struct BudgetSpent {
    /// The round's noise multiplier in thousandths; 0 for a round without noise.
    pub multiplier_thousandths: u32,
    /// How many rounds there would be.
    pub rounds: u64,
    /// What would be spent with it.
    pub epsilon: f64,
    /// For this delta.
    pub delta: f64,
    /// What may be spent.
    pub budget: f64,
}

impl Ledger {
    /// Nothing is spent.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was spent, as rho; infinite if a round had no noise.
    pub fn rho(&self) -> f64 {
        match self.spent {
            u64::MAX => f64::INFINITY,
            spent => spent as f64 / UNIT as f64,
        }
    }

    /// In how many rounds.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// What was spent, as the epsilon of this delta.
    pub fn epsilon(&self, delta: f64) -> f64 {
        epsilon(self.rho(), delta)
    }

    /// Takes a round into account, with this noise multiplier; 0 is a round without noise, after which all is spent.
    pub fn charge(&mut self, multiplier_thousandths: u32) {
        self.spent = self.spent.saturating_add(cost(multiplier_thousandths));
        self.rounds = self.rounds.saturating_add(1);
    }

    /// Checks that one more round with this noise multiplier stays within a budget of `epsilon` at `delta`. To be asked before a
    /// round is charged.
    ///
    /// # Errors
    /// If it does not; or if the budget is none (not above 0, NaN, or a delta that is not between 0 and 1).
    pub fn check(
        &self,
        multiplier_thousandths: u32,
        epsilon: f64,
        delta: f64,
    ) -> Result<(), BudgetSpent> {
        let mut after = *self;
        after.charge(multiplier_thousandths);
        let needed = after.epsilon(delta);
        // (False for NaN.)
        if needed <= epsilon && epsilon.is_finite() {
            return Ok(());
        }
        Err(BudgetSpent {
            multiplier_thousandths,
            rounds: after.rounds,
            epsilon: needed,
            delta,
            budget: epsilon,
        })
    }

    /// How many more rounds with this noise multiplier the budget allows.
    pub fn rounds_left(&self, multiplier_thousandths: u32, epsilon: f64, delta: f64) -> u64 {
        let allows = |more: u64| {
            let spent =
                self.spent.saturating_add(cost(multiplier_thousandths).saturating_mul(more));
            let after = Ledger { spent, rounds: self.rounds };
            after.epsilon(delta) <= epsilon && epsilon.is_finite()
        };
        let (mut least, mut most) = (0, u64::MAX);
        while least < most {
            let middle = least + (most - least).div_ceil(2);
            if allows(middle) {
                least = middle;
            } else {
                most = middle - 1;
            }
        }
        least
    }

    /// The two numbers that are to be saved: units spent, and rounds.
    pub fn to_parts(self) -> (u64, u64) {
        (self.spent, self.rounds)
    }

    /// From what was saved.
    pub fn from_parts(spent: u64, rounds: u64) -> Self {
        Ledger { spent, rounds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What PyPI's dp-accounting 0.6.0 says: see mask/tests/accounting/table.py.
    #[test]
    fn epsilons_are_those_of_dp_accounting() {
        let mut rows = 0;
        for line in include_str!("../tests/accounting/zcdp.csv").lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let (multiplier, rounds): (u32, u64) =
                (fields[0].parse().unwrap(), fields[1].parse().unwrap());
            let (delta, expected): (f64, f64) =
                (fields[2].parse().unwrap(), fields[3].parse().unwrap());
            let mut ledger = Ledger::new();
            (0..rounds).for_each(|_| ledger.charge(multiplier));
            let found = ledger.epsilon(delta);
            assert!((found / expected - 1.0).abs() < 1e-6, "{line}: {found}");
            rows += 1;
        }
        assert_eq!(rows, 64);
    }

    #[test]
    fn a_hundred_rounds_cost_what_the_specification_says() {
        for (multiplier, expected, digits) in
            [(4000, 14.1, 0.05), (8000, 6.1, 0.05), (10_000, 4.73, 0.005), (16_000, 2.8, 0.05)]
        {
            let found = epsilon(100.0 * rho(multiplier), 1e-5);
            assert!((found - expected).abs() <= digits, "{multiplier}: {found}");
        }
    }

    proptest! {
        /// No order gives less.
        #[test]
        fn it_is_the_least_of_all_orders(log_rho in -14.0f64..6.0, log_delta in -30.0f64..-1.0, orders in prop::collection::vec(-6.0f64..14.0, 50)) {
            let (rho, delta) = (log_rho.exp(), log_delta.exp());
            let found = epsilon(rho, delta);
            for log_excess in orders {
                let order = 1.0 + log_excess.exp();
                let other = rho * order + (-1.0 / order).ln_1p() - (delta * order).ln() / (order - 1.0);
                prop_assert!(found <= other.max(0.0) + 1e-9 * other.abs(), "{} at {} against {}", found, order, other);
            }
            // More noise, or a larger delta, costs less.
            prop_assert!(epsilon(rho * 0.9, delta) <= found && epsilon(rho, delta * 1.1) <= found);
        }

        #[test]
        fn ledgers_never_count_too_little(multiplier in 1u32..100_000, rounds in 1u64..50) {
            let mut ledger = Ledger::new();
            (0..rounds).for_each(|_| ledger.charge(multiplier));
            let exact = rounds as f64 * 500_000.0 / f64::from(multiplier).powi(2);
            prop_assert!(ledger.rho() >= exact * (1.0 - 1e-15) && ledger.rho() <= exact + rounds as f64 * 2f64.powi(-40) + exact * 1e-15);
            prop_assert_eq!(ledger.rounds(), rounds);
            let bytes = bincode::serialize(&ledger).unwrap();
            prop_assert_eq!(bincode::deserialize::<Ledger>(&bytes).unwrap(), ledger);
            let (spent, of) = ledger.to_parts();
            prop_assert_eq!(Ledger::from_parts(spent, of), ledger);
        }

        #[test]
        fn as_many_rounds_are_left_as_pass_the_check(multiplier in 1000u32..30_000, budget in 0.5f64..20.0) {
            let mut ledger = Ledger::new();
            let left = ledger.rounds_left(multiplier, budget, 1e-5);
            let mut passed = 0;
            while passed < 500 && ledger.check(multiplier, budget, 1e-5).is_ok() {
                ledger.charge(multiplier);
                passed += 1;
            }
            prop_assert_eq!(left.min(500), passed);
            prop_assert_eq!(ledger.rounds_left(multiplier, budget, 1e-5), left - passed);
        }
    }

    #[test]
    fn a_spent_budget_says_what_it_is_about() {
        let mut ledger = Ledger::new();
        (0..100).for_each(|_| ledger.charge(4000));
        assert_eq!(ledger.check(4000, 15.0, 1e-5), Ok(()));
        let error = ledger.check(4000, 14.1, 1e-5).unwrap_err();
        assert_eq!((error.rounds, error.budget), (101, 14.1));
        assert_eq!(
            error.to_string(),
            "the privacy budget is spent: with this round, number 101 at noise multiplier 4, epsilon would be 14.2189 at delta \
             1e-5, and the budget is 14.1: take part in no more rounds, raise the budget, or wait for rounds with more noise"
        );
    }

    #[test]
    fn no_noise_and_no_budget_are_never_enough() {
        let ledger = Ledger::new();
        assert_eq!((ledger.epsilon(1e-5), rho(0)), (0.0, f64::INFINITY));
        assert!(ledger.check(0, 1e9, 1e-5).is_err());
        for (budget, delta) in [
            (f64::NAN, 1e-5),
            (0.0, 1e-5),
            (-1.0, 1e-5),
            (f64::INFINITY, 1e-5),
            (1.0, 0.0),
            (1.0, 1.0),
            (1.0, f64::NAN),
        ] {
            assert!(ledger.check(16_000, budget, delta).is_err(), "{budget} {delta}");
            assert_eq!(ledger.rounds_left(16_000, budget, delta).min(1), 0);
        }
        let mut bare = Ledger::new();
        bare.charge(0);
        assert_eq!((bare.rho(), bare.rounds_left(16_000, 1e9, 1e-5)), (f64::INFINITY, 0));
        bare.charge(u32::MAX);
        assert_eq!((bare.rho(), bare.rounds()), (f64::INFINITY, 2));
        // A round costs something however much noise it has.
        assert!(cost(u32::MAX) >= 1);
    }
}
