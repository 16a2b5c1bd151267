//! Why a round has failed, told to the operator.

use pet_core::coordinator::RoundFailure;

use crate::key;

/// The reason, with the setting that has something to do with it.
pub(crate) fn in_words(failure: &RoundFailure) -> String {
    match failure {
        RoundFailure::LoneVote { .. } | RoundFailure::NoQuorum { .. } => {
            format!("{failure} ({})", key!(pet.sum2.quorum))
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
        assert_eq!(in_words(&RoundFailure::NoMask), "no sum participant has sent a mask");
    }
}
