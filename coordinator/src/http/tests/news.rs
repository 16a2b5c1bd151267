//! Clients that have something already, and wait for what is new.

use std::sync::Arc;

use bytes::Bytes;

use super::fixture::{get_bytes, published, Server};

#[tokio::test]
async fn parameters_that_a_client_has_are_not_sent_again() {
    let server = Server::start().await;
    let tag = server.get("/params").await.header("etag").unwrap().to_owned();
    let known = format!("if-none-match: {tag}\r\n");
    assert_eq!(get_bytes(&server, "/params", &known).await.0, 304);
    *server.fake.params.lock().unwrap() = Some(Bytes::from_static(b"the next ones"));
    let (status, _, body) = get_bytes(&server, "/params", &known).await;
    assert_eq!((status, body.as_slice()), (200, &b"the next ones"[..]));
}

/// A client that says so is answered when there is something new, not before.
#[tokio::test]
async fn a_patient_client_waits_for_news() {
    for target in ["/params", "/model"] {
        let server = Arc::new(Server::start().await);
        let tag = server.get(target).await.header("etag").unwrap().to_owned();
        let request = format!("if-none-match: {tag}\r\nprefer: wait=50\r\n");
        let waiting = tokio::spawn({
            let server = Arc::clone(&server);
            async move { get_bytes(&server, target, &request).await }
        });
        server.fake.waiting.notified().await;
        // Something else has changed: no reason to wake it.
        server.fake.changed.notify_waiters();
        server.fake.waiting.notified().await;
        assert!(!waiting.is_finished());
        *server.fake.params.lock().unwrap() = Some(Bytes::from_static(b"news"));
        let next = published(4, Bytes::from_static(b"news"), vec![]);
        *server.fake.models.lock().unwrap() = vec![next];
        server.fake.changed.notify_waiters();
        let (status, head, body) = waiting.await.unwrap();
        assert_eq!((status, body.as_slice()), (200, &b"news"[..]), "{target}");
        assert!(head.contains(&"preference-applied: wait=50".to_owned()), "{head:?}");
    }
}

#[tokio::test]
async fn patience_ends() {
    let server = Server::start().await;
    let tag = server.get("/params").await.header("etag").unwrap().to_owned();
    let request = format!("if-none-match: {tag}\r\nprefer: wait=1\r\n");
    assert_eq!(get_bytes(&server, "/params", &request).await.0, 304);
    // Who has nothing yet has nothing to wait for, if there is something.
    assert_eq!(get_bytes(&server, "/params", "prefer: wait=50\r\n").await.0, 200);
}
