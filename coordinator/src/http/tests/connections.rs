//! Who may connect, how often, and until when.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::fixture::{
    connections, from_elsewhere, read_answer, uploads, Got, Server, A_WHILE, GET_PARAMS,
};
use crate::http::{ConnectionLimits, Proxies, RateLimit};

#[tokio::test]
async fn who_finds_no_place_is_told_to_come_again() {
    for limits in [
        ConnectionLimits { open: 2, ..connections() },
        ConnectionLimits { of_one: 2, ..connections() },
    ] {
        let server = Server::with(uploads(), limits).await;
        server.fake.hold.store(true, Ordering::SeqCst);
        let mut first = server.begin_post(1, b"m").await;
        server.fake.arrived.notified().await;
        let second = TcpStream::connect(server.address).await.unwrap();
        // Whatever is asked, and however much is sent.
        for request in [GET_PARAMS, &[b'x'; 200_000]] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(request).await.unwrap();
            let got = read_answer(&mut stream).await;
            assert_eq!((got.status, got.header("retry-after")), (503, Some("5")));
            assert!(got.body.ends_with("a moment\n"), "{got:?}");
        }
        let mut elsewhere = from_elsewhere(&server).await;
        elsewhere.write_all(GET_PARAMS).await.unwrap();
        let expected = if limits.open == 2 { 503 } else { 200 };
        assert_eq!(read_answer(&mut elsewhere).await.status, expected);
        drop(second);
        server.fake.release.notify_one();
        assert_eq!(read_answer(&mut first).await.status, 200);
        let again = async {
            while server.get("/params").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(A_WHILE, again).await.expect("places are given back");
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let rate = RateLimit { per_second: 0.01, burst: 3.0 };
    let server = Server::at_rate(uploads(), connections(), Some(rate)).await;
    assert_eq!(server.get("/params").await.status, 200);
    // On one connection or on several.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let kept = b"GET /params HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(&[kept, GET_PARAMS].concat()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    // In a hundred seconds, but for those that have passed.
    let later = |got: &Got| {
        let wait: u64 = got.header("retry-after").unwrap().parse().unwrap();
        assert!(got.status == 429 && (40..=100).contains(&wait), "{got:?}");
    };
    later(&server.get("/params").await);
    // A message is not even looked at, but read for a while.
    later(&server.post("", &vec![7; 3 << 20]).await);
    assert_eq!(server.messages(), Vec::<Vec<u8>>::new());
    assert_eq!(server.not_received(), [("rate", 0)]);
    // This is about one client.
    let mut elsewhere = from_elsewhere(&server).await;
    elsewhere.write_all(GET_PARAMS).await.unwrap();
    assert_eq!(read_answer(&mut elsewhere).await.status, 200);
}

#[tokio::test]
async fn giant_heads_are_refused() {
    let limits = ConnectionLimits { head_bytes: 1 << 13, ..connections() };
    let server = Server::with(uploads(), limits).await;
    let fill = |length| {
        format!(
            "GET /params HTTP/1.1\r\nhost: x\r\nconnection: close\r\na: {}\r\n\r\n",
            "x".repeat(length)
        )
    };
    assert_eq!(server.raw(fill(4000).as_bytes()).await.status, 200);
    let mut many = GET_PARAMS[..GET_PARAMS.len() - 2].to_vec();
    (0..1000).for_each(|_| many.extend_from_slice(b"a: b\r\n"));
    many.extend_from_slice(b"\r\n");
    for request in [fill(20_000).into_bytes(), many, vec![b'G'; 20_000]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // The server may hang up before all is sent.
        let _ = stream.write_all(&request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        let refused = answer.is_empty()
            || answer.starts_with("HTTP/1.1 431 ")
            || answer.starts_with("HTTP/1.1 414 ")
            || answer.starts_with("HTTP/1.1 400 ");
        assert!(refused, "{answer}");
    }
    assert_eq!(server.get("/params").await.status, 200);
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let limits = ConnectionLimits { head: Duration::from_millis(20), ..connections() };
    let server = Server::with(uploads(), limits).await;
    for beginning in [&b""[..], b"G", b"GET /params HTTP/1.1\r\nhost: x\r\na:"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(A_WHILE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{beginning:?}");
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
}

/// The server ends when its last connection has: within the grace, which is much longer than a test
/// may take.
#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let write = Duration::from_millis(50);
    let grace = Duration::from_secs(3600);
    let limits = ConnectionLimits { write, grace, ..connections() };
    let mut server = Server::with(uploads(), limits).await;
    server.fake.large_model.store(true, Ordering::SeqCst);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /model HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The answer has begun.
    assert!(stream.read_u8().await.is_ok());
    server.stop.send_replace(true);
    tokio::time::timeout(A_WHILE, &mut server.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_answers_what_is_in_flight_and_lets_nobody_in() {
    let mut server = Server::start().await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"POST /message HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nm")
        .await
        .unwrap();
    // Connected, and not asking for anything: closed at once.
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    server.fake.arrived.notified().await;
    server.stop.send_replace(true);
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    server.fake.release.notify_one();
    assert_eq!(read_answer(&mut stream).await.status, 200);
    (&mut server.running).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn what_is_in_flight_is_cut_off_after_the_grace() {
    let limits = ConnectionLimits { grace: Duration::from_millis(20), ..connections() };
    let mut server = Server::with(uploads(), limits).await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut stream = server.begin_post(1, b"m").await;
    server.fake.arrived.notified().await;
    server.stop.send_replace(true);
    (&mut server.running).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "an answer from a server that is gone");
}

#[tokio::test]
async fn no_connection_outlives_a_server_that_is_dropped() {
    let server = Server::start().await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut stream = server.begin_post(1, b"m").await;
    server.fake.arrived.notified().await;
    server.running.abort();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "an answer from a server that is gone");
}

/// Some proxies and tools do so: that they send nothing more does not mean that nobody waits for the answer.
#[tokio::test]
async fn a_client_that_has_closed_its_sending_side_is_answered() {
    let server = Server::start().await;
    let post = b"POST /message HTTP/1.1\r\nhost: x\r\n";
    for request in [
        GET_PARAMS.to_vec(),
        [&post[..], b"content-length: 300\r\n\r\n", &[b'x'; 300]].concat(),
        [&post[..], b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"].concat(),
        b"GET /params HTTP/1.0\r\n\r\n".to_vec(),
    ] {
        for _ in 0..5 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(&request).await.unwrap();
            stream.shutdown().await.unwrap();
            let got = tokio::time::timeout(A_WHILE, read_answer(&mut stream)).await.unwrap();
            assert_eq!(got.status, 200);
        }
    }
    // Also one that takes a while.
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut stream = server.begin_post(1, b"m").await;
    stream.shutdown().await.unwrap();
    server.fake.release.notify_one();
    assert_eq!(read_answer(&mut stream).await.status, 200);
}

/// Who waits for news and closes its sending side is answered then, and whoever has gone away is noticed: their
/// places are free again long before their patience would have ended.
#[tokio::test]
async fn clients_that_wait_for_news_and_leave_are_noticed() {
    let limits = ConnectionLimits { open: 4, ..connections() };
    let server = Server::with(uploads(), limits).await;
    let tag = server.get("/params").await.header("etag").unwrap().to_owned();
    let request = format!(
        "GET /params HTTP/1.1\r\nhost: x\r\nif-none-match: {tag}\r\nprefer: wait=50\r\n\r\n"
    );
    let began = tokio::time::Instant::now();
    let mut streams = Vec::new();
    // As many as may wait; and one that has its answer.
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::timeout(A_WHILE, server.fake.waiting.notified()).await.expect("it waits");
        streams.push(stream);
    }
    let mut fourth = TcpStream::connect(server.address).await.unwrap();
    fourth.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    fourth.read_exact(&mut status).await.unwrap();
    assert!(status.ends_with(b"304"), "at once");
    assert_eq!(server.get("/params").await.status, 503);
    let mut half = streams.pop().unwrap();
    half.shutdown().await.unwrap();
    assert_eq!(read_answer(&mut half).await.status, 304);
    let reset = streams.pop().unwrap();
    socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
    drop((reset, streams, fourth));
    let mut all = Vec::new();
    let free = async {
        while all.len() < 4 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(b"GET /params HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut status = [0; 12];
            if stream.read_exact(&mut status).await.is_ok() && status.ends_with(b"200") {
                all.push(stream);
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(A_WHILE, free).await.expect("places are given back");
    assert!(began.elapsed() < Duration::from_secs(49), "only when their patience had ended");
}

/// Of those who connect through a proxy that says for whom, each is somebody else; no other may say so.
#[tokio::test]
async fn the_proxy_protocol_is_for_those_who_are_trusted() {
    let proxies = Proxies { trusted: "127.0.0.2".parse().unwrap(), say_for_whom: true };
    let limits = ConnectionLimits { of_one: 1, ..connections() };
    let server = Server::behind(uploads(), limits, proxies).await;
    let through = async |bytes: Vec<u8>| {
        let mut stream = from_elsewhere(&server).await;
        stream.write_all(&bytes).await.unwrap();
        stream
    };
    let header =
        |client: u8| format!("PROXY TCP4 192.0.2.{client} 192.0.2.99 1 2\r\n").into_bytes();
    let kept = b"GET /params HTTP/1.1\r\nhost: x\r\n\r\n";
    // One connection for each of them, although all come from one address.
    let mut open = Vec::new();
    for client in 1..4 {
        let mut stream = through([&header(client)[..], kept].concat()).await;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert!(status.ends_with(b"200"));
        open.push(stream);
    }
    let mut again = through([&header(3)[..], GET_PARAMS].concat()).await;
    assert_eq!(read_answer(&mut again).await.status, 503);
    // Trusted ones must say it, and others cannot.
    let mut silent = through(GET_PARAMS.to_vec()).await;
    let mut answer = Vec::new();
    let _ = silent.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    let mut other = TcpStream::connect(server.address).await.unwrap();
    other.write_all(&[&header(9)[..], GET_PARAMS].concat()).await.unwrap();
    let _ = other.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "));
    let direct = async { while server.get("/params").await.status != 200 {} };
    tokio::time::timeout(A_WHILE, direct).await.expect("who is not a proxy is served");
}
