//! Scripts of web pages that come from elsewhere: which pages may take part (the fetch standard's CORS protocol).

use std::time::Duration;

use axum::{
    extract::Request,
    http::{header, HeaderMap, HeaderName, HeaderValue, Method},
    middleware::{self, Next},
    response::Response,
    Router,
};
use tower::ServiceExt as _;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use crate::settings::Origins;

/// How long browsers need not ask again whether they may ask. (They do not keep it for longer than two hours.)
const KEPT: Duration = Duration::from_secs(2 * 60 * 60);

/// Lets scripts of these pages read the answers, and send what participants send. Cookies and client certificates are
/// not let through: nothing here depends on who a visitor is elsewhere. All other pages are answered as if there were no
/// such thing.
pub(crate) fn cors(router: Router, origins: &Origins) -> Router {
    if origins.is_empty() {
        return router;
    }
    let let_in = router.clone().layer(layer(origins));
    let origins = origins.clone();
    // The library answers each preflight, and says to all pages what those that are named may do: others do not get there.
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let let_in = names(&origins, request.headers()).then(|| let_in.clone());
        async move {
            match let_in {
                Some(router) => {
                    router.oneshot(request).await.unwrap_or_else(|never| match never {})
                }
                None => told_apart(next.run(request).await),
            }
        }
    }))
}

/// Whether a request comes from a page that is named.
fn names(origins: &Origins, headers: &HeaderMap) -> bool {
    match (origins, headers.get(header::ORIGIN)) {
        (Origins::All, _) => true,
        (Origins::Some(origins), Some(from)) => {
            origins.iter().any(|origin| origin.as_bytes() == from.as_bytes())
        }
        (Origins::Some(_), None) => false,
    }
}

/// Says to caches that pages which are named get more.
fn told_apart(mut response: Response) -> Response {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn layer(origins: &Origins) -> CorsLayer {
    let layer = match origins {
        Origins::All => CorsLayer::new().allow_origin(Any),
        Origins::Some(origins) => {
            let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
            CorsLayer::new().allow_origin(origins.collect::<Vec<_>>())
        }
    };
    let sent = [
        header::ACCEPT,
        header::CONTENT_TYPE,
        header::IF_NONE_MATCH,
        header::RANGE,
        HeaderName::from_static("prefer"),
        HeaderName::from_static(pet_core::request::Call::ROUND),
    ];
    let shown = [
        header::ETAG,
        header::RETRY_AFTER,
        header::CONTENT_RANGE,
        HeaderName::from_static("preference-applied"),
    ];
    layer
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers(AllowHeaders::list(sent))
        .expose_headers(shown)
        .max_age(KEPT)
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, Response, StatusCode},
        routing::get,
    };
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn ask(origins: &str, method: Method, origin: Option<&str>) -> Response<Body> {
        let router = Router::new().route("/params", get(|| async { "parameters" }));
        let router = TowerToHyperService::new(cors(router, &origins.parse().unwrap()));
        let mut request = Request::builder().method(method).uri("/params");
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let request = request
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type,pet-round,prefer")
            .header(header::COOKIE, "who=me");
        router.call(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    fn header_of(response: &Response<Body>, name: HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    const PAGE: &str = "https://example.org";

    #[tokio::test]
    async fn pages_that_are_named_may_ask() {
        for (origins, allowed) in
            [(PAGE, PAGE), ("http://a.org, https://example.org", PAGE), ("*", "*")]
        {
            let preflight = ask(origins, Method::OPTIONS, Some(PAGE)).await;
            assert_eq!(preflight.status(), StatusCode::OK);
            assert_eq!(header_of(&preflight, header::ACCESS_CONTROL_ALLOW_ORIGIN), allowed);
            let headers = header_of(&preflight, header::ACCESS_CONTROL_ALLOW_HEADERS);
            for name in ["content-type", "accept", "if-none-match", "prefer", "pet-round"] {
                assert!(headers.split(',').any(|header| header == name), "{name}: {headers}");
            }
            assert_eq!(
                header_of(&preflight, header::ACCESS_CONTROL_ALLOW_METHODS),
                "GET,HEAD,POST"
            );
            assert_eq!(header_of(&preflight, header::ACCESS_CONTROL_MAX_AGE), "7200");
            assert_eq!(header_of(&preflight, header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "");
            let answer = ask(origins, Method::GET, Some(PAGE)).await;
            assert_eq!(header_of(&answer, header::ACCESS_CONTROL_ALLOW_ORIGIN), allowed);
            let shown = header_of(&answer, header::ACCESS_CONTROL_EXPOSE_HEADERS);
            assert!(shown.contains("retry-after") && shown.contains("etag"), "{shown}");
        }
    }

    fn says_anything(response: &Response<Body>) -> bool {
        response.headers().keys().any(|name| name.as_str().starts_with("access-control-"))
    }

    #[tokio::test]
    async fn others_may_not() {
        for (origins, origin) in [
            ("", Some(PAGE)),
            ("https://other.org", Some(PAGE)),
            (PAGE, Some("https://example.org.evil.net")),
            (PAGE, Some("http://example.org")),
            (PAGE, Some("https://example.org:8443")),
            (PAGE, Some("null")),
            (PAGE, None),
        ] {
            let preflight = ask(origins, Method::OPTIONS, origin).await;
            assert_eq!(preflight.status(), StatusCode::METHOD_NOT_ALLOWED, "{origins}");
            let answer = ask(origins, Method::GET, origin).await;
            assert_eq!(answer.status(), StatusCode::OK, "{origins}");
            for answer in [preflight, answer] {
                assert!(!says_anything(&answer), "{origins}: {:?}", answer.headers());
                // Without the setting nothing changes at all.
                let vary = if origins.is_empty() { "" } else { "origin" };
                assert_eq!(header_of(&answer, header::VARY), vary);
            }
        }
    }
}
