//! `GET /openapi.json`: the description of all calls.

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};
use pet_core::crypto::Blake2b;

use super::{conditional::Tagged, entity_tag::EntityTag};

/// Checked against the routes and their answers by `tests/openapi.rs`.
const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document(method: Method, request: HeaderMap) -> Response {
    let body = Bytes::from_static(DOCUMENT.as_bytes());
    let Some(etag) = EntityTag::new(&Blake2b::hash(&[&body]).to_string()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let content_type = Some(HeaderValue::from_static("application/json"));
    Tagged { body: body.into(), etag, content_type, negotiated: false }.answer(&method, &request)
}
