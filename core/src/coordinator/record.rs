//! Recorded coordinators.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::verified::{Body, Verified};
use super::{
    Admission, Coordinator, Field, Input, InvalidSettings, Job, Outcome, Output, PartDone, PartId,
    PersistId, Reject, Rule, Settings, Shard, Ticket, Violation,
};
use crate::crypto::{PublicSigningKey, RootSeed};
use crate::job::JobId;
use crate::message::Tag;
use crate::record::{Jobs, Machine, Recordable, Recorded, Sink};
use crate::time::Timestamp;

/// What a new coordinator is made of.
#[derive(Serialize, Deserialize)]
pub struct Beginning {
    settings: Settings,
    root: RootSeed,
    now: Timestamp,
}

/// A coordinator's input.
#[derive(Debug, Serialize, Deserialize)]
pub enum Written {
    Tick,
    Message { ticket: u64, message: Message },
    JobDone(JobId),
    JobLost(JobId),
    Persisted(PersistId),
    Stop,
    Pause,
    Resume,
    Skip,
    ChangeSettings(Box<Settings>),
    Admit { ticket: u64, shard: Shard, admission: Admission },
    Part { ticket: u64, done: PartDone },
    ShardLost { shard: Shard },
    Fetched { part: PartId, bytes: Option<Bytes> },
}

/// A verified message. A type of its own, so that nobody takes for verified what was only read.
#[derive(Serialize, Deserialize)]
pub struct Message {
    round_id: u64,
    participant: PublicSigningKey,
    tag: Tag,
    body: Body,
}

/// Shows no content.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} message of {} for round {}", self.tag, self.participant, self.round_id)
    }
}

impl Recorded<Coordinator> {
    /// A new coordinator, as [`Coordinator::new`] makes it, that is recorded.
    ///
    /// **The record holds the keys of all its rounds**: see the [module's page](crate::record).
    ///
    /// A record has nothing of optimisers: do not [change its settings](Input::ChangeSettings) to some with one either.
    ///
    /// # Errors
    /// If the settings break a rule, or have an optimiser.
    pub fn record(
        settings: Settings,
        root: RootSeed,
        now: Timestamp,
        sink: Sink,
    ) -> Result<Self, InvalidSettings> {
        settings.validate()?;
        if let Some(optimizer) = &settings.optimizer {
            return Err(InvalidSettings(vec![Violation {
                field: Field::OptimizerKind,
                value: optimizer.rule.kind().to_string(),
                rule: Rule::NothingRecorded,
                depends_on: vec![Field::OptimizerKind],
            }]));
        }
        let recorded = Self::begin(Beginning { settings, root, now }, sink);
        Ok(recorded.expect("valid settings are all that it takes"))
    }
}

impl Recordable for Coordinator {}

impl Machine for Coordinator {
    const KIND: u8 = b'c';
    type Input = Input;
    type Output = Output;
    type Reject = Reject;
    type Outcome = Outcome;
    type Beginning = Beginning;
    type Written = Written;

    fn begin(beginning: Beginning) -> Result<Self, String> {
        let Beginning { settings, root, now } = beginning;
        Self::new(settings, root, now).map_err(|error| error.to_string())
    }

    fn tell(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.take_input(now, input)
    }

    fn ask(&mut self) -> Output {
        self.next_output()
    }

    fn take_lost_jobs(&mut self) -> Vec<JobId> {
        self.under_way.take_lost()
    }

    fn job_lost(id: JobId) -> Input {
        Input::JobLost(id)
    }

    fn state(&self) -> Zeroizing<Vec<u8>> {
        self.snapshot().to_bytes()
    }

    fn write(input: &Input) -> Written {
        match input {
            Input::Tick => Written::Tick,
            Input::Message { ticket, message } => {
                let Verified { round_id, participant, tag, body } = message.clone();
                Written::Message {
                    ticket: ticket.0,
                    message: Message { round_id, participant, tag, body },
                }
            }
            Input::JobDone(result) => Written::JobDone(result.id()),
            Input::JobLost(id) => Written::JobLost(*id),
            Input::Persisted(id) => Written::Persisted(*id),
            Input::Stop => Written::Stop,
            Input::Pause => Written::Pause,
            Input::Resume => Written::Resume,
            Input::Skip => Written::Skip,
            Input::ChangeSettings(settings) => Written::ChangeSettings(settings.clone()),
            Input::Admit { ticket, shard, admission } => {
                Written::Admit { ticket: ticket.0, shard: *shard, admission: admission.clone() }
            }
            Input::Part { ticket, done } => Written::Part { ticket: ticket.0, done: done.clone() },
            Input::ShardLost { shard } => Written::ShardLost { shard: *shard },
            Input::Fetched { part, bytes } => {
                Written::Fetched { part: *part, bytes: bytes.clone() }
            }
        }
    }

    fn read(written: Written, jobs: &mut Jobs<Self>) -> Option<Input> {
        Some(match written {
            Written::Tick => Input::Tick,
            Written::Message { ticket, message } => {
                let Message { round_id, participant, tag, body } = message;
                let message = Verified { round_id, participant, tag, body };
                Input::Message { ticket: Ticket(ticket), message }
            }
            Written::JobDone(id) => Input::JobDone(jobs.remove(&id)?.finish()),
            Written::JobLost(id) => {
                jobs.remove(&id);
                Input::JobLost(id)
            }
            Written::Persisted(id) => Input::Persisted(id),
            Written::Stop => Input::Stop,
            Written::Pause => Input::Pause,
            Written::Resume => Input::Resume,
            Written::Skip => Input::Skip,
            Written::ChangeSettings(settings) => Input::ChangeSettings(settings),
            Written::Admit { ticket, shard, admission } => {
                Input::Admit { ticket: Ticket(ticket), shard, admission }
            }
            Written::Part { ticket, done } => Input::Part { ticket: Ticket(ticket), done },
            Written::ShardLost { shard } => Input::ShardLost { shard },
            Written::Fetched { part, bytes } => Input::Fetched { part, bytes },
        })
    }

    fn content(output: &Output) -> Vec<u8> {
        match output {
            Output::Front(front) => {
                let mut said = Vec::new();
                said.extend(front.parameters().map(|parameters| parameters.to_bytes()));
                said.extend(front.model().map(|model| model.rationals.to_vec()));
                said.concat()
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
