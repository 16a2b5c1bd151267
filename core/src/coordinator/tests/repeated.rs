//! What is sent again and again changes nothing: not what is kept, and not what is stored.

use std::time::Duration;

use super::fixture::{quick, Fixture, TIME};
use super::sender::Sender;
use crate::coordinator::outbox::MOST_GATED;
use crate::coordinator::*;
use crate::crypto::Task;
use crate::message::{Chunk, MessageId, ReassemblyError, Tag};

const NO_ROOM: Option<Result<(), Rejection>> = Some(Err(Rejection::Chunk(ReassemblyError::NoRoom)));

/// A coordinator in its update phase.
fn updating(settings: Settings) -> Fixture {
    let mut fixture = Fixture::new(settings);
    fixture.sum(1);
    fixture
}

/// A chunk of somebody who was made up: it proves nothing.
fn part(fixture: &Fixture, who: u32, id: u16, message: u16, is_last: bool, len: usize) -> Vec<u8> {
    let sender = Sender::new(10_000 + who, &fixture.parameters());
    let data = vec![id as u8; len];
    let chunk = Chunk { id, message_id: MessageId(message), is_last, data: &data };
    sender.chunk(Tag::Update, chunk)
}

fn small_rooms() -> Settings {
    let mut settings = quick();
    settings.reassembly.unproven_bytes = 8_000;
    settings.reassembly.proven_bytes = 20_000;
    settings
}

/// One key that was made up and one chunk, sent again and again, filled disk and memory.
#[test]
fn a_repeated_chunk_is_acknowledged_and_changes_nothing() {
    let mut fixture = updating(quick());
    let sums = fixture.sums();
    let proven = fixture.with_task(Task::Update, 1)[0].chunk_of_update(&sums, 0);
    for chunk in [part(&fixture, 1, 1, 1, false, 100), proven] {
        assert_eq!(fixture.send(chunk.clone()), Some(Ok(())));
        let (saved, records) = (fixture.machine.snapshot().to_bytes(), fixture.records.len());
        let bytes = fixture.machine.incomplete_bytes();
        for _ in 0..300 {
            assert_eq!(fixture.send(chunk.clone()), Some(Ok(())));
        }
        assert_eq!(fixture.records.len(), records);
        assert_eq!(fixture.machine.incomplete_bytes(), bytes);
        assert!(fixture.machine.snapshot().to_bytes() == saved);
    }
}

/// Otherwise its sender would not send it again, and it could be lost.
#[test]
fn a_repeated_chunk_is_not_acknowledged_before_the_first_is_stored() {
    let mut fixture = updating(quick());
    fixture.storing = false;
    let chunk = part(&fixture, 1, 1, 1, false, 100);
    assert_eq!(fixture.send(chunk.clone()), None);
    assert_eq!(fixture.send(chunk.clone()), None);
    fixture.replies.clear();
    fixture.input(Input::Persisted(fixture.last_record)).unwrap();
    assert_eq!(fixture.replies.len(), 2);
    assert!(fixture.replies.iter().all(|(_, outcome)| outcome.is_ok()));
}

/// It is no sign of life: whoever has recorded a chunk could else keep its message's place for ever.
#[test]
fn a_repeated_chunk_does_not_keep_its_message_alive() {
    let mut settings = quick();
    settings.reassembly.idle = Duration::from_secs(1);
    settings.update.time.min = Duration::from_secs(20);
    settings.update.time.max = Duration::from_secs(30);
    let mut fixture = updating(settings);
    let chunk = part(&fixture, 1, 1, 1, false, 100);
    assert_eq!(fixture.send(chunk.clone()), Some(Ok(())));
    fixture.wait(Duration::from_millis(900));
    assert_eq!(fixture.send(chunk), Some(Ok(())));
    fixture.wait(Duration::from_millis(200));
    assert_eq!(fixture.send(part(&fixture, 2, 1, 1, false, 100)), Some(Ok(())));
    assert_eq!(fixture.machine.state.reassembly().len(), 1);
}

/// Each of these had a record of its own, and a sync.
#[test]
fn a_message_in_a_single_chunk_that_is_rejected_leaves_no_record() {
    let mut fixture = updating(quick());
    let records = fixture.records.len();
    for who in 0..20 {
        let rejected = fixture.send(part(&fixture, who % 2, 0, 1, true, 60)).unwrap();
        assert!(matches!(rejected, Err(Rejection::Message(_))), "{rejected:?}");
    }
    assert_eq!(fixture.records.len(), records);
    // Unless it has replaced one of which there are records.
    assert_eq!(fixture.send(part(&fixture, 0, 1, 2, false, 60)), Some(Ok(())));
    assert!(fixture.send(part(&fixture, 0, 0, 1, true, 60)).unwrap().is_err());
    let added: Vec<_> = fixture.records[records..].iter().map(Record::name).collect();
    assert_eq!(added, ["chunk", "chunks dropped"]);
    assert_eq!(fixture.recovery.as_ref().unwrap().incomplete_bytes(), 0);
}

/// Bytes on their way to a store that is slow are in memory: they count until they are stored.
#[test]
fn what_is_not_stored_yet_makes_room_for_nobody() {
    let settings = small_rooms();
    let limits = settings.reassembly;
    let mut fixture = updating(settings);
    fixture.storing = false;
    let records = fixture.records.len();
    let mut no_room = 0;
    for who in 0..200 {
        match fixture.send(part(&fixture, who, 1, 1, false, 200)) {
            None => {}
            answer => {
                assert_eq!(answer, NO_ROOM);
                no_room += 1;
            }
        }
        assert!(fixture.machine.incomplete_bytes() <= limits.unproven_bytes);
    }
    let waiting = fixture.records.len() - records;
    assert_eq!(waiting + no_room, 200);
    assert!((1..10).contains(&waiting), "{waiting}");
    // One sender alone, with ever new messages.
    assert_eq!(fixture.send(part(&fixture, 0, 1, 2, false, 200)), NO_ROOM);
    // Once they are stored they give way as ever.
    fixture.input(Input::Persisted(fixture.last_record)).unwrap();
    fixture.storing = true;
    assert_eq!(fixture.send(part(&fixture, 300, 1, 1, false, 200)), Some(Ok(())));
    assert_eq!(fixture.records[records + waiting].name(), "chunks dropped");
}

/// A, B, A, B ...: each replaces the one before, also in the records.
#[test]
fn messages_that_replace_each_other_leave_one() {
    for storing in [true, false] {
        let mut fixture = updating(small_rooms());
        let sums = fixture.sums();
        let updater = &fixture.with_task(Task::Update, 1)[0];
        fixture.storing = storing;
        for turn in 0..100u64 {
            let proven = updater.chunk_of_update(&sums, turn % 2 * 3);
            let answer = fixture.send(proven);
            let unproven = part(&fixture, 1, 1, turn as u16 % 2, false, 200);
            for answer in [answer, fixture.send(unproven)] {
                assert!(matches!(answer, None | Some(Ok(()))) || answer == NO_ROOM, "{answer:?}");
            }
            assert_eq!(fixture.machine.state.reassembly().len(), 2);
            let recovered = fixture.recovery.as_ref().unwrap().incomplete_bytes();
            assert_eq!(recovered, fixture.machine.incomplete_bytes());
        }
        // A store that is stuck has two to remember, and not two hundred.
        let chunks = fixture.records.iter().filter(|record| record.name() == "chunk").count();
        assert_eq!(chunks, if storing { 200 } else { 2 });
    }
}

/// A message that is complete is no longer incomplete, but its bytes are still there.
#[test]
fn messages_that_are_being_put_together_count() {
    let settings = small_rooms();
    let limits = settings.reassembly;
    let mut fixture = updating(settings);
    fixture.working = false;
    let mut answers = Vec::new();
    for who in 0..100 {
        answers.push(fixture.send(part(&fixture, who, 0, 1, true, 120)));
        assert!(fixture.machine.incomplete_bytes() <= 2 * limits.unproven_bytes);
    }
    assert!(answers.contains(&NO_ROOM), "{answers:?}");
    assert_eq!(fixture.jobs.len(), answers.iter().filter(|answer| answer.is_none()).count());
    // A lost one is given out again, and counts once.
    let before = fixture.machine.incomplete_bytes();
    let lost = fixture.jobs.pop().unwrap().id();
    fixture.input(Input::JobLost(lost)).unwrap();
    assert_eq!(fixture.machine.incomplete_bytes(), before);
    // They stay when the phase ends: so does what they cost, until they are done.
    fixture.wait(TIME * 1000);
    assert_eq!(fixture.machine.incomplete_bytes(), before);
    for job in std::mem::take(&mut fixture.jobs) {
        let _ = fixture.input(Input::JobDone(job.finish()));
    }
    assert_eq!(fixture.machine.incomplete_bytes(), 0);
}

/// A message that was dropped on the way to a store that is stuck still counts, and its sender waits.
#[test]
fn a_dropped_message_counts_until_it_is_stored() {
    let mut fixture = updating(quick());
    fixture.storing = false;
    assert_eq!(fixture.send(part(&fixture, 1, 1, 1, true, 150)), None);
    let rejected = fixture.send(part(&fixture, 1, 0, 1, false, 60)).unwrap();
    assert!(matches!(rejected, Err(Rejection::Message(_))), "{rejected:?}");
    assert!(fixture.machine.incomplete_bytes() > 150);
    assert_eq!(fixture.send(part(&fixture, 1, 1, 2, true, 150)), NO_ROOM);
    fixture.input(Input::Persisted(fixture.last_record)).unwrap();
    assert_eq!(fixture.machine.incomplete_bytes(), 0);
    assert_eq!(fixture.send(part(&fixture, 1, 1, 2, true, 150)), None);
}

/// Whatever it is that comes again and again while a store is stuck.
#[test]
fn so_many_answers_wait_for_the_store_and_no_more() {
    let mut fixture = updating(quick());
    let chunk = part(&fixture, 1, 1, 1, false, 100);
    let message = fixture.front.open(chunk).unwrap();
    let mut behind = 0;
    let mut last = PersistId(0);
    for ticket in 0..MOST_GATED as u64 + 100 {
        let input = Input::Message { ticket: Ticket(ticket), message: message.clone() };
        fixture.machine.handle_input(fixture.now, input).unwrap();
        loop {
            match fixture.machine.poll_output() {
                Output::Reply { outcome, .. } => {
                    assert_eq!(outcome, Err(Rejection::StoreBehind));
                    behind += 1;
                }
                Output::Persist { id, .. } => last = id,
                Output::Idle(_) => break,
                _ => {}
            }
        }
        assert!(fixture.machine.waiting_outputs() <= MOST_GATED);
    }
    assert_eq!(behind, 100);
    fixture.machine.handle_input(fixture.now, Input::Persisted(last)).unwrap();
    let mut answered = 0;
    while let Output::Reply { outcome, .. } = fixture.machine.poll_output() {
        assert_eq!(outcome, Ok(()));
        answered += 1;
    }
    assert_eq!(answered, MOST_GATED);
}
