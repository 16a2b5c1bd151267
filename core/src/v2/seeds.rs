//! The seed that an updater gives to each group: sealed to each of its members, committed to before all.

use super::hash::{secret_hash, AnnouncementsHash, Commitment, Context, Label};
use crate::crypto::{
    public_bytes, secret_bytes, CryptoError, EncryptKeyPair, PublicEncryptKey, PublicSigningKey,
    Seed, SEAL_OVERHEAD,
};
use crate::mask::MaskSeed;
use zeroize::Zeroizing;

secret_bytes! {
    /// What an updater gives to one group (`s_ij`): all members of the group get the same.
    GroupSeed, 32
}

impl From<Seed> for GroupSeed {
    fn from(seed: Seed) -> Self {
        Self::filled(|to| to.copy_from_slice(seed.as_bytes()))
    }
}

/// The commitment to a seed: bound to the round, the updater and the group, so that no box can be copied.
pub fn commitment(
    context: &Context,
    announcements: &AnnouncementsHash,
    updater: &PublicSigningKey,
    group: u8,
    seed: &GroupSeed,
) -> Commitment {
    let mut bytes = [0; 32];
    let (group, seed) = ([group], seed.as_bytes());
    let parts: [&[u8]; 5] =
        [context.as_bytes(), announcements.as_bytes(), updater.as_bytes(), &group, seed];
    secret_hash(Label::Commit, &parts, &mut bytes);
    Commitment::new(bytes)
}

/// The mask seed that follows from a group's seed: an ordinary one of version 1.
pub fn stream_seed(
    context: &Context,
    announcements: &AnnouncementsHash,
    updater: &PublicSigningKey,
    group: u8,
    seed: &GroupSeed,
) -> MaskSeed {
    let group = [group];
    let parts: [&[u8]; 5] =
        [context.as_bytes(), announcements.as_bytes(), updater.as_bytes(), &group, seed.as_bytes()];
    let filled = MaskSeed::try_fill(|to| {
        secret_hash(Label::Stream, &parts, to);
        Ok::<_, std::convert::Infallible>(())
    });
    match filled {
        Ok(seed) => seed,
        Err(never) => match never {},
    }
}

public_bytes! {
    /// A group's seed, sealed for the key that one of its members has announced.
    SealedGroupSeed, 80
}

impl SealedGroupSeed {
    /// Seals a seed. The ephemeral pair must be used once only.
    ///
    /// # Errors
    /// [`CryptoError::WeakPublicKey`] if the member's key is a point of low order.
    pub fn seal(
        seed: &GroupSeed,
        member: &PublicEncryptKey,
        ephemeral: &EncryptKeyPair,
    ) -> Result<Self, CryptoError> {
        Self::from_slice(&member.seal(seed.as_bytes(), ephemeral)?)
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`CryptoError::DoesNotOpen`] if it was not sealed for these keys.
    pub fn open(&self, keys: &EncryptKeyPair) -> Result<GroupSeed, CryptoError> {
        // Not on the stack, of which copies may stay behind.
        let mut sealed = Zeroizing::new(self.as_bytes().to_vec());
        let opened = keys.open_in_place(&mut sealed)?;
        GroupSeed::from_slice(opened).map_err(|_| CryptoError::DoesNotOpen)
    }
}

const _: () = assert!(SealedGroupSeed::LENGTH == GroupSeed::LENGTH + SEAL_OVERHEAD);
