//! The memory of answers that are being sent: like that of messages that are received, it has a limit, and nobody
//! has more than a share.

use std::{
    fmt::Display,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    Router,
};
use hyper::body::{Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use super::{
    message::{retry_after, SOON},
    peers::{Peer, Share, Shares},
};

/// An answer of up to so many bytes is always sent: a connection may take as much for the head of a request.
const FREE: usize = 16 << 10;

/// The unit in which memory is handed out, in bytes.
const UNIT: usize = 1024;

/// How much memory an answer takes until it is sent, in bytes, where that is not its length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost(pub usize);

/// The limits of all answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerLimits {
    /// How many bytes all answers that are being sent may hold at a time; those of one client half of them.
    pub memory: usize,
    /// Whether the halves count: not where many clients come from one address.
    pub halves: bool,
}

/// The answers of one server.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    memory: Arc<Semaphore>,
    of_one: Shares,
    units: usize,
    most_of_one: usize,
    held: Gauge,
}

impl Answers {
    /// `held` tells how many bytes are in use.
    pub fn new(limits: AnswerLimits, held: Gauge) -> Self {
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let units = (limits.memory / UNIT).clamp(1, most);
        let most_of_one = if limits.halves { units.div_ceil(2) } else { units };
        let memory = Arc::new(Semaphore::new(units));
        Self { memory, of_one: Shares::new(most_of_one), units, most_of_one, held }
    }

    /// Whether one client may have half at most.
    pub fn halves(&self) -> bool {
        self.most_of_one < self.units
    }

    /// Has the answers of these routes keep to the limits.
    pub fn limit(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self, hold))
    }

    /// So many bytes, or all that there are for one client, if they can be had now.
    fn take(&self, peer: Peer, bytes: usize) -> Option<Hold> {
        let units = bytes.div_ceil(UNIT).min(self.most_of_one).min(self.units) as u32;
        let share = self.of_one.try_take(peer, units)?;
        let memory = Arc::clone(&self.memory).try_acquire_many_owned(units).ok()?;
        self.held.inc_by(bytes as i64);
        Some(Hold { bytes, held: self.held.clone(), _memory: (share, memory) })
    }
}

/// Some memory; given back on drop.
struct Hold {
    bytes: usize,
    held: Gauge,
    _memory: (Share, OwnedSemaphorePermit),
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.dec_by(self.bytes as i64);
    }
}

async fn hold(State(answers): State<Answers>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let sends_nothing = request.method() == Method::HEAD;
    let response = next.run(request).await;
    let length = || {
        // What has no end sends little at a time, and has limits of its own.
        let length = response.body().size_hint().exact().unwrap_or(0);
        usize::try_from(length).unwrap_or(usize::MAX)
    };
    let bytes = response.extensions().get::<Cost>().map_or_else(length, |cost| cost.0);
    if bytes <= FREE || sends_nothing {
        return response;
    }
    match answers.take(peer, bytes) {
        Some(hold) => response.map(|body| Body::new(Held { body, _hold: hold })),
        None => {
            debug!(bytes, "no memory for an answer");
            later(&"too many answers are being sent: try again later")
        }
    }
}

/// Nothing is wrong with the request but its time.
pub(super) fn later(why: &dyn Display) -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response();
    retry_after(&mut response, SOON);
    response
}

/// A body that holds memory until it is sent, or nobody wants it any more.
struct Held {
    body: Body,
    _hold: Hold,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Peer {
        Peer::from(std::net::IpAddr::from([192, 0, 2, number]))
    }

    #[test]
    fn nobody_has_more_than_half_and_all_comes_back() {
        let held = Gauge::default();
        let limits = AnswerLimits { memory: 10 * UNIT, halves: true };
        let answers = Answers::new(limits, held.clone());
        let first = answers.take(peer(1), 5 * UNIT).unwrap();
        assert!(answers.take(peer(1), 1).is_none());
        // One that needs more than there is for a client gets all of that.
        let second = answers.take(peer(2), 100 * UNIT).unwrap();
        assert!(answers.take(peer(3), 1).is_none());
        assert_eq!(held.get(), 105 * UNIT as i64);
        drop(first);
        let _third = answers.take(peer(3), 1).unwrap();
        drop(second);
        assert_eq!(held.get(), 1);
        let answers = Answers::new(AnswerLimits { halves: false, ..limits }, held);
        assert!(answers.take(peer(1), 10 * UNIT).is_some());
    }
}
