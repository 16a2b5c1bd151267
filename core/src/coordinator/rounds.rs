//! How rounds and phases begin and end (specification, section 1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::io::{Event, PersistId, Record, RoundFailure};
use super::jobs::Unmask;
use super::machine::{Coordinator, Running};
use super::state::{Round, Stage, Vote};
use super::{Phase, Rejection};
use crate::crypto::Digest;
use crate::mask::Aggregation;
use crate::message::Tag;
use crate::round::{SeedDict, SumDict};

impl Coordinator {
    /// Ends the current phase as often as that is due.
    pub(super) fn advance(&mut self) {
        loop {
            let Some((count, time)) = self.limits() else {
                let stored = matches!(self.stage, Stage::Failure { .. }) && self.outbox.is_stored();
                let resumed = matches!(self.stage, Stage::Idle) && !self.paused;
                if stored || resumed {
                    self.next_round();
                    if !self.paused {
                        continue;
                    }
                }
                return;
            };
            let elapsed = self.elapsed();
            let accepted = self.stage.accepted();
            if accepted >= count.min && elapsed >= time.min {
                self.end_phase();
            } else if elapsed >= time.max {
                // Updates that came in time are waited for, if they can make the round.
                if !self.updating.is_empty() && accepted + self.updating.len() as u64 >= count.min {
                    return;
                }
                let phase = self.stage.phase();
                self.fail(RoundFailure::TooFewMessages { phase, accepted, needed: count.min });
            } else {
                return;
            }
        }
    }

    pub(super) fn begin_round(&mut self) {
        if let Some(settings) = self.next_settings.take() {
            self.settings = settings;
        }
        let id = self.round.id.wrapping_add(1);
        let before = self.round.parameters.seed;
        self.set_round(Round::begin(&self.settings, &self.root, id, &before));
        self.outbox.persist(Record::RoundBegan {
            round_id: id,
            parameters: self.round.parameters.clone(),
            secret: self.round_secret().clone(),
        });
        self.enter(Stage::Sum { dict: SumDict::new() });
    }

    /// Begins a phase. Whatever messages of the phase before are still under way are turned down.
    pub(super) fn enter(&mut self, stage: Stage) {
        let old = std::mem::replace(&mut self.stage, stage);
        self.release(old.bytes(), old);
        (self.began, self.before) = (self.now, Duration::ZERO);
        let (bytes, old) = self.reassembly.next_phase();
        self.release(bytes, old);
        self.reassembly.set_limits(self.settings.reassembly);
        self.renew_context();
        let (round_id, phase) = (self.round.id, self.stage.phase());
        self.turn_down_updates(phase);
        self.show();
        self.outbox.event(Event::PhaseBegan { round_id, phase });
    }

    fn turn_down_updates(&mut self, phase: Phase) {
        self.updating.clear();
        let mut late = std::mem::take(&mut self.queue);
        self.running.retain(|_, running| match running {
            Running::Aggregate(updates) => {
                late.append(updates);
                false
            }
            Running::Unmask { .. } => false,
            Running::Assemble { .. } => true,
        });
        for update in &late {
            self.reassembly.settle(&update.participant);
            let rejection = Rejection::WrongPhase { tag: Tag::Update, phase };
            self.reply(update.ticket, Err(rejection));
        }
        self.release(late.iter().map(|update| update.masked_model.len()).sum(), late);
    }

    fn end_phase(&mut self) {
        self.outbox.event(Event::PhaseEnded {
            round_id: self.round.id,
            phase: self.stage.phase(),
            accepted: self.stage.accepted(),
            took: self.elapsed(),
        });
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Sum { dict } => {
                let sum_dict = Arc::new(dict);
                self.outbox.persist(Record::SumEnded);
                self.enter(Stage::Update { sum_dict, seeds: SeedDict::new(), aggregation: None });
            }
            Stage::Update { sum_dict, seeds, aggregation: Some(aggregation) } => {
                let seeds = Arc::new(seeds);
                self.outbox.persist(Record::UpdateEnded);
                self.enter(Stage::Sum2 {
                    sum_dict,
                    seeds,
                    aggregation,
                    voters: BTreeSet::new(),
                    votes: BTreeMap::new(),
                });
            }
            Stage::Sum2 { sum_dict, aggregation, votes, .. } => {
                self.end_sum2(sum_dict.len() as u64, aggregation, votes);
            }
            stage => self.stage = stage,
        }
    }

    fn end_sum2(
        &mut self,
        sum_participants: u64,
        aggregation: Arc<Aggregation>,
        votes: BTreeMap<Digest, Vote>,
    ) {
        let most = votes.values().map(|vote| vote.count).max().unwrap_or(0);
        let cast = votes.values().map(|vote| vote.count).sum();
        let needed = self.settings.sum2.quorum.needed(cast, sum_participants);
        let mut winners = votes.iter().filter(|(_, vote)| vote.count == most);
        let failure = match (winners.next(), winners.count()) {
            (None, _) => RoundFailure::NoMask,
            (Some(_), 0) if most < needed && cast == 1 => {
                RoundFailure::LoneVote { sum_participants, needed }
            }
            (Some(_), 0) if most < needed => RoundFailure::NoQuorum { votes: most, cast, needed },
            (Some((&digest, vote)), 0) => {
                let (mask, count) = (vote.mask.clone(), vote.count);
                self.release(votes.values().map(|vote| vote.mask.len()).sum(), votes);
                self.outbox.persist(Record::Sum2Ended { digest });
                self.enter(Stage::Unmask { aggregation, mask, votes: count });
                return self.unmask();
            }
            (Some(_), others) => RoundFailure::TiedMasks { masks: others + 1, votes: most },
        };
        self.fail_in(Phase::Sum2, failure);
    }

    pub(super) fn unmask(&mut self) {
        if let Stage::Unmask { aggregation, mask, votes } = &self.stage {
            let (aggregation, mask, votes) = (aggregation.clone(), mask.clone(), *votes);
            let models = aggregation.nb_models();
            self.job(Unmask::new(aggregation, mask), Running::Unmask { models, votes });
        }
    }

    pub(super) fn fail(&mut self, failure: RoundFailure) {
        self.fail_in(self.stage.phase(), failure);
    }

    fn fail_in(&mut self, phase: Phase, failure: RoundFailure) {
        let round_id = self.round.id;
        self.outbox.event(Event::RoundFailed { round_id, phase, failure });
        self.outbox.persist(Record::RoundFailed { round_id });
        self.enter(Stage::Failure { record: self.outbox.last_record() });
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.turn_down_updates(Phase::Shutdown);
        for running in std::mem::take(&mut self.running).into_values() {
            if let Running::Assemble { ticket, split, .. } = running {
                let rejection =
                    Rejection::WrongPhase { tag: split.complete.tag, phase: Phase::Shutdown };
                self.reply(ticket, Err(rejection));
            }
        }
        let old = std::mem::replace(&mut self.stage, Stage::Shutdown);
        self.release(old.bytes(), old);
        self.renew_context();
        self.outbox.close(&self.shown);
    }

    /// Begins a new round if what was saved is none, or does not fit together: nothing of a damaged
    /// state is gone on with.
    pub(super) fn check_stage(&mut self) {
        let (config, length) = (self.round.parameters.mask_config, self.round.model_length());
        let fits = |sum: &Aggregation| sum.config() == config && sum.len() == length;
        let sound = match &self.stage {
            Stage::Idle | Stage::Shutdown => false,
            Stage::Sum { .. } | Stage::Failure { .. } => true,
            Stage::Update { aggregation, seeds, .. } => {
                aggregation.as_ref().map_or(seeds.is_empty(), |sum| fits(sum))
            }
            Stage::Sum2 { aggregation, .. } | Stage::Unmask { aggregation, .. } => {
                fits(aggregation)
            }
        };
        if !sound {
            self.begin_round();
        }
    }

    pub(super) fn publish_again(&mut self) {
        self.show();
        match self.stage {
            Stage::Unmask { .. } => self.unmask(),
            // The confirmation was for the machine that was saved. (Without a record it is stored.)
            Stage::Failure { record } if record > PersistId(0) => {
                self.outbox.persist(Record::RoundFailed { round_id: self.round.id });
                self.stage = Stage::Failure { record: self.outbox.last_record() };
            }
            _ => {}
        }
    }
}
