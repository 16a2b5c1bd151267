//! What a driver can be asked to tell its machine, of whichever version of the protocol.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::settings::Settings;

/// How many commands may wait for the machine.
const WAITING: usize = 16;

/// What the operator can do.
#[derive(Debug)]
pub(crate) enum Action {
    Pause,
    Resume,
    Skip,
    /// From the next round on.
    ChangeSettings(Box<Settings>),
}

/// Something for the machine to be told, and the way back for what came of it.
#[derive(Debug)]
pub(crate) struct Command {
    pub action: Action,
    pub reply: oneshot::Sender<Result<Situation, Refused>>,
}

impl Command {
    /// The way of commands to the machine.
    pub fn channel() -> (mpsc::Sender<Self>, mpsc::Receiver<Self>) {
        mpsc::channel(WAITING)
    }
}

/// Where the coordinator is after a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Situation {
    pub round_id: u64,
    pub phase: String,
    pub paused: bool,
}

/// Why a command was not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The coordinator was stopped.
    Stopped,
    /// For this reason.
    Because(String),
}
