//! For whom a proxy asks.
//!
//! A proxy that is trusted says so in `X-Forwarded-For`, or in `Forwarded` (RFC 7239); each adds the address that it
//! was asked by at the end, and whatever is before that may be made up. So it is read from its end, as far as those
//! who have written it are trusted. What cannot be read, or is contradictory, comes from the proxy itself: nobody
//! gets a limit of their own by writing nonsense.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{Request, State},
    http::{header::FORWARDED, HeaderMap, HeaderName},
    middleware::{self, Next},
    response::Response,
    Router,
};

use super::peers::Peer;
use crate::settings::Networks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// So many proxies may have passed on a request.
const MOST_HOPS: usize = 32;

/// The address that a connection comes from, or that the PROXY protocol says it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub IpAddr);

/// Has limits count for those for whom proxies ask, if there are any that are trusted.
pub(crate) fn identified(router: Router, trusted: Networks) -> Router {
    match trusted.is_empty() {
        true => router,
        false => router.layer(middleware::from_fn_with_state(trusted, identify)),
    }
}

async fn identify(State(trusted): State<Networks>, mut request: Request, next: Next) -> Response {
    if let Some(Address(address)) = request.extensions().get::<Address>().copied() {
        let client = client(address, &trusted, request.headers());
        request.extensions_mut().insert(Peer::from(client));
    }
    next.run(request).await
}

/// Who asks, if `address` is whom the request comes from.
fn client(address: IpAddr, trusted: &Networks, headers: &HeaderMap) -> IpAddr {
    if !trusted.contain(address) {
        return address;
    }
    let said: Vec<Vec<Option<IpAddr>>> = [
        (FORWARDED, forwarded as fn(&str) -> Vec<Option<IpAddr>>),
        (X_FORWARDED_FOR, x_forwarded_for),
    ]
    .into_iter()
    .filter(|(name, _)| headers.contains_key(name))
    .map(|(name, read)| {
        let lines = headers.get_all(name).iter();
        // A line that is no text says nothing, and hides what is before it.
        lines.flat_map(|line| line.to_str().map_or_else(|_| vec![None], read)).collect()
    })
    .collect();
    let mut clients = said.iter().map(|hops| rightmost(address, trusted, hops));
    match (clients.next(), clients.next()) {
        // One of the two may be the client's own invention, which its proxy has passed on.
        (Some(one), Some(other)) if one != other => address,
        (Some(client), _) => client,
        _ => address,
    }
}

/// The last address that nobody trusted has.
fn rightmost(address: IpAddr, trusted: &Networks, hops: &[Option<IpAddr>]) -> IpAddr {
    if hops.len() > MOST_HOPS {
        return address;
    }
    let mut client = address;
    for hop in hops.iter().rev() {
        // Not said by whom: the proxy that says so is the last one that is known.
        let Some(hop) = hop else { return client };
        client = *hop;
        if !trusted.contain(client) {
            return client;
        }
    }
    client
}

fn x_forwarded_for(line: &str) -> Vec<Option<IpAddr>> {
    line.split(',').map(|hop| address(hop.trim())).collect()
}

/// The values of `for`, one for each element.
fn forwarded(line: &str) -> Vec<Option<IpAddr>> {
    let of_element = |element: &str| {
        let pairs = split(element, ';');
        let mut values = pairs.iter().filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
        });
        let value = values.next()?;
        match values.next() {
            // Nothing in an address needs a backslash.
            None => {
                address(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
            }
            Some(_) => None,
        }
    };
    split(line, ',').into_iter().map(of_element).collect()
}

/// Splits where the separator is not within quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c: char| {
        let is_end = c == separator && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        is_end
    })
    .collect()
}

/// An address as proxies write it: with or without a port, an IPv6 address with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match (text.parse(), text.parse::<SocketAddr>(), bare) {
        (Ok(address), ..) => address,
        (_, Ok(address), _) => address.ip(),
        (.., Some(bare)) => IpAddr::V6(bare.parse().ok()?),
        _ => return None,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn trusted() -> Networks {
        "10.0.0.0/8, 2001:db8::/32".parse().unwrap()
    }

    fn of(from: &str, lines: &[(HeaderName, &str)]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        client(ip(from), &trusted(), &headers)
    }

    #[test]
    fn the_last_address_that_no_trusted_proxy_has_is_the_client() {
        for (line, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            // The client's own invention is before what its proxy says.
            ("198.51.100.9, 192.0.2.1", "192.0.2.1"),
            ("198.51.100.9, 192.0.2.1, 10.0.0.7", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db9::1", "2001:db9::1"),
            ("[2001:db9::1]:80,10.1.1.1", "2001:db9::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            // All of them are trusted: the first has asked on its own.
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            // Nonsense.
            ("unknown", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("192.0.2.1,", "10.0.0.1"),
            ("192.0.2.1, 10.0.0.8, nonsense", "10.0.0.1"),
            ("nonsense, 10.0.0.8", "10.0.0.8"),
        ] {
            assert_eq!(of("10.0.0.1", &[(X_FORWARDED_FOR, line)]), ip(expected), "{line}");
        }
        let long = ["192.0.2.1"; 33].join(",");
        assert_eq!(of("10.0.0.1", &[(X_FORWARDED_FOR, &long)]), ip("10.0.0.1"));
    }

    #[test]
    fn forwarded_is_read_as_its_standard_says() {
        for (line, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"[2001:db9::17]:4711\"", "2001:db9::17"),
            ("for=192.0.2.1;proto=http;by=203.0.113.43", "192.0.2.1"),
            ("by=203.0.113.43; FOR = 192.0.2.1", "192.0.2.1"),
            ("for=198.51.100.9, for=192.0.2.1", "192.0.2.1"),
            ("for=192.0.2.1;host=\"a,for=198.51.100.9\"", "192.0.2.1"),
            ("for=192.0.2.1;host=\"\\\",for=198.51.100.9\"", "192.0.2.1"),
            ("for=_hidden, for=10.0.0.8", "10.0.0.8"),
            ("for=unknown", "10.0.0.1"),
            ("for=192.0.2.1;for=192.0.2.2", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
            ("for=192.0.2.1;host=\"a", "192.0.2.1"),
        ] {
            assert_eq!(of("10.0.0.1", &[(FORWARDED, line)]), ip(expected), "{line}");
        }
    }

    /// Or a client behind a proxy that knows only one of them would be whoever it likes.
    #[test]
    fn who_says_two_things_is_not_believed() {
        let both = |forwarded, x_forwarded_for| {
            of("10.0.0.1", &[(FORWARDED, forwarded), (X_FORWARDED_FOR, x_forwarded_for)])
        };
        assert_eq!(both("for=198.51.100.9", "192.0.2.1"), ip("10.0.0.1"));
        assert_eq!(both("for=192.0.2.1", "192.0.2.1"), ip("192.0.2.1"));
        let lines = [(X_FORWARDED_FOR, "198.51.100.9"), (X_FORWARDED_FOR, "192.0.2.1")];
        assert_eq!(of("10.0.0.1", &lines), ip("192.0.2.1"));
        let lines = [(X_FORWARDED_FOR, "192.0.2.1"), (X_FORWARDED_FOR, "\u{e9}")];
        assert_eq!(of("10.0.0.1", &lines), ip("10.0.0.1"));
    }

    #[test]
    fn nobody_else_is_asked() {
        let line = [(X_FORWARDED_FOR, "192.0.2.1"), (FORWARDED, "for=192.0.2.1")];
        assert_eq!(of("203.0.113.5", &line), ip("203.0.113.5"));
    }

    proptest! {
        /// Whatever is before it: what the trusted proxy has added counts.
        #[test]
        fn nothing_before_a_proxys_word_matters(before in "[ -~\t]{0,60}", quote in any::<bool>()) {
            let line = format!("{before}, 192.0.2.1");
            let known = [ip("192.0.2.1"), ip("10.0.0.1")];
            prop_assert_eq!(of("10.0.0.1", &[(X_FORWARDED_FOR, &line)]), known[0]);
            let line = format!("{before}{}, for=192.0.2.1", if quote { "\"" } else { "" });
            prop_assert!(known.contains(&of("10.0.0.1", &[(FORWARDED, &line)])));
        }
    }
}
