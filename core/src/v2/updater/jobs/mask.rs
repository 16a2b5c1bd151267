//! Making an update: the local model is masked under a stream for each group, signed for, and made ready to be sent.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::difference::Difference;
use super::digest::{hash_leaf, leaf_count, HashLeaves};
use super::{done, Done, Made, Outcome};
use crate::crypto::{
    CryptoError, Digest, EncryptKeyPair, PublicEncryptKey, Purpose, RootSeed, Signature,
    SigningKeyPair,
};
use crate::job::{JobKind, Progress, Work};
use crate::mask::{tree, KeyStream, MaskReport, MaskSeed, Masker};
use crate::model::{DataType, Model, Scalar};
use crate::participant::ComposeError;
use crate::v2::updater::delivery::Delivery;
use crate::v2::{
    commitment, model_hash_of, stream_seed, Announcements, AnnouncementsHash, Context, Credential,
    GroupSeed, ModelHash, NoiseTerms, SealedGroupSeed, Terms, UpdateHeader, UploadKey, TREE_LEAF,
};

/// How many numbers are made in a step, of model and streams together: a fraction of a millisecond's work, since the stack is
/// wiped after each step.
const NUMBERS_PER_STEP: usize = 1 << 18;

/// How many boxes are sealed in a step: each takes about 60 microseconds.
const BOXES_PER_STEP: usize = 8;

/// All that an update is made of, beside the model.
#[derive(Clone)]
pub(in super::super) struct Recipe {
    pub(in super::super) keys: SigningKeyPair,
    pub(in super::super) root: RootSeed,
    pub(in super::super) scalar: Scalar,
    pub(in super::super) credential: Option<Credential>,
    pub(in super::super) terms: Arc<Terms>,
    pub(in super::super) context: Context,
    pub(in super::super) announcements: Arc<Announcements>,
    /// How many groups there are.
    pub(in super::super) groups: u8,
    /// The global model that the round starts from: for rounds with noise.
    pub(in super::super) global: Option<Arc<Model>>,
}

impl Recipe {
    fn data_type(&self) -> DataType {
        self.terms.parameters.mask_config.vect.data_type()
    }

    fn coordinator(&self) -> &PublicEncryptKey {
        &self.terms.parameters.pk
    }

    fn list(&self) -> AnnouncementsHash {
        self.announcements.digest()
    }

    /// The seed for each group. They depend on all that is masked with them, and on how: no two different models are ever
    /// masked with the same seed, whatever moment a participant was restored from.
    fn seeds(&self, model: &ModelHash) -> Vec<GroupSeed> {
        let (scalar, list) = (self.scalar.to_string(), self.list());
        let seed = |group: u8| {
            let group = [group];
            let parts: [&[u8]; 6] = [
                b"v2",
                self.context.as_bytes(),
                list.as_bytes(),
                &group,
                scalar.as_bytes(),
                model.as_bytes(),
            ];
            GroupSeed::from(self.root.derive(Purpose::MaskSeed, &parts))
        };
        (0..self.groups).map(seed).collect()
    }

    /// The ephemeral keys of the box around the header, and of the chunks. All that they encrypt follows from the seeds and
    /// the credential: they never encrypt two different things.
    fn upload_keys(&self, seeds: &[GroupSeed]) -> EncryptKeyPair {
        let credential = self.credential.as_ref().map(Credential::to_bytes).unwrap_or_default();
        let mut parts: Vec<&[u8]> = vec![b"v2", &credential, self.coordinator().as_bytes()];
        parts.extend(seeds.iter().map(|seed| &seed.as_bytes()[..]));
        EncryptKeyPair::from_seed(&self.root.derive(Purpose::MessageSeal, &parts))
    }

    fn seal_seed(
        &self,
        seed: &GroupSeed,
        member: &PublicEncryptKey,
    ) -> Result<SealedGroupSeed, CryptoError> {
        let parts: [&[u8]; 3] = [b"v2", seed.as_bytes(), member.as_bytes()];
        let ephemeral = EncryptKeyPair::from_seed(&self.root.derive(Purpose::SeedSeal, &parts));
        SealedGroupSeed::seal(seed, member, &ephemeral)
    }
}

/// Makes an update.
pub(in super::super) struct MakeUpdate {
    recipe: Recipe,
    /// What is masked: the local model, and later perhaps its difference from the global one.
    model: Arc<Model>,
    stage: Stage,
}

enum Stage {
    Begin,
    /// Making the difference, in a round with noise.
    Difference(Difference, NoiseTerms),
    /// Hashing what is masked, for its seeds: the first leaves.
    Hash(Vec<Digest>),
    /// Masking; whatever steps have masked is hashed and encrypted leaf by leaf, while it is in the cache.
    Mask(Seeds, Box<Masker>, Box<Leaves>),
    /// Hashing and encrypting what is left of the masked model: all of it, where parts have masked it.
    Seal(Seeds, Box<Leaves>),
    /// Sealing the seeds to the members.
    Boxes(Seeds, Box<Boxes>),
    Done(Result<Made, ComposeError>),
}

struct Seeds {
    seeds: Vec<GroupSeed>,
    report: MaskReport,
}

/// Neighbouring leaves of a masked model, of which the first ones are hashed and encrypted.
pub(in super::super) struct Leaves {
    key: Arc<UploadKey>,
    /// Which leaf of the model is the first.
    first: usize,
    done: BytesMut,
    hashes: Vec<Digest>,
    rest: BytesMut,
}

struct Boxes {
    chunks: Bytes,
    hashes: Vec<Digest>,
    boxes: Vec<SealedGroupSeed>,
}

impl MakeUpdate {
    pub(in super::super) fn new(recipe: Recipe, model: Arc<Model>) -> Self {
        Self { recipe, model, stage: Stage::Begin }
    }

    fn next(&mut self, stage: Stage) -> Result<Stage, ComposeError> {
        let recipe = &self.recipe;
        let wanted = recipe.data_type();
        Ok(match stage {
            Stage::Begin => match recipe.terms.noise {
                None => Stage::Hash(Vec::new()),
                Some(noise) => Stage::Difference(Difference::new(&self.model, wanted), noise),
            },
            Stage::Difference(difference, noise) => match difference.step(recipe, noise)? {
                Err(difference) => Stage::Difference(difference, noise),
                Ok(model) => {
                    self.model = Arc::new(model);
                    Stage::Hash(Vec::new())
                }
            },
            Stage::Hash(mut leaves) => {
                if leaves.len() < leaf_count(&self.model, wanted) {
                    leaves.push(hash_leaf(&self.model, wanted, leaves.len())?);
                    return Ok(Stage::Hash(leaves));
                }
                let hash = model_hash_of(wanted, self.model.len() as u64, &leaves);
                let seeds = recipe.seeds(&hash);
                let masker = self.masker(&seeds)?;
                let keys = recipe.upload_keys(&seeds);
                let key = Arc::new(UploadKey::of_sender(&keys, recipe.coordinator())?);
                let leaves = Leaves::new(key, 0, BytesMut::new());
                let seeds = Seeds { seeds, report: MaskReport::default() };
                Stage::Mask(seeds, Box::new(masker), Box::new(leaves))
            }
            Stage::Mask(mut seeds, mut masker, mut leaves) => {
                if let Some(leaf) = masker.take(TREE_LEAF) {
                    leaves.seal(leaf);
                    return Ok(Stage::Mask(seeds, masker, leaves));
                }
                if !masker.step(NUMBERS_PER_STEP / (1 + seeds.seeds.len())) {
                    return Ok(Stage::Mask(seeds, masker, leaves));
                }
                (leaves.rest, seeds.report) = masker.finish_rest()?;
                Stage::Seal(seeds, leaves)
            }
            Stage::Seal(seeds, mut leaves) => {
                if leaves.rest.is_empty() {
                    let Leaves { done, hashes, .. } = *leaves;
                    let boxes = Boxes { chunks: done.freeze(), hashes, boxes: Vec::new() };
                    return Ok(Stage::Boxes(seeds, Box::new(boxes)));
                }
                leaves.seal_next();
                Stage::Seal(seeds, leaves)
            }
            Stage::Boxes(seeds, mut boxes) => {
                let next = recipe.announcements.list().iter().skip(boxes.boxes.len());
                for announcement in next.take(BOXES_PER_STEP) {
                    let group = usize::from(announcement.member.group);
                    // Announcements were checked against the roster, which has so many groups.
                    let seed = seeds.seeds.get(group).ok_or(CryptoError::DoesNotOpen)?;
                    boxes.boxes.push(recipe.seal_seed(seed, &announcement.encrypt_key)?);
                }
                match boxes.boxes.len() < recipe.announcements.list().len() {
                    true => Stage::Boxes(seeds, boxes),
                    false => Stage::Done(Ok(self.sign(&seeds, *boxes)?)),
                }
            }
            Stage::Done(result) => Stage::Done(result),
        })
    }

    /// Masks under the sum of a stream for each group.
    fn masker(&self, seeds: &[GroupSeed]) -> Result<Masker, ComposeError> {
        let Recipe { context, keys, terms, scalar, .. } = &self.recipe;
        let (list, updater) = (self.recipe.list(), keys.public());
        let streams: Vec<MaskSeed> = seeds
            .iter()
            .zip(0..)
            .map(|(seed, group)| stream_seed(context, &list, &updater, group, seed))
            .collect();
        let config = terms.parameters.mask_config;
        Ok(Masker::behind_all(&[], 0, &streams, config, scalar, self.model.clone())?)
    }

    /// Signs the statement, and seals the header.
    fn sign(&self, seeds: &Seeds, boxes: Boxes) -> Result<Made, CryptoError> {
        let Recipe { context, keys, credential, .. } = &self.recipe;
        let (list, updater) = (self.recipe.list(), keys.public());
        let commit = |(seed, group)| commitment(context, &list, &updater, group, seed);
        let mut header = UpdateHeader {
            updater,
            credential: *credential,
            commitments: seeds.seeds.iter().zip(0..).map(commit).collect(),
            object_len: boxes.chunks.len() as u64,
            leaves: boxes.hashes,
            statement: Signature::new([0; Signature::LENGTH]),
            boxes: boxes.boxes,
        };
        header.sign(keys, context, &list);
        let statement = header.statement_digest(context, &list);
        let ephemeral = self.recipe.upload_keys(&seeds.seeds);
        let sealed = self.recipe.coordinator().seal(&header.to_bytes(), &ephemeral)?;
        Ok(Made {
            delivery: Delivery::new(sealed.into(), boxes.chunks),
            list,
            statement,
            report: seeds.report,
        })
    }
}

impl Work<Outcome> for MakeUpdate {
    fn kind(&self) -> JobKind {
        JobKind::MaskModel
    }

    fn step(&mut self) -> bool {
        let stage = std::mem::replace(&mut self.stage, Stage::Begin);
        self.stage = self.next(stage).unwrap_or_else(|error| Stage::Done(Err(error)));
        matches!(self.stage, Stage::Done(_))
    }

    fn progress(&self) -> Progress {
        let length = self.model.len() as u64;
        let passes = if self.recipe.terms.noise.is_some() { 3 } else { 1 };
        let before = (passes - 1) * length;
        let done = match &self.stage {
            Stage::Begin => 0,
            Stage::Difference(difference, _) => before.min(difference.progress().0 as u64),
            Stage::Hash(_) => before,
            Stage::Mask(_, masker, _) => before + masker.progress().0 as u64,
            Stage::Seal(..) | Stage::Boxes(..) | Stage::Done(_) => passes * length,
        };
        Progress { done, total: passes * length }
    }

    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        match &mut self.stage {
            Stage::Hash(leaves) => {
                let wanted = self.recipe.data_type();
                HashLeaves::share_out(&self.model, wanted, leaves.len(), parts)
                    .map(|part| Box::new(part) as _)
                    .collect()
            }
            Stage::Mask(_, masker, _) => masker
                .split(parts)
                .into_iter()
                .map(|part| Box::new(MaskWeights(part)) as _)
                .collect(),
            Stage::Seal(_, leaves) => leaves.split(parts),
            _ => Vec::new(),
        }
    }

    fn absorb(&mut self, done: Outcome) {
        let error = match (&mut self.stage, done) {
            (Stage::Hash(leaves), Outcome::V2(outcome)) => {
                let more = outcome.into_digests().map(|more| more.map(|more| leaves.extend(more)));
                more.and_then(Result::err).map(ComposeError::from)
            }
            (Stage::Mask(_, masker, _), Outcome::MaskPart(part)) => {
                masker.absorb(*part);
                None
            }
            (Stage::Seal(_, leaves), Outcome::V2(outcome)) => {
                if let Some(part) = outcome.into_leaves() {
                    leaves.hashes.extend(part.hashes);
                    leaves.done.unsplit(part.done);
                }
                None
            }
            _ => None,
        };
        if let Some(error) = error {
            self.stage = Stage::Done(Err(error));
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        match self.stage {
            Stage::Done(result) => super::made(result),
            // Only called once `step` has said that all is done.
            _ => unreachable!("the job is not done"),
        }
    }
}

/// Masks some of the weights.
struct MaskWeights(crate::mask::MaskPart);

impl Work<Outcome> for MaskWeights {
    fn kind(&self) -> JobKind {
        JobKind::MaskModel
    }

    fn step(&mut self) -> bool {
        self.0.step()
    }

    fn progress(&self) -> Progress {
        let (done, total) = self.0.progress();
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::MaskPart(Box::new(self.0))
    }
}

impl Leaves {
    fn new(key: Arc<UploadKey>, first: usize, rest: BytesMut) -> Self {
        Self { key, first, done: BytesMut::new(), hashes: Vec::new(), rest }
    }

    /// Hashes the next leaf, and encrypts it.
    fn seal(&mut self, mut leaf: BytesMut) {
        let at = self.first + self.hashes.len();
        self.hashes.push(Digest::new(tree::leaf(&leaf)));
        KeyStream::new(self.key.as_bytes(), at as u64).xor(0, &mut leaf);
        // They are neighbours: nothing is copied.
        self.done.unsplit(leaf);
    }

    /// The same for the first leaf of the rest.
    fn seal_next(&mut self) {
        let leaf = self.rest.split_to(self.rest.len().min(TREE_LEAF));
        self.seal(leaf);
    }

    /// All leaves that are left, in up to so many parts, each of neighbours.
    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let count = self.rest.len().div_ceil(TREE_LEAF);
        if count < 2 {
            return Vec::new();
        }
        let share = count.div_ceil(parts.max(1)).max(1);
        let mut pieces = Vec::new();
        let mut first = self.hashes.len();
        while !self.rest.is_empty() {
            let rest = self.rest.split_to(self.rest.len().min(share * TREE_LEAF));
            let part = Self::new(self.key.clone(), first, rest);
            first += share;
            pieces.push(Box::new(part) as Box<dyn Work<Outcome>>);
        }
        pieces
    }
}

/// As a part of the job.
impl Work<Outcome> for Leaves {
    fn kind(&self) -> JobKind {
        JobKind::MaskModel
    }

    fn step(&mut self) -> bool {
        if !self.rest.is_empty() {
            self.seal_next();
        }
        self.rest.is_empty()
    }

    fn progress(&self) -> Progress {
        let (done, rest) = (self.done.len() as u64, self.rest.len() as u64);
        Progress { done, total: done + rest }
    }

    fn finish(self: Box<Self>) -> Outcome {
        done(Done::Leaves(self))
    }
}
