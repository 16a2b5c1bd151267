//! What the operator tells this replica, on its way to the machine of whoever leads.

use tokio::sync::{mpsc, watch};

use crate::driver::{Command, Refused};

/// Where the operator's commands go now.
#[derive(Clone, Debug)]
pub(super) enum Desk {
    /// To the machine in this process.
    Machine(mpsc::Sender<Command>),
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// Passes commands on, without end.
pub(super) async fn relay(mut commands: mpsc::Receiver<Command>, desk: watch::Receiver<Desk>) {
    while let Some(command) = commands.recv().await {
        let to = desk.borrow().clone();
        let (command, why) = match to {
            Desk::Machine(machine) => match machine.send(command).await {
                Ok(()) => continue,
                Err(mpsc::error::SendError(command)) => {
                    (command, "this replica has just ceased to lead: try again".to_owned())
                }
            },
            Desk::Nowhere(why) => (command, why),
        };
        // Who has hung up does not want to know.
        let _ = command.reply.send(Err(Refused::Because(why)));
    }
}
