//! What the coordinator does with each input in each state.

use super::enumeration::enumeration;

enumeration! {
    /// Where a coordinator is.
    State {
        /// Sum phase: too few sum messages.
        Sum,
        /// Sum phase: enough sum messages, the minimal time is not over.
        SumEnough,
        /// Sum phase: as many sum messages as may be.
        SumFull,
        /// Sum phase: all chunks of a split sum message are there, a job puts them together.
        SumAssembling,
        /// Update phase: too few updates.
        Update,
        /// Update phase: the first update is being added to the aggregate.
        Aggregating,
        /// Update phase: enough updates, the minimal time is not over.
        UpdateEnough,
        /// Update phase: enough updates, and one more is being added.
        EnoughAggregating,
        /// Update phase: as many updates as may be.
        UpdateFull,
        /// Update phase: the time is over; the updates that came in time are being added, and will do.
        UpdateLate,
        /// Update phase: all chunks of a split update are there, a job puts them together.
        UpdateAssembling,
        /// Sum2 phase: too few masks.
        Sum2,
        /// Sum2 phase: enough masks, the minimal time is not over.
        Sum2Enough,
        /// Sum2 phase: as many masks as may be.
        Sum2Full,
        /// Sum2 phase: all chunks of a split sum2 message are there, a job puts them together.
        Sum2Assembling,
        /// The mask is being taken off.
        Unmask,
        /// The round has failed, in the sum phase here. That is not stored yet: messages are still opened
        /// as before.
        Failure,
        /// The round is over, and the next one waits for the operator.
        Paused,
        /// It was stopped.
        Shutdown,
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
        /// A good sum message of one who has not sent any.
        Sum,
        /// The sum message of the latest sender again; if there is none, one message twice.
        SumAgain,
        /// A sum message of one who does not have this task.
        SumIneligible,
        /// A sum message whose ephemeral key is a point of low order.
        SumWeakKey,
        /// A good update of one who has not sent any.
        Update,
        /// The update of the latest sender again; if there is none, one update twice.
        UpdateAgain,
        /// An update of one who does not have this task.
        UpdateIneligible,
        /// An update masked with another config.
        UpdateConfig,
        /// An update with a weight too many.
        UpdateLength,
        /// An update with a number that is not below the order.
        UpdateNumber,
        /// An update with seeds for others than this round's sum participants.
        UpdateSeeds,
        /// A good sum2 message of one who has not sent any.
        Sum2,
        /// The sum2 message of the latest sender again; if there is none, one message twice.
        Sum2Again,
        /// A sum2 message of one who is not in the sum dictionary.
        Sum2Stranger,
        /// A mask of another config.
        Sum2Config,
        /// A mask with a number too many.
        Sum2Length,
        /// The first chunk of a message that is due.
        Chunk,
        /// The last chunk that was missing.
        LastChunk,
        /// The same chunk twice.
        ChunkAgain,
        /// Another chunk in the place of one that is there.
        ChunkContradicts,
        /// A chunk without data.
        ChunkEmpty,
        /// A chunk of the latest sender; if there is none, of one who sends a whole message first.
        ChunkOfSecond,
        /// Bytes that do not open.
        Garbage,
        /// A sealed box too short for a header.
        Truncated,
        /// A message whose length field is wrong.
        LengthField,
        /// A message with an unknown tag.
        UnknownTag,
        /// A message that is due, but for its signature.
        BadSignature,
        /// A message that is due, but names another round's key.
        OtherRound,
        /// A message that is due, with a byte too many.
        TrailingByte,
        /// A message that is due, with the task signatures of someone else.
        BorrowedSignatures,
        /// A sum message that was opened in the sum phase, and comes only now.
        OpenedInSum,
        /// A sum message that was opened in the round before, and comes only now.
        OpenedBefore,
        /// Another replica would add up the update of one who has not sent any.
        Admit,
        /// Another replica has added up an update that it was let have, if it was.
        Part,
        /// Another replica says so once more.
        PartAgain,
        /// Another replica is gone.
        ShardLost,
        /// A part comes that nobody has asked for.
        Fetched,
        /// The running job's result; if none is running, some job's.
        JobDone,
        /// The result of a job that was lost and given out again.
        JobStale,
        /// The result of another machine's job of another kind with the same id.
        JobForeign,
        /// The running job is lost; if none is running, some job.
        JobLost,
        /// All records are stored.
        Persisted,
        /// What was stored long ago is stored.
        PersistedOld,
        /// Records are stored that there are none of yet.
        PersistedAhead,
        /// The end.
        Stop,
        /// The operator wants no further rounds for now.
        Pause,
        /// The operator wants rounds again.
        Resume,
        /// The operator ends the round.
        Skip,
        /// The operator gives settings for the next round.
        ChangeSettings,
        /// The operator gives settings that break a rule.
        WrongSettings,
        /// A crash, and what was saved a moment before is restored.
        Restore,
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Nothing comes out, and nothing changes.
    Ignored,
    /// The message is accepted: its sender is told so once that is stored.
    Accepted(State),
    /// The message is there already: its sender is told that it is accepted once that is stored; nothing
    /// changes, and nothing is stored again.
    Known,
    /// The participant is reserved for the other replica, which is told so at once: that is in no record.
    Reserved,
    /// The message is being worked on: its sender is told later.
    Taken(State),
    /// The message is rejected for the reason with this label; nothing changes.
    Rejected(&'static str),
    /// The input means nothing now; nothing changes.
    Refused(&'static str),
    /// The job is given out again.
    GivenOutAgain,
    /// The machine goes on.
    Moves(State),
}

use Cell::{Accepted, GivenOutAgain, Ignored, Known, Moves, Refused, Rejected, Reserved, Taken};

/// The table. The compiler sees to it that nothing is left out.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn expected(state: State, stimulus: Stimulus) -> Cell {
    use State as S;
    use Stimulus as I;
    let wrong_phase = Rejected("wrong_phase");
    let unknown_job = Refused("unknown job");
    let stopped = Refused("stopped");
    match stimulus {
        I::Tick => unless_stopped(state, Ignored),
        // Also when it was stopped, so that the last replies can be given.
        I::PersistedOld => Ignored,
        I::MinTime => match state {
            S::SumEnough | S::SumFull => Moves(S::Update),
            S::UpdateEnough | S::EnoughAggregating | S::UpdateFull => Moves(S::Sum2),
            S::Sum2Enough | S::Sum2Full => Moves(S::Unmask),
            S::Shutdown => stopped,
            S::Sum
            | S::SumAssembling
            | S::Update
            | S::Aggregating
            | S::UpdateLate
            | S::UpdateAssembling
            | S::Sum2
            | S::Sum2Assembling
            | S::Unmask
            | S::Failure
            | S::Paused => Ignored,
        },
        I::MaxTime => match state {
            S::SumEnough | S::SumFull => Moves(S::Update),
            S::UpdateEnough | S::EnoughAggregating | S::UpdateFull => Moves(S::Sum2),
            S::Sum2Enough | S::Sum2Full => Moves(S::Unmask),
            S::Sum | S::SumAssembling => Moves(S::Failure),
            S::Update | S::Aggregating | S::UpdateAssembling => Moves(S::Failure),
            S::Sum2 | S::Sum2Assembling => Moves(S::Failure),
            S::UpdateLate | S::Unmask | S::Failure | S::Paused => Ignored,
            S::Shutdown => stopped,
        },
        I::Sum => match in_sum(state) {
            Some(S::SumFull) => Rejected("full"),
            Some(S::SumAssembling) => Accepted(S::SumAssembling),
            Some(_) => Accepted(S::SumEnough),
            None => wrong_phase,
        },
        I::SumAgain => match in_sum(state) {
            // Whichever is there first counts.
            Some(S::SumAssembling) => Accepted(S::SumAssembling),
            Some(_) => Rejected("duplicate_sum"),
            None => wrong_phase,
        },
        I::SumIneligible => opening_sum(state).map_or(wrong_phase, |_| Rejected("not_eligible")),
        I::SumWeakKey => opening_sum(state).map_or(wrong_phase, |_| Rejected("weak_ephemeral_key")),
        I::Update => match in_update(state) {
            Some(S::UpdateFull) => Rejected("full"),
            // It may be lost, and does not count yet.
            Some(S::EnoughAggregating) => Rejected("shard_full"),
            Some(S::UpdateLate) => Rejected("too_late"),
            Some(S::UpdateEnough) => Taken(S::EnoughAggregating),
            Some(S::UpdateAssembling) => Taken(S::UpdateAssembling),
            Some(_) => Taken(S::Aggregating),
            None => wrong_phase,
        },
        I::UpdateAgain => match in_update(state) {
            Some(S::UpdateAssembling) => Taken(S::UpdateAssembling),
            Some(S::UpdateEnough | S::UpdateFull) => Rejected("duplicate_update"),
            // It is not accepted yet.
            Some(_) => Rejected("in_progress"),
            None => wrong_phase,
        },
        I::UpdateIneligible => in_update(state).map_or(wrong_phase, |_| Rejected("not_eligible")),
        I::UpdateConfig => in_update(state).map_or(wrong_phase, |_| Rejected("mask_config")),
        I::UpdateLength => in_update(state).map_or(wrong_phase, |_| Rejected("model_length")),
        I::UpdateNumber => in_update(state).map_or(wrong_phase, |_| Rejected("mask_object")),
        I::UpdateSeeds => in_update(state).map_or(wrong_phase, |_| Rejected("seed_dict_mismatch")),
        I::Sum2 => match in_sum2(state) {
            Some(S::Sum2Full) => Rejected("full"),
            Some(S::Sum2Enough) => Accepted(S::Sum2Full),
            Some(S::Sum2Assembling) => Accepted(S::Sum2Assembling),
            Some(_) => Accepted(S::Sum2Enough),
            None => wrong_phase,
        },
        I::Sum2Again => match in_sum2(state) {
            Some(S::Sum2Assembling) => Accepted(S::Sum2Assembling),
            Some(_) => Rejected("duplicate_sum2"),
            None => wrong_phase,
        },
        I::Sum2Stranger => {
            in_sum2(state).map_or(wrong_phase, |_| Rejected("unknown_sum_participant"))
        }
        I::Sum2Config => in_sum2(state).map_or(wrong_phase, |_| Rejected("mask_config")),
        I::Sum2Length => in_sum2(state).map_or(wrong_phase, |_| Rejected("model_length")),
        I::Chunk => taking(state).map_or(wrong_phase, Accepted),
        I::ChunkAgain => taking(state).map_or(wrong_phase, |_| Known),
        // Whether there is room for the message is asked when it is together.
        I::LastChunk => match (in_sum(state), in_update(state), in_sum2(state)) {
            (Some(_), ..) => Taken(S::SumAssembling),
            (_, Some(S::Aggregating | S::EnoughAggregating | S::UpdateLate), _) => Taken(state),
            (_, Some(_), _) => Taken(S::UpdateAssembling),
            (.., Some(_)) => Taken(S::Sum2Assembling),
            (None, None, None) => wrong_phase,
        },
        I::ChunkContradicts => {
            taking(state).map_or(wrong_phase, |_| Rejected("chunk_contradiction"))
        }
        I::ChunkEmpty => taking(state).map_or(wrong_phase, |_| Rejected("chunk_empty")),
        I::ChunkOfSecond => match state {
            S::Sum | S::SumEnough | S::SumFull => Rejected("duplicate_sum"),
            S::UpdateEnough | S::UpdateFull => Rejected("duplicate_update"),
            S::Sum2 | S::Sum2Enough | S::Sum2Full => Rejected("duplicate_sum2"),
            // The message of which the sender is known is not accepted yet.
            S::Update | S::Aggregating | S::EnoughAggregating | S::UpdateLate => {
                Rejected("in_progress")
            }
            S::SumAssembling | S::UpdateAssembling | S::Sum2Assembling => Rejected("in_progress"),
            S::Unmask | S::Failure | S::Paused | S::Shutdown => wrong_phase,
        },
        I::Garbage => Rejected("does_not_open"),
        I::Truncated => Rejected("truncated"),
        I::LengthField => Rejected("length"),
        I::UnknownTag => Rejected("unknown_tag"),
        I::BadSignature => opening(state).map_or(wrong_phase, |_| Rejected("bad_signature")),
        I::OtherRound => opening(state).map_or(wrong_phase, |_| Rejected("other_coordinator")),
        I::TrailingByte => opening(state).map_or(wrong_phase, |_| Rejected("trailing_bytes")),
        I::BorrowedSignatures => opening(state).map_or(wrong_phase, |_| Rejected("not_eligible")),
        I::OpenedInSum => unless_stopped(state, expected(state, I::Sum)),
        I::OpenedBefore => unless_stopped(state, wrong_phase),
        I::Admit => match in_update(state) {
            Some(S::UpdateFull) => Rejected("full"),
            Some(S::EnoughAggregating) => Rejected("shard_full"),
            Some(S::UpdateLate) => Rejected("too_late"),
            Some(_) => Reserved,
            None => unless_stopped(state, wrong_phase),
        },
        I::Part | I::PartAgain => match in_update(state) {
            // It was not let have it.
            Some(S::UpdateFull | S::EnoughAggregating | S::UpdateLate) => Rejected("not_reserved"),
            Some(_) if stimulus == I::PartAgain => Known,
            Some(S::UpdateEnough) => Accepted(S::UpdateFull),
            Some(other) => Accepted(other),
            None => unless_stopped(state, Rejected("part_over")),
        },
        I::ShardLost => unless_stopped(state, Ignored),
        I::Fetched => unless_stopped(state, Refused("unknown part")),
        I::JobDone => match state {
            S::SumAssembling => Accepted(S::SumEnough),
            S::Aggregating => Accepted(S::Update),
            S::EnoughAggregating => Accepted(S::UpdateFull),
            S::UpdateLate => Accepted(S::Sum2),
            S::UpdateAssembling => Taken(S::Aggregating),
            S::Sum2Assembling => Accepted(S::Sum2Enough),
            S::Unmask => Moves(S::Sum),
            S::Shutdown => stopped,
            S::Sum | S::SumEnough | S::SumFull => unknown_job,
            S::Update | S::UpdateEnough | S::UpdateFull => unknown_job,
            S::Sum2 | S::Sum2Enough | S::Sum2Full => unknown_job,
            S::Failure | S::Paused => unknown_job,
        },
        I::JobStale | I::JobForeign => unless_stopped(state, unknown_job),
        I::JobLost => match state {
            S::SumAssembling | S::UpdateAssembling | S::Sum2Assembling => GivenOutAgain,
            S::Aggregating | S::EnoughAggregating | S::UpdateLate | S::Unmask => GivenOutAgain,
            S::Shutdown => stopped,
            S::Sum | S::SumEnough | S::SumFull => unknown_job,
            S::Update | S::UpdateEnough | S::UpdateFull => unknown_job,
            S::Sum2 | S::Sum2Enough | S::Sum2Full => unknown_job,
            S::Failure | S::Paused => unknown_job,
        },
        // A confirmation too many is one of all that there is.
        I::Persisted | I::PersistedAhead if state == S::Failure => Moves(S::Sum),
        I::Persisted | I::PersistedAhead => Ignored,
        I::Stop => unless_stopped(state, Moves(S::Shutdown)),
        // What comes of it is seen at the end of the round.
        I::Pause | I::ChangeSettings => unless_stopped(state, Ignored),
        I::WrongSettings => unless_stopped(state, Refused("invalid settings")),
        I::Resume if state == S::Paused => Moves(S::Sum),
        I::Resume => unless_stopped(state, Ignored),
        I::Skip => match state {
            S::Failure | S::Paused => Refused("no round"),
            S::Shutdown => stopped,
            S::Sum | S::SumEnough | S::SumFull | S::SumAssembling => Moves(S::Failure),
            S::Update | S::Aggregating | S::UpdateEnough => Moves(S::Failure),
            S::EnoughAggregating | S::UpdateFull => Moves(S::Failure),
            S::UpdateLate | S::UpdateAssembling => Moves(S::Failure),
            S::Sum2 | S::Sum2Enough | S::Sum2Full | S::Sum2Assembling => Moves(S::Failure),
            S::Unmask => Moves(S::Failure),
        },
        I::Restore => match state {
            // What was not accepted yet is lost: its sender does not get an answer, and sends again.
            S::Aggregating => Moves(S::Update),
            S::EnoughAggregating => Moves(S::UpdateEnough),
            S::UpdateLate => Moves(S::Failure),
            // But chunks were accepted: their senders do not send them again.
            S::SumAssembling | S::UpdateAssembling | S::Sum2Assembling => Moves(state),
            // Whoever stops is to save before; what is saved afterwards is of no round.
            S::Shutdown => Moves(S::Sum),
            // A pause is not saved.
            S::Paused => Moves(S::Sum),
            S::Sum | S::SumEnough | S::SumFull => Moves(state),
            S::Update | S::UpdateEnough | S::UpdateFull => Moves(state),
            S::Sum2 | S::Sum2Enough | S::Sum2Full => Moves(state),
            S::Unmask | S::Failure => Moves(state),
        },
    }
}

/// Nothing is taken after the end.
fn unless_stopped(state: State, cell: Cell) -> Cell {
    if state == State::Shutdown {
        return Refused("stopped");
    }
    cell
}

/// The state, if it is in the sum phase.
pub fn in_sum(state: State) -> Option<State> {
    use State::*;
    matches!(state, Sum | SumEnough | SumFull | SumAssembling).then_some(state)
}

/// The state, if it is in the update phase.
pub fn in_update(state: State) -> Option<State> {
    use State::*;
    let calm = matches!(state, Update | UpdateEnough | UpdateFull);
    let busy = matches!(state, Aggregating | EnoughAggregating | UpdateLate | UpdateAssembling);
    (calm || busy).then_some(state)
}

/// The state, if it is in the sum2 phase.
pub fn in_sum2(state: State) -> Option<State> {
    use State::*;
    matches!(state, Sum2 | Sum2Enough | Sum2Full | Sum2Assembling).then_some(state)
}

/// The state, if it takes messages.
fn taking(state: State) -> Option<State> {
    in_sum(state).or(in_update(state)).or(in_sum2(state))
}

/// The state, if sum messages are opened in it.
fn opening_sum(state: State) -> Option<State> {
    in_sum(state).or((state == State::Failure).then_some(state))
}

/// The state, if messages are opened in it.
fn opening(state: State) -> Option<State> {
    taking(state).or(opening_sum(state))
}
