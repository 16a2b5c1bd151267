//! The calls that ask for something, by whatever path and method.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use pet_core::{crypto::PublicSigningKey, request::Response as Answer};

use super::fixture::{Server, PK, PK_BASE64, PK_QUERY};
use crate::{http::public_key, panics};

#[tokio::test]
async fn gets_answer_with_their_content_types() {
    let server = Server::start().await;
    let seeds = format!("/seeds?pk={PK_QUERY}");
    for (target, body, content_type) in [
        ("/params", "the parameters", None),
        ("/sums", "the sum dictionary", Some("application/octet-stream")),
        (&seeds, "seeds for PK", Some("application/octet-stream")),
        ("/model", "the model", None),
    ] {
        let got = server.get(target).await;
        assert_eq!((got.status, got.body.as_str()), (200, body), "{target}");
        assert_eq!(got.header("content-type"), content_type, "{target}");
        assert_eq!(got.header("content-length"), Some(body.len().to_string().as_str()));
    }
}

#[tokio::test]
async fn what_is_not_there_is_204_without_a_body() {
    let server = Server::start().await;
    server.fake.nothing_there.store(true, Ordering::SeqCst);
    for target in ["/sums", "/model", &format!("/seeds?pk={PK_QUERY}")] {
        let got = server.get(target).await;
        assert_eq!((got.status, got.body.as_str()), (204, ""), "{target}");
        assert_eq!(got.header("content-type"), None, "{target}");
    }
}

#[tokio::test]
async fn head_tells_the_length_and_sends_nothing() {
    let server = Server::start().await;
    for (target, length) in [("/model", "9"), ("/params", "14")] {
        let got = server.request("HEAD", target).await;
        assert_eq!((got.status, got.body.as_str()), (200, ""), "{target}");
        assert_eq!(got.header("content-length"), Some(length), "{target}");
        assert!(got.header("etag").is_some());
    }
}

#[tokio::test]
async fn a_trailing_slash_and_extra_parameters_are_accepted() {
    let server = Server::start().await;
    for target in [
        "/params/",
        "/params?a=b",
        "/params/?a",
        "/sums/?a=b&a=c",
        "/model/",
        &format!("/seeds/?a=b&pk={PK_QUERY}&c"),
    ] {
        assert_eq!(server.get(target).await.status, 200, "{target}");
    }
    let got = server
        .raw(b"POST /message/?a=b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
        .await;
    assert_eq!((got.status, server.messages()), (200, vec![b"hi".to_vec()]));
}

#[tokio::test]
async fn wrong_methods_are_405_and_unknown_paths_404() {
    let server = Server::start().await;
    for (method, target, allowed) in [
        ("POST", "/params", "get,head"),
        ("PUT", "/sums/", "get,head"),
        ("DELETE", "/seeds", "get,head"),
        ("PATCH", "/model", "get,head"),
        ("GET", "/message", "post"),
        ("PUT", "/message/", "post"),
    ] {
        let got = server.request(method, target).await;
        assert_eq!((got.status, got.header("allow")), (405, Some(allowed)), "{method} {target}");
    }
    for target in ["/", "/params/x", "/Params", "/messages"] {
        assert_eq!(server.get(target).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn a_pk_is_standard_base64_padded_or_not() {
    let server = Server::start().await;
    let unpadded = PK_QUERY.strip_suffix("%3D").unwrap();
    let seeds = |pk: &str| format!("/seeds?pk={pk}");
    for pk in [PK_QUERY, unpadded, PK_BASE64, "%2B/v7%2b/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s="] {
        let got = server.get(&seeds(pk)).await;
        assert_eq!((got.status, got.body.as_str()), (200, "seeds for PK"), "{pk}");
    }
    let unknown = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D";
    assert_eq!(server.get(&seeds(unknown)).await.status, 204);
    for bad in [
        "/seeds",
        "/seeds?",
        "/seeds/",
        "/seeds?pk",
        "/seeds?pk=",
        "/seeds?PK=AAAA",
        &seeds("AAAA"),
        &seeds(&PK_QUERY.replace("%2B", "-").replace("%2F", "_")),
        &seeds(&format!("{PK_QUERY}%3D")),
        &seeds(&format!("{unpadded}A")),
        &seeds(&PK_QUERY.replace("v7", "v!")),
        // The last character holds bits beyond the 32 bytes.
        &seeds(&PK_QUERY.replace("%2Fs%3D", "%2Ft%3D")),
        // 31 and 33 bytes.
        &seeds("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        &seeds("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        &seeds(&format!("{PK_QUERY}&pk={PK_QUERY}")),
    ] {
        let got = server.get(bad).await;
        assert_eq!(got.status, 400, "{bad}");
        assert!(got.body.contains("base64"), "{bad}: {}", got.body);
    }
}

#[test]
fn bytes_that_are_no_query_are_no_key() {
    let check = |text: &str| assert_eq!(public_key(text), None, "{text}");
    for text in ["pk=%", "pk=%zz", "pk=%ff%fe", "&&&", "pk=\u{0}"] {
        check(text);
    }
    assert_eq!(public_key(&format!("pk={PK_QUERY}")), Some(PublicSigningKey::new(PK)));
    // The type of bodies that handlers give is the one of the answers, without a copy.
    let body = Bytes::from_static(b"x");
    assert_eq!(Answer::ok(body.clone()).body, body);
}

/// Its client would be hung up on, and nobody would hear of it but the log.
#[tokio::test]
async fn a_panic_is_answered_and_counted() {
    panics::count();
    let server = Server::start().await;
    server.fake.panics.store(true, Ordering::SeqCst);
    let before = panics::total();
    let got = server.get("/sums").await;
    assert_eq!((got.status, got.header("content-type")), (500, Some("application/problem+json")));
    assert!(got.body.contains("urn:pet:problem:internal_error"), "{got:?}");
    assert!(panics::total() > before);
    server.fake.panics.store(false, Ordering::SeqCst);
    assert_eq!(server.get("/sums").await.status, 200);
}
