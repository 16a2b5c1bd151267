//! What a member has done since it was started, for its operator.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pet_core::v2::{
    member::{Event, Refusal, Status},
    Phase,
};
use prometheus_client::{
    encoding::{text::encode, EncodeLabelSet},
    metrics::{counter::ConstCounter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What is counted.
#[derive(Debug)]
pub(super) struct Tally {
    started: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    events: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    troubles: u64,
    checked: u64,
    accused: u64,
    states: u64,
    states_failed: u64,
    /// When the coordinator last answered as it should.
    answered: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    event: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: String,
}

impl Tally {
    pub fn new() -> Self {
        Self { started: Instant::now(), counts: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Numbers are never half changed, so a panic elsewhere does not spoil them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn event(&self, event: &Event) {
        let mut counts = self.lock();
        let name = match event {
            Event::Announced { .. } => "announced",
            Event::Reported { updates, accused } => {
                counts.checked += updates;
                counts.accused += *accused as u64;
                "reported"
            }
            Event::Voted { .. } => "voted",
            Event::Certified { .. } => "certified",
            Event::MaskSent { .. } => "mask_sent",
            Event::RoundOver { .. } => "round_over",
            Event::RoundFailed { .. } => "round_failed",
            Event::Rejected { .. } => "rejected",
            Event::Refused { refusal, .. } => {
                *counts.refused.entry(refusal.label()).or_default() += 1;
                return;
            }
            Event::Trouble(_) => {
                counts.troubles += 1;
                return;
            }
            _ => return,
        };
        *counts.events.entry(name).or_default() += 1;
    }

    /// A state was stored, or not.
    pub fn stored(&self, is_stored: bool) {
        let mut counts = self.lock();
        match is_stored {
            true => counts.states += 1,
            false => counts.states_failed += 1,
        }
    }

    /// The member has looked at the coordinator, and nothing was wrong.
    pub fn answered(&self) {
        self.lock().answered = Some(Instant::now());
    }

    /// How long ago that was.
    pub fn silent_for(&self) -> Duration {
        self.lock().answered.unwrap_or(self.started).elapsed()
    }

    /// The metrics in the OpenMetrics text format.
    pub fn exposition(&self, status: &Status) -> String {
        let counts = self.lock().clone();
        let mut registry = Registry::with_prefix("pet_member");
        let events = Family::<EventLabel, prometheus_client::metrics::counter::Counter>::default();
        for name in EVENTS {
            let count = counts.events.get(name).copied().unwrap_or(0);
            events.get_or_create(&EventLabel { event: (*name).to_owned() }).inc_by(count);
        }
        registry.register("events", "What the member has done, by kind", events);
        let refused =
            Family::<ReasonLabel, prometheus_client::metrics::counter::Counter>::default();
        for reason in Refusal::LABELS {
            let count = counts.refused.get(reason).copied().unwrap_or(0);
            refused.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc_by(count);
        }
        registry.register("refusals", "What the member has refused, by reason", refused);
        let mut counter = |name: &str, help: &str, value: u64| {
            registry.register(name, help, ConstCounter::new(value));
        };
        counter(
            "troubles",
            "Requests to the coordinator that were not answered as they should be",
            counts.troubles,
        );
        counter("updates_checked", "Updates checked", counts.checked);
        counter("updates_accused", "Updates accused", counts.accused);
        counter("states_stored", "States stored", counts.states);
        counter(
            "states_not_stored",
            "States that could not be stored; the member waits for each",
            counts.states_failed,
        );
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        gauge("round", "The coordinator's round, as it was last seen", status.round.unwrap_or(0));
        gauge("takes_part", "Whether the member takes part in it", status.takes_part.into());
        gauge("may_vote", "Whether the member may vote in it", status.may_vote.into());
        gauge("updates", "How many updates there are to be checked in it", status.updates);
        gauge("updates_checked_in_round", "How many of them are checked", status.checked);
        gauge("misses", "Looks at the coordinator in a row without progress", status.misses.into());
        gauge(
            "silent_seconds",
            "Seconds since the coordinator last answered as it should",
            counts.answered.unwrap_or(self.started).elapsed().as_secs(),
        );
        gauge(
            "uptime_seconds",
            "Seconds since the member was started",
            self.started.elapsed().as_secs(),
        );
        let phase = Family::<PhaseLabel, Gauge>::default();
        for name in Phase::ALL {
            let is_it = status.phase == Some(name);
            phase.get_or_create(&PhaseLabel { phase: name.label().to_owned() }).set(is_it.into());
        }
        registry.register("phase", "1 for the phase of the round", phase);
        let why = Family::<WhyLabel, Gauge>::default();
        why.get_or_create(&WhyLabel { why: status.waits_for.label().to_owned() }).set(1);
        registry.register("waits_for", "1 for what the member waits for", why);
        let mut text = String::new();
        // Writing into memory does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

/// All events that are counted, so that each is there before it has occurred.
const EVENTS: &[&str] = &[
    "announced",
    "reported",
    "voted",
    "certified",
    "mask_sent",
    "round_over",
    "round_failed",
    "rejected",
];
