//! The participants of a process, for its exit: nobody works on without the program that they work for.

use std::sync::{Arc, PoisonError, Weak};

use crate::driver::Driver;
use crate::sync::Mutex;

/// A list of participants, for as long as they live.
#[derive(Debug, Default)]
pub struct Registry(Mutex<Vec<Weak<Driver>>>);

impl Registry {
    /// An empty registry. A binding has one in a `static`.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Adds a participant.
    pub fn remember(&self, driver: &Arc<Driver>) {
        let mut drivers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.retain(|driver| driver.strong_count() > 0);
        drivers.push(Arc::downgrade(driver));
    }

    /// Halts all of them ([`Driver::halt`]) and forgets them. Threads that wait for a participant are left waiting:
    /// to run on while everything goes down does them no good.
    pub fn halt_all(&self) {
        let drivers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for driver in drivers.iter().filter_map(Weak::upgrade) {
            driver.halt();
        }
    }
}
