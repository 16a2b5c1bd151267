//! How rounds and phases begin and end.

use std::sync::Arc;
use std::time::Duration;

use super::io::{Event, Reject};
use super::jobs::Decide;
use super::machine::{Coordinator, Standing};
use super::patience::Patience;
use super::phases::{End, Stage};
use super::settings::TimeRange;
use super::underway::Running;
use super::{Phase, Record, RoundFailure, Ruling};
use crate::v2::Report;

/// How many updaters an event names.
const MOST_NAMED: usize = 32;

impl Coordinator {
    /// Ends the current phase as often as that is due.
    pub(super) fn advance(&mut self) {
        loop {
            let is_over = match self.standing {
                Standing::InRound => {
                    matches!(self.state.stage(), Stage::Failed) && self.outbox.is_stored()
                }
                Standing::BetweenRounds => !self.paused,
                Standing::Stopped => false,
            };
            if is_over {
                self.next_round();
                if self.paused {
                    return;
                }
                continue;
            }
            if self.standing != Standing::InRound || !self.end_phase_if_due() {
                return;
            }
        }
    }

    /// Whether the phase has ended, well or not.
    fn end_phase_if_due(&mut self) -> bool {
        let (stage, elapsed) = (self.state.stage(), self.elapsed());
        let phase = stage.phase();
        let Some(time) = stage.time(&self.settings) else { return false };
        let is_due = match stage.end(self.state.round(), &self.settings) {
            End::Now => true,
            End::AfterMinTime => elapsed >= time.min,
            End::NotYet if elapsed >= self.longest(time) => {
                let failure = stage.failure(self.state.round(), &self.settings);
                if phase == Phase::Announce {
                    self.patience.ran_out();
                }
                self.fail(failure);
                return true;
            }
            End::NotYet => false,
        };
        is_due && self.end_phase()
    }

    /// When the current phase is over, well or not.
    pub(super) fn longest(&self, time: TimeRange) -> Duration {
        match self.state.stage() {
            Stage::Announce(_) => self.patience.end(time),
            _ => time.max,
        }
    }

    /// Ends the phase well, if no job has to be done first.
    fn end_phase(&mut self) -> bool {
        let round = self.round();
        match self.state.stage() {
            Stage::Announce(_) => {
                self.patience = Patience::default();
                self.ended(Record::AnnounceEnded);
            }
            Stage::Update(update) => {
                let uploads = update.uploads().clone();
                self.ended(Record::UpdateEnded);
                if !uploads.is_empty() {
                    let updaters = uploads.keys().take(MOST_NAMED).copied().collect();
                    let count = uploads.len() as u64;
                    self.outbox.event(Event::UploadsDropped { round, updaters, count });
                }
            }
            Stage::Check(_) => return self.decide(),
            Stage::Agree(_) => self.ended(Record::AgreeEnded),
            Stage::Sum2(sum2) => {
                if !self.under_way.sums.is_complete(sum2.agreed().decision.count) {
                    return false;
                }
                for member in sum2.liars(self.state.round()) {
                    self.outbox.event(Event::LyingMask { round, member });
                }
                self.ended(Record::Sum2Ended);
            }
            Stage::Idle | Stage::Unmask(_) | Stage::Failed => return false,
        }
        true
    }

    /// Has the decision made that is voted for. The phase ends with it.
    fn decide(&mut self) -> bool {
        let Stage::Check(check) = self.state.stage() else { return false };
        if !self.under_way.is_deciding() {
            let work = Decide::new(self.state.round(), check.entries(), check.reports());
            self.job(work, Running::Decide);
        }
        false
    }

    /// What follows from the reports is known.
    pub(super) fn decided(&mut self, ruling: Ruling) {
        let Stage::Check(check) = self.state.stage() else { return };
        let (round, n_min, left) = (self.round(), self.terms().n_min, ruling.decision.count);
        let most = Report::limit(check.entries().len()) as u64;
        let excluded = &ruling.excluded;
        let (count, disregarded) = (excluded.len() as u64, ruling.disregarded.clone());
        let named = excluded.iter().take(MOST_NAMED);
        let named = named.map(|(updater, (by, accusation))| (*updater, *by, *accusation)).collect();
        match left < n_min {
            true => self.fail(RoundFailure::TooFewAfterExclusions { left, excluded: count, n_min }),
            false => self.ended(Record::CheckEnded { ruling: Arc::new(ruling) }),
        }
        for (member, accused) in disregarded {
            self.outbox.event(Event::MemberDisregarded { round, member, accused, most });
        }
        if count > 0 {
            self.outbox.event(Event::UpdatersExcluded { round, excluded: named, count });
        }
    }

    /// A phase has ended well, by this record.
    pub(super) fn ended(&mut self, record: Record) {
        let (round, phase) = (self.round(), self.phase());
        let (accepted, took) = (self.accepted(), self.elapsed());
        let members = self.state.stage().absent(self.state.round());
        self.record(record);
        self.outbox.event(Event::PhaseEnded { round, phase, accepted, took });
        if !members.is_empty() {
            self.outbox.event(Event::MembersMissing { round, phase, members });
        }
        self.begun_phase();
    }

    /// What follows from the record that a phase began with.
    pub(super) fn begun_phase(&mut self) {
        self.clock.restart();
        self.patience.begin();
        self.wanted.clear();
        self.under_way.sources.clear();
        self.under_way.active.clear();
        self.show();
        let (round, phase) = (self.round(), self.phase());
        self.outbox.event(Event::PhaseBegan { round, phase });
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

    fn begin_round(&mut self) {
        if let Some(settings) = self.next_settings.take() {
            self.settings = settings;
        }
        self.standing = Standing::InRound;
        self.record(self.state.next_round(&self.settings, self.clock.now()));
        self.begun_phase();
        self.tell_start();
    }

    /// Says so if the round starts from nothing though there is a model.
    pub(super) fn tell_start(&mut self) {
        let round = self.round();
        if let (Some(last), None) = (self.state.last(), self.terms().model) {
            let is_other_roster = last.certificate.terms.roster != self.terms().roster;
            let last = last.round();
            self.outbox.event(Event::StartsFromNothing { round, last, is_other_roster });
        }
    }

    pub(super) fn fail(&mut self, failure: RoundFailure) {
        let (round, phase) = (self.round(), self.phase());
        // Nobody is told before it is stored: after a crash the round might end otherwise.
        self.record(Record::RoundFailed { round, reason: failure.to_string() });
        self.outbox.event(Event::RoundFailed { round, phase, failure });
        self.end_work();
        self.begun_phase();
    }

    /// Nothing of the round is worked on any more.
    pub(super) fn end_work(&mut self) {
        let sums = self.under_way.end();
        self.release(sums.bytes(), sums);
    }

    pub(super) fn skip(&mut self) -> Result<(), Reject> {
        match self.phase() {
            Phase::Idle | Phase::Failed => Err(Reject::NoRound),
            _ => {
                self.fail(RoundFailure::Skipped);
                Ok(())
            }
        }
    }

    pub(super) fn stop(&mut self) {
        self.standing = Standing::Stopped;
        self.end_work();
        self.outbox.close(&self.shown);
    }
}
