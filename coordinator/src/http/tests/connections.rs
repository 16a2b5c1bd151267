//! Who may connect, how often, and until when.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::fixture::{
    connections, from_elsewhere, read_answer, uploads, Server, A_WHILE, GET_PARAMS,
};
use crate::http::{ConnectionLimits, RateLimit};

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
    let rate = RateLimit { per_second: 0.1, burst: 3.0 };
    let server = Server::at_rate(uploads(), connections(), Some(rate)).await;
    assert_eq!(server.get("/params").await.status, 200);
    // On one connection or on several.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let kept = b"GET /params HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(&[kept, GET_PARAMS].concat()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    let got = server.get("/params").await;
    assert_eq!((got.status, got.header("retry-after")), (429, Some("10")));
    // A message is not even looked at, but read for a while.
    let got = server.post("", &vec![7; 3 << 20]).await;
    assert_eq!((got.status, got.header("retry-after")), (429, Some("10")));
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
