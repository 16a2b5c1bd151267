//! The jobs that messages and phases need, and what becomes of their results.

use std::sync::Arc;

use super::assemble::Assemble;
use super::io::{Event, Reject, RoundFailure, Ticket};
use super::jobs::{Aggregate, Outcome};
use super::machine::Coordinator;
use super::optimizer::Optimized;
use super::phases::Stage;
use super::underway::{Running, Split, Update};
use super::{GlobalModel, JobResult, Record, Rejection};
use crate::crypto::PublicSigningKey;
use crate::job::{JobId, JobKind, MAX_LOSSES};
use crate::mask::{Aggregation, Unmasked};

impl Coordinator {
    /// Gives out waiting updates as one job, unless one is running. Called when nothing else is due:
    /// a job for a phase that ends at this moment would be in vain.
    pub(super) fn aggregate(&mut self) {
        let Stage::Update(stage) = self.state.stage() else { return };
        let Some(updates) = self.under_way.next_updates() else { return };
        let models = updates.iter().map(|update| update.masked_model.clone()).collect();
        let round = self.state.round();
        let (config, length) = (round.parameters.mask_config, round.model_length());
        let work = Aggregate::new(config, length, stage.aggregation().cloned(), models);
        self.job(work, Running::Aggregate(updates));
    }

    pub(super) fn assemble(
        &mut self,
        ticket: Option<Ticket>,
        participant: PublicSigningKey,
        split: Split,
        losses: u32,
    ) {
        let context = self.context.clone();
        let work = Assemble::new(context, participant, split.complete.clone());
        self.job(work, Running::Assemble { ticket, participant, split, losses });
    }

    /// Goes on with the split messages that were saved before they were accepted.
    pub(super) fn assemble_again(&mut self) {
        let round_id = self.round_id();
        for (participant, message_id, complete) in self.state.work_on_again() {
            self.assemble(None, participant, Split { round_id, message_id, complete }, 0);
        }
    }

    pub(super) fn handle_job(&mut self, result: JobResult) -> Result<(), Reject> {
        let (id, outcome) = result.handed_in();
        if let Outcome::Released = outcome {
            return Ok(());
        }
        let Some(running) = self.under_way.done(id, &outcome) else {
            // What is no longer waited for may be as large as a model.
            self.release(outcome.bytes(), outcome);
            return Err(Reject::UnknownJob(id));
        };
        match (running, outcome) {
            (Running::Aggregate(updates), Outcome::Aggregated(sum)) => {
                self.under_way.not_lost();
                self.aggregated(updates, sum)
            }
            (Running::Unmask, Outcome::Unmasked(unmasked)) => match unmasked {
                Ok(unmasked) => self.complete_round(unmasked),
                Err(error) => self.fail(error.into()),
            },
            (Running::Unmask, Outcome::Optimized(optimized)) => match optimized {
                Ok(optimized) => self.complete_round_with_step(*optimized),
                Err(error) => self.fail(error.into()),
            },
            (Running::Merge(parts), Outcome::Merged(sum)) => self.merged(parts, sum),
            (Running::Assemble { ticket, participant, split, .. }, Outcome::Assembled(message)) => {
                match message {
                    Ok(message) => self.handle_message(ticket, message, Some(split)),
                    Err(rejection) => {
                        self.turn_away(split.id(), split.complete.tag, participant, &rejection);
                        self.reply(ticket, Err(rejection));
                    }
                }
            }
            // No job gives the result of another kind.
            _ => {}
        }
        Ok(())
    }

    fn aggregated(&mut self, updates: Vec<Update>, sum: Arc<Aggregation>) {
        let seeds = updates.iter().map(|update| (update.participant, update.seeds.clone()));
        self.record(Record::Updates { seeds: seeds.collect(), aggregation: Some(sum) });
        for update in &updates {
            self.under_way.updated(&update.participant);
            self.reply(update.ticket, Ok(()));
        }
        self.release(updates.iter().map(|update| update.masked_model.len()).sum(), updates);
    }

    fn complete_round(&mut self, unmasked: Unmasked) {
        let Stage::Unmask(stage) = self.state.stage() else { return };
        let model = stage.end_with(unmasked, self.state.round());
        self.complete_round_with(model, stage.votes());
    }

    fn complete_round_with_step(&mut self, optimized: Optimized) {
        let Stage::Unmask(stage) = self.state.stage() else { return };
        let model = stage.end_with_step(optimized, self.state.round());
        self.complete_round_with(model, stage.votes());
    }

    fn complete_round_with(&mut self, model: GlobalModel, votes: u64) {
        let (round_id, models) = (model.round_id, model.models);
        self.record(Record::Model(model));
        self.show();
        self.outbox.event(Event::RoundCompleted { round_id, models, votes });
        self.next_round();
    }

    pub(super) fn handle_lost_job(&mut self, id: JobId) -> Result<(), Reject> {
        let Some(running) = self.under_way.take(id) else {
            // It is not waited for any more, or the machine knows: nothing is wrong.
            let is_known = self.under_way.has_given_out(id);
            return if is_known { Ok(()) } else { Err(Reject::UnknownJob(id)) };
        };
        match running {
            Running::Aggregate(updates) => {
                self.under_way.queue_again(updates);
                self.give_out_again(JobKind::Aggregate);
            }
            Running::Unmask => {
                if self.give_out_again(JobKind::Unmask) {
                    self.unmask();
                }
            }
            Running::Merge(parts) => self.merge_again(parts),
            Running::Assemble { ticket, participant, split, losses } => {
                if losses + 1 < MAX_LOSSES {
                    self.assemble(ticket, participant, split, losses + 1);
                } else {
                    let why = Rejection::NotProcessed;
                    self.turn_away(split.id(), split.complete.tag, participant, &why);
                    self.reply(ticket, Err(why));
                }
            }
        }
        Ok(())
    }

    /// Whether the job that the phase waits for is given out once more after it was lost. If not the round has
    /// failed.
    pub(super) fn give_out_again(&mut self, job: JobKind) -> bool {
        let times = self.under_way.lost();
        if times >= MAX_LOSSES {
            self.fail(RoundFailure::JobLost { job, times });
        }
        times < MAX_LOSSES
    }
}
