//! What an app is told.

use pet_participant::{Level, News, Notice};

use crate::error::ListenerError;

/// How important a line for a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum LogLevel {
    /// For those who are curious.
    Debug,
    /// What happens in every round.
    Info,
    /// Something that somebody should do something about.
    Warning,
    /// Something that was asked for does not happen.
    Error,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum Event {
    /// A round has begun.
    RoundBegun,
    /// The local model was masked.
    ModelMasked,
    /// It was sent.
    ModelSent,
    /// It was for the round before, and was dropped.
    ModelOutdated,
    /// The coordinator has rejected it.
    ModelRejected {
        /// It came too late, or when there were enough: what happens in any round.
        late: bool,
        /// Why, for people.
        reason: String,
    },
    /// The participant is out of the round.
    RoundGivenUp {
        /// Why, for people.
        reason: String,
    },
    /// A round has ended with a new global model.
    RoundEnded {
        /// Its number, as the coordinator counts.
        round: u64,
    },
    /// A round has failed.
    RoundFailed {
        /// Its number, as the coordinator counts.
        round: u64,
        /// Why, for people.
        reason: String,
    },
    /// The trainer has failed, or its model cannot be used.
    TrainerFailed {
        /// Why, for people.
        reason: String,
    },
    /// A line for a log.
    Log {
        /// How important it is.
        level: LogLevel,
        /// The line.
        text: String,
    },
}

/// Is told what happens, on a thread of the participant's, one event after the other. It should come back soon: the trainer
/// waits for it.
#[uniffi::export(foreign)]
pub trait Listener: Send + Sync {
    /// Something has happened. What it throws is dropped.
    fn on_event(&self, event: Event) -> Result<(), ListenerError>;
}

impl From<Notice> for Event {
    fn from(notice: Notice) -> Self {
        let level = match notice.level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warning => LogLevel::Warning,
            _ => LogLevel::Error,
        };
        Self::Log { level, text: notice.text }
    }
}

impl From<News> for Event {
    fn from(news: News) -> Self {
        match news {
            News::Round => Self::RoundBegun,
            News::Masked => Self::ModelMasked,
            News::Outdated => Self::ModelOutdated,
            News::Sent => Self::ModelSent,
            News::Rejected { late, why } => Self::ModelRejected { late, reason: why },
            News::GaveUp(reason) => Self::RoundGivenUp { reason },
            News::Over(over) => match over.failure {
                None => Self::RoundEnded { round: over.id },
                Some((name, why)) => {
                    Self::RoundFailed { round: over.id, reason: format!("{name}: {why}") }
                }
            },
            other => Self::Log { level: LogLevel::Info, text: format!("{other:?}") },
        }
    }
}
