//! What the driver can be asked to tell the machine.

use pet_core::coordinator::{Input, Phase, Reject};
use tokio::sync::{mpsc, oneshot};

/// How many commands may wait for the machine.
const WAITING: usize = 16;

/// Something for the machine to be told, and the way back for what came of it.
#[derive(Debug)]
pub(crate) struct Command {
    pub input: Input,
    pub reply: oneshot::Sender<Result<Situation, Reject>>,
}

impl Command {
    /// The way of commands to the machine.
    pub fn channel() -> (mpsc::Sender<Self>, mpsc::Receiver<Self>) {
        mpsc::channel(WAITING)
    }
}

/// Where the coordinator is after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    pub round_id: u64,
    pub phase: Phase,
    pub paused: bool,
}
