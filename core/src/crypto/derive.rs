//! Derives all randomness of a state machine from one seed.

use super::backend::{Backend, Chosen, Length};
use super::{secret_bytes, wiping_stack, Seed};

secret_bytes! {
    /// The one seed of a state machine: 32 bytes that must be unpredictable and never be used by
    /// two machines. Everything secret or random that a machine makes is derived from it, once per
    /// (round, purpose), so that neither the order of inputs nor a restored snapshot shifts anything.
    RootSeed, 32
}

/// The purpose of derived bytes. Different purposes never share bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// A participant's signing key pair, where none is given.
    Identity,
    /// A sum participant's ephemeral key pair of one round.
    EphemeralKey,
    /// The mask seed for one model in one round.
    MaskSeed,
    /// The ephemeral key of the box that carries a mask seed to one sum participant.
    SeedSeal,
    /// The ephemeral key of the box around one message (or chunk) to the coordinator.
    MessageSeal,
    /// The id that ties the chunks of one message together.
    MessageId,
    /// The coordinator's key pair of one round.
    RoundKey,
    /// The coordinator's very first round seed.
    FirstRoundSeed,
    /// The root seed of the next round.
    Ratchet,
    /// The key pair that seeds are sealed for, of one member in one round.
    MemberKey,
    /// The key pair that one member votes with in one round.
    VoteKey,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Identity => b"identity",
            Self::EphemeralKey => b"ephemeral key",
            Self::MaskSeed => b"mask seed",
            Self::SeedSeal => b"seed seal",
            Self::MessageSeal => b"message seal",
            Self::MessageId => b"message id",
            Self::RoundKey => b"round key",
            Self::FirstRoundSeed => b"first round seed",
            Self::Ratchet => b"ratchet",
            Self::MemberKey => b"member key",
            Self::VoteKey => b"vote key",
        }
    }
}

impl RootSeed {
    /// Derives 32 bytes for a purpose in a context (the round, the recipient, ...): keyed BLAKE2b
    /// over the purpose and the context's parts, each with its length before it.
    pub fn derive(&self, purpose: Purpose, context: &[&[u8]]) -> Seed {
        Seed::filled(|to| wiping_stack(|| self.derive_into(purpose, context, to)))
    }

    /// The root seed of the next round. From it nobody gets back to this one, so that whoever learns a later root learns
    /// nothing of the rounds before.
    pub(crate) fn ratchet(&self) -> Self {
        Self::filled(|to| wiping_stack(|| self.derive_into(Purpose::Ratchet, &[], to)))
    }

    fn derive_into(&self, purpose: Purpose, context: &[&[u8]], to: &mut [u8; 32]) {
        let mut state = Chosen::blake2b(Length::Digest, Some(self.as_bytes()));
        for part in std::iter::once(purpose.label()).chain(context.iter().copied()) {
            Chosen::blake2b_update(&mut state, &(part.len() as u64).to_le_bytes());
            Chosen::blake2b_update(&mut state, part);
        }
        Chosen::blake2b_finish(state, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_contexts_and_boundaries_are_kept_apart() {
        let root = RootSeed::new([1; 32]);
        let base = root.derive(Purpose::MaskSeed, &[b"ab", b"c"]);
        assert_eq!(base, root.derive(Purpose::MaskSeed, &[b"ab", b"c"]));
        assert_ne!(base, root.derive(Purpose::MaskSeed, &[b"a", b"bc"]));
        assert_ne!(base, root.derive(Purpose::SeedSeal, &[b"ab", b"c"]));
        assert_ne!(base, RootSeed::new([2; 32]).derive(Purpose::MaskSeed, &[b"ab", b"c"]));
    }
}
