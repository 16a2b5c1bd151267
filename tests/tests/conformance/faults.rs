//! Coordinators that cannot be reached, keep silent, or answer nonsense.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pet_core::coordinator::{Phase, Rejection};
use pet_core::crypto::{PublicEncryptKey, RoundSeed};
use pet_core::mask::{DataType, MaskConfig};
use pet_core::message::Tag;
use pet_core::model::{ratio, ArrayError, Model};
use pet_core::participant::{
    Event, FetchError, ModelMismatch, Reject, TransportFault, Trouble, TroubleReason,
};
use pet_core::round::RoundParameters;
use pet_tests::fake::{Action, FakeServer};

use crate::conformance;
use crate::driver::{promptly, Driver, Failure, Start};

conformance!(
    wrong_urls_and_states_are_refused,
    an_unreachable_coordinator_is_told_and_asked_again,
    a_silent_coordinator_is_given_up_in_time,
    stopping_waits_for_nothing,
    wrong_statuses_and_bodies_are_told,
    an_answer_that_is_too_long_is_not_read,
    a_redirected_message_is_not_delivered,
    a_rejected_message_is_told,
    a_coordinator_that_is_busy_is_left_alone,
    base_urls_may_have_a_path,
    local_models_are_checked,
    the_global_model_can_be_missing_or_out_of_reach,
    the_global_model_comes_in_its_short_form_where_a_coordinator_has_it,
);

pub(crate) fn parameters(sum: f64, update: f64) -> RoundParameters {
    RoundParameters {
        pk: PublicEncryptKey::new([9; 32]),
        sum,
        update,
        seed: RoundSeed::new([1; 32]),
        mask_config: "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap().into(),
        model_length: 4,
    }
}

/// Each transport asks to be told, and tells.
fn a_rejected_message_is_told<D: Driver>() {
    let rejection = Rejection::Full(Phase::Sum).problem(7);
    let (body, status) = (rejection.to_json(), rejection.status);
    let server = FakeServer::start(move |request| match request.path.as_str() {
        "/message" => {
            assert_eq!(request.header("accept"), Some("application/problem+json"));
            assert_eq!(request.header("content-type"), Some("application/octet-stream"));
            Action::Answer(status, body.clone())
        }
        _ => Action::Answer(200, parameters(1.0, 0.0).to_bytes()),
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    let told = driver.wait_for(|event| match event {
        Event::Rejected { tag: Tag::Sum, problem } => Some(problem.clone()),
        _ => None,
    });
    assert_eq!(told, rejection);
}

fn a_coordinator_that_is_busy_is_left_alone<D: Driver>() {
    let mut busy_since = None;
    let server = FakeServer::start(move |_| match busy_since {
        None => {
            busy_since = Some(Instant::now());
            Action::Later(1)
        }
        // Without a word from the coordinator it would be asked again after some milliseconds.
        Some(since) => {
            // The participant's clock counts whole milliseconds, and begins at another moment.
            let kept = since.elapsed() >= Duration::from_millis(990);
            Action::Answer(if kept { 200 } else { 500 }, parameters(0.0, 0.0).to_bytes())
        }
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    assert_eq!(trouble(&mut driver), ("params", TroubleReason::Status(503)));
    driver.wait_for(|event| match event {
        Event::NewRound { .. } => Some(()),
        Event::Trouble(trouble) => panic!("asked too early: {trouble}"),
        _ => None,
    });
}

fn trouble<D: Driver>(driver: &mut D) -> (&'static str, TroubleReason) {
    driver.wait_for(|event| match event {
        Event::Trouble(Trouble { call, reason, .. }) => Some((*call, reason.clone())),
        _ => None,
    })
}

fn wrong_urls_and_states_are_refused<D: Driver>() {
    for url in ["", "nonsense", "ftp://host", "http://"] {
        assert_eq!(D::start(&Start::new(url)).err(), Some(Failure::Url), "{url}");
    }
    for state in [&b""[..], b"PETp", b"PETp\x01\x00\x20", b"\x00\x01\x02"] {
        let start = Start { state: Some(state.into()), ..Start::new("http://127.0.0.1:1") };
        assert_eq!(D::start(&start).err(), Some(Failure::Restore), "{state:?}");
    }
}

fn an_unreachable_coordinator_is_told_and_asked_again<D: Driver>() {
    let mut asked = 0;
    let server = FakeServer::start(move |_| {
        asked += 1;
        match asked {
            1..=3 => Action::Close,
            _ => Action::Answer(200, parameters(0.0, 0.0).to_bytes()),
        }
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    let (call, reason) = trouble(&mut driver);
    assert_eq!(call, "params");
    let unreachable = TransportFault::Unreachable(String::new());
    let TroubleReason::Transport(fault) = reason else { panic!("{reason}") };
    assert_eq!(std::mem::discriminant(&fault), std::mem::discriminant(&unreachable));
    driver.wait_for(|event| matches!(event, Event::NewRound { .. }).then_some(()));
}

fn a_silent_coordinator_is_given_up_in_time<D: Driver>() {
    let server = FakeServer::start(|_| Action::Hang);
    let mut start = Start::new(&server.url());
    start.limits.connect = Duration::from_millis(100);
    start.limits.answer = Duration::from_millis(100);
    let mut driver = D::start(&start).unwrap();
    let timed_out = ("params", TroubleReason::Transport(TransportFault::TimedOut));
    assert_eq!(promptly(|| trouble(&mut driver)), timed_out);
}

fn stopping_waits_for_nothing<D: Driver>() {
    let (asked, was_asked) = std::sync::mpsc::channel();
    let server = FakeServer::start(move |_| {
        asked.send(()).unwrap();
        Action::Hang
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    was_asked.recv_timeout(crate::driver::DEADLINE).unwrap();
    let state = promptly(|| driver.stop());
    assert!(!state.is_empty());
    assert_eq!(driver.set_model(Model::F32(vec![0.0; 4])), Err(Failure::Rejected(Reject::Stopped)));
    assert_eq!(promptly(|| driver.global_model()), Err(Failure::Rejected(Reject::Stopped)));
    // The request that hangs ends with the server.
    drop(server);
    assert_eq!(driver.next_event(), None);
}

fn wrong_statuses_and_bodies_are_told<D: Driver>() {
    let answers = [
        Action::Answer(500, Vec::new()),
        Action::Answer(404, b"not here".to_vec()),
        Action::Answer(204, Vec::new()),
        Action::Answer(200, vec![0; 135]),
        Action::Answer(200, vec![0xff; 136]),
        Action::Garbage,
    ];
    let mut script = answers.into_iter();
    let server = FakeServer::start(move |_| script.next().unwrap_or(Action::Hang));
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    for status in [500, 404, 204] {
        assert_eq!(trouble(&mut driver), ("params", TroubleReason::Status(status)));
    }
    for _ in 0..2 {
        let (_, reason) = trouble(&mut driver);
        assert!(matches!(reason, TroubleReason::Malformed(_)), "{reason}");
    }
    let (_, reason) = trouble(&mut driver);
    assert!(matches!(reason, TroubleReason::Transport(_)), "{reason}");
}

fn an_answer_that_is_too_long_is_not_read<D: Driver>() {
    for announced in [1 << 40, 1 << 17] {
        let server = FakeServer::start(move |_| Action::Flood(announced));
        let mut driver = D::start(&Start::new(&server.url())).unwrap();
        let too_large = ("params", TroubleReason::Transport(TransportFault::TooLarge));
        assert_eq!(promptly(|| trouble(&mut driver)), too_large);
    }
}

/// It would become a GET without the message.
fn a_redirected_message_is_not_delivered<D: Driver>() {
    let server = FakeServer::start(|request| match request.path.as_str() {
        "/params" => Action::Answer(200, parameters(0.999_999, 0.0).to_bytes()),
        "/message" => Action::Redirect(302, "/login"),
        _ => Action::Answer(200, Vec::new()),
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    let reason = driver.wait_for(|event| match event {
        Event::Sent(tag) => panic!("the {tag} message counts as delivered"),
        Event::Trouble(Trouble { call: "message", reason, .. }) => Some(reason.clone()),
        _ => None,
    });
    let text = reason.to_string();
    assert!(text.contains("302") && text.contains("/login"), "{text}");
}

fn base_urls_may_have_a_path<D: Driver>() {
    let server = FakeServer::start(|request| match request.path.as_str() {
        "/a/path/params" => Action::Answer(200, parameters(0.0, 0.0).to_bytes()),
        _ => Action::Answer(404, Vec::new()),
    });
    for slashes in ["", "/", "//"] {
        let url = format!("{}/a/path{slashes}", server.url());
        let mut driver = D::start(&Start::new(&url)).unwrap();
        driver.wait_for(|event| match event {
            Event::Trouble(trouble) => panic!("{url}: {trouble}"),
            event => matches!(event, Event::NewRound { .. }).then_some(()),
        });
    }
}

fn local_models_are_checked<D: Driver>() {
    let open = Arc::new(Mutex::new(false));
    let opened = open.clone();
    let server = FakeServer::start(move |_| match *opened.lock().unwrap() {
        true => Action::Answer(200, parameters(0.0, 0.0).to_bytes()),
        false => Action::Answer(503, Vec::new()),
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    trouble(&mut driver);
    // Before the first contact anything is taken, and checked when it can be.
    driver.set_model(Model::F32(vec![0.0; 5])).unwrap();
    *open.lock().unwrap() = true;
    let length = ModelMismatch::Length { expected: 4, actual: 5 };
    let rejected = driver.wait_for(|event| match event {
        Event::ModelRejected(mismatch) => Some(mismatch.clone()),
        _ => None,
    });
    assert_eq!(rejected, length);
    // Afterwards at once.
    assert_eq!(
        driver.set_model(Model::F32(vec![0.0; 5])),
        Err(Failure::Rejected(Reject::Model(length)))
    );
    // Of another type, which is converted.
    assert_eq!(driver.set_model(Model::I64(vec![0; 4])), Ok(()));
    assert_eq!(driver.set_model(Model::F32(vec![0.0; 4])), Ok(()));
}

fn the_global_model_comes_in_its_short_form_where_a_coordinator_has_it<D: Driver>() {
    const F32: &str = "application/vnd.pet.weights; dtype=f32";
    let weights = |weights: &[f32]| {
        weights.iter().flat_map(|weight| weight.to_le_bytes()).collect::<Vec<u8>>()
    };
    let mut models = 0;
    let server = FakeServer::start(move |request| match request.path.as_str() {
        "/params" => Action::Answer(200, parameters(0.0, 0.0).to_bytes()),
        "/model" => {
            let accept = request.headers.iter().find(|(name, _)| name == "accept");
            let (_, accept) = accept.expect("it says what it can read");
            assert!(accept.contains("vnd.pet.weights;dtype=f32"), "{accept}");
            assert!(accept.contains("application/octet-stream"), "{accept}");
            models += 1;
            match models {
                1 => Action::Typed(F32, weights(&[0.5, -1.0, 0.0, 0.0])),
                2 => Action::Typed(F32, vec![0; 7]),
                3 => Action::Typed(F32, weights(&[0.5, f32::NAN, 0.0, 0.0])),
                4 => Action::Typed("application/vnd.pet.weights; dtype=i32", vec![0; 16]),
                // A liar's, or of another setup.
                5 => Action::Typed(F32, weights(&[0.5, -1.0])),
                _ => Action::Typed(
                    "application/octet-stream",
                    ratio::encode_model(&Model::F32(vec![0.25; 4])).unwrap(),
                ),
            }
        }
        _ => Action::Answer(404, Vec::new()),
    });
    let driver = D::start(&Start::new(&server.url())).unwrap();
    assert_eq!(driver.global_model(), Ok(Some(Arc::new(Model::F32(vec![0.5, -1.0, 0.0, 0.0])))));
    let failure = |error: ArrayError| Err(Failure::Fetch(FetchError::Array(error)));
    let length = ArrayError::Length { length: 7, data_type: DataType::F32 };
    assert_eq!(driver.global_model(), failure(length));
    assert_eq!(driver.global_model(), failure(ArrayError::NotFinite { index: 1 }));
    let other = ArrayError::DataType { expected: DataType::F32, actual: DataType::I32 };
    assert_eq!(driver.global_model(), failure(other));
    let length = FetchError::Length { expected: 4, actual: 2 };
    assert_eq!(driver.global_model(), Err(Failure::Fetch(length)));
    assert_eq!(driver.global_model(), Ok(Some(Arc::new(Model::F32(vec![0.25; 4])))));
}

fn the_global_model_can_be_missing_or_out_of_reach<D: Driver>() {
    let mut models = 0;
    let server = FakeServer::start(move |request| match request.path.as_str() {
        "/params" => Action::Answer(200, parameters(0.0, 0.0).to_bytes()),
        "/model" => {
            models += 1;
            match models {
                1 => Action::Answer(204, Vec::new()),
                2 => Action::Close,
                3 => Action::Answer(200, vec![1; 20]),
                // Four weights, 1/2 each: sign and digits of numerator and denominator.
                _ => {
                    let half = [
                        [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
                        [1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0],
                    ];
                    let body = [&4u64.to_le_bytes()[..], &half.concat().repeat(4)].concat();
                    Action::Answer(200, body)
                }
            }
        }
        _ => Action::Answer(404, Vec::new()),
    });
    let driver = D::start(&Start::new(&server.url())).unwrap();
    assert_eq!(driver.global_model(), Ok(None));
    // HTTP clients may try a broken connection again by themselves: then the next answer counts.
    let mut failures = Vec::new();
    let model = loop {
        match driver.global_model() {
            Ok(model) => break model.expect("there is a model"),
            Err(Failure::Fetch(error)) if failures.len() < 10 => failures.push(error),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(*model, Model::F32(vec![0.5; 4]));
    assert!(failures.iter().any(|error| matches!(error, FetchError::Model(_))), "{failures:?}");
}
