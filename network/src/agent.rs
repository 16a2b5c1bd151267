//! A `ureq` client that uses proxies as curl does.
//!
//! Left to itself, ureq opens a tunnel (CONNECT) for plain http, too, which many proxies allow to port 443 only.

use std::fmt;

use pet_core::request::CoordinatorUrl;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};
use ureq::Agent;

use crate::{Error, Proxy};

/// Makes a client for one coordinator, with or without a proxy: over https with a tunnel, over plain http by
/// asking the proxy for the whole URL.
///
/// # Errors
/// [`Error::Unusable`] if the proxy's URL is none for this library.
pub fn agent(
    config: ureq::config::ConfigBuilder<AgentScope>,
    url: &CoordinatorUrl,
    proxy: Option<&Proxy>,
) -> Result<Agent, Error> {
    // Otherwise it reads the environment itself.
    let config = config.proxy(None);
    let Some(proxy) = proxy else { return Ok(config.build().into()) };
    let unusable = |error: &dyn fmt::Display| Error::Unusable(proxy.to_string(), error.to_string());
    if url.is_https() {
        let proxy = ureq::Proxy::new(&proxy.url_with_user()).map_err(|error| unusable(&error))?;
        return Ok(config.proxy(Some(proxy)).build().into());
    }
    let uri: Uri = proxy.url().parse().map_err(|error| unusable(&error))?;
    let origin = format!("http://{}:{}", url.host(), url.port());
    let config: Config = config.build();
    let connector =
        ().chain(TcpConnector::default())
            .chain(TlsToProxy { uri: uri.clone(), inner: RustlsConnector::default() })
            .chain(AskForWhole { origin, authorization: proxy.authorization() });
    let resolver = ResolveProxy { uri, inner: DefaultResolver::default() };
    Ok(Agent::with_parts(config, connector, resolver))
}

/// Looks up the proxy, whatever is asked for: only the proxy may know the coordinator's name.
#[derive(Debug)]
struct ResolveProxy {
    uri: Uri,
    inner: DefaultResolver,
}

impl Resolver for ResolveProxy {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.inner.resolve(&self.uri, config, timeout)
    }
}

/// Speaks TLS with proxies that want it.
#[derive(Debug)]
struct TlsToProxy {
    uri: Uri,
    inner: RustlsConnector,
}

impl<In: Transport> Connector<In> for TlsToProxy {
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let details = ConnectionDetails {
            uri: &self.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        self.inner.connect(&details, chained)
    }
}

/// Makes `GET http://host:port/path` of `GET /path`, which is how proxies are asked.
struct AskForWhole {
    origin: String,
    authorization: Option<String>,
}

/// Shows no password.
impl fmt::Debug for AskForWhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AskForWhole({})", self.origin)
    }
}

impl<In: Transport> Connector<In> for AskForWhole {
    type Out = Rewriting<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let rewriting = |inner| Rewriting {
            inner,
            origin: self.origin.clone(),
            authorization: self.authorization.clone(),
            begins: true,
        };
        Ok(chained.map(rewriting))
    }
}

/// A connection to a proxy.
struct Rewriting<In> {
    inner: In,
    origin: String,
    authorization: Option<String>,
    /// The next bytes that are sent begin a request: the answer to the one before has come.
    begins: bool,
}

impl<In: Transport> fmt::Debug for Rewriting<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rewriting").field(&self.inner).finish()
    }
}

impl<In: Transport> Transport for Rewriting<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if amount == 0 || !std::mem::replace(&mut self.begins, false) {
            return self.inner.transmit_output(amount, timeout);
        }
        let written = self.inner.buffers().output()[..amount].to_vec();
        let rewritten = rewrite(&written, &self.origin, self.authorization.as_deref());
        let mut rest = &rewritten[..];
        while !rest.is_empty() {
            let output = self.inner.buffers().output();
            let length = rest.len().min(output.len());
            let (piece, after) = rest.split_at(length);
            output[..length].copy_from_slice(piece);
            self.inner.transmit_output(length, timeout)?;
            rest = after;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.begins = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// The beginning of a request, with the origin before the path, and the header for the proxy.
fn rewrite(request: &[u8], origin: &str, authorization: Option<&str>) -> Vec<u8> {
    let mut rewritten = Vec::with_capacity(request.len() + origin.len() + 256);
    let path = request.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
    let line =
        request.windows(2).position(|pair| pair == b"\r\n").map_or(request.len(), |at| at + 2);
    rewritten.extend_from_slice(&request[..path]);
    rewritten.extend_from_slice(origin.as_bytes());
    rewritten.extend_from_slice(&request[path..line]);
    if let Some(authorization) = authorization {
        rewritten.extend_from_slice(b"proxy-authorization: ");
        rewritten.extend_from_slice(authorization.as_bytes());
        rewritten.extend_from_slice(b"\r\n");
    }
    rewritten.extend_from_slice(&request[line..]);
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_the_whole_url() {
        let request = b"POST /message?x HTTP/1.1\r\nhost: h\r\n\r\nbody \r\n";
        let rewritten = |authorization| {
            String::from_utf8(rewrite(request, "http://h:81", authorization)).unwrap()
        };
        assert_eq!(
            rewritten(None),
            "POST http://h:81/message?x HTTP/1.1\r\nhost: h\r\n\r\nbody \r\n"
        );
        assert_eq!(
            rewritten(Some("Basic eA==")),
            "POST http://h:81/message?x HTTP/1.1\r\nproxy-authorization: Basic eA==\r\nhost: h\r\n\r\nbody \r\n"
        );
    }
}
