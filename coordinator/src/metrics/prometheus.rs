//! The metrics for Prometheus, in the OpenMetrics text format.
//!
//! Each coordinator has its own: nothing here is global. `docs/monitoring.md` says what each means; a
//! test compares.

use std::time::Duration;

use pet_core::coordinator::{Phase, RoundFailure};
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
    status::{PastRound, Status},
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
    for phase in PHASES {
        let label = PhaseLabel { phase: phase.to_string() };
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
    for phase in ["sum", "update", "sum2"] {
        let count = messages.accepted.get(phase).copied().unwrap_or(0);
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
    for reason in RoundFailure::LABELS {
        failed.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc_by(0);
    }
    registry.register("rounds_failed", "Rounds that failed, by reason", failed);
    if let Some(time) = totals.last_completed {
        let help = "When a round was last completed";
        gauge(registry, "last_round_completed_timestamp_seconds", help, time);
    }
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
