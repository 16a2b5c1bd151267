//! What a participant is told.

use std::ffi::c_char;
use std::time::Duration;

use bytes::Bytes;
use pet_participant::transport::core::model::Model;
use pet_participant::transport::core::participant::{self as core, TransportFault};
use pet_participant::transport::core::request::{RequestId, Response};

use crate::job::Job;
use crate::memory;
use crate::status::Error;
use crate::weights::Weights;

/// What has happened. What is to be set of a `pet_input` is said of each; all else may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum InputKind {
    /// Time has passed, and nothing else has happened.
    Tick = 0,
    /// A request was answered, with whatever status: `id`, `status`, `body`, `body_length`, and the headers `content_type` and
    /// `retry_after` if the answer has them.
    Response = 1,
    /// A request was not answered: `id`, `fault`, `text`.
    Fault = 2,
    /// A job is finished: `job`, which is the participant's from now on, also if it is not waited for any more. Only after
    /// `PET_ERROR_ARGUMENT` (it is not finished, or of another participant) it is still the caller's.
    JobDone = 3,
    /// Set a trained model, which is sent when this participant is next chosen to update, in place of one that was not used yet:
    /// `weights`, of which a copy is made. Weights of another type than the round's are converted.
    SetModel = 4,
    /// Fetch the global model: `PET_EVENT_GLOBAL_MODEL` or `PET_EVENT_GLOBAL_MODEL_FAILED` is the answer.
    FetchModel = 5,
    /// Answers may be held back so long, in `milliseconds`: send what `pet_request` has in `headers`, wait `answer_ms` for the
    /// answer, do everything else meanwhile, and take `PET_OUTPUT_CANCEL`. Then a participant that waits for news asks
    /// less often.
    Patience = 6,
    /// Do nothing more. Save it first if it is to go on later.
    Stop = 7,
}

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// No connection could be made, or it broke: `text` says why, for people.
    Unreachable = 0,
    /// There was no answer in time.
    TimedOut = 1,
    /// The answer is longer than `max_answer` of the request.
    TooLarge = 2,
}

/// Something that has happened: set all of it to zero first, as in `pet_input input = {.kind = PET_INPUT_TICK};`
#[derive(Debug)]
#[repr(C)]
pub struct Input {
    /// A `pet_input_kind`.
    pub kind: u32,
    /// A `pet_fault`.
    pub fault: u32,
    /// Of the request.
    pub id: u64,
    /// For how long.
    pub milliseconds: u64,
    /// The answer's body, of which a copy is made.
    pub body: *const u8,
    /// How many bytes it has.
    pub body_length: usize,
    /// The answer's header `Content-Type`, or null.
    pub content_type: *const c_char,
    /// The answer's header `Retry-After`, or null.
    pub retry_after: *const c_char,
    /// Why, for people, or null.
    pub text: *const c_char,
    /// The finished job.
    pub job: *mut Job,
    /// The trained model.
    pub weights: Weights,
    /// The answer's HTTP status.
    pub status: u16,
}

/// An input, read.
pub(crate) enum Told {
    Core(core::Input),
    Model(Model),
    /// A job, which is taken once everything else is right.
    Job(*mut Job),
}

impl Input {
    /// # Safety
    /// What is set for this kind is as its description says.
    pub(crate) unsafe fn read(&self) -> Result<Told, Error> {
        // SAFETY: as the caller promises, for all of these.
        unsafe {
            Ok(Told::Core(match self.kind {
                kind if kind == InputKind::Tick as u32 => core::Input::Tick,
                kind if kind == InputKind::Response as u32 => {
                    let body = memory::slice(self.body, self.body_length, "input.body")?;
                    let retry_after = memory::foreign_text(self.retry_after);
                    let content_type = memory::foreign_text(self.content_type);
                    let response = Response::new(self.status, Bytes::copy_from_slice(body))
                        .headers(retry_after.as_deref(), content_type.as_deref());
                    core::Input::Response { id: RequestId(self.id), response }
                }
                kind if kind == InputKind::Fault as u32 => {
                    let text = memory::foreign_text(self.text);
                    let fault = match self.fault {
                        0 => TransportFault::Unreachable(text.unwrap_or_else(|| "it was not said why".into())),
                        1 => TransportFault::TimedOut,
                        2 => TransportFault::TooLarge,
                        other => {
                            return Err(Error::argument(format!("input.fault is {other}: it is a pet_fault")))
                        }
                    };
                    core::Input::Fault { id: RequestId(self.id), fault }
                }
                kind if kind == InputKind::JobDone as u32 => return Ok(Told::Job(self.job)),
                kind if kind == InputKind::SetModel as u32 => {
                    return Ok(Told::Model(self.weights.read()?));
                }
                kind if kind == InputKind::FetchModel as u32 => core::Input::FetchModel,
                kind if kind == InputKind::Patience as u32 => {
                    core::Input::Patience(Duration::from_millis(self.milliseconds))
                }
                kind if kind == InputKind::Stop as u32 => core::Input::Stop,
                other => {
                    return Err(Error::argument(format!(
                        "input.kind is {other}: it is a pet_input_kind that this version of the library knows"
                    )))
                }
            }))
        }
    }
}
