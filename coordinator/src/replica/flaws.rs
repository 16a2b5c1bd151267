//! Bugs that a replica could have: the simulation has to find each of them.
//!
//! Only tests can switch one on; in a program that is not a test there is none.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Messages are acknowledged when their records are about to be written.
    AcknowledgesBefore,
    /// Messages are turned away for good by what is not stored yet.
    RejectsBefore,
    /// Who cannot renew its lease goes on to lead, and to turn messages away.
    LeadsOn,
    /// A follower that is behind turns messages away for good, without a look at the end of the log.
    RejectsUnread,
    /// A follower shows what it reads as it goes, however old.
    GoesBack,
    /// A follower shows a new round with the global model of the one before.
    ShowsOldModel,
    /// Who gets the lease leads from where it has read to before.
    LeadsFromBefore,
    /// Parts are removed when the entry is about to be written that makes them useless.
    RemovesTooEarly,
    /// Updates are written without the aggregate that they are in.
    CountsBeforeAggregate,
    /// The phase's clock begins anew with each leader.
    ClockBeginsAnew,
    /// Entries that were perhaps appended are appended once more, behind whatever is there.
    AppendsAgain,
}

impl Flaw {
    /// Whether replicas have it.
    #[cfg(not(test))]
    pub const fn is_there(self) -> bool {
        false
    }

    /// Whether replicas have it, in this thread.
    #[cfg(test)]
    pub fn is_there(self) -> bool {
        THERE.get() == Some(self)
    }

    /// Gives replicas in this thread a bug, or none.
    #[cfg(test)]
    pub fn set(flaw: Option<Self>) {
        THERE.set(flaw);
    }
}

#[cfg(test)]
thread_local! {
    static THERE: std::cell::Cell<Option<Flaw>> = const { std::cell::Cell::new(None) };
}
