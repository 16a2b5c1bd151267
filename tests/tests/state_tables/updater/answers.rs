//! What an updater does with everything but a look: time, answers, jobs, models, confirmations.

use super::super::enumeration::enumeration;
use super::looks::{looked, Shown};
use super::Then::{Checks, Gets, Kept, Looks, Nothing, Posts, Refused, Stops, Stores, Waits};
use super::{gets, says, then, Cell, Doing, Stage, State};

enumeration! {
    /// What can happen to it.
    Stimulus {
        /// Nothing; no time passes.
        Tick,
        /// Five seconds pass: the pauses here are shorter.
        Later,
        /// The right answer; to a look, the round in the phase that this stage comes in.
        Good,
        /// Status 204.
        NoContent,
        /// Status 404 without a problem document.
        NotFound,
        /// Status 200 with nonsense.
        Nonsense,
        /// Status 200 with something of version 3.
        OtherVersion,
        /// Status 500.
        ServerError,
        /// Status 503 with a `Retry-After`.
        Busy,
        /// Status 413 without a problem document: something before the coordinator takes no such long messages.
        TooLong,
        /// Status 409 with a problem document: a message comes in the wrong phase.
        Rejected,
        /// The same: the coordinator does not know the upload.
        UnknownUpload,
        /// No answer.
        Fault,
        /// An answer to a request of before.
        StaleAnswer,
        /// The running job's result; if none is running, some job's.
        JobDone,
        /// The result of another updater's job.
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
        /// Here is a local model.
        SetModel,
        /// Here is a local model with a weight too many.
        SetModelLength,
        /// Here is a local model of another type.
        SetModelType,
        /// Get the global model.
        FetchModel,
        /// The state is stored.
        Persisted,
        /// The state could not be stored.
        NotPersisted,
        /// Another state is said to be stored.
        PersistedOther,
        /// The end.
        Stop,
        /// A crash; what was saved a moment before is restored, and has looked at the round and got the roster.
        Restore,
    }
}

/// The table. The compiler sees to it that nothing is left out.
pub fn expected(state: State, stimulus: Stimulus) -> Cell {
    match state {
        State::At(stage, doing) => expected_at(stage, doing, stimulus),
        // Saved when it was training.
        State::Stopped if stimulus == Stimulus::Restore => restored(Stage::Training),
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
    let trouble = says("Trouble", Waits(stage));
    let is_idle = !matches!(doing, D::Look | D::Get | D::Post);
    match stimulus {
        I::Tick => then(Nothing),
        I::Later => match doing {
            D::Pause | D::Trouble => then(Looks(stage)),
            D::Look | D::Get | D::Job | D::Post | D::Store => then(Nothing),
        },
        I::Good
        | I::NoContent
        | I::NotFound
        | I::Nonsense
        | I::OtherVersion
        | I::ServerError
        | I::Busy
        | I::TooLong
        | I::Rejected
        | I::UnknownUpload
        | I::Fault
            if is_idle =>
        {
            unknown_request
        }
        I::Good => match doing {
            D::Look => looked(stage, comes_in(stage)),
            D::Get if stage == S::Certified => says("Certified", Waits(S::Done)),
            D::Get => then(Checks(stage, gets(stage).unwrap_or_default())),
            D::Post | D::Pause | D::Trouble | D::Job | D::Store => delivered(stage),
        },
        I::NoContent | I::NotFound => match doing {
            // It knows no such call.
            D::Look => says("refuses: no_v2", Waits(stage)),
            D::Get => missing(stage),
            D::Post if stimulus == I::NoContent => delivered(stage),
            D::Post | D::Pause | D::Trouble | D::Job | D::Store => trouble,
        },
        I::Nonsense | I::OtherVersion => match doing {
            D::Look if stimulus == I::Nonsense => trouble,
            D::Look => says("refuses: unknown_version", Waits(stage)),
            // That is read at once, all else in a job.
            D::Get if stage == S::Certified && stimulus == I::Nonsense => trouble,
            D::Get if stage == S::Certified => says("refuses: unknown_version", Waits(stage)),
            D::Get => then(Checks(stage, gets(stage).unwrap_or_default())),
            // What is answered to a message does not matter.
            D::Post | D::Pause | D::Trouble | D::Job | D::Store => delivered(stage),
        },
        I::ServerError | I::Busy | I::Fault => trouble,
        I::TooLong => match doing {
            D::Post => says("GaveUp", Waits(S::Sent)),
            D::Look | D::Get | D::Pause | D::Trouble | D::Job | D::Store => trouble,
        },
        I::Rejected => match doing {
            D::Post => says("Rejected: wrong_phase", Waits(S::Sent)),
            // What is told about messages means nothing there.
            D::Look | D::Get | D::Pause | D::Trouble | D::Job | D::Store => trouble,
        },
        I::UnknownUpload => match doing {
            // All is sent anew.
            D::Post => says("Trouble", Waits(S::Sending)),
            D::Look | D::Get | D::Pause | D::Trouble | D::Job | D::Store => trouble,
        },
        I::StaleAnswer => unknown_request,
        I::JobDone => match doing {
            D::Job => done(stage),
            D::Look | D::Pause | D::Trouble | D::Get | D::Post | D::Store => unknown_job,
        },
        I::JobForeign | I::JobStale => unknown_job,
        I::JobLost | I::JobDropped | I::JobLostAgain => match doing {
            D::Job if stimulus == I::JobLostAgain => given_up(stage),
            // The list is checked again before it is masked.
            D::Job if stage == S::Masking => then(Looks(S::Ready)),
            D::Job => then(Looks(stage)),
            _ if stimulus == I::JobDropped => then(Nothing),
            D::Look | D::Pause | D::Trouble | D::Get | D::Post | D::Store => unknown_job,
        },
        I::JobLostLate => then(Nothing),
        // The weights are converted.
        I::SetModel | I::SetModelType => match (stage, doing) {
            (S::Training, D::Pause | D::Trouble) => then(Looks(S::Ready)),
            (S::Begun | S::Proven | S::Ready, D::Pause | D::Trouble) => then(Looks(stage)),
            (S::Training, _) => then(Kept(S::Ready)),
            // For the next round, if this one is with another model already.
            (_, _) => then(Kept(stage)),
        },
        I::SetModelLength => match stage {
            // It shows when the first round begins.
            S::First | S::NoRound => then(Kept(stage)),
            S::Begun | S::Proven | S::Training | S::Ready | S::Masking | S::Made => {
                then(Refused("model"))
            }
            S::Sending | S::Halfway | S::Sent | S::Certified | S::Done => then(Refused("model")),
        },
        // It is answered after the next look.
        I::FetchModel => match doing {
            D::Pause => then(Looks(stage)),
            D::Look | D::Trouble | D::Get | D::Job | D::Post | D::Store => then(Kept(stage)),
        },
        I::Persisted => match doing {
            D::Store => then(Looks(S::Sending)),
            D::Look | D::Pause | D::Trouble | D::Get | D::Job | D::Post => {
                then(Refused("unknown state"))
            }
        },
        I::NotPersisted => match doing {
            D::Store => trouble,
            D::Look | D::Pause | D::Trouble | D::Get | D::Job | D::Post => {
                then(Refused("unknown state"))
            }
        },
        I::PersistedOther => then(Refused("unknown state")),
        I::Stop => then(Stops),
        I::Restore => restored(stage),
    }
}

/// The phase that a stage is in as a rule.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn comes_in(stage: Stage) -> Shown {
    use Stage as S;
    match stage {
        S::First | S::NoRound | S::Begun | S::Proven | S::Training => Shown::Announce,
        S::Ready | S::Masking | S::Made | S::Sending | S::Halfway => Shown::Update,
        S::Sent | S::Certified => Shown::Completed,
        S::Done => Shown::Failed,
    }
}

/// A part is delivered.
fn delivered(stage: Stage) -> Cell {
    match stage {
        Stage::Sending => says("Progress", Posts(Stage::Halfway, "chunk")),
        _ => says("Progress, Sent", Waits(Stage::Sent)),
    }
}

/// What was asked for is not there.
fn missing(stage: Stage) -> Cell {
    match stage {
        Stage::Begun => says("refuses: no_certificate", Waits(stage)),
        // The coordinator says that the round is completed, and cannot prove it.
        Stage::Sent => says("NotCertified", Waits(Stage::Done)),
        // It was left out.
        Stage::Certified => says("Certified", Waits(Stage::Done)),
        _ => says("Trouble", Waits(stage)),
    }
}

/// The job has found that all is well.
fn done(stage: Stage) -> Cell {
    match stage {
        Stage::First => says("NewRound", Gets(Stage::Begun, "certificate")),
        Stage::Begun => says("Certified", Gets(Stage::Proven, "model")),
        Stage::Proven => says("ModelNeeded", Waits(Stage::Training)),
        Stage::Ready => then(Checks(Stage::Masking, "mask")),
        Stage::Masking => says("ModelMasked", Stores(Stage::Made)),
        _ => then(Gets(Stage::Certified, "proof")),
    }
}

/// The job was lost too often.
fn given_up(stage: Stage) -> Cell {
    match stage {
        // It may do better in the next round.
        Stage::Begun | Stage::Ready | Stage::Masking => says("GaveUp", Waits(Stage::Done)),
        Stage::Proven => says("Trouble", Waits(stage)),
        _ => says("GaveUp", Waits(stage)),
    }
}

/// After a look and the roster: certificate and global model are got again first.
fn restored(stage: Stage) -> Cell {
    use Stage as S;
    let certificate = |stage| Gets(stage, "certificate");
    match stage {
        S::First | S::NoRound => says("NewRound", certificate(S::Begun)),
        S::Begun | S::Proven | S::Training | S::Ready | S::Masking => then(certificate(S::Begun)),
        // What is promised is stored again first: nobody knows whether it is.
        S::Made | S::Sending | S::Halfway => then(certificate(S::Made)),
        S::Sent | S::Certified => then(certificate(S::Sent)),
        S::Done => then(certificate(S::Done)),
    }
}

enumeration! {
    /// What is wrong with what an updater has got, or with what it was given.
    Flaw {
        /// The roster cannot be read.
        RosterNonsense,
        /// The roster is of a version that is not known here.
        RosterVersion,
        /// The roster is not the pinned one.
        RosterOther,
        /// The certificate cannot be read.
        CertificateNonsense,
        /// The certificate has no majority of votes.
        CertificateNoMajority,
        /// The certificate is of another round.
        CertificateOther,
        /// The model cannot be read.
        ModelNonsense,
        /// The model is too long.
        ModelLength,
        /// The model is not the one that the round starts from.
        ModelOther,
        /// The list of announcements cannot be read.
        ListNonsense,
        /// The list is not the one that the round names.
        ListOther,
        /// An announcement has another's signature.
        ListForged,
        /// The group has no majority.
        ListNoMajority,
        /// The local model has a weight that is no number.
        LocalNaN,
        /// The certificate of this updater's round has no majority of votes.
        OwnNoMajority,
        /// It is for other terms than those under which this updater has sent its update.
        OwnOther,
        /// The same, and the next round is on.
        OwnOtherLate,
        /// The proof is wrong.
        ProofWrong,
    }
}

impl Flaw {
    /// Where it shows.
    #[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
    pub fn stage(self) -> Stage {
        use Flaw as F;
        match self {
            F::RosterNonsense | F::RosterVersion | F::RosterOther => Stage::First,
            F::CertificateNonsense | F::CertificateNoMajority | F::CertificateOther => Stage::Begun,
            F::ModelNonsense | F::ModelLength | F::ModelOther => Stage::Proven,
            F::ListNonsense | F::ListOther | F::ListForged | F::ListNoMajority => Stage::Ready,
            F::LocalNaN => Stage::Masking,
            F::OwnNoMajority | F::OwnOther | F::OwnOtherLate => Stage::Sent,
            F::ProofWrong => Stage::Certified,
        }
    }
}

/// What is found, and what follows.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn finding(flaw: Flaw) -> Cell {
    use Flaw as F;
    let stage = flaw.stage();
    let trouble = says("Trouble", Waits(stage));
    let refuses = |name: &str| says(&format!("refuses: {name}"), Waits(stage));
    match flaw {
        F::RosterNonsense | F::CertificateNonsense | F::ListNonsense => trouble,
        F::ModelNonsense | F::ModelLength => trouble,
        F::RosterVersion => refuses("unknown_version"),
        F::RosterOther => refuses("roster"),
        F::CertificateNoMajority | F::OwnNoMajority => refuses("certificate"),
        F::CertificateOther | F::OwnOther => refuses("other_certificate"),
        // Another look may show another one.
        F::ModelOther => refuses("other_model"),
        // It is asked for again: the two were not looked at in the same moment.
        F::ListOther => then(Waits(stage)),
        F::ListForged => refuses("announcements"),
        F::ListNoMajority => refuses("no_majority"),
        F::LocalNaN => says("ModelRejected", Waits(Stage::Training)),
        // It holds up nothing that comes after.
        F::OwnOtherLate => says("refuses: other_certificate, NotCertified", Waits(Stage::Done)),
        F::ProofWrong => refuses("proof"),
    }
}

enumeration! {
    /// What comes after a wish for the global model.
    Wish {
        /// Nothing: there is no round yet.
        Nothing,
        /// The round that starts from the model.
        Announce,
        /// The round is completed.
        Completed,
        /// No answer.
        Fault,
        /// Another roster.
        OtherRoster,
    }
}

/// What those who wish for the global model are told, once all that this takes was got.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn answer(wish: Wish) -> &'static str {
    match wish {
        Wish::Nothing => "GlobalModel: none",
        Wish::Announce => "GlobalModel: of the round before",
        Wish::Completed => "GlobalModel: of the round",
        Wish::Fault | Wish::OtherRoster => "GlobalModelFailed",
    }
}
