//! The dashboard: static files that are part of the binary. All that moves on it comes from
//! `/events`.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    body::Bytes,
    http::{header, HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
    Router,
};

use super::{conditional::Tagged, entity_tag::EntityTag};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! file {
    ($path:literal, $name:literal, $type:ident) => {
        File {
            path: $path,
            content_type: $type,
            text: include_str!(concat!("../../dashboard/", $name)),
        }
    };
}

/// All files.
const FILES: [File; 10] = [
    file!("/", "index.html", HTML),
    file!("/dashboard/style.css", "style.css", CSS),
    file!("/dashboard/icon.svg", "icon.svg", SVG),
    file!("/dashboard/main.js", "main.js", JS),
    file!("/dashboard/dom.js", "dom.js", JS),
    file!("/dashboard/federation.js", "federation.js", JS),
    file!("/dashboard/format.js", "format.js", JS),
    file!("/dashboard/now.js", "now.js", JS),
    file!("/dashboard/plot.js", "plot.js", JS),
    file!("/dashboard/rounds.js", "rounds.js", JS),
];

/// Nothing but these files and the coordinator's own answers, and nobody puts them into a page of
/// their own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, file| {
        router.route(
            file.path,
            get(move |method: Method, headers: HeaderMap| async move {
                file.answer(&method, &headers)
            }),
        )
    })
}

impl File {
    fn answer(self, method: &Method, request: &HeaderMap) -> Response {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        // Sixteen digits are a legal tag.
        let Some(etag) = EntityTag::new(&format!("{:016x}", hasher.finish())) else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let content_type = Some(HeaderValue::from_static(self.content_type));
        let body = Bytes::from_static(self.text.as_bytes());
        let tagged = Tagged { body: body.into(), etag, content_type, negotiated: false };
        let mut response = tagged.answer(method, request);
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// A file that is forgotten here would be missing only in a browser.
    #[test]
    fn every_file_of_the_dashboard_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let name = |file: &File| match file.path {
            "/" => "index.html".to_owned(),
            path => path.trim_start_matches("/dashboard/").to_owned(),
        };
        let mut served: Vec<String> = FILES.iter().map(name).collect();
        files.sort();
        served.sort();
        assert_eq!(files, served);
    }

    /// The page would stay empty: its policy forbids both.
    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        for File { path, text, .. } in FILES {
            // Names of XML are no addresses.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for forbidden in ["http://", "https://", "<style", " style=\"", " onclick=", "eval("] {
                assert!(!text.contains(forbidden), "{path} contains {forbidden}");
            }
            let scripts = text.matches("<script").count();
            assert_eq!(scripts, text.matches("<script type=\"module\" src=\"/").count(), "{path}");
        }
    }
}
