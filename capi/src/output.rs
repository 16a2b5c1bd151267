//! What should happen next.

use std::ffi::{c_char, CString};
use std::time::Duration;

use bytes::Bytes;
use pet_participant::transport::core::participant as core;
use pet_participant::transport::core::request::{Call, Patience, RequestId, RequestLimits};
use pet_participant::Polled;

use crate::event::{self, Event, Told};
use crate::job::Job;
use crate::memory;
use crate::status::{c_text, free, guard, Error, Status};

/// What should happen next, and which function tells more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum OutputKind {
    /// Nothing until the next input: `pet_output_idle`. Poll no more before that.
    Idle = 0,
    /// Send a request, and tell its answer or the lack of one: `pet_output_request`.
    Request = 1,
    /// The answer to a request is not waited for any more, and it can be dropped: `pet_output_cancelled`.
    Cancel = 2,
    /// Run a job, on any thread, and hand it in: `pet_output_take_job`. There may be several at a time: one that is freed
    /// instead is begun anew, and after a few times given up.
    Job = 3,
    /// Tell the user, if that is wanted: `pet_output_event`.
    Event = 4,
    /// Something that this version of the header has no name for: free it, and poll on.
    Other = 5,
}

/// What a participant waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Why {
    /// The time of the next look at the coordinator.
    Poll = 0,
    /// A local model.
    LocalModel = 1,
    /// An answer to a request.
    Answer = 2,
    /// The end of a job.
    Job = 3,
    /// Nothing: it was stopped.
    Stopped = 4,
    /// Something else.
    Other = 5,
}

/// There is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Idle {
    /// When to come back with `PET_INPUT_TICK` if nothing else happens before; `UINT64_MAX` for never.
    pub wake_at_ms: u64,
    /// What it waits for: a `pet_why`.
    pub why: u32,
}

/// A header of a request.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Header {
    /// Its name, in lower case.
    pub name: *const c_char,
    /// Its value.
    pub value: *const c_char,
}

/// An HTTP request. Its pointers are there until the output is freed.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Request {
    /// To be told with the answer.
    pub id: u64,
    /// `GET` or `POST`.
    pub method: *const c_char,
    /// Path and query, to be put behind the coordinator's URL (which has no slash at its end).
    pub target: *const c_char,
    /// The headers to send, beside those that any client sends.
    pub headers: *const Header,
    /// How many there are.
    pub header_count: usize,
    /// The body to send; null if there is none.
    pub body: *const u8,
    /// How many bytes it has.
    pub body_length: usize,
    /// How long to wait for the beginning of the answer, sending included.
    pub answer_ms: u64,
    /// How long all of it may take, with the answer's body.
    pub total_ms: u64,
    /// The most bytes that the answer's body may have: more is `PET_FAULT_TOO_LARGE`.
    pub max_answer: u64,
}

/// Something that should happen. It is said once: do it, and free this.
#[derive(Debug)]
pub struct Output {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Idle(core::Idle),
    Request(Box<Asked>),
    Cancel(RequestId),
    Job(Option<Job>),
    Event(Box<Told>),
    ModelRejected(CString),
    Other,
}

/// A request with what its view points to.
#[derive(Debug)]
struct Asked {
    id: u64,
    method: CString,
    target: CString,
    /// Kept for `headers`, which points to it: neither is changed.
    _texts: Vec<(CString, CString)>,
    headers: Headers,
    body: Bytes,
    answer_ms: u64,
    total_ms: u64,
    max_answer: u64,
}

#[derive(Debug)]
struct Headers(Vec<Header>);

// SAFETY: they point to texts beside them, which nobody changes.
unsafe impl Send for Headers {}
// SAFETY: as above.
unsafe impl Sync for Headers {}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Asked {
    fn new(id: RequestId, call: &Call, patience: Option<&Patience>) -> Self {
        let limits = RequestLimits::default();
        let own = call.headers().into_iter().map(|(name, value)| (name, value.into_owned()));
        let held = patience.into_iter().flat_map(Patience::headers);
        let texts: Vec<_> =
            own.chain(held).map(|(name, value)| (c_text(name), c_text(value))).collect();
        let headers =
            texts.iter().map(|(name, value)| Header { name: name.as_ptr(), value: value.as_ptr() });
        let wait = patience.map_or(Duration::ZERO, |patience| patience.wait);
        let answer = limits.until_answer(call).saturating_add(wait);
        Self {
            id: id.0,
            method: c_text(call.method()),
            target: c_text(call.path_and_query()),
            headers: Headers(headers.collect()),
            _texts: texts,
            body: call.body(),
            answer_ms: milliseconds(answer),
            total_ms: milliseconds(limits.total.saturating_add(wait)),
            max_answer: limits.max_body_of(call),
        }
    }

    fn view(&self) -> Request {
        Request {
            id: self.id,
            method: self.method.as_ptr(),
            target: self.target.as_ptr(),
            headers: self.headers.0.as_ptr(),
            header_count: self.headers.0.len(),
            body: if self.body.is_empty() { std::ptr::null() } else { self.body.as_ptr() },
            body_length: self.body.len(),
            answer_ms: self.answer_ms,
            total_ms: self.total_ms,
            max_answer: self.max_answer,
        }
    }
}

impl Output {
    pub(crate) fn new(
        polled: Polled,
        owner: u64,
        patience: impl FnOnce(RequestId) -> Option<Patience>,
    ) -> Self {
        let output = match polled {
            Polled::ModelRejected(error) => {
                return Self { inner: Inner::ModelRejected(c_text(error.to_string())) };
            }
            Polled::Output(output) => output,
        };
        let inner = match output {
            core::Output::Request { id, call } => {
                let patience = patience(id);
                Inner::Request(Box::new(Asked::new(id, &call, patience.as_ref())))
            }
            core::Output::Cancel(id) => Inner::Cancel(id),
            core::Output::Job(job) => Inner::Job(Some(Job::new(job, owner))),
            core::Output::Event(event) => Inner::Event(Box::new(Told::new(event))),
            core::Output::Idle(idle) => Inner::Idle(idle),
            _ => Inner::Other,
        };
        Self { inner }
    }

    fn kind(&self) -> OutputKind {
        match self.inner {
            Inner::Idle(_) => OutputKind::Idle,
            Inner::Request(_) => OutputKind::Request,
            Inner::Cancel(_) => OutputKind::Cancel,
            Inner::Job(_) => OutputKind::Job,
            Inner::Event(_) | Inner::ModelRejected(_) => OutputKind::Event,
            Inner::Other => OutputKind::Other,
        }
    }

    fn is_not(&self, wanted: &str) -> Error {
        Error::argument(format!(
            "this output is no {wanted}: ask pet_output_kind_of what it is ({:?})",
            self.kind()
        ))
    }
}

/// What it is: a `pet_output_kind`; `PET_OUTPUT_OTHER` for a null pointer.
///
/// # Safety
/// `output` is null, or of this library and not freed.
#[no_mangle]
pub unsafe extern "C" fn pet_output_kind_of(output: *const Output) -> OutputKind {
    // SAFETY: as the caller promises.
    unsafe { output.as_ref() }.map_or(OutputKind::Other, Output::kind)
}

/// The request, of a `PET_OUTPUT_REQUEST`.
///
/// # Safety
/// `output` is of this library and not freed; `request` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_output_request(
    output: *const Output,
    request: *mut Request,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (output, to) =
            unsafe { (memory::of(output, "output")?, memory::out(request, "request")?) };
        let Inner::Request(asked) = &output.inner else { return Err(output.is_not("request")) };
        to.set(asked.view());
        Ok(())
    })
}

/// The id of the request that is not waited for any more, of a `PET_OUTPUT_CANCEL`.
///
/// # Safety
/// `output` is of this library and not freed; `id` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_output_cancelled(output: *const Output, id: *mut u64) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (output, to) = unsafe { (memory::of(output, "output")?, memory::out(id, "id")?) };
        let Inner::Cancel(id) = &output.inner else { return Err(output.is_not("cancel")) };
        to.set(id.0);
        Ok(())
    })
}

/// Takes the job out of a `PET_OUTPUT_JOB`, once: it is the caller's from now on, to be run and handed in, or freed.
///
/// # Safety
/// `output` is of this library, not freed, and no other thread uses it now; `job` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_output_take_job(output: *mut Output, job: *mut *mut Job) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (output, to) = unsafe { (memory::of_mut(output, "output")?, memory::out(job, "job")?) };
        let Inner::Job(job) = &mut output.inner else { return Err(output.is_not("job")) };
        let job = job.take().ok_or_else(|| Error::argument("the job was taken already"))?;
        to.set(memory::give(job));
        Ok(())
    })
}

/// The event, of a `PET_OUTPUT_EVENT`.
///
/// # Safety
/// `output` is of this library and not freed; `event` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_output_event(output: *const Output, event: *mut Event) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (output, to) = unsafe { (memory::of(output, "output")?, memory::out(event, "event")?) };
        to.set(match &output.inner {
            Inner::Event(told) => told.view(),
            Inner::ModelRejected(text) => {
                Event::new(event::EventKind::ModelRejected, text.as_ptr())
            }
            _ => return Err(output.is_not("event")),
        });
        Ok(())
    })
}

/// When to come back, of a `PET_OUTPUT_IDLE`.
///
/// # Safety
/// `output` is of this library and not freed; `idle` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_output_idle(output: *const Output, idle: *mut Idle) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (output, to) = unsafe { (memory::of(output, "output")?, memory::out(idle, "idle")?) };
        let Inner::Idle(idle) = &output.inner else { return Err(output.is_not("idle")) };
        let why = match idle.why {
            core::Why::Poll => Why::Poll,
            core::Why::LocalModel => Why::LocalModel,
            core::Why::Answer => Why::Answer,
            core::Why::Job | core::Why::LostJob => Why::Job,
            core::Why::Stopped => Why::Stopped,
            _ => Why::Other,
        };
        let wake_at_ms = idle.wake_at.map_or(u64::MAX, |at| at.as_millis());
        to.set(Idle { wake_at_ms, why: why as u32 });
        Ok(())
    })
}

/// Frees it, and a job that was not taken out. A null pointer is nothing to free.
///
/// # Safety
/// `output` is null, or of this library, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_output_free(output: *mut Output) {
    // SAFETY: as the caller promises.
    free(|| drop(unsafe { memory::take(output) }));
}
