//! What becomes of jobs' results.

use std::sync::Arc;

use super::event::{Event, TroubleReason};
use super::io::Reject;
use super::jobs::CheckedPage;
use super::machine::{Activity, Member, Wanted};
use super::{JobResult, Outcome, Refusal};
use crate::job::{JobId, MAX_LOSSES};
use crate::v2::Report;

impl Member {
    pub(super) fn handle_job(&mut self, result: JobResult) -> Result<(), Reject> {
        let (id, outcome) = result.handed_in();
        self.watch.end(id);
        match self.activity {
            Activity::Job(expected, _, wanted) if expected == id => {
                self.losses = 0;
                self.handle_outcome(wanted, outcome);
                Ok(())
            }
            _ if matches!(outcome, Outcome::Released) => Ok(()),
            _ => {
                self.release(outcome.bytes(), outcome);
                Err(Reject::UnknownJob(id))
            }
        }
    }

    fn handle_outcome(&mut self, wanted: Wanted, outcome: Outcome) {
        match outcome {
            Outcome::Roster(Ok((roster, member))) => {
                self.event(Event::Roster {
                    member,
                    group: roster.group_name(member.group).to_owned(),
                    groups: roster.groups().len(),
                    members: roster.group_size(),
                });
                self.roster = Some((roster, member));
                self.go_on();
            }
            Outcome::Announcements(Ok(list)) => {
                let event =
                    Event::Announcements { members: list.list().len(), hash: list.digest() };
                self.event(event);
                if let Some(round) = &mut self.round {
                    round.list = Some(list);
                }
                self.go_on();
            }
            Outcome::Entries(Ok(page)) => self.take_page(page),
            Outcome::Set(Ok(agreed)) => {
                if let Some(round) = &mut self.round {
                    round.agreed = Some(agreed);
                }
                self.go_on();
            }
            Outcome::Votes(Ok(decision)) => {
                if let Some(round) = &mut self.round {
                    round.certified = Some(decision);
                }
                self.event(Event::Certified { decision });
                self.go_on();
            }
            Outcome::Mask(Ok(mask)) => {
                if let Some(round) = &mut self.round {
                    round.mask = Some(mask);
                }
                self.go_on();
            }
            Outcome::Roster(Err(refusal))
            | Outcome::Announcements(Err(refusal))
            | Outcome::Entries(Err(refusal))
            | Outcome::Set(Err(refusal))
            | Outcome::Votes(Err(refusal))
            | Outcome::Mask(Err(refusal)) => self.not_good(wanted, refusal),
            // These belong to parts of jobs.
            Outcome::EntriesPart(_) | Outcome::MaskPart(_) | Outcome::Released => self.go_on(),
        }
    }

    fn take_page(&mut self, page: CheckedPage) {
        let Some(round) = self.round.as_deref_mut() else { return self.go_on() };
        let entries = &mut round.entries;
        let most_reported = most_reported(page.total);
        entries.total = Some(page.total);
        let mut events = Vec::new();
        for update in &page.entries {
            if let Err(accusation) = update.seed {
                let updater = update.updater;
                entries.bad += 1;
                if entries.accused.len() < most_reported {
                    entries.accused.push((updater, accusation));
                }
                // Who lies in masses must not fill the log.
                if entries.bad <= MOST_TOLD {
                    events.push(Event::Accused { updater, accusation });
                }
            }
        }
        entries.take(page.entries);
        let (bad, most) = (entries.bad, Report::limit(page.total) as u64);
        let is_complete = entries.all.is_some();
        events.into_iter().for_each(|event| self.event(event));
        if is_complete && bad > most {
            self.refuse(Refusal::Accusations { bad, most });
        }
        self.go_on();
    }

    /// What the coordinator has shown is not good: some of it is final, and some is asked for again.
    fn not_good(&mut self, wanted: Wanted, refusal: Refusal) {
        let is_final = match &refusal {
            // Another page, or a later look, may be good.
            Refusal::Malformed { .. }
            | Refusal::OtherAnnouncements { .. }
            | Refusal::Announcements(_)
            | Refusal::Entries(_)
            | Refusal::OtherDecision { .. }
            | Refusal::Excluded(_)
            | Refusal::Votes(_)
            | Refusal::Pin(_)
            | Refusal::NotInRoster { .. } => false,
            _ => true,
        };
        if wanted == Wanted::Entries && matches!(refusal, Refusal::Entries(_)) {
            // From the beginning: the list has changed.
            if let Some(round) = self.round.as_deref_mut() {
                let bytes = round.bytes();
                let old = std::mem::take(&mut round.entries);
                self.release(bytes, old);
            }
        }
        let reason = TroubleReason::Refused(refusal.clone());
        if is_final {
            self.sit_out(refusal);
        } else {
            self.refuse(refusal);
        }
        let trouble = super::Trouble::new(wanted.name(), reason);
        self.failure = Some(Arc::new(trouble));
        self.wait_longer(self.why_of(wanted));
    }

    pub(super) fn handle_lost_job(&mut self, id: JobId) -> Result<(), Reject> {
        self.watch.end(id);
        match self.activity {
            Activity::Job(expected, job, wanted) if expected == id => {
                self.losses += 1;
                match self.losses {
                    times @ MAX_LOSSES.. => {
                        self.losses = 0;
                        self.not_good(wanted, Refusal::JobLost { job, times });
                    }
                    // What it worked on is fetched again.
                    _ => self.step(),
                }
            }
            // It is not waited for any more, or the machine knows: nothing is wrong.
            _ if self.has_given_out(id) => {}
            _ => return Err(Reject::UnknownJob(id)),
        }
        Ok(())
    }
}

/// How many accused updaters of a round are told one by one.
const MOST_TOLD: u64 = 100;

/// How many accused updaters a report has at most, of so many updates: it is signed in one go. It has always as many as a
/// member may accuse, since whoever is in the set and bad for all gets no vote.
fn most_reported(updates: u64) -> usize {
    Report::limit(updates).max(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_room_for_all_that_a_member_may_accuse() {
        for updates in [0, 3, 400, 10_000, 409_600, 500_000, 1_000_000, 10_000_000] {
            assert!(most_reported(updates) >= Report::limit(updates), "{updates}");
        }
        assert_eq!((most_reported(10_000), most_reported(500_000)), (4096, 5000));
    }
}
