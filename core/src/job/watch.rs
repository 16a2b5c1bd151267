//! Noticing that a job is lost.
//!
//! With each job, and then with its result, goes a [`Token`]. Where it is dropped before the result is handed in
//! (a thread has panicked, a task was cancelled, somebody forgot), it leaves a mark that the machine sees when it is
//! called the next time. Nobody is woken by that: see [`LOOK_EVERY`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use super::JobId;

/// A job that was lost so many times in a row is not given out again: it is lost wherever it is run.
pub const MAX_LOSSES: u32 = 5;

/// After this time a machine that waits for a job wants to be called again, to see whether it was lost: whoever
/// has dropped it may not say so.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A machine's jobs that are under way.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    under_way: BTreeMap<JobId, Arc<AtomicBool>>,
    /// How many tokens were dropped too early, ever: most calls look at nothing else.
    losses: Arc<AtomicU64>,
    /// How many of them were looked into.
    seen: u64,
}

impl Watch {
    /// Has an eye on a job that is given out.
    pub(crate) fn begin(&mut self, id: JobId) -> Token {
        let lost = Arc::<AtomicBool>::default();
        self.under_way.insert(id, lost.clone());
        Token { losses: self.losses.clone(), lost, is_done: false }
    }

    /// A job's result, or its loss, was told: there is nothing more to watch.
    pub(crate) fn end(&mut self, id: JobId) {
        self.under_way.remove(&id);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// The jobs that were lost since the last look.
    pub(crate) fn take_lost(&mut self) -> Vec<JobId> {
        let losses = self.losses.load(Ordering::Acquire);
        if losses == self.seen {
            return Vec::new();
        }
        self.seen = losses;
        let is_lost = |lost: &AtomicBool| lost.load(Ordering::Acquire);
        let lost: Vec<_> =
            self.under_way.iter().filter(|(_, lost)| is_lost(lost)).map(|(id, _)| *id).collect();
        lost.iter().for_each(|id| self.end(*id));
        lost
    }
}

/// Goes with a job, and with its result until that is handed in.
pub(crate) struct Token {
    losses: Arc<AtomicU64>,
    lost: Arc<AtomicBool>,
    is_done: bool,
}

impl Token {
    /// The result was handed in.
    pub(crate) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.is_done {
            self.lost.store(true, Ordering::Release);
            self.losses.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_told_once_and_what_is_done_is_not() {
        let mut watch = Watch::default();
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|id| watch.begin(JobId(id)));
        assert!(watch.take_lost().is_empty());
        drop(third);
        drop(first);
        assert_eq!(watch.take_lost(), [JobId(1), JobId(3)]);
        assert!(watch.take_lost().is_empty());
        second.done();
        watch.end(JobId(2));
        // It was told already.
        watch.end(JobId(4));
        drop(fourth);
        assert!(watch.take_lost().is_empty());
        assert!(watch.under_way.is_empty());
    }

    #[test]
    fn another_thread_may_lose_it() {
        let mut watch = Watch::default();
        let token = watch.begin(JobId(7));
        #[allow(clippy::disallowed_methods, reason = "to lose it there")]
        let thread = std::thread::spawn(move || {
            let _token = token;
            panic!("a job that panics");
        });
        assert!(thread.join().is_err());
        assert_eq!(watch.take_lost(), [JobId(7)]);
    }
}
