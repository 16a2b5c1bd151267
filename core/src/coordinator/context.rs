//! Opens messages: pure functions from sealed bytes to a verified message, for any number of
//! threads.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::verified::{Body, Verified};
use super::{Phase, Rejection};
use crate::crypto::{
    is_eligible, Blake2b, Digest, EncryptKeyPair, PublicSigningKey, Signature, Signed, Task,
    SEAL_OVERHEAD,
};
use crate::mask::MaskObjectView;
use crate::message::{
    LocalSeedDict, MessageError, MessageView, OwnedChunk, Payload, Sum2Payload, SumPayload, Tag,
    UpdatePayload, CHUNK_HEADER_LENGTH, HEADER_LENGTH, SEED_ENTRY_LENGTH,
};
use crate::round::{RoundParameters, SeedDict, SumDict};

/// All of a round that answers depend on, and whether a message may be taken, but for what other messages have
/// done. It holds the round's secret key.
#[derive(Debug, Clone)]
pub(super) struct RoundContext {
    pub(super) round_id: u64,
    pub(super) phase: Phase,
    pub(super) keys: EncryptKeyPair,
    pub(super) parameters: Arc<RoundParameters>,
    /// The sum dictionary, once it is complete.
    pub(super) sum_dict: Option<Arc<SumDict>>,
    /// The sum dictionary as it is published, made once.
    sums_bytes: Arc<OnceLock<Bytes>>,
    /// The seed dictionary, once it is complete.
    pub(super) seeds: Option<Arc<SeedDict>>,
}

impl RoundContext {
    pub(super) fn new(
        round_id: u64,
        phase: Phase,
        keys: EncryptKeyPair,
        parameters: Arc<RoundParameters>,
        sum_dict: Option<Arc<SumDict>>,
        seeds: Option<Arc<SeedDict>>,
    ) -> Self {
        let sums_bytes = Arc::default();
        Self { round_id, phase, keys, parameters, sum_dict, sums_bytes, seeds }
    }

    /// The context of the next phase, after the one of this.
    pub(super) fn after(mut self, before: &Self) -> Self {
        if let (Some(sums), Some(same)) = (&self.sum_dict, &before.sum_dict) {
            if Arc::ptr_eq(sums, same) {
                self.sums_bytes = before.sums_bytes.clone();
            }
        }
        self
    }

    /// The same, but that no message is taken any more.
    pub(super) fn closed(&self) -> Self {
        Self { phase: Phase::Shutdown, ..self.clone() }
    }

    /// About how much memory it holds that the next one does not.
    pub(super) fn bytes_beside(&self, next: &Self) -> usize {
        let is_kept = |sums: &Arc<SumDict>| {
            next.sum_dict.as_ref().is_some_and(|next| Arc::ptr_eq(sums, next))
        };
        let Some(sums) = self.sum_dict.as_ref().filter(|sums| !is_kept(sums)) else { return 0 };
        let updates = self.seeds.as_ref().map_or(0, |seeds| seeds.len());
        sums.len() * (2 * SumDict::ENTRY_LENGTH + updates * SEED_ENTRY_LENGTH)
    }

    /// The sum dictionary as it is published.
    pub(super) fn sums_bytes(&self) -> Option<Bytes> {
        let sums = self.sum_dict.as_ref()?;
        Some(self.sums_bytes.get_or_init(|| sums.to_bytes().into()).clone())
    }

    /// The length in bytes of the longest sealed message that this phase can take.
    pub(super) fn max_message_len(&self) -> usize {
        let longest = self.phase.accepts().map_or(0, |tag| self.max_payload(tag));
        longest.saturating_add(CHUNK_HEADER_LENGTH + HEADER_LENGTH + SEAL_OVERHEAD)
    }

    pub(super) fn max_payload(&self, tag: Tag) -> usize {
        let length = usize::try_from(self.parameters.model_length).unwrap_or(usize::MAX);
        let object = MaskObjectView::serialized_len(self.parameters.mask_config, length)
            .unwrap_or(usize::MAX);
        match tag {
            Tag::Sum => SumPayload::LENGTH,
            Tag::Update => {
                let summers = self.sum_dict.as_ref().map_or(0, |dict| dict.len());
                object
                    .saturating_add(UpdatePayload::MASKED_MODEL_FROM)
                    .saturating_add(LocalSeedDict::serialized_len(summers))
            }
            Tag::Sum2 => object.saturating_add(Sum2Payload::MASK_FROM),
        }
    }

    /// Takes a message out of its box, where it lies, and looks at its header.
    pub(super) fn open_box<B: AsMut<[u8]>>(&self, mut sealed: B) -> Result<Unsealed<B>, Rejection> {
        let bytes = sealed.as_mut();
        self.keys.open_in_place(bytes).map_err(|_| MessageError::DoesNotOpen)?;
        self.check_phase(view(bytes)?.tag)?;
        Ok(Unsealed(sealed))
    }

    /// Checks all the rest of it, once it is known whether its sender has signed it.
    pub(super) fn check_unsealed(
        &self,
        unsealed: Bytes,
        is_signed: bool,
    ) -> Result<Verified, Rejection> {
        if !is_signed {
            return Err(MessageError::BadSignature.into());
        }
        let view = view(&unsealed)?;
        if view.coordinator != self.parameters.pk {
            return Err(MessageError::OtherCoordinator.into());
        }
        // (It may have been taken out of its box for another phase.)
        self.check_phase(view.tag)?;
        let (participant, tag, is_multipart) = (view.participant, view.tag, view.is_multipart);
        let payload = unsealed.slice(SEAL_OVERHEAD + HEADER_LENGTH..);
        self.check_payload(participant, tag, is_multipart, payload)
    }

    pub(super) fn check_phase(&self, tag: Tag) -> Result<(), Rejection> {
        match self.phase.accepts() {
            Some(accepted) if accepted == tag => Ok(()),
            _ => Err(Rejection::WrongPhase { tag, phase: self.phase }),
        }
    }

    /// Checks the payload of a message, or the one that its chunks make up.
    pub(super) fn check_payload(
        &self,
        participant: PublicSigningKey,
        tag: Tag,
        is_multipart: bool,
        bytes: Bytes,
    ) -> Result<Verified, Rejection> {
        let payload = Payload::parse(tag, is_multipart, &bytes)?;
        self.check_parsed(participant, tag, payload, &bytes, None)
    }

    /// The rest of it, once the payload is read and its elements are checked. The digest of a mask may be known.
    pub(super) fn check_parsed(
        &self,
        participant: PublicSigningKey,
        tag: Tag,
        payload: Payload<'_>,
        bytes: &Bytes,
        digest: Option<Digest>,
    ) -> Result<Verified, Rejection> {
        let body = match payload {
            Payload::Sum(payload) => {
                self.check_sum_eligible(&participant, &payload.sum_signature)?;
                if payload.ephemeral_key.is_weak() {
                    return Err(Rejection::WeakEphemeralKey);
                }
                Body::Sum { ephemeral_key: payload.ephemeral_key }
            }
            Payload::Update(payload) => {
                self.check_update_eligible(
                    &participant,
                    &payload.sum_signature,
                    &payload.update_signature,
                )?;
                let masked_model = self.check_object(
                    &payload.masked_model,
                    bytes.slice(UpdatePayload::MASKED_MODEL_FROM..),
                )?;
                self.check_seeds(&payload.seeds)?;
                Body::Update { masked_model, seeds: Arc::new(payload.seeds) }
            }
            Payload::Sum2(payload) => {
                self.check_in_sum_dict(&participant)?;
                self.check_sum_eligible(&participant, &payload.sum_signature)?;
                let mask =
                    self.check_object(&payload.mask, bytes.slice(Sum2Payload::MASK_FROM..))?;
                let digest = digest.unwrap_or_else(|| Blake2b::hash(&[&mask]));
                Body::Sum2 { mask, digest }
            }
            Payload::Chunk(chunk) => {
                let proven = self.check_chunk(&participant, tag, chunk.id, chunk.data)?;
                Body::Chunk {
                    chunk: OwnedChunk {
                        id: chunk.id,
                        message_id: chunk.message_id,
                        is_last: chunk.is_last,
                        data: bytes.slice(CHUNK_HEADER_LENGTH..),
                    },
                    proven,
                    max_payload: self.max_payload(tag),
                }
            }
        };
        Ok(Verified { round_id: self.round_id, participant, tag, body })
    }

    /// Whether a chunk proves its sender's right to send: the first one does, if it is long enough to
    /// carry the task signatures.
    fn check_chunk(
        &self,
        participant: &PublicSigningKey,
        tag: Tag,
        id: u16,
        data: &[u8],
    ) -> Result<bool, Rejection> {
        if tag == Tag::Sum2 {
            return self.check_in_sum_dict(participant).map(|()| true);
        }
        let (sum, rest) = match data.split_first_chunk::<{ Signature::LENGTH }>() {
            Some((sum, rest)) if id == 0 => (Signature::new(*sum), rest),
            _ => return Ok(false),
        };
        match (tag, rest.first_chunk::<{ Signature::LENGTH }>()) {
            (Tag::Update, None) => Ok(false),
            (Tag::Update, Some(update)) => {
                self.check_update_eligible(participant, &sum, &Signature::new(*update))?;
                Ok(true)
            }
            (Tag::Sum | Tag::Sum2, _) => {
                self.check_sum_eligible(participant, &sum)?;
                Ok(true)
            }
        }
    }

    fn eligible(
        &self,
        participant: &PublicSigningKey,
        signature: &Signature,
        task: Task,
        threshold: f64,
    ) -> bool {
        // The hash is the cheaper of the two.
        is_eligible(signature, threshold)
            && self.parameters.seed.verify_task(participant, signature, task)
    }

    fn check_sum_eligible(
        &self,
        participant: &PublicSigningKey,
        signature: &Signature,
    ) -> Result<(), Rejection> {
        match self.eligible(participant, signature, Task::Sum, self.parameters.sum) {
            true => Ok(()),
            false => Err(Rejection::NotEligible(Task::Sum)),
        }
    }

    fn check_update_eligible(
        &self,
        participant: &PublicSigningKey,
        sum_signature: &Signature,
        update_signature: &Signature,
    ) -> Result<(), Rejection> {
        let RoundParameters { sum, update, .. } = *self.parameters;
        if self.eligible(participant, sum_signature, Task::Sum, sum)
            || !self.eligible(participant, update_signature, Task::Update, update)
        {
            return Err(Rejection::NotEligible(Task::Update));
        }
        Ok(())
    }

    fn check_in_sum_dict(&self, participant: &PublicSigningKey) -> Result<(), Rejection> {
        match self.sum_dict.as_ref().is_some_and(|dict| dict.contains(participant)) {
            true => Ok(()),
            false => Err(Rejection::UnknownSumParticipant),
        }
    }

    /// Checks that what a verified message carries is of the round's shape. It may have been opened elsewhere,
    /// and nothing of another shape may get into a sum.
    pub(super) fn check_body(&self, body: &Body) -> Result<(), Rejection> {
        let Some(object) = body.object() else { return Ok(()) };
        self.check_shape(&MaskObjectView::parse_exact(object).map_err(MessageError::from)?)
    }

    /// Checks that an object is of the round's shape.
    pub(super) fn check_shape(&self, view: &MaskObjectView<'_>) -> Result<(), Rejection> {
        if view.config() != self.parameters.mask_config {
            return Err(Rejection::MaskConfig);
        }
        let (expected, actual) = (self.parameters.model_length, view.len() as u64);
        if expected != actual {
            return Err(Rejection::ModelLength { expected, actual });
        }
        Ok(())
    }

    /// Checks that an object is of the round's shape; gives its bytes.
    fn check_object(&self, view: &MaskObjectView<'_>, from: Bytes) -> Result<Bytes, Rejection> {
        self.check_shape(view)?;
        let length = MaskObjectView::serialized_len(view.config(), view.len())
            .filter(|length| *length <= from.len())
            .unwrap_or(from.len());
        Ok(from.slice(..length))
    }

    fn check_seeds(&self, seeds: &LocalSeedDict) -> Result<(), Rejection> {
        let expected = self.sum_dict.iter().flat_map(|dict| dict.iter()).map(|(key, _)| key);
        match seeds.sum_participants().eq(expected) {
            true => Ok(()),
            false => Err(Rejection::SeedDictMismatch),
        }
    }
}

/// A message that is out of its box, which is where it was: nobody has looked at its signature yet.
///
/// See [`Front::open_box`](super::Front::open_box).
pub struct Unsealed<B>(B);

/// Shows no content.
impl<B> fmt::Debug for Unsealed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unsealed")
    }
}

impl<B: AsRef<[u8]>> Unsealed<B> {
    /// What its sender has signed, or not.
    pub(super) fn signed(&self) -> Option<Signed<'_>> {
        view(self.0.as_ref()).ok().map(|view| view.signed())
    }
}

impl<B: Into<Bytes>> Unsealed<B> {
    pub(super) fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

/// The message in an opened box, behind what is left of the box itself.
fn view(unsealed: &[u8]) -> Result<MessageView<'_>, MessageError> {
    MessageView::parse(unsealed.get(SEAL_OVERHEAD..).unwrap_or_default())
}
