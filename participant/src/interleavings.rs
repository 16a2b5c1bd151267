//! Threads in many orders: a participant's thread, its status thread, and those who ask, set, wait and stop
//! (`make shuttle`).
//!
//! Below is the blocking transport with the coordinator of its own interleavings, which answers at once; the locks and
//! waits are the very ones of this crate. A wait never times out here, so that a wake-up that is lost is a deadlock,
//! and a deadlock fails the test.

use std::sync::Arc;
use std::time::Duration;

use pet_transport_blocking::core::crypto::{RootSeed, Seed, SigningKeyPair};
use pet_transport_blocking::core::model::{Model, Scalar};
use pet_transport_blocking::{Config, Participant};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{thread, Runner};

use crate::inbox::Inbox;
use crate::mailbox::Stage;
use crate::{Driver, Gone, News};

/// How many schedules are tried, by each of two schedulers.
const SCHEDULES: usize = 3000;

fn check(run: impl Fn() + Send + Sync + Copy + 'static) {
    try_all(RandomScheduler::new(SCHEDULES), run);
    try_all(PctScheduler::new(3, SCHEDULES), run);
}

fn try_all(scheduler: impl Scheduler + 'static, run: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    // Masking needs more than the little that is usual there.
    config.stack_size = 1 << 20;
    Runner::new(scheduler, config).run(run);
}

/// A participant of a coordinator at this host: `updates` has everyone update models of four weights.
fn start(host: &str) -> Arc<Driver> {
    let mut config = Config::new(&format!("http://{host}")).expect("a URL");
    config.threads = std::num::NonZeroUsize::MIN;
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let participant =
        Participant::with_keys(config, keys, RootSeed::new([2; 32])).expect("no environment");
    Driver::run(participant, Inbox::new(None, false), Scalar::one()).expect("a thread")
}

/// Ends the participant's thread, which nobody joins: one that does not end is a deadlock.
fn end(driver: &Driver) {
    let (state, _) = driver.save().expect("nobody else has");
    assert!(!state.is_empty());
}

#[test]
fn who_waits_hears_of_the_round_and_gets_the_global_model() {
    check(|| {
        let driver = start("coordinator");
        let waiting = {
            let driver = driver.clone();
            thread::spawn(move || {
                let mut seen = 0;
                while driver.view().unwrap().rounds == 0 {
                    assert!(driver.wait_beyond(seen, Duration::MAX).unwrap());
                    seen = driver.view().unwrap().happened;
                }
            })
        };
        let asking = [driver.clone(), driver.clone()].map(|driver| {
            thread::spawn(move || driver.fetch_model().unwrap().wait(Duration::MAX).unwrap())
        });
        waiting.join().unwrap();
        for asking in asking {
            assert_eq!(asking.join().unwrap(), Some(Ok(None)));
        }
        end(&driver);
    });
}

/// Whenever it comes: before the first contact, before it is asked for, or after.
#[test]
fn a_local_model_is_used_once_whenever_it_is_set() {
    check(|| {
        let driver = start("updates");
        let setting = {
            let driver = driver.clone();
            thread::spawn(move || {
                // Of another type, so that it has to be looked over again once the type is known.
                let checked = driver.model_check().unwrap().check(Model::F64(vec![0.5; 4]));
                driver.set_model(checked.unwrap()).unwrap();
            })
        };
        let mut seen = 0;
        let mut sent = 0;
        while sent == 0 {
            assert!(driver.wait_beyond(seen, Duration::MAX).unwrap());
            seen = driver.view().unwrap().happened;
            sent += driver.take_news().unwrap().iter().filter(|news| **news == News::Sent).count();
        }
        setting.join().unwrap();
        assert!(!driver.view().unwrap().model_needed);
        assert_eq!(driver.take_model_error(), Ok(None));
        end(&driver);
    });
}

#[test]
fn a_model_that_is_no_good_is_told_of_whenever_it_is_set() {
    check(|| {
        let driver = start("updates");
        let setting = {
            let driver = driver.clone();
            thread::spawn(move || {
                let check = driver.model_check().unwrap();
                check.check(Model::F64(vec![1e39; 4])).is_ok_and(|checked| {
                    let set = driver.set_model(checked);
                    set.is_ok()
                })
            })
        };
        let is_set = setting.join().unwrap();
        let (mut seen, mut told) = (0, false);
        while !(told || driver.view().unwrap().model_needed) {
            assert!(driver.wait_beyond(seen, Duration::MAX).unwrap());
            seen = driver.view().unwrap().happened;
            told |= driver.take_model_error().unwrap().is_some();
        }
        // Either its sender was told at once, or there was something to raise: once.
        assert_eq!(told, is_set);
        assert_eq!(driver.take_model_error(), Ok(None));
        end(&driver);
    });
}

/// Whoever sees the round sees what is wrong with the model, and does not wait for another event.
#[test]
fn a_round_is_counted_together_with_what_is_wrong_with_the_model() {
    check(|| {
        let driver = start("updates");
        let checked = driver.model_check().unwrap().check(Model::F64(vec![0.5; 5]));
        let is_set = checked.is_ok_and(|checked| driver.set_model(checked).is_ok());
        let mut seen = 0;
        while driver.view().unwrap().rounds == 0 {
            assert!(driver.wait_beyond(seen, Duration::MAX).unwrap());
            seen = driver.view().unwrap().happened;
        }
        assert_eq!(driver.take_model_error().unwrap().is_some(), is_set);
        end(&driver);
    });
}

#[test]
fn stopping_reaches_everyone_and_one_gets_the_state() {
    check(|| {
        let driver = start("coordinator");
        let waiting = {
            let driver = driver.clone();
            thread::spawn(move || driver.wait_beyond(u64::MAX, Duration::MAX))
        };
        let asking = {
            let driver = driver.clone();
            thread::spawn(move || driver.fetch_model()?.wait(Duration::MAX))
        };
        let saving = [driver.clone(), driver.clone()]
            .map(|driver| thread::spawn(move || driver.save().is_ok()));
        let closed = driver.close();
        assert!(matches!(closed, Ok(()) | Err(Gone::Stopped)));
        assert_eq!(
            saving.map(|saving| saving.join().unwrap()).into_iter().filter(|&had| had).count(),
            1
        );
        assert_eq!(waiting.join().unwrap(), Err(Gone::Stopped));
        assert!(matches!(asking.join().unwrap(), Ok(Some(Ok(None))) | Err(Gone::Stopped)));
        assert_eq!(driver.view(), Err(Gone::Stopped));
    });
}

#[test]
fn dropping_the_last_handle_ends_the_thread() {
    check(|| {
        let driver = start("coordinator");
        let other = driver.clone();
        let thread = thread::spawn(move || drop(other));
        drop(driver);
        thread.join().unwrap();
    });
}

/// The checks above see such a thing.
#[test]
#[should_panic(expected = "deadlock")]
fn a_lost_wake_up_is_found() {
    try_all(RandomScheduler::new(SCHEDULES), || {
        let driver = start("coordinator");
        let waiting = {
            let driver = driver.clone();
            thread::spawn(move || driver.wait_beyond(u64::MAX, Duration::MAX))
        };
        driver.halt();
        driver.mailbox.lock().stage = Stage::Closed;
        // And nobody is told.
        assert_eq!(waiting.join().unwrap(), Err(Gone::Stopped));
    });
}
