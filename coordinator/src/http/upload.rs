//! Receiving a message's bytes within limits: of length, of memory for all uploads together, and of
//! patience.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{timeout, Instant},
};

/// The unit in which memory is handed out, in bytes.
const UNIT: usize = 1024;

/// How much of a refused upload is still read, in bytes and time, so that its sender gets to read
/// the answer: a connection closed over unread data is reset, and the answer lost.
const DRAIN_BYTES: usize = 4 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The limits of all uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UploadLimits {
    /// How many bytes all uploads that are received or processed may hold at a time; beyond it,
    /// senders are told to come again later.
    pub memory: usize,
    /// How long to wait for the next piece of an upload.
    pub patience: Duration,
}

/// Why an upload was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("the message is too long: at most {limit} bytes are accepted")]
    TooLong { limit: usize },
    #[error("too many messages are being received: try again later")]
    Busy,
    #[error("the message did not arrive in time")]
    Stalled,
    #[error("the message was not received as a whole")]
    Broken,
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
    memory: Arc<Semaphore>,
    patience: Duration,
}

impl Uploads {
    pub fn new(limits: UploadLimits) -> Self {
        let units = (limits.memory / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { memory: Arc::new(Semaphore::new(units)), patience: limits.patience }
    }

    /// Receives a body of at most `limit` bytes.
    pub async fn receive(&self, mut body: Body, limit: usize) -> Result<Upload, Refusal> {
        let received = self.collect(&mut body, limit).await;
        if let Err(Refusal::TooLong { .. } | Refusal::Busy) = received {
            drain(body).await;
        }
        received
    }

    async fn collect(&self, body: &mut Body, limit: usize) -> Result<Upload, Refusal> {
        use axum::body::HttpBody;

        let announced = body.size_hint().lower();
        if announced > limit as u64 {
            return Err(Refusal::TooLong { limit });
        }
        let mut bytes = Vec::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        loop {
            let frame = match timeout(self.patience, body.frame()).await {
                Err(_) => return Err(Refusal::Stalled),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Refusal::Broken),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > limit - bytes.len() {
                return Err(Refusal::TooLong { limit });
            }
            // Memory is taken as data arrives: an announcement alone costs its sender nothing.
            let needed = (bytes.len() + data.len()).div_ceil(UNIT);
            let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            if needed > held {
                let more = u32::try_from(needed - held).map_err(|_| Refusal::Busy)?;
                let more = Arc::clone(&self.memory)
                    .try_acquire_many_owned(more)
                    .map_err(|_| Refusal::Busy)?;
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
            }
            if bytes.is_empty() {
                // What is announced is below the limit, but need not come.
                bytes.reserve_exact((announced as usize).min(DRAIN_BYTES).max(data.len()));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Upload { bytes, share })
    }
}

async fn drain(mut body: Body) {
    let end = Instant::now() + DRAIN_TIME;
    let mut read = 0;
    while read < DRAIN_BYTES {
        match tokio::time::timeout_at(end, body.frame()).await {
            Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}
