//! The calls of the protocol over HTTP (protocol description, section 3), and those beside them that are
//! ours.
//!
//! This module knows HTTP and nothing of rounds: who answers, and who takes messages, is behind
//! [`Rounds`].

mod answers;
mod conditional;
mod content;
mod cors;
mod dashboard;
mod entity_tag;
mod growing;
mod memory;
mod message;
mod models;
mod observe;
mod openapi;
mod params;
mod patience;
mod peers;
mod proxies;
mod proxy_header;
mod range;
mod rates;
mod serve;
mod socket;
mod upload;
mod v2;
mod visible;
mod write_timeout;

use std::{fmt::Display, future::Future, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Extension, RawQuery, State},
    http::{header, HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
    Router,
};
use base64::{
    alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    Engine,
};
use pet_core::{
    crypto::{Digest, PublicSigningKey},
    problem::Problem,
    request::{Call, Response as Answer},
};
use thiserror::Error;

use self::{patience::Patience, socket::Client, upload::Uploads};
use crate::models::{Published, Unavailable};

pub(crate) use self::answers::{AnswerLimits, Answers};
pub(crate) use self::cors::cors;
pub(crate) use self::peers::RateLimit;
pub(crate) use self::proxies::identified;
pub(crate) use self::rates::limited;
pub(crate) use self::serve::{serve, ConnectionLimits, Proxies};
pub(crate) use self::upload::{Upload, UploadLimits};
pub(crate) use self::v2::{Federation, Fetched};
pub(crate) use self::visible::visible;
#[cfg(feature = "fuzzing")]
pub(crate) use self::{proxies::Address, proxy_header::read as proxy_header};

/// Standard base64 as the old coordinator reads it: padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the calls need of whoever runs the rounds.
pub(crate) trait Rounds: Send + Sync + 'static {
    /// Answers a call that is not a message.
    fn answer(&self, call: Call) -> impl Future<Output = Answer> + Send;

    /// Whether there is no use in waiting for the answer to this call any longer: what it asks for is there, or would
    /// be.
    fn is_there(&self, call: &Call) -> bool;

    /// The current round's parameters, as they are sent.
    fn params(&self) -> Option<Bytes>;

    /// The latest global model.
    fn model(&self) -> Option<Arc<Published>>;

    /// Waits until it is sure that what is published here was not out of date when it was called, wherever else rounds go
    /// on; false if that cannot be known now.
    fn is_recent(&self) -> impl Future<Output = bool> + Send;

    /// The rounds whose global models are kept.
    fn kept_rounds(&self) -> Vec<u64>;

    /// The global model of a round, if it is kept; nothing if it is no longer wanted when its turn comes.
    fn kept_model(
        &self,
        round_id: u64,
        wanted: impl Fn() -> bool + Send + Sync,
    ) -> impl Future<Output = Result<Option<Arc<Published>>, Unavailable>> + Send;

    /// Asks at once, and whenever something else is published, until the answer is yes. Ends as well when
    /// the coordinator is to stop.
    fn until(&self, is_so: impl Fn() -> bool + Send + Sync) -> impl Future<Output = ()> + Send;

    /// No legal message is longer than this, in bytes.
    fn max_message_len(&self) -> usize;

    /// Hears of a message that was not received, or thrown away unread: a short name of the reason, the
    /// message's length as far as it is known, and the reason.
    fn not_received(&self, label: &'static str, length: u64, reason: &dyn Display);

    /// Takes a sealed message; ready once it is accepted or rejected.
    fn message(&self, upload: Upload) -> impl Future<Output = Result<(), Unprocessed>> + Send;
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unprocessed {
    #[error("the message is rejected: {0}")]
    Rejected(Problem),
    #[error("the coordinator is shutting down")]
    Stopped,
    #[error("there is no room for this part of a message now: send it again later")]
    NoRoom,
    #[error("the message is being processed: send it again a little later")]
    InProgress,
    #[error("too much waits to be stored: send the message again a little later")]
    StoreBehind,
    #[error("this replica has as much under way as it may: send the message again a little later")]
    Full,
    #[error("{0}: send the message again a little later")]
    NoLeader(Arc<str>),
    #[error("the coordinator has failed to process this message: its log says why")]
    Bug,
}

struct Api<R> {
    rounds: R,
    uploads: Uploads,
}

impl<R: Rounds> Api<R> {
    /// The answer to a request; for a patient client it is made once there are news, or its patience has
    /// ended.
    async fn when_new(
        &self,
        client: Option<&Client>,
        request: &HeaderMap,
        news: impl Future<Output = ()>,
        answer: impl Future<Output = Response>,
    ) -> Response {
        let Some(patience) = Patience::of(request) else { return answer.await };
        // Where too many wait already it is as if the wish were not known: the answer comes at once.
        let Ok(_place) = client.map(|client| client.wait().ok_or(())).transpose() else {
            return answer.await;
        };
        let left = async {
            match client {
                Some(client) => client.ended().await,
                None => std::future::pending().await,
            }
        };
        // Who sends nothing more may be gone, or wait for this answer: it shows when it is sent.
        let news = async {
            tokio::select! {
                biased;
                () = news => {}
                () = left => {}
            }
        };
        let _ = tokio::time::timeout(patience.duration(), news).await;
        let mut response = answer.await;
        patience.acknowledge(&mut response);
        response
    }

    /// The answer to a call for a dictionary; for a patient client it is made once that is there, or not to come any
    /// more because the round is over.
    async fn when_there(
        &self,
        client: Option<&Client>,
        request: &HeaderMap,
        call: Call,
    ) -> Response {
        let call = match named_round(request) {
            Ok(None) => call,
            Ok(Some(round)) => call.of_round(round),
            Err(mistake) => return (StatusCode::BAD_REQUEST, mistake).into_response(),
        };
        let round = self.rounds.params();
        let is_news = || self.rounds.is_there(&call) || self.rounds.params() != round;
        let answer = async { octets(self.rounds.answer(call.clone()).await) };
        self.when_new(client, request, self.rounds.until(is_news), answer).await
    }
}

/// The routes of a coordinator of version 1.
pub(crate) fn router<R: Rounds>(rounds: R, limits: UploadLimits) -> Router {
    let api = Arc::new(Api { rounds, uploads: Uploads::new(limits) });
    routes().merge(v2::none()).with_state(api)
}

/// The routes of a coordinator of version 2, with those of version 1 for participants that know no other.
pub(crate) fn router_v2<R: Federation>(rounds: R, limits: UploadLimits) -> Router {
    let api = Arc::new(Api { rounds, uploads: Uploads::new(limits) });
    routes().merge(v2::routes()).with_state(api)
}

/// The calls of version 1; every path also with a slash at its end, as the old coordinator took it.
fn routes<R: Rounds>() -> Router<Arc<Api<R>>> {
    let mut router = Router::new();
    for (path, route) in [
        ("/params", get(params::params::<R>)),
        ("/sums", get(sums::<R>)),
        ("/seeds", get(seeds::<R>)),
        ("/model", get(models::latest::<R>)),
        ("/models", get(models::list::<R>)),
        ("/models/{round}", get(models::of_round::<R>)),
        ("/message", post(message::message::<R>)),
        ("/openapi.json", get(openapi::document)),
    ] {
        router = router.route(path, route.clone()).route(&format!("{path}/"), route);
    }
    router
}

async fn sums<R: Rounds>(
    State(api): State<Arc<Api<R>>>,
    client: Option<Extension<Client>>,
    request: HeaderMap,
) -> Response {
    api.when_there(client.as_deref(), &request, Call::Sums).await
}

async fn seeds<R: Rounds>(
    State(api): State<Arc<Api<R>>>,
    client: Option<Extension<Client>>,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Response {
    match public_key(query.as_deref().unwrap_or_default()) {
        Some(pk) => api.when_there(client.as_deref(), &request, Call::Seeds(pk)).await,
        None => (
            StatusCode::BAD_REQUEST,
            "pk must be given once: the standard base64 of a 32-byte public key, percent-encoded\n",
        )
            .into_response(),
    }
}

/// The round that a dictionary is wanted of, if the request says so: by the tag of its parameters.
fn named_round(request: &HeaderMap) -> Result<Option<Digest>, &'static str> {
    let mut values = request.get_all(Call::ROUND).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(None) };
    let digits = value.as_bytes();
    let mut tag = [0; 32];
    let is_tag = second.is_none() && digits.len() == 2 * tag.len();
    if !is_tag || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("Pet-Round must be given once: the ETag of /params, 64 hexadecimal digits without quotation marks\n");
    }
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        let text = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(text, 16).unwrap_or_default();
    }
    Ok(Some(Digest::new(tag)))
}

/// An answer with no Content-Type, as `/params` and `/model` always came.
fn untyped(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    // Core's statuses are legal ones.
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// An answer whose body, if it has one, has the Content-Type of plain bytes.
fn octets(answer: Answer) -> Response {
    let mut response = untyped(answer);
    if response.status() == StatusCode::OK {
        let octets = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, octets);
    }
    response
}

/// The key in the parameter `pk` of a query string; `None` unless it is there once and well-formed.
fn public_key(query: &str) -> Option<PublicSigningKey> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "pk");
    let (_, value) = values.next()?;
    if values.next().is_some() {
        return None;
    }
    // A plus sign that was not percent-encoded reads as a space, which base64 does not have: no
    // harm in understanding it.
    let bytes = BASE64.decode(value.replace(' ', "+")).ok()?;
    Some(PublicSigningKey::new(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests;
