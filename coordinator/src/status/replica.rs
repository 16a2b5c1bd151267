//! Which of several coordinators this one is.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::history::rounded;
use crate::process::time::Instant;

/// What a replica is doing: of several coordinators that are one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// What people call it: its host's name and the port that it listens on.
    pub name: String,
    /// `leader`, `follower`, or `waiting` while the engine cannot be used.
    pub role: String,
    /// Which one leads; null if that is not known.
    pub leader: Option<String>,
    /// The number of the leadership: it grows each time that another one leads.
    pub epoch: u64,
    /// The last entry of the log that was read or written.
    pub position: u64,
    /// So long ago that was the end of the log.
    pub lag_seconds: f64,
    /// Why the engine cannot be used; null if it can.
    pub trouble: Option<String>,
    /// How many updates a follower holds until they are recorded.
    pub held: u64,
    /// How many updates the leader has reserved for other replicas, which hold them.
    pub reserved: u64,
    /// How many letters have no answer yet: a follower's own, and at the leader those of all.
    pub letters: u64,
    /// How many bytes this replica has written to the engine, parts included.
    pub written_bytes: u64,
    /// How many bytes it has read from there.
    pub read_bytes: u64,
    /// All replicas that are alive, this one included.
    pub replicas: Vec<KnownReplica>,
}

/// What a replica has under way, at any time.
#[derive(Debug, Default)]
pub(crate) struct Load {
    held: AtomicU64,
    letters: AtomicU64,
    reserved: AtomicU64,
    written: AtomicU64,
    read: AtomicU64,
}

#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
impl Load {
    /// So much is under way now.
    pub fn set(&self, held: usize, letters: usize) {
        self.held.store(held as u64, Ordering::Relaxed);
        self.letters.store(letters as u64, Ordering::Relaxed);
    }

    /// So many updates are reserved for others.
    pub fn set_reserved(&self, reserved: usize) {
        self.reserved.store(reserved as u64, Ordering::Relaxed);
    }

    /// So many bytes more were written to the engine.
    pub fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many bytes more were read from the engine.
    pub fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A replica that says it is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KnownReplica {
    /// What people call it.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// `leader` or `follower`.
    pub role: String,
    /// Its version.
    pub version: String,
}

#[cfg(feature = "replicas")]
impl KnownReplica {
    /// As it says of itself.
    pub(crate) fn new(name: String, address: String, role: &str, version: &str) -> Self {
        Self { name, address, role: role.to_owned(), version: version.to_owned() }
    }
}

/// What the replica tells the observer.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
pub(crate) struct Replica {
    pub name: String,
    pub is_leader: bool,
    pub leader: Option<String>,
    pub epoch: u64,
    pub position: u64,
    /// When it was at the end of the log; never yet, if there is nothing.
    pub at_end: Option<Instant>,
    pub trouble: Option<String>,
    pub load: Arc<Load>,
    pub replicas: Vec<KnownReplica>,
}

/// A follower that knows nothing new for longer serves nobody well.
const PATIENCE: Duration = Duration::from_secs(10);

impl Replica {
    fn lag(&self) -> Duration {
        match self.at_end {
            // What it knows is the end, as nobody else can write.
            _ if self.is_leader => Duration::ZERO,
            Some(at_end) => at_end.elapsed(),
            None => Duration::MAX,
        }
    }

    fn role(&self) -> &'static str {
        match (&self.trouble, self.is_leader) {
            (_, true) => "leader",
            (None, false) => "follower",
            (Some(_), false) => "waiting",
        }
    }

    pub fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            name: self.name.clone(),
            role: self.role().to_owned(),
            leader: self.leader.clone(),
            epoch: self.epoch,
            position: self.position,
            lag_seconds: self.at_end.map_or(0.0, |_| rounded(self.lag())),
            trouble: self.trouble.clone(),
            reserved: match self.is_leader {
                true => self.load.reserved.load(Ordering::Relaxed),
                false => 0,
            },
            held: self.load.held.load(Ordering::Relaxed),
            letters: self.load.letters.load(Ordering::Relaxed),
            written_bytes: self.load.written.load(Ordering::Relaxed),
            read_bytes: self.load.read.load(Ordering::Relaxed),
            replicas: self.replicas.clone(),
        }
    }

    /// Why it cannot serve, if it cannot.
    pub fn problem(&self) -> Option<String> {
        match &self.trouble {
            Some(trouble) => Some(trouble.clone()),
            None if self.lag() > PATIENCE => {
                Some("the engine was not asked for news for too long".to_owned())
            }
            None if self.leader.is_none() => Some("no replica leads".to_owned()),
            None => None,
        }
    }

    /// Who it is, in a line.
    pub fn line(&self) -> String {
        let Self { name, epoch, position, .. } = self;
        let lag = rounded(self.lag().min(Duration::from_secs(3600)));
        let role = match (&self.leader, self.role()) {
            (Some(leader), "follower") => format!("follower of {leader}"),
            (_, role) => role.to_owned(),
        };
        format!("replica {name}: {role}, epoch {epoch}, log entry {position}, {lag} s behind")
    }
}
