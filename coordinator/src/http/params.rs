//! `GET /params`: the round's parameters, for clients that look again and again.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method},
    response::Response,
};
use headers::ETag;
use pet_core::crypto::Blake2b;

use super::{
    conditional::{etag, is_known, Tagged},
    patience::Patience,
    untyped, Answer, Api, Rounds,
};

/// A patient client that has them already gets those of the next round, once it begins.
pub(super) async fn params<R: Rounds>(
    State(api): State<Arc<Api<R>>>,
    method: Method,
    request: HeaderMap,
) -> Response {
    let patience = Patience::of(&request);
    if let Some(patience) = patience {
        let is_news = || {
            let params = api.rounds.params();
            params.is_some_and(|body| tag(&body).is_none_or(|tag| !is_known(&request, &tag)))
        };
        api.until(patience, is_news).await;
    }
    let answer = |body: Bytes| match tag(&body) {
        Some(etag) => {
            let tagged = Tagged { body, etag, content_type: None, negotiated: false };
            tagged.answer(&method, &request)
        }
        None => untyped(Answer::ok(body)),
    };
    let mut response = api.rounds.params().map_or_else(|| untyped(Answer::no_content()), answer);
    if let Some(patience) = patience {
        patience.acknowledge(&mut response);
    }
    response
}

fn tag(body: &[u8]) -> Option<ETag> {
    etag(&Blake2b::hash(&[body]).to_string())
}
