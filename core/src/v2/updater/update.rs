//! Training, masking, and sending the update.

use std::sync::Arc;

use bytes::Bytes;

use super::jobs::{CheckList, Flaw, Made, MakeUpdate, Recipe};
use super::machine::{Activity, Asked, Updater};
use super::state::{Local, Promise, Stage};
use super::Refusal;
use crate::message::Tag;
use crate::model::Model;
use crate::participant::{
    fits, ComposeError, Event, ModelMismatch, Reject, TransportFault, TroubleReason,
};
use crate::problem::Problem;
use crate::request::Response;
use crate::v2::{Announcements, Call, Phase};

impl Updater {
    pub(super) fn set_model(&mut self, model: Model) -> Result<(), Reject> {
        // Before a look at the coordinator a restored updater's round may be over: it is checked then.
        let known = self.parameters().filter(|_| self.view.is_some());
        if let Err(mismatch) = known.map_or(Ok(()), |parameters| fits(&model, parameters)) {
            self.release(model.len() * 8, model);
            return Err(mismatch.into());
        }
        let trained_on = self.given;
        self.set_local(Some(Local { model: Arc::new(model), trained_on }));
        if let Stage::Train = &self.stage {
            if matches!(self.activity, Activity::Waiting(_)) || self.give_up_held_look() {
                self.go_on();
            }
        }
        Ok(())
    }

    pub(super) fn set_local(&mut self, local: Option<Local>) {
        if let Some(old) = std::mem::replace(&mut self.local, local) {
            self.release(old.model.len() * 8, old);
        }
    }

    /// Drops a model that the round cannot use, now that it is known.
    pub(super) fn check_local(&mut self) {
        let Some((local, parameters)) = self.local.as_ref().zip(self.parameters()) else { return };
        if let Err(mismatch) = fits(&local.model, parameters) {
            self.set_local(None);
            self.event(Event::ModelRejected(mismatch));
        }
    }

    /// Does what is next in the round, whose terms and global model are in order.
    pub(super) fn work(&mut self) -> Result<(), Refusal> {
        let Some(round) = &self.round else {
            self.wait_longer();
            return Ok(());
        };
        let (length, terms) = (round.terms.parameters.model_length, round.terms.clone());
        // A coordinator that says both, that it is over and that it is on, lies: its model was not got.
        let completed = self.view.as_ref().and_then(|view| view.completed);
        let is_over = completed.is_some_and(|completed| completed >= terms.round);
        let is_open = matches!(self.phase(), Phase::Announce | Phase::Update) && !is_over;
        match &self.stage {
            Stage::Idle => self.wait_longer(),
            Stage::Deliver(_) if self.phase() == Phase::Update => self.deliver(),
            Stage::Deliver(_) => {
                let detail = format!(
                    "the update phase of round {} was over before all was sent",
                    terms.round
                );
                self.rejected(Problem::new("too_late", 409, "The message comes too late", detail));
            }
            Stage::Train if length > self.settings.max_model_length => {
                self.give_up(ComposeError::TooLong(length));
            }
            Stage::Train if !is_open => self.wait_longer(),
            Stage::Train => match &self.local {
                // It was trained on another global model than this round starts from. (A user that never asks for one has
                // trained on nothing of the coordinator's.)
                Some(Local { trained_on: Some(trained_on), .. }) if terms.model != *trained_on => {
                    self.set_local(None);
                    self.event(Event::ModelOutdated);
                    self.model_asked = false;
                    self.ask_for_training();
                }
                Some(_) if self.phase() == Phase::Update => {
                    self.ask(Call::Announcements, Asked::Announcements);
                }
                Some(_) => self.wait_longer(),
                None => self.ask_for_training(),
            },
        }
        Ok(())
    }

    fn ask_for_training(&mut self) {
        let Some(parameters) = self.parameters().cloned() else { return self.wait_longer() };
        if std::mem::replace(&mut self.model_asked, true) {
            return self.wait_longer();
        }
        self.event(Event::ModelNeeded {
            data_type: parameters.mask_config.vect.data_type(),
            length: parameters.model_length,
        });
        self.wait_after_progress();
    }

    pub(super) fn check_list(&mut self, body: Bytes) {
        let (Some(roster), Some(round)) = (&self.roster, &self.round) else { return self.go_on() };
        self.job(CheckList::new(body, roster.clone(), round.context));
    }

    pub(super) fn list_checked(&mut self, checked: Result<Arc<Announcements>, Flaw>) {
        let announcements = match checked {
            Ok(announcements) => announcements,
            Err(Flaw::Malformed(error)) => return self.malformed("announcements", error),
            Err(Flaw::Refused(refusal)) => return self.refuse(refusal),
        };
        let (Some(round), Some(roster)) = (&self.round, &self.roster) else { return self.go_on() };
        let promise = self.promise.filter(|promise| promise.context == round.context);
        if promise.is_some() {
            return self.refuse(Refusal::SecondStatement { round: round.terms.round });
        }
        // It was looked at in the same moment: if it is another, the coordinator shows two.
        let shown = self.view.as_ref().and_then(|view| view.announcements);
        if shown.is_some_and(|shown| shown != announcements.digest()) {
            return self.go_on_later();
        }
        let Some(local) = &self.local else { return self.go_on() };
        let model = local.model.clone();
        let global = match round.terms.noise {
            // What is masked is the difference from the very model that the terms name.
            Some(_) => self.base.as_ref().filter(|base| Some(base.hash) == round.terms.model),
            None => None,
        };
        if round.terms.noise.is_some() && round.terms.model.is_some() && global.is_none() {
            return self.go_on_later();
        }
        let recipe = Recipe {
            keys: self.keys.clone(),
            root: self.root.clone(),
            scalar: self.settings.scalar.clone(),
            credential: self.settings.credential,
            terms: round.terms.clone(),
            context: round.context,
            announcements,
            groups: roster.groups().len() as u8,
            global: global.map(|base| base.model.clone()),
        };
        self.masking = Some(model.clone());
        self.job(MakeUpdate::new(recipe, model));
    }

    fn go_on_later(&mut self) {
        self.wait_longer();
    }

    /// The statement is made: from here on it is a promise, and what was spent is spent.
    pub(super) fn made(&mut self, made: Made) {
        let Some(round) = self.round.clone() else { return self.go_on() };
        let Made { delivery, list, statement, report } = made;
        let terms = &round.terms;
        self.promise = Some(Promise {
            roster: terms.roster,
            round: terms.round,
            context: round.context,
            list,
            statement,
            settled: false,
        });
        self.use_up_model();
        self.event(Event::ModelMasked(report));
        // Without noise all is spent: no budget that is pinned later can be kept any more.
        self.ledger.charge(terms.noise.map_or(0, |noise| noise.multiplier_thousandths));
        if terms.noise.is_some() {
            let delta = self.pin.budget.map_or(super::DEFAULT_DELTA, |budget| budget.delta);
            self.event(Event::BudgetSpent {
                round: terms.round,
                spent: self.ledger.epsilon(delta),
                delta,
                budget: self.pin.budget.map(|budget| budget.epsilon),
            });
        }
        self.set_stage(Stage::Deliver(delivery));
        self.is_unsaved = true;
        if !self.persist_first() {
            self.go_on();
        }
    }

    /// Drops the model that was masked; one that was set in the meantime is for later.
    fn use_up_model(&mut self) {
        let Some(masked) = self.masking.take() else { return };
        if self.local.as_ref().is_some_and(|local| Arc::ptr_eq(&masked, &local.model)) {
            self.local = None;
        }
        self.release(masked.len() * 8, masked);
    }

    pub(super) fn not_made(&mut self, error: ComposeError) {
        match error {
            ComposeError::Model(error) => self.reject_model(error),
            error => {
                if let Some(model) = self.masking.take() {
                    self.release(model.len() * 8, model);
                }
                self.give_up(error);
            }
        }
    }

    fn reject_model(&mut self, error: ModelMismatch) {
        self.use_up_model();
        self.event(Event::ModelRejected(error));
        self.model_asked = false;
        self.wait_longer();
    }

    pub(super) fn give_up(&mut self, error: ComposeError) {
        self.set_stage(Stage::Idle);
        self.event(Event::GaveUp(error));
        self.wait_longer();
    }

    fn rejected(&mut self, problem: Problem) {
        self.set_stage(Stage::Idle);
        self.event(Event::Rejected { tag: Tag::Update, problem });
        self.wait_longer();
    }

    // Sending.

    fn deliver(&mut self) {
        if self.persist_first() {
            return;
        }
        let (Stage::Deliver(delivery), Some(round)) = (&self.stage, &self.round) else {
            return self.go_on();
        };
        let call = delivery.call(self.keys.public(), round.context.tag());
        self.ask(call, Asked::Delivery);
    }

    pub(super) fn handle_delivery(&mut self, answer: Result<Response, TransportFault>) {
        let Stage::Deliver(delivery) = &mut self.stage else { return self.go_on() };
        let response = match answer {
            Ok(Response { status: 200..=299, .. }) => return self.delivered(),
            Ok(response) => response,
            Err(fault) => return self.trouble("update", fault.into()),
        };
        let Some(problem) = Problem::of(&response) else {
            if response.status == 413 {
                // No part is longer than half a MiB, and none can be made shorter.
                let size = delivery.length();
                return self.give_up(ComposeError::NotLetThrough { size });
            }
            return self.trouble("update", TroubleReason::Status(response.status));
        };
        match &*problem.name {
            // The coordinator has lost what was sent before, or takes it for another upload: all is sent anew.
            "unknown_upload" | "other_chunk" if delivery.begin_anew() => {
                self.trouble("update", TroubleReason::Problem(problem));
            }
            _ => self.rejected(problem),
        }
    }

    /// A part was delivered.
    fn delivered(&mut self) {
        let Stage::Deliver(delivery) = &mut self.stage else { return self.go_on() };
        let is_all = delivery.advance();
        let (sent, total) = delivery.progress();
        self.misses = 0;
        self.event(Event::Progress { tag: Tag::Update, sent, total });
        if is_all {
            self.event(Event::Sent(Tag::Update));
            self.set_stage(Stage::Idle);
            return self.wait_after_progress();
        }
        // Who wishes for the global model is not left waiting for all chunks.
        match self.late_wishes {
            0 => self.deliver(),
            _ => self.go_on(),
        }
    }
}
