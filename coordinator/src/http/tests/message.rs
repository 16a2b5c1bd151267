//! `/message`: when it is answered, and how.

use std::sync::atomic::Ordering;

use pet_core::{coordinator::Rejection, problem::Problem, request::Response as Answer};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::fixture::{connections, read_answer, uploads, Server, LIMIT, TELL_ME};
use crate::http::{Unprocessed, UploadLimits};

#[tokio::test]
async fn any_content_type_is_taken_and_answered_with_an_empty_200() {
    let server = Server::start().await;
    for header in [
        "",
        "content-type: application/octet-stream\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: ???\r\n",
    ] {
        let got = server.post(header, b"\x00sealed").await;
        assert_eq!((got.status, got.body.as_str()), (200, ""), "{header}");
        assert_eq!(got.header("content-length"), Some("0"));
    }
    assert_eq!(server.messages(), vec![b"\x00sealed".to_vec(); 4]);
}

#[tokio::test]
async fn chunked_bodies_are_taken() {
    let server = Server::start().await;
    let got = server.post_chunked(&[b"abc", b"de"]).await;
    assert_eq!((got.status, server.messages()), (200, vec![b"abcde".to_vec()]));
}

#[tokio::test]
async fn the_answer_comes_after_the_message_was_processed() {
    let server = Server::start().await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(
            b"POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nm",
        )
        .await
        .unwrap();
    server.fake.arrived.notified().await;
    // The message is there and not processed; other calls are answered all the while, this one is
    // not.
    assert_eq!(server.get("/params").await.status, 200);
    let mut byte = [0];
    assert!(stream.try_read(&mut byte).is_err(), "there is an answer already");
    server.fake.release.notify_one();
    assert_eq!(read_answer(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_message_that_was_not_processed_is_no_200() {
    let server = Server::start().await;
    for (error, status, retry) in [
        (Unprocessed::Stopped, 503, Some("1")),
        (Unprocessed::NoRoom, 503, Some("1")),
        (Unprocessed::InProgress, 503, Some("1")),
        (Unprocessed::StoreBehind, 503, Some("1")),
        (Unprocessed::Full, 503, Some("1")),
        (Unprocessed::Bug, 500, None),
    ] {
        *server.fake.unprocessed.lock().unwrap() = Some(error.clone());
        let got = server.post("", b"m").await;
        assert_eq!((got.status, got.header("retry-after")), (status, retry), "{error}");
        assert_eq!(got.body, format!("{error}\n"));
        let got = server.post(TELL_ME, b"m").await;
        assert_eq!((got.status, got.header("retry-after")), (status, retry), "{error}");
        assert!(got.body.contains(&error.to_string()));
    }
}

#[tokio::test]
async fn a_rejected_message_is_an_empty_200_unless_its_sender_wants_to_know() {
    let server = Server::start().await;
    let problem = Rejection::DuplicateUpdate.problem(7);
    *server.fake.unprocessed.lock().unwrap() = Some(Unprocessed::Rejected(problem.clone()));
    for header in ["", "accept: */*\r\n", "accept: application/json\r\n"] {
        let got = server.post(header, b"m").await;
        assert_eq!((got.status, got.body.as_str()), (200, ""), "{header}");
    }
    let got = server.post(TELL_ME, b"m").await;
    assert_eq!(got.status, 409);
    assert_eq!(got.header("content-type"), Some("application/problem+json"));
    assert_eq!(Problem::of(&Answer::new(got.status, got.body)), Some(problem));
}

#[tokio::test]
async fn what_was_not_received_is_told_as_well() {
    let limits = UploadLimits { memory: 4096, ..uploads() };
    let server = Server::with(limits, connections()).await;
    let far = 2 * LIMIT + (1 << 20);
    for length in [LIMIT + 1, far + 1] {
        let got = server.post(TELL_ME, &vec![7; length]).await;
        let problem = Problem::of(&Answer::new(got.status, got.body)).unwrap();
        assert_eq!((got.status, problem.name.as_ref()), (413, "too_long"), "{length}");
    }
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut first = server.begin_post(4000, &[1; 4000]).await;
    server.fake.arrived.notified().await;
    let got = server.post(TELL_ME, &[2; 4000]).await;
    assert_eq!((got.status, got.header("retry-after")), (503, Some("1")));
    assert!(got.body.contains("urn:pet:problem:busy"), "{}", got.body);
    server.fake.release.notify_one();
    assert_eq!(read_answer(&mut first).await.status, 200);
}
