//! `GET /params`: the round's parameters, for clients that look again and again.

use std::sync::Arc;

use axum::{
    extract::{Extension, State},
    http::{HeaderMap, Method},
    response::Response,
};
use pet_core::crypto::Blake2b;

use super::{
    conditional::{is_known, Tagged},
    entity_tag::EntityTag,
    socket::Client,
    untyped, Answer, Api, Rounds,
};

/// A patient client that has them already gets those of the next round, once it begins.
pub(super) async fn params<R: Rounds>(
    State(api): State<Arc<Api<R>>>,
    client: Option<Extension<Client>>,
    method: Method,
    request: HeaderMap,
) -> Response {
    let is_news = || {
        let params = api.rounds.params();
        params.is_some_and(|body| tag(&body).is_none_or(|tag| !is_known(&request, &tag)))
    };
    let answer = async {
        let Some(body) = api.rounds.params() else { return untyped(Answer::no_content()) };
        match tag(&body) {
            Some(etag) => {
                let tagged =
                    Tagged { body: body.into(), etag, content_type: None, negotiated: false };
                tagged.answer(&method, &request)
            }
            None => untyped(Answer::ok(body)),
        }
    };
    api.when_new(client.as_deref(), &request, api.rounds.until(is_news), answer).await
}

fn tag(body: &[u8]) -> Option<EntityTag> {
    EntityTag::new(&Blake2b::hash(&[body]).to_string())
}
