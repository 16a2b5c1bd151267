//! Messages that one process has verified, and another one's machine takes.

use std::sync::OnceLock;

use bytes::Bytes;
use proptest::prelude::*;

use super::fixture::{quick, Fixture};
use super::front::scene;
use crate::coordinator::verified::Body;
use crate::coordinator::*;
use crate::crypto::Task;
use crate::mask::MaskConfig;
use crate::message::Tag;

/// Every message of a round that some front takes.
fn all() -> &'static [Verified] {
    static ALL: OnceLock<Vec<Verified>> = OnceLock::new();
    ALL.get_or_init(|| {
        let scene = scene();
        let opened = |message: &Vec<u8>| {
            scene.fronts.iter().find_map(|front| front.open(message.clone()).ok())
        };
        scene.messages.iter().filter_map(opened).collect()
    })
}

/// All that it says.
fn content(message: &Verified) -> Vec<u8> {
    let Verified { round_id, participant, tag, body } = message;
    bincode::serialize(&(round_id, participant, tag, body)).unwrap()
}

fn read_back(message: &Verified) -> Verified {
    Verified::from_bytes(&message.to_bytes(), message.large()).unwrap()
}

#[test]
fn every_verified_message_goes_through_bytes() {
    let all = all();
    let kinds = |tag| all.iter().filter(|message| message.tag() == tag).count();
    assert!([Tag::Sum, Tag::Update, Tag::Sum2].map(kinds).iter().all(|count| *count > 0));
    assert!(all.iter().any(Verified::is_chunk));
    for message in all {
        assert_eq!(content(&read_back(message)), content(message));
        assert_eq!(message.large().is_none(), message.tag() == Tag::Sum);
    }
}

/// The machine does the same with messages from bytes, to the byte.
#[test]
fn a_round_of_handed_over_messages_is_the_same() {
    let run = |hand_over: fn(&Verified) -> Verified| {
        let mut fixture = Fixture::new(quick());
        let summers = fixture.with_task(Task::Sum, 2);
        for summer in &summers {
            let message = hand_over(&fixture.front.open(summer.sum()).unwrap());
            fixture.input(Input::Message { ticket: Ticket(1), message }).unwrap();
        }
        fixture.wait(super::fixture::TIME);
        let sums = fixture.sums();
        for (number, updater) in fixture.with_task(Task::Update, 3).iter().enumerate() {
            let message = hand_over(&fixture.front.open(updater.update(&sums, 1.0)).unwrap());
            let ticket = Ticket(10 + number as u64);
            fixture.input(Input::Message { ticket, message }).unwrap();
        }
        (fixture.machine.snapshot().to_bytes(), fixture.replies)
    };
    let [direct, handed] = [run(Verified::clone), run(read_back)];
    assert_eq!(direct, handed);
    assert!(direct.1.len() == 5 && direct.1.iter().all(|(_, outcome)| outcome.is_ok()));
}

#[test]
fn the_large_piece_is_the_messages_own() {
    let all = all();
    for message in all {
        let small = message.to_bytes();
        let damaged = |large| Verified::from_bytes(&small, large).unwrap_err();
        match message.large() {
            None => drop(damaged(Some(Bytes::from_static(b"more")))),
            Some(large) => {
                drop(damaged(None));
                if !message.is_chunk() {
                    drop(damaged(Some(large.slice(1..))));
                    // All bits set: above every order that is no power of two.
                    let mut numbers = large.to_vec();
                    numbers[8..14].fill(0xff);
                    drop(damaged(Some(numbers.into())));
                }
            }
        }
    }
    // A mask is voted for by its hash.
    let mask = all.iter().find(|message| message.tag() == Tag::Sum2).unwrap();
    let mut other = mask.large().unwrap().to_vec();
    other[8] ^= 1;
    let read = Verified::from_bytes(&mask.to_bytes(), Some(other.into()));
    assert!(read.unwrap_err().to_string().contains("digest"));
}

/// As from a replica that is in a round with other settings: what it sends must not get into a sum.
#[test]
fn a_model_of_another_shape_is_rejected_by_the_machine_itself() {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    let updater = &fixture.with_task(Task::Update, 1)[0];
    let message = fixture.front.open(updater.update(&sums, 1.0)).unwrap();
    let other = |name: &str, length| {
        let config = name.parse::<MaskConfig>().unwrap();
        let Body::Update { seeds, .. } = message.body.clone() else { panic!() };
        let masked_model = updater.masked(config, length, 1.0).into();
        Verified { body: Body::Update { masked_model, seeds }, ..message.clone() }
    };
    for (shape, rejection) in [
        (other("Prime/F32/B0/M3", 3), Rejection::ModelLength { expected: 4, actual: 3 }),
        (other("Prime/F32/B2/M3", 4), Rejection::MaskConfig),
    ] {
        let message = read_back(&shape);
        fixture.input(Input::Message { ticket: Ticket(7), message }).unwrap();
        assert_eq!(fixture.replies.pop(), Some((Ticket(7), Err(rejection))));
    }
    assert_eq!(fixture.machine.accepted(), 0);
}

proptest! {
    /// Whatever bytes there are: an error, or a message that the machine takes or turns down.
    #[test]
    fn any_bytes_are_read_or_refused(
        number in any::<prop::sample::Index>(),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        large in proptest::option::of(any::<prop::sample::Index>()),
        updating: bool,
    ) {
        let all = all();
        let mut bytes = all[number.index(all.len())].to_bytes();
        for (at, value) in damages {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let large = large.and_then(|large| all[large.index(all.len())].large());
        if let Ok(message) = Verified::from_bytes(&bytes, large) {
            prop_assert_eq!(content(&read_back(&message)), content(&message));
            let mut fixture = Fixture::new(quick());
            if updating {
                fixture.sum(1);
            }
            fixture.input(Input::Message { ticket: Ticket(u64::MAX), message }).unwrap();
            let replies = fixture.replies.iter().filter(|(ticket, _)| *ticket == Ticket(u64::MAX));
            prop_assert_eq!(replies.count(), 1);
        }
    }
}
