//! Checking the list of announcements.

use std::sync::Arc;

use bytes::Bytes;

use super::{Outcome, Setup, Steps, SIGNATURES_PER_STEP};
use crate::crypto::PublicSigningKey;
use crate::job::{JobKind, Progress, Work};
use crate::v2::member::Refusal;
use crate::v2::{Announcements, AnnouncementsHash};

/// Verifies every signature of the list, and looks for this member's own place.
pub(in super::super) struct CheckAnnouncements {
    setup: Setup,
    expected: Option<AnnouncementsHash>,
    /// The key that this member remembers to have announced that it votes with.
    vote_key: PublicSigningKey,
    steps: Steps<Stage, Arc<Announcements>>,
}

enum Stage {
    Read(Bytes),
    Verify(Announcements, usize),
}

impl CheckAnnouncements {
    pub(in super::super) fn new(
        setup: Setup,
        bytes: Bytes,
        expected: Option<AnnouncementsHash>,
        vote_key: PublicSigningKey,
    ) -> Self {
        Self { setup, expected, vote_key, steps: Steps::Next(Stage::Read(bytes)) }
    }
}

fn next(
    setup: &Setup,
    expected: Option<AnnouncementsHash>,
    vote_key: PublicSigningKey,
    stage: Stage,
) -> Result<Steps<Stage, Arc<Announcements>>, Refusal> {
    match stage {
        Stage::Read(bytes) => {
            let list = Announcements::from_bytes(&bytes)
                .map_err(|source| Refusal::Malformed { what: "list of announcements", source })?;
            let found = list.digest();
            match expected {
                Some(expected) if expected != found => {
                    Err(Refusal::OtherAnnouncements { expected, found })
                }
                _ => Ok(Steps::Next(Stage::Verify(list, 0))),
            }
        }
        Stage::Verify(list, from) => {
            let end = list.list().len().min(from + SIGNATURES_PER_STEP);
            for announcement in &list.list()[from..end] {
                announcement
                    .verify(&setup.roster, &setup.context)
                    .map_err(crate::v2::AnnouncementsError::from)?;
            }
            if end < list.list().len() {
                return Ok(Steps::Next(Stage::Verify(list, end)));
            }
            list.check_majorities(&setup.roster)?;
            let listed = list.get(setup.member).ok_or(Refusal::LeftOut)?;
            let is_own = listed.encrypt_key == setup.keys.public() && listed.vote_key == vote_key;
            // Its signature is valid, so this member has made it.
            if !is_own {
                return Err(Refusal::RolledBack { what: "announcement of", member: setup.member });
            }
            Ok(Steps::Done(Ok(Arc::new(list))))
        }
    }
}

impl Work<Outcome> for CheckAnnouncements {
    fn kind(&self) -> JobKind {
        JobKind::CheckAnnouncements
    }

    fn step(&mut self) -> bool {
        let Self { setup, expected, vote_key, steps } = self;
        steps.step(|stage| next(setup, *expected, *vote_key, stage))
    }

    fn progress(&self) -> Progress {
        match &self.steps {
            Steps::Next(Stage::Verify(list, done)) => {
                Progress { done: *done as u64, total: list.list().len() as u64 }
            }
            Steps::Done(_) => Progress { done: 1, total: 1 },
            _ => Progress { done: 0, total: 1 },
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Announcements(self.steps.finish())
    }
}
