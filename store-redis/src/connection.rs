//! Connections.

use std::{io, time::Duration};

use redis::{
    aio::{MultiplexedConnection, PubSub},
    AsyncConnectionConfig, ConnectionAddr, RedisError, RedisResult,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};

use crate::{settings::Target, tls::Tls};

/// How to connect.
#[derive(Clone)]
pub(crate) struct Connector {
    target: Target,
    tls: Option<Tls>,
}

/// A connection for one call at a time. It is closed when it is dropped, whatever is under way.
pub(crate) struct Connection {
    pub redis: MultiplexedConnection,
    driver: JoinHandle<()>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Stream for T {}

impl Connector {
    pub fn new(target: Target) -> Result<Self, pet_ledger::LedgerError> {
        let tls = match target.tls {
            true => Some(Tls::new(target.authorities.as_deref())?),
            false => None,
        };
        Ok(Self { target, tls })
    }

    /// Connects, and logs in. (Whoever calls has a deadline.)
    pub async fn connect(&self) -> RedisResult<Connection> {
        let stream = self.stream().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let info = self.target.info.redis_settings();
        let (redis, driver) = MultiplexedConnection::new_with_config(info, stream, config).await?;
        Ok(Connection { redis, driver: tokio::spawn(driver) })
    }

    /// Connects, and logs in, to hear what is published.
    pub async fn listen(&self) -> RedisResult<PubSub> {
        let stream = self.stream().await?;
        PubSub::new(self.target.info.redis_settings(), stream).await
    }

    async fn stream(&self) -> RedisResult<Box<dyn Stream>> {
        let connecting = async {
            let stream: Box<dyn Stream> = match (self.target.info.addr(), &self.tls) {
                (ConnectionAddr::Tcp(host, port), None) => Box::new(self.tcp(host, *port).await?),
                (ConnectionAddr::Tcp(host, port), Some(tls)) => {
                    Box::new(tls.connect(host, self.tcp(host, *port).await?).await?)
                }
                #[cfg(unix)]
                (ConnectionAddr::Unix(path), _) => {
                    Box::new(tokio::net::UnixStream::connect(path).await?)
                }
                _ => return Err(io::Error::other("it is an address of another kind")),
            };
            Ok(stream)
        };
        let late = self.target.connect_timeout;
        match tokio::time::timeout(late, connecting).await {
            Ok(connected) => connected.map_err(RedisError::from),
            Err(_) => {
                let why = format!("nobody answers in {late:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, why).into())
            }
        }
    }

    async fn tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        // Whoever waits for a server whose machine has died has nothing unsent, and would wait for hours.
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(10))
            .with_interval(Duration::from_secs(3));
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        let keepalive = keepalive.with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        SockRef::from(&stream).set_tcp_user_timeout(Some(self.target.timeout * 2))?;
        Ok(stream)
    }
}

impl Connection {
    /// Whether the other end has not closed it, as far as it is known.
    pub fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
