//! Receiving a message's bytes within limits: of length, of memory for all uploads together, and of
//! time.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{timeout, timeout_at, Instant},
};

use super::{
    growing::{Growing, NoMemory},
    memory::{Claim, Memory},
    peers::{Peer, Share, Shares},
};

/// How much of a refused upload is still read, in bytes, so that its sender gets to read the answer:
/// a connection closed over unread data is reset, and the answer lost.
const LINGER_BYTES: u64 = 4 << 20;

/// And for how long.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Reads some of a body that nobody wants.
pub(super) async fn read_on(mut body: Body) {
    let mut received = 0;
    while received <= LINGER_BYTES {
        let Some(Ok(frame)) = body.frame().await else { return };
        received += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}

/// The limits of all uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UploadLimits {
    /// How many bytes all uploads that are received or processed may hold at a time; those of one client
    /// half of them.
    pub memory: usize,
    /// How many there may be at a time; of one client half of them.
    pub messages: usize,
    /// Whether the halves count: not where many clients come from one address.
    pub halves: bool,
    /// How long an upload waits for its turn, and each time for memory, before its sender is told to come again
    /// later.
    pub queue: Duration,
    /// How long to wait for the first piece of an upload.
    pub start: Duration,
    /// How long to wait for the next piece of an upload, and how long an upload may take beside what
    /// `rate` allows for.
    pub patience: Duration,
    /// How slow an upload may be on average, in bytes a second; at least 1.
    pub rate: u64,
    /// How long a refused upload is still read: see [`LINGER_BYTES`].
    pub linger: Duration,
}

/// Why an upload was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// It was read to its end and thrown away.
    #[error("the message is too long: no message of this coordinator's rounds has more than {limit} bytes")]
    TooLong { limit: usize },
    /// It was not even read.
    #[error("the message is far too long: no message of this coordinator's rounds has more than {limit} bytes")]
    FarTooLong { limit: usize },
    #[error("too many messages are being received: try again later")]
    Busy,
    #[error("the message did not arrive in time")]
    Stalled,
    #[error("the message was not received as a whole")]
    Broken,
}

impl Refusal {
    /// A short, stable name, for counting.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooLong { .. } | Self::FarTooLong { .. } => "too_long",
            Self::Busy => "busy",
            Self::Stalled => "stalled",
            Self::Broken => "broken",
        }
    }
}

/// A refusal, and how long the message is: the bytes received or, if more, announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub why: Refusal,
    pub length: u64,
}

/// A received message, and its place among the uploads, given back on drop.
#[derive(Debug)]
pub(crate) struct Upload {
    pub bytes: Vec<u8>,
    pub place: Option<Place>,
}

/// What an upload has of the common memory: no more than its client may have.
#[derive(Debug)]
pub(crate) struct Place {
    _turn: (Share, OwnedSemaphorePermit),
    _memory: Claim,
}

/// The uploads of one server.
#[derive(Debug)]
pub(crate) struct Uploads {
    limits: UploadLimits,
    messages: Arc<Semaphore>,
    messages_of_one: Shares,
    memory: Arc<Memory>,
}

impl Uploads {
    pub fn new(limits: UploadLimits) -> Self {
        let messages = limits.messages.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let memory = limits.memory.max(1);
        let most_of_one = |all: usize| if limits.halves { all.div_ceil(2) } else { all };
        Self {
            limits,
            messages: Arc::new(Semaphore::new(messages)),
            messages_of_one: Shares::new(most_of_one(messages)),
            memory: Memory::new(memory, most_of_one(memory)),
        }
    }

    /// Receives a body of at most `limit` bytes. One of up to about twice as many is read and thrown
    /// away: a message that was processed, although it can only be rejected.
    pub async fn receive(&self, peer: Peer, body: Body, limit: usize) -> Result<Upload, Refused> {
        let announced = body.size_hint().lower();
        let mut incoming = Incoming { body, limits: self.limits, received: 0, due: None };
        let result = self.collect(peer, &mut incoming, announced, limit).await;
        let refused = |why| Refused { why, length: incoming.received.max(announced) };
        let result = result.map_err(refused);
        if let Err(Refused { why: Refusal::FarTooLong { .. } | Refusal::Busy, .. }) = result {
            // However it goes, the answer is the same.
            let _ = timeout(self.limits.linger, incoming.discard(LINGER_BYTES)).await;
        }
        result
    }

    async fn collect(
        &self,
        peer: Peer,
        incoming: &mut Incoming,
        announced: u64,
        limit: usize,
    ) -> Result<Upload, Refusal> {
        let far = (limit as u64).saturating_mul(2).saturating_add(1 << 20);
        if announced > far {
            return Err(Refusal::FarTooLong { limit });
        }
        let too_long = |reached_end| match reached_end {
            true => Refusal::TooLong { limit },
            false => Refusal::FarTooLong { limit },
        };
        if announced > limit as u64 {
            return Err(too_long(incoming.discard(far).await?));
        }
        // A connection that sends nothing takes no place from those that do.
        let first = incoming.next().await?;
        // It is at most `limit`.
        let announced = announced as usize;
        let queued = Instant::now();
        let Ok(Some(turn)) = timeout(self.limits.queue, self.turn(peer)).await else {
            return Err(Refusal::Busy);
        };
        incoming.forgive(queued.elapsed());
        // How long a message without Content-Length becomes is not known.
        let needed = if announced > 0 { announced } else { limit };
        let claim = self.memory.claim(peer, needed);
        let mut message = Growing { bytes: Vec::new(), claim, announced, limit };
        let mut piece = first;
        while let Some(data) = piece {
            if message.bytes.len() + data.len() > limit {
                drop((message, turn));
                return Err(too_long(incoming.discard(far).await?));
            }
            let added = message.add(&data, self.limits.queue).await;
            incoming.forgive(added.map_err(|NoMemory| Refusal::Busy)?);
            piece = incoming.next().await?;
        }
        let Growing { bytes, mut claim, .. } = message;
        claim.finish();
        Ok(Upload { bytes, place: Some(Place { _turn: turn, _memory: claim }) })
    }

    /// A place among the messages, once there is one.
    async fn turn(&self, peer: Peer) -> Option<(Share, OwnedSemaphorePermit)> {
        // First what is the client's own: who waits for that holds nobody up.
        let own = self.messages_of_one.take(peer, 1).await?;
        Some((own, Arc::clone(&self.messages).acquire_owned().await.ok()?))
    }
}

/// A body on its way in, with an eye on the time.
struct Incoming {
    body: Body,
    limits: UploadLimits,
    received: u64,
    /// When all of it would have to be here if no more came.
    due: Option<Instant>,
}

impl Incoming {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let UploadLimits { start, patience, rate, .. } = self.limits;
        loop {
            let now = Instant::now();
            let due = *self.due.get_or_insert(now + patience);
            let earned = Duration::from_millis(self.received.saturating_mul(1000) / rate.max(1));
            let end = due.checked_add(earned).unwrap_or(now + patience);
            let pause = if self.received == 0 { start.min(patience) } else { patience };
            match timeout_at(end.min(now + pause), self.body.frame()).await {
                Err(_) => return Err(Refusal::Stalled),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(Refusal::Broken),
                Ok(Some(Ok(frame))) => {
                    // Trailers mean nothing here.
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len() as u64;
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Time in which nothing could be sent does not count.
    fn forgive(&mut self, waited: Duration) {
        self.due = self.due.and_then(|due| due.checked_add(waited));
    }

    /// Reads on without keeping anything, until more than `most` bytes have come in all. Whether the
    /// end was reached.
    async fn discard(&mut self, most: u64) -> Result<bool, Refusal> {
        while self.received <= most {
            if self.next().await?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::Future,
        pin::Pin,
        task::{ready, Context, Poll},
    };

    use hyper::body::Frame;
    use tokio::time::{sleep, Sleep};

    use super::*;

    /// A body that comes in pieces, each after a pause.
    struct Dripping {
        piece: Bytes,
        left: usize,
        pause: Duration,
        timer: Pin<Box<Sleep>>,
    }

    impl Dripping {
        fn body(piece: &'static [u8], left: usize, pause: Duration) -> Body {
            Self::after(pause, piece, left, pause)
        }

        fn after(first: Duration, piece: &'static [u8], left: usize, pause: Duration) -> Body {
            let (piece, timer) = (Bytes::from_static(piece), Box::pin(sleep(first)));
            Body::new(Self { piece, left, pause, timer })
        }
    }

    impl HttpBody for Dripping {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            ready!(self.timer.as_mut().poll(context));
            self.left -= 1;
            let next = Instant::now() + self.pause;
            self.timer.as_mut().reset(next);
            Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
        }
    }

    const PEER: Peer = Peer::LOCAL;
    const SECOND: Duration = Duration::from_secs(1);
    const KIB: &[u8] = &[7; 1024];

    fn uploads() -> Uploads {
        Uploads::new(UploadLimits {
            memory: 2 << 20,
            messages: 100,
            halves: true,
            queue: SECOND,
            start: 10 * SECOND,
            patience: 30 * SECOND,
            rate: 1024,
            linger: SECOND,
        })
    }

    /// Time is virtual: it jumps on whenever all wait.
    #[tokio::test(start_paused = true)]
    async fn an_upload_may_take_as_long_as_its_bytes_earn_it() {
        let began = Instant::now();
        let upload =
            uploads().receive(PEER, Dripping::body(KIB, 100, SECOND), 1 << 20).await.unwrap();
        assert_eq!(upload.bytes, KIB.repeat(100));
        assert_eq!(began.elapsed(), 100 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_pauses_for_too_long_is_given_up() {
        let began = Instant::now();
        let body = Dripping::body(KIB, 2, 31 * SECOND);
        let refused = uploads().receive(PEER, body, 1 << 20).await.unwrap_err();
        assert_eq!(refused, Refused { why: Refusal::Stalled, length: 0 });
        // Nothing has come at all.
        assert_eq!(began.elapsed(), 10 * SECOND);
        let began = Instant::now();
        let body = Dripping::after(SECOND, KIB, 2, 31 * SECOND);
        let refused = uploads().receive(PEER, body, 1 << 20).await.unwrap_err();
        assert_eq!(refused, Refused { why: Refusal::Stalled, length: 1024 });
        assert_eq!(began.elapsed(), 31 * SECOND);
    }

    /// No pause is long, and no byte late, but there are too few of them.
    #[tokio::test(start_paused = true)]
    async fn one_that_drips_is_given_up() {
        let began = Instant::now();
        let body = Dripping::body(b"m", 100, SECOND * 3 / 2);
        let refused = uploads().receive(PEER, body, 1 << 20).await.unwrap_err();
        assert_eq!(refused.why, Refusal::Stalled);
        assert_eq!(began.elapsed().as_secs(), 30);
        // The same when the bytes are thrown away.
        let began = Instant::now();
        let body = Dripping::body(b"m", 100, SECOND * 3 / 2);
        assert_eq!(uploads().receive(PEER, body, 3).await.unwrap_err().why, Refusal::Stalled);
        assert_eq!(began.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_finds_no_memory_in_time_is_refused() {
        let uploads = uploads();
        let all = || Body::from(vec![7; 1 << 20]);
        let first = uploads.receive(PEER, all(), 1 << 20).await.unwrap();
        let began = Instant::now();
        let refused = uploads.receive(PEER, all(), 1 << 20).await.unwrap_err();
        assert_eq!(refused, Refused { why: Refusal::Busy, length: 1 << 20 });
        assert_eq!(began.elapsed(), SECOND);
        drop(first);
        uploads.receive(PEER, all(), 1 << 20).await.unwrap();
    }

    /// Or the largest messages would wait in vain.
    #[tokio::test]
    async fn one_that_needs_more_memory_than_there_is_gets_all_of_it() {
        let uploads = uploads();
        let upload = uploads.receive(PEER, Body::from(vec![7; 3 << 20]), 4 << 20).await.unwrap();
        assert_eq!(upload.bytes.len(), 3 << 20);
        // All that its client may have.
        assert_eq!(uploads.memory.held(), 1 << 20);
        drop(upload);
        assert_eq!(uploads.memory.held(), 0);
    }

    /// Hundreds of connections that announce a message and send nothing of it. (Time is virtual.)
    #[tokio::test(start_paused = true)]
    async fn who_announces_and_sends_nothing_keeps_nobody_out() {
        let uploads = Arc::new(uploads());
        let mut idle = tokio::task::JoinSet::new();
        for number in 0..500_u32 {
            let uploads = Arc::clone(&uploads);
            let peer = Peer::from(std::net::IpAddr::from(number.to_be_bytes()));
            idle.spawn(async move {
                uploads.receive(peer, Dripping::body(KIB, 1000, 3600 * SECOND), 1 << 20).await
            });
        }
        tokio::task::yield_now().await;
        for _ in 0..10 {
            uploads.receive(PEER, Body::from(vec![7; 1 << 20]), 1 << 20).await.unwrap();
        }
        while let Some(refused) = idle.join_next().await {
            assert_eq!(refused.unwrap().unwrap_err().why, Refusal::Stalled);
        }
    }

    #[tokio::test]
    async fn without_halves_one_client_may_have_all() {
        let limits = UploadLimits { halves: false, ..uploads().limits };
        let uploads = Uploads::new(limits);
        let all = || Body::from(vec![7; 1 << 20]);
        let first = uploads.receive(PEER, all(), 1 << 20).await.unwrap();
        let second = uploads.receive(PEER, all(), 1 << 20).await.unwrap();
        assert_eq!(uploads.memory.held(), first.bytes.len() + second.bytes.len());
    }

    /// One client with slow uploads cannot keep all others out.
    #[tokio::test(start_paused = true)]
    async fn a_client_has_at_most_half_of_the_memory_and_of_the_places() {
        let uploads = uploads();
        let other = Peer::from(std::net::IpAddr::from([192, 0, 2, 1]));
        let all = || Body::from(vec![7; 1 << 20]);
        let first = uploads.receive(PEER, all(), 1 << 20).await.unwrap();
        assert_eq!(uploads.receive(PEER, all(), 1 << 20).await.unwrap_err().why, Refusal::Busy);
        let theirs = uploads.receive(other, all(), 1 << 20).await.unwrap();
        drop((first, theirs));
        // As for places: 50 tiny ones.
        let mut tiny = Vec::new();
        for _ in 0..50 {
            tiny.push(uploads.receive(PEER, Body::from("x"), 1 << 20).await.unwrap());
        }
        let refused = uploads.receive(PEER, Body::from("x"), 1 << 20).await.unwrap_err();
        assert_eq!(refused.why, Refusal::Busy);
        for _ in 0..50 {
            tiny.push(uploads.receive(other, Body::from("x"), 1 << 20).await.unwrap());
        }
        let third = Peer::from(std::net::IpAddr::from([192, 0, 2, 2]));
        let refused = uploads.receive(third, Body::from("x"), 1 << 20).await.unwrap_err();
        assert_eq!(refused.why, Refusal::Busy);
        tiny.pop();
        uploads.receive(third, Body::from("x"), 1 << 20).await.unwrap();
    }

    #[tokio::test]
    async fn no_more_is_reserved_than_is_announced() {
        let upload = uploads().receive(PEER, Body::from(vec![7; 5000]), 1 << 20).await.unwrap();
        assert_eq!(upload.bytes.capacity(), 5000);
    }
}
