//! What people and programs see that watch the coordinator: the dashboard, `/status`, `/events`,
//! `/metrics`, `/healthz`, `/readyz`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Extension, State},
    http::{header, HeaderName, HeaderValue, StatusCode, Uri},
    middleware,
    response::{
        sse::{Event, KeepAlive, Sse},
        IntoResponse, Response,
    },
    routing::get,
    Router,
};
use futures_util::stream;

use super::{
    answers::Answers,
    dashboard,
    observe::{observe, Observation},
    peers::{Peer, Share, Shares},
};
use crate::{
    metrics::CONTENT_TYPE,
    panics,
    status::{Subscription, View, SUBSCRIBERS},
};

/// An idle feed is kept alive at this pace: proxies cut connections that say nothing for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Subscribers whose connection breaks come back after so long.
const RECONNECT: Duration = Duration::from_secs(2);

/// Adds the routes, and observes these and the others.
pub(crate) fn visible(router: Router, view: View, answers: Answers) -> Router {
    let routes = Router::new()
        .route("/status", get(status))
        .route("/events", get(events).with_state(Events::new(view.clone(), answers.halves())))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(dashboard::routes())
        .with_state(view.clone());
    let observation = Observation::new(view);
    // Within the observation, so that these answers are counted and named as well.
    panics::caught(answers.limit(router.merge(routes)))
        .layer(middleware::from_fn_with_state(observation, observe))
}

async fn status(State(view): State<View>, uri: Uri) -> Response {
    let mut status = view.status();
    // What participants ask for every round need not have everything.
    let latest = |name| {
        let pairs = uri.query().unwrap_or_default().split('&');
        let mut values =
            pairs.filter_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
        values.find_map(|(_, value)| value.parse::<usize>().ok())
    };
    if let Some(rounds) = latest("rounds") {
        status.rounds = keep_latest(status.rounds, rounds);
    }
    if let Some(samples) = latest("samples") {
        status.samples = keep_latest(status.samples, samples);
    }
    match serde_json::to_vec(&status) {
        Ok(json) => fresh("application/json", json),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn keep_latest<T: Clone>(all: Arc<Vec<T>>, most: usize) -> Arc<Vec<T>> {
    match all.len().checked_sub(most) {
        None | Some(0) => all,
        Some(superfluous) => Arc::new(all[superfluous..].to_vec()),
    }
}

/// The feed, and who follows it.
#[derive(Clone)]
struct Events {
    view: View,
    shares: Shares,
}

impl Events {
    fn new(view: View, halves: bool) -> Self {
        // Half of the places, so that no address can keep out all others.
        let most_of_one = if halves { SUBSCRIBERS / 2 } else { SUBSCRIBERS };
        Self { view, shares: Shares::new(most_of_one) }
    }

    /// A place in the feed.
    fn subscribe(&self, peer: Peer) -> Option<(Subscription, Share)> {
        let share = self.shares.try_take(peer, 1)?;
        Some((self.view.subscribe()?, share))
    }
}

async fn events(State(events): State<Events>, peer: Option<Extension<Peer>>) -> Response {
    let Extension(peer) = peer.unwrap_or_default();
    let Some((subscription, share)) = events.subscribe(peer) else {
        let later = [(header::RETRY_AFTER, "10")];
        let why = "as many clients as there may be are following the events: try again later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, later, why).into_response();
    };
    let statuses = stream::unfold((subscription, share), |(mut subscription, share)| async move {
        let text = subscription.next().await?;
        let event = Event::default().event("status").retry(RECONNECT).data(text);
        Some((Ok::<_, Infallible>(event), (subscription, share)))
    });
    let mut response =
        Sse::new(statuses).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Some proxies collect what is streamed unless they are told not to.
    let buffering = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(buffering, HeaderValue::from_static("no"));
    response
}

async fn metrics(State(view): State<View>) -> Response {
    fresh(CONTENT_TYPE, view.exposition().into_bytes())
}

async fn healthz() -> Response {
    fresh(TEXT, b"ok\n".to_vec())
}

async fn readyz(State(view): State<View>, uri: Uri) -> Response {
    let mut problems = view.problems();
    // For whoever sends participants to one of several coordinators, or spares the one that has more to do.
    match (uri.query(), view.leads()) {
        (Some("leader"), false) => problems.push("this replica does not lead".to_owned()),
        (Some("follower"), true) => problems.push("this replica leads".to_owned()),
        _ => {}
    }
    let replica = view.replica();
    if problems.is_empty() {
        let replica = replica.map(|line| line + "\n").unwrap_or_default();
        return fresh(TEXT, format!("ready\n{replica}").into_bytes());
    }
    problems.extend(replica);
    let mut response = fresh(TEXT, format!("{}\n", problems.join("\n")).into_bytes());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer that holds for this moment only.
fn fresh(content_type: &'static str, body: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}
