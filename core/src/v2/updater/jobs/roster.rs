//! Reading the roster: the hash decides.

use std::sync::Arc;

use bytes::Bytes;

use super::{done, Done, Flaw, Outcome};
use crate::job::{JobKind, Progress, Work};
use crate::v2::{Pin, Roster};

/// Reads the roster. One step: it has 4 MB at most.
pub(in super::super) struct CheckRoster {
    bytes: Bytes,
    pin: Pin,
    roster: Option<Result<Arc<Roster>, Flaw>>,
}

impl CheckRoster {
    pub(in super::super) fn new(bytes: Bytes, pin: Pin) -> Self {
        Self { bytes, pin, roster: None }
    }

    fn check(&self) -> Result<Arc<Roster>, Flaw> {
        let roster = Roster::from_bytes(&self.bytes).map_err(Flaw::Malformed)?;
        self.pin.check_roster(&roster)?;
        Ok(Arc::new(roster))
    }
}

impl Work<Outcome> for CheckRoster {
    fn kind(&self) -> JobKind {
        JobKind::CheckRoster
    }

    fn step(&mut self) -> bool {
        if self.roster.is_none() {
            self.roster = Some(self.check());
        }
        true
    }

    fn progress(&self) -> Progress {
        Progress { done: self.roster.is_some().into(), total: 1 }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        self.step();
        let unread = || unreachable!("a step reads it");
        done(Done::Roster(self.roster.unwrap_or_else(unread)))
    }
}
