//! The metrics for Prometheus, in the OpenMetrics text format.
//!
//! Each coordinator has its own: nothing here is global. `docs/monitoring.md` says what each means; a
//! test compares.

use std::time::Duration;

use pet_core::{
    coordinator::{Phase, RoundFailure},
    v2::coordinator::{MessageKind, RoundFailure as FailureOfV2},
};
use prometheus_client::{
    encoding::{text::encode, EncodeLabelSet},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{exponential_buckets, Histogram},
    },
    registry::Registry,
};

use crate::{
    log::DroppedLines,
    panics,
    status::{MemberStatus, PastRound, ReplicaStatus, Status, V2Status, STRANGE},
};

/// The Content-Type of [`exposition`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is measured where it happens.
#[derive(Debug)]
pub(crate) struct Histograms {
    pub message_bytes: Histogram,
    pub store_seconds: Histogram,
    pub requests_in_flight: Gauge,
    pub log_lines_dropped: DroppedLines,
    pub answer_bytes: Gauge,
    phase_seconds: Family<PhaseLabel, Histogram>,
    request_seconds: Family<Request, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MembersLabel {
    group: String,
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    name: String,
}

/// A kind of request: there are not many.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    /// Its route, or `other`.
    pub route: String,
    /// The status it was answered with.
    pub status: u16,
}

impl Default for Histograms {
    fn default() -> Self {
        Self {
            // 256 bytes to 4 GiB.
            message_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 13)),
            // A millisecond to half a minute.
            store_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            requests_in_flight: Gauge::default(),
            log_lines_dropped: DroppedLines::default(),
            answer_bytes: Gauge::default(),
            // A tenth of a second to most of an hour.
            phase_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.1, 2.0, 16))
            }),
            // A quarter of a millisecond to a minute.
            request_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_25, 4.0, 10))
            }),
        }
    }
}

impl Histograms {
    /// A phase has ended well.
    pub fn phase(&self, phase: &dyn std::fmt::Display, took: Duration) {
        let label = PhaseLabel { phase: phase.to_string() };
        self.phase_seconds.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// The answer to a request begins.
    pub fn request(&self, request: &Request, took: Duration) {
        self.request_seconds.get_or_create(request).observe(took.as_secs_f64());
    }
}

/// Everything, in the text format. The library ends each help text with a dot: these come without.
pub(crate) fn exposition(
    histograms: &Histograms,
    status: &Status,
    ready: bool,
    store_waits: Duration,
) -> String {
    let mut registry = Registry::with_prefix("pet");
    now(&mut registry, status);
    counted(&mut registry, status);
    latest_model(&mut registry, status);
    if let Some(federation) = &status.now.v2 {
        federation_of(&mut registry, federation);
    }
    if let Some(replica) = &status.now.replica {
        replica_of(&mut registry, replica);
    }
    measured(&mut registry, histograms);
    gauge(&mut registry, "ready", "Whether /readyz says so", u64::from(ready));
    gauge(
        &mut registry,
        "store_waiting_seconds",
        "For how long the store has owed a confirmation",
        store_waits.as_secs_f64(),
    );
    let help = "Panics of the process, each of them a bug";
    registry.register("panics", help, ConstCounter::new(panics::total()));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

fn now(registry: &mut Registry, status: &Status) {
    let now = &status.now;
    let info = Family::<VersionLabel, Gauge>::default();
    info.get_or_create(&VersionLabel { version: now.version.clone() }).set(1);
    registry.register("build_info", "The coordinator's version", info);
    gauge(registry, "start_timestamp_seconds", "When it was started", now.started);
    gauge(registry, "round_id", "The number of the current round", now.round.id);

    let phases = Family::<PhaseLabel, Gauge>::default();
    let of_v1 = PHASES.map(|phase| phase.to_string());
    let names = if now.v2.is_some() { &PHASES_OF_V2.map(str::to_owned)[..] } else { &of_v1[..] };
    for phase in names {
        let label = PhaseLabel { phase: phase.clone() };
        phases.get_or_create(&label).set(i64::from(label.phase == now.phase.name));
    }
    registry.register("phase", "1 for the current phase, 0 for the others", phases);
    let phase = &now.phase;
    gauge(registry, "phase_seconds", "How long the phase has been going on", phase.seconds);
    gauge(registry, "phase_messages", "Messages accepted in the phase", phase.accepted);
    if let (Some(min), Some(max), Some(seconds)) =
        (phase.min_count, phase.max_count, phase.max_seconds)
    {
        gauge(registry, "phase_messages_min", "It ends once so many are accepted", min);
        gauge(registry, "phase_messages_max", "No more are accepted", max);
        gauge(registry, "phase_seconds_max", "The round fails after that", seconds);
    }
    if let Some(bytes) = now.memory.resident_bytes {
        gauge(registry, "resident_memory_bytes", "What the process holds in memory", bytes);
    }
}

fn counted(registry: &mut Registry, status: &Status) {
    let messages = &status.now.messages;
    let accepted = Family::<PhaseLabel, Counter>::default();
    let of_v2 = MessageKind::ALL.map(MessageKind::label);
    let is_v2 = status.now.v2.is_some();
    for phase in if is_v2 { &of_v2[..] } else { &["sum", "update", "sum2"][..] } {
        let (phase, count) = (*phase, messages.accepted.get(*phase).copied().unwrap_or(0));
        accepted.get_or_create(&PhaseLabel { phase: phase.to_owned() }).inc_by(count);
    }
    registry.register("messages_accepted", "Messages accepted, by their phase", accepted);
    let rejected = by_reason(&messages.rejected);
    registry.register("messages_rejected", "Messages rejected, by reason", rejected);

    let totals = &status.now.totals;
    let completed = ConstCounter::new(totals.completed);
    registry.register("rounds_completed", "Rounds that ended with a global model", completed);
    let failed = by_reason(&totals.failed);
    // A counter that begins with 1 looks as if nothing had happened.
    let labels = if is_v2 { &FailureOfV2::LABELS[..] } else { &RoundFailure::LABELS[..] };
    for reason in labels {
        failed.get_or_create(&ReasonLabel { reason: (*reason).to_owned() }).inc_by(0);
    }
    registry.register("rounds_failed", "Rounds that failed, by reason", failed);
    if let Some(time) = totals.last_completed {
        let help = "When a round was last completed";
        gauge(registry, "last_round_completed_timestamp_seconds", help, time);
    }
}

/// What a member may have done, or be, in a round.
const STATES: [&str; 5] = ["announced", "reported", "voted", "mask", "disregarded"];

fn is_in(member: &MemberStatus, state: &str) -> bool {
    match state {
        "announced" => member.announced,
        "reported" => member.reported,
        "voted" => member.voted,
        "mask" => member.mask,
        _ => member.disregarded,
    }
}

/// Of rounds of v2.
fn federation_of(registry: &mut Registry, federation: &V2Status) {
    let members = Family::<MembersLabel, Gauge>::default();
    for group in &federation.groups {
        for state in STATES {
            let label = MembersLabel { group: group.name.clone(), state: state.to_owned() };
            let count = group.members.iter().filter(|member| is_in(member, state)).count();
            members.get_or_create(&label).set(count as i64);
        }
    }
    registry.register("v2_members", "Members of a group that have done so in the round", members);
    if let Some(group) = federation.groups.first() {
        gauge(registry, "v2_majority", "Members that are a majority of a group", group.majority);
    }
    let help = "Updaters that members have excluded from the round";
    gauge(registry, "v2_excluded", help, federation.excluded_count);
    let strange = Family::<NameLabel, Counter>::default();
    // A counter that begins with 1 looks as if nothing had happened.
    let known = STRANGE.iter().map(|name| (*name, 0));
    let counted = federation.strange.iter().map(|(name, count)| (name.as_str(), *count));
    for (name, count) in known.chain(counted) {
        strange.get_or_create(&NameLabel { name: name.to_owned() }).inc_by(count);
    }
    registry.register("v2_strange", "Strange things that members or updaters did", strange);
    if let Some(noise) = &federation.noise {
        let help = "The noise of each group, as a multiple of what one updater can change";
        gauge(registry, "v2_noise_multiplier", help, noise.multiplier);
        let help = "The most epsilon (delta 1e-5) that any updater has spent in completed rounds";
        gauge(registry, "v2_epsilon", help, noise.most_epsilon);
    }
}

/// Of several coordinators that are one.
fn replica_of(registry: &mut Registry, replica: &ReplicaStatus) {
    let leads = u64::from(replica.role == "leader");
    gauge(registry, "replica_leads", "1 if this replica leads, 0 if it does not", leads);
    gauge(registry, "replica_epoch", "How often another replica has led so far", replica.epoch);
    let help = "The last entry of the log that this replica has read or written";
    gauge(registry, "replica_log_entry", help, replica.position);
    let help = "How long ago this replica was at the end of the log";
    gauge(registry, "replica_lag_seconds", help, replica.lag_seconds);
    let help = "Updates that this replica holds until they are recorded";
    gauge(registry, "replica_updates_held", help, replica.held);
    let help = "Updates that the leader has reserved for other replicas";
    gauge(registry, "replica_updates_reserved", help, replica.reserved);
    let help = "Letters between replicas that have no answer yet: this follower's own, or at the leader those of all";
    gauge(registry, "replica_letters", help, replica.letters);
    let help = "Bytes that this replica has written to the engine, parts included";
    gauge(registry, "replica_engine_written_bytes", help, replica.written_bytes);
    let help = "Bytes that this replica has read from the engine";
    gauge(registry, "replica_engine_read_bytes", help, replica.read_bytes);
    let help = "Replicas that say that they are alive";
    gauge(registry, "replica_count", help, replica.replicas.len() as u64);
}

fn by_reason(counts: &std::collections::BTreeMap<String, u64>) -> Family<ReasonLabel, Counter> {
    let family = Family::<ReasonLabel, Counter>::default();
    for (reason, count) in counts {
        family.get_or_create(&ReasonLabel { reason: reason.clone() }).inc_by(*count);
    }
    family
}

/// Of the latest round with a model: what is not known (yet) is left out.
fn latest_model(registry: &mut Registry, status: &Status) {
    gauge(registry, "model_weights", "The number of a model's weights", status.now.model.length);
    let latest = status.rounds.iter().rev().find(|round| round.models.is_some());
    let Some(PastRound { models, votes, norm, change, .. }) = latest else {
        return;
    };
    for (name, help, count) in [
        ("model_updates", "How many updates the latest global model is made of", models),
        ("model_votes", "How many sum participants voted for its mask", votes),
    ] {
        if let Some(count) = count {
            gauge(registry, name, help, *count);
        }
    }
    for (name, help, norm) in [
        ("model_norm", "The latest global model's Euclidean norm", norm),
        ("model_change", "The norm of its difference from the one before", change),
    ] {
        if let Some(norm) = norm {
            gauge(registry, name, help, *norm);
        }
    }
}

fn measured(registry: &mut Registry, histograms: &Histograms) {
    let Histograms {
        message_bytes,
        store_seconds,
        requests_in_flight,
        log_lines_dropped,
        answer_bytes,
        phase_seconds,
        request_seconds,
    } = histograms;
    let help = "How long phases took that ended well";
    registry.register("phase_duration_seconds", help, phase_seconds.clone());
    let help = "The length of messages that were received as a whole";
    registry.register("message_bytes", help, message_bytes.clone());
    let help = "How long the store took to confirm a record";
    registry.register("store_duration_seconds", help, store_seconds.clone());
    let help = "How long requests took until their answer began";
    registry.register("http_request_duration_seconds", help, request_seconds.clone());
    let help = "Requests whose answer has not begun";
    registry.register("http_requests_in_flight", help, requests_in_flight.clone());
    let help = "Log lines that nobody took in time, or that could not be written";
    registry.register("log_lines_dropped", help, ConstCounter::new(log_lines_dropped.count()));
    let help = "Memory of answers that are being sent";
    registry.register("http_answer_bytes", help, answer_bytes.clone());
}

fn gauge<N>(registry: &mut Registry, name: &str, help: &str, value: N)
where
    ConstGauge<N>: prometheus_client::registry::Metric,
{
    registry.register(name, help, ConstGauge::new(value));
}

const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::Sum,
    Phase::Update,
    Phase::Sum2,
    Phase::Unmask,
    Phase::Failure,
    Phase::Shutdown,
];

const PHASES_OF_V2: [&str; 9] =
    ["idle", "announce", "update", "check", "agree", "sum2", "unmask", "failed", "shutdown"];
