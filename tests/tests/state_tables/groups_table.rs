//! What the coordinator of version 2 does with each input in each state.

use super::enumeration::enumeration;

enumeration! {
    /// Where a coordinator of version 2 is.
    State {
        /// Announce phase: the group has no majority yet.
        Announce,
        /// Announce phase: a majority, the minimal time is not over.
        AnnounceEnough,
        /// Update phase: too few updates.
        Update,
        /// Update phase: too few updates, and one that is not complete.
        Uploading,
        /// Update phase: enough updates, the minimal time is not over.
        UpdateEnough,
        /// Check phase: no majority of reports yet.
        Check,
        /// Check phase: a majority, the minimal time is not over.
        CheckEnough,
        /// Check phase: it is over, and a job makes the decision.
        Deciding,
        /// Agree phase: no majority of votes yet.
        Agree,
        /// Agree phase: a majority, the minimal time is not over.
        AgreeEnough,
        /// Sum2 phase: no mask that a majority has signed is whole.
        Sum2,
        /// Sum2 phase: the mask is there, the minimal time is not over.
        Sum2Enough,
        /// Sum2 phase: it is over but for the updates, which the store reads back.
        Reading,
        /// Sum2 phase: it is over but for the updates, which a job adds up.
        Adding,
        /// Unmask phase: the store reads the mask back.
        ReadingMask,
        /// Unmask phase: a job takes the mask off.
        Unmasking,
        /// The round has failed, in the update phase here, and that is not stored yet: messages are still opened as
        /// before.
        Failed,
        /// The round is over, and the next one waits for the operator.
        Paused,
        /// It was stopped.
        Stopped,
    }
}

enumeration! {
    /// What can happen to it.
    Stimulus {
        /// Nothing; a moment passes.
        Tick,
        /// The phase's minimal time is over.
        MinTime,
        /// The phase's maximal time is over.
        MaxTime,
        /// The announcement of a member that was not heard of; if all were, the last one's again.
        Announcement,
        /// The first member's announcement, which it has sent before.
        AnnouncementAgain,
        /// The first member's announcement with other keys.
        AnnouncementOther,
        /// The header of an updater that was not heard of.
        Header,
        /// The first updater's header, which it has sent before.
        HeaderAgain,
        /// The first updater's header with another masked model.
        HeaderOther,
        /// The chunk of the update that is not complete, or of a stranger's.
        Chunk,
        /// The report of a member that has not reported; if all have, the last one's again.
        Report,
        /// The first member's report, which it has sent before.
        ReportAgain,
        /// Another report of the first member.
        ReportOther,
        /// The vote of a member that has not voted; if all have, the last one's again.
        Vote,
        /// The first member's vote, which it has sent before.
        VoteAgain,
        /// The first member's vote for another decision.
        VoteOther,
        /// The mask header of a member that has not sent any.
        Mask,
        /// The first member's mask header, which it has sent before.
        MaskAgain,
        /// The first member's header of another mask.
        MaskOther,
        /// The chunk of the first member's mask.
        MaskChunk,
        /// An announcement for the round before.
        OtherRound,
        /// A call that asks for something.
        NoMessage,
        /// The running job's result; if none is running, some job's.
        JobDone,
        /// The running job is lost; if none is running, some job.
        JobLost,
        /// The object that is read back; if none is, some other.
        Loaded,
        /// The store does not have the object that it is asked for.
        LoadedNothing,
        /// All records are stored.
        Persisted,
        /// The operator ends the round.
        Skip,
        /// The operator wants no further rounds for now.
        Pause,
        /// The operator wants rounds again.
        Resume,
        /// New settings for the next round.
        ChangeSettings,
        /// Settings that break a rule.
        BadSettings,
        /// The end.
        Stop,
    }
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Nothing comes out, nothing changes.
    Ignored,
    /// The message is accepted, and the machine is then here.
    Accepted(State),
    /// The message is there already: its sender is told that it is accepted.
    Known,
    /// The message is rejected with this label.
    Rejected(&'static str),
    /// `handle_input` gives this error.
    Refused(&'static str),
    /// The job, or the request to the store, is given out once more.
    GivenOutAgain,
    /// The machine goes on.
    Moves(State),
}

/// In which phase a state is, for messages: 0 to 5 from announce to unmask; none if the round is over.
pub fn phase(state: State) -> Option<u8> {
    use State::*;
    Some(match state {
        Announce | AnnounceEnough => 0,
        Update | Uploading | UpdateEnough => 1,
        Check | CheckEnough | Deciding => 2,
        Agree | AgreeEnough => 3,
        Sum2 | Sum2Enough | Reading | Adding => 4,
        ReadingMask | Unmasking => 5,
        Failed | Paused | Stopped => return None,
    })
}

/// The table.
pub fn expected(state: State, stimulus: Stimulus) -> Cell {
    use State::*;
    use Stimulus as S;
    const WRONG: Cell = Cell::Rejected("wrong_phase");
    if state == Stopped {
        return match stimulus {
            S::Persisted => Cell::Ignored,
            S::NoMessage => Cell::Rejected("wrong_method"),
            S::OtherRound
            | S::Announcement
            | S::AnnouncementAgain
            | S::AnnouncementOther
            | S::Header
            | S::HeaderAgain
            | S::HeaderOther
            | S::Chunk
            | S::Report
            | S::ReportAgain
            | S::ReportOther
            | S::Vote
            | S::VoteAgain
            | S::VoteOther
            | S::Mask
            | S::MaskAgain
            | S::MaskOther
            | S::MaskChunk => Cell::Rejected("stopped"),
            _ => Cell::Refused("stopped"),
        };
    }
    let at = phase(state);
    // Until the failure is stored messages are opened as before.
    if state == Failed {
        match stimulus {
            S::Announcement | S::AnnouncementAgain => return Cell::Known,
            S::AnnouncementOther => return Cell::Rejected("second_announcement"),
            _ => {}
        }
    }
    match stimulus {
        S::Tick => Cell::Ignored,
        S::Persisted => match state {
            Failed => Cell::Moves(Announce),
            _ => Cell::Ignored,
        },
        S::MinTime => match state {
            AnnounceEnough => Cell::Moves(Update),
            UpdateEnough => Cell::Moves(Check),
            CheckEnough => Cell::Moves(Deciding),
            AgreeEnough => Cell::Moves(Sum2),
            Sum2Enough => Cell::Moves(ReadingMask),
            _ => Cell::Ignored,
        },
        S::MaxTime => match state {
            Announce | Update | Uploading | Check | Agree | Sum2 => Cell::Moves(Failed),
            _ => expected(state, S::MinTime),
        },
        S::Announcement => match state {
            Announce => Cell::Accepted(AnnounceEnough),
            // All that can have announced themselves.
            AnnounceEnough => Cell::Accepted(Update),
            _ => known(at, 1),
        },
        S::AnnouncementAgain => known(at, 0),
        S::AnnouncementOther => other(at, 0, "second_announcement"),
        S::Header => match state {
            Update | Uploading | UpdateEnough => Cell::Accepted(match state {
                UpdateEnough => UpdateEnough,
                _ => Uploading,
            }),
            _ => WRONG,
        },
        S::HeaderAgain => known(at, 1),
        S::HeaderOther => other(at, 1, "second_statement"),
        S::Chunk => match state {
            Update | UpdateEnough => Cell::Rejected("unknown_upload"),
            Uploading => Cell::Accepted(UpdateEnough),
            _ => WRONG,
        },
        S::Report => match state {
            Check => Cell::Accepted(CheckEnough),
            CheckEnough => Cell::Accepted(Deciding),
            Deciding => Cell::Rejected("too_late"),
            _ => known(at, 3),
        },
        S::ReportAgain => known(at, 2),
        S::ReportOther => match state {
            Deciding => Cell::Rejected("too_late"),
            Check | CheckEnough => Cell::Rejected("second_report"),
            _ => WRONG,
        },
        S::Vote => match state {
            Agree => Cell::Accepted(AgreeEnough),
            AgreeEnough => Cell::Accepted(Sum2),
            _ => known(at, 4),
        },
        S::VoteAgain => known(at, 3),
        S::VoteOther => match state {
            Agree | AgreeEnough => Cell::Rejected("bad_signature"),
            _ => WRONG,
        },
        S::Mask => match state {
            Sum2 => Cell::Accepted(Sum2),
            Sum2Enough => Cell::Accepted(ReadingMask),
            Reading => Cell::Accepted(Reading),
            Adding => Cell::Accepted(Adding),
            _ => WRONG,
        },
        S::MaskAgain => known(at, 4),
        S::MaskOther => match at {
            Some(4) => Cell::Rejected("second_mask"),
            _ => WRONG,
        },
        S::MaskChunk => match state {
            Sum2 => Cell::Accepted(Sum2Enough),
            _ => known(at, 4),
        },
        S::OtherRound => Cell::Rejected("other_round"),
        S::NoMessage => Cell::Rejected("wrong_method"),
        S::JobDone => match state {
            Deciding => Cell::Moves(Agree),
            Adding => Cell::Moves(ReadingMask),
            Unmasking => Cell::Moves(Announce),
            _ => Cell::Refused("unknown job"),
        },
        S::JobLost => match state {
            Deciding | Adding | Unmasking => Cell::GivenOutAgain,
            _ => Cell::Refused("unknown job"),
        },
        S::Loaded => match state {
            Reading => Cell::Moves(Adding),
            ReadingMask => Cell::Moves(Unmasking),
            _ => Cell::Refused("unknown object"),
        },
        S::LoadedNothing => match state {
            Reading | ReadingMask => Cell::GivenOutAgain,
            _ => Cell::Refused("unknown object"),
        },
        S::Skip => match state {
            Failed | Paused => Cell::Refused("no round"),
            _ => Cell::Moves(Failed),
        },
        S::Resume => match state {
            Paused => Cell::Moves(Announce),
            _ => Cell::Ignored,
        },
        S::Pause | S::ChangeSettings => Cell::Ignored,
        S::BadSettings => Cell::Refused("invalid settings"),
        S::Stop => Cell::Moves(Stopped),
    }
}

/// A message that was sent in the phase with this number: known from then on, while the round goes on.
fn known(at: Option<u8>, sent_in: u8) -> Cell {
    match at {
        Some(at) if at >= sent_in => Cell::Known,
        _ => Cell::Rejected("wrong_phase"),
    }
}

/// A second one of which there may be one only.
fn other(at: Option<u8>, sent_in: u8, label: &'static str) -> Cell {
    match at {
        Some(at) if at >= sent_in => Cell::Rejected(label),
        _ => Cell::Rejected("wrong_phase"),
    }
}
