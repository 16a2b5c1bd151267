//! What can go wrong.

use crate::{Epoch, PartName, Position};

/// Why an engine did not do what it was asked for. Messages say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The engine cannot be reached, or does not answer in time; nothing was done.
    #[error("{engine} cannot be reached: {why}. It is tried again; check that it runs, and the address in the settings")]
    Unreachable {
        /// Which engine.
        engine: &'static str,
        /// What it said, or the system.
        why: String,
    },
    /// The answer was lost, or did not come in time: what was asked for may have been done, may yet be done, or never.
    #[error("{engine} did not confirm a write, which may have been done or not: {why}. What has become of it is found out before anything else is written")]
    Unknown {
        /// Which engine.
        engine: &'static str,
        /// What it said, or the system.
        why: String,
    },
    /// The engine has no room; nothing was done.
    #[error("{engine} has no room left: {why}. Make room; until then nothing is accepted")]
    NoRoom {
        /// Which engine.
        engine: &'static str,
        /// What it said.
        why: String,
    },
    /// The engine does not take writes; nothing was done.
    #[error("{engine} takes no writes: {why}. Give the address of the primary, or of all hosts, so that the primary is found")]
    ReadOnly {
        /// Which engine.
        engine: &'static str,
        /// What it said.
        why: String,
    },
    /// The engine does not let us in, or not do what it takes.
    #[error("{engine} refuses: {why}. Check user, password and rights: {rights}")]
    Denied {
        /// Which engine.
        engine: &'static str,
        /// What it said.
        why: String,
        /// Which rights it takes.
        rights: &'static str,
    },
    /// The clocks are too far apart for the engine to believe us.
    #[error("{engine} refuses what is asked because of the time: {why}. Set the clocks of both machines (NTP)")]
    Clock {
        /// Which engine.
        engine: &'static str,
        /// How far apart the clocks are, and what it said.
        why: String,
    },
    /// The engine is set up in a way that may lose what was acknowledged.
    #[error("{engine} is not safe as it is set up: {why}. {remedy}")]
    Unsafe {
        /// Which engine.
        engine: &'static str,
        /// What is not safe.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// What is stored has a version that this release does not know.
    #[error("{engine} holds data of version {found}, and this release reads versions {least} to {ours}: {remedy}")]
    Schema {
        /// Which engine.
        engine: &'static str,
        /// The version of what is stored.
        found: u32,
        /// The earliest version that is read.
        least: u32,
        /// The version that is written.
        ours: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// Nothing was set up yet.
    #[error("{engine} holds nothing of a federation called {federation:?}: run `pet-coordinator store init` once")]
    NotInitialized {
        /// Which engine.
        engine: &'static str,
        /// The federation's name in the settings.
        federation: String,
    },
    /// The settings are wrong.
    #[error("{setting}: {why}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The lease has changed hands: who leads in an old epoch must stop leading.
    #[error("another replica leads: the latest epoch is {epoch}")]
    Fenced {
        /// The latest epoch.
        epoch: Epoch,
    },
    /// Entries that were asked for are not kept any more.
    #[error(
        "the log begins at entry {first}: what was before it is forgotten, read again from there"
    )]
    Forgotten {
        /// Where the first entry is that is kept.
        first: Position,
    },
    /// Too many letters wait; nothing was posted.
    #[error("{waiting} letters wait for the leader already, and the limit is {most}: try again once it has answered some")]
    Full {
        /// How many wait.
        waiting: usize,
        /// How many may.
        most: usize,
    },
    /// More than the [limits](crate::Limits).
    #[error("{what} is {number}, and the limit is {most}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much.
        number: usize,
        /// How much it may be.
        most: usize,
    },
    /// There are other bytes of that name.
    #[error("there is a part {name} already, with other bytes: parts never change")]
    PartDiffers {
        /// The part.
        name: PartName,
    },
    /// What is stored is not what was stored.
    #[error("{what} is damaged, or was changed by somebody else: restore the engine from a backup, or set it up anew")]
    Damaged {
        /// What.
        what: String,
    },
    /// The engine answers what cannot be.
    #[error("{engine} gave an error: {why}")]
    Engine {
        /// Which engine.
        engine: &'static str,
        /// What it said.
        why: String,
    },
}

impl LedgerError {
    /// Whether it may pass by itself, or by what somebody does with the engine: whoever waits is told to come back.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Unknown { .. }
                | Self::NoRoom { .. }
                | Self::ReadOnly { .. }
                | Self::Full { .. }
                | Self::Engine { .. }
        )
    }

    /// Whether what was asked for may have been done, or may yet be done.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}
