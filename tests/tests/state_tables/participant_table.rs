//! What the participant does with each input in each state.

use super::enumeration::enumeration;

enumeration! {
    /// How far a participant is in the round.
    Stage {
        /// It has not seen a round yet.
        First,
        /// It has nothing to do until the next round.
        Idle,
        /// It has to make its sum message.
        Sum,
        /// It has to send its sum message.
        SumSend,
        /// It has to get the mask seeds, and to make its sum2 message.
        Sum2,
        /// It has to send its sum2 message.
        Sum2Send,
        /// It has to get the sum dictionary.
        Fetch,
        /// It needs a local model.
        Model,
        /// It has to mask its local model.
        Mask,
        /// It has to send its update.
        UpdateSend,
    }
}

enumeration! {
    /// What it waits for.
    Doing {
        /// The round's parameters: a look at them comes before every step.
        Look,
        /// The end of a pause.
        Pause,
        /// A dictionary.
        Get,
        /// The job that makes the message.
        Job,
        /// The job that seals the next chunk.
        Seal,
        /// The answer to a message.
        Post,
        /// The answer to a chunk that is not the last.
        PostPart,
    }
}

/// Where a participant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    At(Stage, Doing),
    /// It was stopped.
    Stopped,
}

impl State {
    /// Every state that there is.
    pub fn all() -> Vec<Self> {
        let of = |stage: &Stage| {
            let stage = *stage;
            Doing::ALL.iter().filter(move |doing| occurs(stage, **doing)).map(move |d| (stage, *d))
        };
        let places = Stage::ALL.iter().flat_map(of).map(|(stage, doing)| Self::At(stage, doing));
        places.chain([Self::Stopped]).collect()
    }
}

/// Whether one can wait for this in that stage.
fn occurs(stage: Stage, doing: Doing) -> bool {
    use Stage as S;
    match doing {
        Doing::Look | Doing::Pause => true,
        Doing::Get => matches!(stage, S::Sum2 | S::Fetch),
        Doing::Job => matches!(stage, S::Sum | S::Sum2 | S::Mask),
        Doing::Seal | Doing::Post | Doing::PostPart => {
            matches!(stage, S::SumSend | S::Sum2Send | S::UpdateSend)
        }
    }
}

enumeration! {
    /// What can happen to it.
    Stimulus {
        /// Nothing; no time passes.
        Tick,
        /// An hour passes.
        Later,
        /// The right answer: the same parameters (a round without a task, if it is the first), the
        /// dictionary, an empty body.
        Good,
        /// The parameters of a new round, without a task.
        NewIdle,
        /// The parameters of a new round, with the sum task.
        NewSum,
        /// The parameters of a new round, with the update task.
        NewUpdate,
        /// The parameters of the round before: whoever answers is behind. (Before the first round there was none: it is a
        /// new one.)
        OldRound,
        /// Status 204.
        NoContent,
        /// Status 200 with nonsense.
        Nonsense,
        /// Status 500.
        ServerError,
        /// Status 503 with a `Retry-After`.
        Busy,
        /// Status 409 with a problem document: a message comes in the wrong phase.
        Rejected,
        /// The same: the message was accepted before.
        Duplicate,
        /// Status 413 without a problem document: something before the coordinator takes no such long messages. (This
        /// one is too short to be split.)
        TooLong,
        /// No answer.
        Fault,
        /// An answer to a request of before.
        StaleAnswer,
        /// The job's result; if none is running, some job's.
        JobDone,
        /// The same, but the answer that the job works on was nonsense.
        JobBadAnswer,
        /// The same, but the local model cannot be masked.
        JobBadModel,
        /// The same, but the message cannot be made.
        JobGivesUp,
        /// The result of a job that was lost and given out again.
        JobStale,
        /// The job is lost; if none is running, some job.
        JobLost,
        /// Here is a local model.
        SetModel,
        /// Here is a local model with a weight too many.
        SetModelLength,
        /// Here is a local model of another type.
        SetModelType,
        /// Get the global model.
        FetchModel,
        /// The end.
        Stop,
        /// A crash, and what was saved a moment before is restored.
        Restore,
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Nothing comes out, and nothing changes.
    Ignored,
    /// The machine goes on.
    To(Stage, Doing),
    /// The machine goes on, and tells the user.
    Says(&'static str, Stage, Doing),
    /// The model is kept; it changes nothing of what is being done.
    Kept,
    /// A request goes out beside what is being done.
    Beside,
    /// The input means nothing now; nothing changes.
    Refused(&'static str),
    /// It does nothing more.
    Stops,
}

use Cell::{Beside, Ignored, Kept, Refused, Says, Stops, To};

/// The table. The compiler sees to it that nothing is left out.
pub fn expected(state: State, stimulus: Stimulus) -> Cell {
    match state {
        State::At(stage, doing) => expected_at(stage, doing, stimulus),
        // Saved when it was idle.
        State::Stopped if stimulus == Stimulus::Restore => To(Stage::Idle, Doing::Look),
        State::Stopped => Refused("stopped"),
    }
}

#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
fn expected_at(stage: Stage, doing: Doing, stimulus: Stimulus) -> Cell {
    use Doing as D;
    use Stage as S;
    use Stimulus as I;
    let unknown_job = Refused("unknown job");
    match stimulus {
        I::Tick => Ignored,
        I::Later => match doing {
            D::Pause => To(stage, D::Look),
            D::Look | D::Get | D::Job | D::Seal | D::Post | D::PostPart => Ignored,
        },
        I::Good | I::NewIdle | I::NewSum | I::NewUpdate | I::OldRound => match doing {
            D::Look if stimulus == I::Good => step(stage),
            D::Look if stimulus == I::OldRound && stage != S::First => {
                Says("Trouble", stage, D::Pause)
            }
            D::Look => begin(stimulus),
            D::Get => got_body(stage),
            D::Post => delivered(stage),
            D::PostPart => Says("Progress", stage, D::Look),
            D::Pause | D::Job | D::Seal => Refused("unknown request"),
        },
        I::NoContent => match doing {
            D::Look => Says("Trouble", stage, D::Pause),
            // Not available yet.
            D::Get => To(stage, D::Pause),
            D::Post => delivered(stage),
            D::PostPart => Says("Progress", stage, D::Look),
            D::Pause | D::Job | D::Seal => Refused("unknown request"),
        },
        I::Nonsense => match doing {
            D::Look => Says("Trouble", stage, D::Pause),
            // It takes a job to see that.
            D::Get => got_body(stage),
            // What is answered to a message does not matter.
            D::Post => delivered(stage),
            D::PostPart => Says("Progress", stage, D::Look),
            D::Pause | D::Job | D::Seal => Refused("unknown request"),
        },
        I::ServerError | I::Busy | I::Fault => match doing {
            D::Look | D::Get | D::Post | D::PostPart => Says("Trouble", stage, D::Pause),
            D::Pause | D::Job | D::Seal => Refused("unknown request"),
        },
        I::Rejected | I::Duplicate => match doing {
            // What is told about messages means nothing there.
            D::Look | D::Get => Says("Trouble", stage, D::Pause),
            // All of it, if this was a part of a message.
            D::Post | D::PostPart if stimulus == I::Duplicate => delivered(stage),
            D::Post | D::PostPart => Says("Rejected", S::Idle, D::Pause),
            D::Pause | D::Job | D::Seal => Refused("unknown request"),
        },
        I::TooLong => match doing {
            D::Look | D::Get => Says("Trouble", stage, D::Pause),
            D::Post | D::PostPart => Says("GaveUp", S::Idle, D::Pause),
            D::Pause | D::Job | D::Seal => Refused("unknown request"),
        },
        I::StaleAnswer => Refused("unknown request"),
        I::JobDone | I::JobBadAnswer | I::JobBadModel | I::JobGivesUp => match doing {
            D::Job => match (stage, stimulus) {
                (_, I::JobGivesUp) => Says("GaveUp", S::Idle, D::Pause),
                (S::Sum2, I::JobBadAnswer) => Says("Trouble", S::Sum2, D::Pause),
                (S::Sum2, _) => To(S::Sum2Send, D::Look),
                (S::Mask, I::JobBadAnswer) => Says("Trouble", S::Fetch, D::Pause),
                (S::Mask, I::JobBadModel) => Says("ModelRejected", S::Model, D::Pause),
                (S::Mask, _) => Says("ModelMasked", S::UpdateSend, D::Look),
                // A sum message is made of nothing that could be bad.
                (_, _) => To(S::SumSend, D::Look),
            },
            D::Seal => To(stage, D::PostPart),
            D::Look | D::Pause | D::Get | D::Post | D::PostPart => unknown_job,
        },
        I::JobStale => unknown_job,
        I::JobLost => match doing {
            D::Job | D::Seal => To(stage, D::Look),
            D::Look | D::Pause | D::Get | D::Post | D::PostPart => unknown_job,
        },
        // The weights are converted.
        I::SetModel | I::SetModelType => match (stage, doing) {
            (S::Model, _) | (S::Mask, D::Pause) => To(S::Mask, D::Look),
            // For the next round, if this one is with another model already.
            (_, _) => Kept,
        },
        I::SetModelLength => match stage {
            // It shows when the first round begins.
            S::First => Kept,
            S::Idle | S::Sum | S::SumSend | S::Sum2 | S::Sum2Send => Refused("model"),
            S::Fetch | S::Model | S::Mask | S::UpdateSend => Refused("model"),
        },
        I::FetchModel => Beside,
        I::Stop => Stops,
        I::Restore => To(stage, D::Look),
    }
}

/// The next step of the same round.
fn step(stage: Stage) -> Cell {
    match stage {
        Stage::First => Says("NewRound", Stage::Idle, Doing::Pause),
        Stage::Idle => To(Stage::Idle, Doing::Pause),
        Stage::Sum => To(Stage::Sum, Doing::Job),
        Stage::Sum2 => To(Stage::Sum2, Doing::Get),
        Stage::Fetch => To(Stage::Fetch, Doing::Get),
        // It was asked for already.
        Stage::Model => To(Stage::Model, Doing::Pause),
        Stage::Mask => To(Stage::Mask, Doing::Job),
        Stage::SumSend | Stage::Sum2Send | Stage::UpdateSend => To(stage, Doing::Post),
    }
}

/// The first step of a new round.
fn begin(stimulus: Stimulus) -> Cell {
    match stimulus {
        Stimulus::NewSum => Says("NewRound", Stage::Sum, Doing::Job),
        Stimulus::NewUpdate => Says("NewRound", Stage::Fetch, Doing::Get),
        _ => Says("NewRound", Stage::Idle, Doing::Pause),
    }
}

/// Some dictionary is there.
fn got_body(stage: Stage) -> Cell {
    match stage {
        Stage::Sum2 => To(Stage::Sum2, Doing::Job),
        _ => Says("ModelNeeded", Stage::Model, Doing::Pause),
    }
}

/// A message is sent.
fn delivered(stage: Stage) -> Cell {
    match stage {
        Stage::SumSend => Says("Sent", Stage::Sum2, Doing::Pause),
        _ => Says("Sent", Stage::Idle, Doing::Pause),
    }
}

enumeration! {
    /// How far getting the global model is: it goes on beside everything else.
    Fetching {
        /// It was not asked for, or has been answered.
        No,
        /// It waits for the round's parameters, for the data type.
        Params,
        /// It waits for the model.
        Model,
        /// The same, and it was asked for again since the request was sent: the answer may be too old for that.
        Late,
        /// A job reads the model.
        Reading,
        /// The same, and it was asked for again since the request was sent.
        ReadingLate,
        /// It waits for the round's parameters: whether the model is still the one for those who asked later.
        Check,
    }
}

enumeration! {
    /// What can happen to that.
    FetchStimulus {
        /// It is asked for (again).
        FetchModel,
        /// The right answer.
        Good,
        /// The parameters of another round.
        NewRound,
        /// Status 204.
        NoContent,
        /// Status 200 with nonsense.
        Nonsense,
        /// Status 500.
        ServerError,
        /// No answer.
        Fault,
        /// The job's result; if none is running, some job's.
        JobDone,
        /// The same, but the answer that the job works on was nonsense.
        JobBadAnswer,
        /// The job is lost; if none is running, some job.
        JobLost,
        /// A crash, and what was saved a moment before is restored.
        Restore,
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchCell {
    /// It goes on.
    To(Fetching),
    /// Those who have asked in time are answered, and it goes on for the others.
    Answers(&'static str, Fetching),
    /// The input means nothing now; nothing changes.
    Refused(&'static str),
}

/// The table of getting the global model.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn fetch_expected(fetching: Fetching, stimulus: FetchStimulus) -> FetchCell {
    use FetchCell::{Answers, Refused, To};
    use FetchStimulus as I;
    use Fetching as F;
    let failed = |then| Answers("GlobalModelFailed", then);
    let model = |then| Answers("GlobalModel", then);
    match stimulus {
        I::FetchModel => match fetching {
            F::No => To(F::Model),
            // Answered together with the first: the model is asked for afterwards.
            F::Params => To(F::Params),
            F::Model | F::Late => To(F::Late),
            F::Reading | F::ReadingLate => To(F::ReadingLate),
            // With another check.
            F::Check => To(F::Check),
        },
        I::Good => match fetching {
            F::Params => To(F::Model),
            F::Model => To(F::Reading),
            F::Late => To(F::ReadingLate),
            F::Check => model(F::No),
            F::No | F::Reading | F::ReadingLate => Refused("unknown request"),
        },
        I::NewRound => match fetching {
            F::Params | F::Check => To(F::Model),
            // It takes a job to see that this is no model.
            F::Model => To(F::Reading),
            F::Late => To(F::ReadingLate),
            F::No | F::Reading | F::ReadingLate => Refused("unknown request"),
        },
        I::NoContent => match fetching {
            F::Params | F::Check => failed(F::No),
            F::Model => model(F::No),
            F::Late => model(F::Check),
            F::No | F::Reading | F::ReadingLate => Refused("unknown request"),
        },
        I::Nonsense => match fetching {
            F::Params | F::Check => failed(F::No),
            F::Model => To(F::Reading),
            F::Late => To(F::ReadingLate),
            F::No | F::Reading | F::ReadingLate => Refused("unknown request"),
        },
        I::ServerError | I::Fault => match fetching {
            F::Params | F::Model | F::Check => failed(F::No),
            F::Late => failed(F::Model),
            F::No | F::Reading | F::ReadingLate => Refused("unknown request"),
        },
        I::JobDone => match fetching {
            F::Reading => model(F::No),
            F::ReadingLate => model(F::Check),
            F::No | F::Params | F::Model | F::Late | F::Check => Refused("unknown job"),
        },
        I::JobBadAnswer => match fetching {
            F::Reading => failed(F::No),
            F::ReadingLate => failed(F::Model),
            F::No | F::Params | F::Model | F::Late | F::Check => Refused("unknown job"),
        },
        I::JobLost => match fetching {
            F::Reading | F::ReadingLate => To(F::Model),
            F::No | F::Params | F::Model | F::Late | F::Check => Refused("unknown job"),
        },
        // Who asked is gone, too.
        I::Restore => To(F::No),
    }
}
