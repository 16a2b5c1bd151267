//! How rounds and phases begin and end (specification, section 1).

use super::io::{Event, RoundFailure};
use super::machine::{Coordinator, Standing};
use super::optimizer::Plan;
use super::phases::Stage;
use super::shards::{Merging, RESERVED_FOR};
use super::underway::Running;
use super::{Phase, Record, Rejection};
use crate::message::Tag;

impl Coordinator {
    /// Ends the current phase as often as that is due.
    pub(super) fn advance(&mut self) {
        loop {
            let Some((count, time)) = self.limits() else {
                let is_over = match self.standing {
                    Standing::InRound => self.phase() == Phase::Failure && self.outbox.is_stored(),
                    Standing::BetweenRounds => !self.paused,
                    Standing::Stopped => false,
                };
                if is_over {
                    self.next_round();
                    if !self.paused {
                        continue;
                    }
                }
                return;
            };
            let (elapsed, accepted) = (self.elapsed(), self.accepted());
            if accepted >= count.min && elapsed >= time.min {
                self.end_phase();
            } else if elapsed >= time.max {
                // Updates that came in time are waited for, if they can make the round.
                let updating = match elapsed < time.max.saturating_add(RESERVED_FOR) {
                    true => self.under_way.updating() + self.under_way.reservations().len() as u64,
                    false => self.under_way.updating(),
                };
                if updating > 0 && accepted + updating >= count.min {
                    return;
                }
                let phase = self.phase();
                self.fail(RoundFailure::TooFewMessages { phase, accepted, needed: count.min });
            } else {
                return;
            }
        }
    }

    /// Begins the next round, unless it is paused: then it waits between rounds.
    pub(super) fn next_round(&mut self) {
        match self.paused {
            false => self.begin_round(),
            true => {
                self.standing = Standing::BetweenRounds;
                self.begun_phase();
            }
        }
    }

    pub(super) fn begin_round(&mut self) {
        if let Some(settings) = self.next_settings.take() {
            self.settings = settings;
            self.state.set_limits(self.settings.reassembly);
        }
        self.standing = Standing::InRound;
        self.record(self.state.next_round(&self.settings));
        self.begun_phase();
    }

    /// What follows from the record that a phase began with. Whatever messages of the phase before are still
    /// under way are turned down.
    pub(super) fn begun_phase(&mut self) {
        self.clock.restart();
        self.renew_context();
        let (round_id, phase) = (self.round_id(), self.phase());
        self.end_merging();
        self.turn_down_updates(phase);
        self.show();
        self.outbox.event(Event::PhaseBegan { round_id, phase });
    }

    /// Parts are added up as long as there are any.
    fn end_merging(&mut self) {
        if self.state.parts().is_empty() {
            let merging = self.under_way.merging().take();
            self.release(merging.as_ref().map_or(0, Merging::bytes), merging);
        }
    }

    fn turn_down_updates(&mut self, phase: Phase) {
        let (late, reserved) = self.under_way.end_phase();
        self.release(reserved.bytes(), reserved);
        for update in &late {
            self.state.settle(&update.participant);
            let rejection = Rejection::WrongPhase { tag: Tag::Update, phase };
            self.reply(update.ticket, Err(rejection));
        }
        self.release(late.iter().map(|update| update.masked_model.len()).sum(), late);
    }

    fn end_phase(&mut self) {
        self.outbox.event(Event::PhaseEnded {
            round_id: self.round_id(),
            phase: self.phase(),
            accepted: self.accepted(),
            took: self.elapsed(),
        });
        match self.state.stage().collected().end(&self.settings) {
            Some(Ok(record)) => {
                self.record(record);
                self.begun_phase();
                self.unmask();
                self.merge();
            }
            Some(Err(failure)) => self.fail(failure),
            None => {}
        }
    }

    pub(super) fn fail(&mut self, failure: RoundFailure) {
        let (round_id, phase) = (self.round_id(), self.phase());
        // Nobody is told before it is stored: after a crash the round might end otherwise.
        self.record(Record::RoundFailed { round_id });
        self.outbox.event(Event::RoundFailed { round_id, phase, failure });
        self.begun_phase();
    }

    /// Gives out the job of the unmask phase, if the whole sum is there.
    pub(super) fn unmask(&mut self) {
        let Stage::Unmask(unmask) = self.state.stage() else { return };
        if !self.state.parts().is_empty() {
            // The rest of the sum comes first.
            return;
        }
        let length = self.state.round().model_length();
        let plan = Plan::of(self.settings.optimizer.as_ref(), self.state.model(), length);
        if let Some(work) = unmask.work(plan) {
            self.job(work, Running::Unmask);
        }
    }

    pub(super) fn stop(&mut self) {
        self.standing = Standing::Stopped;
        let phase = self.phase();
        let merging = self.under_way.merging().take();
        self.release(merging.as_ref().map_or(0, Merging::bytes), merging);
        self.turn_down_updates(phase);
        for running in self.under_way.end() {
            if let Running::Assemble { ticket, split, .. } = running {
                let rejection = Rejection::WrongPhase { tag: split.complete.tag, phase };
                self.reply(ticket, Err(rejection));
            }
        }
        self.renew_context();
        self.outbox.close(&self.shown);
    }
}
