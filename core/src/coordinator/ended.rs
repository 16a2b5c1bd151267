//! A round that is over, with nothing kept of it: what a coordinator goes on from in another place.

use std::sync::Arc;

use super::state::round_keys;
use super::Record;
use crate::crypto::RootSeed;
use crate::round::RoundParameters;

/// A round that is over, however it went. The next one follows from it: that is all that it takes to go on in another place, or
/// from a backup. Nothing in it is secret.
///
/// ```
/// use pet_core::coordinator::{EndedRound, Recovery};
/// use pet_core::crypto::RootSeed;
/// # fn random() -> RootSeed { RootSeed::new([2; 32]) }
///
/// fn from_a_backup(mut round: EndedRound, last_seen: u64) -> Result<Recovery, pet_core::coordinator::RecoveryError> {
///     // Later rounds than the backup knows may have been seen: their keys must never be used again.
///     let root = random();
///     round.round_id = round.round_id.max(last_seen);
///     let mut recovery = Recovery::new(root.clone());
///     round.records(&root).into_iter().try_for_each(|record| recovery.apply(record))?;
///     Ok(recovery)
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EndedRound {
    /// The round's number.
    pub round_id: u64,
    /// Its parameters.
    pub parameters: Arc<RoundParameters>,
}

impl EndedRound {
    /// The records of a coordinator with this root seed for which the round has just ended without a model: its next round has
    /// the next number, and keys that follow from the root seed.
    ///
    /// With the root seed that the round has had these are its keys; with another one no keys are as they were.
    pub fn records(&self, root: &RootSeed) -> [Record; 2] {
        let keys = round_keys(root, self.round_id);
        let parameters = RoundParameters { pk: keys.public(), ..(*self.parameters).clone() };
        let began = Record::RoundBegan {
            round_id: self.round_id,
            parameters: Arc::new(parameters),
            secret: keys.secret().clone(),
        };
        [began, Record::RoundFailed { round_id: self.round_id }]
    }
}
