//! The package's exceptions, and what each of them means.

use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

use pet_participant::{Findings, Gone, LocalModelError, SetError, StartError};
use pet_transport_blocking::core::mask::MaskConfig;
use pet_transport_blocking::core::model::RatioError;
use pet_transport_blocking::core::participant::{FetchError, ModelMismatch, Reject};
use pet_transport_blocking::core::v2::Refusal;
use pet_transport_blocking::Error;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyRuntimeError, PyUserWarning};
use pyo3::prelude::*;
use pyo3::types::PyType;

create_exception!(
    xaynet_sdk,
    XaynetError,
    PyException,
    "Base class of all exceptions of this package."
);

create_exception!(
    xaynet_sdk,
    ClampWarning,
    PyUserWarning,
    "Weights of a local model, or its scalar, are beyond the bound of the coordinator's mask config and will be put on it."
);

create_exception!(
    xaynet_sdk,
    PrecisionWarning,
    PyUserWarning,
    "With this scalar the coordinator's mask config keeps less than ten bits of a local model's largest weight, or loses a part of the scalar."
);

macro_rules! exceptions {
    ($($name:ident: $doc:literal),* $(,)?) => {
        $(create_exception!(xaynet_sdk, $name, XaynetError, $doc);)*

        /// Makes the exceptions importable from the module.
        pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
            module.add("XaynetError", module.py().get_type::<XaynetError>())?;
            module.add("ClampWarning", module.py().get_type::<ClampWarning>())?;
            module.add("PrecisionWarning", module.py().get_type::<PrecisionWarning>())?;
            $(module.add(stringify!($name), module.py().get_type::<$name>())?;)*
            Ok(())
        }
    };
}

exceptions! {
    CryptoInit: "The operating system gives no random bytes for a new participant's keys.",
    ParticipantInit: "The participant cannot be made: its URL or its scalar is invalid.",
    ParticipantRestore: "The participant cannot be restored: these bytes are no saved state, or one of another version.",
    UninitializedParticipant: "The participant was stopped (its state was saved), or it belongs to another process.",
    LocalModelLengthMisMatch: "The local model has another number of weights than the coordinator's models.",
    LocalModelDataTypeMisMatch: "The local model has weights that the coordinator's data type does not have.",
    GlobalModelUnavailable: "The global model could not be fetched; try again later.",
    CoordinatorInit: "The coordinator cannot be started: its settings are wrong, or its address is taken.",
    MemberInit: "The member cannot be started: its settings are wrong, it has no key, or its directory is in use.",
    StaleInput: "The answer or result is not waited for (any more): it comes too late, or twice. Nothing has changed.",
    JobCancelled: "The job was cancelled before its end.",
    SealError: "The saved state does not open: it was sealed with another key or passphrase, or is damaged.",
    GlobalModelLengthMisMatch: "The global model has another number of weights than the models of this round.",
    GlobalModelDataTypeMisMatch: "The global model has weights that the coordinator's data type does not have.",
}

create_exception!(
    xaynet_sdk,
    Refused,
    XaynetError,
    "A participant of version 2 takes no part, or does not go on, as things are. It asks again: what is wrong may be put right. `name` is a short, stable name of the reason; `blame` says who is to blame, or has to do something about it."
);

/// The exceptions for what is refused: their names, those of the refusals, and what they mean.
macro_rules! refusals {
    ($($class:ident, [$($name:literal),+]: $doc:literal),* $(,)?) => {
        $(create_exception!(xaynet_sdk, $class, Refused, $doc);)*

        fn refused_class(name: &str, text: String) -> PyErr {
            match name {
                $($($name)|+ => $class::new_err(text),)*
                _ => Refused::new_err(text),
            }
        }

        /// Makes the exceptions importable from the module.
        pub(crate) fn add_refusals_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
            module.add("Refused", module.py().get_type::<Refused>())?;
            $(module.add(stringify!($class), module.py().get_type::<$class>())?;)*
            Ok(())
        }
    };
}

refusals! {
    CoordinatorWithoutV2, ["no_v2"]: "The coordinator offers no rounds of version 2, and a participant with a roster takes part in no others.",
    UnknownVersion, ["unknown_version"]: "The coordinator speaks a version of the protocol that is not known here.",
    WrongRoster, ["roster"]: "The coordinator has another roster than the pinned one.",
    TooFewUpdates, ["too_few_updates"]: "The round may add up fewer models than the pin asks for.",
    WrongTerms, ["terms", "mask_config", "time", "head_room", "pin"]: "The terms of the round make no sense, or its mask config is none for version 2, or it was not opened lately.",
    SplitRound, ["other_terms", "round_not_above", "round_too_far_ahead", "second_statement"]: "The coordinator shows a round of which it has shown another one before, or has gone back, or far ahead.",
    ForgedAnnouncements, ["announcements"]: "What members have announced is forged, or was made for other terms: the coordinator shows different rounds to different participants.",
    MissingMajority, ["no_majority"]: "Too few members of a group have announced themselves.",
    SplitModel, ["other_model"]: "The coordinator gives another global model than the round starts from.",
    InvalidCertificate, ["no_certificate", "certificate", "other_certificate", "proof"]: "The global model has no certificate, or one that does not hold, or the proof that the own model is in the sum is wrong.",
    NotAdmitted, ["not_admitted", "no_credential"]: "This participant has no credential, or one that does not admit it.",
    CredentialExpired, ["credential_expired"]: "This participant's credential has expired: it must be renewed by the admission authority.",
    BudgetSpent, ["budget"]: "The privacy budget is spent: the round would cost more than is left.",
    NoNoise, ["no_noise"]: "There is a privacy budget, and the round has no noise.",
    WrongScalar, ["scalar"]: "The round has noise, in which all models count the same, and this participant has a scalar of its own.",
}

/// What is refused, in Python.
pub(crate) fn refused(py: Python<'_>, refusal: &Refusal) -> PyErr {
    let error = refused_class(refusal.name(), refusal.to_string());
    let value = error.value(py);
    // Exceptions take attributes.
    let _ = value.setattr("name", refusal.name());
    let _ = value.setattr("blame", refusal.blame().to_string());
    error
}

/// What is wrong with a local model, in Python.
pub(crate) fn model_error(error: &LocalModelError) -> PyErr {
    match error {
        LocalModelError::Mismatch(ModelMismatch::Length { .. }) => {
            LocalModelLengthMisMatch::new_err(error.to_string())
        }
        _ => LocalModelDataTypeMisMatch::new_err(error.to_string()),
    }
}

/// What keeps a call from being done, in Python.
pub(crate) fn gone(gone: Gone) -> PyErr {
    match gone {
        Gone::Stopped => stopped(),
        Gone::Forked => UninitializedParticipant::new_err(format!(
            "{gone}, or start processes with the \"spawn\" method"
        )),
        _ => PyRuntimeError::new_err(gone.to_string()),
    }
}

/// Why a local model was not set, in Python.
pub(crate) fn set_error(error: SetError) -> PyErr {
    match error {
        SetError::Model(error) => model_error(&error),
        SetError::Gone(error) => gone(error),
        error => XaynetError::new_err(error.to_string()),
    }
}

/// Why a participant was not started, in Python.
pub(crate) fn start_error(error: StartError) -> PyErr {
    match error {
        StartError::State(error) => ParticipantRestore::new_err(error.to_string()),
        StartError::Participant(error) => participant_error(error),
        error => XaynetError::new_err(error.to_string()),
    }
}

/// What the participant's own errors are in Python.
pub(crate) fn participant_error(error: Error) -> PyErr {
    match error {
        Error::Url(_) | Error::Certificates(_) | Error::Network(_) => {
            ParticipantInit::new_err(error.to_string())
        }
        Error::Restore(_) => ParticipantRestore::new_err(error.to_string()),
        Error::Randomness(_) => CryptoInit::new_err(error.to_string()),
        Error::Rejected(Reject::Model(mismatch)) => model_error(&mismatch.into()),
        Error::Rejected(Reject::Stopped) => stopped(),
        Error::Fetch(error) => fetch_error(&error),
        error => XaynetError::new_err(error.to_string()),
    }
}

/// What a global model that did not come is in Python.
pub(crate) fn fetch_error(error: &FetchError) -> PyErr {
    match error {
        FetchError::Model(RatioError::OutOfRange { .. }) | FetchError::Array(_) => {
            GlobalModelDataTypeMisMatch::new_err(error.to_string())
        }
        FetchError::Refused(refusal) => Python::attach(|py| refused(py, refusal)),
        FetchError::Length { .. } => GlobalModelLengthMisMatch::new_err(error.to_string()),
        error => GlobalModelUnavailable::new_err(error.to_string()),
    }
}

/// Of what precision a participant has been warned: once for each mask config is enough, while weights change with
/// every round.
pub(crate) type Told = Mutex<Option<MaskConfig>>;

/// Warns the caller's caller, the user, of what masking will put on the bound, or round coarsely.
///
/// # Errors
/// Where the user has warnings raised.
pub(crate) fn warn_of(py: Python<'_>, findings: &Findings, told: &Told) -> PyResult<()> {
    if let Some(excess) = &findings.excess {
        warn(py, &py.get_type::<ClampWarning>(), &excess.to_string())?;
    }
    let Some(loss) = &findings.loss else { return Ok(()) };
    let already =
        |told: &Told| *told.lock().unwrap_or_else(PoisonError::into_inner) == Some(loss.config());
    if already(told) {
        return Ok(());
    }
    // Who has it raised is told each time.
    warn(py, &py.get_type::<PrecisionWarning>(), &loss.to_string())?;
    *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(loss.config());
    Ok(())
}

fn warn(py: Python<'_>, category: &Bound<'_, PyType>, text: &str) -> PyResult<()> {
    let text = CString::new(text).unwrap_or_default();
    PyErr::warn(py, category, &text, stack_level(py).unwrap_or(2))
}

/// How far up the stack the line of the user's is: the first that is not this package's. Where there is none,
/// such as on a participant's thread, the package's own line is named.
fn stack_level(py: Python<'_>) -> Option<i32> {
    let mut frame = py.import("sys").ok()?.call_method1("_getframe", (0,)).ok()?;
    let mut level = 1;
    loop {
        let name = frame.getattr("f_globals").ok()?.get_item("__name__").ok()?;
        let name = name.extract::<String>().ok()?;
        match name.split('.').next() {
            Some("xaynet_sdk") => {}
            Some("asyncio" | "threading") => return None,
            _ => return Some(level),
        }
        frame = frame.getattr("f_back").ok()?;
        level += 1;
    }
}

/// For every call after the last.
pub(crate) fn stopped() -> PyErr {
    UninitializedParticipant::new_err(Gone::Stopped.to_string())
}
