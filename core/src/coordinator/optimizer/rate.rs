//! Learning rates: a number, or one for each step.

use std::fmt;
use std::str::FromStr;

/// The most spans: more than any schedule needs that is worth writing down.
const MOST_SPANS: usize = 10_000;

/// How far the steps of an optimiser go: rates for so many steps each; the last one holds from then on.
///
/// A table, not a formula: it says the same on every machine, whatever functions the schedule was made with.
///
/// ```
/// use pet_core::coordinator::LearningRate;
///
/// let rate: LearningRate = "0.05, 0.1*3, 0.01".parse().unwrap();
/// let rates: Vec<f64> = (0..6).map(|step| rate.at(step)).collect();
/// assert_eq!(rates, [0.05, 0.1, 0.1, 0.1, 0.01, 0.01]);
/// assert_eq!(rate.to_string(), "0.05, 0.1*3, 0.01");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LearningRate {
    /// Rates, and for how many steps. Not empty; of the last one the number means nothing.
    spans: Vec<(f64, u64)>,
}

/// Not a learning rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLearningRate {
    /// Something is no rate.
    #[error("{0:?} is no rate: that is a number, 0 or more, and *steps behind it if it holds for several steps")]
    NoRate(String),
    /// There is none, or there are too many.
    #[error("there are {0} rates, and a learning rate has 1 to {MOST_SPANS} of them")]
    Count(usize),
}

impl LearningRate {
    /// The same for all steps.
    ///
    /// # Errors
    /// If it is negative or not finite.
    pub fn constant(rate: f64) -> Result<Self, InvalidLearningRate> {
        Self::of_spans(vec![(rate, 1)])
    }

    /// These rates, for so many steps each; the last one from then on.
    ///
    /// # Errors
    /// If a rate is negative or not finite, one is for no step, or there are none or too many.
    pub fn of_spans(spans: Vec<(f64, u64)>) -> Result<Self, InvalidLearningRate> {
        if !(1..=MOST_SPANS).contains(&spans.len()) {
            return Err(InvalidLearningRate::Count(spans.len()));
        }
        let wrong =
            spans.iter().find(|(rate, steps)| !(rate.is_finite() && *rate >= 0.0 && *steps > 0));
        match wrong {
            Some((rate, steps)) => Err(InvalidLearningRate::NoRate(format!("{rate:?}*{steps}"))),
            None => Ok(Self { spans }),
        }
    }

    /// The rate of a step; the first one is step 0.
    pub fn at(&self, step: u64) -> f64 {
        let mut left = step;
        for (rate, steps) in &self.spans {
            match left.checked_sub(*steps) {
                Some(rest) => left = rest,
                None => return *rate,
            }
        }
        self.spans.last().map_or(0.0, |(rate, _)| *rate)
    }
}

impl fmt::Display for LearningRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (rate, steps)) in self.spans.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match steps {
                1 => write!(f, "{comma}{rate:?}")?,
                _ => write!(f, "{comma}{rate:?}*{steps}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for LearningRate {
    type Err = InvalidLearningRate;

    fn from_str(text: &str) -> Result<Self, InvalidLearningRate> {
        let span = |text: &str| {
            let text = text.trim();
            let (rate, steps) = text.split_once('*').unwrap_or((text, "1"));
            let span = rate.trim().parse().ok().zip(steps.trim().parse().ok());
            span.ok_or_else(|| InvalidLearningRate::NoRate(text.to_owned()))
        };
        // One too many is seen without reading the rest.
        let spans: Result<Vec<_>, _> = text.split(',').take(MOST_SPANS + 1).map(span).collect();
        Self::of_spans(spans?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in
            ["0.1", "0.0", "1e-7", "0.1*100, 0.01*2, 0.001", "0.1, 0.2, 0.30000000000000004"]
        {
            let rate: LearningRate = text.parse().unwrap();
            assert_eq!(rate.to_string(), text);
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
        assert_eq!("1".parse::<LearningRate>(), LearningRate::constant(1.0));
    }

    #[test]
    fn what_is_no_rate_is_named() {
        for text in
            ["", "-0.1", "nan", "inf", "0.1,", "0.1*0", "0.1*-1", "0.1*1.5", "x, 0.1", "1*2*3"]
        {
            let error = text.parse::<LearningRate>().unwrap_err();
            assert!(matches!(error, InvalidLearningRate::NoRate(_)), "{text}: {error}");
        }
        let many = vec!["1"; MOST_SPANS + 1].join(",");
        let error = InvalidLearningRate::Count(MOST_SPANS + 1);
        assert_eq!(many.parse::<LearningRate>(), Err(error));
        assert_eq!(LearningRate::of_spans(Vec::new()), Err(InvalidLearningRate::Count(0)));
    }

    #[test]
    fn the_last_rate_holds_for_ever() {
        let rate = LearningRate::of_spans(vec![(0.5, u64::MAX), (0.25, 1)]).unwrap();
        assert_eq!((rate.at(0), rate.at(u64::MAX - 1), rate.at(u64::MAX)), (0.5, 0.5, 0.25));
        assert_eq!(LearningRate::constant(0.5).unwrap().at(u64::MAX), 0.5);
    }
}
