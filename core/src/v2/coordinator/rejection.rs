//! Why messages are rejected.

use thiserror::Error;

use super::{Conflict, MessageKind, Phase};
use crate::crypto::PublicSigningKey;
use crate::problem::Problem;
use crate::v2::{
    AnnouncementError, Blame, DecodeError, InvalidCall, MaskDigestError, MemberId, ReportError,
    RoundTag, UpdateRefusal,
};

/// Why a message was not accepted. Nothing has changed by it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The request is no call that sends something.
    #[error(transparent)]
    Call(#[from] InvalidCall),
    /// It came before the first round.
    #[error("no round has begun yet")]
    NoRound,
    /// It was made for another round.
    #[error("the message is for the round {found}, and this is the round {current}")]
    OtherRound {
        /// What the request says.
        found: RoundTag,
        /// The round that goes on.
        current: RoundTag,
    },
    /// Messages of this kind are not taken now.
    #[error("{message} cannot be taken in the {phase} phase")]
    WrongPhase {
        /// What was sent.
        message: MessageKind,
        /// The phase it came in.
        phase: Phase,
    },
    /// It is longer than such a message can be.
    #[error("{message} has at most {most} bytes here, and this one has {actual}")]
    TooLong {
        /// What was sent.
        message: MessageKind,
        /// How long it may be.
        most: usize,
        /// How long it is.
        actual: usize,
    },
    /// It is not sealed for this round, or damaged.
    #[error("the update does not open with the key of this round: it is damaged, or was made for another round")]
    DoesNotOpen,
    /// It is not what it should be.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The member has not announced itself in this round.
    #[error("member {0} has not announced itself in this round")]
    NotAnnounced(MemberId),
    /// An announcement that nobody would take.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// A report that is not the member's.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A vote that is not signed with the key that the member has announced, or is for another decision.
    #[error(
        "the vote of member {0} is not signed with the key that it has announced, or is for another \
         decision than the one that is published"
    )]
    OtherVote(MemberId),
    /// A mask that nobody would take.
    #[error(transparent)]
    Mask(#[from] MaskDigestError),
    /// An update that no member would take.
    #[error(transparent)]
    Update(#[from] UpdateRefusal),
    /// A report accuses somebody who has not updated.
    #[error("member {member} accuses updater {updater}, who is not in this round")]
    NotAnUpdater {
        /// Who accuses.
        member: MemberId,
        /// Whom.
        updater: PublicSigningKey,
    },
    /// The member has accused more updaters than a member may: its report does not count. (Its vote and its mask do.)
    #[error("member {0} has accused too many updaters: its report does not count in this round")]
    Disregarded(MemberId),
    /// Something else of the sender that only one can be of is there.
    #[error("{}", conflict_text(.0))]
    Conflict(Conflict),
    /// The phase is over, and what came in time is being decided on.
    #[error("the {0} phase is over: what came in time is being decided on")]
    TooLate(Phase),
    /// No header of this updater is there: it has to come first, or again.
    #[error("there is no header of an update of {0}, or it has given way to others: send it (again) first")]
    UnknownUpload(PublicSigningKey),
    /// No header of this member's mask is there: it has to come first.
    #[error("there is no mask header of member {0}: send it first")]
    UnknownMask(MemberId),
    /// There is no such chunk.
    #[error("there is no chunk {index}: the chunks are 0 to {last}")]
    NoSuchChunk {
        /// What was sent.
        index: u32,
        /// The last one.
        last: u32,
    },
    /// The chunk is not the one that the header has the hash of.
    #[error("chunk {0} is not the one that the header has the hash of: it is damaged, or of another upload")]
    OtherChunk(u32),
    /// The object is not of this round's config or length.
    #[error("the object is not of the round's mask config and model length")]
    OtherShape,
    /// The mask is not needed: another member with the same digest is asked, or all of it is there.
    #[error("the mask of member {0} is not needed now")]
    NotNeeded(MemberId),
    /// The updater has sealed its upload anew too often.
    #[error(
        "updater {0} has sent the header of its update too often: its chunks do not get through"
    )]
    TooManyHeaders(PublicSigningKey),
    /// The phase has enough messages.
    #[error("this round has as many updates as it may")]
    Full,
    /// There is no room for another upload now.
    #[error("too many uploads are under way: send the update again a little later")]
    NoRoom,
    /// There is no room for the headers of more updates in this round.
    #[error("this round has no room for another update's header")]
    NoRoomForHeaders,
    /// Too much waits for the store already. Nothing is wrong with the message.
    #[error("too much waits to be stored: send the message again a little later")]
    StoreBehind,
    /// The coordinator takes no more messages.
    #[error("the coordinator is stopping: send the message again later")]
    Stopped,
}

fn conflict_text(conflict: &Conflict) -> String {
    match conflict {
        Conflict::Announcement(member) => format!(
            "member {member} has announced other keys for this round before: it takes no part in this \
             round's vote (was it started anew, or does it run twice?)"
        ),
        Conflict::Statement(updater) => format!(
            "updater {updater} has signed another statement in this round before: does it run twice?"
        ),
        Conflict::Report(member) => format!("member {member} has sent another report before"),
        Conflict::Mask(member) => {
            format!("member {member} has signed another mask of this round before")
        }
    }
}

impl Rejection {
    /// A short, stable name of the reason, for counting and for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Call(InvalidCall::UnknownPath) => "unknown_call",
            Self::Call(InvalidCall::Method { .. }) => "wrong_method",
            Self::Call(_) => "bad_query",
            Self::NoRound => "no_round",
            Self::OtherRound { .. } => "other_round",
            Self::WrongPhase { .. } => "wrong_phase",
            Self::TooLong { .. } => "too_long",
            Self::DoesNotOpen => "not_authentic",
            Self::Malformed(DecodeError::UnknownVersion { .. }) => "unknown_version",
            Self::Malformed(_) => "malformed",
            Self::NotAnnounced(_) => "not_announced",
            Self::Announcement(AnnouncementError::NotInRoster(_))
            | Self::Report(ReportError::NotInRoster(_))
            | Self::Mask(MaskDigestError::NotInRoster(_)) => "unknown_member",
            Self::Announcement(AnnouncementError::WeakKey(_)) => "weak_key",
            Self::Announcement(_) | Self::Report(_) | Self::OtherVote(_) => "bad_signature",
            Self::Mask(MaskDigestError::Length { .. }) => "other_shape",
            Self::Mask(_) => "bad_signature",
            Self::Update(UpdateRefusal::Admission(_)) => "not_admitted",
            Self::Update(UpdateRefusal::Statement { .. }) => "bad_signature",
            Self::Update(_) => "other_shape",
            Self::NotAnUpdater { .. } => "not_an_updater",
            Self::Disregarded(_) => "disregarded",
            Self::Conflict(Conflict::Announcement(_)) => "second_announcement",
            Self::Conflict(Conflict::Statement(_)) => "second_statement",
            Self::Conflict(Conflict::Report(_)) => "second_report",
            Self::Conflict(Conflict::Mask(_)) => "second_mask",
            Self::TooLate(_) => "too_late",
            Self::UnknownUpload(_) => "unknown_upload",
            Self::UnknownMask(_) => "unknown_mask",
            Self::NoSuchChunk { .. } => "no_such_chunk",
            Self::OtherChunk(_) => "other_chunk",
            Self::OtherShape => "other_shape",
            Self::NotNeeded(_) => "not_needed",
            Self::TooManyHeaders(_) => "too_many_headers",
            Self::Full => "full",
            Self::NoRoom => "no_room",
            Self::NoRoomForHeaders => "no_room_for_headers",
            Self::StoreBehind => "store_behind",
            Self::Stopped => "stopped",
        }
    }

    /// Who has to do something about it. Nobody where it is a matter of time.
    pub fn blame(&self) -> Option<Blame> {
        Some(match self {
            Self::NotAnnounced(member)
            | Self::OtherVote(member)
            | Self::NotAnUpdater { member, .. }
            | Self::Disregarded(member)
            | Self::UnknownMask(member)
            | Self::Conflict(
                Conflict::Announcement(member) | Conflict::Report(member) | Conflict::Mask(member),
            ) => Blame::Member(*member),
            Self::Announcement(AnnouncementError::WeakKey(member))
            | Self::Mask(MaskDigestError::Length { member, .. }) => Blame::Member(*member),
            Self::Update(refusal) => refusal.blame(),
            Self::Conflict(Conflict::Statement(updater)) | Self::TooManyHeaders(updater) => {
                Blame::Updater(*updater)
            }
            Self::StoreBehind | Self::NoRoom | Self::NoRoomForHeaders => Blame::Coordinator,
            _ => return None,
        })
    }

    /// The problem that the sender is told, with the number of the round.
    pub fn problem(&self, round: Option<u64>) -> Problem {
        let (status, title) = match self {
            Self::Call(InvalidCall::UnknownPath) => (404, "There is no such call"),
            Self::Call(InvalidCall::Method { .. }) => (405, "The method is another one"),
            Self::Call(_) | Self::Malformed(_) | Self::DoesNotOpen => {
                (400, "The message is malformed or not authentic")
            }
            Self::TooLong { .. } => (413, "The message is too long"),
            Self::NoRound => (503, "There is no round yet"),
            Self::OtherRound { .. } => (409, "The message is for another round"),
            Self::WrongPhase { .. } | Self::TooLate(_) => {
                (409, "The message comes too late or too early")
            }
            Self::Announcement(AnnouncementError::WeakKey(_))
            | Self::Mask(MaskDigestError::Length { .. }) => {
                (422, "The message does not fit the round")
            }
            Self::NotAnnounced(_)
            | Self::Announcement(_)
            | Self::Report(_)
            | Self::OtherVote(_)
            | Self::Mask(_) => (403, "The member is not one that may send this"),
            Self::Update(_) => (403, "The update is refused"),
            Self::NotAnUpdater { .. }
            | Self::NoSuchChunk { .. }
            | Self::OtherChunk(_)
            | Self::OtherShape => (422, "The message does not fit the round"),
            Self::Disregarded(_) => (403, "The member's report is disregarded in this round"),
            Self::Conflict(_) => (409, "Another message of the sender is there"),
            Self::UnknownUpload(_) | Self::UnknownMask(_) => (409, "The header has to come first"),
            Self::NotNeeded(_) => (409, "The mask is not needed now"),
            Self::TooManyHeaders(_) => (403, "The header came too often"),
            Self::Full | Self::NoRoomForHeaders => (409, "The round has enough updates"),
            Self::NoRoom => (503, "There is no room now"),
            Self::StoreBehind => (503, "The store is behind"),
            Self::Stopped => (503, "The coordinator is stopping"),
        };
        let problem = Problem::new(self.label(), status, title, self.to_string());
        Problem { round, ..problem }
    }
}
