//! One HTTP/1.1 request on one connection, without ever waiting.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use pet_core::participant::TransportFault;
use pet_core::request::{Call, CoordinatorUrl, Patience, RequestLimits, Response};

/// The most bytes of an answer's head.
const MAX_HEAD: usize = 64 << 10;

/// A request that is under way.
pub struct Exchange {
    /// For the poll to watch.
    pub stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    /// The most bytes of an answer, its head included.
    max_answer: usize,
}

impl Exchange {
    /// Begins to connect. `connection: close` makes the answer's end that of the connection.
    pub fn start(
        address: SocketAddr,
        url: &CoordinatorUrl,
        call: &Call,
        patience: Option<&Patience>,
        limits: &RequestLimits,
    ) -> Result<Self, TransportFault> {
        let body = call.body();
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}:{}\r\nconnection: close\r\ncontent-length: {}\r\n",
            call.method(),
            url.target_of(call),
            url.host(),
            url.port(),
            body.len()
        );
        for (name, value) in call.headers() {
            head += &format!("{name}: {value}\r\n");
        }
        for (name, value) in patience.map(Patience::headers).unwrap_or_default() {
            head += &format!("{name}: {value}\r\n");
        }
        let request = [head.as_bytes(), b"\r\n", &body].concat();
        let stream = TcpStream::connect(address).map_err(unreachable)?;
        let max_body = usize::try_from(limits.max_body_of(call)).unwrap_or(usize::MAX);
        let max_answer = max_body.saturating_add(MAX_HEAD);
        Ok(Self { stream, request, sent: 0, received: Vec::new(), max_answer })
    }

    /// Goes on as far as it can without waiting: the answer, once it is complete.
    pub fn advance(&mut self) -> Result<Option<Response>, TransportFault> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if is_not_yet(error.kind()) => break,
                // What has refused the request may have said why.
                Err(_) if !self.received.is_empty() => break,
                Err(error) => return Err(unreachable(error)),
            }
        }
        let mut block = [0; 16 << 10];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => return answer(&self.received).map(Some),
                Ok(count) if self.received.len() + count > self.max_answer => {
                    return Err(TransportFault::TooLarge)
                }
                Ok(count) => self.received.extend_from_slice(&block[..count]),
                Err(error) if is_not_yet(error.kind()) => return Ok(None),
                Err(error) => return Err(unreachable(error)),
            }
        }
    }
}

fn is_not_yet(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}

fn unreachable(error: std::io::Error) -> TransportFault {
    TransportFault::Unreachable(error.to_string())
}

/// Reads an answer that is over.
fn answer(bytes: &[u8]) -> Result<Response, TransportFault> {
    parse(bytes).ok_or_else(|| TransportFault::Unreachable("the answer is not complete".into()))
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let header = |wanted: &str| {
        let mut found = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.trim())
    };
    let rest = &bytes[end + 4..];
    let body = if matches!(status, 204 | 304) {
        Vec::new()
    } else if header("transfer-encoding").is_some() {
        unchunk(rest)?
    } else if let Some(length) = header("content-length") {
        rest.get(..length.parse().ok()?)?.to_vec()
    } else {
        rest.to_vec()
    };
    Some(Response::new(status, body).headers(header("retry-after"), header("content-type")))
}

/// Joins a body that comes in chunks.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        for (text, status, body) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", 200, "abc"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", 200, "ab"),
            ("HTTP/1.0 200 OK\r\n\r\nabc", 200, "abc"),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 136\r\n\r\n", 304, ""),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
                200,
                "abc",
            ),
        ] {
            let response = answer(text.as_bytes()).unwrap();
            assert_eq!((response.status, &response.body[..]), (status, body.as_bytes()), "{text}");
        }
        let text = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n";
        let response = answer(text.as_bytes()).unwrap();
        assert_eq!(response.retry_after.map(|pause| pause.as_secs()), Some(7));
    }

    #[test]
    fn what_is_cut_off_is_a_fault() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            "garbage\r\n\r\n",
        ] {
            assert!(
                matches!(answer(text.as_bytes()), Err(TransportFault::Unreachable(_))),
                "{text}"
            );
        }
    }
}
