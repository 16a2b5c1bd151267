//! Takes a message from its sealed bytes to the machine, and the answer back to its sender.

use std::{fmt::Display, sync::Arc};

use bytes::Bytes;
use pet_core::{
    coordinator::{Phase, Rejection, Verified},
    message::ReassemblyError,
    request::{Call, Response},
};
use tokio::sync::{oneshot, watch};
use tracing::{debug, error, Instrument};

use crate::{
    board::Board,
    driver::{is_for_shutdown, Delivery},
    http::{Rounds, Unprocessed, Upload},
    metrics::Counters,
    models::{Library, Published, Unavailable},
    opener::{Opened, Opener},
    process::{spawn, spawn_blocking, time::Instant},
    route::{Routes, Way},
    store::Models,
};

/// Opens messages, on as many threads as there are cores, and delivers what opens.
#[derive(Clone)]
pub(crate) struct Intake {
    board: watch::Receiver<Board>,
    counters: Arc<Counters>,
    routes: Routes,
    opener: Opener,
    models: Arc<dyn Models>,
    library: Arc<Library>,
    stop: watch::Receiver<bool>,
}

impl Intake {
    pub fn new(
        board: watch::Receiver<Board>,
        counters: Arc<Counters>,
        routes: impl Into<Routes>,
        models: Arc<dyn Models>,
        library: Arc<Library>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let opener = Opener::new(board.clone());
        Self { board, counters, routes: routes.into(), opener, models, library, stop }
    }

    async fn process(self, upload: Upload) -> Result<(), Unprocessed> {
        let Upload { bytes, place } = upload;
        // Nothing final is said of it on the word of what was known before.
        let arrived = Instant::now();
        let way = self.routes.now()?;
        let length = bytes.len();
        let (message, round) = self.open(bytes, &way, arrived).await?;
        let (reply, outcome) = oneshot::channel();
        let delivery = Delivery { message, reply };
        way.deliver.send(delivery).await.map_err(|_| way.gone())?;
        let outcome = outcome.await.map_err(|_| way.gone())?;
        // The message's memory was in use until here.
        drop(place);
        let Err(rejection) = outcome else {
            return Ok(());
        };
        if is_for_shutdown(&rejection) {
            return Err(Unprocessed::Stopped);
        }
        log(rejection.label(), length as u64, &rejection);
        match rejection {
            // Not the message's fault: with a 200 its sender would believe it delivered.
            Rejection::Chunk(ReassemblyError::NoRoom) => Err(Unprocessed::NoRoom),
            Rejection::InProgress(_) => Err(Unprocessed::InProgress),
            Rejection::StoreBehind => Err(Unprocessed::StoreBehind),
            Rejection::ShardFull => Err(Unprocessed::Full),
            _ if !way.is_answer_sure() && !way.is_sure_after(arrived).await => Err(way.gone()),
            rejection => Err(Unprocessed::Rejected(rejection.problem(round))),
        }
    }

    /// Opens a message, with the latest that is known of the round; gives the round's number, too.
    async fn open(
        &self,
        sealed: Vec<u8>,
        way: &Way,
        arrived: Instant,
    ) -> Result<(Verified, u64), Unprocessed> {
        let length = sealed.len();
        let mut sealed = Some(sealed);
        loop {
            let known = self.known();
            let bytes = sealed.take().unwrap_or_default();
            // It is opened where it lies: what may have to be opened once more is copied.
            sealed = way.may_be_behind().then(|| bytes.clone());
            let Opened { round, message } = self.opener.open(bytes).await.ok_or_else(|| {
                error!(length, "opening a message panicked; please report this");
                Unprocessed::Bug
            })?;
            let round = round.ok_or(Unprocessed::Stopped)?;
            let rejection = match message {
                Ok(message) => return Ok((message, round)),
                Err(rejection) if is_for_shutdown(&rejection) => return Err(Unprocessed::Stopped),
                Err(rejection) => rejection,
            };
            // It may be right for the round that others know of by now.
            if !way.is_sure_after(arrived).await {
                return Err(way.gone());
            }
            match known != self.known() && way.is_shared() {
                true if sealed.is_some() => continue,
                // What others know was known here too late, and the message is gone.
                true => return Err(way.gone()),
                false => {}
            }
            self.counters.rejected(rejection.label());
            log(rejection.label(), length as u64, &rejection);
            return Err(Unprocessed::Rejected(rejection.problem(round)));
        }
    }

    /// The round and phase that are known here.
    fn known(&self) -> (Option<u64>, Phase) {
        let board = self.board.borrow();
        (board.front().round_id(), board.front().phase())
    }
}

/// Says why a message was rejected. Not from whom: anyone can write any name into a message. And not to everybody:
/// anyone can fill a log so. The driver sums up.
fn log(label: &'static str, length: u64, reason: &dyn Display) {
    debug!(reason = label, length, "message rejected: {reason}");
}

impl Rounds for Intake {
    async fn answer(&self, call: Call) -> Response {
        let front = self.board.borrow().front().clone();
        let answer = match &call {
            // Collecting a column of the seed dictionary takes as long as there are updates.
            Call::Seeds(_) | Call::SeedsOf(..) => {
                let core = self.opener.core().await;
                let answer = spawn_blocking(move || {
                    let answer = front.answer(&call);
                    drop(core);
                    answer
                });
                answer.await.ok().flatten()
            }
            _ => front.answer(&call),
        };
        // Nothing but a bug leaves one of these calls unanswered.
        answer.unwrap_or_else(|| Response::new(500, Bytes::new()))
    }

    fn is_there(&self, call: &Call) -> bool {
        let board = self.board.borrow();
        match call {
            // Of another round: that is told at once.
            call if call.round().is_some_and(|round| !board.front().is_of(round)) => true,
            Call::Sums | Call::SumsOf(_) => board.front().sums().is_some(),
            // In time for one participant, in time for all.
            Call::Seeds(_) | Call::SeedsOf(..) => board.front().seeds().is_some(),
            _ => true,
        }
    }

    fn params(&self) -> Option<Bytes> {
        let board = self.board.borrow();
        board.front().parameters().map(|parameters| parameters.to_bytes().into())
    }

    fn model(&self) -> Option<Arc<Published>> {
        self.board.borrow().model().cloned()
    }

    async fn is_recent(&self) -> bool {
        let asked = Instant::now();
        // Once more if it has changed meanwhile which replica leads.
        for _ in 0..2 {
            let Ok(way) = self.routes.soon().await else { return false };
            let is_sure = tokio::select! {
                biased;
                is_sure = way.is_sure_after(asked) => is_sure,
                () = self.routes.lead_nowhere() => false,
            };
            if is_sure {
                return true;
            }
        }
        false
    }

    fn kept_rounds(&self) -> Vec<u64> {
        self.models.rounds()
    }

    async fn kept_model(
        &self,
        round_id: u64,
        wanted: impl Fn() -> bool + Send + Sync,
    ) -> Result<Option<Arc<Published>>, Unavailable> {
        if let Some(latest) = self.model().filter(|model| model.round_id() == round_id) {
            return Ok(Some(latest));
        }
        self.library.load(&self.models, round_id, wanted).await
    }

    async fn until(&self, is_so: impl Fn() -> bool + Send + Sync) {
        let (mut board, mut stop) = (self.board.clone(), self.stop.clone());
        let look = async {
            loop {
                board.mark_unchanged();
                if is_so() || board.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = look => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    fn max_message_len(&self) -> usize {
        self.board.borrow().max_message_len()
    }

    fn not_received(&self, label: &'static str, length: u64, reason: &dyn Display) {
        self.counters.rejected(label);
        log(label, length, reason);
    }

    async fn message(&self, upload: Upload) -> Result<(), Unprocessed> {
        self.counters.received(upload.bytes.len());
        // A task of its own: a message that has arrived is processed, even if its sender hangs up.
        match spawn(self.clone().process(upload).in_current_span()).await {
            Ok(result) => result,
            Err(error) => {
                error!(%error, "processing a message panicked; please report this");
                Err(Unprocessed::Bug)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pet_core::{
        coordinator::{Coordinator as Machine, PersistId, Record},
        crypto::{EncryptKeyPair, RootSeed, Seed, SigningKeyPair, Task, TaskSignatures},
        message::{Frame, SumPayload, Tag},
        round::RoundParameters,
    };

    use super::*;
    use crate::{
        driver::{Clock, Driver, DriverError},
        settings::Settings,
        status, Confirmations, Store,
    };

    /// Confirms that a round has begun, and nothing else, so that the end takes a while.
    struct Stuck(watch::Sender<PersistId>);

    impl Store for Stuck {
        fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations) {
            self.0.send_replace(id);
            if let Record::RoundBegan { .. } = record {
                confirmations.stored(id);
            }
        }
    }

    /// The message of the first sum participant that there is.
    fn sum_message(parameters: &RoundParameters) -> Vec<u8> {
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([3; 32]));
        let (keys, signatures) = (0..=u8::MAX)
            .map(|byte| SigningKeyPair::from_seed(&Seed::new([byte; 32])))
            .map(|keys| (TaskSignatures::sign(&keys, &parameters.seed), keys))
            .find(|(signed, _)| signed.task(parameters.sum, parameters.update) == Task::Sum)
            .map(|(signatures, keys)| (keys, signatures))
            .unwrap();
        let payload =
            SumPayload { sum_signature: signatures.sum, ephemeral_key: ephemeral.public() };
        let mut frame = Frame::with_capacity(SumPayload::LENGTH);
        payload.write_to(frame.buffer_mut());
        frame.seal(&keys, &parameters.pk, Tag::Sum, false, &ephemeral).unwrap()
    }

    /// A client would take a 200 for a message that nobody ever looked at. (Time is virtual.)
    #[tokio::test(start_paused = true)]
    async fn a_message_that_comes_while_the_coordinator_ends_is_to_be_sent_again() {
        let clock = Clock::start();
        let settings = Settings::for_model_length(4).protocol();
        let machine = Machine::new(settings, RootSeed::new([1; 32]), clock.now()).unwrap();
        let parameters = Arc::clone(machine.parameters());
        let counters = Arc::new(Counters::default());
        let (board, mut shown) = watch::channel(Board::new(1 << 20, Arc::default()));
        let (_stop, stopped) = watch::channel(false);
        let (observer, ..) = status::channel(Arc::clone(&counters), stopped);
        let (storing, mut stored) = watch::channel(PersistId(0));
        let store = Box::new(Stuck(storing));
        let (driver, deliver) =
            Driver::new(machine, clock, board, Arc::clone(&counters), observer, store);
        let models = crate::Volatile::default().models();
        let (_running, stopping) = watch::channel(false);
        let intake = Intake::new(
            shown.clone(),
            Arc::clone(&counters),
            deliver,
            models,
            Arc::default(),
            stopping,
        );
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(driver.run(stopped));
        shown.wait_for(|board| board.front().phase() == Phase::Sum).await.unwrap();
        let upload = || Upload { bytes: sum_message(&parameters), place: None };
        // It is never stored, so its sender waits until the end.
        let waiting = tokio::spawn({
            let (intake, upload) = (intake.clone(), upload());
            async move { intake.message(upload).await }
        });
        stored.wait_for(|id| *id > PersistId(1)).await.unwrap();
        drop(stop);
        shown.wait_for(|board| board.front().phase() == Phase::Shutdown).await.unwrap();

        let processed = intake.message(upload()).await;
        assert_eq!(processed, Err(Unprocessed::Stopped));
        assert_eq!(counters.read().rejections.total(), 0);
        assert!(matches!(running.await.unwrap(), Err(DriverError::StoreStuck)));
        assert_eq!(waiting.await.unwrap(), Err(Unprocessed::Stopped));
    }
}
