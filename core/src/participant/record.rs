//! Recorded participants.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Event, Input, Job, Outcome, Output, Participant, Reject, Settings, TransportFault};
use crate::job::JobId;
use crate::model::{DataType, Model};
use crate::record::{Jobs, Machine, Recordable, Recorded, Sink};
use crate::request::{Call, ModelForm, RequestId, Response};
use crate::time::Timestamp;
use crate::v2::member::PersistId;

/// A participant's settings, and its state as saved.
#[derive(Serialize, Deserialize)]
pub struct Beginning {
    settings: Settings,
    snapshot: Vec<u8>,
}

/// A participant's input.
#[derive(Serialize, Deserialize)]
pub enum Written {
    Tick,
    Response {
        id: RequestId,
        status: u16,
        body: Bytes,
    },
    Fault {
        id: RequestId,
        fault: TransportFault,
    },
    JobDone(JobId),
    JobLost(JobId),
    SetModel(Model),
    FetchModel,
    Stop,
    /// A response with a `Retry-After`. (Older records have only those without.)
    Later {
        id: RequestId,
        status: u16,
        body: Bytes,
        retry_after: Duration,
    },
    /// A response with a model in its short form.
    Array {
        id: RequestId,
        status: u16,
        body: Bytes,
        retry_after: Option<Duration>,
        data_type: DataType,
    },
    /// A state is stored.
    Persisted(PersistId),
    /// A state is not stored.
    NotPersisted {
        id: PersistId,
        reason: String,
    },
    Patience(Duration),
}

/// Shows no content.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => f.write_str("Tick"),
            Self::Response { id, status, body }
            | Self::Later { id, status, body, .. }
            | Self::Array { id, status, body, .. } => {
                write!(f, "Response({id:?}, {status}, {} bytes)", body.len())
            }
            Self::Fault { id, fault } => write!(f, "Fault({id:?}, {fault:?})"),
            Self::JobDone(id) => write!(f, "JobDone({id:?})"),
            Self::JobLost(id) => write!(f, "JobLost({id:?})"),
            Self::SetModel(model) => write!(f, "SetModel({model:?})"),
            Self::FetchModel => f.write_str("FetchModel"),
            Self::Persisted(id) => write!(f, "{id:?} stored"),
            Self::NotPersisted { id, reason } => write!(f, "{id:?} not stored: {reason}"),
            Self::Patience(most) => write!(f, "Patience({most:?})"),
            Self::Stop => f.write_str("Stop"),
        }
    }
}

impl Recorded<Participant> {
    /// Records from now on. The participant goes on from its saved state, as after a restart: record it
    /// before it is told anything.
    ///
    /// **The record holds all its secrets**: see the [module's page](crate::record).
    pub fn record(&mut self, sink: Sink) {
        let settings = self.settings().clone();
        let beginning = Beginning { settings, snapshot: self.state().to_vec() };
        *self = Self::begin(beginning, sink).expect("a machine reads what it has written itself");
    }
}

impl Recordable for Participant {}

impl Machine for Participant {
    const KIND: u8 = b'p';
    type Input = Input;
    type Output = Output;
    type Reject = Reject;
    type Outcome = Outcome;
    type Beginning = Beginning;
    type Written = Written;

    fn begin(beginning: Beginning) -> Result<Self, String> {
        let Beginning { settings, snapshot } = beginning;
        Self::restore(&snapshot, settings).map_err(|error| error.to_string())
    }

    fn tell(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.take_input(now, input)
    }

    fn ask(&mut self) -> Output {
        self.next_output()
    }

    fn take_lost_jobs(&mut self) -> Vec<JobId> {
        self.watch.take_lost()
    }

    fn job_lost(id: JobId) -> Input {
        Input::JobLost(id)
    }

    fn state(&self) -> Zeroizing<Vec<u8>> {
        self.snapshot().to_bytes()
    }

    fn write(input: &Input) -> Written {
        write_input(input)
    }

    fn read(written: Written, jobs: &mut Jobs<Self>) -> Option<Input> {
        read_input(written, jobs)
    }

    fn content(output: &Output) -> Vec<u8> {
        match output {
            Output::Request { call: Call::Message(body), .. } => body.to_vec(),
            Output::HandOver { message, .. } => message.frame.to_vec(),
            Output::Event(Event::GlobalModel(Some(model))) => {
                bincode::serialize(&**model).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    fn into_job(output: Output) -> Option<Job> {
        match output {
            Output::Job(job) => Some(job),
            _ => None,
        }
    }
}

/// How an input is written, of either version's machine.
pub(crate) fn write_input(input: &Input) -> Written {
    match input {
        Input::Tick => Written::Tick,
        Input::Response { id, response } => {
            let Response { status, ref body, retry_after, model_form } = *response;
            let (id, body) = (*id, body.clone());
            match (model_form, retry_after) {
                (ModelForm::Array(data_type), retry_after) => {
                    Written::Array { id, status, body, retry_after, data_type }
                }
                (ModelForm::Rationals, None) => Written::Response { id, status, body },
                (ModelForm::Rationals, Some(retry_after)) => {
                    Written::Later { id, status, body, retry_after }
                }
            }
        }
        Input::Fault { id, fault } => Written::Fault { id: *id, fault: fault.clone() },
        Input::JobDone(result) => Written::JobDone(result.id()),
        Input::JobLost(id) => Written::JobLost(*id),
        Input::SetModel(model) => Written::SetModel(model.clone()),
        Input::FetchModel => Written::FetchModel,
        Input::Persisted(id) => Written::Persisted(*id),
        Input::NotPersisted { id, reason } => {
            Written::NotPersisted { id: *id, reason: reason.clone() }
        }
        Input::Patience(most) => Written::Patience(*most),
        Input::Stop => Written::Stop,
    }
}

/// What was written; nothing if it is the result of a job that was never given out.
pub(crate) fn read_input(written: Written, jobs: &mut BTreeMap<JobId, Job>) -> Option<Input> {
    Some(match written {
        Written::Tick => Input::Tick,
        Written::Response { id, status, body } => {
            Input::Response { id, response: Response::new(status, body) }
        }
        Written::Later { id, status, body, retry_after } => {
            let response = Response::new(status, body).retry_after(Some(retry_after));
            Input::Response { id, response }
        }
        Written::Array { id, status, body, retry_after, data_type } => {
            let response = Response::new(status, body).retry_after(retry_after);
            Input::Response { id, response: response.model_form(ModelForm::Array(data_type)) }
        }
        Written::Fault { id, fault } => Input::Fault { id, fault },
        Written::JobDone(id) => Input::JobDone(jobs.remove(&id)?.finish()),
        Written::JobLost(id) => {
            jobs.remove(&id);
            Input::JobLost(id)
        }
        Written::SetModel(model) => Input::SetModel(model),
        Written::FetchModel => Input::FetchModel,
        Written::Persisted(id) => Input::Persisted(id),
        Written::NotPersisted { id, reason } => Input::NotPersisted { id, reason },
        Written::Patience(most) => Input::Patience(most),
        Written::Stop => Input::Stop,
    })
}
