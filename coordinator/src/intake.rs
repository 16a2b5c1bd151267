//! The way of a message from its sealed bytes to the machine and its sender's answer.

use std::{sync::Arc, thread};

use bytes::Bytes;
use pet_core::{
    coordinator::Rejection,
    message::ReassemblyError,
    request::{Call, Response},
};
use tokio::{
    sync::{mpsc, oneshot, watch, Semaphore},
    task::spawn_blocking,
};
use tracing::{error, info};

use crate::{
    board::Board,
    driver::Delivery,
    http::{Rounds, Unprocessed, Upload},
    metrics::Counters,
};

/// Opens messages, on as many threads as there are cores, and delivers what opens.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    board: watch::Receiver<Board>,
    counters: Arc<Counters>,
    deliver: mpsc::Sender<Delivery>,
    cores: Arc<Semaphore>,
}

impl Intake {
    pub fn new(
        board: watch::Receiver<Board>,
        counters: Arc<Counters>,
        deliver: mpsc::Sender<Delivery>,
    ) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { board, counters, deliver, cores: Arc::new(Semaphore::new(cores)) }
    }

    async fn process(self, upload: Upload) -> Result<(), Unprocessed> {
        let Upload { bytes, share } = upload;
        let core = self.cores.acquire().await.map_err(|_| Unprocessed::Stopped)?;
        // Only now: while this message waited its turn a new phase may have begun.
        let context = self.board.borrow().context().cloned().ok_or(Unprocessed::Stopped)?;
        let length = bytes.len();
        let opened = spawn_blocking(move || context.open(bytes)).await;
        drop(core);
        let opened = opened.map_err(|error| {
            error!(%error, length, "opening a message panicked; please report this");
            Unprocessed::Bug
        })?;
        let message = match opened {
            Ok(message) => message,
            Err(rejection) => {
                self.counters.rejected(rejection.label());
                log(&rejection, length);
                return Ok(());
            }
        };
        let (reply, outcome) = oneshot::channel();
        let delivery = Delivery { message, reply };
        self.deliver.send(delivery).await.map_err(|_| Unprocessed::Stopped)?;
        let outcome = outcome.await.map_err(|_| Unprocessed::Stopped)?;
        // The message's memory was in use until here.
        drop(share);
        let Err(rejection) = outcome else {
            return Ok(());
        };
        log(&rejection, length);
        match rejection {
            // Not the message's fault: with a 200 its sender would believe it delivered.
            Rejection::Chunk(ReassemblyError::NoRoom) => Err(Unprocessed::NoRoom),
            _ => Ok(()),
        }
    }
}

/// Says why a message was rejected. Not from whom: anyone can write any name into a message.
fn log(rejection: &Rejection, length: usize) {
    info!(reason = rejection.label(), length, "message rejected: {rejection}");
}

impl Rounds for Intake {
    async fn answer(&self, call: Call) -> Response {
        let bulletin = self.board.borrow().bulletin().clone();
        let answer = match &call {
            // Collecting a column of the seed dictionary takes as long as there are updates.
            Call::Seeds(_) => {
                let _core = self.cores.acquire().await;
                spawn_blocking(move || bulletin.answer(&call)).await.ok().flatten()
            }
            _ => bulletin.answer(&call),
        };
        // Nothing but a bug leaves one of these calls unanswered.
        answer.unwrap_or_else(|| Response { status: 500, body: Bytes::new() })
    }

    fn max_message_len(&self) -> usize {
        self.board.borrow().max_message_len()
    }

    async fn message(&self, upload: Upload) -> Result<(), Unprocessed> {
        // A task of its own: a message that has arrived is processed, even if its sender hangs up.
        match tokio::spawn(self.clone().process(upload)).await {
            Ok(result) => result,
            Err(error) => {
                error!(%error, "processing a message panicked; please report this");
                Err(Unprocessed::Bug)
            }
        }
    }
}
