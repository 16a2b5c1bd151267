//! What the coordinator is doing, for people and programs that watch it.
//!
//! The driver tells an `Observer` what happens, which costs it next to nothing; everyone else reads
//! through a `View`: the status now, or a feed of its changes. What takes longer, such as the norm
//! of a model, is computed elsewhere and added later.

mod federation;
mod feed;
mod history;
mod measure;
mod observer;
mod observer_v2;
mod replica;
mod v2;
mod view;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

#[cfg_attr(not(feature = "replicas"), allow(unused_imports))]
pub(crate) use self::replica::Replica;
pub use self::replica::{KnownReplica, ReplicaStatus};
pub use self::v2::{
    CertificateStatus, Excluded, GroupStatus, MemberStatus, NoiseStatus, Note, V2Status,
};
pub(crate) use self::{
    federation::{note, STRANGE},
    feed::{Subscription, SUBSCRIBERS},
    observer::{channel, Observer},
    view::{Keepers, View},
};
#[cfg(feature = "replicas")]
pub(crate) use self::{history::Step, replica::Load};

/// The state of a coordinator. `GET /status` gives it as JSON, with these names.
///
/// Points in time are Unix times in seconds, durations are seconds, both with a fraction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The current state: everything but the past.
    #[serde(flatten)]
    pub now: Now,
    /// The latest rounds that are over, oldest first; at most 50.
    pub rounds: Arc<Vec<PastRound>>,
    /// Measurements every five seconds of the last ten minutes, oldest first.
    pub samples: Arc<Vec<Sample>>,
}

/// The state at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Now {
    /// The coordinator's version.
    pub version: String,
    /// The moment.
    pub time: f64,
    /// When the coordinator was started.
    pub started: f64,
    /// The current round.
    pub round: CurrentRound,
    /// The current phase.
    pub phase: CurrentPhase,
    /// What the rounds' models look like.
    pub model: ModelForm,
    /// Messages since the start.
    pub messages: Messages,
    /// Rounds since the start.
    pub totals: Totals,
    /// How fast messages come in now: the mean of the last ten seconds.
    pub throughput: Throughput,
    /// The process's memory.
    pub memory: Memory,
    /// The groups and what they do, of rounds of v2; left out for rounds of v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v2: Option<V2Status>,
    /// Which of several coordinators this is; left out if it is the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaStatus>,
}

/// The current round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CurrentRound {
    /// Its number; rounds count from 1.
    pub id: u64,
    /// When it began.
    pub began: f64,
    /// How long it has been going on.
    pub seconds: f64,
    /// Its phases that are over.
    pub phases: Vec<PastPhase>,
}

/// The current phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CurrentPhase {
    /// `idle`, `sum`, `update`, `sum2`, `unmask`, `failure` or `shutdown`; of rounds of v2 `announce`, `check` and `agree` as
    /// well, and not `sum`.
    pub name: String,
    /// How long it has been going on.
    pub seconds: f64,
    /// The shortest time that it lasts; null where there is no rule. So with the next three.
    pub min_seconds: Option<f64>,
    /// The time after which the round fails if the phase is not over.
    pub max_seconds: Option<f64>,
    /// The time that is left of `max_seconds`.
    pub left_seconds: Option<f64>,
    /// The number of accepted messages with which it may end.
    pub min_count: Option<u64>,
    /// The most messages that are accepted.
    pub max_count: Option<u64>,
    /// The messages accepted.
    pub accepted: u64,
    /// What it waits for: `messages`, `min_time`, `job`, `store`, `resume` or `nothing`.
    pub waits_for: String,
}

/// What models look like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelForm {
    /// The number of weights.
    pub length: u64,
    /// The mask config, such as `Prime/F32/B0/M3`.
    pub mask: String,
}

/// Messages since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Messages {
    /// Accepted ones by the phase they are for: `sum`, `update`, `sum2`. A part of a multipart message
    /// counts as one.
    pub accepted: BTreeMap<String, u64>,
    /// Rejected ones by reason: the names are those of `/metrics`.
    pub rejected: BTreeMap<String, u64>,
    /// The bytes of all messages that were received as a whole.
    pub received_bytes: u64,
}

/// Rounds since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Totals {
    /// Rounds that ended with a global model.
    pub completed: u64,
    /// Rounds that failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// When a round was last completed; null if none was.
    pub last_completed: Option<f64>,
}

/// How fast messages come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Throughput {
    /// Messages a second, accepted or rejected.
    pub messages_per_second: f64,
    /// Their bytes a second.
    pub bytes_per_second: f64,
}

/// The process's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Memory {
    /// What it holds in main memory; null where the system does not tell.
    pub resident_bytes: Option<u64>,
}

/// A round that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PastRound {
    /// Its number.
    pub id: u64,
    /// `completed` or `failed`.
    pub outcome: Outcome,
    /// When it began.
    pub began: f64,
    /// How long it took.
    pub seconds: f64,
    /// Its phases in order, the one in which it failed included.
    pub phases: Vec<PastPhase>,
    /// Why it failed; null if it did not.
    pub failure: Option<Failure>,
    /// How many updates the model is made of; null if it failed. So with `votes`.
    pub models: Option<u64>,
    /// How many sum participants have voted for the mask that was taken off.
    pub votes: Option<u64>,
    /// Messages rejected since the end of the round before, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The global model's Euclidean norm; null if there is none, or not yet. So with `change`.
    pub norm: Option<f64>,
    /// The Euclidean norm of the difference from the global model before.
    pub change: Option<f64>,
    /// What proves that its global model is what the members have agreed on, of rounds of v2; left out for those of v1, and
    /// for those that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With a global model.
    Completed,
    /// Without.
    Failed,
}

/// A phase that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PastPhase {
    /// `sum`, `update`, `sum2` or `unmask`.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// How many messages it accepted; null for `unmask`, which takes none.
    pub accepted: Option<u64>,
}

/// Why a round failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// In which phase.
    pub phase: String,
    /// A short, stable name: that of `/metrics`.
    pub reason: String,
    /// The same for people.
    pub message: String,
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sample {
    /// When.
    pub time: f64,
    /// Messages a second since the sample before.
    pub messages_per_second: f64,
    /// Bytes a second since the sample before.
    pub bytes_per_second: f64,
    /// As in [`Memory`].
    pub resident_bytes: Option<u64>,
}
