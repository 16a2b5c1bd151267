//! What a participant tells its user.

use std::ffi::{c_char, CString};

use pet_participant::transport::core::crypto::Task;
use pet_participant::transport::core::message::Tag;
use pet_participant::transport::core::participant as core;

use crate::status::c_text;
use crate::weights::{DataType, Weights};

/// What a user may want to know. What is set of a `pet_event`, beside its `text`, is said of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// A new round has begun; there may be a new global model: `task`, `data_type`, `length`.
    NewRound = 0,
    /// This participant is to update and has no local model: `data_type`, `length`. Said once a round.
    ModelNeeded = 1,
    /// The local model cannot be used and was dropped.
    ModelRejected = 2,
    /// The local model was for the round before, and was dropped.
    ModelOutdated = 3,
    /// The local model was masked.
    ModelMasked = 4,
    /// A part of a message was delivered: `message`, `sent` of `total`.
    Progress = 5,
    /// A message was delivered: `message`.
    Sent = 6,
    /// The coordinator has rejected a message for good: `message`. This participant can do nothing more in this round.
    Rejected = 7,
    /// This participant can do nothing more in this round.
    GaveUp = 8,
    /// The coordinator could not be asked, or gave a wrong answer: it is asked again later.
    Trouble = 9,
    /// The global model, as asked for: `model`, whose `data` is null while there is none.
    GlobalModel = 10,
    /// The global model could not be fetched: ask again later.
    GlobalModelFailed = 11,
    /// Something that this version of the header has no name for.
    Other = 12,
}

/// What a participant does in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum TaskKind {
    /// Nothing.
    None = 0,
    /// It sums masks.
    Sum = 1,
    /// It trains, and sends a masked model.
    Update = 2,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MessageKind {
    /// A key of one who sums.
    Sum = 1,
    /// A masked model.
    Update = 2,
    /// A sum of masks.
    Sum2 = 3,
}

/// Something that a user may want to know. Its pointers are there until the output is freed.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Event {
    /// A `pet_event_kind`.
    pub kind: u32,
    /// A `pet_task_kind`.
    pub task: u32,
    /// A `pet_message_kind`; 0 for none.
    pub message: u32,
    /// A `pet_data_type`.
    pub data_type: u32,
    /// How many weights the round's models have.
    pub length: u64,
    /// How many parts are delivered.
    pub sent: u64,
    /// How many there are.
    pub total: u64,
    /// The global model.
    pub model: Weights,
    /// A line for people.
    pub text: *const c_char,
}

/// An event with what its view points to.
#[derive(Debug)]
pub(crate) struct Told {
    event: core::Event,
    text: CString,
}

pub(crate) fn task(task: Task) -> u32 {
    (match task {
        Task::Sum => TaskKind::Sum,
        Task::Update => TaskKind::Update,
        _ => TaskKind::None,
    }) as u32
}

fn message(tag: Tag) -> u32 {
    match tag {
        Tag::Sum => MessageKind::Sum as u32,
        Tag::Update => MessageKind::Update as u32,
        Tag::Sum2 => MessageKind::Sum2 as u32,
        _ => 0,
    }
}

impl Event {
    pub(crate) fn new(kind: EventKind, text: *const c_char) -> Self {
        Self {
            kind: kind as u32,
            task: 0,
            message: 0,
            data_type: 0,
            length: 0,
            sent: 0,
            total: 0,
            model: Weights::NONE,
            text,
        }
    }
}

impl Told {
    pub(crate) fn new(event: core::Event) -> Self {
        let text = c_text(describe(&event));
        Self { event, text }
    }

    pub(crate) fn view(&self) -> Event {
        let of = |kind| Event::new(kind, self.text.as_ptr());
        match &self.event {
            core::Event::NewRound { task: own, parameters } => Event {
                task: task(*own),
                data_type: DataType::from(parameters.mask_config.vect.data_type()) as u32,
                length: parameters.model_length,
                ..of(EventKind::NewRound)
            },
            core::Event::ModelNeeded { data_type, length } => Event {
                data_type: DataType::from(*data_type) as u32,
                length: *length,
                ..of(EventKind::ModelNeeded)
            },
            core::Event::ModelRejected(_) => of(EventKind::ModelRejected),
            core::Event::ModelOutdated => of(EventKind::ModelOutdated),
            core::Event::ModelMasked(_) => of(EventKind::ModelMasked),
            core::Event::Progress { tag, sent, total } => Event {
                message: message(*tag),
                sent: *sent as u64,
                total: *total as u64,
                ..of(EventKind::Progress)
            },
            core::Event::Sent(tag) => Event { message: message(*tag), ..of(EventKind::Sent) },
            core::Event::Rejected { tag, .. } => {
                Event { message: message(*tag), ..of(EventKind::Rejected) }
            }
            core::Event::GaveUp(_) => of(EventKind::GaveUp),
            core::Event::Trouble(_) => of(EventKind::Trouble),
            core::Event::GlobalModel(model) => Event {
                model: model.as_ref().map_or(Weights::NONE, |model| Weights::of(model)),
                ..of(EventKind::GlobalModel)
            },
            core::Event::GlobalModelFailed(_) => of(EventKind::GlobalModelFailed),
            _ => of(EventKind::Other),
        }
    }
}

/// A line for people.
fn describe(event: &core::Event) -> String {
    match event {
        core::Event::NewRound { task, parameters } => format!(
            "a new round; task: {task}; models: {} weights, {}",
            parameters.model_length, parameters.mask_config.vect
        ),
        core::Event::ModelNeeded { data_type, length } => {
            format!("waiting for a local model of {length} {data_type} weights")
        }
        core::Event::ModelRejected(mismatch) => mismatch.to_string(),
        core::Event::ModelOutdated => "the local model was for the round before: dropped".into(),
        core::Event::ModelMasked(report) => match report.clamped {
            0 => "the local model is masked".into(),
            clamped => format!(
                "the local model is masked; {clamped} of its weights, times the scalar, were beyond the bound of this \
                 coordinator's models and were put on it: the largest was {}",
                report.largest_clamped
            ),
        },
        core::Event::Progress { tag, sent, total } => {
            format!("{sent} of {total} parts of the {} message are sent", tag.name())
        }
        core::Event::Sent(tag) => format!("the {} message is sent", tag.name()),
        core::Event::Rejected { tag, problem } => {
            format!("the coordinator has rejected the {} message: {problem}", tag.name())
        }
        core::Event::GaveUp(error) => error.to_string(),
        core::Event::Trouble(trouble) => trouble.to_string(),
        core::Event::GlobalModel(Some(model)) => {
            format!("the global model: {} {} weights", model.len(), model.data_type())
        }
        core::Event::GlobalModel(None) => "there is no global model yet".into(),
        core::Event::GlobalModelFailed(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}
