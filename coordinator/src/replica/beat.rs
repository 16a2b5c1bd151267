//! Who is alive.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pet_ledger::{Beat, Place, ReplicaId};
use tracing::debug;

use super::{shared::Shared, SharedError, SharedStore};
use crate::{
    process::time::{interval, Duration, MissedTickBehavior},
    status::{KnownReplica, Observer, Replica as Shown},
};

/// How often a replica says that it is alive, at least.
const BEAT: Duration = Duration::from_secs(2);

/// How often a replica says that it is alive, with leases of this length.
fn every(ttl: Duration) -> Duration {
    (ttl / 2).min(BEAT)
}

/// Of a replica that was silent for so long nothing more is waited for. (It may be alive: then it asks again.)
pub(super) fn silence(ttl: Duration) -> Duration {
    every(ttl) * 4
}
/// A replica that has said nothing for longer is not shown as alive.
const ALIVE: Duration = Duration::from_secs(7);

/// What is shown of this replica.
pub(super) fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    // It is changed as a whole.
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that a replica is alive, and looks who else is; without end.
pub(super) async fn beat(
    store: SharedStore,
    (replica, ttl): (ReplicaId, Duration),
    address: String,
    shown: Arc<Mutex<Shown>>,
    observer: Observer,
) {
    let mut ticks = interval(every(ttl));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (name, role) = {
            let shown = lock(&shown);
            (shown.name.clone(), if shown.is_leader { "leader" } else { "follower" })
        };
        let info = [role, env!("CARGO_PKG_VERSION"), &name, &address].join("\n");
        let known = async {
            let shared = store.reach().await?;
            let info = shared.vault().close(Place::Beat(replica), info.as_bytes());
            let beat = Beat { replica, name, address: address.clone(), info };
            shared.ledger().beat(beat).await?;
            let seen = shared.ledger().replicas().await?;
            let alive = seen.into_iter().filter(|seen| seen.age < ALIVE);
            Ok::<_, SharedError>(alive.filter_map(|seen| replica_of(shared, &seen.beat)).collect())
        };
        match known.await {
            Ok(alive) => {
                let mut shown = lock(&shown);
                shown.replicas = alive;
                observer.replica(shown.clone());
            }
            Err(error) => debug!(%error, "the other replicas are not known now"),
        }
    }
}

/// What a replica says of itself; nothing that anybody else has put there.
fn replica_of(shared: &Shared, beat: &Beat) -> Option<KnownReplica> {
    let info = shared.vault().open_at(Place::Beat(beat.replica), &beat.info).ok()?;
    let mut lines = std::str::from_utf8(&info).ok()?.split('\n');
    let (role, version) = (lines.next()?, lines.next()?);
    Some(KnownReplica::new(lines.next()?.to_owned(), lines.next()?.to_owned(), role, version))
}
