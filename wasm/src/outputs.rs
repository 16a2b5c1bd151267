//! What a participant wants done, as JSON.

use std::time::Duration;

use pet_core::participant::{Idle, Output, Why};
use pet_core::request::{Call, Patience, RequestId, RequestLimits};
use serde_json::{json, Value};

use crate::events;
use crate::exchange::{say, Blob};
use crate::jobs::Job;
use crate::memory;

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Says an output. A job in it is JavaScript's from then on.
pub(crate) fn tell(output: Output, patience: impl FnOnce(RequestId) -> Option<Patience>) {
    match output {
        Output::Request { id, call } => {
            let (value, body) = request(id, &call, patience(id).as_ref());
            say(&value, body);
        }
        Output::Cancel(id) => say(&json!({ "kind": "cancel", "id": id.0 }), Blob::None),
        Output::Job(job) => {
            let (name, label) = (job.name(), job.kind().label());
            let handle = memory::give(Job::new(job));
            let value =
                json!({ "kind": "job", "job": handle.addr(), "name": name, "label": label });
            say(&value, Blob::None);
        }
        Output::Event(event) => {
            let (event, blob) = events::describe(&event);
            say(&json!({ "kind": "event", "event": event }), blob);
        }
        Output::Idle(at) => say(&idle(&at), Blob::None),
        // An output of a newer core: nothing is known to be done.
        _ => say(&json!({ "kind": "other" }), Blob::None),
    }
}

fn request(id: RequestId, call: &Call, patience: Option<&Patience>) -> (Value, Blob) {
    let limits = RequestLimits::default();
    let patience = patience.map(
        |patience| json!({ "headers": patience.headers(), "waitMs": milliseconds(patience.wait) }),
    );
    let value = json!({
        "kind": "request",
        "id": id.0,
        "method": call.method(),
        "target": call.path_and_query(),
        "headers": call.headers(),
        // What to send along if the answer may be held back, and by how much longer everything then takes.
        "patience": patience,
        "answerMs": milliseconds(limits.until_answer(call)),
        "totalMs": milliseconds(limits.total),
        "maxAnswer": limits.max_body_of(call),
    });
    let body = call.body();
    (value, if body.is_empty() { Blob::None } else { Blob::Body(body) })
}

fn idle(idle: &Idle) -> Value {
    let why = match idle.why {
        Why::Poll => "poll",
        Why::LocalModel => "localmodel",
        Why::Answer => "answer",
        Why::Job | Why::LostJob => "job",
        Why::Storage => "storage",
        Why::Stopped => "stopped",
        _ => "other",
    };
    json!({ "kind": "idle", "wakeAt": idle.wake_at.map(|at| at.as_millis()), "why": why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::said;
    use bytes::Bytes;
    use pet_core::mask::DataType;
    use pet_core::time::Timestamp;

    #[test]
    fn requests_say_all_that_is_needed() {
        let call = Call::Message(Bytes::from_static(b"sealed"));
        tell(Output::Request { id: RequestId(3), call: call.clone() }, |_| None);
        let (value, body) = said();
        assert_eq!(body, b"sealed");
        assert_eq!(value["method"], "POST");
        assert_eq!(value["target"], "/message");
        assert_eq!(value["headers"][0], json!(["content-type", "application/octet-stream"]));
        assert_eq!(value["patience"], Value::Null);
        assert_eq!(value["maxAnswer"], 1 << 16);
        tell(Output::Request { id: RequestId(4), call: Call::Model(DataType::F32) }, |_| None);
        let (value, body) = said();
        assert!(value["headers"][0][1].as_str().unwrap().contains("dtype=f32"));
        assert!(body.is_empty() && value["id"] == 4);
    }

    #[test]
    fn idle_says_when_to_come_back() {
        let at = Timestamp::from_millis(1234);
        tell(Output::Idle(Idle::new(Some(at), Why::LocalModel)), |_| None);
        assert_eq!(said().0, json!({ "kind": "idle", "wakeAt": 1234, "why": "localmodel" }));
        tell(Output::Idle(Idle::new(None, Why::Answer)), |_| None);
        assert_eq!(said().0["wakeAt"], Value::Null);
    }
}
