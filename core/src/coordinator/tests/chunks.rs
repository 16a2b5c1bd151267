//! Messages that come in parts.

use std::time::Duration;

use super::fixture::{quick, Fixture, TIME};
use super::sender::{mask_of, Sender};
use crate::coordinator::*;
use crate::crypto::{EncryptKeyPair, Seed, Task};
use crate::job::JobKind;
use crate::message::{Chunk, MessageId, ReassemblyError, SumPayload, Tag};

/// In every phase: also a short message may come in chunks, and a second one is turned down by its first.
#[test]
fn messages_of_every_kind_may_come_in_chunks() {
    let mut fixture = Fixture::new(quick());
    let send = |fixture: &mut Fixture, sender: &Sender, tag: Tag, payload: &[u8]| {
        let (first, last) = payload.split_at(payload.len() / 2);
        [(0, false, first), (1, true, last)].map(|(id, is_last, data)| {
            let chunk = Chunk { id, message_id: MessageId(1), is_last, data };
            fixture.send(sender.chunk(tag, chunk)).unwrap()
        })
    };

    let summers = fixture.with_task(Task::Sum, 2);
    let (summer, stranger) = (&summers[0], &summers[1]);
    let mut payload = Vec::new();
    let ephemeral_key = EncryptKeyPair::from_seed(&Seed::new([7; 32])).public();
    SumPayload { sum_signature: summer.signatures.sum, ephemeral_key }.write_to(&mut payload);
    assert_eq!(send(&mut fixture, summer, Tag::Sum, &payload), [Ok(()), Ok(())]);
    let twice = [Err(Rejection::DuplicateSum), Err(Rejection::DuplicateSum)];
    assert_eq!(send(&mut fixture, summer, Tag::Sum, &payload), twice);
    fixture.wait(TIME);

    let updaters = fixture.update(1.0);
    let mut payload = summer.signatures.sum.as_bytes().to_vec();
    mask_of(&updaters).write_to(&mut payload).unwrap();
    // Already the threads that open messages turn away who is not in the dictionary.
    let context = fixture.front.clone();
    let unknown = Rejection::UnknownSumParticipant;
    assert_eq!(context.open(stranger.seal(Tag::Sum2, false, &payload)).unwrap_err(), unknown);
    let unknown = [Err(unknown.clone()), Err(unknown)];
    assert_eq!(send(&mut fixture, stranger, Tag::Sum2, &payload), unknown);
    assert_eq!(send(&mut fixture, summer, Tag::Sum2, &payload), [Ok(()), Ok(())]);
    let twice = [Err(Rejection::DuplicateSum2), Err(Rejection::DuplicateSum2)];
    assert_eq!(send(&mut fixture, summer, Tag::Sum2, &payload), twice);
    fixture.wait(TIME);
    assert!(fixture.front.model().is_some());
}

#[test]
fn chunks_are_checked_before_they_are_kept() {
    let mut fixture = Fixture::new(quick());
    let summer = fixture.sum(1).remove(0);
    let sums = fixture.sums();
    let updater = &fixture.with_task(Task::Update, 1)[0];
    let masked = updater.masked(updater.parameters.mask_config.vect, 4, 1.0);
    let payload = updater.update_payload(&sums, &masked);
    let chunk = |sender: &Sender, id: u16, is_last: bool, data: &[u8]| {
        sender.chunk(Tag::Update, Chunk { id, message_id: MessageId(1), is_last, data })
    };
    // Whoever may not update is found out by the first chunk.
    let not_eligible = Some(Err(Rejection::NotEligible(Task::Update)));
    let mut foreign = summer.signatures.sum.as_bytes().to_vec();
    foreign.extend_from_slice(summer.signatures.update.as_bytes());
    assert_eq!(fixture.send(chunk(&summer, 0, false, &foreign)), not_eligible);
    // More than any update of this round has.
    let too_large = fixture.send(chunk(updater, 0, false, &vec![0; 100_000]));
    assert_eq!(too_large, not_eligible);
    let mut long = payload[..128].to_vec();
    long.resize(100_000, 0);
    assert!(matches!(
        fixture.send(chunk(updater, 0, false, &long)),
        Some(Err(Rejection::Chunk(ReassemblyError::TooLarge { .. })))
    ));
    // In any order; the last one brings the reply of the whole.
    let half = payload.len() / 2;
    assert_eq!(fixture.send(chunk(updater, 1, true, &payload[half..])), Some(Ok(())));
    assert_eq!(fixture.machine.accepted(), 0);
    assert_eq!(fixture.send(chunk(updater, 0, false, &payload[..half])), Some(Ok(())));
    assert_eq!(fixture.machine.accepted(), 1);
    let again = fixture.send(chunk(updater, 0, false, &payload[..half]));
    assert_eq!(again, Some(Err(Rejection::DuplicateUpdate)));
}

/// Chunks that were accepted are not sent again: they must outlive the machine also while the message
/// that they make up is put together.
#[test]
fn a_message_that_is_being_put_together_is_saved() {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    let updater = &fixture.with_task(Task::Update, 1)[0];
    let masked = updater.masked(updater.parameters.mask_config.vect, 4, 1.0);
    let payload = updater.update_payload(&sums, &masked);
    let chunk = |id: u16, is_last: bool, data: &[u8]| {
        updater.chunk(Tag::Update, Chunk { id, message_id: MessageId(1), is_last, data })
    };
    let (first, last) = payload.split_at(200);
    assert_eq!(fixture.send(chunk(0, false, first)), Some(Ok(())));
    fixture.working = false;
    assert_eq!(fixture.send(chunk(1, true, last)), None);
    let saved = fixture.machine.snapshot().to_bytes();
    // The sender has got no answer to the last chunk, and may send it again, or not.
    for again in [false, true] {
        let machine = Coordinator::restore(&saved, quick(), fixture.now).unwrap();
        let mut restored = Fixture::around(machine, None, fixture.now);
        restored.working = !again;
        restored.drain();
        if again {
            assert_eq!(restored.machine.snapshot().to_bytes(), saved);
            let again = Some(Err(Rejection::InProgress(Tag::Update)));
            assert_eq!(restored.send(chunk(1, true, last)), again);
            restored.working = true;
            for job in std::mem::take(&mut restored.jobs) {
                restored.input(Input::JobDone(job.finish())).unwrap();
            }
        }
        assert_eq!(restored.machine.accepted(), 1, "{again}");
        assert_eq!(restored.send(chunk(0, false, first)), Some(Err(Rejection::DuplicateUpdate)));
    }
}

/// Otherwise whoever goes on from records would keep it for ever.
#[test]
fn a_split_message_that_is_rejected_leaves_nothing_behind() {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    let updater = &fixture.with_task(Task::Update, 1)[0];
    for number in 3..5 {
        let kept = fixture.send(updater.chunk_of_update(&sums, number));
        assert_eq!(kept, Some(Ok(())));
    }
    assert_ne!(fixture.machine.incomplete_bytes(), 0);
    let rejected = fixture.send(updater.chunk_of_update(&sums, 5)).unwrap();
    assert!(matches!(rejected, Err(Rejection::Message(_))), "{rejected:?}");
    let recovery = fixture.recovery.clone().unwrap();
    let resumed = Fixture::resume(recovery, Duration::ZERO, quick());
    for machine in [&fixture.machine, &resumed.machine] {
        assert_eq!(machine.incomplete_bytes(), 0);
    }
}

/// It comes again with the chunk that was turned away only: were the others gone, that chunk would be accepted as the first of a
/// message, and its sender would take the whole for accepted.
#[test]
fn a_split_message_that_is_to_come_again_is_still_there() {
    let mut settings = quick();
    settings.update.count.max = settings.update.count.min;
    let mut fixture = Fixture::new(settings);
    fixture.sum(1);
    let sums = fixture.sums();
    let updaters = fixture.with_task(Task::Update, 4);
    // These are being added, and nothing of them is recorded.
    fixture.working = false;
    for updater in &updaters[..3] {
        assert_eq!(fixture.send(updater.update(&sums, 1.0)), None);
    }
    let late = &updaters[3];
    let masked = late.masked(late.parameters.mask_config.vect, 4, 1.0);
    let payload = late.update_payload(&sums, &masked);
    let (first, last) = payload.split_at(payload.len() / 2);
    let chunk = |id, is_last, data| {
        late.chunk(Tag::Update, Chunk { id, message_id: MessageId(1), is_last, data })
    };
    assert_eq!(fixture.send(chunk(0, false, first)), Some(Ok(())));
    let kept = fixture.machine.incomplete_bytes();
    for _ in 0..3 {
        assert_eq!(fixture.send(chunk(1, true, last)), None);
        let told = fixture.replies.len();
        let index = fixture.jobs.iter().position(|job| job.kind() == JobKind::Assemble).unwrap();
        let job = fixture.jobs.remove(index);
        fixture.input(Input::JobDone(job.finish())).unwrap();
        let replies: Vec<_> = fixture.replies[told..].iter().map(|(_, told)| told).collect();
        assert_eq!(replies, [&Err(Rejection::ShardFull)]);
        assert_eq!(fixture.machine.incomplete_bytes(), kept);
        // The same after it was restored from its records.
        let recovery = fixture.recovery.clone().unwrap();
        let resumed = Fixture::resume(recovery, Duration::ZERO, quick());
        assert_eq!(resumed.machine.incomplete_bytes(), kept);
    }
    fixture.working = true;
    for job in std::mem::take(&mut fixture.jobs) {
        fixture.input(Input::JobDone(job.finish())).unwrap();
    }
    assert_eq!(fixture.machine.accepted(), 3);
    let full = Rejection::Full(Phase::Update);
    assert_eq!(fixture.send(chunk(1, true, last)), Some(Err(full)));
    assert_eq!(fixture.machine.incomplete_bytes(), 0);
}

/// Whoever sends a message whole after a beginning in chunks has no more use for these.
#[test]
fn the_chunks_of_those_whose_message_is_accepted_are_dropped() {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    let updaters = fixture.with_task(Task::Update, 2);
    for updater in &updaters {
        assert_eq!(fixture.send(updater.chunk_of_update(&sums, 0)), Some(Ok(())));
    }
    assert_eq!(fixture.machine.state.reassembly().len(), 2);
    assert_eq!(fixture.send(updaters[0].update(&sums, 1.0)), Some(Ok(())));
    assert_eq!(fixture.machine.state.reassembly().len(), 1);
}
