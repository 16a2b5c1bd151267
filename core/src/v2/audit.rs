//! Recomputing a round from what is published about it: the certificate, the statements, the masked models, the groups'
//! masks. Whoever does it trusts nobody for the sum, and learns nothing that is not published.
//!
//! What it shows: the global model is what the masked models of the certified updates give when the certified masks are taken
//! off. What it cannot show is whether a group's mask is the right one: that takes the group's seeds. A majority of *one* group
//! that lies adds what it likes to the sum, in all of its members' names; a minority that lies is [named](Audited::dissenters).

use std::sync::Arc;

use thiserror::Error;

use super::certificate::{Certificate, CertificateError};
use super::credential::AdmissionError;
use super::decision::{DecisionHasher, NotSorted};
use super::error::Blame;
use super::hash::{Context, Label, ModelHash};
use super::model::model_hash;
use super::publication::StatementsPage;
use super::roster::{MemberId, Roster};
use super::statement::tree_root;
use crate::crypto::{Digest, PublicSigningKey};
use crate::mask::{
    tree, Aggregation, AggregationError, MaskObjectView, NoisyUnmaskError, NoisyUnmasker,
    UnmaskError, Unmasker, WeightOutOfRange,
};
use crate::model::{DataType, Model};

/// An audit under way.
///
/// It says what it [needs](Audit::needs) next, and is given that: pages of statements in order, each updater's masked model,
/// each group's mask, and at last the published model. Memory: the sum, one object at a time, and 64 bytes an updater.
pub struct Audit {
    roster: Roster,
    certificate: Certificate,
    context: Context,
    /// The digest of each group's mask that the certificate has a majority for.
    masks: Vec<Digest>,
    decision: DecisionHasher,
    /// The updaters with the hashes of their masked models.
    updates: Vec<(PublicSigningKey, Digest)>,
    summed: usize,
    sum: Aggregation,
    /// The sum of the masks so far.
    mask: Aggregation,
    unmasked: usize,
}

/// Shows how far it is.
impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Audit(needs {:?})", self.needs())
    }
}

/// What an audit has to be given next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// The page of statements that begins at this place.
    Statements {
        /// The place of its first one.
        from: u64,
    },
    /// The masked model of an updater.
    MaskedModel(PublicSigningKey),
    /// The mask of a group.
    GroupMask(u8),
    /// The published global model.
    Model,
}

/// What is wrong with a round.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The certificate does not hold.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Another thing than the one that is needed.
    #[error("the audit was given something else than what it needs now: {0:?}")]
    NotNow(Needs),
    /// Statements of another round, place or number.
    #[error("the published statements are not those that were asked for: {0}")]
    OtherPage(&'static str),
    /// Not sorted.
    #[error(transparent)]
    NotSorted(#[from] NotSorted),
    /// A statement that its updater has not signed for this round.
    #[error("the published statement of {0} is not signed by it for this round")]
    Statement(PublicSigningKey),
    /// An updater that may not update.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// Statements that the decision is not over.
    #[error("the published statements are not those that every group has voted for")]
    OtherStatements,
    /// A masked model that its updater has not signed.
    #[error("the published masked model of {0} is not the one that it has signed")]
    OtherMaskedModel(PublicSigningKey),
    /// A masked model that is none, and signed.
    #[error("updater {updater} has signed a masked model that is none: {reason}")]
    NoMaskedModel {
        /// The updater.
        updater: PublicSigningKey,
        /// What is wrong with it.
        reason: AggregationError,
    },
    /// A mask that the group has not signed.
    #[error("the published mask of group {0} is not the one that a majority of it has signed")]
    OtherMask(u8),
    /// A mask that is none, and signed.
    #[error("a majority of group {group} has signed a mask that is none: {reason}")]
    NoMask {
        /// The group.
        group: u8,
        /// One of its members that have.
        signer: MemberId,
        /// What is wrong with it.
        reason: AggregationError,
    },
    /// A sum that is no sum of models.
    #[error(
        "what the masks leave of the sum is no sum of models, and yet a model was published: {0}"
    )]
    Unmask(UnmaskError),
    /// A mean that the type of weights cannot hold.
    #[error(transparent)]
    OutOfRange(#[from] WeightOutOfRange),
    /// Another model than the one that comes out.
    #[error("weight {index} of the published model is not what comes out: {published} instead of {computed}")]
    OtherModel {
        /// The first weight that differs.
        index: usize,
        /// As published.
        published: f64,
        /// As it should be.
        computed: f64,
    },
    /// A model of another length or type of weights.
    #[error("the published model has {length} weights of type {data_type}, which is not what the round's terms say")]
    OtherShape {
        /// How many weights it has.
        length: usize,
        /// Their type.
        data_type: DataType,
    },
    /// What the masks leave of a sum with noise is no model.
    #[error("what the masks leave of the sum gives no next model, and yet one was published: {0}")]
    Noisy(NoisyUnmaskError),
    /// A round with noise changes the model that it starts from: without that there is nothing to compare.
    #[error("the round has noise: the model that it started from is needed, which its terms name")]
    NeedsStart,
    /// Another model than the one that the terms say the round starts from.
    #[error("the model that the round is said to start from is not the one that its terms name")]
    OtherStart,
}

impl AuditError {
    /// Who has lied. Where something is published that nobody has signed, it is whoever published it.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Certificate(error) => error.blame(),
            Self::NotNow(_) | Self::NeedsStart => Blame::Settings,
            Self::NoMaskedModel { updater, .. } => Blame::Updater(*updater),
            Self::NoMask { signer, .. } => Blame::Member(*signer),
            Self::OtherPage(_)
            | Self::NotSorted(_)
            | Self::Statement(_)
            | Self::Admission(_)
            | Self::OtherStatements
            | Self::OtherMaskedModel(_)
            | Self::OtherMask(_)
            | Self::Unmask(_)
            | Self::Noisy(_)
            | Self::OutOfRange(_)
            | Self::OtherModel { .. }
            | Self::OtherShape { .. }
            | Self::OtherStart => Blame::Coordinator,
        }
    }
}

/// What an audit has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audited {
    /// How many updates the model is of.
    pub updates: u64,
    /// The hash of the model, which the terms of the next round name.
    pub model: ModelHash,
    /// The members that have signed another mask than the majority of their group: they have lied, or their machines are broken.
    pub dissenters: Vec<MemberId>,
}

impl Audit {
    /// Begins with the certificate, which is verified. An auditor without a pin of its own gives an `n_min` of 0: then the
    /// terms decide.
    ///
    /// # Errors
    /// If the certificate does not hold.
    pub fn new(roster: Roster, certificate: Certificate, n_min: u64) -> Result<Self, AuditError> {
        let masks = certificate.verify_without_pin(&roster, n_min)?;
        let parameters = &certificate.terms.parameters;
        // The terms were checked: there is such an object.
        let length = usize::try_from(parameters.model_length).unwrap_or(usize::MAX);
        let empty = || Aggregation::new(parameters.mask_config, length);
        let context = certificate.decision.context;
        let decision = DecisionHasher::new(context, certificate.decision.announcements);
        let (sum, mask) = (empty(), empty());
        let (updates, summed, unmasked) = (Vec::new(), 0, 0);
        Ok(Self {
            roster,
            certificate,
            context,
            masks,
            decision,
            updates,
            summed,
            sum,
            mask,
            unmasked,
        })
    }

    /// What is needed next.
    pub fn needs(&self) -> Needs {
        let known = self.updates.len() as u64;
        if known < self.certificate.decision.count {
            return Needs::Statements { from: known };
        }
        if let Some((updater, _)) = self.updates.get(self.summed) {
            return Needs::MaskedModel(*updater);
        }
        match self.unmasked < self.masks.len() {
            true => Needs::GroupMask(self.unmasked as u8),
            false => Needs::Model,
        }
    }

    /// Takes the next page of statements: they must be signed, by updaters that are admitted, and all of them together
    /// must be what was voted for.
    ///
    /// # Errors
    /// If they are not.
    pub fn statements(&mut self, page: &StatementsPage) -> Result<(), AuditError> {
        let Needs::Statements { from } = self.needs() else {
            return Err(AuditError::NotNow(self.needs()));
        };
        if page.context != self.context {
            return Err(AuditError::OtherPage("they belong to another round"));
        }
        if page.total != self.certificate.decision.count {
            return Err(AuditError::OtherPage("there are not as many as were voted for"));
        }
        if page.from != from || page.statements.is_empty() {
            return Err(AuditError::OtherPage("they begin at another place, or there are none"));
        }
        let (admission, at) = (self.roster.admission(), self.certificate.terms.opened_at);
        for statement in &page.statements {
            let l = &self.certificate.decision.announcements;
            let is_complete = statement.commitments.len() == self.roster.groups().len();
            if !is_complete || !statement.verify(&self.context, l) {
                return Err(AuditError::Statement(statement.updater));
            }
            admission.check(&statement.updater, statement.credential.as_ref(), at)?;
            self.decision.push(&statement.updater, &statement.digest(&self.context, l))?;
            self.updates.push((statement.updater, statement.model_root));
        }
        let is_last = self.updates.len() as u64 >= self.certificate.decision.count;
        match is_last && self.decision.finish() != self.certificate.decision {
            true => Err(AuditError::OtherStatements),
            false => Ok(()),
        }
    }

    /// Takes the masked model of the updater that is needed next, and adds it to the sum.
    ///
    /// # Errors
    /// If it is not what the updater has signed, or is none.
    pub fn masked_model(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        let Needs::MaskedModel(updater) = self.needs() else {
            return Err(AuditError::NotNow(self.needs()));
        };
        if object_root(Label::MaskedModel, bytes) != self.updates[self.summed].1 {
            return Err(AuditError::OtherMaskedModel(updater));
        }
        add(&mut self.sum, bytes)
            .map_err(|reason| AuditError::NoMaskedModel { updater, reason })?;
        self.summed += 1;
        Ok(())
    }

    /// Takes the mask of the group that is needed next.
    ///
    /// # Errors
    /// If it is not what a majority of the group has signed, or is none.
    pub fn group_mask(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        let Needs::GroupMask(group) = self.needs() else {
            return Err(AuditError::NotNow(self.needs()));
        };
        let signed = self.masks[self.unmasked];
        if object_root(Label::GroupMask, bytes) != signed {
            return Err(AuditError::OtherMask(group));
        }
        add(&mut self.mask, bytes).map_err(|reason| {
            let masks = self.certificate.masks.list();
            let signer =
                masks.iter().find(|mask| mask.member.group == group && mask.digest == signed);
            // There is a majority of them.
            let signer = signer.map_or(MemberId::new(group, 0), |mask| mask.member);
            AuditError::NoMask { group, signer, reason }
        })?;
        self.unmasked += 1;
        Ok(())
    }

    /// Ends with the published model: it must be what comes out, weight by weight and bit by bit. `start` is the model that the
    /// round started from, where it is at hand; in a round with noise it has to be.
    ///
    /// # Errors
    /// If it is not, or the start is not what the terms name.
    pub fn finish(self, start: Option<&Model>, published: &Model) -> Result<Audited, AuditError> {
        if self.needs() != Needs::Model {
            return Err(AuditError::NotNow(self.needs()));
        }
        if start.is_some_and(|start| self.certificate.terms.model != Some(model_hash(start))) {
            return Err(AuditError::OtherStart);
        }
        let dissenters = self.dissenters();
        let mask = self.mask.object().to_bytes();
        let mask = mask.map_err(|error| AuditError::Unmask(error.into()))?;
        let computed = match self.certificate.terms.noise {
            None => mean(self.sum, mask)?,
            Some(_) if start.is_none() && self.certificate.terms.model.is_some() => {
                return Err(AuditError::NeedsStart)
            }
            Some(noise) => {
                let start = start.map(|start| Arc::new(start.clone()));
                moved(self.sum, mask, noise.clip, start).map_err(AuditError::Noisy)?
            }
        };
        compare(published, &computed)?;
        let updates = self.certificate.decision.count;
        Ok(Audited { updates, model: model_hash(published), dissenters })
    }

    fn dissenters(&self) -> Vec<MemberId> {
        let masks = self.certificate.masks.list().iter();
        let dissents = masks
            .filter(|mask| self.masks.get(usize::from(mask.member.group)) != Some(&mask.digest));
        dissents.map(|mask| mask.member).collect()
    }
}

/// The global model of a round without noise.
fn mean(sum: Aggregation, mask: Vec<u8>) -> Result<Model, AuditError> {
    let mut unmasker = Unmasker::model_only(sum, mask).map_err(AuditError::Unmask)?;
    while !unmasker.step(usize::MAX) {}
    Ok(unmasker.finish().map_err(AuditError::Unmask)?.model?)
}

/// That of a round with noise, whose updates are differences.
fn moved(
    sum: Aggregation,
    mask: Vec<u8>,
    clip: f64,
    start: Option<Arc<Model>>,
) -> Result<Model, NoisyUnmaskError> {
    let mut unmasker = NoisyUnmasker::new(sum, vec![mask.into()], clip, start)?;
    while !unmasker.step(usize::MAX) {}
    unmasker.finish()
}

fn object_root(label: Label, bytes: &[u8]) -> Digest {
    let leaves: Vec<Digest> = tree::leaf_hashes(bytes).map(Digest::new).collect();
    tree_root(label, bytes.len() as u64, &leaves)
}

fn add(sum: &mut Aggregation, bytes: &[u8]) -> Result<(), AggregationError> {
    let view = MaskObjectView::parse_exact(bytes)?;
    sum.aggregate(&view)
}

/// Bit by bit: there is one right model.
fn compare(published: &Model, computed: &Model) -> Result<(), AuditError> {
    fn first<T: Copy>(
        published: &[T],
        computed: &[T],
        bits: fn(T) -> u64,
        shown: fn(T) -> f64,
    ) -> Option<AuditError> {
        let pairs = published.iter().zip(computed).enumerate();
        let mut others = pairs.filter(|(_, (a, b))| bits(**a) != bits(**b));
        let (index, (a, b)) = others.next()?;
        Some(AuditError::OtherModel { index, published: shown(*a), computed: shown(*b) })
    }
    let (length, data_type) = (published.len(), published.data_type());
    let other_shape = Err(AuditError::OtherShape { length, data_type });
    if length != computed.len() {
        return other_shape;
    }
    let other = match (published, computed) {
        (Model::F32(a), Model::F32(b)) => first(a, b, |w| w.to_bits().into(), f64::from),
        (Model::F64(a), Model::F64(b)) => first(a, b, f64::to_bits, |w| w),
        (Model::I32(a), Model::I32(b)) => first(a, b, |w| w as u32 as u64, f64::from),
        (Model::I64(a), Model::I64(b)) => first(a, b, |w| w as u64, |w| w as f64),
        _ => return other_shape,
    };
    other.map_or(Ok(()), Err)
}
