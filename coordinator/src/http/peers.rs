//! What one client may take, by its address.
//!
//! An IPv6 address counts by its first 64 bits: a single host has all that follow. Memory is bounded by
//! what is going on, and by [`MOST_KNOWN`]: nobody can fill it by coming from many addresses.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Of so many addresses the rate of requests is known at a time. Where more of them are busy, the
/// others are let through: no limit for each would hold all of them back.
const MOST_KNOWN: usize = 1 << 16;

/// At most so often all known addresses are looked through for those that can be forgotten.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

/// A client, as far as limits are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Peer(u64, bool);

impl Peer {
    /// This host.
    #[cfg(test)]
    pub const LOCAL: Self = Self(0x7f00_0001, false);
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits()), false),
            IpAddr::V6(v6) => Self((v6.to_bits() >> 64) as u64, true),
        }
    }
}

/// How many requests a client may make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RateLimit {
    /// How many a second, in the long run.
    pub per_second: f64,
    /// How many at once.
    pub burst: f64,
}

/// The rates of all clients: a bucket of tokens for each, that fills again with time.
#[derive(Debug)]
pub(super) struct Rates {
    limit: RateLimit,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    began: Instant,
    /// When each bucket will be full, in seconds since `began`. One that is full need not be known.
    full_at: HashMap<Peer, f64>,
    swept: f64,
}

impl Rates {
    pub fn new(limit: RateLimit) -> Self {
        let buckets =
            Buckets { began: Instant::now(), full_at: HashMap::new(), swept: f64::NEG_INFINITY };
        Self { limit, buckets: Mutex::new(buckets) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// If there is none: how long until there is one.
    pub fn take(&self, peer: Peer) -> Result<(), Duration> {
        let RateLimit { per_second, burst } = self.limit;
        let mut buckets = lock(&self.buckets);
        let now = buckets.began.elapsed().as_secs_f64();
        let full_at = buckets.full_at.get(&peer).copied().unwrap_or(now).max(now);
        let full_at = full_at + 1.0 / per_second;
        let wait = full_at - now - burst / per_second;
        // Sums of fractions are not exact.
        if wait > 1e-6 {
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        if buckets.make_room(peer, now) {
            buckets.full_at.insert(peer, full_at);
        }
        Ok(())
    }
}

impl Buckets {
    /// Whether this client's bucket can be known.
    fn make_room(&mut self, peer: Peer, now: f64) -> bool {
        if self.full_at.len() < MOST_KNOWN || self.full_at.contains_key(&peer) {
            return true;
        }
        if now - self.swept >= BETWEEN_SWEEPS.as_secs_f64() {
            self.swept = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < MOST_KNOWN
    }
}

/// Something of which no client may have more than a certain part at a time.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    most: u32,
    clients: Arc<Mutex<HashMap<Peer, Arc<Semaphore>>>>,
}

impl Shares {
    /// Of which nobody may have more than `most`.
    pub fn new(most: usize) -> Self {
        // Whoever may have that much may have anything.
        let unlimited = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        Self { most: most.clamp(1, unlimited) as u32, clients: Arc::default() }
    }

    /// So much for a client until the share is dropped, or all that it may have if that is less; once
    /// it has given back enough.
    pub async fn take(&self, peer: Peer, amount: u32) -> Option<Share> {
        let client = self.client(peer);
        let acquired = Arc::clone(&client.places).acquire_many_owned(amount.min(self.most));
        // The semaphores are never closed.
        Some(Share { _permit: acquired.await.ok()?, _client: client })
    }

    /// The same, if it can be had now.
    pub fn try_take(&self, peer: Peer, amount: u32) -> Option<Share> {
        let client = self.client(peer);
        let acquired = Arc::clone(&client.places).try_acquire_many_owned(amount.min(self.most));
        Some(Share { _permit: acquired.ok()?, _client: client })
    }

    fn client(&self, peer: Peer) -> Client {
        let mut clients = lock(&self.clients);
        let new = || Arc::new(Semaphore::new(self.most as usize));
        let places = Arc::clone(clients.entry(peer).or_insert_with(new));
        Client { shares: self.clone(), peer, places }
    }
}

/// Someone who has something, or waits for it.
#[derive(Debug)]
struct Client {
    shares: Shares,
    peer: Peer,
    places: Arc<Semaphore>,
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut clients = lock(&self.shares.clients);
        let all_free = self.places.available_permits() == self.shares.most as usize;
        // The map's reference and this one: new ones come from the map only.
        if all_free && Arc::strong_count(&self.places) == 2 {
            clients.remove(&self.peer);
        }
    }
}

/// What a client has; given back on drop.
#[derive(Debug)]
pub(super) struct Share {
    // Dropped before the client, which sees whether all has been given back.
    _permit: OwnedSemaphorePermit,
    _client: Client,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is ever left half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    fn peer(address: &str) -> Peer {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_half_an_ipv6_address() {
        assert_eq!(peer("192.0.2.1"), peer("::ffff:192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("2001:db8:0:1::1"), peer("2001:db8:0:1:ffff::2"));
        assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
        assert_ne!(peer("0.0.0.1"), peer("0:0:0:1::"));
    }

    /// Time is virtual.
    #[tokio::test(start_paused = true)]
    async fn bursts_are_let_through_and_then_the_rate_counts() {
        let rates = Rates::new(RateLimit { per_second: 4.0, burst: 3.0 });
        let (one, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        for _ in 0..3 {
            assert_eq!(rates.take(one), Ok(()));
        }
        let wait = rates.take(one).unwrap_err();
        assert!((wait.as_secs_f64() - 0.25).abs() < 1e-6, "{wait:?}");
        assert_eq!(rates.take(other), Ok(()));
        // Being turned down costs nothing.
        advance(Duration::from_millis(250)).await;
        assert_eq!(rates.take(one), Ok(()));
        rates.take(one).unwrap_err();
        // No more than the burst is ever saved.
        advance(Duration::from_secs(3600)).await;
        for _ in 0..3 {
            assert_eq!(rates.take(one), Ok(()));
        }
        rates.take(one).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn memory_for_rates_is_bounded_and_nobody_is_locked_out() {
        let rates = Rates::new(RateLimit { per_second: 1.0, burst: 1.0 });
        let known = |rates: &Rates| rates.buckets.lock().unwrap().full_at.len();
        for number in 0..3 * MOST_KNOWN as u64 {
            assert_eq!(rates.take(Peer(number, true)), Ok(()));
        }
        assert_eq!(known(&rates), MOST_KNOWN);
        // Those that are known are still held back.
        rates.take(Peer(0, true)).unwrap_err();
        advance(Duration::from_secs(2)).await;
        assert_eq!(rates.take(Peer(u64::MAX, true)), Ok(()));
        assert_eq!(known(&rates), 1);
    }

    #[tokio::test]
    async fn nobody_has_more_than_a_share_at_a_time() {
        let shares = Shares::new(10);
        let (one, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        let first = shares.try_take(one, 6).unwrap();
        assert!(shares.try_take(one, 5).is_none());
        let second = shares.try_take(one, 3).unwrap();
        assert!(shares.try_take(other, 10).is_some());
        assert!(shares.try_take(one, 2).is_none());
        drop(second);
        // Who wants more than it may have waits until it has nothing else.
        let waiting = shares.take(one, 100);
        tokio::pin!(waiting);
        assert!(timeout(Duration::ZERO, &mut waiting).await.is_err());
        drop(first);
        drop(waiting.await.unwrap());
        assert!(lock(&shares.clients).is_empty());
    }

    /// Or the memory for it would be lost.
    #[tokio::test]
    async fn who_gives_up_waiting_is_forgotten() {
        let shares = Shares::new(1);
        let one = peer("192.0.2.1");
        let first = shares.try_take(one, 1).unwrap();
        {
            let waiting = shares.take(one, 1);
            tokio::pin!(waiting);
            assert!(timeout(Duration::ZERO, &mut waiting).await.is_err());
            drop(first);
            assert_eq!(lock(&shares.clients).len(), 1);
        }
        assert!(lock(&shares.clients).is_empty());
        assert!(shares.try_take(one, 1).is_some());
    }
}
