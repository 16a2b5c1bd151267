//! `/model` and `/models`: forms, parts, rounds.

use bytes::Bytes;
use pet_core::{
    model::{DataType, Model},
    request::{Call, ModelForm},
};

use super::fixture::{get_bytes, published, Server};

#[tokio::test]
async fn a_model_comes_in_the_form_that_the_client_prefers() {
    let server = Server::start().await;
    let array = [0.5_f32, -1.0].map(f32::to_le_bytes).concat();
    let npy = crate::models::npy(&Model::F32(vec![0.5, -1.0]));
    for (accept, status, content_type, body) in [
        ("", 200, None, &b"the model"[..]),
        ("accept: */*\r\n", 200, None, b"the model"),
        ("accept: ???\r\n", 200, None, b"the model"),
        ("accept: application/*\r\n", 200, None, b"the model"),
        ("accept: application/octet-stream\r\n", 200, None, b"the model"),
        ("accept: application/vnd.pet.rationals\r\n", 200, None, b"the model"),
        (
            "accept: application/vnd.pet.weights\r\n",
            200,
            Some("application/vnd.pet.weights; dtype=f32"),
            &array,
        ),
        (
            "accept: */*;q=0.1, application/vnd.pet.weights;q=0.9\r\n",
            200,
            Some("application/vnd.pet.weights; dtype=f32"),
            &array,
        ),
        (
            "accept: application/vnd.pet.weights; dtype=f32\r\n",
            200,
            Some("application/vnd.pet.weights; dtype=f32"),
            &array,
        ),
        ("accept: application/x-npy\r\n", 200, Some("application/x-npy"), &npy),
        (
            "accept: application/x-npy;q=0.5\r\naccept: image/png\r\n",
            200,
            Some("application/x-npy"),
            &npy,
        ),
    ] {
        let (got, head, bytes) = get_bytes(&server, "/model", accept).await;
        let got_type = head.iter().find_map(|line| line.strip_prefix("content-type: "));
        assert_eq!((got, got_type), (status, content_type), "{accept}");
        assert_eq!(bytes, body, "{accept}");
        for line in ["vary: accept", "accept-ranges: bytes", "cache-control: no-cache"] {
            assert!(head.iter().any(|got| got == line), "{accept}: {line}: {head:?}");
        }
    }
    // What this project's participants ask with: for weights of the round's type, or else the old form.
    for (data_type, form) in [
        (DataType::F32, ModelForm::Array(DataType::F32)),
        (DataType::F64, ModelForm::Rationals),
        (DataType::I32, ModelForm::Rationals),
    ] {
        let headers = Call::Model(data_type).headers();
        let [(name, accept)] = &headers[..] else { panic!("one header") };
        let (_, head, bytes) = get_bytes(&server, "/model", &format!("{name}: {accept}\r\n")).await;
        let content_type = head.iter().find_map(|line| line.strip_prefix("content-type: "));
        let got = content_type.map(ModelForm::of_content_type).unwrap_or_default();
        assert_eq!(got, form, "{accept}");
        let is_array = form != ModelForm::Rationals;
        assert_eq!(bytes, if is_array { &array[..] } else { b"the model" }, "{accept}");
    }
    for accept in ["image/png", "application/vnd.pet.weights; dtype=f64", "application/x-npy;q=0"] {
        let (status, head, body) =
            get_bytes(&server, "/model", &format!("accept: {accept}\r\n")).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 406, "{accept}: {body}");
        assert!(
            body.contains("application/vnd.pet.weights; dtype=f32") && body.contains("x-npy"),
            "{body}"
        );
        assert!(head.contains(&"vary: accept".to_owned()));
    }
}

#[tokio::test]
async fn each_form_has_its_own_tag_and_parts() {
    let server = Server::start().await;
    let mut tags = Vec::new();
    for accept in ["*/*", "application/vnd.pet.weights", "application/x-npy"] {
        let accept = format!("accept: {accept}\r\n");
        let (_, head, whole) = get_bytes(&server, "/model", &accept).await;
        let tag = head.iter().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
        let known = format!("{accept}if-none-match: {tag}\r\n");
        let (status, head, body) = get_bytes(&server, "/model", &known).await;
        assert_eq!((status, body.len()), (304, 0));
        assert!(head.contains(&format!("etag: {tag}")));
        let part = format!("{accept}range: bytes=2-4\r\nif-range: {tag}\r\n");
        let (status, _, body) = get_bytes(&server, "/model", &part).await;
        assert_eq!((status, body.as_slice()), (206, &whole[2..5]));
        tags.push(tag);
    }
    tags.dedup();
    assert_eq!(tags.len(), 3, "{tags:?}");
    assert!(tags[0].contains(&"ab".repeat(32)), "{tags:?}");
}

#[tokio::test]
async fn kept_models_are_listed_and_found_by_round() {
    let server = Server::start().await;
    assert_eq!(server.get("/models").await.body, "{\"models\":[]}");
    *server.fake.models.lock().unwrap() = (1..=3)
        .map(|round| published(round, Bytes::from(format!("model {round}")), vec![round as f32]))
        .collect();
    let seed = "ab".repeat(32);
    let got = server.get("/models/").await;
    assert_eq!(got.header("content-type"), Some("application/json"));
    let listed = r#"{"models":[{"round_id":3},{"round_id":2},{"round_id":1}]}"#;
    assert_eq!(got.body, listed);
    for target in ["/models/2", "/models/2/", &format!("/models/2_{seed}")] {
        let got = server.get(target).await;
        assert_eq!((got.status, got.body.as_str()), (200, "model 2"), "{target}");
    }
    let (status, _, body) =
        get_bytes(&server, "/models/2", "accept: application/vnd.pet.weights\r\n").await;
    assert_eq!((status, body), (200, 2_f32.to_le_bytes().to_vec()));
    for (target, status) in [
        ("/models/4", 404),
        (&format!("/models/2_{}", "cd".repeat(32)), 404),
        ("/models/x", 400),
        ("/models/2_", 400),
    ] {
        let got = server.get(target).await;
        assert_eq!(got.status, status, "{target}");
        assert!(!got.body.is_empty());
    }
}
