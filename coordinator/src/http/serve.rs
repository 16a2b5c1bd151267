//! Accepting connections, and closing them in good order.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{watch, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::write_timeout::WriteTimeout;

/// How long to wait after a failure to accept, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The limits of all connections. How long a request's body may take is not theirs: see
/// [`UploadLimits`](super::UploadLimits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// How many may be open; further clients wait to be accepted.
    pub open: usize,
    /// How long a client may take to send the head of a request, or keep a connection without
    /// sending one.
    pub head: Duration,
    /// How long a client may let an answer wait without taking any of it.
    pub write: Duration,
    /// How long requests in flight have to end once the server is to stop.
    pub grace: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            open: 10_000,
            head: Duration::from_secs(75),
            write: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves `router` to everyone who connects, until `stop` changes or its sender is gone; then
/// answers the requests in flight and returns. No connection outlives it, also if it is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.open));
    let graceful = GracefulShutdown::new();
    // Aborts its tasks when it is dropped.
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accept => accepted,
            // One has ended: nothing is left to do but to forget it.
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = graceful.watch(connection(stream, router.clone(), limits));
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        debug!(%error, "connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => accept_failed(&error).await,
        }
    }
    drop(listener);
    if timeout(limits.grace, graceful.shutdown()).await.is_err() {
        warn!("some requests did not end in time and are cut off");
    }
    connections.shutdown().await;
}

type Connection = http1::Connection<TokioIo<WriteTimeout<TcpStream>>, TowerToHyperService<Router>>;

fn connection(stream: TcpStream, router: Router, limits: ConnectionLimits) -> Connection {
    // Only a matter of speed: small answers should not wait for more to send.
    let _ = stream.set_nodelay(true);
    let stream = WriteTimeout::new(stream, limits.write);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

async fn accept_failed(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // These concern the one connection only.
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        warn!(%error, "cannot accept connections");
        sleep(ACCEPT_PAUSE).await;
    }
}
