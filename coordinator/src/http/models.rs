//! `GET /model`, `/models` and `/models/{round}`: global models in the form that the client prefers.

use std::{str::FromStr, sync::Arc};

use axum::{
    extract::{Extension, Path, State},
    http::{header, HeaderMap, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};
use headers_accept::Accept;
use serde::Serialize;
use tracing::error;

use super::{
    answers::later,
    conditional::{is_known, Tagged},
    content::Content,
    entity_tag::EntityTag,
    patience::Patience,
    socket::Client,
    untyped, Answer, Api, Rounds,
};
use crate::models::{Form, ModelName, Published, Unavailable};

/// The latest model; a patient client that has it already gets the next one.
pub(super) async fn latest<R: Rounds>(
    State(api): State<Arc<Api<R>>>,
    client: Option<Extension<Client>>,
    method: Method,
    request: HeaderMap,
) -> Response {
    // Who was given a round's parameters, by whichever replica, is not given the model of before.
    if !api.rounds.is_recent().await {
        return not_sure();
    }
    let is_news = || {
        let Some(model) = api.rounds.model() else { return false };
        Choice::of(&request, &model).is_none_or(|choice| !choice.is_known(&request, &model))
    };
    let is_patient = Patience::of(&request).is_some();
    let answer = async {
        // Nor is who has waited in vain.
        if is_patient && !is_news() && !api.rounds.is_recent().await {
            return not_sure();
        }
        match api.rounds.model() {
            Some(model) => answer(&model, &method, &request),
            None => untyped(Answer::no_content()),
        }
    };
    api.when_new(client.as_deref(), &request, api.rounds.until(is_news), answer).await
}

fn not_sure() -> Response {
    let mut response = later(
        &"it cannot be told now whether this is the latest global model: ask again a little later",
    );
    // The next connection may lead to another replica.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[derive(Serialize)]
struct List {
    models: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    round_id: u64,
}

/// The models that are kept, the latest first.
pub(super) async fn list<R: Rounds>(State(api): State<Arc<Api<R>>>) -> Response {
    let rounds = api.rounds.kept_rounds().into_iter().rev();
    axum::Json(List { models: rounds.map(|round_id| Entry { round_id }).collect() }).into_response()
}

/// A model of an earlier round.
pub(super) async fn of_round<R: Rounds>(
    State(api): State<Arc<Api<R>>>,
    Path(name): Path<String>,
    client: Option<Extension<Client>>,
    method: Method,
    request: HeaderMap,
) -> Response {
    let name = match ModelName::from_str(&name) {
        Ok(name) => name,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    // Every request over the network has one.
    let wanted = || client.as_ref().is_none_or(|client| !client.is_gone());
    let model = api.rounds.kept_model(name.round_id(), wanted).await;
    match model.map(|model| model.filter(|model| name.is_of(model))) {
        Ok(Some(model)) => answer(&model, &method, &request),
        Ok(None) => {
            let reason = "there is no such model: the round had none, or it is not kept any more; \
                 /models lists those that are\n";
            (StatusCode::NOT_FOUND, reason).into_response()
        }
        Err(Unavailable::Busy) => later(&Unavailable::Busy),
        Err(error) => {
            error!(%error, "a kept model cannot be read");
            let reason = "the model cannot be read: the coordinator's log says why\n";
            (StatusCode::INTERNAL_SERVER_ERROR, reason).into_response()
        }
    }
}

/// The form that an answer has.
#[derive(Clone, Copy)]
struct Choice(Form);

impl Choice {
    /// What the request prefers, in doubt the old form; `None` if it takes none of those that there are.
    fn of(request: &HeaderMap, model: &Published) -> Option<Self> {
        let values: Vec<&str> = request
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        // Old clients send no Accept, or one that takes all; what cannot be read says nothing.
        let Ok(accept) = Accept::from_str(&values.join(",")) else {
            return Some(Self(Form::Rationals));
        };
        if accept.media_types().next().is_none() {
            return Some(Self(Form::Rationals));
        }
        let data_type = model.data_type();
        let available: Vec<_> = Form::ALL
            .into_iter()
            .flat_map(|form| {
                form.media_types(data_type).into_iter().map(move |media| (form, media))
            })
            .collect();
        let chosen = accept.negotiate(available.iter().map(|(_, media)| media))?;
        let form = available.iter().find(|(_, media)| media == chosen)?.0;
        Some(Self(form))
    }

    fn etag(self, model: &Published) -> Option<EntityTag> {
        EntityTag::new(&format!("{}-{}", model.id(), self.0.label()))
    }

    fn is_known(self, request: &HeaderMap, model: &Published) -> bool {
        self.etag(model).is_some_and(|etag| is_known(request, &etag))
    }
}

pub(super) fn answer(model: &Arc<Published>, method: &Method, request: &HeaderMap) -> Response {
    let Some(choice) = Choice::of(request, model) else {
        return not_acceptable(model);
    };
    let data_type = model.data_type();
    let content_type = choice.0.content_type(data_type);
    let parts = (Content::of(model, choice.0), choice.etag(model));
    let (Some(body), Some(etag)) = parts else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let content_type = content_type.and_then(|text| HeaderValue::from_str(&text).ok());
    Tagged { body, etag, content_type, negotiated: true }.answer(method, request)
}

fn not_acceptable(model: &Published) -> Response {
    let data_type = model.data_type();
    let media_types = Form::ALL.into_iter().flat_map(|form| form.media_types(data_type));
    let names: Vec<String> = media_types.map(|media| media.to_string()).collect();
    let reason = format!("this model is to be had as {}\n", names.join(", "));
    let vary = [(header::VARY, "accept")];
    (StatusCode::NOT_ACCEPTABLE, vary, reason).into_response()
}
