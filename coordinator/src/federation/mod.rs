//! Rounds of version 2: what is different about a coordinator of a federation.
//!
//! The parts are those of version 1 with another machine in the middle: an [`intake`] that opens messages on all cores, a
//! [`driver`] that owns the machine, a store with an archive that large objects are read back from.

mod board;
mod driver;
mod intake;
mod models;
mod settings;

use std::sync::Arc;

use pet_core::v2::coordinator::Coordinator;
use tokio::sync::watch;

pub(crate) use self::{
    board::Board,
    driver::{Clock, Driver},
    intake::Intake,
    models::CompletedModels,
    settings::{read_roster, tell_noise},
};
pub use self::{models::completed_models, settings::RosterError};
use crate::{
    metrics::Counters,
    models::Library,
    status::Observer,
    store::rounds::{Archive, RestoredRounds, RoundStore},
};

/// A federation's coordinator, ready to run: its driver, and what takes messages and answers calls.
pub(crate) struct Parts {
    pub driver: Driver,
    pub intake: Intake,
    pub models: Arc<CompletedModels>,
}

/// What a federation's coordinator shares with the rest of the program.
pub(crate) struct Surroundings {
    pub counters: Arc<Counters>,
    pub observer: Observer,
    pub library: Arc<Library>,
    pub stop: watch::Receiver<bool>,
    /// No message of version 1 is longer: all of them are refused, but received.
    pub max_message_len: usize,
}

impl Parts {
    /// Connects a machine that goes on from `restored`.
    pub fn new(
        machine: Coordinator,
        clock: Clock,
        restored: &RestoredRounds,
        store: Box<dyn RoundStore>,
        around: Surroundings,
    ) -> Self {
        let Surroundings { counters, observer, library, stop, max_message_len } = around;
        let archive: Arc<dyn Archive> = store.archive();
        observer.restored_rounds(machine.settings(), restored);
        let models = Arc::new(CompletedModels::new(Arc::clone(&archive)));
        let board = Board::new(Arc::clone(&library), max_message_len);
        let (board, read_board) = watch::channel(board);
        let (driver, deliver) = Driver::new(
            machine,
            clock,
            board,
            Arc::clone(&counters),
            observer,
            store,
            Arc::clone(&archive),
        );
        let intake =
            Intake::new(read_board, counters, deliver, archive, models.clone(), library, stop);
        Self { driver, intake, models }
    }
}
