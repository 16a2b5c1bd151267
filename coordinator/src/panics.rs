//! Counting panics. Each of them is a bug: whoever watches the coordinator should hear of it, wherever in the
//! process it was.

use std::{
    any::Any,
    panic,
    sync::{
        atomic::{AtomicU64, Ordering},
        Once,
    },
};

use axum::{
    body::Body,
    http::{header, HeaderValue, Response, StatusCode},
    Router,
};
use pet_core::problem::Problem;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::error;

static COUNTING: Once = Once::new();
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Counts all panics of this process from now on; what was done about them is done as before.
pub(crate) fn count() {
    COUNTING.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            before(info);
        }));
    });
}

/// How many there have been.
pub(crate) fn total() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Answers requests whose handler panics with 500, instead of hanging up on their client.
pub(crate) fn caught(router: Router) -> Router {
    router.layer(CatchPanicLayer::custom(answer))
}

fn answer(panic: Box<dyn Any + Send>) -> Response<Body> {
    let why = panic.downcast_ref::<String>().map(String::as_str);
    let why = why.or_else(|| panic.downcast_ref().copied()).unwrap_or("no reason");
    error!(why, "answering a request panicked; please report this");
    let problem = Problem::new(
        "internal_error",
        StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
        "A fault of the coordinator",
        "answering this request has failed: the coordinator's log says why",
    );
    let mut response = Response::new(Body::from(problem.to_json()));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let kind = HeaderValue::from_static(Problem::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
