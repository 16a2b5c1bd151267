//! Looking at the coordinator: what it says about the round, and whether that is acceptable.

use std::sync::Arc;

use bytes::Bytes;

use super::jobs::{CheckRoster, Flaw};
use super::machine::{Activity, Asked, Updater, MAX_RETRY_AFTER};
use super::refusal::{LARGEST_FIRST, LONGEST_LEAP};
use super::state::{Round, Stage};
use super::Refusal;
use crate::crypto::Task;
use crate::holding::Held;
use crate::mask::noise::{HeadRoom, Noise};
use crate::model::Scalar;
use crate::participant::{Event, Reject, TransportFault, TroubleReason};
use crate::problem::Problem;
use crate::request::{RequestId, Response};
use crate::time::Timestamp;
use crate::v2::{Budget, Call, Context, DecodeError, NoiseTerms, Phase, Roster, RoundView, Terms};

/// What there is of something that was asked for.
pub(super) enum Found {
    Body(Response),
    /// It is not there, or not yet.
    Nothing,
}

impl Updater {
    pub(super) fn handle_answer(
        &mut self,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Reject> {
        if self.holding.is_parked(id) {
            return Err(Reject::UnknownRequest(id));
        }
        match self.holding.take_answer(self.now, id, &answer) {
            Held::No => self.take_answer(id, answer),
            Held::Since(sent) => {
                let (key, longest) = (self.keys.public(), self.settings.polling.max);
                match &answer {
                    Ok(response)
                        if self.holding.park(self.now, &key, longest, (id, sent, response)) =>
                    {
                        Ok(())
                    }
                    _ => self.take_held_answer(id, sent, answer),
                }
            }
            Held::CutOff(sent) => {
                self.held_since = Some(sent);
                self.heed(&answer);
                self.wait_longer();
                self.held_since = None;
                Ok(())
            }
        }
    }

    /// Takes in the answer to a look that was sent then, and could be held back.
    pub(super) fn take_held_answer(
        &mut self,
        id: RequestId,
        sent: Timestamp,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Reject> {
        self.held_since = Some(sent);
        let taken = self.take_answer(id, answer);
        self.held_since = None;
        taken
    }

    fn take_answer(
        &mut self,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Reject> {
        let asked = match self.activity {
            Activity::Asking(expected, asked) if expected == id => asked,
            _ => {
                let bytes = answer.as_ref().map_or(0, |response| response.body.len());
                self.release(bytes, answer);
                return Err(Reject::UnknownRequest(id));
            }
        };
        self.heed(&answer);
        // Only who has said what it knows is told that there is nothing else.
        if let (Ok(Response { status: 304, .. }), Some(_)) = (&answer, self.held_since) {
            self.step();
            return Ok(());
        }
        if asked == Asked::Delivery {
            self.handle_delivery(answer);
            return Ok(());
        }
        let found = match read(answer) {
            Ok(found) => found,
            Err(reason) => {
                self.trouble(asked.name(), reason);
                return Ok(());
            }
        };
        match (asked, found) {
            (Asked::Round, Found::Nothing) => self.refuse(Refusal::NoV2),
            (Asked::Round, Found::Body(response)) => self.handle_round(&response.body),
            (Asked::Roster, Found::Body(response)) => {
                self.job(CheckRoster::new(response.body, self.pin));
            }
            (Asked::Announcements, Found::Body(response)) => self.check_list(response.body),
            (Asked::Certificate(round), found) => self.handle_certificate(round, found),
            (Asked::Proof, found) => self.handle_proof(found),
            (Asked::Model(round), Found::Body(response)) => self.read_model(round, response),
            // It was there a moment ago: the round has gone on, perhaps.
            (asked, Found::Nothing) => self.trouble(asked.name(), TroubleReason::Status(404)),
            (Asked::Delivery, Found::Body(_)) => {}
        }
        Ok(())
    }

    /// Heeds a coordinator that has too much to do: the next pause lasts as long as it says.
    fn heed(&mut self, answer: &Result<Response, TransportFault>) {
        if let Ok(Response { status: 429 | 503, retry_after: Some(pause), .. }) = answer {
            self.least_pause = (*pause).min(MAX_RETRY_AFTER);
        }
    }

    fn handle_round(&mut self, body: &Bytes) {
        match RoundView::from_bytes(body) {
            Ok(view) => {
                if self.held_since.is_none() {
                    self.holding.answered();
                }
                self.view = Some(view);
                self.step();
            }
            Err(error) => self.malformed("round", error),
        }
    }

    pub(super) fn roster_checked(&mut self, checked: Result<Arc<Roster>, Flaw>) {
        match checked {
            Ok(roster) => {
                self.roster = Some(roster);
                self.step();
            }
            Err(Flaw::Malformed(error)) => self.malformed("roster", error),
            Err(Flaw::Refused(refusal)) => self.refuse(refusal),
        }
    }

    pub(super) fn malformed(&mut self, call: &'static str, error: DecodeError) {
        match Refusal::try_from(error) {
            Ok(refusal) => self.refuse(refusal),
            Err(error) => self.trouble(call, TroubleReason::V2(error)),
        }
    }

    /// Does what is next, right after a look at the round.
    pub(super) fn step(&mut self) {
        match self.next_step() {
            Ok(()) => {
                self.is_troubled = false;
                self.only_waits = matches!(self.activity, Activity::Waiting(_));
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn next_step(&mut self) -> Result<(), Refusal> {
        let Some(roster) = self.roster.clone() else {
            self.ask(Call::Roster, Asked::Roster);
            return Ok(());
        };
        // What became of the last update is told first, whatever the coordinator does next.
        if self.settle()? {
            return Ok(());
        }
        let Some(terms) = self.view.as_ref().and_then(|view| view.terms.clone()) else {
            self.answer_wishes(None);
            self.wait_longer();
            return Ok(());
        };
        let context = terms.context();
        // Once is enough for a round; who is restored in one may have other settings.
        if self.accepted != Some(context) {
            self.check_terms(&roster, &terms, &context)?;
            self.accepted = Some(context);
            if self.round.as_ref().is_none_or(|round| round.context != context) {
                self.begin_round(terms, context);
            } else {
                self.check_local();
            }
        }
        if self.get_base()? {
            return Ok(());
        }
        self.work()
    }

    /// Whether this updater may take part in a round with these terms.
    fn check_terms(
        &self,
        roster: &Roster,
        terms: &Terms,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.pin.check_terms(terms)?;
        terms.check_time(self.seconds(), self.settings.clock_tolerance)?;
        let offered = terms.round;
        let promise = self.promise.filter(|promise| promise.roster == terms.roster);
        match promise {
            None if offered > LARGEST_FIRST => {
                return Err(Refusal::RoundTooFarAhead { last: 0, offered, most: LARGEST_FIRST });
            }
            Some(promise) if offered < promise.round => {
                return Err(Refusal::RoundNotAbove { last: promise.round, offered });
            }
            Some(promise) if offered == promise.round && promise.context != *context => {
                let (before, found) = (promise.context, *context);
                return Err(Refusal::OtherTerms { round: offered, before, found });
            }
            Some(promise) if offered - promise.round > LONGEST_LEAP => {
                let (last, most) = (promise.round, LONGEST_LEAP);
                return Err(Refusal::RoundTooFarAhead { last, offered, most });
            }
            _ => {}
        }
        let credential = self.settings.credential.as_ref();
        roster.admission().check(&self.keys.public(), credential, terms.opened_at)?;
        let Some(noise) = terms.noise else { return Ok(()) };
        if self.settings.scalar != Scalar::one() {
            let scalar = self.settings.scalar.to_string();
            return Err(Refusal::Scalar { round: offered, scalar });
        }
        // Once it is masked for this round, that is paid.
        let is_paid = promise.is_some_and(|promise| promise.context == *context);
        match self.pin.budget {
            Some(budget) if !is_paid => self.check_budget(offered, noise, budget)?,
            _ => {}
        }
        check_room(roster, terms, noise)
    }

    /// Whether the budget allows a round with this noise.
    fn check_budget(&self, round: u64, noise: NoiseTerms, budget: Budget) -> Result<(), Refusal> {
        let Budget { epsilon, delta } = budget;
        let checked = self.ledger.check(noise.multiplier_thousandths, epsilon, delta);
        let spent = self.ledger.epsilon(delta);
        checked.map_err(|over| Refusal::Budget { round, spent, next: over.epsilon, epsilon, delta })
    }

    fn begin_round(&mut self, terms: Terms, context: Context) {
        let parameters = Arc::new(terms.parameters.clone());
        let was_in_one = self.round.is_some();
        let is_promised = self.promise.is_some_and(|promise| promise.context == context);
        self.set_stage(if is_promised { Stage::Idle } else { Stage::Train });
        self.root = self.root.ratchet();
        self.set_round(Round { terms: Arc::new(terms), context });
        self.misses = 0;
        self.holding.wait_anew();
        self.losses = 0;
        self.model_asked = false;
        if !std::mem::take(&mut self.told_before_round) {
            self.told = None;
        }
        self.event(Event::NewRound { task: Task::Update, parameters });
        if was_in_one && !self.settings.keep_models && self.local.is_some() {
            self.set_local(None);
            self.event(Event::ModelOutdated);
        }
        self.check_local();
    }

    /// The phase that the latest look has shown.
    pub(super) fn phase(&self) -> Phase {
        self.view.as_ref().map_or(Phase::Idle, |view| view.phase)
    }
}

/// Whether sum and noise fit the group, for as many models as there must be.
fn check_room(roster: &Roster, terms: &Terms, noise: NoiseTerms) -> Result<(), Refusal> {
    let round = terms.round;
    let no_room =
        |error: &dyn std::fmt::Display| Refusal::HeadRoom { round, reason: error.to_string() };
    let length = usize::try_from(terms.parameters.model_length).unwrap_or(usize::MAX);
    let config = terms.parameters.mask_config.vect;
    let noise = Noise::new(config, length, noise.multiplier_thousandths);
    let noise = noise.map_err(|error| no_room(&error))?;
    let room = HeadRoom::new(noise, roster.groups().len());
    room.check(terms.n_min).map_err(|error| no_room(&error))
}

/// What an answer has; what is wrong with it.
fn read(answer: Result<Response, TransportFault>) -> Result<Found, TroubleReason> {
    let response = answer?;
    match response.status {
        200 => Ok(Found::Body(response)),
        // A coordinator of version 1 knows none of these calls.
        204 | 404 | 405 | 410 | 501 => Ok(Found::Nothing),
        status => Err(match Problem::of(&response) {
            Some(problem) => TroubleReason::Problem(problem),
            None => TroubleReason::Status(status),
        }),
    }
}
