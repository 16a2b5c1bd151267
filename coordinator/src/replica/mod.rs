//! Several coordinators that are one: replicas, which share an engine.
//!
//! One of them leads: it holds the lease, runs the machine, and writes each record into the log. The others follow: they
//! read the log, and answer with what it leads to. Messages that come to them go to whoever leads, as letters (core's
//! `relay`); of updates the masked models stay, and are added up where they came in. Who leads and dies, or cannot reach the engine, is followed by
//! another one, in the same round.
//!
//! What is true is what is in the log. A leader's appends are fenced by its epoch, so that nothing depends on clocks but
//! how long it takes until another one leads.

mod archive;
mod beat;
mod commands;
mod error;
pub(crate) mod flaws;
mod follower;
mod found;
mod inbox;
mod item;
mod kept;
mod lead;
mod lease;
mod letters;
mod log;
mod mail;
mod models;
mod open;
mod pace;
mod relaying;
mod run;
mod shared;
#[cfg(test)]
mod simulation;
mod store;
mod tiers;
mod writer;

pub(crate) use self::{
    found::{found, renew, Found},
    run::{Around, Replica},
};
use pet_ledger::LedgerError;

pub use self::{
    error::SharedError,
    open::{init_shared, open_shared},
    shared::SharedStore,
};

/// How long a start waits for the engine.
const LOOK: std::time::Duration = std::time::Duration::from_secs(5);

/// Looks whether the engine can be used at all: what can only be mended by hand is said at once, the rest is waited for.
pub(crate) async fn look(shared: &SharedStore) -> Result<(), SharedError> {
    match tokio::time::timeout(LOOK, shared.open()).await {
        Ok(Err(
            error @ SharedError::Ledger(LedgerError::Denied { .. } | LedgerError::Clock { .. }),
        )) => Err(error),
        Ok(Err(error)) if !error.is_passing() => Err(error),
        _ => Ok(()),
    }
}

/// What people call a replica that listens there: its host's name and the port.
pub(crate) fn name(address: std::net::SocketAddr) -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}:{}", host.as_deref().unwrap_or("localhost"), address.port())
}
