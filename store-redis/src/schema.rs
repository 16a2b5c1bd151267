//! What is under which key.

use pet_ledger::{LedgerError, SCHEMA};

use crate::{
    error::Does,
    reply,
    scripts::{INITIALIZE, RIGHTS},
    server::{Args, Lane, Server},
    ENGINE,
};

/// The earliest version of what is stored that is taken as it is: that of the release before.
pub(crate) const LEAST: u32 = if SCHEMA > 1 { SCHEMA - 1 } else { 1 };

/// The keys of a federation, behind its prefix, as scripts name them:
///
/// - `ledger`, a hash: `schema`, `epoch`, `replica`, `name` and `until` of the lease, `position` and `hash` of the last entry,
///   `first` (the first that is kept), `before` (the hash of the one in front of it), `swept` (the first that is not removed),
///   `elapsed_at`, `elapsed`, `elapsed_said`, `letter` (the last id), `header`. Times are microseconds.
/// - `entries`, a hash: position -> epoch (16 digits), hash (32 bytes), what it says.
/// - `inbox`, a sorted set of the ids of letters that wait; `letters`, a hash: id -> sender (16 bytes), kind (1), length of the
///   key (4, big-endian), key, body; `names`, a hash: id -> name (32 bytes, or none), sender; `once`, a hash: name -> id;
///   `of`, a set in the order of its members: sender, id (16 digits). The name is a hash of sender, kind and key.
/// - `answers`, a hash: replica, id (16 digits) -> what it says; `answered`, a set of these names in their order.
/// - `beats`, a hash: replica -> what it says; `beaten`, a sorted set of replicas by when they said it.
/// - `parts`, a hash: name -> hash (32 bytes), length (16 digits), when it was stored (16 digits). Slices are in a key for each
///   part, `part:` and its name, a hash: number -> bytes. While they are sent that key is called `sent:` and a number, and the
///   server removes it after an hour.
///
/// On the channel with the name of the first key an empty message says that something has changed.
pub(crate) const KEYS: [&str; 12] = [
    "ledger", "entries", "inbox", "letters", "names", "once", "of", "answers", "answered", "beats",
    "beaten", "parts",
];

/// Makes the ledger, if it is not there.
pub(crate) async fn initialize(server: &Server) -> Result<(), LedgerError> {
    let args = Args::new().number(u64::from(SCHEMA));
    let found = server.run(Lane::Quick, Does::Write, &INITIALIZE, &[], args).await?;
    let found = reply::number_of(&reply::bytes(found)?)?;
    version(u32::try_from(found).unwrap_or(u32::MAX))?;
    check(server).await
}

/// Refuses a ledger that is not there, or of a version that is not known, and a user who may not do all that it takes.
pub(crate) async fn check(server: &Server) -> Result<(), LedgerError> {
    let probes = [server.key(&format!("probe:{}", fresh())), server.key("probe")];
    server.run(Lane::Quick, Does::Read, &RIGHTS, &probes, Args::new()).await.map(drop)
}

/// A number that nobody else has, as far as a process can tell.
pub(crate) fn fresh() -> String {
    use std::{
        collections::hash_map::RandomState,
        hash::{BuildHasher, Hasher},
    };
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Refuses a version that is not known.
pub(crate) fn version(found: u32) -> Result<(), LedgerError> {
    let remedy = match found {
        LEAST..=SCHEMA => return Ok(()),
        _ if found > SCHEMA => "update this replica to the release that the others run",
        _ => "update to the release in between first, and let it migrate",
    };
    Err(LedgerError::Schema { engine: ENGINE, found, least: LEAST, ours: SCHEMA, remedy })
}
