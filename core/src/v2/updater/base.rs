//! The global model and its certificate: both are checked before anybody trains on it.

use std::sync::Arc;

use super::jobs::{CheckCertificate, Checked, Flaw, Read, ReadModel};
use super::look::Found;
use super::machine::{Asked, Updater};
use super::Refusal;
use crate::model::Model;
use crate::participant::{Event, FetchError, TroubleReason};
use crate::request::Response;
use crate::v2::merkle::InclusionProof;
use crate::v2::{Call, Decision, ModelHash, Phase};

/// A global model that was got.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// Of which round it is.
    pub(super) round: u64,
    pub(super) hash: ModelHash,
    pub(super) model: Arc<Model>,
}

/// A certificate that holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Certified {
    pub(super) round: u64,
    pub(super) decision: Decision,
}

impl Updater {
    /// Finds out what became of the last update, if that can be known by now. Whether something is under way for that.
    pub(super) fn settle(&mut self) -> Result<bool, Refusal> {
        let Some(promise) = self.promise.filter(|promise| !promise.settled) else {
            return Ok(false);
        };
        let Some(view) = &self.view else { return Ok(false) };
        let terms = view.terms.as_ref();
        // Of another committee, there is nobody to ask.
        let is_other = promise.roster != self.pin.roster;
        if view.completed.is_some_and(|completed| completed >= promise.round) && !is_other {
            match &self.certificate {
                Some(certified) if certified.round == promise.round => self.ask_for_proof(),
                _ => self.ask_for_certificate(promise.round),
            }
            return Ok(true);
        }
        let is_over = is_other
            || terms.is_some_and(|terms| {
                terms.round > promise.round
                    || (terms.round == promise.round && view.phase == Phase::Failed)
            });
        if is_over {
            let reason = view.failure.clone();
            self.not_certified(reason);
        }
        Ok(false)
    }

    fn not_certified(&mut self, reason: Option<String>) {
        if let Some(promise) = &mut self.promise {
            promise.settled = true;
            let round = promise.round;
            self.event(Event::NotCertified { round, reason });
        }
    }

    fn ask_for_certificate(&mut self, round: u64) {
        self.ask(Call::Certificate { round: Some(round) }, Asked::Certificate(round));
    }

    fn ask_for_proof(&mut self) {
        let Some(promise) = &self.promise else { return self.go_on() };
        let call = Call::Proof { round: promise.round, updater: self.keys.public() };
        self.ask(call, Asked::Proof);
    }

    pub(super) fn handle_certificate(&mut self, round: u64, found: Found) {
        match (found, &self.roster) {
            (Found::Body(response), Some(roster)) => {
                let (roster, pin) = (roster.clone(), self.pin);
                self.checking = round;
                self.job(CheckCertificate::new(response.body, roster, pin));
            }
            _ if self.promise.is_some_and(|promise| !promise.settled && promise.round == round) => {
                self.not_certified(Some("the coordinator shows no certificate of it".into()));
                self.step();
            }
            _ => {
                let round = self.round.as_ref().map_or(round, |round| round.terms.round);
                self.refuse(Refusal::NoCertificate { round });
            }
        }
    }

    pub(super) fn certificate_checked(&mut self, checked: Result<Checked, Flaw>) {
        let checked = match checked {
            Ok(checked) => checked,
            Err(Flaw::Malformed(error)) => return self.malformed("certificate", error),
            Err(Flaw::Refused(refusal)) => return self.certificate_refused(refusal),
        };
        let Checked { round, context, decision } = checked;
        let is_ours = |round| self.promise.filter(|promise| promise.round == round);
        let ours = is_ours(self.checking);
        // A certificate of this very round: another would tell nothing.
        if round != self.checking || ours.is_some_and(|promise| promise.context != context) {
            return self.certificate_refused(Refusal::OtherCertificate { round: self.checking });
        }
        self.certificate = Some(Certified { round, decision });
        if ours.is_some_and(|promise| !promise.settled) {
            return self.ask_for_proof();
        }
        if self.certified.is_none_or(|certified| certified < round) {
            self.certified = Some(round);
            self.event(Event::Certified { round, count: decision.count, included: None });
        }
        self.step();
    }

    /// It may be put right as long as its round is the latest. Later it does not hold up what comes after: the last update
    /// is told as not certified.
    fn certificate_refused(&mut self, refusal: Refusal) {
        let reason = refusal.to_string();
        self.refuse(refusal);
        let shown =
            self.view.as_ref().and_then(|view| view.terms.as_ref()).map(|terms| terms.round);
        let is_held_up = self.promise.is_some_and(|promise| {
            !promise.settled && promise.round == self.checking && shown > Some(promise.round)
        });
        if is_held_up {
            self.not_certified(Some(reason));
            self.told_before_round = true;
        }
    }

    pub(super) fn handle_proof(&mut self, found: Found) {
        let (Some(promise), Some(certified)) = (self.promise, self.certificate) else {
            return self.go_on();
        };
        let Certified { round, decision } = certified;
        let included = match found {
            Found::Nothing => false,
            Found::Body(response) => match InclusionProof::from_bytes(&response.body) {
                Err(error) => return self.malformed("proof", error),
                Ok(proof) => {
                    if !decision.includes(&self.keys.public(), &promise.statement, &proof) {
                        return self.refuse(Refusal::Proof { round });
                    }
                    true
                }
            },
        };
        if let Some(promise) = &mut self.promise {
            promise.settled = true;
        }
        self.certified = Some(round);
        self.event(Event::Certified { round, count: decision.count, included: Some(included) });
        self.step();
    }

    /// Sees to the global model that the round starts from, or, once the round is over, to the round's own if somebody wishes
    /// for it. Whether something is under way for that.
    pub(super) fn get_base(&mut self) -> Result<bool, Refusal> {
        let (Some(view), Some(round)) = (&self.view, &self.round) else { return Ok(false) };
        let (number, expected) = (round.terms.round, round.terms.model);
        let completed = view.completed;
        let is_over = completed.is_some_and(|completed| completed >= number);
        let wanted = match (is_over, expected, completed) {
            // Of a round that is over nobody trains any more.
            (true, ..) if self.wishes == 0 => return Ok(false),
            (true, _, completed) => completed,
            (false, None, _) => None,
            (false, Some(_), None) => return Err(Refusal::NoCertificate { round: number }),
            (false, Some(_), completed) => completed,
        };
        let Some(wanted) = wanted else {
            self.give(None);
            return Ok(false);
        };
        match &self.certificate {
            Some(certified) if certified.round == wanted => {}
            _ => {
                self.ask_for_certificate(wanted);
                return Ok(true);
            }
        }
        match &self.base {
            Some(base) if base.round == wanted => {
                if let (false, Some(expected)) = (is_over, expected) {
                    if base.hash != expected {
                        let (round, found) = (number, base.hash);
                        // Another look may show another one.
                        self.base = None;
                        return Err(Refusal::OtherModel { round, expected, found });
                    }
                }
                let (model, hash) = (base.model.clone(), base.hash);
                self.give(Some((model, hash)));
                Ok(false)
            }
            _ => {
                let data_type = round.terms.parameters.mask_config.vect.data_type();
                let call = Call::Model { round: Some(wanted), data_type };
                self.ask(call, Asked::Model(wanted));
                Ok(true)
            }
        }
    }

    /// Gives the global model to those who wish for it.
    fn give(&mut self, model: Option<(Arc<Model>, ModelHash)>) {
        if self.wishes > 0 {
            let (model, hash) = model.unzip();
            self.given = Some(hash);
            self.answer_wishes(model);
        }
    }

    pub(super) fn read_model(&mut self, round: u64, response: Response) {
        let Some(current) = &self.round else { return self.go_on() };
        let data_type = current.terms.parameters.mask_config.vect.data_type();
        self.checking = round;
        self.job(ReadModel::new(response.body, response.model_form, data_type));
    }

    pub(super) fn model_read(&mut self, read: Result<Read, FetchError>) {
        let Some(round) = &self.round else { return self.go_on() };
        let expected = round.terms.parameters.model_length;
        let error = match read {
            Ok(Read { model, .. }) if model.len() as u64 != expected => {
                let actual = model.len() as u64;
                self.release(model.len() * 8, model);
                FetchError::Length { expected, actual }
            }
            Ok(Read { model, hash }) => {
                let base = Base { round: self.checking, hash, model };
                if let Some(old) = self.base.replace(base) {
                    self.release(old.model.len() * 8, old);
                }
                return self.step();
            }
            Err(error) => error,
        };
        self.fail_wishes(&error);
        self.trouble("model", TroubleReason::Model(Box::new(error)));
    }
}
