//! The messages that participants send, byte for byte (specification, section 4).
//!
//! A message is a 136-byte header and a payload, signed by the participant; sealed as a whole to the
//! coordinator's round key it is what travels. A payload that is too large for one message is split
//! into [`Chunk`]s, each of them a full message, and put together again by a [`Reassembly`].
//!
//! Reading is strict where the existing deployments are not: see [`MessageError`] for all that is
//! refused.

mod chunk;
mod error;
mod frame;
mod handed_over;
mod header;
mod payload;
mod reassembly;
mod seeds;

pub use chunk::{Chunk, ChunkError, MessageId, MessageSize, Splitting, CHUNK_HEADER_LENGTH};
pub use error::MessageError;
pub use frame::{Frame, FRAME_HEADROOM};
pub use handed_over::HandedOver;
pub(crate) use header::SIGNED_FROM;
pub use header::{MessageView, Tag, HEADER_LENGTH};
pub use payload::{Payload, Sum2Payload, SumPayload, UpdatePayload};
pub use reassembly::{Added, Complete, OwnedChunk, Reassembly, ReassemblyError, ReassemblyLimits};
pub(crate) use reassembly::{Judgement, Verdict};
pub use seeds::{
    EncryptedMaskSeed, LocalSeedDict, SeedOpenError, ENCRYPTED_SEED_LENGTH, SEED_ENTRY_LENGTH,
};
