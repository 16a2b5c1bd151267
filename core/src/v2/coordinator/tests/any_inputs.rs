//! Nothing that comes in harms a machine, and whatever comes in, its state is what its records add up to.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{settings, Fixture};
use super::people::{Member, Updater};
use crate::job::JobId;
use crate::v2::coordinator::*;
use crate::v2::{Call, MemberId, Post};

/// Time passes, and something comes in: what it is, from whom, after how many milliseconds.
type Step = (u8, u8, u64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0..22u8, 0..6u8, 0..3000u64), 0..90)
}

/// Little room, so that limits are met.
fn narrow() -> Settings {
    let mut settings = settings();
    settings.limits.uploads = 2;
    settings.limits.stalled_after = Duration::from_secs(3);
    settings.limits.mask_patience = Duration::from_secs(2);
    settings.limits.waiting_answers = 40;
    settings
}

fn member(number: u8) -> Member {
    Member(MemberId::new(number / 3, number % 3))
}

fn take(fixture: &mut Fixture, (kind, number, millis): Step) {
    fixture.now = fixture.now + Duration::from_millis(millis);
    let seen = fixture.seen();
    let (member, updater) = (member(number), Updater(1 + u16::from(number)));
    let all: Vec<_> = (1..=6).map(Updater).collect();
    let in_set: Vec<_> =
        all.iter().copied().filter(|updater| fixture.is_in_set(*updater)).collect();
    match kind {
        0 | 1 => drop(fixture.send(member.announce(&seen))),
        2 => {
            let other = updater.key();
            drop(fixture.send(member.announce_with(&seen, other)));
        }
        3..=5 => {
            let masked = updater.masked(&seen);
            let header = updater.header(&seen, &masked);
            drop(fixture.send(updater.send_header(&seen, &header, (millis % 2) as u8)));
            drop(fixture.send(updater.send_chunk(&seen, &masked, 0, (millis % 2) as u8)));
        }
        6 => {
            let masked = updater.masked_with(&seen, 0.9);
            let header = updater.header(&seen, &masked);
            drop(fixture.send(updater.send_header(&seen, &header, 0)));
        }
        7 | 8 => {
            let accused = [updater.key()];
            let accused = if millis % 5 == 0 { &accused[..] } else { &[] };
            drop(fixture.send(member.report(&seen, accused)));
        }
        9 | 10 if seen.set.is_some() => drop(fixture.send(member.vote(&seen))),
        11..=13 if seen.set.is_some() => {
            let over = if millis % 7 == 0 { &all[..1] } else { &in_set[..] };
            let mask = member.mask(&seen, over);
            drop(fixture.send(member.mask_header(&seen, &mask)));
            drop(fixture.send(member.mask_chunk(&seen, &mask, 0)));
        }
        14 => {
            let body = vec![number; (millis % 300) as usize];
            let post = Post { round: None, body: body.into() };
            let (member, updater) = (member.0, updater.key());
            let calls = [
                Call::Announce(post.clone()),
                Call::Update(post.clone()),
                Call::UpdateChunk { updater, index: number.into(), post: post.clone() },
                Call::Report(post.clone()),
                Call::Vote(post.clone()),
                Call::Mask(post.clone()),
                Call::MaskChunk { member, index: number.into(), post },
            ];
            calls.into_iter().for_each(|call| drop(fixture.send(call)));
        }
        15 => drop(fixture.input(Input::Persisted(PersistId(u64::from(number) * 20)))),
        16 => drop(fixture.input(Input::JobLost(JobId(u64::from(number))))),
        17 => {
            if let Some(job) = fixture.jobs.pop() {
                let _ = fixture.input(Input::JobDone(job.finish()));
            }
        }
        18 => {
            if let Some(object) = fixture.asked.pop() {
                let bytes = fixture.store.load(&object).filter(|_| millis % 4 > 0);
                let _ = fixture.input(Input::Loaded { object, bytes });
            }
        }
        19 => drop(fixture.input(if number < 3 { Input::Pause } else { Input::Resume })),
        20 if number == 0 => drop(fixture.input(Input::Skip)),
        _ => drop(fixture.input(Input::Tick)),
    }
    // A driver that is slow does some of what it was asked, in any order.
    let idle = fixture.idle.unwrap();
    let is_waiting = idle.wake_at.is_some()
        || matches!(idle.why, Why::Job | Why::LostJob | Why::Object | Why::Store | Why::Resume);
    assert!(is_waiting, "{idle:?}");
    let (count, _) = fixture.machine.incomplete();
    assert!(count <= 2);
    assert!(fixture.machine.accepted() <= 10);
    assert!(fixture.machine.waiting_outputs() <= 80, "{}", fixture.machine.waiting_outputs());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever comes, in whatever order, with a driver as slow as it likes and crashes in between: no panic, and after
    /// each input the state is what the records add up to (`Fixture::check_recovery`).
    #[test]
    fn any_inputs_are_survived(
        steps in steps(),
        crashes in proptest::collection::vec(0..90usize, 0..3),
        begin in 0..5u8,
        storing: bool,
        working: bool,
        loading: bool,
    ) {
        let mut fixture = Fixture::new(narrow());
        if begin > 0 {
            fixture.announce();
        }
        if begin > 1 {
            fixture.update(4);
        }
        if begin > 2 {
            fixture.check();
        }
        (fixture.storing, fixture.working, fixture.loading) = (storing, working, loading);
        if begin > 3 {
            let seen = fixture.seen();
            for number in 0..6 {
                drop(fixture.send(member(number).vote(&seen)));
            }
        }
        for (number, step) in steps.into_iter().enumerate() {
            if crashes.contains(&number) {
                let (now, store) = (fixture.now, fixture.store);
                fixture = Fixture::resume(store, narrow(), now);
                (fixture.storing, fixture.working, fixture.loading) = (storing, working, loading);
            }
            take(&mut fixture, step);
        }
    }
}
