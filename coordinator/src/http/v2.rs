//! The calls of version 2 of the protocol, under `/v2/`.
//!
//! Whoever speaks version 2 is told by name what is wrong: all refusals are problem details (RFC 9457).

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Extension, Request, State},
    http::{header, HeaderMap, HeaderValue, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
    Router,
};
use pet_core::{
    crypto::Blake2b,
    problem::Problem,
    v2::{Call, InvalidCall},
};

use super::{
    answers::later,
    conditional::{is_known, Tagged},
    entity_tag::EntityTag,
    message::{document, Told},
    models,
    peers::Peer,
    socket::Client,
    upload::{Refused, Upload},
    Answer, Api, Rounds, Unprocessed,
};
use crate::models::Published;

/// What is asked for.
const GETS: [&str; 12] = [
    "/v2/round",
    "/v2/roster",
    "/v2/announcements",
    "/v2/entries",
    "/v2/set",
    "/v2/votes",
    "/v2/model",
    "/v2/certificate",
    "/v2/proof",
    "/v2/audit/statements",
    "/v2/audit/masked",
    "/v2/audit/mask",
];

/// What is sent.
const POSTS: [&str; 7] = [
    "/v2/announcement",
    "/v2/update",
    "/v2/update/chunk",
    "/v2/report",
    "/v2/vote",
    "/v2/mask",
    "/v2/mask/chunk",
];

/// What the calls need of whoever runs rounds of v2.
pub(crate) trait Federation: Rounds {
    /// Reads a call of a request, with its body.
    fn read(&self, method: &str, target: &str, body: Bytes) -> Result<Call, InvalidCall>;

    /// What is there for somebody who asks.
    fn fetch(&self, call: Call) -> impl std::future::Future<Output = Fetched> + Send;

    /// The state of the round, which everybody polls.
    fn view(&self) -> Bytes;

    /// The name of the round's stage: of all of its state that those wait for who send updates.
    fn stage(&self) -> Arc<str>;

    /// Asks at once, and whenever the stage is another one, until the answer is yes. Ends as well when the coordinator is to
    /// stop.
    fn until_stage(
        &self,
        is_so: impl Fn(&str) -> bool + Send + Sync,
    ) -> impl std::future::Future<Output = ()> + Send;

    /// The longest body of a message to this path, in bytes.
    fn max_body(&self, path: &str) -> usize;

    /// The problem that a call is none.
    fn invalid(&self, error: InvalidCall) -> Problem;

    /// Takes a message; ready once it is accepted or rejected.
    fn post(
        &self,
        target: String,
        upload: Upload,
    ) -> impl std::future::Future<Output = Result<(), Unprocessed>> + Send;
}

/// What was asked for.
pub(crate) enum Fetched {
    /// This, as it is.
    Answer(Answer),
    /// Bytes that never change, with a name that no others have.
    Object { name: String, bytes: Bytes },
    /// A global model, in whatever form is accepted.
    Model(Arc<Published>),
    /// Too many ask for what is large.
    Busy,
}

/// The routes of a coordinator whose rounds are of version 2.
pub(super) fn routes<R: Federation>() -> Router<Arc<Api<R>>> {
    let router = GETS.into_iter().fold(Router::new(), |router, path| match path {
        "/v2/round" => router.route(path, get(round::<R>)),
        path => router.route(path, get(fetch::<R>)),
    });
    POSTS.into_iter().fold(router, |router, path| router.route(path, post(send::<R>)))
}

/// The same of one whose rounds are of version 1: members and updaters learn why nothing comes of it.
pub(super) fn none<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let router =
        GETS.into_iter().fold(Router::new(), |router, path| router.route(path, get(not_v2)));
    POSTS.into_iter().fold(router, |router, path| router.route(path, post(not_v2)))
}

async fn not_v2() -> Response {
    let detail = "this coordinator's rounds are of version 1 of the protocol, and a participant with a pin takes part in rounds \
                  of version 2 only: ask its operator to set a roster, or use another coordinator";
    document(&Problem::new("not_v2", 404, "The rounds are of version 1", detail))
}

/// How the round stands; a patient client that knows it already is answered when it is another one. Whoever names its
/// [stage](pet_core::v2::RoundView::stage_tag) is not woken for each message that has come.
async fn round<R: Federation>(
    State(api): State<Arc<Api<R>>>,
    client: Option<Extension<Client>>,
    method: Method,
    request: HeaderMap,
) -> Response {
    let knows = |stage: &str| EntityTag::new(stage).is_some_and(|tag| is_known(&request, &tag));
    if knows(&api.rounds.stage()) {
        let news = api.rounds.until_stage(|stage| !knows(stage));
        let answer = async {
            let (stage, body) = (api.rounds.stage(), api.rounds.view().into());
            match EntityTag::new(&stage).filter(|tag| is_known(&request, tag)) {
                Some(etag) => {
                    let tagged = Tagged { body, etag, content_type: None, negotiated: false };
                    tagged.answer(&method, &request)
                }
                None => tagged(api.rounds.view(), &method, &request),
            }
        };
        return api.when_new(client.as_deref(), &request, news, answer).await;
    }
    let is_news = || tag(&api.rounds.view()).is_none_or(|tag| !is_known(&request, &tag));
    let answer = async { tagged(api.rounds.view(), &method, &request) };
    api.when_new(client.as_deref(), &request, api.rounds.until(is_news), answer).await
}

async fn fetch<R: Federation>(
    State(api): State<Arc<Api<R>>>,
    method: Method,
    uri: Uri,
    request: HeaderMap,
) -> Response {
    let call = match api.rounds.read(method.as_str(), target(&uri), Bytes::new()) {
        Ok(call) => call,
        Err(error) => return document(&api.rounds.invalid(error)),
    };
    match api.rounds.fetch(call).await {
        Fetched::Answer(answer) if answer.status == 200 => tagged(answer.body, &method, &request),
        Fetched::Answer(answer) => problem(answer),
        Fetched::Object { name, bytes } => match EntityTag::new(&name) {
            Some(etag) => octets(bytes, etag).answer(&method, &request),
            None => tagged(bytes, &method, &request),
        },
        Fetched::Model(model) => models::answer(&model, &method, &in_a_short_form(request)),
        Fetched::Busy => later(&"too many masked models are being read: try again later"),
    }
}

async fn send<R: Federation>(State(api): State<Arc<Api<R>>>, request: Request) -> Response {
    let told = Told::all();
    // Every request over the network has one.
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let limit = api.rounds.max_body(request.uri().path());
    let target = target(request.uri()).to_owned();
    let upload = match api.uploads.receive(peer, request.into_body(), limit).await {
        Ok(upload) => upload,
        Err(Refused { why, length }) => {
            api.rounds.not_received(why.label(), length, &why);
            return told.refusal(&why);
        }
    };
    match api.rounds.post(target, upload).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => told.unprocessed(error),
    }
}

/// Whoever does not say in which form it wants a model gets the weights: the old form is that of version 1.
fn in_a_short_form(mut request: HeaderMap) -> HeaderMap {
    let values = request.get_all(header::ACCEPT);
    let names_one = values.iter().filter_map(|value| value.to_str().ok()).any(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("vnd.pet.weights") || value.contains("x-npy")
    });
    if !names_one {
        let weights = HeaderValue::from_static("application/vnd.pet.weights");
        request.insert(header::ACCEPT, weights);
    }
    request
}

fn target(uri: &Uri) -> &str {
    uri.path_and_query().map_or(uri.path(), |target| target.as_str())
}

fn tag(body: &[u8]) -> Option<EntityTag> {
    EntityTag::new(&Blake2b::hash(&[body]).to_string())
}

fn octets(body: Bytes, etag: EntityTag) -> Tagged {
    let content_type = Some(HeaderValue::from_static("application/octet-stream"));
    Tagged { body: body.into(), etag, content_type, negotiated: false }
}

/// Bytes that are named by their hash.
fn tagged(body: Bytes, method: &Method, request: &HeaderMap) -> Response {
    match tag(&body) {
        Some(etag) => octets(body, etag).answer(method, request),
        None => body.into_response(),
    }
}

/// A problem that is written already.
fn problem(answer: Answer) -> Response {
    let mut response = super::untyped(answer);
    let kind = HeaderValue::from_static(Problem::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
