//! Clients that have something already, and wait for what is new.

use std::sync::{atomic::Ordering, Arc};

use bytes::Bytes;

use super::fixture::{get_bytes, published, Server, PK_QUERY};

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
