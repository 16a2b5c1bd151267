//! The lease: who holds it leads.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pet_ledger::{Ask, Elapsed, Epoch, Lease, LedgerError, Position, ReplicaId};
use tokio::sync::watch;

use super::{flaws::Flaw, shared::Shared, SharedError};
use crate::{
    process::time::{sleep_until, timeout, timeout_at, Instant},
    route::Asking,
};

/// Who asks for the lease, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub replica: ReplicaId,
    /// What people call it.
    pub name: String,
    pub ttl: Duration,
}

/// What became of an attempt.
pub(super) enum Attempt {
    Held(Tenancy),
    /// Another one holds it, in this epoch, for so long if it is not renewed.
    Taken {
        by: String,
        epoch: Epoch,
        left: Duration,
    },
}

/// A lease that is held, until it is over by this process's own clock.
#[derive(Debug)]
pub(super) struct Tenancy {
    pub epoch: Epoch,
    pub until: watch::Sender<Instant>,
    /// When it was asked for, or renewed, the last time that it was held. Whoever wants to say something final of a
    /// message needs a renewal that was asked for after the message had come: all of a machine may have stood still.
    pub asking: Asking,
}

impl Candidate {
    /// So long after it was asked for the holder of the lease says nothing final any more, and gives up.
    fn patience(&self) -> Duration {
        self.ttl * 2 / 3
    }

    /// Takes the lease if it is free.
    pub async fn attempt(&self, shared: &Shared) -> Result<Attempt, SharedError> {
        let asked = Instant::now();
        Ok(match shared.ledger().lease(self.ask(None, None)).await? {
            Lease::Held { epoch, .. } => {
                let until = watch::channel(asked + self.patience()).0;
                Attempt::Held(Tenancy { epoch, until, asking: Asking::since(asked) })
            }
            Lease::HeldBy { name, epoch, left, .. } => Attempt::Taken { by: name, epoch, left },
        })
    }

    /// Renews the lease, without end; ends with the reason once it is lost.
    pub async fn keep(
        &self,
        shared: &Shared,
        tenancy: &Tenancy,
        clock: &PhaseClock,
    ) -> SharedError {
        let (mut next, mut last) = (Instant::now(), Instant::now());
        let mut trouble = "the engine does not answer".to_owned();
        loop {
            let over = *tenancy.until.borrow();
            let wanted = async {
                sleep_until(last + BETWEEN).await;
                tenancy.asking.wanted().await;
            };
            tokio::select! {
                biased;
                () = sleep_until(next.min(over)) => {}
                () = wanted => {}
            }
            let asked = Instant::now();
            last = asked;
            if asked >= over && Flaw::LeadsOn.is_there() {
                tenancy.until.send_replace(asked + self.ttl);
                tenancy.asking.knows(asked);
                continue;
            }
            if asked >= over {
                return SharedError::LeaseOver(trouble);
            }
            let enough = over.saturating_duration_since(asked) / 2;
            next = match timeout_at(over, self.renew(shared, (tenancy.epoch, clock), enough)).await
            {
                Ok(Ok(Lease::Held { epoch, .. })) if epoch == tenancy.epoch => {
                    tenancy.until.send_replace(asked + self.patience());
                    tenancy.asking.knows(asked);
                    asked + self.ttl / 3
                }
                Ok(Ok(_)) if Flaw::LeadsOn.is_there() => {
                    tenancy.until.send_replace(asked + self.patience());
                    tenancy.asking.knows(asked);
                    asked + self.ttl / 3
                }
                Ok(Ok(_)) | Ok(Err(LedgerError::Fenced { .. })) => return SharedError::Superseded,
                Ok(Err(error)) if error.is_passing() => {
                    trouble = error.to_string();
                    Instant::now() + RETRY
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => over,
            };
        }
    }

    /// Renews the lease once; twice if the first call has taken long enough, as another connection may be well.
    async fn renew(
        &self,
        shared: &Shared,
        (epoch, clock): (Epoch, &PhaseClock),
        enough: Duration,
    ) -> Result<Lease, LedgerError> {
        let mut first = shared.ledger().lease(self.ask(clock.elapsed(), Some(epoch)));
        if let Ok(done) = timeout(enough, &mut first).await {
            return done;
        }
        let second = shared.ledger().lease(self.ask(clock.elapsed(), Some(epoch)));
        tokio::select! {
            biased;
            done = first => done,
            done = second => done,
        }
    }

    fn ask(&self, elapsed: Option<Elapsed>, renews: Option<Epoch>) -> Ask {
        Ask { replica: self.replica, name: self.name.clone(), ttl: self.ttl, elapsed, renews }
    }

    /// Gives the lease up, so that another one need not wait.
    pub async fn release(&self, shared: &Shared, epoch: Epoch) {
        let released = shared.ledger().release(self.replica, epoch);
        match timeout(RELEASE, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the lease was not given up: it runs out"),
            Err(_) => tracing::debug!("the lease was not given up in time: it runs out"),
        }
    }
}

/// How often the lease is renewed at most because somebody has to be sure of it.
const BETWEEN: Duration = Duration::from_millis(50);
/// So soon after it has failed a renewal is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Whoever stops does not wait longer for the engine.
const RELEASE: Duration = Duration::from_secs(1);

/// How long the phase has been going on that the log leads to.
#[derive(Debug, Default)]
pub(super) struct PhaseClock(Mutex<Option<(Position, Instant)>>);

impl PhaseClock {
    /// The log ends here, and its phase has been going on since then.
    pub fn set(&self, position: Position, began: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((position, began));
    }

    fn elapsed(&self) -> Option<Elapsed> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.map(|(at, began)| Elapsed { at, time: began.elapsed() })
    }
}
