//! What is published, of a coordinator that runs somewhere else.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::context::RoundContext;
use super::machine::{context, Standing};
use super::{EndedRound, Front, GlobalModel, Large, Phase, Record, Recovery, RecoveryError};
use crate::crypto::{Digest, RootSeed};
use crate::snapshot::EnvelopeError;

/// Follows a coordinator by its records: it answers with the same bytes, opens the same messages, and can take its
/// place.
///
/// It is told the root seed, the latest global model if it is known, and the records since a round began, in order,
/// as they are stored. Whenever one of them changes what is published there is a new [`Front`].
///
/// Records may come without their [large](Record::large) pieces, but for global models: to publish, neither the
/// aggregate nor masks are needed. Whoever takes the coordinator's place needs them: [`Follower::missing`]
/// says which, [`Follower::supply`] takes them, and [`Follower::into_recovery`] gives what
/// [`Coordinator::resume`](super::Coordinator::resume) goes on from.
///
/// ```
/// use pet_core::coordinator::{Follower, LargePiece, Record, Recovery};
/// use pet_core::crypto::RootSeed;
/// # fn log() -> Vec<(Vec<u8>, Option<bytes::Bytes>)> { Vec::new() }
/// # fn fetch(piece: &LargePiece) -> bytes::Bytes { unreachable!() }
///
/// let mut follower = Follower::new(RootSeed::new([1; 32]), None);
/// for (small, model) in log() {
///     if let Some(front) = follower.apply(Record::from_bytes(&small, model)?)? {
///         // answer with this front from now on
///     }
/// }
/// // The lease is ours: get what was left out, and go on.
/// for piece in follower.missing() {
///     follower.supply(&piece, fetch(&piece))?;
/// }
/// let recovery: Recovery = follower.into_recovery()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Follower {
    recovery: Recovery,
    /// Nothing before the first record.
    context: Option<Arc<RoundContext>>,
    /// What to answer with before the first record.
    model: Option<GlobalModel>,
    /// The mask that is taken off.
    winner: Option<Digest>,
}

/// A large piece of a record that was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LargePiece {
    /// The aggregate: of the latest record that has one ([`Record::Updates`] or [`Record::Merged`]). Parts of shards
    /// are not in it: the coordinator that goes on asks for those itself, when it needs them.
    Aggregation,
    /// The mask with this hash: of the first [`Record::Sum2`] that tells of it.
    Mask(Digest),
}

/// Shows how far it is, and nothing that was collected.
impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("recovery", &self.recovery).finish_non_exhaustive()
    }
}

impl Follower {
    /// Follows the coordinator with this root seed, of which no record is known yet. The model is the latest one,
    /// if its record is not among those to come.
    pub fn new(root: RootSeed, model: Option<GlobalModel>) -> Self {
        let recovery = Recovery::new(root).with_model(model.clone()).without_large();
        Self { recovery, context: None, model, winner: None }
    }

    /// The round that the records are about; nothing before the first one.
    pub fn round_id(&self) -> Option<u64> {
        self.recovery.round_id()
    }

    /// The phase that the records lead to.
    pub fn phase(&self) -> Phase {
        self.recovery.phase()
    }

    /// How many messages the current phase has accepted.
    pub fn accepted(&self) -> u64 {
        self.recovery.accepted()
    }

    /// The round that the records are about, as if it were over; nothing before the first one.
    pub fn ended_round(&self) -> Option<EndedRound> {
        self.recovery.ended_round()
    }

    /// Takes the next record; gives a new front if it changes what is published. Takes as long as the record
    /// is, and what is needed no more is freed: not for an event loop. After an error the follower is unusable: follow
    /// anew, from the beginning of the round.
    ///
    /// # Errors
    /// If no coordinator could have put the record out.
    pub fn apply(&mut self, record: Record) -> Result<Option<Front>, RecoveryError> {
        let (begins_phase, has_model) = (record.begins_phase(), matches!(record, Record::Model(_)));
        if let Record::Sum2Ended { digest } = record {
            self.winner = Some(digest);
        }
        self.recovery.apply(record)?;
        if !begins_phase {
            return Ok(None);
        }
        if let Some(state) = self.recovery.state().filter(|_| !has_model) {
            // A round with its model published is over, but what it is published with is replaced by the next one.
            let new = context(state, Standing::InRound);
            let old = self.context.take();
            self.context = Some(Arc::new(match &old {
                Some(old) => new.after(old),
                None => new,
            }));
        }
        Ok(Some(self.front()))
    }

    /// What is published after the records so far.
    pub fn front(&self) -> Front {
        match (&self.context, self.recovery.state()) {
            (Some(context), Some(state)) => Front::of(context.clone(), state.model().cloned()),
            _ => Front::new().with_model(self.model.clone()),
        }
    }

    /// The large pieces that were left out and without which nobody can go on from here.
    pub fn missing(&self) -> Vec<LargePiece> {
        self.recovery
            .state()
            .map_or_else(Vec::new, |state| state.stage().lacks(self.winner, state.parts()))
    }

    /// Takes a [missing](Self::missing) piece, as [`Large::to_bytes`] has written it. Takes as long as it is.
    ///
    /// # Errors
    /// If it is something else, or damaged.
    pub fn supply(&mut self, piece: &LargePiece, bytes: Bytes) -> Result<(), SupplyError> {
        let large = match piece {
            LargePiece::Aggregation => Large::aggregation(&bytes)?,
            LargePiece::Mask(_) => Large::Mask(bytes),
        };
        Ok(self.recovery.supply(piece, large)?)
    }

    /// What the coordinator goes on from that takes the place of the one that was followed.
    ///
    /// # Errors
    /// If a large piece is [missing](Self::missing).
    pub fn into_recovery(self) -> Result<Recovery, RecoveryError> {
        match self.missing().first() {
            None => Ok(self.recovery.with_large()),
            Some(LargePiece::Aggregation) => Err(RecoveryError::WrongAggregate),
            Some(LargePiece::Mask(_)) => Err(RecoveryError::WrongMask),
        }
    }
}

/// Why a large piece is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SupplyError {
    /// The bytes cannot be read.
    #[error(transparent)]
    Bytes(#[from] EnvelopeError),
    /// It is not the one that the records tell of.
    #[error(transparent)]
    Piece(#[from] RecoveryError),
}
