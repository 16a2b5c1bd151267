//! TLS, with rustls.

use std::{io, path::Path, sync::Arc};

use pet_ledger::LedgerError;
use rustls::{pki_types::ServerName, ClientConfig};
use tokio::net::TcpStream;
use tokio_rustls::{client::TlsStream, TlsConnector};

/// Makes TLS connections that check the server's certificate.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts the authorities in a file, or those that the environment names, or the web's.
    pub fn new(file: Option<&Path>) -> Result<Self, LedgerError> {
        pet_ledger::tls::client("redis.url", file).map(Self)
    }

    /// Speaks TLS on a connection to a host.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host).map_err(io::Error::other)?.to_owned();
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }
}
