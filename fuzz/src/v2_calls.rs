//! Requests of version 2: what a server makes of a method and a target.

use bytes::Bytes;
use pet_core::model::DataType;
use pet_core::v2::Call;

/// Lines: method, target; then a body. What is understood is asked for in the same words, and understood as the same.
pub fn v2_calls(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, target, body) = (line(), line(), line());
    let (Ok(method), Ok(target)) = (std::str::from_utf8(method), std::str::from_utf8(target))
    else {
        return;
    };
    let parse =
        |method: &str, target: &str, body: Bytes| Call::parse(method, target, DataType::F64, body);
    let Ok(call) = parse(method, target, Bytes::copy_from_slice(body)) else { return };
    let again = parse(call.method(), &call.path_and_query(), call.body());
    assert_eq!(again, Ok(call.clone()));
    assert!(target.starts_with(call.path()));
    assert!(call.post().is_none_or(|post| post.body == body));
}
