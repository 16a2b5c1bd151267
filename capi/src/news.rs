//! What became of local models and rounds, and lines for a log.

use std::ffi::{c_char, CString};

use pet_participant as running;

use crate::status::c_text;

/// What became of a local model, or of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum NewsKind {
    /// A round has begun.
    Round = 0,
    /// The local model was masked.
    Masked = 1,
    /// It was for the round before, and was dropped.
    Outdated = 2,
    /// It was sent.
    Sent = 3,
    /// The coordinator has rejected it, as it came too late, or as there were enough: what happens in any round.
    RejectedLate = 4,
    /// The coordinator has rejected it for another reason.
    Rejected = 5,
    /// The participant is out of the round.
    GaveUp = 6,
    /// A round has ended with a global model.
    Ended = 7,
    /// A round has failed.
    Failed = 8,
    /// Something that this version of the header has no name for.
    Other = 9,
}

/// How important a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum NoticeLevel {
    /// For those who are curious.
    Debug = 0,
    /// What happens in every round.
    Info = 1,
    /// Something that somebody should do something about.
    Warning = 2,
    /// Something that was asked for does not happen.
    Error = 3,
}

/// What became of a local model, or of a round. Its text is there until this thread asks for the next news or notice.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct News {
    /// A `pet_news_kind`.
    pub kind: u32,
    /// The round's number as the coordinator counts, of one that has ended or failed; otherwise 0.
    pub round: u64,
    /// Why, for people; empty if there is no more to say.
    pub text: *const c_char,
}

/// A line for a log. Its text is there until this thread asks for the next notice or news.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Notice {
    /// A `pet_notice_level`.
    pub level: u32,
    /// The line.
    pub text: *const c_char,
}

/// News of the driver, and the text that belongs to it.
pub(crate) fn news(news: running::News) -> (NewsKind, u64, CString) {
    use running::News as N;
    match news {
        N::Round => (NewsKind::Round, 0, CString::default()),
        N::Masked => (NewsKind::Masked, 0, CString::default()),
        N::Outdated => (NewsKind::Outdated, 0, CString::default()),
        N::Sent => (NewsKind::Sent, 0, CString::default()),
        N::Rejected { late: true, why } => (NewsKind::RejectedLate, 0, c_text(why)),
        N::Rejected { late: false, why } => (NewsKind::Rejected, 0, c_text(why)),
        N::GaveUp(why) => (NewsKind::GaveUp, 0, c_text(why)),
        N::Over(over) => match over.failure {
            None => (NewsKind::Ended, over.id, CString::default()),
            Some((name, why)) => (NewsKind::Failed, over.id, c_text(format!("{name}: {why}"))),
        },
        other => (NewsKind::Other, 0, c_text(format!("{other:?}"))),
    }
}

pub(crate) fn level(level: running::Level) -> NoticeLevel {
    match level {
        running::Level::Debug => NoticeLevel::Debug,
        running::Level::Info => NoticeLevel::Info,
        running::Level::Warning => NoticeLevel::Warning,
        _ => NoticeLevel::Error,
    }
}
