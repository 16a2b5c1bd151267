//! Why a round has failed, told to the operator.

use pet_core::coordinator::{OptimizeError, RoundFailure};

use crate::key;

/// The reason, with the setting that has something to do with it.
pub(crate) fn in_words(failure: &RoundFailure) -> String {
    match failure {
        RoundFailure::LoneVote { .. } | RoundFailure::NoQuorum { .. } => {
            format!("{failure} ({})", key!(pet.sum2.quorum))
        }
        RoundFailure::Optimizer(OptimizeError::NoWeight) => {
            format!("{failure} ({})", key!(pet.optimizer.beside_model))
        }
        RoundFailure::Optimizer(OptimizeError::OutOfRange { .. }) => {
            format!("{failure} ({})", key!(pet.optimizer.learning_rate))
        }
        _ => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_named() {
        let failure = RoundFailure::NoQuorum { votes: 2, cast: 5, needed: 3 };
        assert_eq!(
            in_words(&failure),
            "the mask with the most votes has 2 of 5, and needs 3 (pet.sum2.quorum)"
        );
        for (error, setting) in [
            (OptimizeError::NoWeight, "(pet.optimizer.beside_model)"),
            (OptimizeError::OutOfRange { index: 0 }, "(pet.optimizer.learning_rate)"),
        ] {
            assert!(in_words(&RoundFailure::Optimizer(error)).ends_with(setting));
        }
        assert_eq!(in_words(&RoundFailure::NoMask), "no sum participant has sent a mask");
    }
}
