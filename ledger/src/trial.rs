//! What tests do with a ledger while they make its engine fail.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    append_surely, verify_chain, Append, Appended, Ask, EntryHash, Epoch, Head, Lease, Ledger,
    Position, ReplicaId,
};

/// Nothing takes as long.
const DEADLINE: Duration = Duration::from_secs(120);

/// Takes the lease, or renews it: in which epoch, and where the log ends.
///
/// # Panics
/// If that cannot be done.
pub async fn lead(ledger: &dyn Ledger) -> (Epoch, Head) {
    let (replica, name) = (ReplicaId([1; 16]), "one".into());
    let ttl = Duration::from_secs(3600);
    let lease = ledger.lease(Ask { replica, name, ttl, elapsed: None, renews: None }).await;
    let lease = lease.expect("the engine can be asked");
    let Lease::Held { epoch, .. } = lease else { panic!("{lease:?}") };
    (epoch, ledger.head().await.expect("the engine can be asked"))
}

/// One entry behind the end of the log.
pub fn entry(epoch: Epoch, head: &Head, bytes: impl Into<Bytes>) -> Append {
    Append {
        epoch,
        after: head.position,
        hash: head.hash,
        entries: vec![bytes.into()],
        answers: Vec::new(),
        elapsed: None,
    }
}

/// The pause between tries of [`append_surely`], which go on.
pub async fn wait_a_little() -> bool {
    tokio::time::sleep(Duration::from_millis(50)).await;
    true
}

/// Appends one entry after another, whatever happens, until there are so many.
///
/// # Panics
/// If somebody else writes, or more than one is written at once.
pub async fn append_many(ledger: &dyn Ledger, epoch: Epoch, mut head: Head, until: u64) -> Head {
    while head.position < Position(until) {
        let append = entry(epoch, &head, format!("entry {}", head.position.0 + 1));
        let appended = append_surely(ledger, append, |_| wait_a_little()).await;
        let appended = appended.expect("it is tried until it can be done");
        let Appended::Done(now) = appended else { panic!("{appended:?}") };
        assert_eq!(now.position, head.position.later(1));
        head = now;
    }
    head
}

/// Checks that the log has what [`append_many`] has written, each once, up to an end.
///
/// # Panics
/// If it has not.
pub async fn check_log(ledger: &dyn Ledger, head: &Head) {
    let entries = ledger.read(Position(0), 10_000, 1 << 20).await.expect("the log can be read");
    verify_chain(Position(0), EntryHash::default(), &entries).expect("entries follow one another");
    assert_eq!(entries.len() as u64, head.position.0);
    for (number, entry) in (1..).zip(&entries) {
        assert_eq!(entry.bytes, format!("entry {number}").as_bytes());
    }
}

/// Waits until the log is so long.
///
/// # Panics
/// If it never is.
pub async fn until_it_is_at(ledger: &dyn Ledger, position: u64) {
    let deadline = Instant::now() + DEADLINE;
    while ledger.head().await.expect("the engine can be asked").position < Position(position) {
        assert!(Instant::now() < deadline, "nothing is appended");
        tokio::task::yield_now().await;
    }
}
