//! A round that has ended with a global model, and all that is published of it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::entries::{statements, Entries};
use super::ruling::Exclusions;
use crate::crypto::{Digest, PublicSigningKey};
use crate::model::Model;
use crate::v2::merkle::{leaf_hash, InclusionProof, Tree};
use crate::v2::{decision_leaf, Certificate, Context, ModelHash, UpdateHeader};

/// A completed round: its global model, the certificate, and what an audit needs but for the large
/// [objects](super::Object), which the driver has stored. Cheap to share.
pub struct Completed {
    /// What proves that every group has agreed to the updates.
    pub certificate: Certificate,
    /// The global model.
    pub model: Arc<Model>,
    /// Its hash: the terms of the next round name it.
    pub model_hash: ModelHash,
    pub(super) context: Context,
    pub(super) entries: Arc<Entries>,
    pub(super) excluded: Arc<Exclusions>,
    /// Of the statements in the model: made by the first who asks for a proof, on its own thread.
    tree: OnceLock<Tree>,
}

/// Shows which round it was, and nothing that was collected.
impl fmt::Debug for Completed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completed")
            .field("round", &self.round())
            .field("models", &self.models())
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl Completed {
    /// The round's number.
    pub fn round(&self) -> u64 {
        self.certificate.terms.round
    }

    /// How many updates the model is made of.
    pub fn models(&self) -> u64 {
        self.certificate.decision.count
    }

    /// How many updates were excluded.
    pub fn excluded(&self) -> u64 {
        self.excluded.len() as u64
    }

    /// The headers of all updates that are in the model, sorted by updater.
    pub fn headers(&self) -> impl Iterator<Item = &UpdateHeader> {
        let is_in = |header: &&Arc<UpdateHeader>| !self.excluded.contains_key(&header.updater);
        self.entries.iter().filter(is_in).map(|header| &**header)
    }

    pub(super) fn new(
        certificate: Certificate,
        entries: Arc<Entries>,
        excluded: Arc<Exclusions>,
        model: Arc<Model>,
        model_hash: ModelHash,
    ) -> Self {
        let (context, tree) = (certificate.decision.context, OnceLock::new());
        Self { certificate, model, model_hash, context, entries, excluded, tree }
    }

    /// The round's context.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Whether this updater's update is in the model.
    pub fn includes(&self, updater: &PublicSigningKey) -> bool {
        self.entries.get(updater).is_some() && !self.excluded.contains_key(updater)
    }

    /// The digest of the mask of a group that was taken off.
    pub fn mask(&self, group: u8) -> Option<Digest> {
        let mut masks = self.certificate.masks.list().iter();
        masks.find(|signed| signed.member.group == group).map(|signed| signed.digest)
    }

    /// Proves that this updater's update is in the model; nothing if it is not. The first time it takes a few microseconds
    /// for each update.
    pub fn prove(&self, updater: &PublicSigningKey) -> Option<InclusionProof> {
        if !self.includes(updater) {
            return None;
        }
        let tree = self.tree.get_or_init(|| {
            let is_excluded = |updater: &_| self.excluded.contains_key(updater);
            let statements = statements(&self.context, &self.entries, is_excluded);
            Tree::new(
                statements.map(|(key, digest)| leaf_hash(&decision_leaf(&key, &digest))).collect(),
            )
        });
        let before = self.excluded.range(..updater).count();
        tree.prove((self.entries.place(updater)? - before) as u64)
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.entries.bytes() + 8 * self.model.len()
    }
}
