//! What every ledger has to pass, and every store of parts: the same checks for an engine in memory and for real ones.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use pet_ledger::conformance::{check_ledger, check_parts, Memory};
//!
//! assert_eq!(check_ledger(&Memory::default()).await, []);
//! assert_eq!(check_parts(&Memory::default()).await, []);
//! # });
//! ```

mod chores;
mod leases;
mod letters;
mod log;
mod parts;
mod races;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    memory::{Bug, MemoryEngine},
    Append, Appended, Ask, Beat, Epoch, Head, Lease, Ledger, LedgerError, Letter, Parts, Pending,
    ReplicaId,
};

/// Makes what is to be checked.
pub trait Factory: Send + Sync {
    /// Three connections to a ledger that is new, as three replicas have them.
    fn ledgers(&self) -> Pending<'_, [Arc<dyn Ledger>; 3]>;

    /// Two connections to an empty store of parts.
    fn parts(&self) -> Pending<'_, [Arc<dyn Parts>; 2]>;

    /// Lets time pass by the clock of the engine that was made last.
    fn pass(&self, time: Duration) -> Pending<'_, ()>;

    /// A time that many calls fit in, also where there is much else to do: a lease of as much is held at the next call.
    fn unit(&self) -> Duration;
}

/// What is wrong with a ledger or a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which check says so.
    pub check: &'static str,
    /// What is wrong.
    pub why: String,
}

/// What a check returns.
pub(crate) type Checked = Result<(), Wrong>;

/// Why a check fails.
#[derive(Debug)]
pub(crate) struct Wrong(String);

impl From<LedgerError> for Wrong {
    fn from(error: LedgerError) -> Self {
        Self(format!("an error: {error}"))
    }
}

macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Wrong::from(format!($($why)+)));
        }
    };
}

macro_rules! equal {
    ($is:expr, $must:expr, $($what:tt)+) => {
        match (&$is, &$must) {
            (is, must) if *is != *must => {
                let what = format!($($what)+);
                return Err($crate::conformance::Wrong::from(format!(
                    "{what}: {is:?} instead of {must:?}"
                )));
            }
            _ => {}
        }
    };
}

pub(crate) use {ensure, equal};

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self(why)
    }
}

macro_rules! checks {
    ($factory:expr, $make:ident, $failures:expr, [$($module:ident::$check:ident,)+]) => {
        $(
            let made = $factory.$make().await;
            let checked = match made {
                Ok(made) => $module::$check($factory, made).await,
                Err(error) => Err(error.into()),
            };
            if let Err(Wrong(why)) = checked {
                $failures.push(Failure { check: stringify!($check), why });
            }
        )+
    };
}

/// Checks a ledger; tells what is wrong with it.
pub async fn check_ledger(factory: &dyn Factory) -> Vec<Failure> {
    let mut failures = Vec::new();
    checks!(
        factory,
        ledgers,
        failures,
        [
            leases::a_lease_is_taken_renewed_and_runs_out,
            leases::giving_a_lease_up_is_a_fence,
            leases::a_late_renewal_takes_nothing,
            leases::a_lease_that_ran_out_is_renewed_if_nobody_took_it,
            leases::the_phase_goes_on_by_the_engines_clock,
            log::a_new_ledger_is_empty,
            log::entries_come_back_in_order,
            log::an_old_epoch_is_fenced,
            log::the_entry_before_must_be_the_one,
            log::an_append_is_whole_or_nothing,
            log::what_is_too_large_is_refused,
            log::reading_is_limited,
            log::what_is_forgotten_is_named,
            letters::letters_are_answered_with_the_entries,
            letters::a_letter_with_a_key_is_there_once,
            letters::letters_are_limited,
            letters::too_many_letters_are_refused,
            letters::answers_are_for_the_writer,
            letters::only_the_leader_reads_letters,
            chores::beats_are_seen_with_their_age,
            chores::replicas_that_are_silent_are_swept,
            chores::only_the_leader_sweeps,
            chores::waiting_ends_when_something_comes,
            chores::the_header_is_that_of_the_first,
            chores::the_clock_goes_on,
            races::one_takes_the_lease,
            races::one_appends,
            races::a_leader_is_fenced_between_two_appends,
            races::no_letter_is_missed,
            races::a_letter_with_a_key_is_posted_at_once_by_two,
        ]
    );
    failures
}

/// Checks a store of parts; tells what is wrong with it.
pub async fn check_parts(factory: &dyn Factory) -> Vec<Failure> {
    let mut failures = Vec::new();
    checks!(
        factory,
        parts,
        failures,
        [
            parts::parts_come_back,
            parts::parts_never_change,
            parts::parts_are_listed_with_their_age,
            parts::parts_are_removed,
            parts::two_store_the_same_at_once,
        ]
    );
    failures
}

/// Engines in memory, with a bug or without.
#[derive(Debug, Default)]
pub struct Memory {
    /// The bug that they have.
    pub bug: Option<Bug>,
    latest: std::sync::Mutex<Option<MemoryEngine>>,
}

impl Memory {
    /// Engines that have a bug.
    pub fn with(bug: Bug) -> Self {
        Self { bug: Some(bug), ..Self::default() }
    }

    fn engine(&self) -> MemoryEngine {
        let engine = MemoryEngine::standing();
        self.bug.into_iter().for_each(|bug| engine.seed_bug(bug));
        *self.latest.lock().expect("nobody panics while it is locked") = Some(engine.clone());
        engine
    }
}

impl Factory for Memory {
    fn ledgers(&self) -> Pending<'_, [Arc<dyn Ledger>; 3]> {
        let engine = self.engine();
        let ledger = move |_| Arc::new(engine.ledger()) as Arc<dyn Ledger>;
        Box::pin(async { Ok([0, 1, 2].map(ledger)) })
    }

    fn parts(&self) -> Pending<'_, [Arc<dyn Parts>; 2]> {
        let engine = self.engine();
        let parts = move |_| Arc::new(engine.parts()) as Arc<dyn Parts>;
        Box::pin(async { Ok([0, 1].map(parts)) })
    }

    fn pass(&self, time: Duration) -> Pending<'_, ()> {
        let latest = self.latest.lock().expect("nobody panics while it is locked").clone();
        latest.into_iter().for_each(|engine| engine.advance(time));
        Box::pin(async { Ok(()) })
    }

    fn unit(&self) -> Duration {
        Duration::from_secs(10)
    }
}

pub(crate) type Ledgers = [Arc<dyn Ledger>; 3];

/// The replica of a number.
pub(crate) fn replica(number: u8) -> ReplicaId {
    ReplicaId([number; 16])
}

/// A lease of a replica's, for so long.
pub(crate) fn ask(number: u8, ttl: Duration) -> Ask {
    Ask {
        replica: replica(number),
        name: format!("replica {number}"),
        ttl,
        elapsed: None,
        renews: None,
    }
}

/// A lease that outlasts a check.
pub(crate) async fn lead(ledger: &Arc<dyn Ledger>, number: u8) -> Result<Epoch, Wrong> {
    lead_for(ledger, number, Duration::from_secs(3600)).await
}

pub(crate) async fn lead_for(
    ledger: &Arc<dyn Ledger>,
    number: u8,
    ttl: Duration,
) -> Result<Epoch, Wrong> {
    match ledger.lease(ask(number, ttl)).await? {
        Lease::Held { epoch, .. } => Ok(epoch),
        held => Err(Wrong(format!("replica {number} is not given a lease that is free: {held:?}"))),
    }
}

/// The lease goes from one replica to another.
pub(crate) async fn depose(
    ledger: &Arc<dyn Ledger>,
    (old, epoch): (u8, Epoch),
    new: u8,
) -> Result<Epoch, Wrong> {
    ledger.release(replica(old), epoch).await?;
    lead(ledger, new).await
}

pub(crate) fn entry(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Entries behind a head.
pub(crate) fn append(epoch: Epoch, head: &Head, entries: &[&str]) -> Append {
    Append {
        epoch,
        after: head.position,
        hash: head.hash,
        entries: entries.iter().map(|text| entry(text)).collect(),
        answers: Vec::new(),
        elapsed: None,
    }
}

pub(crate) fn done(appended: Appended) -> Result<Head, Wrong> {
    match appended {
        Appended::Done(head) => Ok(head),
        other => Err(Wrong(format!("what must be appended is not: {other:?}"))),
    }
}

pub(crate) fn letter(from: u8, key: &str, body: &str) -> Letter {
    Letter { from: replica(from), kind: 1, key: entry(key), body: entry(body) }
}

pub(crate) fn beat(number: u8) -> Beat {
    Beat {
        replica: replica(number),
        name: format!("replica {number}"),
        address: format!("http://replica-{number}:8081"),
        info: entry("info"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_engine_in_memory_conforms() {
        assert_eq!(check_ledger(&Memory::default()).await, []);
        assert_eq!(check_parts(&Memory::default()).await, []);
    }

    /// Each bug is found, by the check that is there for it.
    #[tokio::test(start_paused = true)]
    async fn each_seeded_bug_is_found() {
        for bug in Bug::ALL {
            let by = match bug {
                Bug::NoFence => "an_old_epoch_is_fenced",
                Bug::NoPredecessor => "the_entry_before_must_be_the_one",
                Bug::AnswersWithoutEntries => "an_append_is_whole_or_nothing",
                Bug::RenewalChangesHands => "a_lease_is_taken_renewed_and_runs_out",
                Bug::LeaseForEver => "a_lease_is_taken_renewed_and_runs_out",
                Bug::SharedLease => "a_lease_is_taken_renewed_and_runs_out",
                Bug::ReleaseIsNoFence => "giving_a_lease_up_is_a_fence",
                Bug::RenewalTakes => "a_late_renewal_takes_nothing",
                Bug::LetterTwice => "a_letter_with_a_key_is_there_once",
                Bug::SweepForgetsLetters => "replicas_that_are_silent_are_swept",
                Bug::AnswersForAll => "answers_are_for_the_writer",
                Bug::PartsChange => "parts_never_change",
                Bug::ForgetsOneMore => "what_is_forgotten_is_named",
                Bug::ElapsedStands => "the_phase_goes_on_by_the_engines_clock",
                Bug::NoLimit => "too_many_letters_are_refused",
                Bug::OldLeaderForgets => "only_the_leader_reads_letters",
            };
            let factory = Memory::with(bug);
            let mut failures = check_ledger(&factory).await;
            failures.extend(check_parts(&factory).await);
            assert!(failures.iter().any(|failure| failure.check == by), "{bug:?}: {failures:?}");
        }
    }
}
