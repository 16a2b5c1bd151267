//! The mailbox, which a participant's thread and other threads share.

use std::sync::PoisonError;
use std::time::Duration;

use thiserror::Error;

use crate::inbox::Inbox;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The inbox behind a lock, and how far the participant's life is.
#[derive(Debug)]
pub(crate) struct Mailbox {
    contents: Mutex<Contents>,
    changed: Condvar,
}

#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) inbox: Inbox,
    pub(crate) stage: Stage,
}

/// How far the participant's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Running,
    /// It does nothing any more; its state can be had.
    Closed,
    /// Its state was had.
    Saved,
    /// Its thread has panicked, which is a bug.
    Broken,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Gone {
    /// The participant was stopped.
    #[error("the participant was stopped: make a new one from its saved state to go on")]
    Stopped,
    /// It belongs to the process that this one was forked from.
    #[error(
        "the participant works in the process that made it, and this one was forked from that: make a participant \
         after forking"
    )]
    Forked,
    /// Its thread has panicked.
    #[error(
        "the participant's native thread has panicked: please report what it wrote to standard error"
    )]
    Broken,
}

impl Mailbox {
    pub(crate) fn new(inbox: Inbox) -> Self {
        let contents = Contents { inbox, stage: Stage::Running };
        Self { contents: Mutex::new(contents), changed: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Contents> {
        // Nothing that is done under the lock leaves it half done.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all who wait that something has changed.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until `done` gives something, at most `timeout`.
    pub(crate) fn wait<R>(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&mut Inbox) -> Option<R>,
    ) -> Result<Option<R>, Gone> {
        let mut result = None;
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |contents| {
            if contents.check().is_ok() {
                result = done(&mut contents.inbox);
            }
            result.is_none() && contents.check().is_ok()
        });
        let (contents, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match result {
            Some(result) => Ok(Some(result)),
            None => contents.check().map(|()| None),
        }
    }
}

impl Contents {
    /// # Errors
    /// If the participant works no longer.
    pub(crate) fn check(&self) -> Result<(), Gone> {
        match self.stage {
            Stage::Running => Ok(()),
            Stage::Closed | Stage::Saved => Err(Gone::Stopped),
            Stage::Broken => Err(Gone::Broken),
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn who_waits_learns_that_nothing_will_come() {
        for (stage, gone) in [
            (Stage::Closed, Gone::Stopped),
            (Stage::Saved, Gone::Stopped),
            (Stage::Broken, Gone::Broken),
        ] {
            let mailbox = Mailbox::new(Inbox::new(None, false));
            let waited = std::thread::scope(|scope| {
                let waiting = scope.spawn(|| mailbox.wait(Duration::MAX, |_| None::<()>));
                mailbox.lock().stage = stage;
                mailbox.notify();
                waiting.join().unwrap()
            });
            assert_eq!(waited, Err(gone));
        }
    }

    #[test]
    fn what_is_there_is_given_without_waiting() {
        let mailbox = Mailbox::new(Inbox::new(None, false));
        assert_eq!(mailbox.wait(Duration::ZERO, |_| Some(1)), Ok(Some(1)));
        assert_eq!(mailbox.wait(Duration::ZERO, |_| None::<()>), Ok(None));
    }
}
