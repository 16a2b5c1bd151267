//! Checks that what was read back is what was stored.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Outcome;
use crate::crypto::Digest;
use crate::job::{JobKind, Progress, Work};
use crate::mask::tree;
use crate::v2::coordinator::ObjectKind;
use crate::v2::{UpdateHeader, TREE_LEAF};

/// An object that was read back, with the hashes that it must have.
#[derive(Clone)]
pub(in crate::v2::coordinator) struct Stored {
    pub(in crate::v2::coordinator) kind: ObjectKind,
    pub(in crate::v2::coordinator) bytes: Bytes,
    pub(in crate::v2::coordinator) leaves: Leaves,
}

/// The hashes of an object's chunks.
#[derive(Clone)]
pub(in crate::v2::coordinator) enum Leaves {
    Update(Arc<UpdateHeader>),
    Mask(Arc<[Digest]>),
}

impl Stored {
    fn is_intact(&self, chunk: usize) -> bool {
        let leaves = match &self.leaves {
            Leaves::Update(header) => &header.leaves[..],
            Leaves::Mask(leaves) => leaves,
        };
        let start = chunk.saturating_mul(TREE_LEAF).min(self.bytes.len());
        let end = self.bytes.len().min(start.saturating_add(TREE_LEAF));
        leaves
            .get(chunk)
            .is_some_and(|leaf| tree::leaf(&self.bytes[start..end]) == *leaf.as_bytes())
    }
}

/// Hashes objects of the same length: a chunk in a step, and any chunks on any thread.
pub(super) struct Intact {
    objects: Arc<[Stored]>,
    /// How many chunks an object has.
    chunks: usize,
    /// The chunks of all objects that are left to do.
    rest: Range<usize>,
    damaged: Option<ObjectKind>,
}

impl Intact {
    pub(super) fn new(objects: Vec<Stored>) -> Self {
        let chunks =
            objects.first().map_or(1, |object| object.bytes.len().div_ceil(TREE_LEAF)).max(1);
        let rest = 0..objects.len() * chunks;
        Self { objects: objects.into(), chunks, rest, damaged: None }
    }

    /// Hashes the next chunk; true once nothing is left, or something is damaged.
    pub(super) fn step(&mut self) -> bool {
        if let Some(at) = self.rest.next() {
            let object = &self.objects[at / self.chunks];
            if !object.is_intact(at % self.chunks) {
                self.damaged = Some(object.kind);
            }
        }
        self.rest.is_empty() || self.damaged.is_some()
    }

    /// The first object that is damaged.
    pub(super) fn damaged(&self) -> Option<ObjectKind> {
        self.damaged
    }

    pub(super) fn objects(&self) -> &[Stored] {
        &self.objects
    }

    /// All that is left, in so many parts.
    pub(super) fn split(&mut self, parts: usize, kind: JobKind) -> Vec<Box<dyn Work<Outcome>>> {
        let Range { start, end } = self.rest;
        let parts = parts.min(end - start);
        if parts < 2 {
            return Vec::new();
        }
        self.rest = end..end;
        let at = |part: usize| start + (end - start) * part / parts;
        (0..parts)
            .map(|part| -> Box<dyn Work<Outcome>> {
                let (objects, chunks) = (self.objects.clone(), self.chunks);
                let rest = at(part)..at(part + 1);
                let total = rest.len();
                let intact = Self { objects, chunks, rest, damaged: None };
                Box::new(IntactPart { intact, kind, total })
            })
            .collect()
    }

    pub(super) fn absorb(&mut self, damaged: Option<ObjectKind>) {
        self.damaged = self.damaged.or(damaged);
    }
}

/// Does that for some of the chunks.
struct IntactPart {
    intact: Intact,
    kind: JobKind,
    total: usize,
}

impl Work<Outcome> for IntactPart {
    fn kind(&self) -> JobKind {
        self.kind
    }

    fn step(&mut self) -> bool {
        self.intact.step()
    }

    fn progress(&self) -> Progress {
        let left = self.intact.rest.len();
        Progress { done: (self.total - left) as u64, total: self.total as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Intact(self.intact.damaged)
    }
}
