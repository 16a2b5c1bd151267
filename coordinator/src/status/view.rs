//! Reading the status.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use pet_core::coordinator::{GlobalModel, Phase};
use tokio::sync::{mpsc, watch, Semaphore};

use super::{
    feed::{self, Gauges, Published, Subscription, SUBSCRIBERS},
    history::{labelled, unix},
    measure::measure,
    observer::Shared,
    replica::Replica,
    Memory, Messages, Now, Status, Totals,
};
use crate::metrics::{exposition, Histograms};

/// A store that takes longer than this to confirm a record is not working.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// The reader's side. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(super) shared: Arc<Shared>,
    pub(super) gauges: Arc<Mutex<Gauges>>,
    pub(super) feed: watch::Sender<Option<Arc<Published>>>,
    pub(super) stopped: watch::Receiver<bool>,
    places: Arc<Semaphore>,
    started: f64,
}

/// The tasks that keep a view up to date.
#[must_use = "without it the view stands still"]
pub(crate) struct Keepers {
    view: View,
    models: mpsc::Receiver<GlobalModel>,
}

impl Keepers {
    /// Runs until the coordinator stops.
    pub async fn run(self) {
        let mut stopped = self.view.stopped.clone();
        let shared = Arc::clone(&self.view.shared);
        tokio::select! {
            ((), ()) = async { tokio::join!(feed::keep(self.view), measure(self.models, shared)) } => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

impl View {
    pub(super) fn new(
        shared: Arc<Shared>,
        models: mpsc::Receiver<GlobalModel>,
        stopped: watch::Receiver<bool>,
    ) -> (Self, Keepers) {
        let view = Self {
            shared,
            gauges: Arc::default(),
            feed: watch::channel(None).0,
            stopped,
            places: Arc::new(Semaphore::new(SUBSCRIBERS)),
            started: unix(SystemTime::now()),
        };
        (view.clone(), Keepers { view, models })
    }

    /// The status at this moment.
    pub fn status(&self) -> Status {
        let metrics = self.shared.counters.read();
        let (throughput, samples) = {
            let gauges = self.gauges();
            (gauges.throughput(), gauges.samples())
        };
        let resident_bytes = resident_bytes();
        let owned = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(&label, &count)| (label.to_owned(), count)).collect()
        };
        let state = self.shared.lock();
        let now = Now {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: unix(SystemTime::now()),
            started: self.started,
            round: state.round(),
            phase: state.phase(),
            model: state.form(),
            messages: Messages {
                accepted: owned(&metrics.accepted),
                rejected: labelled(&metrics.rejections),
                received_bytes: metrics.received_bytes,
            },
            totals: Totals {
                completed: metrics.rounds_completed,
                failed: owned(&metrics.failures),
                last_completed: state.last_completed(),
            },
            throughput,
            memory: Memory { resident_bytes },
            v2: state.federation.as_ref().map(|federation| federation.shown.clone()),
            replica: state.replica.as_ref().map(Replica::status),
        };
        Status { now, rounds: state.rounds(), samples }
    }

    /// The changes from now on; `None` if there are as many subscribers as there may be.
    pub fn subscribe(&self) -> Option<Subscription> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Subscription::new(self.clone(), place))
    }

    /// Why no participant can be served now; nothing if all is well.
    pub fn problems(&self) -> Vec<String> {
        let state = self.shared.lock();
        let (round, phase) = (state.round(), state.phase().name);
        let waits = state.store_waits();
        let replica = state.replica.as_ref().and_then(Replica::problem);
        drop(state);
        let mut problems = Vec::new();
        if *self.stopped.borrow() || phase == Phase::Shutdown.to_string() {
            problems.push("the coordinator is shutting down".to_owned());
        } else if round.id == 0 {
            problems.push("the first round has not begun yet".to_owned());
        }
        problems.extend(replica);
        if waits > STORE_PATIENCE {
            problems.push(format!("the store has confirmed nothing for {} s", waits.as_secs()));
        }
        problems
    }

    /// Whether this is the one that takes messages.
    pub fn leads(&self) -> bool {
        self.shared.lock().replica.as_ref().is_none_or(|replica| replica.is_leader)
    }

    /// Which of several coordinators this is, in a line.
    pub fn replica(&self) -> Option<String> {
        self.shared.lock().replica.as_ref().map(Replica::line)
    }

    /// What has been counted and measured, for Prometheus.
    pub fn exposition(&self) -> String {
        let store_waits = self.shared.lock().store_waits();
        let ready = self.problems().is_empty();
        exposition(self.histograms(), &self.status(), ready, store_waits)
    }

    /// Where those who serve requests put what they measure.
    pub fn histograms(&self) -> &Histograms {
        &self.shared.counters.histograms
    }

    pub(super) fn gauges(&self) -> MutexGuard<'_, Gauges> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this process holds in main memory.
pub(super) fn resident_bytes() -> Option<u64> {
    memory_stats::memory_stats().map(|stats| stats.physical_mem as u64)
}

#[cfg(test)]
mod tests {
    use pet_core::{
        coordinator::{Coordinator, PersistId},
        crypto::RootSeed,
        time::Timestamp,
    };
    use tokio::time::advance;

    use super::*;
    use crate::{metrics::Counters, settings::Settings, status::channel};

    /// (Time is virtual.)
    #[tokio::test(start_paused = true)]
    async fn a_coordinator_is_ready_once_a_round_is_on_and_as_long_as_the_store_works() {
        let (stop, stopped) = watch::channel(false);
        let (observer, view, _keepers) = channel(Arc::<Counters>::default(), stopped);
        assert_eq!(view.problems(), ["the first round has not begun yet"]);
        let settings = Settings::for_model_length(4).protocol();
        let machine = Coordinator::new(settings, RootSeed::new([1; 32]), Timestamp::ZERO);
        let mut machine = machine.unwrap();
        let idle = loop {
            if let pet_core::coordinator::Output::Idle(idle) = machine.poll_output() {
                break idle;
            }
        };
        observer.storing(PersistId(1));
        observer.storing(PersistId(2));
        observer.idle(&machine, &idle);
        assert!(view.problems().is_empty());
        advance(Duration::from_secs(11)).await;
        assert_eq!(view.problems(), ["the store has confirmed nothing for 11 s"]);
        assert!(view.exposition().contains("\npet_store_waiting_seconds 11.0\n"));
        observer.stored(PersistId(1));
        assert_eq!(view.problems().len(), 1);
        observer.stored(PersistId(2));
        assert!(view.problems().is_empty());
        assert!(view.exposition().contains("\npet_store_duration_seconds_count 2\n"));
        stop.send_replace(true);
        assert_eq!(view.problems(), ["the coordinator is shutting down"]);
    }
}
