//! Making a message ready for delivery, in steps: signed and sealed in one piece, or to be split.

use bytes::Bytes;

use super::super::stage::{Content, Upload, NO_SIGNATURE};
use super::{ComposeError, Composer};
use crate::crypto::{Blake2b, Purpose, SealInSteps, SignInSteps, Signature, SEAL_OVERHEAD};
use crate::message::{Frame, MessageId, Splitting, Tag, FRAME_HEADROOM, SIGNED_FROM};

/// How many bytes are hashed or sealed in a step: some hundred microseconds' work.
pub(super) const BYTES_PER_STEP: usize = 1 << 17;

/// Signs and seals a message, unless it is handed over within this process.
pub(super) struct SealMessage {
    buffer: Vec<u8>,
    pass: Pass,
}

enum Pass {
    /// Neither: it is done.
    HandOver,
    Sign(Box<SignInSteps>),
    Seal(Box<SealInSteps>, Signature),
}

impl SealMessage {
    pub(super) fn new(
        composer: &Composer,
        mut frame: Frame,
        tag: Tag,
        is_multipart: bool,
    ) -> Result<Self, ComposeError> {
        frame.write_header(&composer.keys.public(), composer.pk(), tag, is_multipart)?;
        let pass = match composer.hand_over {
            false => Pass::Sign(Box::new(SignInSteps::new(&composer.keys))),
            true => Pass::HandOver,
        };
        Ok(Self { buffer: frame.into_buffer(), pass })
    }

    /// The next piece; with the last the sealed message and its signature.
    pub(super) fn step(
        &mut self,
        composer: &Composer,
    ) -> Result<Option<(Bytes, Signature)>, ComposeError> {
        match &mut self.pass {
            Pass::HandOver => Ok(Some((std::mem::take(&mut self.buffer).into(), NO_SIGNATURE))),
            Pass::Sign(signing) => {
                let message = &mut self.buffer[SEAL_OVERHEAD..];
                if let Some(signature) = signing.step(&message[SIGNED_FROM..], BYTES_PER_STEP) {
                    message[..SIGNED_FROM].copy_from_slice(signature.as_bytes());
                    let ephemeral = composer.seal_keys(&signature);
                    let sealing = SealInSteps::new(composer.pk(), &ephemeral)?;
                    self.pass = Pass::Seal(Box::new(sealing), signature);
                }
                Ok(None)
            }
            Pass::Seal(sealing, signature) => {
                let done = sealing.step(&mut self.buffer, BYTES_PER_STEP);
                Ok(done.then(|| (std::mem::take(&mut self.buffer).into(), *signature)))
            }
        }
    }

    /// Bytes done of all passes, and in all.
    #[cfg(test)]
    fn progress(&self) -> (usize, usize) {
        let message = self.buffer.len() - SEAL_OVERHEAD;
        let signed = message - SIGNED_FROM;
        let done = match &self.pass {
            Pass::HandOver => 0,
            Pass::Sign(signing) => signing.progress(signed).0,
            Pass::Seal(sealing, _) => 2 * signed + sealing.progress(),
        };
        (done, 2 * signed + message)
    }
}

/// Makes a finished payload ready.
pub(super) struct Deliver {
    tag: Tag,
    stage: DeliverStage,
}

enum DeliverStage {
    /// In one piece.
    Seal(Box<SealMessage>),
    /// In chunks: their id follows from a hash of the payload.
    Hash { payload: Bytes, splitting: Splitting, hash: Box<Blake2b>, done: usize },
}

impl Deliver {
    pub(super) fn new(composer: &Composer, frame: Frame, tag: Tag) -> Result<Self, ComposeError> {
        let splitting = match composer.hand_over {
            false => composer.size.split(frame.payload_len())?,
            true => None,
        };
        let stage = match splitting {
            None => DeliverStage::Seal(Box::new(SealMessage::new(composer, frame, tag, false)?)),
            Some(splitting) => DeliverStage::Hash {
                payload: Bytes::from(frame.into_buffer()).slice(FRAME_HEADROOM..),
                splitting,
                hash: Box::default(),
                done: 0,
            },
        };
        Ok(Self { tag, stage })
    }

    /// The next piece; what is to be delivered with the last.
    pub(super) fn step(&mut self, composer: &Composer) -> Result<Option<Upload>, ComposeError> {
        let content = match &mut self.stage {
            DeliverStage::Seal(sealing) => match sealing.step(composer)? {
                Some((sealed, signature)) => Content::Sealed { sealed, signature },
                None => return Ok(None),
            },
            DeliverStage::Hash { payload, splitting, hash, done } => {
                let end = payload.len().min(*done + BYTES_PER_STEP);
                hash.update(&payload[*done..end]);
                *done = end;
                if end < payload.len() {
                    return Ok(None);
                }
                let digest = std::mem::take(&mut **hash).finish();
                let id = composer.root.derive(Purpose::MessageId, &[digest.as_bytes()]);
                let [low, high, ..] = *id.as_bytes();
                Content::Chunks {
                    message_id: MessageId(u16::from_le_bytes([low, high])),
                    payload: std::mem::take(payload),
                    splitting: *splitting,
                    next: 0,
                }
            }
        };
        Ok(Some(Upload { tag: self.tag, content }))
    }

    /// All steps at once, of a short payload.
    pub(super) fn finish(mut self, composer: &Composer) -> Result<Upload, ComposeError> {
        loop {
            if let Some(upload) = self.step(composer)? {
                return Ok(upload);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::crypto::{
        EncryptKeyPair, RootSeed, RoundSeed, Seed, SigningKeyPair, TaskSignatures,
    };
    use crate::mask::MaskConfig;
    use crate::message::MessageSize;
    use crate::model::Scalar;
    use crate::round::RoundParameters;

    fn composer(size: MessageSize) -> Composer {
        let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
        let seed = RoundSeed::new([2; 32]);
        let parameters = RoundParameters {
            pk: EncryptKeyPair::from_seed(&Seed::new([3; 32])).public(),
            sum: 0.5,
            update: 0.5,
            seed,
            mask_config: "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap().into(),
            model_length: 3,
        };
        Composer {
            signatures: TaskSignatures::sign(&keys, &seed),
            keys,
            root: RootSeed::new([4; 32]),
            scalar: Scalar::one(),
            size,
            max_model_length: u64::MAX,
            parameters: Arc::new(parameters),
            number: 0,
            hand_over: false,
        }
    }

    fn frame(length: usize) -> Frame {
        let mut frame = Frame::with_capacity(length);
        frame.buffer_mut().extend((0..length).map(|i| (i / 7) as u8));
        frame
    }

    /// Counted in bytes: no step takes in more, so that each takes as long, however long the message is, and a job
    /// that is dropped half way has lost no more than one.
    #[test]
    fn steps_are_bounded_and_the_bytes_are_those_of_one_step() {
        let composer = composer(MessageSize::UNLIMITED);
        for length in [0, 100, BYTES_PER_STEP, 5 * BYTES_PER_STEP + 77] {
            let mut sealing = SealMessage::new(&composer, frame(length), Tag::Sum2, false).unwrap();
            let (mut before, mut steps) = (0, 0);
            let sealed = loop {
                let all = sealing.progress().1;
                match sealing.step(&composer).unwrap() {
                    Some((sealed, _)) => break sealed,
                    None => {
                        let (done, _) = sealing.progress();
                        assert!(done - before <= BYTES_PER_STEP && done <= all);
                        (before, steps) = (done, steps + 1);
                    }
                }
            };
            assert!(steps >= 3 * length / BYTES_PER_STEP);
            let mut signed = frame(length);
            let keys = &composer.keys;
            let message = signed.sign(keys, composer.pk(), Tag::Sum2, false).unwrap();
            let ephemeral = composer.root.derive(Purpose::MessageSeal, &[&message[..64]]);
            let ephemeral = EncryptKeyPair::from_seed(&ephemeral);
            let expected =
                frame(length).seal(keys, composer.pk(), Tag::Sum2, false, &ephemeral).unwrap();
            assert!(sealed == expected, "{length}");
        }
    }

    #[test]
    fn the_id_of_chunks_is_that_of_the_whole_payload() {
        let composer = composer(MessageSize::at_most(4096).unwrap());
        let length = 3 * BYTES_PER_STEP + 5;
        let mut deliver = Deliver::new(&composer, frame(length), Tag::Update).unwrap();
        let mut steps = 0;
        let upload = loop {
            steps += 1;
            if let Some(upload) = deliver.step(&composer).unwrap() {
                break upload;
            }
        };
        assert_eq!(steps, 4);
        let digest = Blake2b::hash(&[frame(length).payload()]);
        let id = composer.root.derive(Purpose::MessageId, &[digest.as_bytes()]);
        let [low, high, ..] = *id.as_bytes();
        match upload.content {
            Content::Chunks { message_id, payload, .. } => {
                assert_eq!(message_id, MessageId(u16::from_le_bytes([low, high])));
                assert!(payload == frame(length).payload());
            }
            Content::Whole(_) | Content::Sealed { .. } => panic!("it is split"),
        }
    }
}
