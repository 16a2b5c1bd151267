//! What a participant is told. Each call gives 1, or says why it was not taken and gives 0.

use std::time::Duration;

use bytes::Bytes;
use pet_core::model::Model;
use pet_core::participant::{Input, TransportFault};
use pet_core::request::{RequestId, Response};

use crate::exchange::{done, Code, Failure};
use crate::jobs::Job;
use crate::memory;
use crate::participant::Participant;

/// A request was answered. An empty text is a header that the answer does not have.
///
/// # Safety
/// `participant` was made here and not freed; all else is from [`memory::pet_alloc`], and is taken.
#[no_mangle]
#[allow(clippy::too_many_arguments, reason = "its only caller is ours, and names them")]
pub unsafe extern "C" fn pet_participant_response(
    participant: *mut Participant,
    now: f64,
    id: f64,
    status: u32,
    body: *mut u8,
    body_length: usize,
    retry_after: *mut u8,
    retry_after_length: usize,
    content_type: *mut u8,
    content_type_length: usize,
) -> u32 {
    // SAFETY: as the caller promises.
    let (participant, body, retry_after, content_type) = unsafe {
        (
            &mut *participant,
            memory::take(body, body_length),
            memory::take_text(retry_after, retry_after_length),
            memory::take_text(content_type, content_type_length),
        )
    };
    let header = |text: &'_ str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let status = u16::try_from(status).unwrap_or(u16::MAX);
    let response = Response::new(status, Bytes::from(body))
        .headers(header(&retry_after).as_deref(), header(&content_type).as_deref());
    done(participant.handle_input(now, Input::Response { id: RequestId(id as u64), response }))
}

/// A request was not answered: 0 for no connection, 1 for no answer in time, 2 for one that is too long.
///
/// # Safety
/// `participant` was made here and not freed; `text` is from [`memory::pet_alloc`], and is taken.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_fault(
    participant: *mut Participant,
    now: f64,
    id: f64,
    kind: u32,
    text: *mut u8,
    text_length: usize,
) -> u32 {
    // SAFETY: as the caller promises.
    let (participant, text) = unsafe { (&mut *participant, memory::take_text(text, text_length)) };
    let fault = match kind {
        1 => TransportFault::TimedOut,
        2 => TransportFault::TooLarge,
        _ => TransportFault::Unreachable(text),
    };
    done(participant.handle_input(now, Input::Fault { id: RequestId(id as u64), fault }))
}

/// A job is finished, or is finished now.
///
/// # Safety
/// `participant` was made here and not freed; the job is one of its own, and is taken.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_job_done(
    participant: *mut Participant,
    now: f64,
    job: *mut Job,
) -> u32 {
    // SAFETY: as the caller promises.
    let (participant, job) = unsafe { (&mut *participant, memory::take_back(job)) };
    let input = job.into_result().map_or(Input::Tick, Input::JobDone);
    done(participant.handle_input(now, input))
}

/// Sets a local model: 0 for `f32`, 1 for `f64`, 2 for `i32`, 3 for `i64`.
///
/// # Safety
/// `participant` was made here and not freed; `weights` are so many of that type from [`memory::pet_alloc`], and are taken.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_set_model(
    participant: *mut Participant,
    now: f64,
    data_type: u32,
    weights: *mut u8,
    length: usize,
) -> u32 {
    // SAFETY: as the caller promises.
    let (participant, model) = unsafe {
        let model = match data_type {
            0 => Model::F32(memory::take(weights.cast(), length)),
            1 => Model::F64(memory::take(weights.cast(), length)),
            2 => Model::I32(memory::take(weights.cast(), length)),
            _ => Model::I64(memory::take(weights.cast(), length)),
        };
        (&mut *participant, model)
    };
    let wrong = match &model {
        Model::F32(weights) => weights.iter().position(|weight| !weight.is_finite()),
        Model::F64(weights) => weights.iter().position(|weight| !weight.is_finite()),
        Model::I32(_) | Model::I64(_) => None,
    };
    if let Some(at) = wrong {
        let text = format!("weight {at} of the local model is not a finite number");
        return done(Err(Failure::new(Code::Model, text)));
    }
    done(participant.handle_input(now, Input::SetModel(model)))
}

/// The global model is wanted.
///
/// # Safety
/// `participant` was made here and not freed.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_fetch_model(
    participant: *mut Participant,
    now: f64,
) -> u32 {
    // SAFETY: as the caller promises.
    done(unsafe { &mut *participant }.handle_input(now, Input::FetchModel))
}

/// Answers may be held back for so many milliseconds.
///
/// # Safety
/// `participant` was made here and not freed.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_patience(
    participant: *mut Participant,
    now: f64,
    milliseconds: f64,
) -> u32 {
    let patience = Input::Patience(Duration::from_millis(milliseconds as u64));
    // SAFETY: as the caller promises.
    done(unsafe { &mut *participant }.handle_input(now, patience))
}

/// Nothing more is to be done.
///
/// # Safety
/// `participant` was made here and not freed.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_stop(participant: *mut Participant, now: f64) -> u32 {
    // SAFETY: as the caller promises.
    done(unsafe { &mut *participant }.handle_input(now, Input::Stop))
}
