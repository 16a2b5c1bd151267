//! What a member does with everything but a look: time, answers, jobs, confirmations.

use super::super::enumeration::enumeration;
use super::looks::{looked, Shown};
use super::Then::{Checks, Gets, Looks, Nothing, Posts, Refused, Stops, Stores, Waits};
use super::{gets, says, then, Cell, Doing, Stage, State};

enumeration! {
    /// What can happen to it.
    Stimulus {
        /// Nothing; no time passes.
        Tick,
        /// Five seconds pass: the pauses here are shorter.
        Later,
        /// Eight days pass.
        Days,
        /// The right answer; to a look, the round in the phase that this stage comes in.
        Good,
        /// Status 204.
        NoContent,
        /// Status 200 with nonsense.
        Nonsense,
        /// Status 404.
        NotFound,
        /// Status 500.
        ServerError,
        /// Status 503 with a `Retry-After`.
        Busy,
        /// Status 413.
        TooLong,
        /// Status 409 with a problem document: the message comes in the wrong phase.
        Rejected,
        /// The same: the message was accepted before.
        Duplicate,
        /// No answer.
        Fault,
        /// An answer to a request of before.
        StaleAnswer,
        /// The running job's result; if none is running, some job's.
        JobDone,
        /// The result of another member's job.
        JobForeign,
        /// The result of a job that was lost and given out again; if none was, some job's.
        JobStale,
        /// The running job is lost; if none is running, some job.
        JobLost,
        /// The same for the fifth time in a row.
        JobLostAgain,
        /// Whoever runs the job drops it.
        JobDropped,
        /// A job that is not waited for any more is lost.
        JobLostLate,
        /// The state is stored.
        Persisted,
        /// Another state is said to be stored.
        PersistedOther,
        /// The end.
        Stop,
        /// A crash; what was stored last is restored, and has looked at the round and got the roster.
        Restore,
    }
}

/// The table. The compiler sees to it that nothing is left out.
pub fn expected(state: State, stimulus: Stimulus) -> Cell {
    match state {
        State::At(stage, doing) => expected_at(stage, doing, stimulus),
        State::Stopped if stimulus == Stimulus::Restore => restored(Stage::Announced, Doing::Look),
        State::Stopped => then(Refused("stopped")),
    }
}

#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
fn expected_at(stage: Stage, doing: Doing, stimulus: Stimulus) -> Cell {
    use Doing as D;
    use Stage as S;
    use Stimulus as I;
    let unknown_request = then(Refused("unknown request"));
    let unknown_job = then(Refused("unknown job"));
    let trouble = says(
        "Trouble",
        // It has never heard of its coordinator.
        Waits(stage, if (stage, doing) == (S::First, D::Look) { "coordinator" } else { "answer" }),
    );
    match stimulus {
        I::Tick => then(Nothing),
        I::Later => match doing {
            D::Pause => then(Looks(stage)),
            D::Look | D::Get | D::Job | D::Post | D::Store => then(Nothing),
        },
        I::Days => match doing {
            D::Pause if matches!(stage, S::First | S::Idle) => then(Looks(stage)),
            D::Pause => says("refuses: outlived, RoundOver", Stores(S::Over)),
            D::Look | D::Get | D::Job | D::Post | D::Store => then(Nothing),
        },
        I::Good => match doing {
            D::Look => looked(stage, comes_in(stage)),
            D::Get => then(Checks(stage, gets(stage).unwrap_or_default())),
            D::Post => delivered(stage),
            D::Pause | D::Job | D::Store => unknown_request,
        },
        I::Nonsense => match doing {
            D::Look => trouble,
            // It takes a job to see that.
            D::Get => then(Checks(stage, gets(stage).unwrap_or_default())),
            // What is answered to a message does not matter.
            D::Post => delivered(stage),
            D::Pause | D::Job | D::Store => unknown_request,
        },
        I::NoContent => match doing {
            D::Look | D::Get => trouble,
            D::Post => delivered(stage),
            D::Pause | D::Job | D::Store => unknown_request,
        },
        I::NotFound | I::ServerError | I::Busy | I::TooLong | I::Fault => match doing {
            D::Look | D::Get | D::Post => trouble,
            D::Pause | D::Job | D::Store => unknown_request,
        },
        I::Rejected => match doing {
            // What is told about messages means nothing there.
            D::Look | D::Get => trouble,
            // It is not sent again; what comes next may be good nonetheless.
            D::Post => says("Rejected", Waits(after(stage), "answer")),
            D::Pause | D::Job | D::Store => unknown_request,
        },
        I::Duplicate => match doing {
            D::Look | D::Get => trouble,
            D::Post => delivered(stage),
            D::Pause | D::Job | D::Store => unknown_request,
        },
        I::StaleAnswer => unknown_request,
        I::JobDone => match doing {
            D::Job => done(stage),
            D::Look | D::Pause | D::Get | D::Post | D::Store => unknown_job,
        },
        I::JobForeign | I::JobStale => unknown_job,
        I::JobLost => match doing {
            D::Job => lost(stage),
            D::Look | D::Pause | D::Get | D::Post | D::Store => unknown_job,
        },
        I::JobLostAgain => match doing {
            // There is no round yet that it could sit out.
            D::Job if stage == S::First => says("refuses: job_lost", Waits(S::First, "round")),
            D::Job => says("refuses: job_lost", Waits(S::Out, "sits_out")),
            D::Look | D::Pause | D::Get | D::Post | D::Store => unknown_job,
        },
        I::JobDropped => match doing {
            D::Job => lost(stage),
            D::Look | D::Pause | D::Get | D::Post | D::Store => then(Nothing),
        },
        I::JobLostLate => then(Nothing),
        I::Persisted => match doing {
            D::Store => stored(stage),
            D::Look | D::Pause | D::Get | D::Job | D::Post => then(Refused("unknown state")),
        },
        I::PersistedOther => then(Refused("unknown state")),
        I::Stop => then(Stops),
        I::Restore => restored(stage, doing),
    }
}

/// The phase that a stage is in as a rule.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn comes_in(stage: Stage) -> Shown {
    use Stage as S;
    match stage {
        S::First | S::Idle | S::Promised | S::Announced => Shown::Announce,
        S::Restarted | S::Out => Shown::Update,
        S::Listed | S::Checked => Shown::Check,
        S::Reported | S::Agreed | S::Pledged | S::Voted => Shown::Agree,
        S::Voteless | S::Certified | S::Summed | S::Signed | S::Sent => Shown::Sum2,
        S::Over => Shown::Failed,
    }
}

/// After something is delivered.
fn after(stage: Stage) -> Stage {
    match stage {
        Stage::Promised => Stage::Announced,
        Stage::Checked => Stage::Reported,
        Stage::Pledged => Stage::Voted,
        Stage::Summed => Stage::Signed,
        _ => Stage::Sent,
    }
}

/// What was posted is delivered.
fn delivered(stage: Stage) -> Cell {
    match stage {
        Stage::Promised => says("Announced", Waits(Stage::Announced, "announcements")),
        Stage::Checked => says("Reported", Waits(Stage::Reported, "reports")),
        Stage::Pledged => says("Voted", Waits(Stage::Voted, "votes")),
        Stage::Summed => says("MaskSent", Posts(Stage::Signed, "mask_chunk")),
        _ => says("Progress", Waits(Stage::Sent, "masks")),
    }
}

/// The job has found that all is well.
fn done(stage: Stage) -> Cell {
    use Stage as S;
    match stage {
        S::First => says("Roster", Stores(S::Promised)),
        S::Promised | S::Announced | S::Restarted => {
            says("Announcements", Waits(S::Listed, "updates"))
        }
        S::Listed => then(Posts(S::Checked, "report")),
        S::Checked | S::Reported => then(Stores(S::Agreed)),
        S::Certified => then(Posts(S::Summed, "mask")),
        _ => says("Certified", Checks(S::Certified, "mask")),
    }
}

/// The job is lost: what it worked on is got again.
fn lost(stage: Stage) -> Cell {
    match gets(stage) {
        Some(what) => then(Gets(stage, what)),
        None => then(Checks(stage, "mask")),
    }
}

/// The state is stored.
fn stored(stage: Stage) -> Cell {
    match stage {
        Stage::Promised => then(Posts(Stage::Promised, "announcement")),
        Stage::Agreed => then(Posts(Stage::Pledged, "vote")),
        _ => then(Waits(Stage::Idle, "round")),
    }
}

/// After a crash: it sits out what was opened before its start, and has no vote where it has announced itself.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
fn restored(stage: Stage, doing: Doing) -> Cell {
    use Stage as S;
    // It may have voted already, and need not be told.
    let voted = then(Gets(S::Restarted, "announcements"));
    match stage {
        S::First | S::Idle => says("refuses: opened_before", Waits(S::Idle, "round")),
        S::Promised | S::Announced => {
            says("refuses: restarted", Waits(S::Restarted, "announcements"))
        }
        S::Agreed if doing == Doing::Store => voted,
        S::Restarted | S::Listed | S::Checked | S::Reported | S::Agreed | S::Voteless | S::Out => {
            says("refuses: restarted", voted.then)
        }
        S::Pledged | S::Voted | S::Certified | S::Summed | S::Signed | S::Sent => voted,
        S::Over => says("RoundFailed", Waits(S::First, "round")),
    }
}

enumeration! {
    /// What is wrong with what a member has got.
    Flaw {
        /// The roster cannot be read.
        RosterNonsense,
        /// The roster is not the pinned one.
        RosterOther,
        /// This member is in no group of the pinned roster.
        RosterWithoutMe,
        /// The list of announcements cannot be read.
        ListNonsense,
        /// The list is not the one that the round names.
        ListOther,
        /// An announcement has another's signature.
        ListForged,
        /// The group has no majority.
        ListNoMajority,
        /// This member's announcement is not in the list.
        ListWithoutMe,
        /// This member's announcement has its signature, and other keys than it remembers.
        ListNotMine,
        /// The updates cannot be read.
        EntriesNonsense,
        /// The updates are of another round.
        EntriesOtherRound,
        /// There are more updates than the settings allow.
        EntriesTooMany,
        /// There are fewer updates than the list says.
        EntriesBreakOff,
        /// The list of updates does not begin where it should.
        EntriesElsewhere,
        /// A box does not open.
        EntriesBadBox,
        /// A box holds another seed than the statement commits to.
        EntriesCopiedBox,
        /// A statement has another's signature.
        EntriesForged,
        /// An updater is not admitted.
        EntriesNotAdmitted,
        /// No box opens.
        EntriesAllBad,
        /// The set cannot be read.
        SetNonsense,
        /// The set's decision is not the one that the round names.
        SetOther,
        /// The decision does not follow from the updates.
        SetMadeUp,
        /// The set excludes somebody who has sent nothing.
        SetStranger,
        /// The set is of fewer updates than the pin asks for.
        SetTooFew,
        /// An update is in the set that this member has found to be bad.
        SetBadUpdate,
        /// A second decision, which follows from the updates, after this member has voted.
        SetSecond,
        /// The votes cannot be read.
        VotesNonsense,
        /// A vote is for another decision.
        VotesForged,
        /// The group has no majority of votes.
        VotesNoMajority,
        /// There is this member's vote, and it has not voted.
        VotesNotMine,
    }
}

impl Flaw {
    /// Where it shows.
    #[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
    pub fn stage(self) -> Stage {
        use Flaw as F;
        match self {
            F::RosterNonsense | F::RosterOther | F::RosterWithoutMe => Stage::First,
            F::ListNonsense
            | F::ListOther
            | F::ListForged
            | F::ListNoMajority
            | F::ListWithoutMe
            | F::ListNotMine => Stage::Announced,
            F::EntriesNonsense
            | F::EntriesOtherRound
            | F::EntriesTooMany
            | F::EntriesBreakOff
            | F::EntriesElsewhere
            | F::EntriesBadBox
            | F::EntriesCopiedBox
            | F::EntriesForged
            | F::EntriesNotAdmitted
            | F::EntriesAllBad => Stage::Listed,
            F::SetNonsense
            | F::SetOther
            | F::SetMadeUp
            | F::SetStranger
            | F::SetTooFew
            | F::SetBadUpdate => Stage::Reported,
            F::SetSecond => Stage::Voted,
            F::VotesNonsense | F::VotesForged | F::VotesNoMajority | F::VotesNotMine => {
                Stage::Agreed
            }
        }
    }
}

/// What the job finds, and what follows.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn finding(flaw: Flaw) -> Cell {
    use Flaw as F;
    use Stage as S;
    let stage = flaw.stage();
    let again = |label: &str, why| says(&format!("refuses: {label}"), Waits(stage, why));
    let out = |label: &str| says(&format!("refuses: {label}"), Waits(S::Out, "sits_out"));
    match flaw {
        F::RosterNonsense => again("malformed", "round"),
        F::RosterOther => again("pin", "round"),
        F::RosterWithoutMe => again("not_in_roster", "round"),
        F::ListNonsense => again("malformed", "announcements"),
        F::ListOther => again("other_announcements", "announcements"),
        F::ListForged | F::ListNoMajority => again("announcements", "announcements"),
        F::ListWithoutMe => out("left_out"),
        F::ListNotMine => out("rolled_back"),
        F::EntriesNonsense => again("malformed", "updates"),
        F::EntriesOtherRound | F::EntriesBreakOff | F::EntriesElsewhere => {
            again("entries", "updates")
        }
        F::EntriesTooMany => out("updates"),
        F::EntriesBadBox | F::EntriesCopiedBox | F::EntriesForged | F::EntriesNotAdmitted => {
            says("Accused", Posts(S::Checked, "report"))
        }
        F::EntriesAllBad => says(
            "Accused, Accused, Accused, Accused, refuses: accusations",
            Posts(S::Checked, "report"),
        ),
        F::SetNonsense => again("malformed", "reports"),
        F::SetOther | F::SetMadeUp => again("other_decision", "reports"),
        F::SetStranger => again("excluded", "reports"),
        F::SetTooFew => out("too_few"),
        F::SetBadUpdate => out("bad_update"),
        F::SetSecond => out("second_decision"),
        F::VotesNonsense => again("malformed", "votes"),
        F::VotesForged | F::VotesNoMajority => again("votes", "votes"),
        F::VotesNotMine => out("rolled_back"),
    }
}
