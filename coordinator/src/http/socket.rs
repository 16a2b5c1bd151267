//! A connection that can be asked how it is while it is in use.
//!
//! A client may close its sending side and still wait for its answer (RFC 9112, section 9.6), so that the end of
//! what it sends says nothing about whether it is there. Who works for it without sending can only see that it
//! will ask for nothing more.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{ready, Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

/// How often a client is looked at that is kept waiting.
const LOOK: Duration = Duration::from_millis(500);

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Socket(Arc<TcpStream>);

/// Whoever is at its other end.
#[derive(Clone, Debug)]
pub(super) struct Client {
    stream: Weak<TcpStream>,
    waiting: Waiting,
}

/// The places of those who are kept waiting for news: most of the connections that there may be, but not all. Who comes to
/// send something finds a place as well.
#[derive(Clone, Debug)]
pub(super) struct Waiting(Arc<Semaphore>);

impl Waiting {
    /// For so many connections: three quarters.
    pub fn among(connections: usize) -> Self {
        let places = connections - connections / 4;
        Self(Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))))
    }
}

impl Socket {
    pub fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    pub fn client(&self, waiting: Waiting) -> Client {
        Client { stream: Arc::downgrade(&self.0), waiting }
    }
}

impl Client {
    /// A place among those who are kept waiting, if there is one: given back on drop.
    pub fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting.0).try_acquire_owned().ok()
    }

    /// Whether nobody can be answered any more.
    pub fn is_gone(&self) -> bool {
        self.state().is_none_or(|ready| ready.is_write_closed() || ready.is_error())
    }

    /// Ready once the client sends nothing more: it may be gone, or wait for its answer.
    pub async fn ended(&self) {
        while self.state().is_some_and(|ready| !ready.is_read_closed() && !ready.is_error()) {
            sleep(LOOK).await;
        }
    }

    /// What is known of the connection; nothing once it is no more.
    fn state(&self) -> Option<Ready> {
        let stream = self.stream.upgrade()?;
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::ERROR;
        match stream.ready(interest).now_or_never() {
            None => Some(Ready::EMPTY),
            Some(ready) => ready.ok(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            // (Not as a slice, which would have to be cleared before each try.)
            match self.0.try_read_buf(buffer) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    /// Writes as soon as something can be written.
    fn write(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream| stream.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write))
    }
}
