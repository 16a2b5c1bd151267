//! What others can make a coordinator hold has limits.

use std::time::Duration;

use super::fixture::{long, settings, Fixture, MIN};
use super::people::{Member, Updater};
use crate::v2::coordinator::shape::Shape;
use crate::v2::coordinator::*;
use crate::v2::MemberId;

fn limited(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut limits = Limits { stalled_after: Duration::from_secs(10), ..Limits::default() };
    change(&mut limits);
    long().with_limits(limits)
}

fn begin(fixture: &mut Fixture, number: u16) -> Option<Result<(), Rejection>> {
    let (seen, updater) = (fixture.seen(), Updater(number));
    let masked = updater.masked(&seen);
    fixture.send(updater.send_header(&seen, &updater.header(&seen, &masked), 0))
}

#[test]
fn incomplete_uploads_have_places_and_those_that_stall_give_way() {
    let by_count = limited(|limits| limits.uploads = 2);
    let object = 8 + 4 * by_count.model_length + 12;
    let by_bytes = limited(|limits| limits.upload_bytes = 3 * object - 1);
    for settings in [by_count, by_bytes] {
        let mut fixture = Fixture::new(settings);
        fixture.announce();
        assert_eq!(begin(&mut fixture, 1), Some(Ok(())));
        fixture.wait(Duration::from_secs(6));
        assert_eq!(begin(&mut fixture, 2), Some(Ok(())));
        assert_eq!(fixture.machine.incomplete(), (2, 2 * object));
        assert_eq!(begin(&mut fixture, 3), Some(Err(Rejection::NoRoom)));
        assert_eq!(Rejection::NoRoom.problem(None).status, 503, "it may be tried again");
        fixture.wait(Duration::from_secs(5));
        assert_eq!(begin(&mut fixture, 3), Some(Ok(())));
        let stalled = Event::UploadStalled { round: 1, updater: Updater(1).key() };
        assert!(fixture.events.contains(&stalled));
        // The one that has given way begins anew, once there is room.
        let seen = fixture.seen();
        let chunk = Updater(1).send_chunk(&seen, &Updater(1).masked(&seen), 0, 0);
        fixture.rejects(chunk, Rejection::UnknownUpload(Updater(1).key()));
        fixture.upload(Updater(2));
        fixture.upload(Updater(1));
        assert_eq!(fixture.machine.accepted(), 2);
    }
}

#[test]
fn a_complete_update_frees_its_place() {
    let mut fixture = Fixture::new(limited(|limits| limits.uploads = 1));
    fixture.announce();
    for number in 1..=4 {
        fixture.upload(Updater(number));
    }
    assert_eq!(fixture.machine.incomplete(), (0, 0));
}

#[test]
fn a_round_takes_so_many_updates_and_no_more() {
    let mut settings = settings();
    settings.count.max = 3;
    let mut fixture = Fixture::new(settings);
    fixture.announce();
    (1..=2).for_each(|number| fixture.upload(Updater(number)));
    assert_eq!(begin(&mut fixture, 3), Some(Ok(())));
    assert_eq!(begin(&mut fixture, 4), Some(Err(Rejection::NoRoom)), "the third may still come");
    fixture.upload(Updater(3));
    assert_eq!(begin(&mut fixture, 4), Some(Err(Rejection::Full)));
}

#[test]
fn headers_have_a_limit() {
    let mut settings = settings();
    let least = Shape::new(settings.mask, 4).unwrap().header_len(&settings.roster);
    settings.limits.header_bytes = 3 * least;
    settings.validate().unwrap();
    let mut fixture = Fixture::new(settings);
    fixture.announce();
    let mut taken = 0;
    for number in 1..10 {
        match begin(&mut fixture, number).unwrap() {
            Ok(()) => taken += 1,
            Err(rejection) => assert_eq!(rejection, Rejection::NoRoomForHeaders),
        }
    }
    assert!((3..=4).contains(&taken), "{taken}");
}

#[test]
fn an_updater_that_was_started_again_seals_anew_but_not_for_ever() {
    let mut fixture = Fixture::new(long());
    fixture.announce();
    let (seen, updater) = (fixture.seen(), Updater(1));
    let masked = updater.masked(&seen);
    let header = updater.header(&seen, &masked);
    fixture.accepts(updater.send_header(&seen, &header, 0));
    fixture.accepts(updater.send_chunk(&seen, &masked, 0, 0));
    fixture.accepts(updater.send_header(&seen, &header, 1));
    fixture.rejects(updater.send_chunk(&seen, &masked, 1, 0), Rejection::OtherChunk(1));
    for time in 2..16 {
        fixture.accepts(updater.send_header(&seen, &header, time));
    }
    let too_many = Rejection::TooManyHeaders(updater.key());
    fixture.rejects(updater.send_header(&seen, &header, 16), too_many);
    // The one that counts still works, and the chunk from before is still there.
    fixture.accepts(updater.send_chunk(&seen, &masked, 1, 15));
    assert_eq!(fixture.machine.accepted(), 1);
}

#[test]
fn incomplete_uploads_are_dropped_at_the_end_of_the_phase() {
    let mut fixture = Fixture::new(long());
    fixture.announce();
    (1..=3).for_each(|number| fixture.upload(Updater(number)));
    assert_eq!(begin(&mut fixture, 4), Some(Ok(())));
    fixture.wait(MIN);
    assert_eq!((fixture.machine.phase(), fixture.machine.incomplete()), (Phase::Check, (0, 0)));
    let updaters = vec![Updater(4).key()];
    let dropped = Event::UploadsDropped { round: 1, updaters, count: 1 };
    assert!(fixture.events.contains(&dropped));
}

/// Whatever it is that comes again and again while a store is stuck.
#[test]
fn so_much_waits_for_a_stuck_store_and_no_more() {
    let mut fixture = Fixture::new(limited(|limits| limits.waiting_answers = 100));
    fixture.announce();
    fixture.storing = false;
    let (seen, updater) = (fixture.seen(), Updater(1));
    let masked = updater.masked(&seen);
    let header = updater.send_header(&seen, &updater.header(&seen, &masked), 0);
    let mut behind = 0;
    for _ in 0..200 {
        if fixture.send(header.clone()) == Some(Err(Rejection::StoreBehind)) {
            behind += 1;
        }
    }
    assert!((99..110).contains(&behind), "{behind}");
    assert!(fixture.machine.waiting_outputs() <= 101);
    let last = fixture.last_record;
    fixture.input(Input::Persisted(last)).unwrap();
    assert_eq!(fixture.send(header), Some(Ok(())));
}

#[test]
fn so_many_bytes_wait_for_a_stuck_store_and_no_more() {
    let most = crate::v2::TREE_LEAF as u64;
    let mut fixture = Fixture::new(limited(|limits| limits.unstored_bytes = most));
    fixture.announce();
    let (seen, updater) = (fixture.seen(), Updater(1));
    let masked = updater.masked(&seen);
    fixture.accepts(updater.send_header(&seen, &updater.header(&seen, &masked), 0));
    fixture.storing = false;
    assert_eq!(fixture.send(updater.send_chunk(&seen, &masked, 0, 0)), None);
    assert_eq!(fixture.machine.unstored_bytes(), most);
    let behind = Some(Err(Rejection::StoreBehind));
    assert_eq!(fixture.send(updater.send_chunk(&seen, &masked, 1, 0)), behind);
    let last = fixture.last_record;
    fixture.input(Input::Persisted(last)).unwrap();
    assert_eq!(fixture.machine.unstored_bytes(), 0);
    assert_eq!(fixture.send(updater.send_chunk(&seen, &masked, 1, 0)), None);
}

#[test]
fn nothing_is_seen_before_it_is_stored() {
    let mut fixture = Fixture::new(settings());
    let seen = fixture.seen();
    fixture.storing = false;
    let member = Member(MemberId::new(0, 0));
    assert_eq!(fixture.send(member.announce(&seen)), None);
    assert_eq!(fixture.view().announced, 0);
    // That it is there already is as good as that it is accepted.
    assert_eq!(fixture.send(member.announce(&seen)), None);
    let last = fixture.last_record;
    fixture.input(Input::Persisted(last)).unwrap();
    assert_eq!((fixture.replies.len(), fixture.view().announced), (2, 1));
    assert!(fixture.replies.iter().all(|(_, outcome)| outcome.is_ok()));
}

#[test]
fn few_objects_are_read_ahead() {
    let mut fixture = Fixture::new(limited(|limits| limits.loaded_bytes = 1));
    fixture.announce();
    let updaters = fixture.update(4);
    fixture.check();
    fixture.loading = false;
    fixture.agree();
    assert_eq!(fixture.asked.len(), 1, "one is always read");
    let mut asked = 0;
    while let Some(object) = fixture.asked.pop() {
        asked += 1;
        let bytes = fixture.store.load(&object);
        fixture.input(Input::Loaded { object, bytes: bytes.clone() }).unwrap();
        assert!(fixture.asked.len() <= 1);
        let late = fixture.input(Input::Loaded { object, bytes });
        assert_eq!(late, Err(Reject::UnknownObject(object)));
    }
    assert_eq!(asked, updaters.len());
}
