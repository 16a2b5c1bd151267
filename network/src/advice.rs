//! What errors of HTTP and TLS libraries mean, and what to do about them.

use pet_core::request::CoordinatorUrl;

use crate::Proxy;

/// The most characters that are shown of what a server says.
const MOST_TEXT: usize = 300;

/// Something that goes wrong over TLS: by what the libraries' words (rustls, OpenSSL) are known, and what it means.
type Meaning = (&'static [&'static str], fn(&CoordinatorUrl) -> String);

const OVER_TLS: &[Meaning] = &[
    (
        &[
            "invalidcontenttype",
            "wrong version number",
            "wrong_version_number",
            "record layer failure",
            "packet length too long",
        ],
        |url| {
            format!(
                "the server at {}:{} does not speak TLS: give {} as the coordinator's URL if that is meant to be so, \
                 or let the coordinator speak TLS",
                url.host(),
                url.port(),
                url.shown().replacen("https://", "http://", 1)
            )
        },
    ),
    (&["causedasendentity"], |_| {
        "the server's certificate is that of an authority (CA:TRUE), which cannot be a server's own: make it anew \
             with CA:FALSE (openssl req -x509 ... -addext basicConstraints=critical,CA:FALSE), or sign another one with it"
                .into()
    }),
    (
        &[
            "unknownissuer",
            "unable to get local issuer",
            "unable to get issuer",
            "self-signed certificate",
            "self signed certificate",
        ],
        |_| {
            "the server's certificate is not from an authority that is trusted here: name the file with the authority's \
             certificate in SSL_CERT_FILE, or give it as an own authority (in Python: tls=Tls(ca=...))"
                .into()
        },
    ),
    (
        &["notvalidforname", "not valid for name", "hostname mismatch", "ip address mismatch"],
        |url| {
            format!(
                "the server's certificate is for other names than {}: ask for the coordinator by a name that the \
                 certificate has, or have that name put into the certificate",
                url.host()
            )
        },
    ),
    (
        &[
            "certificate expired",
            "certificate has expired",
            "notvalidyet",
            "not valid yet",
            "not yet valid",
        ],
        |_| {
            "the server's certificate is not valid at this time: is this machine's clock right?"
                .into()
        },
    ),
    (&["certificaterequired", "certificate required", "certificate_required"], |_| {
        "the server wants to see a certificate: give one, and its key (in Python: tls=Tls(certificate=..., key=...))"
                .into()
    }),
];

const NOT_HTTP: &[&str] = &[
    "invalid http version",
    "http parse fail",
    "illegal status line",
    "illegal request line",
    "invalid status line",
];
const NO_USER: &[&str] = &["407", "proxy authentication", "proxy authorization"];

/// Explains a library's error in plain words where it is known; the library's own text comes last.
pub fn explain(url: &CoordinatorUrl, proxy: Option<&Proxy>, error: &str) -> String {
    let lower = error.to_lowercase();
    let is_one_of = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
    let known = match (url.is_https(), proxy) {
        (_, Some(proxy)) if is_one_of(NO_USER) => Some(format!(
            "the proxy {proxy} wants a user name and a password: put them into the variable, \
             http://user:password@host:port, with %40 for @ and so on"
        )),
        (true, _) => OVER_TLS.iter().find(|(marks, _)| is_one_of(marks)).map(|(_, words)| words(url)),
        (false, _) if is_one_of(NOT_HTTP) => Some(format!(
            "the server at {}:{} does not speak plain HTTP: if it speaks TLS, give {} as the coordinator's URL",
            url.host(),
            url.port(),
            url.shown().replacen("http://", "https://", 1)
        )),
        (false, _) => None,
    };
    let error = tame(error);
    let text = match known {
        Some(words) => format!("{words} ({error})"),
        None => error,
    };
    match proxy {
        Some(proxy) => {
            format!("{text} [through the proxy {proxy}; NO_PROXY excepts hosts from it]")
        }
        None => text,
    }
}

/// Explains a redirection: where it leads, and what to do. Nobody follows: of a message that is redirected some
/// kinds of redirections lose the body, and a participant that gets everything but cannot send trains for nothing.
pub fn redirected(url: &CoordinatorUrl, path: &str, status: u16, location: Option<&str>) -> String {
    let Some(location) = location.map(tame) else {
        return format!("HTTP status {status} sends participants elsewhere, without saying where");
    };
    let base = location.strip_suffix(path).unwrap_or(&location);
    let base = match base.starts_with('/') || base.is_empty() {
        true => format!("{}{base}", origin(url)),
        false => base.to_owned(),
    };
    let advice = match url.is_https() && base.starts_with("http://") {
        true => "that would be without TLS, though: whoever runs that server must mend it".into(),
        false => format!("give {base} as the coordinator's URL if that is right"),
    };
    format!(
        "HTTP status {status} sends participants to {location}, where nobody follows since messages could be lost by \
         that; {advice}"
    )
}

/// Scheme, host and port.
fn origin(url: &CoordinatorUrl) -> String {
    let shown = url.shown();
    let from = shown.find("://").map_or(0, |at| at + 3);
    let to = shown[from..].find('/').map_or(shown.len(), |at| from + at);
    shown[..to].to_owned()
}

/// A text from outside, fit to be logged.
fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_say_where_to() {
        let url = CoordinatorUrl::parse("http://u:p@a.example:81/pet").unwrap();
        for (location, words) in [
            ("https://b.example/params", "give https://b.example as"),
            ("https://b.example/", "give https://b.example/ as"),
            ("/other/params", "give http://a.example:81/other as"),
            ("/params", "give http://a.example:81 as"),
            ("https://b.example/\r\nx", "https://b.example/  x"),
        ] {
            let text = redirected(&url, "/params", 301, Some(location));
            assert!(text.contains(words) && text.contains("301"), "{text}");
        }
        assert!(redirected(&url, "/params", 301, None).contains("without saying where"));
        let url = CoordinatorUrl::parse("https://a.example").unwrap();
        let text = redirected(&url, "/params", 308, Some("http://a.example/params"));
        assert!(text.contains("without TLS") && !text.contains("give http"), "{text}");
        let long = "x".repeat(5000);
        assert!(redirected(&url, "/params", 308, Some(&long)).len() < 1000);
    }

    #[test]
    fn what_is_not_known_is_passed_on() {
        let url = CoordinatorUrl::parse("https://a.example").unwrap();
        assert_eq!(explain(&url, None, "no such host\n"), "no such host ");
        let proxy = Proxy::parse("HTTPS_PROXY", "http://me:secret@proxy").unwrap();
        let text = explain(&url, Some(&proxy), "no such host");
        assert!(
            text.contains("http://proxy:80 (HTTPS_PROXY)") && !text.contains("secret"),
            "{text}"
        );
        let text =
            explain(&url, Some(&proxy), "CONNECT proxy failed: proxy server responded 407/407");
        assert!(text.contains("wants a user name"), "{text}");
    }
}
