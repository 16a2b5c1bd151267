//! What becomes of jobs' results.

use super::io::{Event, FetchError, Reject, TroubleReason};
use super::jobs::{ComposeError, Outcome};
use super::machine::{Activity, Fetch, Participant};
use super::stage::Stage;
use super::JobResult;
use crate::job::{JobId, MAX_LOSSES};
use crate::message::Tag;

impl Participant {
    pub(super) fn handle_job(&mut self, result: JobResult) -> Result<(), Reject> {
        let (id, outcome) = result.handed_in();
        self.watch.end(id);
        match self.activity {
            Activity::Job(expected, _) if expected == id => {
                self.losses = 0;
                self.handle_outcome(outcome);
                return Ok(());
            }
            _ => {}
        }
        match (&self.fetch, outcome) {
            (Fetch::Job(expected, parameters), Outcome::Model(model)) if *expected == id => {
                self.fetch_losses = 0;
                let parameters = parameters.clone();
                let expected = parameters.model_length;
                match model {
                    // Of a coordinator that was set up anew, or that lies.
                    Ok(model) if model.len() as u64 != expected => {
                        let actual = model.len() as u64;
                        self.release(model.len() * 8, model);
                        self.not_fetched(FetchError::Length { expected, actual });
                    }
                    Ok(model) => self.fetched(Some(model), parameters),
                    Err(error) => self.not_fetched(error),
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

    fn handle_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Composed(Ok(upload)) => {
                self.set_stage(match upload.tag {
                    Tag::Sum => Stage::Sum(Some(upload)),
                    Tag::Sum2 => Stage::Sum2(Some(upload)),
                    Tag::Update => Stage::Update(upload),
                });
                self.go_on();
            }
            Outcome::Masked(Ok((upload, report))) => {
                self.use_up_model();
                self.event(Event::ModelMasked(report));
                self.set_stage(Stage::Update(upload));
                self.go_on();
            }
            Outcome::Sealed(Ok(sealed)) => self.post(sealed),
            Outcome::Masked(Err(error))
            | Outcome::Composed(Err(error))
            | Outcome::Sealed(Err(error)) => self.not_composed(error),
            // These belong to other jobs; none of them runs as the main line's.
            Outcome::Model(_)
            | Outcome::MaskSum(_)
            | Outcome::Leaves(_)
            | Outcome::MaskPart(_)
            | Outcome::V2(_)
            | Outcome::Released => self.go_on(),
        }
    }

    pub(super) fn not_composed(&mut self, error: ComposeError) {
        match error {
            ComposeError::BadAnswer { call, source } => {
                if call == "sums" {
                    self.set_stage(Stage::FetchSums);
                }
                self.trouble(call, TroubleReason::Malformed(source));
            }
            ComposeError::Model(error) => {
                self.use_up_model();
                self.event(Event::ModelRejected(error));
                self.wait_longer();
            }
            error => {
                if let Some(model) = self.masking.take() {
                    self.release(model.len() * 8, model);
                }
                self.set_stage(Stage::Awaiting);
                self.event(Event::GaveUp(error));
                self.wait_longer();
            }
        }
    }

    pub(super) fn handle_lost_job(&mut self, id: JobId) -> Result<(), Reject> {
        self.watch.end(id);
        match (&self.activity, &self.fetch) {
            (Activity::Job(expected, job), _) if *expected == id => {
                let job = *job;
                self.losses += 1;
                match self.losses {
                    times @ MAX_LOSSES.. => {
                        self.losses = 0;
                        self.not_composed(ComposeError::JobLost { job, times });
                    }
                    _ => self.go_on(),
                }
            }
            (_, Fetch::Job(expected, parameters)) if *expected == id => {
                let parameters = parameters.clone();
                self.fetch_losses += 1;
                match self.fetch_losses {
                    times @ MAX_LOSSES.. => {
                        self.fetch_losses = 0;
                        self.not_fetched(FetchError::JobLost(times));
                    }
                    _ => self.ask_for_model(parameters),
                }
            }
            // It is not waited for any more, or the machine knows: nothing is wrong.
            _ if self.has_given_out(id) => {}
            _ => return Err(Reject::UnknownJob(id)),
        }
        Ok(())
    }
}
