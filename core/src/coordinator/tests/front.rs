//! What a server answers with, in this process and in another one.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::fixture::{quick, Fixture, TIME};
use super::sender::{mask_of, Sender};
use crate::coordinator::*;
use crate::crypto::{EncryptKeyPair, PublicSigningKey, RootSeed, Seed, SnapshotKey, Task};
use crate::mask::DataType;
use crate::message::{Frame, MessageError, Tag};
use crate::request::{Call, Response};
use crate::time::Timestamp;

/// A front of each phase, all messages that were sent, and whoever may ask for seeds.
pub(super) struct Scene {
    pub(super) fronts: Vec<Front>,
    pub(super) messages: Vec<Vec<u8>>,
    keys: Vec<PublicSigningKey>,
}

pub(super) fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let mut fixture = Fixture::new(quick());
        let mut fronts = vec![Front::new(), fixture.front.clone()];
        let summers = fixture.sum(2);
        fronts.push(fixture.front.clone());
        let sums = fixture.sums();
        let updaters = fixture.update(1.0);
        fronts.push(fixture.front.clone());
        let mask = mask_of(&updaters);
        fixture.working = false;
        let mut messages: Vec<_> = summers.iter().map(Sender::sum).collect();
        messages.extend(updaters.iter().map(|updater| updater.update(&sums, 1.0)));
        messages.extend((0..6).map(|number| updaters[0].chunk_of_update(&sums, number)));
        for summer in &summers {
            messages.push(summer.sum2(&mask));
            assert_eq!(fixture.send(summer.sum2(&mask)), Some(Ok(())));
        }
        fixture.wait(TIME);
        fronts.push(fixture.front.clone());
        let result = fixture.jobs.remove(0).finish();
        fixture.input(Input::JobDone(result)).unwrap();
        fronts.push(fixture.front.clone());
        fixture.input(Input::Stop).unwrap();
        fronts.push(fixture.front.clone());
        let phases: Vec<_> = fronts.iter().map(Front::phase).collect();
        let expected = [
            Phase::Idle,
            Phase::Sum,
            Phase::Update,
            Phase::Sum2,
            Phase::Unmask,
            Phase::Sum,
            Phase::Shutdown,
        ];
        assert_eq!(phases, expected);
        let keys = summers.iter().chain(&updaters).map(|sender| sender.keys.public()).collect();
        Scene { fronts, messages, keys }
    })
}

fn calls() -> Vec<Call> {
    let seeds = scene().keys.iter().map(|key| Call::Seeds(*key));
    let others = [Call::Params, Call::Sums, Call::Model(DataType::F32)];
    others.into_iter().chain(seeds).collect()
}

/// A replica that is behind, or ahead, gives no other round's dictionary.
#[test]
fn a_dictionary_is_given_of_the_round_that_is_named() {
    let scene = scene();
    let (sum2, next) = (&scene.fronts[3], &scene.fronts[5]);
    let [this, other] = [sum2, next].map(|front| front.parameters().unwrap().tag());
    for call in [Call::Sums, Call::Seeds(scene.keys[0])] {
        let answer = |front: &Front, round| front.answer(&call.clone().of_round(round)).unwrap();
        assert_eq!(Some(answer(sum2, this)), sum2.answer(&call));
        assert_eq!(answer(sum2, this).status, 200);
        assert_eq!(answer(sum2, other), Response::new(412, ""));
        assert_eq!(answer(next, other), Response::no_content());
        assert_eq!(answer(next, this).status, 412);
        assert_eq!(answer(&Front::new(), this).status, 412);
    }
}

fn answers(front: &Front) -> Vec<Response> {
    calls().iter().map(|call| front.answer(call).expect("not a message")).collect()
}

/// All that it says of a message.
fn opened(front: &Front, sealed: &[u8]) -> Result<Vec<u8>, Rejection> {
    content(front.open(sealed.to_vec()))
}

fn content(opened: Result<Verified, Rejection>) -> Result<Vec<u8>, Rejection> {
    let Verified { round_id, participant, tag, body } = opened?;
    Ok(bincode::serialize(&(round_id, participant, tag, body)).unwrap())
}

proptest! {
    /// Every front that there is goes through bytes, plain or sealed, and answers and opens as before, whatever
    /// it is given.
    #[test]
    fn a_front_from_bytes_is_the_same(
        front in 0usize..7,
        key: [u8; 32],
        sealed: bool,
        stranger: [u8; 32],
        message in 0usize..13,
        damage in proptest::option::of((0usize..1000, 1u8..)),
    ) {
        let scene = scene();
        let front = &scene.fronts[front];
        let key = SnapshotKey::new(key);
        let read = match sealed {
            true => Front::unseal(&front.seal(&key), &key),
            false => Front::from_bytes(&front.to_bytes()),
        }.unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{front:?}"));
        prop_assert_eq!(read.to_bytes(), front.to_bytes());
        prop_assert_eq!(answers(&read), answers(front));
        let stranger = Call::Seeds(PublicSigningKey::new(stranger));
        prop_assert_eq!(read.answer(&stranger), front.answer(&stranger));
        let mut message = scene.messages[message].clone();
        if let Some((at, by)) = damage {
            let at = at % message.len();
            message[at] ^= by;
        }
        prop_assert!(read.answer(&Call::Message(message.clone().into())).is_none());
        prop_assert_eq!(read.max_message_len(), front.max_message_len());
        prop_assert_eq!(opened(&read, &message), opened(front, &message));
    }

    /// Whatever bytes there are: an error, or a front that answers.
    #[test]
    fn any_bytes_are_read_or_refused(
        front in 0usize..7,
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        whole: bool,
        other in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = scene().fronts[front].to_bytes().to_vec();
        for (at, value) in damages {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut headed = bytes[..6.min(bytes.len())].to_vec();
        headed.extend_from_slice(&other);
        for bytes in [bytes, headed, other] {
            if let Ok(front) = Front::from_bytes(&bytes) {
                answers(&front);
                for message in &scene().messages {
                    let _ = front.open(message.clone());
                }
                prop_assert_eq!(answers(&Front::from_bytes(&front.to_bytes()).unwrap()), answers(&front));
            }
            prop_assert!(Front::unseal(&bytes, &SnapshotKey::new([1; 32])).is_err());
        }
    }
}

#[test]
fn messages_open_in_their_phase_only() {
    let scene = scene();
    // Two sum messages, three updates and six parts of one, two sum2 messages.
    for (front, expected) in scene.fronts.iter().zip([0..0, 0..2, 2..11, 11..13, 0..0, 0..0, 0..0])
    {
        for (index, message) in scene.messages.iter().enumerate() {
            let outcome = front.open(message.clone());
            let may = expected.contains(&index);
            assert_eq!(outcome.is_ok(), may, "{index} in {front:?}: {outcome:?}");
            if front.round_id().is_none() {
                assert_eq!(outcome.unwrap_err(), Rejection::NoRound);
            }
        }
    }
}

/// The good, the damaged, the forged, and what is of another phase.
#[test]
fn messages_opened_together_fare_as_each_by_itself() {
    let scene = scene();
    for front in &scene.fronts {
        let mut messages = scene.messages.clone();
        if let Some(parameters) = front.parameters() {
            let mut frame = Frame::with_capacity(0);
            frame.write_header(&scene.keys[0], &parameters.pk, Tag::Update, false).unwrap();
            let mut unsigned = frame.into_buffer();
            let ephemeral = EncryptKeyPair::from_seed(&Seed::new([9; 32]));
            parameters.pk.seal_in_place(&mut unsigned, &ephemeral).unwrap();
            if front.phase() == Phase::Update {
                let bad = MessageError::BadSignature.into();
                assert_eq!(front.open(unsigned.clone()).unwrap_err(), bad);
            }
            messages.insert(3, unsigned);
        }
        let mut damaged = messages[4].clone();
        damaged[100] ^= 1;
        messages.splice(5..5, [damaged, Vec::new(), vec![0; 500]]);
        let each: Vec<_> = messages.iter().map(|message| opened(front, message)).collect();
        let together = front.open_all(messages);
        assert_eq!(together.into_iter().map(content).collect::<Vec<_>>(), each);
        assert!(front.open_all(Vec::new()).is_empty());
    }
    assert!(Front::opened_at_once() >= 1);
}

#[test]
fn a_newer_version_is_refused_by_name_and_so_is_another_key() {
    let front = &scene().fronts[3];
    let mut bytes = front.to_bytes().to_vec();
    bytes[4] += 1;
    let error = Front::from_bytes(&bytes).unwrap_err();
    assert_eq!(error, EnvelopeError::Version { found: 2, known: 1 });
    assert!(error.to_string().contains("version 2"), "{error}");
    let (key, other) = (SnapshotKey::new([1; 32]), SnapshotKey::new([2; 32]));
    let sealed = front.seal(&key);
    assert_eq!(Front::unseal(&sealed, &other).unwrap_err(), EnvelopeError::DoesNotOpen);
    assert_eq!(Front::from_bytes(&sealed).unwrap_err(), EnvelopeError::Sealed);
    assert_eq!(Front::unseal(&front.to_bytes(), &key).unwrap_err(), EnvelopeError::NotSealed);
    let secret = front.to_bytes();
    assert!(!sealed.windows(32).any(|window| secret.windows(32).any(|part| part == window)));
}

/// One of another round, or another phase's dictionary, is nothing that any coordinator has written.
#[test]
fn parts_that_do_not_belong_together_are_refused() {
    use crate::coordinator::front::stored::tests::mixed;
    let scene = scene();
    let [sum, update, sum2, next] = [1, 2, 3, 5].map(|index| &scene.fronts[index]);
    for (what, bytes) in [
        ("the key is another round's", mixed(sum2, |saved| saved.take_key_of(next))),
        ("the dictionaries are another phase's", mixed(sum, |saved| saved.take_sums_of(update))),
        ("the dictionaries are another phase's", mixed(sum2, |saved| saved.drop_seeds())),
        ("the seed dictionary is not for", mixed(sum2, |saved| saved.drop_a_summer())),
        ("a probability is NaN", mixed(sum, |saved| saved.forget_probability())),
    ] {
        let error = Front::from_bytes(&bytes).unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
    assert!(Front::from_bytes(&mixed(sum2, |_| {})).is_ok());
}

#[test]
fn it_shows_no_secret() {
    for front in &scene().fronts {
        let shown = format!("{front:?}");
        assert!(!shown.to_lowercase().contains("key") && !shown.contains("secret"), "{shown}");
        assert!(shown.len() < 300, "{shown}");
    }
}

/// Whoever still waits for the store when the coordinator is stopped sees nothing that is not stored.
#[test]
fn a_stop_shows_nothing_that_is_not_stored() {
    let mut fixture = Fixture::new(quick());
    let summer = &fixture.with_task(Task::Sum, 1)[0];
    assert_eq!(fixture.send(summer.sum()), Some(Ok(())));
    fixture.storing = false;
    fixture.wait(TIME);
    assert_eq!(fixture.machine.phase(), Phase::Update);
    fixture.input(Input::Stop).unwrap();
    assert_eq!(fixture.front.phase(), Phase::Shutdown);
    assert_eq!(fixture.front.answer(&Call::Sums).unwrap().status, 204);
    assert_eq!(fixture.front.answer(&Call::Params).unwrap().status, 200);
    fixture.input(Input::Persisted(fixture.last_record)).unwrap();
    assert_eq!(fixture.front.answer(&Call::Sums).unwrap().status, 200);
    // It stays closed: what waited was of a phase that has begun before.
    assert_eq!(fixture.front.phase(), Phase::Shutdown);
    let late = Rejection::WrongPhase { tag: Tag::Sum, phase: Phase::Shutdown };
    assert_eq!(fixture.front.open(summer.sum()).unwrap_err(), late);
}

#[test]
fn who_stops_before_anything_is_stored_has_shown_nothing() {
    let machine = Coordinator::new(quick(), RootSeed::new([1; 32]), Timestamp::ZERO).unwrap();
    let mut fixture = Fixture::around(machine, None, Timestamp::ZERO);
    fixture.storing = false;
    fixture.input(Input::Stop).unwrap();
    assert_eq!(fixture.front.answer(&Call::Params).unwrap().status, 204);
    assert_eq!(fixture.front.open(vec![0; 500]).unwrap_err(), Rejection::NoRound);
}

/// The dictionary is written once, also for the next phase.
#[test]
fn dictionaries_are_shared() {
    let [update, sum2] = [2, 3].map(|index| scene().fronts[index].clone());
    let [first, again] = [&update, &sum2].map(|front| front.answer(&Call::Sums).unwrap().body);
    assert_eq!(first.as_ptr(), again.as_ptr());
    assert!(std::sync::Arc::ptr_eq(update.sums().unwrap(), sum2.sums().unwrap()));
}
