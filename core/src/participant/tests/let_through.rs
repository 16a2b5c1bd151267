//! Messages that something before the coordinator does not let through: status 413 without a problem document.

use super::fixture::*;
use crate::crypto::PublicSigningKey;
use crate::crypto::{EncryptKeyPair, RootSeed, Seed, SigningKeyPair, Task};
use crate::job::JobKind;
use crate::message::{Chunk, EncryptedMaskSeed, SumPayload, FRAME_HEADROOM};
use crate::message::{MessageSize, MessageView, Tag};
use crate::model::Model;
use crate::participant::ComposeError;
use crate::participant::*;
use crate::request::{Call, Response};
use crate::round::RoundParameters;

/// A round with models of so many weights, six bytes each when masked.
fn long(task: Task, model_length: u64) -> RoundParameters {
    RoundParameters { model_length, ..parameters(task) }
}

/// An update participant in a round of long models, ready to send.
fn updating(model_length: u64, settings: Settings) -> Fixture {
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let mut fixture = Fixture::with(Participant::new(keys, RootSeed::new([2; 32]), settings));
    fixture.input(Input::SetModel(Model::F32(vec![0.25; model_length as usize]))).unwrap();
    fixture.params(&long(Task::Update, model_length));
    fixture.answer(&Call::Sums, sums());
    fixture.run_job();
    // The model is used up, and freed.
    fixture.run_job();
    fixture
}

/// What comes of sending, past something that takes bodies of up to `limit` bytes: the payload as the coordinator
/// puts it together from the parts with the last message id, or nothing if the participant gives up; and the
/// refused lengths.
fn send(
    fixture: &mut Fixture,
    round: &RoundParameters,
    mut limit: impl FnMut(usize) -> usize,
) -> (Option<Vec<u8>>, Vec<usize>) {
    let (mut parts, mut refused, mut posts) = (Vec::<(u16, bool, Vec<u8>)>::new(), Vec::new(), 0);
    let mut message_id = None;
    loop {
        match fixture.next() {
            Output::Job(job) => fixture.input(Input::JobDone(job.finish())).unwrap(),
            Output::Idle(Idle { why: Why::Poll, wake_at: Some(at) }) => {
                let is_over = |event: &Event| matches!(event, Event::Sent(_) | Event::GaveUp(_));
                match fixture.events.last() {
                    Some(Event::Sent(_)) => {
                        assert!(parts
                            .iter()
                            .enumerate()
                            .all(|(at, part)| usize::from(part.0) == at));
                        assert!(parts.last().unwrap().1);
                        return (
                            Some(parts.into_iter().flat_map(|part| part.2).collect()),
                            refused,
                        );
                    }
                    Some(event) if is_over(event) => return (None, refused),
                    _ => {}
                }
                fixture.now = at;
                fixture.input(Input::Tick).unwrap();
            }
            Output::Request { id, call: Call::Params } => {
                let response = Response::ok(round.to_bytes());
                fixture.input(Input::Response { id, response }).unwrap();
            }
            Output::Request { id, call: Call::Message(body) } => {
                posts += 1;
                let response = if body.len() > limit(posts) {
                    refused.push(body.len());
                    Response::new(413, "<html>413 Request Entity Too Large</html>")
                } else {
                    let opened = coordinator().open(&body).unwrap();
                    let view = MessageView::parse(&opened).unwrap();
                    assert_eq!(view.verify_signature(), Ok(()));
                    if view.is_multipart {
                        let chunk = Chunk::parse(view.payload).unwrap();
                        if message_id.replace(chunk.message_id) != Some(chunk.message_id) {
                            parts.clear();
                        }
                        parts.push((chunk.id, chunk.is_last, chunk.data.to_vec()));
                    } else {
                        parts.push((0, true, view.payload.to_vec()));
                    }
                    Response::ok("")
                };
                fixture.input(Input::Response { id, response }).unwrap();
            }
            output => panic!("{output:?}"),
        }
    }
}

#[test]
fn an_update_is_split_until_it_is_let_through() {
    let round = long(Task::Update, 400_000);
    let (whole, refused) =
        send(&mut updating(400_000, Settings::default()), &round, |_| usize::MAX);
    assert!(refused.is_empty());
    // nginx's limit, and one that is found only after some attempts.
    for (limit, attempts) in [(1 << 20, 1), (70_000, 5)] {
        let mut fixture = updating(400_000, Settings::default());
        let (payload, refused) = send(&mut fixture, &round, |_| limit);
        assert!(payload == whole, "the same payload, split");
        assert_eq!(refused.len(), attempts, "{refused:?}");
        assert_eq!(refused[0], FRAME_HEADROOM + whole.as_ref().unwrap().len());
        let told: Vec<_> =
            fixture.events.iter().filter(|e| matches!(e, Event::Trouble(_))).collect();
        assert_eq!(told.len(), attempts);
        let Event::Trouble(trouble) = told[0] else { panic!() };
        let (size, parts) = (refused[0], 1 << 20);
        assert_eq!(trouble.reason, TroubleReason::NotLetThrough { size, parts });
        for word in [&size.to_string(), "413", "1048576", "client_max_body_size"] {
            assert!(trouble.to_string().contains(word), "{trouble}");
        }
        // The next message does not try it again.
        assert!(fixture.machine.message_size().limit().unwrap() <= limit);
    }
}

/// A sum2 participant does not have to add the masks up again.
#[test]
fn all_kinds_of_messages_are_split_without_being_made_again() {
    let length = 20_000;
    let round = long(Task::Sum, length);
    let mut fixture = Fixture::new();
    fixture.params(&round);
    fixture.run_job();
    fixture.params(&round);
    let (_, payload) = payload_of(&mut fixture);
    assert_eq!(payload.len(), SumPayload::LENGTH);
    let ephemeral = payload[64..].try_into().map(crate::crypto::PublicEncryptKey::new).unwrap();
    fixture.pause();
    fixture.params(&round);
    let seeds: crate::round::UpdateSeedDict = [1, 2, 3]
        .map(|byte| {
            let keys = EncryptKeyPair::from_seed(&Seed::new([byte + 100; 32]));
            let seed = crate::mask::MaskSeed::new([byte; 32]);
            let sealed = EncryptedMaskSeed::seal(&seed, &ephemeral, &keys).unwrap();
            (PublicSigningKey::new([byte; 32]), sealed)
        })
        .into_iter()
        .collect();
    let call = Call::Seeds(fixture.machine.keys().public());
    fixture.answer(&call, Response::ok(seeds.to_bytes()));
    fixture.run_job();
    let mut narrow = Fixture::with(fixture.machine.fork().unwrap());
    let (whole, _) = send(&mut fixture, &round, |_| usize::MAX);
    let (split, refused) = send(&mut narrow, &round, |_| 40_000);
    assert!(split == whole && refused.len() == 2, "{refused:?}");
}

#[test]
fn parts_that_are_refused_midway_begin_anew_under_another_id() {
    let round = long(Task::Update, 20_000);
    let (whole, _) = send(&mut updating(20_000, Settings::default()), &round, |_| usize::MAX);
    let size = MessageSize::at_most(30_000).unwrap();
    let mut fixture = updating(20_000, Settings { max_message_size: size, ..Settings::default() });
    // The third part meets another server.
    let limit = |post| if post < 3 { usize::MAX } else { 20_000 };
    let (payload, refused) = send(&mut fixture, &round, limit);
    assert!(payload == whole, "the parts of before do not count");
    assert_eq!(refused, [30_000]);
}

#[test]
fn what_cannot_be_split_is_given_up_with_advice() {
    let (mut fixture, id) = posting();
    fixture.input(Input::Response { id, response: Response::new(413, "<html>") }).unwrap();
    assert_eq!(fixture.idle().why, Why::Poll);
    let size = SumPayload::LENGTH + FRAME_HEADROOM;
    let error = ComposeError::NotLetThrough { size };
    assert!(error.to_string().contains("client_max_body_size"), "{error}");
    assert_eq!(fixture.events.last(), Some(&Event::GaveUp(error)));
    // A few attempts for a long one, and then no more in this round.
    let round = long(Task::Update, 20_000);
    let mut fixture = updating(20_000, Settings::default());
    let (payload, refused) = send(&mut fixture, &round, |_| 1000);
    assert_eq!((payload, refused.last()), (None, Some(&4096)));
    assert!(refused.len() < 8, "{refused:?}");
    for _ in 0..5 {
        fixture.pause();
        fixture.params(&round);
    }
    assert_eq!(fixture.idle().why, Why::Poll);
}

/// The coordinator's own word is final.
#[test]
fn a_413_of_the_coordinator_itself_is_a_rejection() {
    let mut fixture = updating(20_000, Settings::default());
    fixture.params(&long(Task::Update, 20_000));
    let (id, _) = fixture.request();
    fixture.input(Input::Response { id, response: told("too_long", 413) }).unwrap();
    // The message is freed.
    fixture.run_job();
    fixture.idle();
    assert!(matches!(fixture.events.last(), Some(Event::Rejected { tag: Tag::Update, .. })));
}

/// Saved at any moment, it goes on with the same bytes.
#[test]
fn a_snapshot_holds_what_is_needed_to_split() {
    let round = long(Task::Update, 20_000);
    let fixture = updating(20_000, Settings::default());
    let saved = fixture.machine.snapshot().to_bytes();
    let go_on = || {
        let mut fixture = Fixture::with(Participant::restore(&saved, Settings::default()).unwrap());
        send(&mut fixture, &round, |_| 65_536)
    };
    let (payload, refused) = go_on();
    assert!(payload.is_some() && refused.len() == 1, "{refused:?}");
    assert_eq!(go_on(), (payload.clone(), refused));
    // One that is restored with a smaller size splits what it has.
    let size = MessageSize::at_most(10_000).unwrap();
    let settings = Settings { max_message_size: size, ..Settings::default() };
    let mut restored = Fixture::with(Participant::restore(&saved, settings).unwrap());
    let (again, refused) = send(&mut restored, &round, |_| 10_000);
    assert!(again == payload && refused.is_empty());
}

/// Splitting comes in small steps, and reads exactly what was sealed.
#[test]
fn splitting_is_a_job_of_small_steps() {
    let round = long(Task::Update, 400_000);
    let mut fixture = updating(400_000, Settings::default());
    fixture.params(&round);
    let (id, call) = fixture.request();
    fixture.input(Input::Response { id, response: Response::new(413, "") }).unwrap();
    fixture.pause();
    fixture.params(&round);
    let mut job = fixture.job();
    assert_eq!(job.kind(), JobKind::SplitMessage);
    let mut steps = 0;
    while !job.step() {
        steps += 1;
    }
    assert!(steps > call.body().len() >> 17, "{steps} steps");
    // It was lost, and is given out again.
    fixture.input(Input::JobLost(job.id())).unwrap();
    fixture.params(&round);
    assert_eq!(fixture.job().name(), "split message");
}
