//! Opens messages on as many threads as there are cores.
//!
//! A message is opened at once if a core is free for it. While all are busy, messages wait, and are then opened
//! several at a time, in the order in which they have come: where the processor can hash some messages at the same time,
//! that takes about half the time (see [`Front::opened_at_once`]).

use std::{
    collections::VecDeque,
    panic::{catch_unwind, AssertUnwindSafe},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use pet_core::coordinator::{Front, Rejection, Unsealed, Verified};
use tokio::sync::{oneshot, watch, OwnedSemaphorePermit, Semaphore};
use tracing::error;

use crate::{board::Board, driver::cores, process::spawn_blocking};

/// A message that was opened, or why not.
pub(crate) struct Opened {
    /// By the front of this round; nothing if there was none yet.
    pub round: Option<u64>,
    pub message: Result<Verified, Rejection>,
}

/// Opens messages.
#[derive(Clone)]
pub(crate) struct Opener {
    board: watch::Receiver<Board>,
    cores: Arc<Semaphore>,
    /// How many there are.
    all_cores: usize,
    queue: Arc<Mutex<Queue>>,
    /// How many are opened at a time, at most.
    most: usize,
}

#[derive(Default)]
struct Queue {
    /// Its length is bounded by the places that uploads have.
    waiting: VecDeque<Waiting>,
    /// How many cores open messages, and have taken theirs.
    opening: usize,
}

struct Waiting {
    sealed: Vec<u8>,
    reply: oneshot::Sender<Opened>,
}

impl Opener {
    pub fn new(board: watch::Receiver<Board>) -> Self {
        Self::with(board, cores(), Front::opened_at_once())
    }

    fn with(board: watch::Receiver<Board>, cores: usize, most: usize) -> Self {
        Self {
            board,
            cores: Arc::new(Semaphore::new(cores)),
            all_cores: cores,
            queue: Arc::default(),
            most,
        }
    }

    /// Opens a message once it is its turn. Nothing if that has panicked, which is a bug.
    pub async fn open(&self, sealed: Vec<u8>) -> Option<Opened> {
        let (reply, mut opened) = oneshot::channel();
        self.lock().waiting.push_back(Waiting { sealed, reply });
        loop {
            let core = tokio::select! {
                biased;
                opened = &mut opened => return opened.ok(),
                core = self.core() => core,
            };
            // Those that come next, and then the core is somebody else's. Nobody's message stays behind: each that waits
            // has somebody who waits for a core.
            let opener = self.clone();
            let work = spawn_blocking(move || {
                opener.open_next();
                drop(core);
            });
            tokio::select! {
                biased;
                opened = &mut opened => return opened.ok(),
                work = work => if let Err(error) = work {
                    error!(%error, "opening a message panicked; please report this");
                }
            }
        }
    }

    /// The right to keep a core busy. It goes along with the work: who waits for the work may go away
    /// before it is done.
    pub async fn core(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.cores).acquire_owned().await.ok()
    }

    fn open_next(&self) {
        let (sealed, replies): (Vec<_>, Vec<_>) = self.take().into_iter().unzip();
        if sealed.is_empty() {
            return;
        }
        let _opening = Opening(self);
        // Only now: while they waited their turn a new phase may have begun.
        let front = self.board.borrow().front().clone();
        let round = front.round_id();
        for (reply, message) in replies.into_iter().zip(open_each(&front, sealed)) {
            // Without an answer its sender is told of a bug. Whoever has gone away does not want to know.
            if let Some(message) = message {
                let _ = reply.send(Opened { round, message });
            }
        }
    }

    /// The next messages: the first that waits, and others of about its length. Of a few that wait, cores that are free
    /// get their share.
    fn take(&self) -> Vec<(Vec<u8>, oneshot::Sender<Opened>)> {
        let mut queue = self.lock();
        let free = self.all_cores.saturating_sub(queue.opening);
        let waiting = &mut queue.waiting;
        let share = waiting.len().div_ceil(free.max(1));
        let most = share.min(self.most).max(1);
        let mut taken: Vec<(Vec<u8>, _)> = Vec::new();
        let mut at = 0;
        while taken.len() < most && at < waiting.len() {
            let length = waiting[at].sealed.len();
            let fits = taken
                .first()
                .is_none_or(|(first, _)| first.len().abs_diff(length) <= first.len() / 8);
            if !fits {
                at += 1;
            } else if let Some(Waiting { sealed, reply }) = waiting.remove(at) {
                taken.push((sealed, reply));
            }
        }
        queue.opening += usize::from(!taken.is_empty());
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every state of it is a good one.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens messages, each by itself but for their signatures: nothing for one over which that has panicked, which is a bug, and
/// the others' fate whatever happens to that one.
fn open_each<B>(front: &Front, sealed: Vec<B>) -> Vec<Option<Result<Verified, Rejection>>>
where
    B: AsRef<[u8]> + AsMut<[u8]> + Into<Bytes>,
{
    // What panics is dropped, and nothing is shared that could be half changed.
    fn whole<T>(work: impl FnOnce() -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(work)).ok()
    }
    let unsealed: Vec<_> =
        sealed.into_iter().map(|sealed| whole(|| front.open_box(sealed))).collect();
    let all: Vec<_> = unsealed.iter().flatten().flatten().collect();
    let right = whole(|| Front::are_signed(all.iter().copied())).map_or_else(
        || {
            all.iter()
                .map(|one| whole(|| Front::are_signed([*one]).first() == Some(&true)))
                .collect()
        },
        |right| right.into_iter().map(Some).collect::<Vec<_>>(),
    );
    let mut right = right.into_iter();
    let check = |unsealed: Option<Result<Unsealed<B>, Rejection>>| match unsealed? {
        Ok(message) => {
            let is_signed = right.next().flatten()?;
            whole(|| front.check(message, is_signed))
        }
        Err(rejection) => Some(Err(rejection)),
    };
    unsealed.into_iter().map(check).collect()
}

/// A core that opens messages, until this is dropped.
struct Opening<'a>(&'a Opener);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.lock().opening -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use pet_core::{
        coordinator::{Coordinator as Machine, Input, Output, Phase},
        crypto::{RootSeed, Task},
        time::Timestamp,
    };
    use pet_testing::by_hand::Hand;
    use tokio::time::timeout;

    use super::*;
    use crate::settings::Settings;

    fn opener(cores: usize, most: usize) -> Opener {
        let (_, board) = watch::channel(Board::new(1 << 20, Arc::default()));
        Opener::with(board, cores, most)
    }

    fn wait(opener: &Opener, length: usize) -> oneshot::Receiver<Opened> {
        let (reply, opened) = oneshot::channel();
        opener.lock().waiting.push_back(Waiting { sealed: vec![0; length], reply });
        opened
    }

    fn lengths(opener: &Opener) -> Vec<usize> {
        opener.take().iter().map(|(sealed, _)| sealed.len()).collect()
    }

    #[test]
    fn messages_of_about_the_same_length_are_opened_together() {
        let opener = opener(1, 3);
        let _waiting: Vec<_> =
            [800, 10, 801, 700, 699, 900, 10].map(|length| wait(&opener, length)).into();
        assert_eq!(lengths(&opener), [800, 801, 700]);
        assert_eq!(lengths(&opener), [10, 10]);
        assert_eq!(lengths(&opener), [699]);
        assert_eq!(lengths(&opener), [900]);
        assert!(lengths(&opener).is_empty());
    }

    #[test]
    fn free_cores_get_their_share() {
        let opener = opener(2, 8);
        let _waiting: Vec<_> = (0..5).map(|_| wait(&opener, 100)).collect();
        // Two cores are free; then one; and none of them when the last one comes.
        assert_eq!([0; 2].map(|_| lengths(&opener).len()), [3, 2]);
        let four = self::opener(4, 8);
        let _waiting: Vec<_> = (0..4).map(|_| wait(&four, 100)).collect();
        assert_eq!([0; 4].map(|_| lengths(&four).len()), [1; 4]);
        let alone = self::opener(1, 1);
        let _waiting: Vec<_> = (0..5).map(|_| wait(&alone, 100)).collect();
        assert_eq!(lengths(&alone).len(), 1);
    }

    /// Who has a core does not open for others until there is nobody any more: neither its own sender, nor others who need a
    /// core, would get on while messages keep coming.
    #[tokio::test]
    async fn messages_that_keep_coming_hold_up_nobody() {
        let opener = opener(1, 1);
        let _waiting: Vec<_> = (0..3).map(|_| wait(&opener, 10)).collect();
        opener.open_next();
        assert_eq!(opener.lock().waiting.len(), 2);
        assert_eq!(opener.lock().opening, 0);
        // The two, whom nobody waits for, and then this one.
        assert!(opener.open(vec![0; 10]).await.is_some());
        let _later: Vec<_> = (0..3).map(|_| wait(&opener, 10)).collect();
        assert!(opener.core().await.is_some());
        assert_eq!(opener.lock().waiting.len(), 3);
    }

    /// A buffer that panics from the n-th time on that it is touched.
    struct Trap {
        bytes: Vec<u8>,
        touched: Cell<usize>,
        at: usize,
    }

    impl Trap {
        fn touch(&self) {
            self.touched.set(self.touched.get() + 1);
            assert!(self.at == 0 || self.touched.get() < self.at, "a bug, for a test");
        }
    }

    impl AsRef<[u8]> for Trap {
        fn as_ref(&self) -> &[u8] {
            self.touch();
            &self.bytes
        }
    }

    impl AsMut<[u8]> for Trap {
        fn as_mut(&mut self) -> &mut [u8] {
            self.touch();
            &mut self.bytes
        }
    }

    impl From<Trap> for Bytes {
        fn from(trap: Trap) -> Self {
            trap.touch();
            trap.bytes.into()
        }
    }

    /// Wherever it is that it panics: when a message is taken out of its box, when its signature is checked beside the others'
    /// and again alone, when the rest of it is looked at.
    #[test]
    fn a_message_over_which_opening_panics_takes_no_other_with_it() {
        let settings = Settings::for_model_length(4).protocol();
        let machine = Machine::new(settings, RootSeed::new([1; 32]), Timestamp::ZERO);
        let mut machine = machine.unwrap();
        let front = loop {
            match machine.poll_output() {
                Output::Persist { id, .. } => {
                    machine.handle_input(Timestamp::ZERO, Input::Persisted(id)).unwrap();
                }
                Output::Front(front) if front.phase() == Phase::Sum => break front,
                Output::Idle(_) => panic!("no round"),
                _ => {}
            }
        };
        let hands = Hand::with_task(Task::Sum, 4, front.parameters().unwrap());
        let mut messages: Vec<Vec<u8>> = hands.iter().map(Hand::sum).collect();
        messages.push(vec![7; 200]);
        // Whether each opens; nothing where that has panicked.
        let fates = |trap: usize, at: usize| -> Vec<Option<bool>> {
            let traps = messages.iter().enumerate().map(|(i, bytes)| {
                let (bytes, at) = (bytes.clone(), if i == trap { at } else { 0 });
                Trap { bytes, touched: Cell::new(0), at }
            });
            let opened = open_each(&front, traps.collect());
            opened.into_iter().map(|message| message.map(|message| message.is_ok())).collect()
        };
        let whole = [Some(true), Some(true), Some(true), Some(true), Some(false)];
        assert_eq!(fates(2, 0), whole);
        let mut without = whole;
        without[2] = None;
        for at in 1..=3 {
            assert_eq!(fates(2, at), without, "from the {at}. time on");
        }
        assert_eq!(fates(2, 4), whole);
    }

    /// All are answered, those as well whose message another one's turn has opened.
    #[tokio::test]
    async fn nobody_stays_behind() {
        for most in [1, 8] {
            let opener = opener(2, most);
            let all = (0..100).map(|number| {
                let opener = opener.clone();
                tokio::spawn(async move { opener.open(vec![0; number % 7 * 50]).await })
            });
            for opened in all.collect::<Vec<_>>() {
                let opened = opened.await.unwrap().unwrap();
                assert_eq!(opened.round, None);
                assert_eq!(opened.message.unwrap_err(), Rejection::NoRound);
            }
            // Who has the last answer may have it before the core that opened it is given back.
            let both = timeout(Duration::from_secs(60), opener.cores.acquire_many(2)).await;
            assert!(both.is_ok(), "a core was not given back");
            assert_eq!(opener.lock().opening, 0);
        }
    }
}
