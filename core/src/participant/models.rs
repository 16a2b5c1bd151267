//! The local model, and the global one, which is got beside the main line.

use std::sync::Arc;

use super::answers::{read_body, read_params};
use super::io::{Event, FetchError, ModelMismatch, Reject, TransportFault, Trouble};
use super::jobs::DecodeModel;
use super::machine::{Activity, Fetch, Participant};
use super::stage::Stage;
use crate::model::{castable, Model};
use crate::request::{Call, RequestId, Response};
use crate::round::RoundParameters;

impl Participant {
    pub(super) fn set_model(&mut self, model: Model) -> Result<(), Reject> {
        // Before a look at the coordinator a restored participant's round may be over: it is checked then.
        let known = self.parameters().filter(|_| self.has_looked);
        let fits = known.map_or(Ok(()), |parameters| fits(&model, parameters));
        if let Err(mismatch) = fits {
            self.release(model.len() * 8, model);
            return Err(mismatch.into());
        }
        self.set_local_model(Some(Arc::new(model)));
        if let Stage::Mask { .. } = &self.stage {
            match self.activity {
                Activity::Waiting(_) => self.go_on(),
                _ => self.give_up_held_look(),
            }
        }
        Ok(())
    }

    pub(super) fn set_local_model(&mut self, model: Option<Arc<Model>>) {
        if let Some(old) = std::mem::replace(&mut self.model, model) {
            self.release(old.len() * 8, old);
        }
    }

    /// Drops a model that the round cannot use, now that it is known.
    pub(super) fn check_model(&mut self) {
        let Some((model, parameters)) = self.model.as_ref().zip(self.parameters()) else { return };
        if let Err(mismatch) = fits(model, parameters) {
            self.set_local_model(None);
            self.event(Event::ModelRejected(mismatch));
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

    /// A wish is never answered with a model that is older than the wish: what was asked for before may be
    /// of a round that is over, and nobody has looked since.
    pub(super) fn fetch_model(&mut self) {
        let shared = match &self.fetch {
            Fetch::None => {
                self.begin_fetch();
                true
            }
            // The model is asked for afterwards.
            Fetch::Params(_) => true,
            Fetch::Model(id, _) | Fetch::Check(id, ..) => self.is_unsent(*id),
            Fetch::Job(..) => false,
        };
        let wishes = if shared { &mut self.wishes } else { &mut self.late_wishes };
        *wishes = wishes.saturating_add(1);
    }

    fn begin_fetch(&mut self) {
        match self.parameters().cloned() {
            Some(parameters) => self.ask_for_model(parameters),
            None => self.fetch = Fetch::Params(self.request(Call::Params)),
        }
    }

    /// Asks (again), for all wishes that there are.
    pub(super) fn ask_for_model(&mut self, parameters: Arc<RoundParameters>) {
        self.wishes = self.wishes.saturating_add(std::mem::take(&mut self.late_wishes));
        let id = self.request(Call::Model(parameters.mask_config.vect.data_type()));
        self.fetch = Fetch::Model(id, parameters);
    }

    /// The global model is there, as it was in the round with these parameters at the least.
    pub(super) fn fetched(&mut self, model: Option<Arc<Model>>, parameters: Arc<RoundParameters>) {
        self.answer_wishes(&Event::GlobalModel(model.clone()));
        if self.wishes == 0 {
            return;
        }
        if self.parameters().is_some_and(|current| *current != parameters) {
            return self.begin_fetch();
        }
        // A look at the parameters is cheaper than the model, and tells whether it is still the one.
        let id = self.request(Call::Params);
        self.fetch = Fetch::Check(id, parameters, model);
    }

    /// It could not be had.
    pub(super) fn not_fetched(&mut self, error: FetchError) {
        self.answer_wishes(&Event::GlobalModelFailed(error));
        if self.wishes > 0 {
            self.begin_fetch();
        }
    }

    /// Every wish gets an answer of its own, so that nobody waits for one that another has taken. Those that
    /// came late are the next.
    fn answer_wishes(&mut self, answer: &Event) {
        self.fetch = Fetch::None;
        let wishes = std::mem::replace(&mut self.wishes, std::mem::take(&mut self.late_wishes));
        for _ in 0..wishes {
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
            Fetch::Check(expected, parameters, model) if expected == id => {
                match read_params(answer) {
                    Ok(current) if current == *parameters => self.fetched(model, parameters),
                    // Whoever has answered is behind.
                    Ok(current) if self.passed.has(&current) => self.begin_fetch(),
                    Ok(current) => self.ask_for_model(Arc::new(current)),
                    Err(reason) => {
                        self.not_fetched(FetchError::Trouble(Trouble { call: "params", reason }));
                    }
                }
                return Ok(());
            }
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
                        self.fetched(None, parameters);
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
        self.not_fetched(FetchError::Trouble(Trouble { call, reason }));
        Ok(())
    }
}

pub(crate) fn fits(model: &Model, parameters: &RoundParameters) -> Result<(), ModelMismatch> {
    let (expected, actual) = (parameters.mask_config.vect.data_type(), model.data_type());
    castable(actual, expected).map_err(|_| ModelMismatch::DataType { expected, actual })?;
    let (expected, actual) = (parameters.model_length, model.len() as u64);
    if expected != actual {
        return Err(ModelMismatch::Length { expected, actual });
    }
    Ok(())
}
