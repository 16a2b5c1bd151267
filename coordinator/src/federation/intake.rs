//! Takes a message from its bytes to the machine, and the answer back to its sender; and answers calls.

use std::{fmt::Display, sync::Arc};

use bytes::Bytes;
use pet_core::{
    model::DataType,
    problem::Problem,
    request::{self, Response},
    v2::{
        coordinator::{Answer, Completed, Front, MessageKind, Object, ObjectKind, Rejection},
        Call, InvalidCall,
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch, Mutex, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};
use tracing::{debug, error, Instrument};

use super::{
    driver::Delivery,
    models::{weights_only, CompletedModels},
    Board,
};
use crate::{
    driver::cores,
    http::{Federation, Fetched, Rounds, Unprocessed, Upload},
    metrics::Counters,
    models::{Library, Published, Unavailable},
    store::{rounds::Archive, Models},
};

/// So many objects are read at a time: each takes the memory of a masked model until it counts among the answers.
const READING: usize = 4;

/// Opens messages, on as many threads as there are cores, and delivers what opens.
#[derive(Clone)]
pub(crate) struct Intake {
    board: watch::Receiver<Board>,
    counters: Arc<Counters>,
    deliver: mpsc::Sender<Delivery>,
    cores: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    archive: Arc<dyn Archive>,
    models: Arc<dyn Models>,
    library: Arc<Library>,
    /// The earlier round that was last asked for: an audit asks many times.
    past: Arc<Mutex<Option<Arc<Completed>>>>,
    stop: watch::Receiver<bool>,
}

impl Intake {
    pub fn new(
        board: watch::Receiver<Board>,
        counters: Arc<Counters>,
        deliver: mpsc::Sender<Delivery>,
        archive: Arc<dyn Archive>,
        models: Arc<CompletedModels>,
        library: Arc<Library>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let cores = Arc::new(Semaphore::new(cores()));
        let reading = Arc::new(Semaphore::new(READING));
        let past = Arc::default();
        Self { board, counters, deliver, cores, reading, archive, models, library, past, stop }
    }

    fn front(&self) -> Front {
        self.board.borrow().front().clone()
    }

    async fn process(self, target: String, upload: Upload) -> Result<(), Unprocessed> {
        let Upload { bytes, place } = upload;
        let length = bytes.len();
        let core = self.core().await;
        // Only now: while this message waited its turn a new phase may have begun.
        let front = self.front();
        let round = front.round();
        let opened = spawn_blocking(move || {
            let call = Call::parse("POST", &target, DataType::F32, bytes.into());
            let opened = call.map_err(Rejection::from).and_then(|call| front.open(call));
            drop(core);
            opened
        });
        let opened = opened.await.map_err(|error| {
            error!(%error, length, "opening a message panicked; please report this");
            Unprocessed::Bug
        })?;
        let message = match opened {
            Ok(message) => message,
            Err(Rejection::Stopped) => return Err(Unprocessed::Stopped),
            Err(rejection) => {
                self.counters.rejected(rejection.label());
                log(rejection.label(), length as u64, &rejection);
                return Err(Unprocessed::Rejected(rejection.problem(round)));
            }
        };
        let (reply, outcome) = oneshot::channel();
        let delivery = Delivery { message, reply };
        self.deliver.send(delivery).await.map_err(|_| Unprocessed::Stopped)?;
        let outcome = outcome.await.map_err(|_| Unprocessed::Stopped)?;
        // The message's memory was in use until here.
        drop(place);
        outcome.map_err(|rejection| match rejection {
            Rejection::Stopped => Unprocessed::Stopped,
            rejection => {
                log(rejection.label(), length as u64, &rejection);
                Unprocessed::Rejected(rejection.problem(round))
            }
        })
    }

    /// The right to keep a core busy. It goes along with the work: who waits for the work may go away
    /// before it is done.
    async fn core(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.cores).acquire_owned().await.ok()
    }

    /// A front that answers for the round that a call is about, if that is kept.
    async fn front_for(&self, call: &Call) -> Front {
        let front = self.front();
        let latest = front.completed().map(|completed| completed.round());
        let asked = match call {
            Call::Model { round, .. } | Call::Certificate { round } => *round,
            Call::Proof { round, .. }
            | Call::Statements { round, .. }
            | Call::MaskedModel { round, .. }
            | Call::GroupMask { round, .. } => Some(*round),
            _ => None,
        };
        match asked.filter(|round| Some(*round) != latest) {
            None => front,
            Some(round) => match self.past(round).await {
                Some(completed) => front.with_completed(Some(completed)),
                None => front,
            },
        }
    }

    /// An earlier round, if it is kept. One is read at a time, and one is held.
    async fn past(&self, round: u64) -> Option<Arc<Completed>> {
        if !self.archive.rounds().contains(&round) {
            return None;
        }
        let mut past = self.past.lock().await;
        if let Some(completed) = past.as_ref().filter(|completed| completed.round() == round) {
            return Some(Arc::clone(completed));
        }
        let archive = Arc::clone(&self.archive);
        let read = spawn_blocking(move || archive.completed(round)).await;
        match read {
            Ok(Ok(completed)) => {
                past.clone_from(&completed);
                completed
            }
            Ok(Err(error)) => {
                error!(%error, round, "a completed round cannot be read");
                None
            }
            Err(error) => {
                error!(%error, round, "reading a completed round panicked; please report this");
                None
            }
        }
    }

    async fn object(&self, object: Object) -> Fetched {
        let Ok(turn) = Arc::clone(&self.reading).try_acquire_owned() else { return Fetched::Busy };
        let archive = Arc::clone(&self.archive);
        let read = spawn_blocking(move || {
            let read = archive.object(&object);
            drop(turn);
            read
        });
        match read.await {
            Ok(Ok(Some(bytes))) => Fetched::Object { name: name(&object), bytes },
            Ok(Ok(None)) => {
                let detail = format!("{object} is not kept any more");
                answer_problem(Problem::new("not_there", 404, "It is not published", detail))
            }
            Ok(Err(error)) => {
                error!(%error, %object, "a stored object cannot be read");
                let detail = "it cannot be read: the coordinator's log says why";
                answer_problem(Problem::new("unreadable", 500, "It cannot be read", detail))
            }
            Err(error) => {
                error!(%error, %object, "reading an object panicked; please report this");
                let detail = "it cannot be read: the coordinator's log says why";
                answer_problem(Problem::new("unreadable", 500, "It cannot be read", detail))
            }
        }
    }
}

/// A name that no other object has, for entity tags.
fn name(object: &Object) -> String {
    match object.kind {
        ObjectKind::Mask { group, digest } => format!("{}_{group}_{digest}", object.round),
        ObjectKind::Update(updater) => format!("{}_{updater}", object.round),
        // Of a later core: all that can be said is that nothing else has this name.
        _ => format!("{}_", object.round),
    }
}

fn answer_problem(problem: Problem) -> Fetched {
    Fetched::Answer(Response::new(problem.status, problem.to_json()))
}

/// Says why a message was rejected. Not to everybody: anyone can fill a log so. The driver sums up.
fn log(label: &'static str, length: u64, reason: &dyn Display) {
    debug!(reason = label, length, "message rejected: {reason}");
}

/// Participants of version 1 find a round in which nobody is drawn, and wait.
impl Rounds for Intake {
    async fn answer(&self, call: request::Call) -> Response {
        // Nothing but a bug leaves one of these calls unanswered.
        self.front().answer_v1(&call).unwrap_or_else(|| Response::new(500, Bytes::new()))
    }

    /// Nobody is drawn, and there will be none.
    fn is_there(&self, _: &request::Call) -> bool {
        true
    }

    fn params(&self) -> Option<Bytes> {
        let answer = self.board.borrow().front().answer_v1(&request::Call::Params)?;
        (answer.status == 200).then_some(answer.body)
    }

    fn model(&self) -> Option<Arc<Published>> {
        self.board.borrow().model().cloned()
    }

    async fn is_recent(&self) -> bool {
        true
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
        let label = "version_1";
        let detail = "this coordinator's rounds are of version 2 of the protocol, and take no messages of version 1: pin \
                      its roster, or use another coordinator";
        self.counters.rejected(label);
        log(label, upload.bytes.len() as u64, &detail);
        let mut problem = Problem::new(label, 409, "The rounds are of version 2", detail);
        problem.round = self.front().round();
        Err(Unprocessed::Rejected(problem))
    }
}

impl Federation for Intake {
    fn read(&self, method: &str, target: &str, body: Bytes) -> Result<Call, InvalidCall> {
        let front = self.front();
        let data_type = front.completed().map(|completed| completed.model.data_type());
        Call::parse(method, target, data_type.unwrap_or(DataType::F32), body)
    }

    async fn fetch(&self, call: Call) -> Fetched {
        let front = self.front_for(&call).await;
        let is_short = matches!(
            call,
            Call::Roster
                | Call::Announcements
                | Call::Votes
                | Call::Certificate { .. }
                | Call::Model { .. }
        );
        let answer = if is_short {
            Some(front.answer(&call))
        } else {
            // Pages of entries take as long as there are entries in them.
            let core = self.core().await;
            let answer = spawn_blocking(move || {
                let answer = front.answer(&call);
                drop(core);
                answer
            });
            answer.await.ok()
        };
        match answer {
            Some(Answer::Ready(response)) => Fetched::Answer(response),
            Some(Answer::Object(object)) => self.object(object).await,
            Some(Answer::Model(completed)) => {
                let latest = self.model().filter(|model| model.round_id() == completed.round());
                // The old form, which nobody asks for here, takes time to make.
                let new = || Arc::new(Published::new(weights_only(&completed)));
                Fetched::Model(latest.unwrap_or_else(new))
            }
            // Nothing but a bug leaves one of these calls unanswered.
            _ => answer_problem(Problem::new(
                "internal_error",
                500,
                "The coordinator has a fault",
                "its log says more",
            )),
        }
    }

    fn view(&self) -> Bytes {
        self.board.borrow().front().view().to_bytes().into()
    }

    fn stage(&self) -> Arc<str> {
        self.board.borrow().stage().borrow().clone()
    }

    async fn until_stage(&self, is_so: impl Fn(&str) -> bool + Send + Sync) {
        let (mut stage, mut stop) = (self.board.borrow().stage(), self.stop.clone());
        tokio::select! {
            _ = stage.wait_for(|stage| is_so(stage)) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    fn max_body(&self, path: &str) -> usize {
        let front = self.front();
        let call = Call::parse("POST", &format!("{path}?{ANY}"), DataType::F32, Bytes::new());
        let kind = call.ok().and_then(|call| MessageKind::of(&call));
        kind.map_or(0, |kind| front.max_body(kind))
    }

    fn invalid(&self, error: InvalidCall) -> Problem {
        Rejection::from(error).problem(self.front().round())
    }

    async fn post(&self, target: String, upload: Upload) -> Result<(), Unprocessed> {
        self.counters.received(upload.bytes.len());
        // A task of its own: a message that has arrived is processed, even if its sender hangs up.
        match tokio::spawn(self.clone().process(target, upload).in_current_span()).await {
            Ok(result) => result,
            Err(error) => {
                error!(%error, "processing a message panicked; please report this");
                Err(Unprocessed::Bug)
            }
        }
    }
}

/// A query with whatever a path may need.
const ANY: &str =
    "pk=0000000000000000000000000000000000000000000000000000000000000000&index=0&group=0&member=0";
