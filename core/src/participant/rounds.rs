//! How a round begins, and what is done next in it.

use std::sync::Arc;

use bytes::Bytes;

use super::io::Event;
use super::jobs::{ComposeError, Composer, Outcome};
use super::machine::{Activity, Participant};
use super::models::fits;
use super::stage::{Content, Round, Stage, Upload};
use crate::crypto::{Task, TaskSignatures};
use crate::job::Work;
use crate::message::HandedOver;
use crate::model::Model;
use crate::request::Call;
use crate::round::RoundParameters;

impl Participant {
    pub(super) fn begin_round(&mut self, parameters: RoundParameters) {
        let signatures = TaskSignatures::sign(&self.keys, &parameters.seed);
        let task = signatures.task(parameters.sum, parameters.update);
        let parameters = Arc::new(parameters);
        self.set_stage(match task {
            Task::None => Stage::Awaiting,
            Task::Sum => Stage::Sum(None),
            Task::Update => Stage::FetchSums,
        });
        self.misses = 0;
        self.holding.wait_anew();
        self.losses = 0;
        self.model_asked = false;
        // One that does not even fit the round before was not for it: a restored participant was given it.
        let was_for =
            |(round, model): (&Round, &Arc<Model>)| fits(model, &round.parameters).is_ok();
        let outdated = !self.settings.keep_models
            && self.round.as_ref().zip(self.model.as_ref()).is_some_and(was_for);
        let number = self.round.as_ref().map_or(0, |round| round.number.wrapping_add(1));
        self.root = self.root.ratchet();
        if let Some(round) = &self.round {
            self.passed.add(&round.parameters);
        }
        self.round = Some(Round { parameters: parameters.clone(), number, signatures, task });
        self.event(Event::NewRound { task, parameters });
        if outdated {
            self.set_local_model(None);
            self.event(Event::ModelOutdated);
        }
        self.check_model();
    }

    /// Does the next step of the current stage, right after a look at the round's parameters.
    pub(super) fn step(&mut self) {
        let Some(round) = &self.round else {
            return self.wait_longer();
        };
        let length = round.parameters.model_length;
        let is_too_long = length > self.settings.max_model_length;
        match &self.stage {
            Stage::Awaiting => self.wait_longer(),
            // Who cannot add up the masks must not announce that, and nobody is asked for such a model.
            Stage::Sum(None) | Stage::Sum2(None) | Stage::FetchSums | Stage::Mask { .. }
                if is_too_long =>
            {
                self.not_composed(ComposeError::TooLong(length));
            }
            Stage::Sum(None) => self.compose(|composer| composer.sum()),
            Stage::Sum2(None) => {
                let call = Call::Seeds(self.keys.public()).of_round(round.parameters.tag());
                let id = self.request_patiently(call, None);
                self.activity = Activity::Seeds(id);
            }
            Stage::FetchSums => {
                let call = Call::Sums.of_round(round.parameters.tag());
                let id = self.request_patiently(call, None);
                self.activity = Activity::Sums(id);
            }
            Stage::Mask { sums } => match &self.model {
                Some(model) => {
                    let (sums, model) = (sums.clone(), model.clone());
                    self.masking = Some(model.clone());
                    self.compose(|composer| composer.update(sums, model));
                }
                None => {
                    let event = Event::ModelNeeded {
                        data_type: round.parameters.mask_config.vect.data_type(),
                        length: round.parameters.model_length,
                    };
                    if !std::mem::replace(&mut self.model_asked, true) {
                        self.event(event);
                        return self.wait_after_progress();
                    }
                    self.wait_longer();
                }
            },
            Stage::Sum(Some(upload)) | Stage::Sum2(Some(upload)) | Stage::Update(upload) => {
                match &upload.content {
                    // Restored with other settings.
                    _ if self.settings.hand_over != upload.is_for_handing_over() => {
                        self.make_anew();
                    }
                    // The settings may be others than when it was made, or something on the way is narrow.
                    _ if !self.settings.hand_over && upload.is_above(self.message_size()) => {
                        let upload = upload.clone();
                        self.compose(|composer| composer.split_again(upload));
                    }
                    Content::Whole(sealed) | Content::Sealed { sealed, .. } => {
                        self.post(sealed.clone());
                    }
                    Content::Chunks { .. } => {
                        let upload = upload.clone();
                        self.compose(|composer| composer.chunk(upload));
                    }
                }
            }
        }
    }

    /// Never posts what is not sealed, and hands nothing over that is: it goes back to what the message is made of. (A mask seed
    /// depends on the model, so whatever model comes is masked with a seed of its own.)
    fn make_anew(&mut self) {
        self.set_stage(match &self.stage {
            Stage::Sum(_) => Stage::Sum(None),
            Stage::Sum2(_) => Stage::Sum2(None),
            _ => Stage::FetchSums,
        });
        self.step();
    }

    pub(super) fn compose<W: Work<Outcome> + 'static>(&mut self, work: impl FnOnce(Composer) -> W) {
        let Some(round) = &self.round else { return };
        let composer = Composer {
            keys: self.keys.clone(),
            root: self.root.clone(),
            scalar: self.settings.scalar.clone(),
            size: self.message_size(),
            max_model_length: self.settings.max_model_length,
            parameters: round.parameters.clone(),
            number: round.number,
            hand_over: self.settings.hand_over,
            signatures: round.signatures,
        };
        let work = work(composer);
        let kind = work.kind();
        self.activity = Activity::Job(self.job(work), kind);
    }

    pub(super) fn post(&mut self, sealed: Bytes) {
        let id = match self.settings.hand_over {
            false => self.request(Call::Message(sealed)),
            true => self.hand_over(HandedOver { frame: sealed }),
        };
        self.activity = Activity::Post(id);
    }

    pub(super) fn upload_mut(&mut self) -> Option<&mut Upload> {
        match &mut self.stage {
            Stage::Sum(Some(upload)) | Stage::Sum2(Some(upload)) | Stage::Update(upload) => {
                Some(upload)
            }
            _ => None,
        }
    }
}
