//! Threads in many orders: a driver, and others that reach it through handles (`make shuttle`).
//!
//! The scheduler switches threads wherever they touch what they share. A wait never times out here, so that a
//! wake-up that is lost is a deadlock, and a deadlock fails the test, with a schedule that repeats it.

use std::sync::Arc;
use std::time::Duration;

use pet_core::crypto::RootSeed;
use pet_core::participant::{self as core, Input, Reject, Settings};
use shuttle::thread;

use crate::{Config, Error, Handle, Participant};

/// How many schedules are tried.
const SCHEDULES: usize = 3000;

fn participant() -> Participant {
    let mut config = Config::new("http://coordinator").expect("a URL");
    config.threads = std::num::NonZeroUsize::MIN;
    let machine = core::Machine::from_seed(RootSeed::new([1; 32]), Settings::default());
    Participant::drive(machine, config).expect("the client takes everything")
}

/// A thread that works until the participant is stopped.
fn drive(mut participant: Participant) -> thread::JoinHandle<()> {
    thread::spawn(move || loop {
        match participant.next_event(None) {
            Ok(_) => {}
            Err(Error::Rejected(Reject::Stopped)) => return,
            Err(error) => panic!("{error}"),
        }
    })
}

fn ask(handle: Handle) -> thread::JoinHandle<Result<bool, Error>> {
    thread::spawn(move || Ok(handle.global_model(Duration::MAX)?.is_some()))
}

#[test]
fn everyone_who_waits_for_the_global_model_gets_an_answer() {
    let run = || {
        let participant = participant();
        let handle = participant.handle();
        let driver = drive(participant);
        let waiting = [ask(handle.clone()), ask(handle.clone())];
        for waiting in waiting {
            assert!(matches!(waiting.join().unwrap(), Ok(false)));
        }
        handle.stop();
        driver.join().unwrap();
    };
    shuttle::check_random(run, SCHEDULES);
    shuttle::check_pct(run, SCHEDULES, 3);
}

/// Whenever it comes, also between two steps of the driver, or before it begins.
#[test]
fn stopping_reaches_everyone() {
    let run = || {
        let participant = participant();
        let handle = participant.handle();
        let driver = drive(participant);
        let waiting = ask(handle.clone());
        let stopping = [handle.clone(), handle.clone()].map(|handle| {
            thread::spawn(move || {
                handle.stop();
                assert!(handle.is_stopped());
            })
        });
        for stopping in stopping {
            stopping.join().unwrap();
        }
        driver.join().unwrap();
        match waiting.join().unwrap() {
            Ok(false) | Err(Error::Rejected(Reject::Stopped)) => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(handle.fetch_model(), Err(Error::Rejected(Reject::Stopped))));
    };
    shuttle::check_random(run, SCHEDULES);
    shuttle::check_pct(run, SCHEDULES, 3);
}

/// A change of which nobody is told leaves the driver waiting: the checks above see such a thing.
#[test]
#[should_panic(expected = "deadlock")]
fn a_lost_wake_up_is_found() {
    shuttle::check_random(
        || {
            let participant = participant();
            let (handle, shared) = (participant.handle(), participant.handle().shared);
            let driver = drive(participant);
            let stop = thread::spawn(move || {
                let now = shared.now();
                let stopped = Arc::clone(&shared).lock().machine.handle_input(now, Input::Stop);
                stopped.unwrap();
            });
            stop.join().unwrap();
            driver.join().unwrap();
            drop(handle);
        },
        SCHEDULES,
    );
}
