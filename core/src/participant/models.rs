//! The local model, and the global one, which is got beside the main line.

use std::sync::Arc;

use super::answers::{read_body, read_params};
use super::io::{Event, FetchError, ModelMismatch, Reject, TransportFault, Trouble};
use super::jobs::DecodeModel;
use super::machine::{Activity, Fetch, Participant};
use super::stage::Stage;
use crate::model::Model;
use crate::request::{Call, RequestId, Response};
use crate::round::RoundParameters;

impl Participant {
    pub(super) fn set_model(&mut self, model: Model) -> Result<(), Reject> {
        let fits = self.parameters().map_or(Ok(()), |parameters| fits(&model, parameters));
        if let Err(mismatch) = fits {
            self.release(model.len() * 8, model);
            return Err(mismatch.into());
        }
        self.set_local_model(Some(Arc::new(model)));
        if let (Stage::Mask { .. }, Activity::Waiting(_)) = (&self.stage, &self.activity) {
            self.go_on();
        }
        Ok(())
    }

    pub(super) fn set_local_model(&mut self, model: Option<Arc<Model>>) {
        if let Some(old) = std::mem::replace(&mut self.model, model) {
            self.release(old.len() * 8, old);
        }
    }

    /// Drops the model that was masked; one that was set in the meantime is for later.
    pub(super) fn use_up_model(&mut self) {
        let Some(masked) = self.masking.take() else { return };
        if self.model.as_ref().is_some_and(|model| Arc::ptr_eq(&masked, model)) {
            self.model = None;
        }
        self.release(masked.len() * 8, masked);
    }

    pub(super) fn fetch_model(&mut self) {
        self.wishes = self.wishes.saturating_add(1);
        // A second wish is answered together with the first.
        if !matches!(self.fetch, Fetch::None) {
            return;
        }
        match self.parameters().cloned() {
            Some(parameters) => self.ask_for_model(parameters),
            None => self.fetch = Fetch::Params(self.request(Call::Params)),
        }
    }

    pub(super) fn ask_for_model(&mut self, parameters: Arc<RoundParameters>) {
        let id = self.request(Call::Model(parameters.mask_config.vect.data_type()));
        self.fetch = Fetch::Model(id, parameters);
    }

    /// Every wish gets an answer of its own, so that nobody waits for one that another has taken.
    pub(super) fn answer_wishes(&mut self, answer: Event) {
        for _ in 0..std::mem::take(&mut self.wishes) {
            self.event(answer.clone());
        }
    }

    pub(super) fn handle_fetch_answer(
        &mut self,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Reject> {
        let (call, reason) = match std::mem::replace(&mut self.fetch, Fetch::None) {
            Fetch::Params(expected) if expected == id => match read_params(answer) {
                Ok(parameters) => {
                    self.ask_for_model(Arc::new(parameters));
                    return Ok(());
                }
                Err(reason) => ("params", reason),
            },
            Fetch::Model(expected, parameters) if expected == id => {
                let form = answer.as_ref().map(|response| response.model_form).unwrap_or_default();
                match read_body(answer) {
                    Ok(Some(body)) => {
                        let data_type = parameters.mask_config.vect.data_type();
                        let id = self.job(DecodeModel::new(body, form, data_type));
                        self.fetch = Fetch::Job(id, parameters);
                        return Ok(());
                    }
                    Ok(None) => {
                        self.answer_wishes(Event::GlobalModel(None));
                        return Ok(());
                    }
                    Err(reason) => ("model", reason),
                }
            }
            other => {
                self.fetch = other;
                let bytes = answer.as_ref().map_or(0, |response| response.body.len());
                self.release(bytes, answer);
                return Err(Reject::UnknownRequest(id));
            }
        };
        let trouble = Trouble { call, reason };
        self.answer_wishes(Event::GlobalModelFailed(FetchError::Trouble(trouble)));
        Ok(())
    }
}

pub(super) fn fits(model: &Model, parameters: &RoundParameters) -> Result<(), ModelMismatch> {
    let (expected, actual) = (parameters.mask_config.vect.data_type(), model.data_type());
    if expected != actual {
        return Err(ModelMismatch::DataType { expected, actual });
    }
    let (expected, actual) = (parameters.model_length, model.len() as u64);
    if expected != actual {
        return Err(ModelMismatch::Length { expected, actual });
    }
    Ok(())
}
