//! Messages as a participant sends them, and as it must not.

use crate::crypto::{
    EncryptKeyPair, PublicEncryptKey, Seed, Signature, SigningKeyPair, TaskSignatures,
};
use crate::mask::{mask_model, MaskConfig, MaskObject, MaskSeed, MaskSum};
use crate::message::{Chunk, EncryptedMaskSeed, Frame, LocalSeedDict, MessageId, SumPayload, Tag};
use crate::model::{Model, Scalar};
use crate::round::{RoundParameters, SumDict};

/// A participant that writes its messages by hand.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) keys: SigningKeyPair,
    pub(super) signatures: TaskSignatures,
    pub(super) parameters: RoundParameters,
    pub(super) number: u32,
}

impl Sender {
    pub(super) fn new(number: u32, parameters: &RoundParameters) -> Self {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let keys = SigningKeyPair::from_seed(&Seed::new(seed));
        let signatures = TaskSignatures::sign(&keys, &parameters.seed);
        Self { keys, signatures, parameters: parameters.clone(), number }
    }

    pub(super) fn seal(&self, tag: Tag, multipart: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Frame::with_capacity(payload.len());
        frame.buffer_mut().extend_from_slice(payload);
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([4; 32]));
        frame.seal(&self.keys, &self.parameters.pk, tag, multipart, &ephemeral).unwrap()
    }

    pub(super) fn chunk(&self, tag: Tag, chunk: Chunk<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        chunk.write_to(&mut bytes);
        self.seal(tag, true, &bytes)
    }

    pub(super) fn sum_with(
        &self,
        sum_signature: Signature,
        ephemeral_key: PublicEncryptKey,
    ) -> Vec<u8> {
        let mut payload = Vec::new();
        SumPayload { sum_signature, ephemeral_key }.write_to(&mut payload);
        self.seal(Tag::Sum, false, &payload)
    }

    pub(super) fn sum(&self) -> Vec<u8> {
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([self.number as u8; 32]));
        self.sum_with(self.signatures.sum, ephemeral.public())
    }

    pub(super) fn seed(&self) -> MaskSeed {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&self.number.to_le_bytes());
        MaskSeed::new(seed)
    }

    pub(super) fn masked(&self, config: MaskConfig, length: usize, scalar: f64) -> Vec<u8> {
        let scalar = Scalar::from_f64(scalar).unwrap();
        mask_model(&self.seed(), config.into(), &scalar, &Model::F32(vec![0.25; length])).unwrap().0
    }

    pub(super) fn update_payload(&self, sums: &SumDict, masked: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend_from_slice(self.signatures.sum.as_bytes());
        payload.extend_from_slice(self.signatures.update.as_bytes());
        payload.extend_from_slice(masked);
        // What is in the boxes is the sum participants' affair.
        let seeds = sums.iter().map(|(key, _)| (*key, EncryptedMaskSeed::new([5; 80]))).collect();
        LocalSeedDict::new(seeds).unwrap().write_to(&mut payload);
        payload
    }

    pub(super) fn update(&self, sums: &SumDict, scalar: f64) -> Vec<u8> {
        let masked = self.masked(self.parameters.mask_config.vect, 4, scalar);
        self.seal(Tag::Update, false, &self.update_payload(sums, &masked))
    }

    /// An update with a model of its own.
    pub(super) fn update_of(&self, sums: &SumDict, weight: f32) -> Vec<u8> {
        let (config, one) = (self.parameters.mask_config, Scalar::from_f64(1.0).unwrap());
        let model = Model::F32(vec![weight; 4]);
        let masked = mask_model(&self.seed(), config, &one, &model).unwrap().0;
        self.seal(Tag::Update, false, &self.update_payload(sums, &masked))
    }

    /// One of three chunks of an update message; every other message is damaged.
    pub(super) fn chunk_of_update(&self, sums: &SumDict, number: u64) -> Vec<u8> {
        let masked = self.masked(self.parameters.mask_config.vect, 4, 1.0);
        let mut payload = self.update_payload(sums, &masked);
        let message_id = MessageId((number / 3 % 2) as u16);
        if message_id.0 == 1 {
            payload[135] ^= 1;
        }
        let id = (number % 3) as u16;
        let parts = [&payload[..130], &payload[130..140], &payload[140..]];
        let data = parts[usize::from(id)];
        self.chunk(Tag::Update, Chunk { id, message_id, is_last: id == 2, data })
    }

    pub(super) fn sum2(&self, mask: &MaskObject) -> Vec<u8> {
        let mut payload = self.signatures.sum.as_bytes().to_vec();
        mask.write_to(&mut payload).unwrap();
        self.seal(Tag::Sum2, false, &payload)
    }
}

pub(super) fn mask_of(updaters: &[Sender]) -> MaskObject {
    let config = updaters[0].parameters.mask_config;
    let mut sum = MaskSum::new(config, 4);
    sum.add_seeds(updaters.iter().map(Sender::seed));
    sum.finish()
}
