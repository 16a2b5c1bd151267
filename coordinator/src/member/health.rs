//! The member's own page: for health checks, metrics, and people.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    extract::State,
    http::{header, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
    Json, Router,
};
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tower_http::catch_panic::CatchPanicLayer;

use super::{page::StatusPage, service::MemberWatch};
use crate::metrics::CONTENT_TYPE;

/// How long an end waits for answers that are under way.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Why the page cannot be served.
#[derive(Debug, Error)]
#[error("cannot listen on {address} (member.bind_address): {source}")]
#[non_exhaustive]
pub struct HealthError {
    /// The address.
    pub address: SocketAddr,
    /// What the operating system says.
    pub source: io::Error,
}

/// Serves `/healthz`, `/status` and `/metrics` until it is dropped or ended.
#[derive(Debug)]
pub struct HealthServer {
    address: SocketAddr,
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl HealthServer {
    /// Begins to serve, on the current tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(address: SocketAddr, member: MemberWatch) -> Result<Self, HealthError> {
        let failed = |source| HealthError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (end, mut ended) = watch::channel(false);
        let ended = async move {
            // A sender that is gone means the same.
            let _ = ended.wait_for(|ended| *ended).await;
        };
        let routes = routes(member);
        let task = tokio::spawn(async move {
            // It ends with the sender only: connections that fail are dropped.
            let _ = axum::serve(listener, routes).with_graceful_shutdown(ended).await;
        });
        Ok(Self { address, end, task })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, once the answers that are under way are sent, or after some seconds.
    pub async fn shutdown(self) {
        let _ = self.end.send(true);
        let _ = tokio::time::timeout(LAST_ANSWERS, self.task).await;
    }
}

fn routes(member: MemberWatch) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .layer(CatchPanicLayer::new())
        .with_state(member)
}

async fn healthz(State(member): State<MemberWatch>) -> Response {
    match member.complaint() {
        None => "ok\n".into_response(),
        Some(complaint) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{complaint}\n")).into_response()
        }
    }
}

async fn metrics(State(member): State<MemberWatch>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], member.metrics()).into_response()
}

async fn status(State(member): State<MemberWatch>) -> Json<StatusPage> {
    Json(member.page())
}
