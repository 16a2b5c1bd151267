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

/// The unit in which memory is handed out, in bytes.
const UNIT: usize = 1024;

/// A message's buffer grows by at least so many bytes: what is announced need not come.
const STEP: usize = 1 << 20;

/// How much of a refused upload is still read, in bytes, so that its sender gets to read the answer:
/// a connection closed over unread data is reset, and the answer lost.
const LINGER_BYTES: u64 = 4 << 20;

/// The limits of all uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UploadLimits {
    /// How many bytes all uploads that are received or processed may hold at a time.
    pub memory: usize,
    /// How long an upload waits for memory before its sender is told to come again later.
    pub queue: Duration,
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

/// A received message, and its share of the memory for uploads, given back on drop.
#[derive(Debug)]
pub(crate) struct Upload {
    pub bytes: Vec<u8>,
    pub share: Option<OwnedSemaphorePermit>,
}

/// The uploads of one server.
#[derive(Debug)]
pub(crate) struct Uploads {
    limits: UploadLimits,
    memory: Arc<Semaphore>,
    units: usize,
}

impl Uploads {
    pub fn new(limits: UploadLimits) -> Self {
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let units = (limits.memory / UNIT).clamp(1, most);
        Self { limits, memory: Arc::new(Semaphore::new(units)), units }
    }

    /// Receives a body of at most `limit` bytes. One of up to about twice as many is read and thrown
    /// away: a message that was processed, although it can only be rejected.
    pub async fn receive(&self, body: Body, limit: usize) -> Result<Upload, Refused> {
        let announced = body.size_hint().lower();
        let mut incoming = Incoming { body, limits: self.limits, received: 0, began: None };
        let result = self.collect(&mut incoming, announced, limit).await;
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
        // It is at most `limit`.
        let announced = announced as usize;
        let mut share = match announced {
            0 => None,
            _ => Some(self.wait_for_memory(announced).await?),
        };
        let mut bytes = Vec::new();
        while let Some(data) = incoming.next().await? {
            let length = bytes.len() + data.len();
            if length > limit {
                drop((bytes, share));
                return Err(too_long(incoming.discard(far).await?));
            }
            self.take_memory(&mut share, length)?;
            if length > bytes.capacity() {
                // In steps of a share of its length, so that bytes are not copied again and again.
                let step = STEP.max(bytes.len() / 8);
                let most = if announced >= length { announced } else { limit };
                bytes.reserve_exact((bytes.len() + step).clamp(length, most) - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Upload { bytes, share })
    }

    /// Takes memory for a whole message before any of it is read: a message that is refused half-way
    /// would be sent in vain.
    async fn wait_for_memory(&self, length: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let acquired = Arc::clone(&self.memory).acquire_many_owned(self.units_of(length));
        match timeout(self.limits.queue, acquired).await {
            Ok(Ok(share)) => Ok(share),
            _ => Err(Refusal::Busy),
        }
    }

    /// Makes `share` large enough for `length` bytes, if there is memory now.
    fn take_memory(
        &self,
        share: &mut Option<OwnedSemaphorePermit>,
        length: usize,
    ) -> Result<(), Refusal> {
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = self.units_of(length).saturating_sub(held as u32);
        if more > 0 {
            let more =
                Arc::clone(&self.memory).try_acquire_many_owned(more).map_err(|_| Refusal::Busy)?;
            match share {
                Some(share) => share.merge(more),
                None => *share = Some(more),
            }
        }
        Ok(())
    }

    /// The units for a message: all there are for one that would need more.
    fn units_of(&self, length: usize) -> u32 {
        // There are no more units than fit.
        length.div_ceil(UNIT).min(self.units) as u32
    }
}

/// A body on its way in, with an eye on the time.
struct Incoming {
    body: Body,
    limits: UploadLimits,
    received: u64,
    began: Option<Instant>,
}

impl Incoming {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let UploadLimits { patience, rate, .. } = self.limits;
        loop {
            let now = Instant::now();
            let began = *self.began.get_or_insert(now);
            let earned = Duration::from_millis(self.received.saturating_mul(1000) / rate.max(1));
            let end = (began + patience).checked_add(earned).unwrap_or(now + patience);
            match timeout_at(end.min(now + patience), self.body.frame()).await {
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
            let (piece, timer) = (Bytes::from_static(piece), Box::pin(sleep(pause)));
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

    const SECOND: Duration = Duration::from_secs(1);
    const KIB: &[u8] = &[7; 1024];

    fn uploads() -> Uploads {
        Uploads::new(UploadLimits {
            memory: 1 << 20,
            queue: SECOND,
            patience: 30 * SECOND,
            rate: 1024,
            linger: SECOND,
        })
    }

    /// Time is virtual: it jumps on whenever all wait.
    #[tokio::test(start_paused = true)]
    async fn an_upload_may_take_as_long_as_its_bytes_earn_it() {
        let began = Instant::now();
        let upload = uploads().receive(Dripping::body(KIB, 100, SECOND), 1 << 20).await.unwrap();
        assert_eq!(upload.bytes, KIB.repeat(100));
        assert_eq!(began.elapsed(), 100 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_pauses_for_too_long_is_given_up() {
        let began = Instant::now();
        let body = Dripping::body(KIB, 2, 31 * SECOND);
        let refused = uploads().receive(body, 1 << 20).await.unwrap_err();
        assert_eq!(refused, Refused { why: Refusal::Stalled, length: 0 });
        assert_eq!(began.elapsed(), 30 * SECOND);
    }

    /// No pause is long, and no byte late, but there are too few of them.
    #[tokio::test(start_paused = true)]
    async fn one_that_drips_is_given_up() {
        let began = Instant::now();
        let body = Dripping::body(b"m", 100, SECOND * 3 / 2);
        let refused = uploads().receive(body, 1 << 20).await.unwrap_err();
        assert_eq!(refused.why, Refusal::Stalled);
        assert_eq!(began.elapsed().as_secs(), 30);
        // The same when the bytes are thrown away.
        let began = Instant::now();
        let body = Dripping::body(b"m", 100, SECOND * 3 / 2);
        assert_eq!(uploads().receive(body, 3).await.unwrap_err().why, Refusal::Stalled);
        assert_eq!(began.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_finds_no_memory_in_time_is_refused() {
        let uploads = uploads();
        let all = || Body::from(vec![7; 1 << 20]);
        let first = uploads.receive(all(), 1 << 20).await.unwrap();
        let began = Instant::now();
        let refused = uploads.receive(all(), 1 << 20).await.unwrap_err();
        assert_eq!(refused, Refused { why: Refusal::Busy, length: 1 << 20 });
        assert_eq!(began.elapsed(), SECOND);
        drop(first);
        uploads.receive(all(), 1 << 20).await.unwrap();
    }

    /// Or the largest messages would wait in vain.
    #[tokio::test]
    async fn one_that_needs_more_memory_than_there_is_gets_all_of_it() {
        let uploads = uploads();
        let upload = uploads.receive(Body::from(vec![7; 3 << 20]), 4 << 20).await.unwrap();
        assert_eq!(upload.bytes.len(), 3 << 20);
        assert_eq!(uploads.memory.available_permits(), 0);
        drop(upload);
        assert_eq!(uploads.memory.available_permits(), 1024);
    }

    #[tokio::test]
    async fn no_more_is_reserved_than_is_announced() {
        let upload = uploads().receive(Body::from(vec![7; 5000]), 1 << 20).await.unwrap();
        assert_eq!(upload.bytes.capacity(), 5000);
    }
}
