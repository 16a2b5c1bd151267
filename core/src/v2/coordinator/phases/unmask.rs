//! The masks are taken off the sum of the updates.

use std::sync::Arc;

use super::agree::Agreed;
use super::{unexpected, Around, Masks, Stage};
use crate::crypto::Digest;
use crate::v2::coordinator::recovery::RecoveryError;
use crate::v2::coordinator::state::Round;
use crate::v2::coordinator::{Completed, Phase, Record};
use crate::v2::{Certificate, MaskDigests};

/// What a majority of every group has voted for, and signed the masks of.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::v2::coordinator) struct Unmask {
    agreed: Arc<Agreed>,
    masks: Arc<Masks>,
    /// The signed digests of the masks that are taken off, sorted by member.
    digests: Arc<MaskDigests>,
}

impl Unmask {
    pub(super) fn new(agreed: Arc<Agreed>, masks: Arc<Masks>, digests: MaskDigests) -> Self {
        Self { agreed, masks, digests: Arc::new(digests) }
    }

    pub(in crate::v2::coordinator) fn agreed(&self) -> &Arc<Agreed> {
        &self.agreed
    }

    pub(in crate::v2::coordinator) fn masks(&self) -> &Arc<Masks> {
        &self.masks
    }

    /// The mask of each group.
    pub(in crate::v2::coordinator) fn winners(&self) -> Vec<(u8, Digest)> {
        let all = self.digests.list().iter().map(|signed| (signed.member.group, signed.digest));
        let mut winners: Vec<_> = all.collect();
        winners.dedup();
        winners
    }

    /// What is published with the model.
    pub(in crate::v2::coordinator) fn certificate(&self, round: &Round) -> Certificate {
        Certificate {
            terms: (*round.terms).clone(),
            announcements: (*self.agreed.checked.entries.announcements).clone(),
            decision: self.agreed.decision,
            votes: self.agreed.votes(),
            masks: (*self.digests).clone(),
        }
    }

    pub(super) fn apply(
        self,
        record: &Record,
        around: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Completed(completed) => {
                if completed.certificate.terms.round != around.round.terms.round
                    || completed.certificate.decision != self.agreed.decision
                {
                    return Err(RecoveryError::WrongModel);
                }
                let old: Option<Arc<Completed>> = around.last.replace(completed.clone());
                around.garbage.add(old.as_ref().map_or(0, |old| old.bytes()), old);
                Ok(Stage::Idle)
            }
            _ => Err(unexpected(record, Phase::Unmask)),
        }
    }
}
