//! Leading: the machine runs in this process.

use std::{future::Future, sync::Arc};

use pet_core::coordinator::{Coordinator as Machine, PersistId, Recovery, ResumeError};
use tokio::sync::{oneshot, watch};
use tracing::{debug, info};

use super::{
    beat::silence,
    commands::{Desk, Service},
    flaws::Flaw,
    follower::{Follower, Led},
    inbox::Inbox,
    lease::{PhaseClock, Tenancy},
    run::Replica,
    shared::Shared,
    store::{LedgerStore, Queue},
    writer::Writer,
    SharedError,
};
use crate::{
    admin::Office,
    driver::{Clock, Driver, DriverError, ToOthers},
    process::time::{interval, Duration, Instant, MissedTickBehavior},
    route::Route,
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
        let (driver, queue, others, office) = tokio::select! {
            biased;
            lost = &mut keeping => return Ended::Lost(lost),
            _ = stop.clone() => return Ended::Stopped(Ok(())),
            driver = self.begin(tenancy, follower, &clock) => match driver {
                Ok(driver) => driver,
                Err(error) => return Ended::Lost(error),
            },
        };
        let us = (tenancy.epoch, self.candidate.replica, silence(self.candidate.ttl));
        let service = Service { office, done: Arc::clone(&self.done) };
        let inbox = Inbox::run(shared.clone(), us, queue, others, service);
        tokio::pin!(inbox);
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
                () = &mut inbox => return Ended::Lost(SharedError::Superseded),
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
    ) -> Result<(Driver, Arc<Queue>, ToOthers, Arc<Office>), SharedError> {
        let began = Instant::now();
        let shared = follower.shared().clone();
        // Nobody else can write any more: now the end is the end.
        let head = match Flaw::LeadsFromBefore.is_there() {
            false => follower.advance().await?.0,
            true => shared.ledger().head().await?,
        };
        self.check_root(&follower)?;
        self.observer.followed(&follower.take_steps());
        let root = follower.root().cloned().unwrap_or_else(|| self.root.clone());
        let Led { recovery, end, kept, phase_began, failed } = follower.lead().await?;
        let recovery = recovery.unwrap_or_else(|| Recovery::new(root.clone()));
        let known = head.elapsed.filter(|elapsed| elapsed.at >= phase_began);
        let known = known.filter(|_| failed.is_none() && !Flaw::ClockBeginsAnew.is_there());
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
        let store = LedgerStore::new(writer, Arc::clone(&self.models));
        let queue = store.queue();
        let store = Box::new(store) as Box<dyn Store>;
        let (board, counters) = (self.board.clone(), Arc::clone(&self.counters));
        let (mut driver, deliver) =
            Driver::new(machine, clock, board, counters, self.observer.clone(), store);
        // Messages are opened with what the machine has, not with what this replica knew when it followed.
        let others = driver.others();
        driver.settle();
        let office = Arc::new(Office::new(driver.commands(), self.settings.clone()));
        let recent = tenancy.asking.recent().with_store(driver.progress());
        self.desk.send_replace(Desk::Here(Arc::clone(&office), recent.clone()));
        self.route.send_replace(Route::Machine(deliver, Some(recent)));
        info!(
            epoch = tenancy.epoch.0,
            round,
            %phase,
            phase_seconds = elapsed.as_secs_f64(),
            took = ?began.elapsed(),
            "this replica leads"
        );
        Ok((driver, queue, others, office))
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
