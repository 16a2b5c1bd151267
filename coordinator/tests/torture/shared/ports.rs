//! Ports for programs that are to be told one.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::{SocketAddr, TcpListener},
    sync::{
        atomic::{AtomicUsize, Ordering},
        LazyLock,
    },
};

/// Below those that the kernel gives out by itself, so that nobody has it by chance while its program has not been started, or is
/// about to be started again. Each time another.
pub fn free_port() -> SocketAddr {
    const COUNT: usize = 12_000;
    static BEGIN: LazyLock<usize> =
        LazyLock::new(|| RandomState::new().hash_one(()) as usize % COUNT);
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..COUNT {
        let number = *BEGIN + GIVEN.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + (number % COUNT) as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}
