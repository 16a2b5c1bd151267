//! What other replicas have the machine told, and what it has fetched of theirs.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use pet_core::coordinator::{
    Admission, Input, PartDone, PartId, PersistId, Rejection, Shard, Ticket, Verified,
};
use tokio::sync::{mpsc, OwnedSemaphorePermit};

/// How many inputs from other replicas may wait for the machine.
const WAITING: usize = 256;

/// Where answers to letters go.
pub(crate) trait Answers: Send + Sync {
    /// Has a letter answered: in one transaction with this record, if there is one, which is about to be stored.
    fn answer(&self, letter: u64, outcome: &Result<(), Rejection>, with: Option<PersistId>);
}

/// The way back for the answer to a letter.
#[derive(Clone)]
pub(crate) struct Envelope {
    /// The letter's number.
    pub letter: u64,
    /// Where answers go.
    pub answers: Arc<dyn Answers>,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").field("letter", &self.letter).finish_non_exhaustive()
    }
}

impl Envelope {
    /// Has it answered. Once this replica leads no more, the next leader answers.
    pub fn answer(self, outcome: &Result<(), Rejection>) {
        self.answers.answer(self.letter, outcome, None);
    }

    /// Has it answered together with a record that is about to be stored: both or none.
    pub fn answer_with(self, outcome: &Result<(), Rejection>, record: PersistId) {
        self.answers.answer(self.letter, outcome, Some(record));
    }
}

/// Something that another replica has said, or that was fetched of it.
#[derive(Debug)]
pub(crate) enum Relayed {
    /// What is large of it takes up a place until the machine has it.
    Message {
        message: Verified,
        back: Envelope,
        place: Option<OwnedSemaphorePermit>,
    },
    Admit {
        shard: Shard,
        admission: Admission,
        back: Envelope,
    },
    Part {
        done: PartDone,
        back: Envelope,
    },
    ShardLost(Shard),
    Fetched {
        part: PartId,
        bytes: Option<Bytes>,
    },
}

impl Relayed {
    /// What the machine is told, and who waits for an answer.
    pub(super) fn input(self, ticket: Ticket) -> (Input, Option<Envelope>) {
        match self {
            Self::Message { message, back, place } => {
                drop(place);
                (Input::Message { ticket, message }, Some(back))
            }
            Self::Admit { shard, admission, back } => {
                (Input::Admit { ticket, shard, admission }, Some(back))
            }
            Self::Part { done, back } => (Input::Part { ticket, done }, Some(back)),
            Self::ShardLost(shard) => (Input::ShardLost { shard }, None),
            Self::Fetched { part, bytes } => (Input::Fetched { part, bytes }, None),
        }
    }
}

/// The driver's ends of the ways to and from other replicas.
pub(super) struct Others {
    told: mpsc::Receiver<Relayed>,
    fetches: mpsc::UnboundedSender<PartId>,
}

/// The other ends.
pub(crate) struct ToOthers {
    /// What the machine is to be told.
    pub tell: mpsc::Sender<Relayed>,
    /// The parts that it asks for: a few at a time.
    pub fetches: mpsc::UnboundedReceiver<PartId>,
}

impl Others {
    pub fn channel() -> (Self, ToOthers) {
        let (tell, told) = mpsc::channel(WAITING);
        let (fetches, asked) = mpsc::unbounded_channel();
        (Self { told, fetches }, ToOthers { tell, fetches: asked })
    }

    /// What was said next; never anything if there are no others.
    pub async fn next(others: &mut Option<Self>) -> Relayed {
        if let Some(others) = others {
            if let Some(told) = others.told.recv().await {
                return told;
            }
        }
        std::future::pending().await
    }

    /// Asks for a part; false if there is nobody to ask.
    pub fn fetch(others: &Option<Self>, part: PartId) -> bool {
        others.as_ref().is_some_and(|others| others.fetches.send(part).is_ok())
    }
}
