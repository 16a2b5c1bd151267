//! What threads share state with. With `--cfg shuttle` it is the same from a library that tries many interleavings
//! of threads: see `interleavings`.

#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::{atomic, mpsc, Condvar, Mutex, MutexGuard},
    thread,
};
#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::{atomic, mpsc, Condvar, Mutex, MutexGuard},
    thread,
};
