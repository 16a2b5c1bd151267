//! An updater's long work: checking what others have signed, reading the global model, making an update.

mod certificate;
mod difference;
mod digest;
mod list;
mod mask;
mod model;
mod roster;

use std::sync::Arc;

pub(super) use certificate::{CheckCertificate, Checked};
pub(super) use list::CheckList;
pub(super) use mask::{MakeUpdate, Recipe};
pub(super) use model::ReadModel;
pub(super) use roster::CheckRoster;

use super::delivery::Delivery;
use super::Refusal;
use crate::crypto::Digest;
use crate::mask::MaskReport;
use crate::model::{CastError, Model};
use crate::participant::{ComposeError, FetchError, Outcome};
use crate::v2::{Announcements, AnnouncementsHash, DecodeError, ModelHash, Roster};

/// What an updater's job has done. Opaque: it is handed back to the machine.
pub struct UpdaterOutcome(Done);

pub(super) enum Done {
    Roster(Result<Arc<Roster>, Flaw>),
    List(Result<Arc<Announcements>, Flaw>),
    Certificate(Result<Checked, Flaw>),
    Model(Result<Read, FetchError>),
    Made(Box<Result<Made, ComposeError>>),
    /// Parts of making an update.
    Digests(Result<Vec<Digest>, CastError>),
    Leaves(Box<mask::Leaves>),
}

/// What is wrong with what the coordinator has given.
#[derive(Debug)]
pub(super) enum Flaw {
    /// It cannot be read.
    Malformed(DecodeError),
    /// It must not be relied on.
    Refused(Refusal),
}

impl<E: Into<Refusal>> From<E> for Flaw {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// A global model that was read.
pub(super) struct Read {
    pub(super) model: Arc<Model>,
    pub(super) hash: ModelHash,
}

/// An update that was made: a promise, as soon as the machine has it.
pub(super) struct Made {
    pub(super) delivery: Delivery,
    pub(super) list: AnnouncementsHash,
    pub(super) statement: Digest,
    pub(super) report: MaskReport,
}

impl UpdaterOutcome {
    pub(super) fn into_done(self) -> Done {
        self.0
    }

    fn into_digests(self) -> Option<Result<Vec<Digest>, CastError>> {
        match self.0 {
            Done::Digests(digests) => Some(digests),
            _ => None,
        }
    }

    fn into_leaves(self) -> Option<Box<mask::Leaves>> {
        match self.0 {
            Done::Leaves(leaves) => Some(leaves),
            _ => None,
        }
    }

    /// About how much memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            Done::Model(Ok(read)) => read.model.len() * 8,
            Done::Made(made) => made.as_ref().as_ref().map_or(0, |made| made.delivery.bytes()),
            _ => 0,
        }
    }
}

fn done(done: Done) -> Outcome {
    Outcome::V2(UpdaterOutcome(done))
}

fn made(result: Result<Made, ComposeError>) -> Outcome {
    done(Done::Made(Box::new(result)))
}
