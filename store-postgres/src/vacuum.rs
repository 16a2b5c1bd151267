//! `VACUUM`, soon after rows were removed: the room of what is gone is used again.
//!
//! PostgreSQL does so by itself, but looks once a minute only. By then a round may have stored its aggregate a hundred times, each as
//! long as a model: the database would grow to what is removed in a minute, and would never shrink. What is kept and lies at the
//! end of a file would keep all the room before it as well: where little is kept, and much more room taken, the table is written
//! anew.

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
/// Nor are letters: what reads them passes over those that are gone, and is slow only after thousands.
const OFTEN_FOR_MAIL: Duration = Duration::from_secs(1);
/// Fewer letters that are gone are no matter.
const MAIL: usize = 500;
/// It takes at most such a part of the time.
const SHARE: u32 = 10;
/// It is waited for no longer. (The server goes on.)
const PATIENCE: Duration = Duration::from_secs(600);
/// A table that somebody has used all the time is tried again so much later at most.
const IN_USE: Duration = Duration::from_secs(2);
/// A table that has not become smaller is tried again so much later at most: somebody may still see what was removed.
const IN_VAIN: Duration = Duration::from_secs(60);

/// Whether this user may do it: others get a warning in the server's log each time, and no error.
const MAY: &str = "
SELECT pg_has_role(relowner, 'USAGE') OR
       (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database())
FROM pg_class WHERE oid = '$SCHEMA.slices'::regclass
";

/// Makes room in slices and parts free again.
const VACUUM_PARTS: &str = "VACUUM (SKIP_LOCKED) $SCHEMA.slices, $SCHEMA.parts";
/// Makes room in letters and answers free again. (Their files stay as long as they are: to make one shorter takes a lock that others
/// wait for, and it would grow again at once.)
const VACUUM_MAIL: &str = "VACUUM (SKIP_LOCKED, TRUNCATE false) $SCHEMA.letters, $SCHEMA.answers";
/// Makes room in the log and in letters free again.
const VACUUM_LOG: &str = "VACUUM (SKIP_LOCKED) $SCHEMA.entries, $SCHEMA.letters, $SCHEMA.answers";

/// Whether slices take far more room than what is kept, and little is kept: to write that anew takes some hundredths of a second,
/// and nobody reads or writes parts meanwhile. And which file they are in.
const IS_LOOSE: &str = "
SELECT live <= 16 * 1024 * 1024 AND pg_total_relation_size('$SCHEMA.slices') > live * 5 / 4 + 1024 * 1024,
       pg_relation_filenode('$SCHEMA.slices')
FROM (SELECT coalesce(sum(length), 0)::bigint AS live FROM $SCHEMA.parts) AS kept
";

/// Not while somebody uses it: there is a next time.
const REWRITE: &str = "VACUUM (FULL, SKIP_LOCKED) $SCHEMA.slices";

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Chore {
    /// This statement.
    Vacuum(&'static str),
    /// Slices are written anew if they take too much room.
    Rewrite,
}

/// When some tables, which go together, are looked at again. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Vacuum {
    chore: Chore,
    /// It is done after so many rows were removed.
    after: usize,
    state: Arc<Mutex<State>>,
    /// One at a time of all that a process does: they take connections that others need.
    alone: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct State {
    /// Not before.
    next: Instant,
    /// Done, it waits so long before the next time.
    often: Duration,
    /// How many rows were removed since.
    removed: usize,
    /// Tried in vain, it waits so long before the next time.
    pause: Duration,
    /// Somebody sees to it.
    is_busy: bool,
    /// Something was removed meanwhile.
    again: bool,
    /// It cannot be done, and that was told.
    is_given_up: bool,
}

/// What has come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// All that there was to do.
    All,
    /// Somebody used the table.
    InUse,
    /// It has not helped.
    InVain,
    /// This user may not.
    Denied,
}

impl Vacuum {
    /// What is removed from the log.
    pub fn of_log(alone: &Arc<tokio::sync::Mutex<()>>) -> Self {
        Self::new(Chore::Vacuum(VACUUM_LOG), alone)
    }

    /// Letters that are answered, and answers that are read.
    pub fn of_mail(alone: &Arc<tokio::sync::Mutex<()>>) -> Self {
        let vacuum = Self { after: MAIL, ..Self::new(Chore::Vacuum(VACUUM_MAIL), alone) };
        vacuum.state().often = OFTEN_FOR_MAIL;
        vacuum
    }

    /// Parts that are removed.
    pub fn of_parts(alone: &Arc<tokio::sync::Mutex<()>>) -> Self {
        Self::new(Chore::Vacuum(VACUUM_PARTS), alone)
    }

    /// The room that parts have left, where it is far more than what is kept.
    pub fn of_room(alone: &Arc<tokio::sync::Mutex<()>>) -> Self {
        Self::new(Chore::Rewrite, alone)
    }

    fn new(chore: Chore, alone: &Arc<tokio::sync::Mutex<()>>) -> Self {
        let state = State {
            next: Instant::now(),
            often: OFTEN,
            removed: 0,
            pause: OFTEN,
            is_busy: false,
            again: false,
            is_given_up: false,
        };
        Self { chore, after: 1, state: Arc::new(Mutex::new(state)), alone: alone.clone() }
    }

    /// So many rows were removed: it is done when it is due, and nobody waits for it. (If it fails nothing is lost: the server itself
    /// does it later.)
    pub fn removed(&self, server: &Server, rows: usize) {
        if !server.has_spare_connections() || !self.state().begin(rows, self.after) {
            return;
        }
        let (vacuum, server) = (self.clone(), server.clone());
        tokio::spawn(async move {
            let mut busy = Busy(vacuum, true);
            loop {
                let next = busy.0.state().next;
                tokio::time::sleep_until(next.into()).await;
                let _alone = busy.0.alone.lock().await;
                busy.0.state().starts();
                let began = Instant::now();
                let done = match busy.0.run(&server).await {
                    Ok(done) => done,
                    Err(error) => {
                        tracing::debug!(%error, "the room of what was removed is not free yet");
                        Done::All
                    }
                };
                if done == Done::Denied && matches!(busy.0.chore, Chore::Vacuum(_)) {
                    tracing::warn!(
                        "the room of what is removed from the database is free only when the server itself comes to it, once a \
                         minute: this user is not the owner of its tables (ALTER TABLE ... OWNER TO)"
                    );
                }
                busy.1 = busy.0.state().goes_on(done, began, Instant::now());
                if !busy.1 {
                    break;
                }
            }
        });
    }

    async fn run(&self, server: &Server) -> Result<Done, LedgerError> {
        let rows = server.run(Lane::Long, Does::Read, MAY, &[]).await?;
        if !rows.first().is_some_and(|row| row.get(0)) {
            return Ok(Done::Denied);
        }
        match self.chore {
            Chore::Vacuum(statement) => {
                server.chore(PATIENCE, &server.of_schema(statement)).await?;
                Ok(Done::All)
            }
            Chore::Rewrite => rewrite(server).await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// So many rows were removed: whether somebody has to begin to see to it.
    fn begin(&mut self, rows: usize, after: usize) -> bool {
        self.removed = self.removed.saturating_add(rows);
        if self.removed < after {
            return false;
        }
        self.again = true;
        let begins = !self.is_busy && !self.is_given_up;
        self.is_busy |= begins;
        begins
    }

    /// It is done now, for all that was removed.
    fn starts(&mut self) {
        (self.again, self.removed) = (false, 0);
    }

    /// It was done, from then till now: whether there is more to do.
    fn goes_on(&mut self, done: Done, began: Instant, now: Instant) -> bool {
        self.pause = match done {
            Done::All | Done::Denied => self.often,
            Done::InUse => (self.pause * 2).min(IN_USE),
            Done::InVain => (self.pause * 2).min(IN_VAIN),
        };
        self.next = now + self.pause + (now - began) * SHARE;
        self.is_given_up |= done == Done::Denied;
        self.again |= matches!(done, Done::InUse | Done::InVain);
        self.is_busy = self.again && !self.is_given_up;
        self.is_busy
    }
}

/// Writes slices anew if they take too much room, unless somebody uses them.
async fn rewrite(server: &Server) -> Result<Done, LedgerError> {
    let look = async || -> Result<_, LedgerError> {
        let rows = server.run(Lane::Long, Does::Read, IS_LOOSE, &[]).await?;
        Ok(rows.first().map_or((false, None), |row| (row.get(0), row.get::<_, Option<u32>>(1))))
    };
    let (true, before) = look().await? else { return Ok(Done::All) };
    server.chore(PATIENCE, &server.of_schema(REWRITE)).await?;
    Ok(match look().await? {
        (false, _) => Done::All,
        (true, file) if file == before => Done::InUse,
        (true, _) => Done::InVain,
    })
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
        assert!(state.begin(1, 1));
        let began = state.next;
        // As its task does.
        state.starts();
        assert!(!state.begin(1, 1), "somebody is at it");
        let now = began + OFTEN;
        assert!(state.goes_on(Done::All, began, now), "what was removed meanwhile");
        assert_eq!(state.next, now + OFTEN * (SHARE + 1));
        state.starts();
        let began = state.next;
        assert!(!state.goes_on(Done::All, began, began));
        assert!(state.begin(1, 1));
        // Also if it is given up half-way.
        drop(state);
        drop(Busy(vacuum.clone(), true));
        assert!(vacuum.state().begin(1, 1));
        // What has ended does not take the turn of who came after it.
        drop(Busy(vacuum.clone(), false));
        assert!(!vacuum.state().begin(1, 1));
    }

    #[test]
    fn a_few_letters_that_are_gone_are_no_matter() {
        let vacuum = Vacuum::of_mail(&Arc::default());
        let mut state = vacuum.state();
        for _ in 1..MAIL {
            assert!(!state.begin(1, vacuum.after));
        }
        assert!(state.begin(1, vacuum.after));
        state.starts();
        let now = state.next;
        assert!(!state.goes_on(Done::All, now, now));
        assert_eq!(state.next, now + OFTEN_FOR_MAIL);
        assert!(!state.begin(1, vacuum.after), "they are counted anew");
    }

    #[test]
    fn what_was_done_in_vain_is_done_again_ever_more_seldom() {
        let vacuum = Vacuum::of_room(&Arc::default());
        let mut state = vacuum.state();
        for (done, most) in [(Done::InUse, IN_USE), (Done::InVain, IN_VAIN)] {
            let mut pauses = Vec::new();
            for _ in 0..12 {
                state.again = false;
                let now = state.next;
                assert!(state.goes_on(done, now, now));
                pauses.push(state.next - now);
            }
            assert!(pauses.is_sorted() && pauses[0] < most && pauses[11] == most, "{pauses:?}");
            state.again = false;
            let now = state.next;
            assert!(!state.goes_on(Done::All, now, now));
            assert_eq!(state.pause, OFTEN);
        }
        state.again = true;
        let now = state.next;
        assert!(!state.goes_on(Done::Denied, now, now), "there is no use in it");
    }
}
