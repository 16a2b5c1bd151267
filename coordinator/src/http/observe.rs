//! Every request is counted, timed, and named in the log.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{header::HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::{debug, info_span, Instrument};

use crate::{metrics::Request as Kind, status::View};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names requests, and knows where to put what is measured.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    view: View,
    /// Random, so that the names of two runs differ.
    run: u32,
    last: Arc<AtomicU64>,
}

impl Observation {
    pub fn new(view: View) -> Self {
        let mut run = [0; 4];
        // Names need not be secret: without randomness they are only less different.
        let _ = getrandom::fill(&mut run);
        Self { view, run: u32::from_le_bytes(run), last: Arc::default() }
    }

    /// A name for a request, which the answer carries as well. The client's own, if it has sent one, is
    /// not taken: it could be anything.
    fn name(&self) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{:08x}-{number}", self.run)
    }
}

/// A middleware: what is logged within carries the request's id.
pub(super) async fn observe(
    State(observation): State<Observation>,
    request: Request,
    next: Next,
) -> Response {
    let id = observation.name();
    let route = match request.extensions().get::<MatchedPath>() {
        // The same with or without a slash at its end.
        Some(path) if path.as_str().len() > 1 => path.as_str().trim_end_matches('/').to_owned(),
        Some(path) => path.as_str().to_owned(),
        None => "other".to_owned(),
    };
    // Not the query: whose keys are asked for is nobody's business.
    let span = info_span!("request", id, method = %request.method(), route);
    let histograms = observation.view.histograms();
    let in_flight = InFlight::new(histograms.requests_in_flight.clone());
    let began = Instant::now();
    let mut response = async {
        let response = next.run(request).await;
        debug!(status = response.status().as_u16(), took = ?began.elapsed(), "answered");
        response
    }
    .instrument(span)
    .await;
    drop(in_flight);
    let kind = Kind { route, status: response.status().as_u16() };
    histograms.request(&kind, began.elapsed());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

type Gauge = prometheus_client::metrics::gauge::Gauge;

/// Counts a request for as long as it lives: it may be dropped before it is answered.
struct InFlight(Gauge);

impl InFlight {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
