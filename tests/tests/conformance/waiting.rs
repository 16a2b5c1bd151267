//! Waiting for the global model: whoever gives up takes no one else's answer, and nobody waits for a
//! participant that is gone. The drivers wait in ways of their own, so each has tests of its own.

use std::sync::mpsc::channel;
use std::time::Duration;

use pet_core::participant::Reject;
use pet_tests::fake::{Action, FakeServer};

use crate::driver::DEADLINE;

/// A coordinator without a model.
fn server() -> FakeServer {
    FakeServer::start(|request| match request.path.as_str() {
        "/params" => Action::Answer(200, super::faults::parameters(0.0, 0.0).to_bytes()),
        _ => Action::Answer(204, Vec::new()),
    })
}

#[test]
fn blocking_an_impatient_handle_takes_no_answer_away() {
    use pet_transport_blocking::{Config, Error, Participant};
    let server = server();
    let mut participant = Participant::new(Config::new(&server.url()).unwrap()).unwrap();
    let waiting = participant.handle().global_model(Duration::from_millis(1));
    assert_eq!(waiting.err(), Some(Error::NotDriven));
    let (sender, answer) = channel();
    std::thread::spawn(move || sender.send(participant.global_model()));
    assert_eq!(answer.recv_timeout(DEADLINE).expect("an answer"), Ok(None));
}

#[test]
fn tokio_a_cancelled_handle_takes_no_answer_away() {
    use pet_transport_tokio::{Config, Participant};
    let server = server();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut participant = Participant::new(Config::new(&server.url()).unwrap()).unwrap();
        let handle = participant.handle();
        let waiting = tokio::time::timeout(Duration::from_millis(1), handle.global_model()).await;
        assert!(waiting.is_err(), "nobody drives the participant");
        let answer = tokio::time::timeout(DEADLINE, participant.global_model()).await;
        assert_eq!(answer.expect("an answer"), Ok(None));
    });
}

#[test]
fn tokio_nobody_waits_for_a_participant_that_is_gone() {
    use pet_transport_tokio::{Config, Error, Participant};
    let server = server();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let participant = Participant::new(Config::new(&server.url()).unwrap()).unwrap();
        let handle = participant.handle();
        let waiting = tokio::spawn({
            let handle = handle.clone();
            async move { handle.global_model().await }
        });
        drop(participant);
        let answer = tokio::time::timeout(DEADLINE, waiting).await.expect("an answer").unwrap();
        assert_eq!(answer, Err(Error::Rejected(Reject::Stopped)));
        assert!(handle.is_stopped());
    });
}

/// The requests of a runtime that has ended are sent again.
#[test]
fn tokio_a_participant_outlives_its_runtime() {
    use pet_transport_tokio::{Config, Participant};
    let mut asked = 0;
    let server = FakeServer::start(move |_| {
        asked += 1;
        match asked {
            1 => Action::Hang,
            _ => Action::Answer(200, super::faults::parameters(0.0, 0.0).to_bytes()),
        }
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut participant = {
        let _entered = runtime.enter();
        Participant::new(Config::new(&server.url()).unwrap()).unwrap()
    };
    let patience = Duration::from_millis(20);
    let waited =
        runtime.block_on(async { tokio::time::timeout(patience, participant.next_event()).await });
    assert!(waited.is_err(), "the first request hangs");
    drop(runtime);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let event = tokio::time::timeout(DEADLINE, participant.next_event()).await;
        event.expect("an event").unwrap();
    });
}
