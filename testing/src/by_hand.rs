//! Participants that write their messages by hand: right ones, and wrong ones of every kind.

use pet_core::crypto::{
    EncryptKeyPair, PublicEncryptKey, PublicSigningKey, Seed, Signature, SigningKeyPair, Task,
    TaskSignatures,
};
use pet_core::mask::{mask_model, MaskConfig, MaskObject, MaskSeed, MaskSum};
use pet_core::message::{
    Chunk, EncryptedMaskSeed, Frame, LocalSeedDict, MessageId, SumPayload, Tag,
};
use pet_core::model::{Model, Scalar};
use pet_core::round::{RoundParameters, SumDict};

/// Someone who may take part in a round, and knows how messages are written.
#[derive(Clone, Debug)]
pub struct Hand {
    /// Its signing keys.
    pub keys: SigningKeyPair,
    /// Its task signatures in the round.
    pub signatures: TaskSignatures,
    /// The round.
    pub parameters: RoundParameters,
    number: u32,
}

impl Hand {
    /// The participant with this number, of all that there could be.
    pub fn new(number: u32, parameters: &RoundParameters) -> Self {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let keys = SigningKeyPair::from_seed(&Seed::new(seed));
        let signatures = TaskSignatures::sign(&keys, &parameters.seed);
        Self { keys, signatures, parameters: parameters.clone(), number }
    }

    /// The first `count` that have a task in a round.
    pub fn with_task(task: Task, count: usize, parameters: &RoundParameters) -> Vec<Self> {
        (0..)
            .map(|number| Self::new(number, parameters))
            .filter(|hand| hand.signatures.task(parameters.sum, parameters.update) == task)
            .take(count)
            .collect()
    }

    /// Its public key.
    pub fn key(&self) -> PublicSigningKey {
        self.keys.public()
    }

    /// Its ephemeral keys as a sum participant.
    pub fn ephemeral(&self) -> EncryptKeyPair {
        let mut seed = [3; 32];
        seed[..4].copy_from_slice(&self.number.to_le_bytes());
        EncryptKeyPair::from_seed(&Seed::new(seed))
    }

    /// Its mask seed as an update participant.
    pub fn mask_seed(&self) -> MaskSeed {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&self.number.to_le_bytes());
        MaskSeed::new(seed)
    }

    /// A signed message in the clear.
    ///
    /// # Panics
    /// Never with payloads of a test's size.
    pub fn sign(&self, tag: Tag, multipart: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Frame::with_capacity(payload.len());
        frame.buffer_mut().extend_from_slice(payload);
        frame.sign(&self.keys, &self.parameters.pk, tag, multipart).expect("short").to_vec()
    }

    /// Seals whatever it is for the round.
    ///
    /// # Panics
    /// If nothing can be sealed for the round's key.
    pub fn seal(&self, message: &[u8]) -> Vec<u8> {
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([4; 32]));
        self.parameters.pk.seal(message, &ephemeral).expect("a good key")
    }

    /// A signed and sealed message.
    pub fn send(&self, tag: Tag, payload: &[u8]) -> Vec<u8> {
        self.seal(&self.sign(tag, false, payload))
    }

    /// A signed and sealed chunk of a payload that is cut after `cut` bytes.
    pub fn send_chunk(&self, tag: Tag, payload: &[u8], cut: usize, second: bool) -> Vec<u8> {
        let (first, rest) = payload.split_at(cut);
        let message_id = MessageId(7);
        let (id, data) = if second { (1, rest) } else { (0, first) };
        let mut bytes = Vec::new();
        Chunk { id, message_id, is_last: second, data }.write_to(&mut bytes);
        self.seal(&self.sign(tag, true, &bytes))
    }

    /// The payload of a sum message.
    pub fn sum_payload(&self, ephemeral_key: PublicEncryptKey) -> Vec<u8> {
        let mut payload = Vec::new();
        SumPayload { sum_signature: self.signatures.sum, ephemeral_key }.write_to(&mut payload);
        payload
    }

    /// A sum message.
    pub fn sum(&self) -> Vec<u8> {
        self.send(Tag::Sum, &self.sum_payload(self.ephemeral().public()))
    }

    /// A masked model whose weights are all 1/4.
    ///
    /// # Panics
    /// If the config is not for such models.
    pub fn masked(&self, config: MaskConfig, length: usize) -> Vec<u8> {
        let model = Model::F32(vec![0.25; length]);
        mask_model(&self.mask_seed(), config.into(), &Scalar::one(), &model).expect("finite").0
    }

    /// The masked model that fits the round.
    pub fn fitting(&self) -> Vec<u8> {
        self.masked(self.parameters.mask_config.vect, self.parameters.model_length as usize)
    }

    /// The payload of an update message.
    ///
    /// # Panics
    /// If a seed cannot be sealed.
    pub fn update_payload(&self, sums: &SumDict, masked: &[u8]) -> Vec<u8> {
        let seal = |key: &PublicEncryptKey| {
            let ephemeral = EncryptKeyPair::from_seed(&Seed::new([5; 32]));
            EncryptedMaskSeed::seal(&self.mask_seed(), key, &ephemeral).expect("a good key")
        };
        let seeds = sums.iter().map(|(summer, key)| (*summer, seal(key))).collect();
        let mut payload = self.update_signatures();
        payload.extend_from_slice(masked);
        LocalSeedDict::new(seeds).expect("a dictionary has no duplicates").write_to(&mut payload);
        payload
    }

    fn update_signatures(&self) -> Vec<u8> {
        let TaskSignatures { sum, update } = &self.signatures;
        [sum, update].into_iter().flat_map(Signature::as_bytes).copied().collect()
    }

    /// An update message.
    pub fn update(&self, sums: &SumDict) -> Vec<u8> {
        self.send(Tag::Update, &self.update_payload(sums, &self.fitting()))
    }

    /// The payload of a sum2 message.
    ///
    /// # Panics
    /// If the mask is not of this world.
    pub fn sum2_payload(&self, mask: &MaskObject) -> Vec<u8> {
        let mut payload = self.signatures.sum.as_bytes().to_vec();
        mask.write_to(&mut payload).expect("in range");
        payload
    }

    /// A sum2 message.
    pub fn sum2(&self, mask: &MaskObject) -> Vec<u8> {
        self.send(Tag::Sum2, &self.sum2_payload(mask))
    }
}

/// The sum of all masks of some update participants.
pub fn mask_of(updaters: &[Hand], config: MaskConfig, length: usize) -> MaskObject {
    let mut sum = MaskSum::new(config.into(), length);
    sum.add_seeds(updaters.iter().map(Hand::mask_seed));
    sum.finish()
}
