//! What becomes of jobs' results.

use super::jobs::Done;
use super::machine::{Activity, Updater};
use crate::job::{JobId, JobKind, MAX_LOSSES};
use crate::participant::{ComposeError, FetchError, JobResult, Outcome, Reject, TroubleReason};

impl Updater {
    pub(super) fn handle_job(&mut self, result: JobResult) -> Result<(), Reject> {
        let (id, outcome) = result.handed_in();
        self.watch.end(id);
        match (self.activity, outcome) {
            (Activity::Job(expected, job), Outcome::V2(outcome)) if expected == id => {
                // Others, which come before it each time, say nothing about one that is lost.
                if self.lost == Some(job) {
                    self.losses = 0;
                }
                match outcome.into_done() {
                    Done::Roster(checked) => self.roster_checked(checked),
                    Done::List(checked) => self.list_checked(checked),
                    Done::Certificate(checked) => self.certificate_checked(checked),
                    Done::Model(read) => self.model_read(read),
                    Done::Made(made) => match *made {
                        Ok(made) => self.made(made),
                        Err(error) => self.not_made(error),
                    },
                    // Parts are handed to their job.
                    Done::Leaves(_) | Done::Digests(_) => self.go_on(),
                }
                Ok(())
            }
            (_, Outcome::Released) => Ok(()),
            (_, outcome) => {
                self.release(outcome.bytes(), outcome);
                Err(Reject::UnknownJob(id))
            }
        }
    }

    pub(super) fn handle_lost_job(&mut self, id: JobId) -> Result<(), Reject> {
        self.watch.end(id);
        let job = match self.activity {
            Activity::Job(expected, job) if expected == id => job,
            // It is not waited for any more, or the machine knows: nothing is wrong.
            _ if self.has_given_out(id) => return Ok(()),
            _ => return Err(Reject::UnknownJob(id)),
        };
        if self.lost.replace(job) != Some(job) {
            self.losses = 0;
        }
        self.losses += 1;
        if self.losses < MAX_LOSSES {
            // It is given out again after the next look.
            self.go_on();
            return Ok(());
        }
        let times = std::mem::take(&mut self.losses);
        match job {
            JobKind::MaskModel => self.not_made(ComposeError::JobLost { job, times }),
            JobKind::ReadModel => {
                let lost = FetchError::JobLost(times);
                self.trouble("model", TroubleReason::Model(Box::new(lost)));
            }
            _ => self.give_up(ComposeError::JobLost { job, times }),
        }
        Ok(())
    }
}
