//! The bodies of messages: too long, too many, too slow.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{connections, from_elsewhere, read_answer, uploads, Server, A_WHILE, LIMIT};
use crate::http::UploadLimits;

/// A message that is too long can only be rejected, and is answered as such: 413 is for what nobody
/// would read to its end.
#[tokio::test]
async fn too_long_is_rejected_and_far_too_long_is_413() {
    let server = Server::start().await;
    let far = 2 * LIMIT + (1 << 20);
    let bytes = vec![7; far + 1];
    for length in [LIMIT, LIMIT + 1, far, far + 1] {
        let body = &bytes[..length];
        let (status, empty) = if length > far { (413, false) } else { (200, true) };
        for got in
            [server.post("", body).await, server.post_chunked(&[&body[..5], &body[5..]]).await]
        {
            assert_eq!((got.status, got.body.is_empty()), (status, empty), "{length}");
            assert!(empty || got.body.contains("6000 bytes"), "{}", got.body);
        }
    }
    assert_eq!(server.messages(), vec![vec![7; LIMIT]; 2]);
    let lengths = server.not_received();
    let expected = [LIMIT + 1, LIMIT + 1, far, far, far + 1, far + 1];
    assert_eq!(lengths, expected.map(|length| ("too_long", length as u64)));
}

#[tokio::test]
async fn a_sender_of_far_too_much_still_gets_its_answer() {
    let server = Server::start().await;
    assert_eq!(server.post("", &vec![7; 3 << 20]).await.status, 413);
    assert_eq!(server.messages(), Vec::<Vec<u8>>::new());
}

/// Far more than is read of a refused upload: the server ends it, although the client sends on.
#[tokio::test]
async fn nothing_makes_the_server_read_without_end() {
    let linger = Duration::from_millis(20);
    let server = Server::with(UploadLimits { linger, ..uploads() }, connections()).await;
    let mut stream = server.begin_post(usize::MAX >> 1, b"").await;
    let piece = vec![0; 1 << 16];
    while stream.write_all(&piece).await.is_ok() {}
    assert_eq!(server.not_received(), [("too_long", (u64::MAX >> 1))]);
}

#[tokio::test]
async fn memory_for_uploads_is_limited_and_given_back() {
    let limits = UploadLimits { memory: 16384, ..uploads() };
    let server = Server::with(limits, connections()).await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut first = server.begin_post(5000, &[1; 5000]).await;
    server.fake.arrived.notified().await;
    let got = server.post("", &[2; 5000]).await;
    assert_eq!((got.status, got.header("retry-after")), (503, Some("1")));
    let got = server.post_chunked(&[&[2; 2500], &[2; 2500]]).await;
    assert_eq!((got.status, got.header("retry-after")), (503, Some("1")));
    assert_eq!(server.not_received(), [("busy", 5000), ("busy", 5000)]);
    server.fake.hold.store(false, Ordering::SeqCst);
    server.fake.release.notify_one();
    assert_eq!(read_answer(&mut first).await.status, 200);
    assert_eq!(server.post("", &[3; 5000]).await.status, 200);
    assert_eq!(server.post_chunked(&[&[2; 2500], &[2; 2500]]).await.status, 200);
}

/// Those that find none wait for others to be done with theirs.
#[tokio::test]
async fn uploads_wait_for_memory() {
    let limits = UploadLimits { memory: 8192, queue: A_WHILE, ..uploads() };
    let server = Server::with(limits, connections()).await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut first = server.begin_post(5000, b"").await;
    // Whichever comes first: both get through, one after the other.
    let mut second = server.begin_post(5000, &[2; 5000]).await;
    first.write_all(&[1; 5000]).await.unwrap();
    for _ in 0..2 {
        server.fake.arrived.notified().await;
        server.fake.release.notify_one();
    }
    assert_eq!(read_answer(&mut first).await.status, 200);
    assert_eq!(read_answer(&mut second).await.status, 200);
    assert_eq!(server.not_received(), []);
}

#[tokio::test]
async fn an_upload_that_stalls_is_408() {
    let limits = UploadLimits { patience: Duration::from_millis(20), ..uploads() };
    let server = Server::with(limits, connections()).await;
    let mut stream = server.begin_post(2, b"m").await;
    assert_eq!(read_answer(&mut stream).await.status, 408);
    assert_eq!(server.not_received(), [("stalled", 2)]);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_no_message() {
    let server = Server::start().await;
    let mut stream = server.begin_post(2, b"m").await;
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(server.messages(), Vec::<Vec<u8>>::new());
    tokio::time::timeout(A_WHILE, server.fake.refused.notified()).await.unwrap();
    assert_eq!(server.not_received(), [("broken", 2)]);
}

/// Half of the places is the most that one client gets: the others send on.
#[tokio::test]
async fn slow_senders_do_not_keep_others_out() {
    let limits = UploadLimits { messages: 20, ..uploads() };
    let server = Server::with(limits, connections()).await;
    let mut slow = Vec::new();
    for _ in 0..30 {
        slow.push(server.begin_post(5000, b"m").await);
    }
    // As soon as the server has seen them all, there is no place for this client.
    let refused = async { while server.post("", b"m").await.status != 503 {} };
    tokio::time::timeout(A_WHILE, refused).await.unwrap();
    let mut elsewhere = from_elsewhere(&server).await;
    elsewhere
        .write_all(b"POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
        .await
        .unwrap();
    assert_eq!(read_answer(&mut elsewhere).await.status, 200);
    assert!(server.messages().contains(&b"hi".to_vec()));
    assert_eq!(server.get("/params").await.status, 200);
}
