//! `VACUUM`, soon after rows were removed: the room of what is gone is used again.
//!
//! PostgreSQL does so by itself, but looks once a minute only. By then a round may have stored its aggregate a hundred times, each as
//! long as a model: the database would grow to what is removed in a minute, and would never shrink.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pet_ledger::LedgerError;

use crate::{
    error::Does,
    server::{Lane, Server},
};

/// Tables are not looked at more often.
const OFTEN: Duration = Duration::from_millis(100);
/// It takes at most such a part of the time.
const SHARE: u32 = 10;
/// It is waited for no longer. (The server goes on.)
const PATIENCE: Duration = Duration::from_secs(600);

/// Whether this user may do it: others get a warning in the server's log each time, and no error.
const MAY: &str = "
SELECT pg_has_role(relowner, 'USAGE') OR
       (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database())
FROM pg_class WHERE oid = '$SCHEMA.slices'::regclass
";

/// When some tables, which go together, are looked at again. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Vacuum {
    statement: &'static str,
    state: Arc<Mutex<State>>,
    /// One at a time of all that a process does: they take connections that others need.
    alone: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct State {
    /// Not before.
    next: Instant,
    /// Somebody sees to it.
    is_busy: bool,
    /// Something was removed meanwhile.
    again: bool,
    /// It cannot be done, and that was told.
    is_given_up: bool,
}

impl Vacuum {
    /// What is removed from the log.
    pub fn of_log(alone: &Arc<tokio::sync::Mutex<()>>) -> Self {
        Self::new("VACUUM (SKIP_LOCKED) $SCHEMA.entries, $SCHEMA.letters, $SCHEMA.answers", alone)
    }

    /// Parts that are removed.
    pub fn of_parts(alone: &Arc<tokio::sync::Mutex<()>>) -> Self {
        Self::new("VACUUM (SKIP_LOCKED) $SCHEMA.slices, $SCHEMA.parts", alone)
    }

    fn new(statement: &'static str, alone: &Arc<tokio::sync::Mutex<()>>) -> Self {
        let state =
            State { next: Instant::now(), is_busy: false, again: false, is_given_up: false };
        Self { statement, state: Arc::new(Mutex::new(state)), alone: alone.clone() }
    }

    /// Something was removed: it is done when it is due, and nobody waits for it. (If it fails nothing is lost: the server itself
    /// does it later.)
    pub fn removed(&self, server: &Server) {
        if !server.has_spare_connections() || !self.state().begin() {
            return;
        }
        let (vacuum, server) = (self.clone(), server.clone());
        tokio::spawn(async move {
            let mut busy = Busy(vacuum, true);
            loop {
                let next = busy.0.state().next;
                tokio::time::sleep_until(next.into()).await;
                let _alone = busy.0.alone.lock().await;
                busy.0.state().again = false;
                let began = Instant::now();
                match busy.0.run(&server).await {
                    Ok(true) => {}
                    Ok(false) => {
                        busy.0.state().is_given_up = true;
                        tracing::warn!(
                            "the room of what is removed from the database is free only when the server itself comes to it, once a \
                             minute: this user is not the owner of its tables (ALTER TABLE ... OWNER TO)"
                        );
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the room of what was removed is not free yet");
                    }
                }
                busy.1 = busy.0.state().goes_on(began, Instant::now());
                if !busy.1 {
                    break;
                }
            }
        });
    }

    /// Does it; gives whether this user may.
    async fn run(&self, server: &Server) -> Result<bool, LedgerError> {
        let rows = server.run(Lane::Long, Does::Read, MAY, &[]).await?;
        if !rows.first().is_some_and(|row| row.get(0)) {
            return Ok(false);
        }
        server.chore(PATIENCE, &server.of_schema(self.statement)).await.map(|()| true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Something was removed: whether somebody has to begin to see to it.
    fn begin(&mut self) -> bool {
        self.again = true;
        let begins = !self.is_busy && !self.is_given_up;
        self.is_busy |= begins;
        begins
    }

    /// It was done, from then till now: whether there is more to do.
    fn goes_on(&mut self, began: Instant, now: Instant) -> bool {
        self.next = now + OFTEN + (now - began) * SHARE;
        self.is_busy = self.again && !self.is_given_up;
        self.is_busy
    }
}

/// Somebody sees to it, unless that has ended (then somebody else may do so already), until this is dropped.
struct Busy(Vacuum, bool);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.1 {
            self.0.state().is_busy = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_done_by_one_at_a_time_seldom_and_after_the_last_removal() {
        let vacuum = Vacuum::of_parts(&Arc::default());
        let mut state = vacuum.state();
        assert!(state.begin());
        let began = state.next;
        // As its task does.
        state.again = false;
        assert!(!state.begin(), "somebody is at it");
        let now = began + OFTEN;
        assert!(state.goes_on(began, now), "what was removed meanwhile");
        assert_eq!(state.next, now + OFTEN * (SHARE + 1));
        state.again = false;
        let began = state.next;
        assert!(!state.goes_on(began, began));
        assert!(state.begin());
        // Also if it is given up half-way.
        drop(state);
        drop(Busy(vacuum.clone(), true));
        assert!(vacuum.state().begin());
        // What has ended does not take the turn of who came after it.
        drop(Busy(vacuum.clone(), false));
        assert!(!vacuum.state().begin());
    }
}
