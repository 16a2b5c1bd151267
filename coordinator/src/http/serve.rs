//! Accepting connections, and closing them in good order.

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1, service::Service, Request};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{watch, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{
    peers::{Peer, Shares},
    proxies::Address,
    proxy_header,
    socket::{Client, Socket, Waiting},
    write_timeout::WriteTimeout,
};
use crate::{settings::Networks, tls::Tls};

/// How long to wait after a failure to accept, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How many clients that find no place are told so at a time; the others are just turned away.
const TURNED_AWAY: usize = 64;

/// How long that may take.
const TURNING_AWAY: Duration = Duration::from_secs(2);

/// The limits of all connections. How long a request's body may take is not theirs: see
/// [`UploadLimits`](super::UploadLimits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// How many may be open; further clients are answered with a 503.
    pub open: usize,
    /// How many of them one client may have.
    pub of_one: usize,
    /// How many bytes the head of a request may have.
    pub head_bytes: usize,
    /// How long a client may take to agree on TLS.
    pub handshake: Duration,
    /// How long a client may take to send the head of a request, or keep a connection without
    /// sending one.
    pub head: Duration,
    /// How long a client may let an answer wait without taking any of it.
    pub write: Duration,
    /// How long requests in flight have to end once the server is to stop.
    pub grace: Duration,
}

/// Who connects for others, and how that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    /// Who is believed.
    pub trusted: Networks,
    /// Whether their connections begin with a header of the PROXY protocol.
    pub say_for_whom: bool,
}

/// Serves `router` to everyone who connects, until `stop` changes or its sender is gone; then
/// answers the requests in flight and returns. No connection outlives it, also if it is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<Tls>>,
    limits: ConnectionLimits,
    proxies: Proxies,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.open));
    let grace = limits.grace;
    let graceful = GracefulShutdown::new();
    let door = Arc::new(Door {
        router: TowerToHyperService::new(router),
        tls,
        proxies,
        of_one: Shares::new(limits.of_one),
        turning_away: Semaphore::new(TURNED_AWAY),
        waiting: Waiting::among(limits.open),
        limits,
    });
    // Aborts its tasks when it is dropped.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // One has ended: nothing is left to do but to forget it.
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        // Only a matter of speed: small answers should not wait for more to send.
        let _ = stream.set_nodelay(true);
        let (door, place) = (Arc::clone(&door), Arc::clone(&places).try_acquire_owned().ok());
        let watcher = graceful.watcher();
        // Those without a place are soon gone again.
        if place.is_none() && door.turning_away.available_permits() == 0 {
            debug!(%address, "too many connections");
            continue;
        }
        connections.spawn(async move {
            match place {
                Some(_) => door.receive(stream, address.ip(), watcher).await,
                None => door.turn_away(stream, address.ip()).await,
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(grace, graceful.shutdown()).await.is_err() {
        warn!("some requests did not end in time and are cut off");
    }
    connections.shutdown().await;
}

/// What all connections have in common.
struct Door {
    router: TowerToHyperService<Router>,
    tls: Option<Arc<Tls>>,
    proxies: Proxies,
    of_one: Shares,
    turning_away: Semaphore,
    waiting: Waiting,
    limits: ConnectionLimits,
}

impl Door {
    /// Serves a connection from its beginning to its end.
    async fn receive(&self, mut stream: TcpStream, from: IpAddr, watcher: Watcher) {
        let limits = self.limits;
        let mut address = from;
        if self.proxies.say_for_whom && self.proxies.trusted.contain(from) {
            match timeout(limits.handshake, proxy_header::read(&mut stream)).await {
                Ok(Ok(for_whom)) => address = for_whom.unwrap_or(from),
                Ok(Err(error)) => return debug!(%from, %error, "a proxy is not understood"),
                Err(_) => return debug!(%from, "a proxy does not say for whom it connects"),
            }
        }
        let peer = Peer::from(address);
        // Who connects for others needs many connections.
        let share = match self.proxies.trusted.contain(address) {
            true => None,
            false => match self.of_one.try_take(peer, 1) {
                Some(share) => Some(share),
                None => return self.turn_away(stream, address).await,
            },
        };
        let socket = Socket::new(stream);
        let client = socket.client(self.waiting.clone());
        let router = self.router.clone();
        let front = Front { router, peer, address: Address(address), client };
        let stream = WriteTimeout::new(socket, limits.write);
        let ended = match &self.tls {
            None => watcher.watch(connection(stream, front, limits)).await,
            Some(tls) => {
                let shaking_hands = tls.acceptor().accept(stream);
                match timeout(limits.handshake, shaking_hands).await {
                    Ok(Ok(stream)) => watcher.watch(connection(stream, front, limits)).await,
                    Ok(Err(error)) => return debug!(%error, "no TLS"),
                    Err(_) => return debug!("no TLS: it takes too long"),
                }
            }
        };
        if let Err(error) = ended {
            debug!(%error, "connection ended");
        }
        drop(share);
    }

    /// Tells a client that there is no place for it, if there are not too many of those.
    async fn turn_away(&self, stream: TcpStream, address: IpAddr) {
        debug!(%address, "too many connections");
        // Who speaks TLS would have to agree on it first.
        if let (Ok(_turn), None) = (self.turning_away.try_acquire(), &self.tls) {
            let _ = timeout(TURNING_AWAY, turn_away(stream)).await;
        }
    }
}

fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    front: Front,
    limits: ConnectionLimits,
) -> http1::Connection<TokioIo<S>, Front> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        // Who sends nothing more may still wait for an answer.
        .half_close(true)
        // As much is read ahead of each body, too.
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), front)
}

/// The router, told who asks.
#[derive(Clone)]
struct Front {
    router: TowerToHyperService<Router>,
    peer: Peer,
    address: Address,
    client: Client,
}

impl Service<Request<Incoming>> for Front {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.address);
        request.extensions_mut().insert(self.client.clone());
        self.router.call(request)
    }
}

/// Answers whatever comes first, and hangs up.
async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
        content-type: text/plain\r\ncontent-length: 44\r\n\r\ntoo many connections: try again in a moment\n";
    stream.write_all(ANSWER).await?;
    stream.shutdown().await?;
    // With data unread the connection would be reset, and the answer lost.
    let mut nowhere = [0; 4096];
    while stream.read(&mut nowhere).await? > 0 {}
    Ok(())
}

async fn accept_failed(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // These concern the one connection only.
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        warn!(%error, "cannot accept connections");
        sleep(ACCEPT_PAUSE).await;
    }
}
