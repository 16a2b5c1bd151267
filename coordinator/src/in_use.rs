//! Waiting for what is in use for a moment.
//!
//! While this process starts a program, that one has a copy of every lock of this process until it runs, also of one that was just
//! given back: whoever stops something and starts it again at once would be told that it is in use.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// So long it is waited at least, and so often it is tried at least: a process that stood still meanwhile has not waited.
const LEAST: (Duration, u32) = (Duration::from_secs(1), 20);
const PAUSE: Duration = Duration::from_millis(5);

/// Opens something, and tries for a second or more while it is in use.
///
/// Takes a while: not for the threads of an async runtime.
pub(crate) fn patiently<T, E>(
    is_in_use: impl Fn(&E) -> bool,
    mut open: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let (began, mut tries) = (Instant::now(), 0);
    loop {
        tries += 1;
        match open() {
            Err(error) if is_in_use(&error) && (began.elapsed() < LEAST.0 || tries < LEAST.1) => {
                sleep(PAUSE);
            }
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens at the `last` try; in use until then. How often it was tried, too.
    fn open_at(last: u32, error: &'static str) -> (Result<&'static str, &'static str>, u32) {
        let mut tries = 0;
        let opened = patiently(
            |error| *error == "in use",
            || {
                tries += 1;
                if tries < last {
                    Err(error)
                } else {
                    Ok("open")
                }
            },
        );
        (opened, tries)
    }

    #[test]
    fn what_is_in_use_for_a_moment_is_waited_for() {
        assert_eq!(open_at(1, "in use"), (Ok("open"), 1));
        assert_eq!(open_at(LEAST.1, "in use"), (Ok("open"), LEAST.1));
    }

    #[test]
    fn what_stays_in_use_is_told_and_another_error_at_once() {
        let began = Instant::now();
        let (opened, tries) = open_at(u32::MAX, "in use");
        assert_eq!(opened, Err("in use"));
        assert!(began.elapsed() >= LEAST.0 && tries >= LEAST.1, "{tries} tries");
        assert_eq!(open_at(2, "damaged"), (Err("damaged"), 1));
    }
}
