//! An update on its way: its header, and then the masked model leaf by leaf.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::PublicSigningKey;
use crate::v2::{Call, Post, RoundTag, TREE_LEAF};

/// A header that is asked for again so often is given up: whoever asks for it loses it.
const MOST_HEADERS: u32 = 8;

/// What is still to be delivered of an update, sealed all of it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Delivery {
    header: Bytes,
    chunks: Bytes,
    /// What is sent next: the header is 0, and chunk c is c + 1.
    next: usize,
    /// How often the header was sent.
    headers: u32,
}

/// Shows no content.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, total) = self.progress();
        write!(f, "Delivery({} bytes, {sent}/{total} sent)", self.bytes())
    }
}

impl Delivery {
    pub(super) fn new(header: Bytes, chunks: Bytes) -> Self {
        Self { header, chunks, next: 0, headers: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.header.len() + self.chunks.len()
    }

    /// How many parts are delivered, and how many there are.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.next, 1 + self.chunks.len().div_ceil(TREE_LEAF))
    }

    /// What is sent next.
    pub(super) fn call(&self, updater: PublicSigningKey, round: RoundTag) -> Call {
        let Some(index) = self.next.checked_sub(1) else {
            return Call::Update(Post::new(round, self.header.clone()));
        };
        let post = Post::new(round, self.chunk(index));
        Call::UpdateChunk { updater, index: u32::try_from(index).unwrap_or(u32::MAX), post }
    }

    fn chunk(&self, index: usize) -> Bytes {
        let start = index.saturating_mul(TREE_LEAF).min(self.chunks.len());
        self.chunks.slice(start..self.chunks.len().min(start + TREE_LEAF))
    }

    /// How many bytes are sent next.
    pub(super) fn length(&self) -> usize {
        match self.next.checked_sub(1) {
            None => self.header.len(),
            Some(index) => self.chunk(index).len(),
        }
    }

    /// What was sent has arrived; whether that was all.
    pub(super) fn advance(&mut self) -> bool {
        if self.next == 0 {
            self.headers += 1;
        }
        self.next += 1;
        let (sent, total) = self.progress();
        sent >= total
    }

    /// The coordinator does not know the header (any more): it lost it, with the chunks that it had. Begins anew; whether
    /// that is still worth it.
    pub(super) fn begin_anew(&mut self) -> bool {
        self.next = 0;
        self.headers < MOST_HEADERS
    }
}
