//! The round has failed. The next one begins when that is stored.

use serde::{Deserialize, Serialize};

use super::{Collected, Facts, NO_MESSAGES};
use crate::coordinator::PersistId;

pub(super) const FACTS: Facts = Facts { name: "failure", ..NO_MESSAGES };

/// Nothing is collected.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::coordinator) struct Failure {
    /// In snapshots: the record that has to be stored, as the saved machine numbered it; 0 if it is stored.
    pub(in crate::coordinator) record: PersistId,
}

impl Collected for Failure {}
