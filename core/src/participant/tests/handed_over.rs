//! Messages that stay in the process: nothing but signatures and seals is left out.

use std::time::Duration;

use crate::coordinator::{
    self, Coordinator, CountRange, Front, Phase, Rejection, Sum2Settings, SumSettings, Ticket,
    TimeRange, UpdateSettings,
};
use crate::crypto::RootSeed;
use crate::mask::MaskConfig;
use crate::message::{HandedOver, MessageError};
use crate::model::Model;
use crate::participant::{Event, Input, Output, Participant, Settings};
use crate::request::Response;
use crate::time::Timestamp;

/// A coordinator, and what it answers with.
struct Server {
    machine: Coordinator,
    front: Front,
}

impl Server {
    fn new(seed: u8) -> Self {
        let count = CountRange { min: 1, max: 10 };
        let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(60) };
        let settings = coordinator::Settings::new(
            SumSettings::new(0.4, count, time),
            UpdateSettings::new(1.0, CountRange { min: 3, max: 10 }, time),
            Sum2Settings::new(count, time),
            "Word32/F32/B0/M3".parse::<MaskConfig>().unwrap(),
            4,
        );
        let root = RootSeed::new([seed; 32]);
        let machine = Coordinator::new(settings, root, Timestamp::ZERO).unwrap();
        let mut server = Self { machine, front: Front::new() };
        server.drain(Timestamp::ZERO);
        server
    }

    fn drain(&mut self, now: Timestamp) {
        use coordinator::{Input, Output};
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, .. } => Input::Persisted(id),
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Idle(_) => return,
                Output::Reply { outcome, .. } => {
                    outcome.unwrap();
                    continue;
                }
                _ => continue,
            };
            self.machine.handle_input(now, input).unwrap();
        }
    }
}

/// What has left a participant.
#[derive(Default)]
struct Sent {
    sealed: usize,
    handed_over: Vec<HandedOver>,
}

/// Runs a round, and gives its global model, from participants with the same seeds each time.
fn round(hand_over: bool) -> (Vec<f32>, Sent) {
    let mut server = Server::new(99);
    let mut sent = Sent::default();
    let settings = || Settings::default().with_hand_over(hand_over);
    let mut participants: Vec<_> =
        (0..10).map(|i| Participant::from_seed(RootSeed::new([i; 32]), settings())).collect();
    let mut now = Timestamp::ZERO;
    loop {
        for (index, participant) in participants.iter_mut().enumerate() {
            participant.handle_input(now, Input::Tick).unwrap();
            run(participant, index, now, &mut server, &mut sent);
        }
        if let Some(model) = server.front.model() {
            match model.weights.as_deref() {
                Some(Model::F32(weights)) => return (weights.clone(), sent),
                other => panic!("another model: {other:?}"),
            }
        }
        now = now + Duration::from_millis(100);
        server.machine.handle_input(now, coordinator::Input::Tick).unwrap();
        server.drain(now);
    }
}

fn local_model(index: usize) -> Model {
    let weight = index as f32 / 32.0 - 0.1;
    Model::F32(vec![weight, -weight, 0.3, weight * weight])
}

/// Does what a participant says, until it is idle.
fn run(
    participant: &mut Participant,
    index: usize,
    now: Timestamp,
    server: &mut Server,
    sent: &mut Sent,
) {
    loop {
        let input = match participant.poll_output() {
            Output::Request { id, call } => match server.front.answer(&call) {
                Some(response) => Input::Response { id, response },
                None => {
                    sent.sealed += 1;
                    let message = server.front.open(call.body().to_vec()).unwrap();
                    tell(server, now, message);
                    Input::Response { id, response: Response::ok("") }
                }
            },
            Output::HandOver { id, message } => {
                sent.handed_over.push(message.clone());
                let message = server.front.take(message).unwrap();
                tell(server, now, message);
                Input::Response { id, response: Response::ok("") }
            }
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Event(Event::ModelNeeded { .. }) => Input::SetModel(local_model(index)),
            Output::Event(Event::GaveUp(error)) => panic!("{error}"),
            Output::Idle(_) => return,
            _ => continue,
        };
        participant.handle_input(now, input).unwrap();
    }
}

fn tell(server: &mut Server, now: Timestamp, message: coordinator::Verified) {
    let input = coordinator::Input::Message { ticket: Ticket(0), message };
    server.machine.handle_input(now, input).unwrap();
    server.drain(now);
}

#[test]
fn the_global_model_is_the_same_whether_messages_are_sealed_or_handed_over() {
    let ((sealed, on_the_way), (handed_over, in_process)) = (round(false), round(true));
    assert_eq!(
        sealed.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>(),
        handed_over.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>()
    );
    assert!(on_the_way.handed_over.is_empty() && on_the_way.sealed > 4);
    assert!(in_process.sealed == 0 && in_process.handed_over.len() == on_the_way.sealed);
}

#[test]
fn what_is_handed_over_is_checked_as_any_message() {
    let (_, sent) = round(true);
    let message = sent.handed_over[0].clone();
    // It names the coordinator that it is for.
    let error = Server::new(98).front.take(message.clone()).unwrap_err();
    assert_eq!(error, Rejection::Message(MessageError::OtherCoordinator));
    let update = sent.handed_over.iter().find(|message| message.frame.len() > 600).unwrap();
    let front = Server::new(99).front;
    assert_eq!(front.phase(), Phase::Sum);
    assert!(matches!(front.take(update.clone()), Err(Rejection::WrongPhase { .. })));
    // Of somebody else, the task signatures do not fit.
    let mut forged = message.frame.to_vec();
    forged[crate::crypto::SEAL_OVERHEAD + 64] ^= 1;
    let forged = HandedOver { frame: forged.into() };
    assert!(matches!(front.take(forged), Err(Rejection::NotEligible(_))));
    assert!(front.take(message).is_ok());
}

/// Runs a round in which each participant is saved with its first message under way, and restored with the other choice: what
/// leaves it then is that of the other choice.
fn restored(hand_over: bool) -> Vec<f32> {
    let mut server = Server::new(99);
    let settings = |hand_over| Settings::default().with_hand_over(hand_over);
    let mut participants: Vec<_> = (0..10)
        .map(|i| Participant::from_seed(RootSeed::new([i; 32]), settings(hand_over)))
        .collect();
    let (mut now, mut swapped) = (Timestamp::ZERO, 0);
    loop {
        for (index, participant) in participants.iter_mut().enumerate() {
            participant.handle_input(now, Input::Tick).unwrap();
            if participant.settings().hand_over != hand_over {
                check(participant, index, now, &mut server, !hand_over);
            } else if is_to_send(participant, index, now, &server) {
                let saved = participant.snapshot().to_bytes();
                *participant = Participant::restore(&saved, settings(!hand_over)).unwrap();
                swapped += 1;
            }
        }
        if let Some(model) = server.front.model() {
            assert!(swapped >= 4, "{swapped}");
            match model.weights.as_deref() {
                Some(Model::F32(weights)) => return weights.clone(),
                other => panic!("another model: {other:?}"),
            }
        }
        now = now + Duration::from_millis(100);
        server.machine.handle_input(now, coordinator::Input::Tick).unwrap();
        server.drain(now);
    }
}

/// Goes on until there is a message, which is not sent, or nothing to do.
fn is_to_send(
    participant: &mut Participant,
    index: usize,
    now: Timestamp,
    server: &Server,
) -> bool {
    loop {
        let input = match participant.poll_output() {
            Output::Request { id, call } => match server.front.answer(&call) {
                Some(response) => Input::Response { id, response },
                None => return true,
            },
            Output::HandOver { .. } => return true,
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Event(Event::ModelNeeded { .. }) => Input::SetModel(local_model(index)),
            Output::Event(Event::GaveUp(error)) => panic!("{error}"),
            Output::Idle(_) => return false,
            _ => continue,
        };
        participant.handle_input(now, input).unwrap();
    }
}

/// Goes on, with messages of one kind.
fn check(
    participant: &mut Participant,
    index: usize,
    now: Timestamp,
    server: &mut Server,
    hand_over: bool,
) {
    let mut sent = Sent::default();
    run(participant, index, now, server, &mut sent);
    assert!(if hand_over { sent.sealed == 0 } else { sent.handed_over.is_empty() });
}

/// Each sealed message opens (`run` sees to that), so none is one that was made to be handed over.
#[test]
fn no_message_leaves_as_it_was_made_for_the_other_way() {
    let bits =
        |weights: Vec<f32>| weights.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>();
    let expected = bits(round(false).0);
    for hand_over in [true, false] {
        assert_eq!(bits(restored(hand_over)), expected, "{hand_over}");
    }
}

#[test]
fn nothing_is_handed_over_unless_settings_say_so() {
    assert!(!Settings::default().hand_over);
}
