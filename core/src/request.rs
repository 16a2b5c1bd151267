//! The calls of participants to the coordinator, whatever carries them (specification, section 3).

mod patience;

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use thiserror::Error;

use crate::crypto::{Digest, PublicSigningKey};
use crate::model::{array, DataType};
use crate::problem::Problem;
use crate::v2;

pub use patience::Patience;

/// The id of one request of one participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// The URL of a coordinator: `http://host:port`, `https://host/a/path/`, ...
#[derive(Clone, PartialEq, Eq)]
pub struct CoordinatorUrl(String);

/// Shows no user name and password.
impl fmt::Debug for CoordinatorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoordinatorUrl({})", without_user(&self.0))
    }
}

/// Why a string is not a coordinator's URL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{url:?} is not a coordinator's URL: {reason}; give one such as http://127.0.0.1:8081")]
#[non_exhaustive]
pub struct InvalidUrl {
    /// What was given, without a user name and password.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

fn without_user(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}...{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.into(),
    }
}

impl CoordinatorUrl {
    /// Reads a base URL; a slash at its end makes no difference.
    ///
    /// # Errors
    /// If it is not http or https, has no host, or has a query, a fragment, or characters that no URL
    /// has.
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let invalid = |reason| InvalidUrl { url: without_user(url), reason };
        let lower = url.get(..8.min(url.len())).unwrap_or(url).to_ascii_lowercase();
        let scheme = ["http://", "https://"].into_iter().find(|scheme| lower.starts_with(scheme));
        let scheme =
            scheme.ok_or_else(|| invalid("it begins with neither http:// nor https://"))?;
        let rest = &url[scheme.len()..];
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.is_empty() || host.starts_with(':') {
            return Err(invalid("it has no host"));
        }
        let is_bracketed = match host.strip_prefix('[').map(|host| host.split_once(']')) {
            None => host.contains(['[', ']']).then_some(false),
            Some(None) => Some(false),
            Some(Some((address, port))) => {
                // An address of a link names the link, too.
                let (address, _) = address.split_once("%25").unwrap_or((address, ""));
                let is_address = address.parse::<Ipv6Addr>().is_ok();
                Some(is_address && (port.is_empty() || port.starts_with(':')))
            }
        };
        if is_bracketed == Some(false) {
            return Err(invalid(
                "what is in brackets must be an IPv6 address, as in http://[::1]:8081",
            ));
        }
        if is_bracketed.is_none() && host.matches(':').count() > 1 {
            return Err(invalid("an IPv6 address must be in brackets, as in http://[::1]:8081"));
        }
        if rest.contains(['?', '#']) {
            return Err(invalid("it has a query or a fragment"));
        }
        if !rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
            return Err(invalid("it has characters that must be percent-encoded"));
        }
        let port = match host.rsplit_once(':') {
            Some((_, port)) if !host.ends_with(']') => Some(port),
            _ => None,
        };
        let is_port = |port: &str| {
            // `parse` would take a plus sign.
            port.bytes().all(|byte| byte.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        if port.is_some_and(|port| !is_port(port)) {
            return Err(invalid("its port is not a number from 1 to 65535"));
        }
        let name = host.strip_suffix(port.unwrap_or_default()).unwrap_or(host);
        if name.contains('%') && is_bracketed.is_none() {
            return Err(invalid("its host has a percent sign"));
        }
        let mut percents = rest.split('%').skip(1);
        let is_encoded = |text: &str| {
            let digits = text.as_bytes().get(..2);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        if !percents.all(is_encoded) {
            return Err(invalid("after a percent sign come two hexadecimal digits"));
        }
        Ok(Self(format!("{scheme}{}", rest.trim_end_matches('/'))))
    }

    /// The whole URL of a call.
    pub fn of(&self, call: &Call) -> String {
        format!("{}{}", self.0, call.path_and_query())
    }

    /// The request target of a call, for the request line of a hand-written HTTP client: path and query, with the
    /// path of the URL.
    pub fn target_of(&self, call: &Call) -> String {
        let (_, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        format!("{path}{}", call.path_and_query())
    }

    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL without user name and password, to be shown.
    pub fn shown(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        match self.user_info() {
            Some(user) => format!("{scheme}://{}", &rest[user.len() + 1..]),
            None => self.0.clone(),
        }
    }

    /// Whether the coordinator is asked over TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        let (host, port) = self.host_and_port();
        let port = port.map_or(0, |port| port.len() + 1);
        &host[..host.len() - port]
    }

    /// The port; that of http or https if the URL has none.
    pub fn port(&self) -> u16 {
        let port = self.host_and_port().1.and_then(|port| port.parse().ok());
        port.unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// User name and password as they are in the URL, percent-encoded: a secret.
    pub fn user_info(&self) -> Option<&str> {
        self.authority().rsplit_once('@').map(|(user, _)| user)
    }

    fn authority(&self) -> &str {
        let (_, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        rest.split('/').next().unwrap_or_default()
    }

    /// The host with its port, and the port.
    fn host_and_port(&self) -> (&str, Option<&str>) {
        let host = self.authority().rsplit('@').next().unwrap_or_default();
        match host.rsplit_once(':') {
            Some((_, port)) if !host.ends_with(']') => (host, Some(port)),
            _ => (host, None),
        }
    }
}

/// One of the calls that a coordinator answers.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// The round parameters.
    Params,
    /// The sum dictionary.
    Sums,
    /// The mask seeds for one sum participant.
    Seeds(PublicSigningKey),
    /// The sum dictionary of the round whose parameters have this [tag](crate::round::RoundParameters::tag). Whoever answers
    /// may be a replica that is behind, or ahead: it then says 412. A coordinator that does not know of this answers as to
    /// [`Call::Sums`].
    SumsOf(Digest),
    /// The mask seeds for one sum participant, of the round whose parameters have this tag, in the same way.
    SeedsOf(PublicSigningKey, Digest),
    /// The global model, with weights of this type.
    Model(DataType),
    /// Deliver a sealed message.
    Message(Bytes),
    /// A call of version 2 of the protocol.
    V2(v2::Call),
}

/// Shows the length of a message only.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(body) => write!(f, "Message({} bytes)", body.len()),
            Self::V2(call) => call.fmt(f),
            call => f.write_str(&call.path_and_query()),
        }
    }
}

macro_rules! accept_model {
    ($dtype:literal) => {
        &[(
            "accept",
            concat!(
                "application/vnd.pet.weights;dtype=",
                $dtype,
                ", application/octet-stream;q=0.5"
            ),
        )]
    };
}

impl Call {
    /// The header that names the round which a dictionary is asked for of: the tag of its parameters, in hex. It is a header of
    /// its own, as things on the way judge an `If-Match` by an entity tag that coordinators of old do not give.
    pub const ROUND: &'static str = "pet-round";

    /// The round that this call is for, by the tag of its parameters, if it names one.
    pub fn round(&self) -> Option<&Digest> {
        match self {
            Self::SumsOf(round) | Self::SeedsOf(_, round) => Some(round),
            _ => None,
        }
    }

    /// This call for that round, where calls name one.
    #[must_use]
    pub fn of_round(self, round: Digest) -> Self {
        match self {
            Self::Sums => Self::SumsOf(round),
            Self::Seeds(pk) => Self::SeedsOf(pk, round),
            call => call,
        }
    }

    /// The HTTP method.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Message(_) => "POST",
            Self::V2(call) => call.method(),
            _ => "GET",
        }
    }

    /// Path and query, to be appended to the coordinator's base URL (which has no slash at its end).
    pub fn path_and_query(&self) -> String {
        match self {
            Self::Params => "/params".into(),
            Self::Sums | Self::SumsOf(_) => "/sums".into(),
            Self::Seeds(pk) | Self::SeedsOf(pk, _) => {
                let pk = base64::engine::general_purpose::STANDARD.encode(pk.as_bytes());
                let pk = pk.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
                format!("/seeds?pk={pk}")
            }
            Self::Model(_) => "/model".into(),
            Self::Message(_) => "/message".into(),
            Self::V2(call) => call.path_and_query(),
        }
    }

    /// The headers to send, beside those that any client sends. Whoever sends a message is told why it is
    /// rejected only if it asks for that, and the global model comes in its short form only to those that
    /// accept it; who asks for a dictionary says of which round. Coordinators that do not know of this take no notice.
    pub fn headers(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        let fixed: &'static [(&'static str, &'static str)] = match self {
            Self::Message(_) => {
                &[("content-type", "application/octet-stream"), ("accept", Problem::MEDIA_TYPE)]
            }
            Self::Model(data_type) => match data_type {
                DataType::F32 => accept_model!("f32"),
                DataType::F64 => accept_model!("f64"),
                DataType::I32 => accept_model!("i32"),
                DataType::I64 => accept_model!("i64"),
            },
            Self::V2(call) => call.headers(),
            _ => &[],
        };
        let round = self.round().map(|round| (Self::ROUND, Cow::Owned(round.to_string())));
        fixed.iter().map(|(name, value)| (*name, Cow::Borrowed(*value))).chain(round).collect()
    }

    /// The body to send; empty for all that only ask.
    pub fn body(&self) -> Bytes {
        match self {
            Self::Message(body) => body.clone(),
            Self::V2(call) => call.body(),
            _ => Bytes::new(),
        }
    }
}

/// The limits of a transport for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestLimits {
    /// The longest time until a connection stands.
    pub connect: Duration,
    /// The longest time from the end of the request to the first byte of the answer.
    pub answer: Duration,
    /// The slowest upload that is waited for, in bytes a second; at least 1.
    pub upload_rate: u64,
    /// The longest time for the whole request, with both bodies.
    pub total: Duration,
    /// The most bytes of an answer's body. (A model takes 28 to 600 bytes a weight in the old form.)
    pub max_body: u64,
}

impl Default for RequestLimits {
    /// 10 seconds, 1 minute, 16 KiB a second, 30 minutes, 2 GiB.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            upload_rate: 16 << 10,
            total: Duration::from_secs(30 * 60),
            max_body: 2 << 30,
        }
    }
}

impl RequestLimits {
    /// The longest time until the first byte of the answer to this call, connecting and sending
    /// included.
    pub fn until_answer(&self, call: &Call) -> Duration {
        let length = call.body().len() as u64;
        let upload = Duration::from_secs(length / self.upload_rate.max(1));
        self.connect.saturating_add(self.answer).saturating_add(upload).min(self.total)
    }

    /// The most bytes of the body of an answer to this call: little for calls that have short answers.
    pub fn max_body_of(&self, call: &Call) -> u64 {
        match call {
            Call::Params | Call::Message(_) => self.max_body.min(1 << 16),
            Call::Sums | Call::SumsOf(_) | Call::Seeds(_) | Call::SeedsOf(..) | Call::Model(_) => {
                self.max_body
            }
            Call::V2(call) => {
                call.max_answer().map_or(self.max_body, |most| self.max_body.min(most))
            }
        }
    }
}

/// The answer to a call.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
    /// What the header `Retry-After` says: see [`retry_after`].
    pub retry_after: Option<Duration>,
    /// The form of a global model in the body, as the header `Content-Type` says.
    pub model_form: ModelForm,
}

/// The form that a global model has in the body of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ModelForm {
    /// Exact rationals: see [`ratio`](crate::model::ratio).
    #[default]
    Rationals,
    /// Weights of this type: see [`mod@array`].
    Array(DataType),
}

impl ModelForm {
    /// Reads the value of a header `Content-Type`. Coordinators of old send none, or anything.
    pub fn of_content_type(value: &str) -> Self {
        let mut parts = value.split(';').map(str::trim);
        let is_array =
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(array::MEDIA_TYPE));
        let dtype = |parameter: &str| {
            let (name, value) = parameter.split_once('=')?;
            let data_type = match value.trim_matches('"').to_ascii_lowercase().as_str() {
                "f32" => DataType::F32,
                "f64" => DataType::F64,
                "i32" => DataType::I32,
                "i64" => DataType::I64,
                _ => return None,
            };
            name.eq_ignore_ascii_case("dtype").then_some(data_type)
        };
        match parts.find_map(dtype) {
            Some(data_type) if is_array => Self::Array(data_type),
            _ => Self::Rationals,
        }
    }
}

/// Reads the value of a header `Retry-After`, if it is a number of seconds. (The other form, a date, is
/// of no use without a clock that both sides agree on.)
pub fn retry_after(value: &str) -> Option<Duration> {
    let digits = value.trim();
    // `parse` would take a plus sign.
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(digits.parse().unwrap_or(u64::MAX)))
}

/// Shows the length of the body only.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

impl Response {
    /// An answer with a status and a body.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let (retry_after, model_form) = (None, ModelForm::default());
        Self { status, body: body.into(), retry_after, model_form }
    }

    /// An answer with status 200 and a body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::new(200, body)
    }

    /// An answer with status 204: not available (yet).
    pub fn no_content() -> Self {
        Self::new(204, Bytes::new())
    }

    /// This answer with a `Retry-After`.
    #[must_use]
    pub fn retry_after(self, pause: Option<Duration>) -> Self {
        Self { retry_after: pause, ..self }
    }

    /// This answer, whose body has a model in this form.
    #[must_use]
    pub fn model_form(self, form: ModelForm) -> Self {
        Self { model_form: form, ..self }
    }

    /// This answer with what these headers say, where they are present.
    #[must_use]
    pub fn headers(self, retry_after: Option<&str>, content_type: Option<&str>) -> Self {
        Self {
            retry_after: retry_after.and_then(self::retry_after),
            model_form: content_type.map(ModelForm::of_content_type).unwrap_or_default(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_tell_the_form_of_a_model() {
        let array = ModelForm::Array;
        for (value, form) in [
            ("application/vnd.pet.weights; dtype=f32", array(DataType::F32)),
            ("Application/Vnd.Pet.Weights;x=y; DTYPE=\"I64\"", array(DataType::I64)),
            ("application/vnd.pet.weights", ModelForm::Rationals),
            ("application/vnd.pet.weights; dtype=f16", ModelForm::Rationals),
            ("application/octet-stream; dtype=f32", ModelForm::Rationals),
            ("application/vnd.pet.weights; xdtype=f32", ModelForm::Rationals),
            ("; dtype=f32", ModelForm::Rationals),
            ("", ModelForm::Rationals),
        ] {
            assert_eq!(ModelForm::of_content_type(value), form, "{value}");
        }
        for data_type in [DataType::F32, DataType::F64, DataType::I32, DataType::I64] {
            let headers = Call::Model(data_type).headers();
            let [("accept", accept)] = &headers[..] else { panic!() };
            let (first, other) = accept.split_once(", ").unwrap();
            assert_eq!(ModelForm::of_content_type(first), array(data_type));
            assert_eq!(other, "application/octet-stream;q=0.5");
        }
    }

    #[test]
    fn urls_with_and_without_paths_are_joined() {
        for (url, params) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081/params"),
            ("http://host/", "http://host/params"),
            ("HTTPS://host/sub//", "https://host/sub/params"),
            ("http://[::1]:80/sub", "http://[::1]:80/sub/params"),
            ("http://[::1]", "http://[::1]/params"),
            ("http://user:secret@host:1", "http://user:secret@host:1/params"),
        ] {
            let url = CoordinatorUrl::parse(url).unwrap();
            assert_eq!(url.of(&Call::Params), params);
            assert!(params.ends_with(&url.target_of(&Call::Params)));
        }
        for (url, target) in [("http://h:1", "/params"), ("https://u:p@h/sub/x/", "/sub/x/params")]
        {
            assert_eq!(CoordinatorUrl::parse(url).unwrap().target_of(&Call::Params), target);
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in [
            "",
            "host:80",
            "ftp://host",
            "http://",
            "http:///x",
            "http://:80",
            "http://h?x",
            "http://h#x",
            "http://h h",
            "http://h:port",
            "http://h:65536",
            "http://h\u{e9}",
            "h\u{e9}tt\u{e9}p://",
            "http://[::1",
            "http://::1]",
            "http://[::1]x",
            "http://[::1]8081",
            "http://[::1]:",
            "http://[localhost]",
            "http://[]",
            "http://[127.0.0.1]:80",
            "http://a[::1]",
            "http://::1",
            "http://1:2:3",
            "http://h:",
            "http://h:0",
            "http://h:+80",
            "http://h%41",
            "http://h/%",
            "http://h/%4",
            "http://h/%zz",
            "http://user@",
        ] {
            let error = CoordinatorUrl::parse(url).expect_err(url);
            assert!(error.to_string().contains("give one such as"), "{error}");
        }
    }

    #[test]
    fn the_parts_of_a_url_are_told() {
        for (url, https, host, port, user) in [
            ("http://a.example", false, "a.example", 80, None),
            ("https://a.example/x:1/@", true, "a.example", 443, None),
            ("HTTPS://A.example:8443", true, "A.example", 8443, None),
            ("http://[::1]", false, "[::1]", 80, None),
            ("http://[fe80::1%25eth0]:81/", false, "[fe80::1%25eth0]", 81, None),
            ("http://u:p%40@1.2.3.4:5", false, "1.2.3.4", 5, Some("u:p%40")),
        ] {
            let parsed = CoordinatorUrl::parse(url).unwrap();
            let parts = (parsed.is_https(), parsed.host(), parsed.port(), parsed.user_info());
            assert_eq!(parts, (https, host, port, user), "{url}");
            assert!(!parsed.shown().contains("p%40"));
        }
        assert_eq!(CoordinatorUrl::parse("http://u:p@h:1/x").unwrap().shown(), "http://h:1/x");
    }

    #[test]
    fn seconds_to_wait_are_read() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(retry_after("0"), seconds(0));
        assert_eq!(retry_after(" 120 "), seconds(120));
        assert_eq!(retry_after(&"9".repeat(40)), seconds(u64::MAX));
        for other in ["", " ", "-1", "+1", "1.5", "1 2", "soon", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(retry_after(other), None, "{other}");
        }
    }

    #[test]
    fn who_asks_for_a_dictionary_may_say_of_which_round() {
        let (pk, round) = (PublicSigningKey::new([1; 32]), Digest::new([0xa5; 32]));
        for call in [Call::Sums, Call::Seeds(pk)] {
            let named = call.clone().of_round(round);
            assert_eq!((call.round(), named.round()), (None, Some(&round)));
            assert_eq!(named.path_and_query(), call.path_and_query());
            assert!(call.headers().is_empty());
            assert_eq!(named.headers(), [("pet-round", "a5".repeat(32).into())]);
        }
        assert_eq!(Call::Params.of_round(round), Call::Params);
    }

    #[test]
    fn keys_are_percent_encoded() {
        let pk = PublicSigningKey::new([0xfb; 32]);
        assert_eq!(
            Call::Seeds(pk).path_and_query(),
            "/seeds?pk=%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fs%3D"
        );
    }
}
