//! Violations: what must never happen, as values.

use std::mem::discriminant;
use std::time::Duration;

use pet_core::coordinator::Rejection;
use pet_core::crypto::PublicSigningKey;
use thiserror::Error;

use super::lies::Lie;
use crate::contract::Breach;

/// A rule of the protocol, or of this project, that a run has broken.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A global model is not the mean of the accepted updates.
    #[error("round {round}, weight {index}: {found} is not the mean of the {updates} accepted updates, {expected}")]
    WrongMean {
        /// The round's number.
        round: u64,
        /// Which weight.
        index: usize,
        /// How many updates were accepted.
        updates: usize,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A global model claims another number of updates than were accepted, or has another length.
    #[error("round {round}: the global model's {what} is {found} instead of {expected}")]
    WrongCount {
        /// The round's number.
        round: u64,
        /// Of what.
        what: &'static str,
        /// What it should be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A model was published for a round that is not known.
    #[error("a global model was published for an unknown round")]
    UnknownRound,
    /// A message was counted twice.
    #[error("a {what} message of {participant} was counted twice")]
    CountedTwice {
        /// Of what kind.
        what: &'static str,
        /// Whose.
        participant: PublicSigningKey,
    },
    /// An update was accepted that nobody has made.
    #[error("an update of {0} was accepted that nobody has made")]
    UnknownUpdate(PublicSigningKey),
    /// A mask seed was used for two different models.
    #[error("{0} has masked two different models with one mask seed")]
    SeedUsedTwice(PublicSigningKey),
    /// A message that its sender knows to be accepted is forgotten.
    #[error("the acknowledged {what} message of {participant} was lost")]
    LostAcknowledged {
        /// Of what kind.
        what: &'static str,
        /// Whose.
        participant: PublicSigningKey,
    },
    /// Something that was published has changed.
    #[error("round {round}: the published {what} have changed")]
    Republished {
        /// The round's number.
        round: u64,
        /// What.
        what: &'static str,
    },
    /// A published dictionary is not what was accepted.
    #[error("round {round}: the published {what} are not what was accepted")]
    WrongDictionary {
        /// The round's number.
        round: u64,
        /// What.
        what: &'static str,
    },
    /// A mask has won that does not have the most votes.
    #[error("round {0}: the mask that was taken off does not have the most votes")]
    WrongWinner(u64),
    /// Honest sum participants have added up different masks.
    #[error("round {0}: honest sum participants have sent different masks")]
    HonestMasksDiffer(u64),
    /// A lie was believed.
    #[error("a lie was accepted: {0:?}")]
    LieAccepted(Lie),
    /// An honest message was turned down for a reason that an honest message never gives.
    #[error("an honest message was rejected: {0}")]
    HonestRejected(Rejection),
    /// A machine waits for nothing.
    #[error("{who} waits ({why}), but nothing is under way that could wake it")]
    Stuck {
        /// Which machine.
        who: String,
        /// What it says it waits for.
        why: String,
    },
    /// A machine wants to be woken at a time that has passed.
    #[error("{who} wants to be woken at once, again and again")]
    Spinning {
        /// Which machine.
        who: String,
    },
    /// An input that the driver owes the machine was turned down.
    #[error("{who} has turned down {what}")]
    Refused {
        /// Which machine.
        who: String,
        /// Which input.
        what: String,
    },
    /// A driver has not kept its side of the [contract](crate::contract).
    #[error("the driver of {who} breaks the contract: {breach}")]
    Breach {
        /// Of which machine.
        who: String,
        /// What it has done.
        breach: Breach,
    },
    /// A message was answered twice, or never asked for.
    #[error("a message was answered that nobody waits for")]
    AnsweredTwice,
    /// More is kept of incomplete messages than allowed.
    #[error("{found} bytes are kept of incomplete messages, at most {limit} are allowed")]
    TooMuchMemory {
        /// How much.
        found: usize,
        /// How much is allowed.
        limit: usize,
    },
    /// More is to be stored than follows from the settings.
    #[error("{found} bytes of records are to be stored, at most {limit} follow from the settings")]
    TooMuchStored {
        /// How much.
        found: usize,
        /// How much is allowed.
        limit: usize,
    },
    /// More outputs wait than there are messages without an answer.
    #[error("{found} outputs wait for the store, at most {limit} can have a reason")]
    TooManyWaiting {
        /// How many.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Nothing has gone wrong for a long time, and yet no round is completed.
    #[error("for {0:?} nothing has gone wrong, and yet not enough rounds were completed")]
    NoRounds(Duration),
    /// A participant no longer takes part.
    #[error("{who} still is in a round that ended long ago")]
    LeftBehind {
        /// Which one.
        who: String,
    },
    /// A saved state could not be restored.
    #[error("{who} could not be restored: {error}")]
    NotRestored {
        /// Which machine.
        who: String,
        /// Why not.
        error: String,
    },
}

impl Violation {
    /// Whether both violations are of the same kind.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Breach { breach, .. }, Self::Breach { breach: other, .. }) => {
                discriminant(breach) == discriminant(other)
            }
            _ => discriminant(self) == discriminant(other),
        }
    }
}
