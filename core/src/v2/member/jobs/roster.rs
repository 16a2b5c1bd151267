//! Reading the roster: the hash decides.

use std::sync::Arc;

use bytes::Bytes;

use super::{Outcome, Steps};
use crate::crypto::PublicSigningKey;
use crate::job::{JobKind, Progress, Work};
use crate::v2::member::Refusal;
use crate::v2::{MemberId, Pin, Roster};

/// Reads the roster, and looks who this member is in it. One step: it has 4 MB at most.
pub(in super::super) struct CheckRoster {
    pin: Pin,
    key: PublicSigningKey,
    steps: Steps<Bytes, (Arc<Roster>, MemberId)>,
}

impl CheckRoster {
    pub(in super::super) fn new(bytes: Bytes, pin: Pin, key: PublicSigningKey) -> Self {
        Self { pin, key, steps: Steps::Next(bytes) }
    }
}

impl Work<Outcome> for CheckRoster {
    fn kind(&self) -> JobKind {
        JobKind::CheckRoster
    }

    fn step(&mut self) -> bool {
        let Self { pin, key, steps } = self;
        steps.step(|bytes| {
            let roster = Roster::from_bytes(&bytes)
                .map_err(|source| Refusal::Malformed { what: "roster", source })?;
            pin.check_roster(&roster)?;
            let not_there = Refusal::NotInRoster { key: *key, roster: pin.roster };
            let member = roster.member(key).ok_or(not_there)?;
            Ok(Steps::Done(Ok((Arc::new(roster), member))))
        })
    }

    fn progress(&self) -> Progress {
        Progress { done: u64::from(matches!(self.steps, Steps::Done(_))), total: 1 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Roster(self.steps.finish())
    }
}
