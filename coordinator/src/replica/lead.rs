//! Leading: the machine runs in this process.

use std::{future::Future, sync::Arc};

use pet_core::coordinator::{Coordinator as Machine, PersistId, Recovery, ResumeError};
use tokio::{
    sync::{oneshot, watch},
    time::{interval, Duration, Instant, MissedTickBehavior},
};
use tracing::{debug, info};

use super::{
    commands::Desk,
    follower::{Follower, Led},
    lease::{PhaseClock, Tenancy},
    run::Replica,
    shared::Shared,
    store::LedgerStore,
    writer::Writer,
    SharedError,
};
use crate::{
    driver::{Clock, Driver, DriverError},
    route::{Route, Tenure},
    store::{Store, StoreError},
};

/// How leading has ended.
pub(super) enum Ended {
    /// All is stored, and the process stops.
    Stopped(Result<(), DriverError>),
    /// For this reason; it may be that another one leads.
    Lost(SharedError),
}

impl Replica {
    /// Leads until the lease is lost, or `stop` resolves and then all is stored.
    pub(super) async fn lead(
        &mut self,
        tenancy: &Tenancy,
        follower: Follower,
        stop: impl Future + Clone + Unpin,
    ) -> Ended {
        let clock = Arc::new(PhaseClock::default());
        let (shared, candidate) = (follower.shared().clone(), self.candidate.clone());
        let keeping = candidate.keep(&shared, tenancy, &clock);
        let sweeping = sweep(&shared, tenancy);
        tokio::pin!(keeping, sweeping);
        let driver = tokio::select! {
            biased;
            lost = &mut keeping => return Ended::Lost(lost),
            driver = self.begin(tenancy, follower, &clock) => match driver {
                Ok(driver) => driver,
                Err(error) => return Ended::Lost(error),
            },
        };
        let (stop_driver, stopped) = oneshot::channel();
        let mut stop_driver = Some(stop_driver);
        let driving = driver.run(stopped);
        tokio::pin!(driving);
        let mut written = self.written.clone();
        loop {
            tokio::select! {
                biased;
                lost = &mut keeping => return Ended::Lost(lost),
                ended = &mut driving => return match ended {
                    Err(DriverError::Store(StoreError::Shared(error))) => Ended::Lost(error),
                    ended => Ended::Stopped(ended),
                },
                _ = stop.clone(), if stop_driver.is_some() => drop(stop_driver.take()),
                () = &mut sweeping => {}
                Ok(()) = written.changed() => {
                    let end = *written.borrow_and_update();
                    self.show(|shown| shown.position = end.position.0);
                }
            }
        }
    }

    /// Makes the machine of what is in the log, and has messages delivered to it.
    async fn begin(
        &mut self,
        tenancy: &Tenancy,
        mut follower: Follower,
        phase_clock: &Arc<PhaseClock>,
    ) -> Result<Driver, SharedError> {
        let began = Instant::now();
        let shared = follower.shared().clone();
        // Nobody else can write any more: now the end is the end.
        let (head, _) = follower.advance().await?;
        self.check_root(&follower)?;
        let root = follower.root().cloned().unwrap_or_else(|| self.root.clone());
        let Led { recovery, end, kept, phase_began, failed } = follower.lead().await?;
        let recovery = recovery.unwrap_or_else(|| Recovery::new(root.clone()));
        let known = head.elapsed.filter(|elapsed| elapsed.at >= phase_began);
        let known = known.filter(|_| failed.is_none());
        let elapsed = known.map_or(Duration::ZERO, |elapsed| elapsed.time);
        phase_clock.set(end.position, began.checked_sub(elapsed).unwrap_or(began));

        let clock = Clock::start();
        let settings = self.settings.protocol();
        let machine = Machine::resume(recovery, elapsed, settings, clock.now());
        let machine = machine.map_err(|error| match error {
            ResumeError::Records(error) => SharedError::Inconsistent(error),
            _ => SharedError::Malformed("the settings"),
        })?;
        let (round, phase) = (machine.round_id(), machine.phase());
        let written = watch::channel(end).0;
        self.written = written.subscribe();
        let mut writer = Writer {
            shared,
            epoch: tenancy.epoch,
            end,
            root,
            kept,
            models: Arc::clone(&self.models),
            models_kept: self.models_kept,
            clock: Arc::clone(phase_clock),
            until: tenancy.until.subscribe(),
            looked: None,
            written,
        };
        if let Some(record) = failed {
            writer.write(vec![(PersistId(0), record)], Some(began)).await?;
        }
        let store = Box::new(LedgerStore::new(writer, Arc::clone(&self.models))) as Box<dyn Store>;
        let (board, counters) = (self.board.clone(), Arc::clone(&self.counters));
        let (driver, deliver) =
            Driver::new(machine, clock, board, counters, self.observer.clone(), store);
        self.desk.send_replace(Desk::Machine(driver.commands()));
        let tenure = Tenure::until(tenancy.until.subscribe());
        self.route.send_replace(Route::Machine(deliver, tenure));
        info!(
            epoch = tenancy.epoch.0,
            round,
            %phase,
            phase_seconds = elapsed.as_secs_f64(),
            took = ?began.elapsed(),
            "this replica leads"
        );
        Ok(driver)
    }
}

/// How often replicas are looked for that are gone.
const SWEEP: Duration = Duration::from_secs(10);
/// Who has not said for so long that it is alive is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Tidies up after replicas that are gone, without end.
async fn sweep(shared: &Shared, tenancy: &Tenancy) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match shared.ledger().sweep(tenancy.epoch, SILENCE).await {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => {
                info!(replicas = gone.len(), "replicas are gone: they were silent for a minute")
            }
            Err(error) => debug!(%error, "replicas that are gone are not looked for now"),
        }
    }
}
