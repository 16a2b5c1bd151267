//! The account of what a machine and its driver owe each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pet_core::coordinator::{PersistId, Ticket};
use pet_core::job::JobId;
use pet_core::request::RequestId;
use pet_core::time::Timestamp;

use super::Breach;

/// All that one side owes the other.
#[derive(Debug, Default)]
pub(super) struct Account {
    now: Timestamp,
    requests: BTreeMap<RequestId, Timestamp>,
    last_request: Option<RequestId>,
    /// Requests that the machine has given up. Their answers may come, or not.
    cancelled: BTreeSet<RequestId>,
    jobs: BTreeMap<JobId, (Timestamp, &'static str)>,
    last_job: Option<JobId>,
    tickets: BTreeSet<Ticket>,
    /// The last record that is safe; unknown if nobody watches the store.
    stored: Option<PersistId>,
    has_outputs: bool,
    wake_at: Option<Timestamp>,
    first: Option<Breach>,
}

impl Account {
    pub fn first(&self) -> Option<Breach> {
        self.first.clone()
    }

    pub fn broken(&mut self, breach: Breach) {
        self.first.get_or_insert(breach);
    }

    // Inputs.

    pub fn told(&mut self, now: Timestamp) {
        if now < self.now {
            self.broken(Breach::TimeWentBack(self.now.saturating_since(now)));
        }
        self.now = self.now.max(now);
        self.has_outputs = true;
        self.wake_at = None;
    }

    pub fn answered(&mut self, id: RequestId) {
        if self.requests.remove(&id).is_none() && !self.cancelled.remove(&id) {
            self.broken(match self.last_request.is_some_and(|last| id <= last) {
                true => Breach::AnsweredTwice(id),
                false => Breach::UnknownRequest(id),
            });
        }
    }

    pub fn job_reported(&mut self, id: JobId) {
        if self.jobs.remove(&id).is_none() {
            self.broken(match self.last_job.is_some_and(|last| id <= last) {
                true => Breach::JobReportedTwice(id),
                false => Breach::UnknownJob(id),
            });
        }
    }

    pub fn job_dropped(&mut self, id: JobId) {
        self.jobs.remove(&id);
    }

    pub fn confirmed(&mut self, confirmed: PersistId) {
        if let Some(stored) = self.stored.filter(|stored| confirmed > *stored) {
            self.broken(Breach::ConfirmedEarly { confirmed, stored });
        }
    }

    pub fn delivered(&mut self, ticket: Ticket) {
        if !self.tickets.insert(ticket) {
            self.broken(Breach::TicketReused(ticket));
        }
    }

    // Outputs.

    pub fn requested(&mut self, id: RequestId) {
        self.requests.insert(id, self.now);
        self.last_request = self.last_request.max(Some(id));
    }

    pub fn cancelled(&mut self, id: RequestId) {
        if self.requests.remove(&id).is_some() {
            self.cancelled.insert(id);
        }
    }

    pub fn job_given(&mut self, id: JobId, name: &'static str) {
        self.jobs.insert(id, (self.now, name));
        self.last_job = self.last_job.max(Some(id));
    }

    pub fn replied(&mut self, ticket: Ticket) {
        self.tickets.remove(&ticket);
    }

    pub fn idle(&mut self, wake_at: Option<Timestamp>) {
        self.has_outputs = false;
        self.wake_at = wake_at;
    }

    // From outside.

    pub fn stored(&mut self, id: PersistId) {
        self.stored = self.stored.max(Some(id));
    }

    /// What is overdue at this time.
    pub fn overdue(&self, now: Timestamp, patience: Duration) -> Option<Breach> {
        let late = |since: Timestamp| Some(now.saturating_since(since)).filter(|t| *t > patience);
        let request = self.requests.iter().find_map(|(id, since)| {
            late(*since).map(|waited| Breach::RequestForgotten { id: *id, waited })
        });
        let job = || {
            self.jobs.iter().find_map(|(id, (since, name))| {
                late(*since).map(|waited| Breach::JobForgotten { id: *id, name, waited })
            })
        };
        let wake = || self.wake_at.and_then(late).map(Breach::NotWoken);
        request.or_else(job).or_else(wake)
    }

    /// Checks that all outputs were taken.
    pub fn left(&self) -> Option<Breach> {
        self.has_outputs.then_some(Breach::NotDrained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn account(happened: impl FnOnce(&mut Account)) -> Account {
        let mut account = Account::default();
        account.told(at(100));
        account.requested(RequestId(5));
        account.job_given(JobId(6), "a job");
        account.delivered(Ticket(7));
        account.idle(Some(at(130)));
        happened(&mut account);
        account
    }

    #[test]
    fn each_breach_is_found_and_the_first_is_told() {
        type Change = fn(&mut Account);
        let cases: &[(Breach, Change)] = &[
            (Breach::UnknownRequest(RequestId(8)), |a| a.answered(RequestId(8))),
            (Breach::AnsweredTwice(RequestId(5)), |a| {
                a.answered(RequestId(5));
                a.answered(RequestId(5));
                a.answered(RequestId(8));
            }),
            (Breach::UnknownJob(JobId(9)), |a| a.job_reported(JobId(9))),
            (Breach::JobReportedTwice(JobId(6)), |a| {
                a.job_reported(JobId(6));
                a.job_reported(JobId(6));
            }),
            (Breach::TicketReused(Ticket(7)), |a| a.delivered(Ticket(7))),
            (Breach::TimeWentBack(Duration::from_secs(1)), |a| a.told(at(99))),
            (Breach::ConfirmedEarly { confirmed: PersistId(2), stored: PersistId(1) }, |a| {
                a.stored(PersistId(1));
                a.confirmed(PersistId(2));
            }),
        ];
        for (expected, change) in cases {
            assert_eq!(account(change).first().as_ref(), Some(expected));
        }
    }

    #[test]
    fn who_keeps_the_contract_is_not_accused() {
        let account = account(|a| {
            a.stored(PersistId(3));
            a.told(at(100));
            a.answered(RequestId(5));
            a.job_reported(JobId(6));
            a.replied(Ticket(7));
            a.delivered(Ticket(7));
            a.confirmed(PersistId(3));
            a.idle(None);
        });
        assert_eq!(account.first(), None);
        assert_eq!(account.left(), None);
        assert_eq!(account.overdue(at(1_000_000), LONG), None);
    }

    #[test]
    fn what_is_owed_for_too_long_is_found() {
        let waited = Duration::from_secs(61);
        let owed = account(|_| {});
        assert_eq!(owed.overdue(at(160), LONG), None);
        let id = RequestId(5);
        assert_eq!(owed.overdue(at(161), LONG), Some(Breach::RequestForgotten { id, waited }));
        let job = account(|a| a.answered(RequestId(5)));
        let forgotten = Breach::JobForgotten { id: JobId(6), name: "a job", waited };
        assert_eq!(job.overdue(at(161), LONG), Some(forgotten));
        let asleep = account(|a| {
            a.answered(RequestId(5));
            a.job_reported(JobId(6));
        });
        assert_eq!(asleep.overdue(at(190), LONG), None);
        assert_eq!(asleep.overdue(at(191), LONG), Some(Breach::NotWoken(waited)));
    }

    #[test]
    fn outputs_that_are_left_are_found() {
        assert_eq!(account(|_| {}).left(), None);
        assert_eq!(account(|a| a.told(at(101))).left(), Some(Breach::NotDrained));
    }
}
