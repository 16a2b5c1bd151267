//! Clients that have something already, and wait for what is new.

use std::sync::{atomic::Ordering, Arc};

use bytes::Bytes;

use super::fixture::{connections, get_bytes, published, uploads, Server, PK_QUERY};
use crate::http::ConnectionLimits;

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

/// Who says of which round it wants a dictionary is given no other one's.
#[tokio::test]
async fn a_dictionary_of_another_round_is_not_given() {
    let server = Server::start().await;
    let tag = server.get("/params").await.header("etag").unwrap().trim_matches('"').to_owned();
    for target in ["/sums".to_owned(), format!("/seeds?pk={PK_QUERY}")] {
        let ask = async |headers: &str| get_bytes(&server, &target, headers).await.0;
        assert_eq!(ask("").await, 200);
        assert_eq!(ask(&format!("pet-round: {tag}\r\n")).await, 200);
        assert_eq!(ask(&format!("Pet-Round: {}\r\n", tag.to_uppercase())).await, 200);
        let other = format!("pet-round: {}\r\n", "0a".repeat(32));
        assert_eq!(ask(&other).await, 412);
        // That is not waited for: whoever asks looks at the parameters again.
        assert_eq!(ask(&format!("{other}prefer: wait=50\r\n")).await, 412);
        for nonsense in [format!("\"{tag}\""), "+1".repeat(32), tag[1..].to_owned(), String::new()]
        {
            assert_eq!(ask(&format!("pet-round: {nonsense}\r\n")).await, 400, "{nonsense}");
        }
        assert_eq!(ask(&format!("pet-round: {tag}\r\npet-round: {tag}\r\n")).await, 400);
    }
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

/// Those who wait cannot take all connections: who has something to send finds a place, whoever waits.
#[tokio::test]
async fn a_quarter_of_the_connections_is_not_for_waiting() {
    let limits = ConnectionLimits { open: 8, ..connections() };
    let server = Arc::new(Server::with(uploads(), limits).await);
    let tag = server.get("/params").await.header("etag").unwrap().to_owned();
    let request = format!("if-none-match: {tag}\r\nprefer: wait=50\r\n");
    let ask = || {
        let (server, request) = (Arc::clone(&server), request.clone());
        tokio::spawn(async move { get_bytes(&server, "/params", &request).await })
    };
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(ask());
        server.fake.waiting.notified().await;
    }
    let (status, head, _) = ask().await.unwrap();
    assert_eq!(status, 304);
    assert!(!head.iter().any(|line| line.starts_with("preference-applied")), "{head:?}");
    assert!(waiting.iter().all(|request| !request.is_finished()));
    assert_eq!(server.get("/params").await.status, 200);
    // Whoever has its answer makes room.
    *server.fake.params.lock().unwrap() = Some(Bytes::from_static(b"news"));
    server.fake.changed.notify_waiters();
    for request in waiting {
        assert_eq!(request.await.unwrap().0, 200);
    }
    let tag = server.get("/params").await.header("etag").unwrap().to_owned();
    let request = format!("if-none-match: {tag}\r\nprefer: wait=1\r\n");
    let (status, head, _) = get_bytes(&server, "/params", &request).await;
    assert_eq!(status, 304);
    assert!(head.contains(&"preference-applied: wait=1".to_owned()), "{head:?}");
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

/// Who waits for a dictionary is answered when it is there, or when the round in which it was wanted is over.
#[tokio::test]
async fn a_patient_client_waits_for_a_dictionary_of_this_round() {
    for target in ["/sums".to_owned(), format!("/seeds?pk={PK_QUERY}")] {
        let server = Arc::new(Server::start().await);
        let nothing_there = &server.fake.nothing_there;
        nothing_there.store(true, Ordering::SeqCst);
        assert_eq!(server.get(&target).await.status, 204);
        let ask = || {
            let (server, target) = (Arc::clone(&server), target.clone());
            tokio::spawn(async move { get_bytes(&server, &target, "prefer: wait=50\r\n").await })
        };
        let waiting = ask();
        server.fake.waiting.notified().await;
        server.fake.changed.notify_waiters();
        server.fake.waiting.notified().await;
        assert!(!waiting.is_finished());
        *server.fake.params.lock().unwrap() = Some(Bytes::from_static(b"the next round"));
        nothing_there.store(false, Ordering::SeqCst);
        server.fake.changed.notify_waiters();
        let (status, head, body) = waiting.await.unwrap();
        assert_eq!((status, body.is_empty()), (200, false), "{target}");
        assert!(head.contains(&"preference-applied: wait=50".to_owned()), "{head:?}");
        // What is there is not waited for.
        assert_eq!(ask().await.unwrap().0, 200);
    }
}

/// A replica may have fallen behind while somebody has waited: it does not say that there is nothing new.
#[tokio::test]
async fn who_has_waited_in_vain_for_a_model_is_told_if_that_is_not_sure() {
    let server = Arc::new(Server::start().await);
    let tag = server.get("/model").await.header("etag").unwrap().to_owned();
    let request = format!("if-none-match: {tag}\r\nprefer: wait=1\r\n");
    let waiting = tokio::spawn({
        let server = Arc::clone(&server);
        async move { get_bytes(&server, "/model", &request).await }
    });
    server.fake.waiting.notified().await;
    server.fake.is_behind.store(true, Ordering::SeqCst);
    assert_eq!(waiting.await.unwrap().0, 503);
}
