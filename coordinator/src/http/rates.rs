//! Answering each client only so many requests a second.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    Router,
};
use tokio::time::timeout;
use tracing::debug;

use super::{
    message::retry_after,
    peers::{Peer, RateLimit, Rates},
    upload::{read_on, LINGER},
};

struct Limiter {
    rates: Rates,
    /// Hears of each message that was not taken.
    on_message: Box<dyn Fn() + Send + Sync>,
}

/// Lets through only so many requests of each client. `on_message` hears of messages among the others.
pub(crate) fn limited(
    router: Router,
    limit: RateLimit,
    on_message: impl Fn() + Send + Sync + 'static,
) -> Router {
    let limiter = Limiter { rates: Rates::new(limit), on_message: Box::new(on_message) };
    router.layer(middleware::from_fn_with_state(Arc::new(limiter), check))
}

async fn check(State(limiter): State<Arc<Limiter>>, request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        // Not over the network.
        return next.run(request).await;
    };
    let Err(wait) = limiter.rates.take(peer) else {
        return next.run(request).await;
    };
    debug!(?peer, "too many requests");
    if request.method() == Method::POST {
        (limiter.on_message)();
    }
    // However it goes, the answer is the same.
    let _ = timeout(LINGER, read_on(request.into_body())).await;
    let why = "too many requests from this address: come again later\n";
    let mut response = (StatusCode::TOO_MANY_REQUESTS, why).into_response();
    retry_after(&mut response, wait);
    response
}
