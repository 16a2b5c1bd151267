//! Members send the digests of their groups' masks, and one of each group the mask itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::agree::Agreed;
use super::{absent, once, too_few, unexpected, Around, End, Stage, Unmask};
use crate::crypto::{Digest, Signature};
use crate::v2::coordinator::missing::Missing;
use crate::v2::coordinator::recovery::RecoveryError;
use crate::v2::coordinator::state::Round;
use crate::v2::coordinator::{Conflict, Phase, Record, Rejection, RoundFailure};
use crate::v2::{GroupMaskHeader, MaskDigest, MaskDigests, MemberId};

/// A mask that one or more members of a group have signed the digest of.
#[derive(Debug, Clone)]
pub(in crate::v2::coordinator) struct Mask {
    /// The hashes of its chunks.
    pub(in crate::v2::coordinator) leaves: Arc<[Digest]>,
    /// Who has signed its digest.
    pub(in crate::v2::coordinator) signed: BTreeMap<MemberId, Signature>,
    missing: Missing,
}

impl Mask {
    pub(in crate::v2::coordinator) fn is_complete(&self) -> bool {
        self.missing.left() == 0
    }
}

/// The masks of all groups. There are at most as many as members.
pub(in crate::v2::coordinator) type Masks = BTreeMap<(u8, Digest), Mask>;

/// The masks so far.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::v2::coordinator) struct Sum2 {
    agreed: Arc<Agreed>,
    masks: Arc<Masks>,
}

/// The mask that a member has signed the digest of.
pub(in crate::v2::coordinator) fn mask_of(
    masks: &Masks,
    member: MemberId,
) -> Option<(Digest, &Mask)> {
    let mut masks = of_group(masks, member.group);
    masks.find(|(_, mask)| mask.signed.contains_key(&member))
}

fn of_group(masks: &Masks, group: u8) -> impl Iterator<Item = (Digest, &Mask)> + Clone {
    let all = (group, Digest::new([0; 32]))..=(group, Digest::new([255; 32]));
    masks.range(all).map(|((_, digest), mask)| (*digest, mask))
}

/// The mask of a group that a majority of it has signed.
pub(in crate::v2::coordinator) fn winner<'a>(
    masks: &'a Masks,
    group: u8,
    round: &Round,
) -> Option<(Digest, &'a Mask)> {
    of_group(masks, group).find(|(_, mask)| mask.signed.len() >= round.roster.majority())
}

impl Sum2 {
    pub(super) fn new(agreed: Arc<Agreed>) -> Self {
        Self { agreed, masks: Arc::default() }
    }

    pub(in crate::v2::coordinator) fn agreed(&self) -> &Arc<Agreed> {
        &self.agreed
    }

    pub(in crate::v2::coordinator) fn masks(&self) -> &Arc<Masks> {
        &self.masks
    }

    /// What becomes of a verified header: nothing if it is there already.
    pub(in crate::v2::coordinator) fn take(
        &self,
        header: Arc<GroupMaskHeader>,
    ) -> Result<Option<Record>, Rejection> {
        let member = header.member;
        match mask_of(&self.masks, member) {
            Some((digest, _)) if digest == header.mask_digest().digest => Ok(None),
            Some(_) => Err(Rejection::Conflict(Conflict::Mask(member))),
            None => Ok(Some(Record::Mask(header))),
        }
    }

    /// What becomes of a verified chunk of a mask: nothing if it is there already.
    pub(in crate::v2::coordinator) fn take_chunk(
        &self,
        member: MemberId,
        digest: Digest,
        index: u32,
        data: Bytes,
        round: &Round,
    ) -> Result<Option<Record>, Rejection> {
        let group = member.group;
        let mask = self.masks.get(&(group, digest)).ok_or(Rejection::UnknownMask(member))?;
        if winner(&self.masks, group, round).is_some_and(|(winner, _)| winner != digest) {
            return Err(Rejection::NotNeeded(member));
        }
        let record = Record::MaskChunk { group, digest, index, data };
        Ok(mask.missing.has(index).then_some(record))
    }

    /// The masks that have to be sent: of each group the one with a majority, or all as long as there is none.
    pub(in crate::v2::coordinator) fn wanted<'a>(
        &'a self,
        round: &'a Round,
    ) -> impl Iterator<Item = ((u8, Digest), &'a Mask)> {
        let is_wanted = move |((group, digest), mask): &(&(u8, Digest), &'a Mask)| {
            let winner = winner(&self.masks, *group, round);
            !mask.is_complete() && winner.is_none_or(|(winner, _)| winner == *digest)
        };
        self.masks.iter().filter(is_wanted).map(|(id, mask)| (*id, mask))
    }

    fn signers(&self) -> impl Iterator<Item = MemberId> + Clone + '_ {
        self.masks.values().flat_map(|mask| mask.signed.keys().copied())
    }

    pub(super) fn accepted(&self) -> u64 {
        self.signers().count() as u64
    }

    /// The groups that nothing more is needed of.
    fn is_complete(&self, group: u8, round: &Round) -> bool {
        winner(&self.masks, group, round).is_some_and(|(_, mask)| mask.is_complete())
    }

    pub(super) fn end(&self, round: &Round) -> End {
        match groups(round).all(|group| self.is_complete(group, round)) {
            // Who is late may still show whether it lies, until the minimal time is over.
            true if self.absent().is_empty() => End::Now,
            true => End::AfterMinTime,
            false => End::NotYet,
        }
    }

    pub(super) fn failure(&self, round: &Round) -> RoundFailure {
        if round.roster.lacking(self.signers()).is_some() {
            return too_few(&round.roster, Phase::Sum2, self.signers());
        }
        let group = groups(round).find(|group| !self.is_complete(*group, round)).unwrap_or(0);
        let name = round.roster.group_name(group).to_owned();
        if let Some((digest, _)) = winner(&self.masks, group, round) {
            return RoundFailure::MaskNotSent { group, name, digest };
        }
        let votes = of_group(&self.masks, group).map(|(_, mask)| mask.signed.len());
        let (masks, most) = (votes.clone().count(), votes.max().unwrap_or(0));
        RoundFailure::NoMaskMajority { group, name, masks, most, need: round.roster.majority() }
    }

    pub(super) fn absent(&self) -> Vec<MemberId> {
        absent(self.agreed.checked.entries.members(), self.signers())
    }

    pub(super) fn apply(
        mut self,
        record: &Record,
        around: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Mask(header) => {
                once(mask_of(&self.masks, header.member).is_none(), Phase::Sum2)?;
                let id = (header.member.group, header.mask_digest().digest);
                let masks = Arc::make_mut(&mut self.masks);
                let mask = masks.entry(id).or_insert_with(|| Mask {
                    leaves: header.leaves.clone().into(),
                    signed: BTreeMap::new(),
                    missing: Missing::all(around.round.shape.chunks()),
                });
                mask.signed.insert(header.member, header.signature);
                Ok(Stage::Sum2(self))
            }
            Record::MaskChunk { group, digest, index, .. } => {
                let masks = Arc::make_mut(&mut self.masks);
                let mask = masks.get_mut(&(*group, *digest)).ok_or(RecoveryError::WrongMask)?;
                once(mask.missing.remove(*index), Phase::Sum2)?;
                Ok(Stage::Sum2(self))
            }
            Record::Sum2Ended => {
                let masks = groups(around.round)
                    .map(|group| {
                        let winner = winner(&self.masks, group, around.round);
                        let (digest, mask) = winner.filter(|(_, mask)| mask.is_complete())?;
                        let signed = mask.signed.iter();
                        Some(signed.map(move |(member, signature)| MaskDigest {
                            member: *member,
                            digest,
                            signature: *signature,
                        }))
                    })
                    .collect::<Option<Vec<_>>>()
                    .ok_or(RecoveryError::WrongMask)?;
                let digests = masks.into_iter().flatten().collect();
                let digests = MaskDigests::new(digests).map_err(|_| RecoveryError::WrongMask)?;
                Ok(Stage::Unmask(Unmask::new(self.agreed, self.masks, digests)))
            }
            _ => Err(unexpected(record, Phase::Sum2)),
        }
    }

    /// The members whose masks are not those of their groups' majorities.
    pub(in crate::v2::coordinator) fn liars(&self, round: &Round) -> Vec<MemberId> {
        let lies = |((group, digest), _): &(&(u8, Digest), &Mask)| {
            winner(&self.masks, *group, round).is_some_and(|(winner, _)| winner != *digest)
        };
        let masks = self.masks.iter().filter(lies);
        masks.flat_map(|(_, mask)| mask.signed.keys().copied()).collect()
    }
}

fn groups(round: &Round) -> impl Iterator<Item = u8> {
    0..u8::try_from(round.roster.groups().len()).unwrap_or(u8::MAX)
}
