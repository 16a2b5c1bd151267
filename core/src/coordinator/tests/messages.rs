//! What is accepted in each phase, and what is rejected and why.

use super::fixture::{quick, Fixture, TIME};
use super::sender::{mask_of, Sender};
use crate::coordinator::*;
use crate::crypto::{EncryptKeyPair, PublicEncryptKey, Seed, Task};
use crate::mask::{MaskConfig, MaskSum};
use crate::message::{Chunk, MessageError, MessageId, Tag, CHUNK_HEADER_LENGTH};
use crate::model::Model;
use crate::round::SumDict;

#[test]
fn sum_messages_are_checked() {
    let mut settings = quick();
    settings.sum.count.max = 2;
    settings.sum2.count.max = 2;
    let mut fixture = Fixture::new(settings);
    let [first, second, third]: [Sender; 3] =
        fixture.with_task(Task::Sum, 3).try_into().ok().unwrap();
    let other = &fixture.with_task(Task::Update, 1)[0];
    let not_eligible = Some(Err(Rejection::NotEligible(Task::Sum)));
    assert_eq!(fixture.send(other.sum()), not_eligible);
    let key = EncryptKeyPair::from_seed(&Seed::new([3; 32])).public();
    assert_eq!(fixture.send(first.sum_with(second.signatures.sum, key)), not_eligible);
    let weak = first.sum_with(first.signatures.sum, PublicEncryptKey::new([0; 32]));
    assert_eq!(fixture.send(weak), Some(Err(Rejection::WeakEphemeralKey)));
    let wrong_phase = Rejection::WrongPhase { tag: Tag::Update, phase: Phase::Sum };
    assert_eq!(fixture.send(other.update(&SumDict::new(), 1.0)), Some(Err(wrong_phase)));
    let unknown_key = EncryptKeyPair::from_seed(&Seed::new([200; 32])).public();
    let mut stranger = first.clone();
    stranger.parameters.pk = unknown_key;
    let does_not_open = Some(Err(Rejection::Message(MessageError::DoesNotOpen)));
    assert_eq!(fixture.send(stranger.sum()), does_not_open);

    assert_eq!(fixture.machine.accepted(), 0);
    assert_eq!(fixture.send(first.sum()), Some(Ok(())));
    assert_eq!(fixture.send(first.sum()), Some(Err(Rejection::DuplicateSum)));
    assert_eq!(fixture.send(second.sum()), Some(Ok(())));
    assert_eq!(fixture.send(third.sum()), Some(Err(Rejection::Full(Phase::Sum))));
    assert_eq!(fixture.machine.accepted(), 2);
}

#[test]
fn update_messages_are_checked() {
    let mut settings = quick();
    settings.update.count.max = 3;
    let mut fixture = Fixture::new(settings);
    let summer = fixture.sum(1).remove(0);
    let sums = fixture.sums();
    let updaters = fixture.with_task(Task::Update, 4);
    let first = &updaters[0];
    let config = first.parameters.mask_config.vect;

    assert_eq!(
        fixture.send(summer.update(&sums, 1.0)),
        Some(Err(Rejection::NotEligible(Task::Update)))
    );
    let late = Rejection::WrongPhase { tag: Tag::Sum, phase: Phase::Update };
    assert_eq!(fixture.send(summer.sum()), Some(Err(late)));
    let masked = first.masked(config, 5, 1.0);
    let long = first.seal(Tag::Update, false, &first.update_payload(&sums, &masked));
    let length = Rejection::ModelLength { expected: 4, actual: 5 };
    assert_eq!(fixture.send(long), Some(Err(length)));
    let other: MaskConfig = "Integer/F32/B0/M3".parse().unwrap();
    let masked = first.masked(other, 4, 1.0);
    let other = first.seal(Tag::Update, false, &first.update_payload(&sums, &masked));
    assert_eq!(fixture.send(other), Some(Err(Rejection::MaskConfig)));
    let mismatch = Some(Err(Rejection::SeedDictMismatch));
    assert_eq!(fixture.send(first.update(&SumDict::new(), 1.0)), mismatch);
    let more: SumDict = sums
        .iter()
        .map(|(key, ephemeral)| (*key, *ephemeral))
        .chain([(updaters[1].keys.public(), summer.parameters.pk)])
        .collect();
    assert_eq!(fixture.send(first.update(&more, 1.0)), mismatch);
    // The last number is not below the order: nothing of the message is counted.
    let mut masked = first.masked(config, 4, 1.0);
    let unit = masked.len() - 10;
    masked[unit - 6..unit].fill(0xff);
    let bad = first.seal(Tag::Update, false, &first.update_payload(&sums, &masked));
    assert!(matches!(
        fixture.send(bad),
        Some(Err(Rejection::Message(MessageError::MaskObject(_))))
    ));

    assert_eq!(fixture.machine.accepted(), 0);
    assert_eq!(fixture.send(first.update(&sums, 1.0)), Some(Ok(())));
    assert_eq!(fixture.send(first.update(&sums, 1.0)), Some(Err(Rejection::DuplicateUpdate)));
    for updater in &updaters[1..3] {
        assert_eq!(fixture.send(updater.update(&sums, 1.0)), Some(Ok(())));
    }
    let full = Some(Err(Rejection::Full(Phase::Update)));
    assert_eq!(fixture.send(updaters[3].update(&sums, 1.0)), full);
}

#[test]
fn sum2_messages_are_checked_and_the_majority_wins() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(3);
    let updaters = fixture.update(0.5);
    let (mask, wrong) = (mask_of(&updaters), mask_of(&updaters[..2]));
    let stranger = &fixture.with_task(Task::Sum, 4)[3];
    let unknown = Some(Err(Rejection::UnknownSumParticipant));
    assert_eq!(fixture.send(stranger.sum2(&mask)), unknown);
    let mut longer = MaskSum::new(updaters[0].parameters.mask_config, 5);
    longer.add_seeds(updaters.iter().map(Sender::seed));
    let length = Some(Err(Rejection::ModelLength { expected: 4, actual: 5 }));
    assert_eq!(fixture.send(summers[0].sum2(&longer.finish())), length);
    assert_eq!(fixture.send(summers[0].sum2(&wrong)), Some(Ok(())));
    let again = Some(Err(Rejection::DuplicateSum2));
    assert_eq!(fixture.send(summers[0].sum2(&mask)), again);
    assert_eq!(fixture.send(summers[1].sum2(&mask)), Some(Ok(())));
    assert_eq!(fixture.send(summers[2].sum2(&mask)), Some(Ok(())));
    fixture.wait(TIME);
    let model = fixture.front.model().unwrap();
    assert_eq!(model.weights.as_deref(), Some(&Model::F32(vec![0.25; 4])));
}

/// A context is all that the threads which open messages know of a round.
#[test]
fn a_context_tells_what_it_opens() {
    let mut fixture = Fixture::new(quick());
    let summer = &fixture.with_task(Task::Sum, 1)[0];
    let context = fixture.front.clone();
    assert_eq!((context.round_id(), context.phase()), (Some(1), Phase::Sum));

    // The longest is one in a single chunk.
    let sum = summer.sum();
    assert_eq!(context.max_message_len(), sum.len() + CHUNK_HEADER_LENGTH);
    let verified = context.open(sum.clone()).unwrap();
    assert_eq!((verified.tag(), verified.participant()), (Tag::Sum, summer.keys.public()));
    assert!(!verified.is_chunk());

    let data = &[7; 8][..];
    let chunk = Chunk { id: 1, message_id: MessageId(1), is_last: false, data };
    let chunk = context.open(summer.chunk(Tag::Sum, chunk)).unwrap();
    assert!(chunk.is_chunk());
    assert_eq!(chunk.body.bytes(), data);

    fixture.sum(1);
    let sums = fixture.sums();
    let context = fixture.front.clone();
    let update = fixture.with_task(Task::Update, 1)[0].update(&sums, 1.0);
    assert_eq!(context.max_message_len(), update.len() + CHUNK_HEADER_LENGTH);
    let verified = context.open(update).unwrap();
    assert!(!verified.is_chunk() && !verified.body.bytes().is_empty());
    let late = context.open(sum).unwrap_err();
    assert_eq!(late, Rejection::WrongPhase { tag: Tag::Sum, phase: Phase::Update });

    fixture.wait(quick().update.time.max);
    assert_eq!(fixture.front.round_id(), Some(2));
}
