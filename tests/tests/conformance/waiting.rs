//! Waiting for the global model: whoever gives up takes no one else's answer, and nobody waits for a
//! participant that is gone. The drivers wait in ways of their own, so each has tests of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::Duration;

use pet_core::crypto::RoundSeed;
use pet_core::model::ratio::encode_model;
use pet_core::model::Model;
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

/// A coordinator that goes to its second round when told so. The first request for its model is answered with
/// that of the first round, but not before it is let go; who asks for the second gets that of its round.
fn server_of_two_rounds() -> (FakeServer, TwoRounds) {
    let (asked, is_asked) = channel();
    let (let_go, gone) = channel();
    let second = Arc::new(AtomicBool::new(false));
    let round = second.clone();
    let mut requests = 0;
    let server = FakeServer::start(move |request| {
        let second = round.load(Ordering::SeqCst);
        if request.path == "/params" {
            let mut parameters = super::faults::parameters(0.0, 0.0);
            parameters.seed = RoundSeed::new([u8::from(second) + 1; 32]);
            return Action::Answer(200, parameters.to_bytes());
        }
        requests += 1;
        if requests == 1 {
            asked.send(()).expect("the test waits");
            gone.recv_timeout(DEADLINE).expect("the test goes on");
        }
        let weight = if second { 0.5 } else { 0.25 };
        Action::Answer(200, encode_model(&Model::F32(vec![weight; 4])).expect("finite"))
    });
    (server, TwoRounds { second, is_asked, let_go })
}

struct TwoRounds {
    second: Arc<AtomicBool>,
    is_asked: Receiver<()>,
    let_go: Sender<()>,
}

impl TwoRounds {
    fn begin_second(&self) {
        self.second.store(true, Ordering::SeqCst);
    }
}

/// The request of a call that was cancelled in the first round is answered in the second, with an old model.
#[test]
fn tokio_a_cancelled_call_leaves_no_old_model_to_the_next() {
    use pet_transport_tokio::{Config, Participant};
    let (server, rounds) = server_of_two_rounds();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut participant = Participant::new(Config::new(&server.url()).unwrap()).unwrap();
        let asked = async {
            while rounds.is_asked.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = participant.global_model() => panic!("too early: {answer:?}"),
            asked = tokio::time::timeout(DEADLINE, asked) => asked.expect("it asks"),
        }
        rounds.begin_second();
        rounds.let_go.send(()).expect("the server waits");
        let answer = tokio::time::timeout(DEADLINE, participant.global_model()).await;
        let model = answer.expect("an answer").unwrap();
        assert_eq!(model, Some(Arc::new(Model::F32(vec![0.5; 4]))));
    });
}

/// The driver waits for the old round's answer while a handle asks in the new one.
#[test]
fn blocking_a_wish_of_a_later_round_gets_its_own_model() {
    use pet_core::participant::Event;
    use pet_transport_blocking::{Config, Participant};
    let (server, rounds) = server_of_two_rounds();
    let mut participant = Participant::new(Config::new(&server.url()).unwrap()).unwrap();
    let handle = participant.handle();
    handle.fetch_model().unwrap();
    let (sender, models) = channel();
    let driver = std::thread::spawn(move || {
        while let Ok(event) = participant.next_event(None) {
            if let Some(Event::GlobalModel(model)) = event {
                sender.send(model).expect("the test waits");
            }
        }
    });
    rounds.is_asked.recv_timeout(DEADLINE).expect("it asks");
    rounds.begin_second();
    handle.fetch_model().unwrap();
    rounds.let_go.send(()).expect("the server waits");
    let first = models.recv_timeout(DEADLINE).expect("an answer");
    assert_eq!(first, Some(Arc::new(Model::F32(vec![0.25; 4]))), "the first is content with that");
    let second = models.recv_timeout(DEADLINE).expect("an answer");
    assert_eq!(second, Some(Arc::new(Model::F32(vec![0.5; 4]))));
    handle.stop();
    driver.join().unwrap();
}

/// The requests of a runtime that has ended are sent again.
#[test]
fn tokio_a_participant_outlives_its_runtime() {
    use pet_transport_tokio::{Config, Participant};
    let (asked, is_asked) = channel();
    let mut requests = 0;
    let server = FakeServer::start(move |_| {
        requests += 1;
        match requests {
            1 => {
                asked.send(()).expect("the test waits");
                Action::Hang
            }
            _ => Action::Answer(200, super::faults::parameters(0.0, 0.0).to_bytes()),
        }
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut participant = {
        let _entered = runtime.enter();
        Participant::new(Config::new(&server.url()).unwrap()).unwrap()
    };
    runtime.block_on(async {
        let asked = async {
            while is_asked.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            event = participant.next_event() => panic!("the first request hangs: {event:?}"),
            asked = tokio::time::timeout(DEADLINE, asked) => asked.expect("it asks"),
        }
    });
    drop(runtime);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let event = tokio::time::timeout(DEADLINE, participant.next_event()).await;
        event.expect("an event").unwrap();
    });
}
