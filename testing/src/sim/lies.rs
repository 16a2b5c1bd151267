//! Messages of participants that do not keep to the protocol.

use pet_core::crypto::{EncryptKeyPair, PublicEncryptKey, Seed, Signature, SigningKeyPair};
use pet_core::mask::MaskObjectView;
use pet_core::message::{
    Chunk, Frame, LocalSeedDict, MessageId, MessageView, Payload, Sum2Payload, SumPayload, Tag,
    UpdatePayload,
};

use super::random::Random;

/// A way to break the protocol with one message, or a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Random bytes.
    Garbage,
    /// Random bytes, properly sealed.
    SealedNoise,
    /// More than the message should have.
    TooLarge,
    /// Less than the message should have.
    CutOff,
    /// A signature that does not fit.
    ForgedSignature,
    /// In the name of someone else.
    OtherName,
    /// Bound to another coordinator.
    OtherCoordinator,
    /// A task signature that gives no right to the task.
    NotEligible,
    /// A masked object of another mask config.
    WrongConfig,
    /// A number that is not below the group's order.
    NumberTooLarge,
    /// A wrong sum of masks, but a well-formed one: it is accepted, and must be outvoted.
    WrongMask,
    /// A mask seed too few.
    SeedMissing,
    /// Mask seeds that do not open: accepted, and no sum participant can go on.
    SealedGarbage,
    /// An ephemeral key to which nothing can be sealed.
    WeakKey,
    /// The same message in another envelope, twice.
    Twice,
    /// An old message of somebody.
    Replay,
    /// Many beginnings of messages in the names of participants that do not exist.
    ChunkFlood,
    /// A beginning with the right to send, and no end.
    NeverEnding,
    /// One chunk of a participant that does not exist, again and again, the very same bytes.
    RepeatedChunk,
    /// Beginnings of two messages in turn, with the right to send them.
    Alternating,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Garbage,
        Self::SealedNoise,
        Self::TooLarge,
        Self::CutOff,
        Self::ForgedSignature,
        Self::OtherName,
        Self::OtherCoordinator,
        Self::NotEligible,
        Self::WrongConfig,
        Self::NumberTooLarge,
        Self::WrongMask,
        Self::SeedMissing,
        Self::SealedGarbage,
        Self::WeakKey,
        Self::Twice,
        Self::Replay,
        Self::ChunkFlood,
        Self::NeverEnding,
        Self::RepeatedChunk,
        Self::Alternating,
    ];

    /// One that suits only such messages.
    pub fn of(tag: Tag) -> Self {
        match tag {
            Tag::Sum => Self::WeakKey,
            Tag::Update => Self::SeedMissing,
            _ => Self::WrongMask,
        }
    }

    /// Whether the coordinator may accept it: it cannot know.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::WrongMask
                | Self::SealedGarbage
                | Self::Twice
                | Self::Replay
                | Self::ChunkFlood
                | Self::NeverEnding
                | Self::RepeatedChunk
                | Self::Alternating
        )
    }

    /// Whether the honest message is not sent at all.
    pub fn replaces(self) -> bool {
        matches!(
            self,
            Self::WrongMask
                | Self::SealedGarbage
                | Self::WeakKey
                | Self::NeverEnding
                | Self::Alternating
        )
    }

    /// The messages to send; none if the lie does not suit the honest message that is given, opened.
    pub fn tell(self, honest: &Honest<'_>, random: &mut Random) -> Vec<Vec<u8>> {
        let Honest { opened, keys, coordinator } = *honest;
        let coordinator = &coordinator;
        let Ok(view) = MessageView::parse(opened) else { return Vec::new() };
        let mut payload = view.payload.to_vec();
        let is_whole = !view.is_multipart;
        let again = |payload: &[u8], random: &mut Random| {
            seal(keys, coordinator, view.tag, view.is_multipart, payload, random)
        };
        match self {
            Self::Garbage => {
                let mut noise = vec![0; random.between(0, 2000) as usize];
                random.fill(&mut noise);
                vec![noise]
            }
            Self::SealedNoise => {
                let mut noise = vec![0; random.between(0, 500) as usize];
                random.fill(&mut noise);
                let ephemeral = EncryptKeyPair::from_seed(&Seed::new(random.bytes32()));
                coordinator.seal(&noise, &ephemeral).into_iter().collect()
            }
            Self::TooLarge if is_whole => {
                payload.extend_from_slice(&payload.clone());
                vec![again(&payload, random)]
            }
            Self::CutOff if is_whole => {
                payload.truncate(payload.len() / 2);
                vec![again(&payload, random)]
            }
            Self::ForgedSignature => vec![tamper(opened, 0, coordinator, random)],
            Self::OtherName => vec![tamper(opened, 64, coordinator, random)],
            Self::OtherCoordinator => {
                let other = EncryptKeyPair::from_seed(&Seed::new(random.bytes32())).public();
                let mut frame = frame(&payload);
                let signed = frame.sign(keys, &other, view.tag, view.is_multipart);
                signed.map(|signed| seal_opened(signed, coordinator, random)).into_iter().collect()
            }
            Self::NotEligible if is_whole => {
                let noise = keys.sign(&random.bytes32());
                let at = if view.tag == Tag::Update { Signature::LENGTH } else { 0 };
                payload[at..at + Signature::LENGTH].copy_from_slice(noise.as_bytes());
                vec![again(&payload, random)]
            }
            Self::WrongConfig if is_whole && view.tag != Tag::Sum => {
                // The group type: the order changes, the width of the numbers seldom does.
                payload[object_from(view.tag)] ^= 1;
                vec![again(&payload, random)]
            }
            Self::NumberTooLarge if is_whole && view.tag != Tag::Sum => {
                let Some((object, _)) = object(view.tag, &payload) else { return Vec::new() };
                let first = object_from(view.tag) + 8;
                let width = object.vector().len() / object.len().max(1);
                payload[first..first + width].fill(0xff);
                vec![again(&payload, random)]
            }
            Self::WrongMask if is_whole && view.tag == Tag::Sum2 => {
                let Some((object, _)) = object(view.tag, &payload) else { return Vec::new() };
                let first = object_from(view.tag) + 8;
                let width = object.vector().len() / object.len().max(1);
                // A small number is below every order.
                let end = first + object.vector().len();
                for number in payload[first..end].chunks_mut(width) {
                    number.fill(0);
                    number[0] = random.below(256) as u8;
                }
                vec![again(&payload, random)]
            }
            Self::SeedMissing | Self::SealedGarbage if is_whole && view.tag == Tag::Update => {
                let Some((_, rest)) = object(view.tag, &payload) else { return Vec::new() };
                let Ok(seeds) = LocalSeedDict::parse(rest) else { return Vec::new() };
                let keep = payload.len() - rest.len();
                let mut entries = seeds.entries().to_vec();
                if self == Self::SeedMissing {
                    entries.pop();
                } else {
                    for (_, sealed) in &mut entries {
                        let mut noise = [0; 80];
                        random.fill(&mut noise);
                        *sealed = noise.into();
                    }
                }
                payload.truncate(keep);
                let Ok(seeds) = LocalSeedDict::new(entries) else { return Vec::new() };
                seeds.write_to(&mut payload);
                vec![again(&payload, random)]
            }
            Self::WeakKey if is_whole && view.tag == Tag::Sum => {
                payload[Signature::LENGTH..SumPayload::LENGTH].fill(0);
                vec![again(&payload, random)]
            }
            Self::Twice => vec![again(&payload, random), again(&payload, random)],
            Self::ChunkFlood => (0..random.between(5, 40))
                .map(|_| {
                    let stranger = SigningKeyPair::from_seed(&Seed::new(random.bytes32()));
                    let mut data = vec![0; random.between(1, 4000) as usize];
                    random.fill(&mut data);
                    let id = random.between(1, 3) as u16;
                    let chunk = chunk(id, random.draw() as u16, false, &data);
                    seal(&stranger, coordinator, view.tag, true, &chunk, random)
                })
                .collect(),
            Self::NeverEnding if is_whole => {
                let half = payload.len().div_ceil(2);
                let chunk = chunk(0, random.draw() as u16, false, &payload[..half]);
                vec![seal(keys, coordinator, view.tag, true, &chunk, random)]
            }
            Self::RepeatedChunk => {
                let stranger = SigningKeyPair::from_seed(&Seed::new(random.bytes32()));
                let mut data = vec![0; random.between(1, 60) as usize];
                random.fill(&mut data);
                let chunk = chunk(1, random.draw() as u16, false, &data);
                let sealed = seal(&stranger, coordinator, view.tag, true, &chunk, random);
                vec![sealed; random.between(5, 60) as usize]
            }
            Self::Alternating if is_whole => {
                let half = payload.len().div_ceil(2);
                let messages = [1, 2].map(|id| {
                    let chunk = chunk(0, id, false, &payload[..half]);
                    seal(keys, coordinator, view.tag, true, &chunk, random)
                });
                messages.iter().cycle().take(random.between(4, 40) as usize).cloned().collect()
            }
            // Replays are kept by the network; all others do not suit this message.
            _ => Vec::new(),
        }
    }
}

/// The message that an honest participant would send here.
#[derive(Debug)]
pub struct Honest<'a> {
    /// It, opened.
    pub opened: &'a [u8],
    /// Its sender.
    pub keys: &'a SigningKeyPair,
    /// To whom.
    pub coordinator: PublicEncryptKey,
}

/// The update in an opened message or in a payload put together from chunks: seeds and masked model.
pub fn update_of(payload: &[u8]) -> Option<(LocalSeedDict, &[u8])> {
    let Ok(Payload::Update(update)) = Payload::parse(Tag::Update, false, payload) else {
        return None;
    };
    let length =
        MaskObjectView::serialized_len(update.masked_model.config(), update.masked_model.len())?;
    let from = UpdatePayload::MASKED_MODEL_FROM;
    Some((update.seeds, payload.get(from..from + length)?))
}

fn object_from(tag: Tag) -> usize {
    match tag {
        Tag::Update => UpdatePayload::MASKED_MODEL_FROM,
        _ => Sum2Payload::MASK_FROM,
    }
}

fn object(tag: Tag, payload: &[u8]) -> Option<(MaskObjectView<'_>, &[u8])> {
    MaskObjectView::parse(payload.get(object_from(tag)..)?).ok()
}

fn chunk(id: u16, message_id: u16, is_last: bool, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Chunk { id, message_id: MessageId(message_id), is_last, data }.write_to(&mut bytes);
    bytes
}

fn frame(payload: &[u8]) -> Frame {
    let mut frame = Frame::with_capacity(payload.len());
    frame.buffer_mut().extend_from_slice(payload);
    frame
}

fn seal(
    keys: &SigningKeyPair,
    coordinator: &PublicEncryptKey,
    tag: Tag,
    is_multipart: bool,
    payload: &[u8],
    random: &mut Random,
) -> Vec<u8> {
    let ephemeral = EncryptKeyPair::from_seed(&Seed::new(random.bytes32()));
    frame(payload)
        .seal(keys, coordinator, tag, is_multipart, &ephemeral)
        .expect("a round's key, and a short message")
}

/// Seals an opened message with one byte changed.
fn tamper(
    opened: &[u8],
    at: usize,
    coordinator: &PublicEncryptKey,
    random: &mut Random,
) -> Vec<u8> {
    let mut changed = opened.to_vec();
    changed[at] ^= 1 << random.below(8);
    seal_opened(&changed, coordinator, random)
}

fn seal_opened(opened: &[u8], coordinator: &PublicEncryptKey, random: &mut Random) -> Vec<u8> {
    let ephemeral = EncryptKeyPair::from_seed(&Seed::new(random.bytes32()));
    coordinator.seal(opened, &ephemeral).expect("a round's key can be sealed to")
}
