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
    time::{sleep, timeout},
};
use tracing::{debug, warn};

/// How many connections may be open; further clients wait to be accepted.
const CONNECTIONS: usize = 10_000;

/// How long a client may take to send the head of a request, or keep a connection without sending
/// one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long requests in flight have to end once the server is to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long to wait after a failure to accept, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves `router` to everyone who connects, until `stop` changes or its sender is gone; then
/// answers the requests in flight and returns.
pub(crate) async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accept = async {
            // The semaphore is never closed.
            let place = Arc::clone(&connections).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accept => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = graceful.watch(connection(stream, router.clone()));
                tokio::spawn(async move {
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
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        warn!("some requests did not end in time and are cut off");
    }
}

fn connection(
    stream: TcpStream,
    router: Router,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    // Only a matter of speed: small answers should not wait for more to send.
    let _ = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
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
