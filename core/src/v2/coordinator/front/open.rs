//! Opens messages: pure functions from what was sent to a verified message, for any number of threads.

use std::sync::Arc;

use bytes::Bytes;

use super::{Front, Shown, What};
use crate::crypto::{Digest, PublicEncryptKey, PublicSigningKey, SEAL_OVERHEAD};
use crate::mask::{tree, KeyStream};
use crate::v2::coordinator::entries::Entries;
use crate::v2::coordinator::phases::{known_announcement, known_statement, mask_of};
use crate::v2::coordinator::state::Round;
use crate::v2::coordinator::verified::{Body, Verified};
use crate::v2::coordinator::{MessageKind, Phase, Rejection};
use crate::v2::{
    Announcement, Call, GroupMaskHeader, InvalidCall, MemberId, Report, UpdateHeader, Vote,
};

type Opened = Result<Body, Rejection>;

/// A report that accuses more is not even read.
const MOST_ACCUSED_READ: u64 = 100_000;

impl Front {
    /// Opens and checks what a call sends: all that can be said without knowing what other messages have done. Takes
    /// time proportional to the message, and a few signatures.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub fn open(&self, call: Call) -> Result<Verified, Rejection> {
        let kind = MessageKind::of(&call).ok_or(InvalidCall::Method { allowed: "GET" })?;
        let shown = self.round.as_deref().ok_or(Rejection::NoRound)?;
        if shown.closed {
            return Err(Rejection::Stopped);
        }
        let current = shown.round.context.tag();
        if let Some(post) = call.post() {
            if let Some(found) = post.round.filter(|found| *found != current) {
                return Err(Rejection::OtherRound { found, current });
            }
            let (most, actual) = (self.max_body(kind), post.body.len());
            if actual > most {
                return Err(Rejection::TooLong { message: kind, most, actual });
            }
        }
        let body = match call {
            Call::Announce(post) => shown.open_announcement(&post.body),
            Call::Update(post) => shown.open_header(post.body),
            Call::UpdateChunk { updater, index, post } => {
                shown.open_chunk(updater, index, post.body)
            }
            Call::Report(post) => shown.open_report(&post.body),
            Call::Vote(post) => shown.open_vote(&post.body),
            Call::Mask(post) => shown.open_mask(&post.body),
            Call::MaskChunk { member, index, post } => {
                shown.open_mask_chunk(member, index, post.body)
            }
            _ => Err(shown.wrong_phase(kind)),
        };
        Ok(Verified { context: shown.round.context, body: body? })
    }

    /// The most bytes that a message of this kind can have now.
    pub fn max_body(&self, kind: MessageKind) -> usize {
        let Some(shown) = &self.round else { return 0 };
        let shape = shown.round.shape;
        let header = usize::try_from(shape.header_len(&shown.round.roster)).unwrap_or(usize::MAX);
        match kind {
            MessageKind::Announcement | MessageKind::Vote => 1024,
            MessageKind::Header => header.saturating_add(SEAL_OVERHEAD),
            MessageKind::Mask => header,
            MessageKind::Chunk | MessageKind::MaskChunk => shape.chunk_len(0),
            // Whoever accuses too many is to be told so by name.
            MessageKind::Report => {
                let updates = shown.what.entries().map_or(0, |entries| entries.len());
                1024 + 33 * updates.min(MOST_ACCUSED_READ) as usize
            }
        }
    }
}

impl Shown {
    fn wrong_phase(&self, message: MessageKind) -> Rejection {
        Rejection::WrongPhase { message, phase: self.phase }
    }

    fn announced(&self, member: MemberId) -> Result<&Announcement, Rejection> {
        let announced = self.what.announcements().and_then(|list| list.get(member));
        announced.ok_or(Rejection::NotAnnounced(member))
    }

    fn open_announcement(&self, bytes: &[u8]) -> Opened {
        let kind = MessageKind::Announcement;
        let announcement = Announcement::from_bytes(bytes)?;
        let verify = || announcement.verify(&self.round.roster, &self.round.context);
        if let What::Announce(list) = &self.what {
            if !list.contains(&announcement) {
                verify()?;
            }
            return Ok(Body::Announcement(announcement));
        }
        let list = self.what.announcements();
        let known = list.and_then(|list| list.get(announcement.member));
        let known = known.ok_or_else(|| self.wrong_phase(kind))?;
        if *known != announcement {
            verify()?;
        }
        known_announcement(known, &announcement)?;
        Ok(Body::Known(kind))
    }

    fn open_header(&self, sealed: Bytes) -> Opened {
        let kind = MessageKind::Header;
        let announcements = self.what.announcements().ok_or_else(|| self.wrong_phase(kind))?;
        let key = sealed.first_chunk().copied().map(PublicEncryptKey::new);
        let mut sealed = Vec::from(sealed);
        let opened = self.keys.open_in_place(&mut sealed).map_err(|_| Rejection::DoesNotOpen)?;
        let (key, header) = (key.ok_or(Rejection::DoesNotOpen)?, UpdateHeader::from_bytes(opened)?);
        if let Some(entries) = self.what.entries() {
            let known = entries.get(&header.updater);
            known_statement(known.ok_or_else(|| self.wrong_phase(kind))?, &header)?;
            return Ok(Body::Known(kind));
        }
        header.verify(&self.round.roster, &self.round.terms, announcements)?;
        Ok(Body::Header { header: Arc::new(header), key })
    }

    fn open_chunk(&self, updater: PublicSigningKey, index: u32, data: Bytes) -> Opened {
        let kind = MessageKind::Chunk;
        let What::Update { uploads, .. } = &self.what else {
            let entries = self.what.entries().ok_or_else(|| self.wrong_phase(kind))?;
            let known = entries.get(&updater);
            return known.map(|_| Body::Known(kind)).ok_or_else(|| self.wrong_phase(kind));
        };
        let Some(upload) = uploads.get(&updater) else { return Ok(Body::AnyChunk { updater }) };
        let key = upload.chunk_key(&self.keys)?;
        let mut data = Vec::from(data);
        KeyStream::new(key.as_bytes(), u64::from(index)).xor(0, &mut data);
        self.check_chunk(&upload.header.leaves, index, &data)?;
        Ok(Body::Chunk { upload: upload.clone(), index, data: data.into() })
    }

    /// Whether it is the chunk that a header has the hash of, and fits the round.
    fn check_chunk(&self, leaves: &[Digest], index: u32, data: &[u8]) -> Result<(), Rejection> {
        let shape = &self.round.shape;
        let last = shape.chunks().saturating_sub(1);
        let leaf = leaves.get(index as usize).ok_or(Rejection::NoSuchChunk { index, last })?;
        if data.len() != shape.chunk_len(index) || tree::leaf(data) != *leaf.as_bytes() {
            return Err(Rejection::OtherChunk(index));
        }
        match shape.fits(index, data) {
            true => Ok(()),
            false => Err(Rejection::OtherShape),
        }
    }

    fn open_report(&self, bytes: &[u8]) -> Opened {
        let kind = MessageKind::Report;
        let what = &self.what;
        let (Some(entries), Some(reports)) = (what.entries(), what.reports()) else {
            return Err(self.wrong_phase(kind));
        };
        let report = Report::from_bytes(bytes)?;
        let member = report.member;
        self.announced(member)?;
        what.listen_to(member)?;
        if reports.get(&member).is_some_and(|known| **known == report) {
            return Ok(Body::Known(kind));
        }
        let What::Check { .. } = what else { return Err(self.wrong_phase(kind)) };
        let Round { roster, context, .. } = &*self.round;
        report.verify(roster, context, &entries.announcements.digest())?;
        check_accused(&report, entries)?;
        Ok(Body::Report(Arc::new(report)))
    }

    fn open_vote(&self, bytes: &[u8]) -> Opened {
        let kind = MessageKind::Vote;
        let agreed = self.what.agreed().ok_or_else(|| self.wrong_phase(kind))?;
        let vote = Vote::from_bytes(bytes)?;
        let member = vote.member;
        let announced = self.announced(member)?;
        if agreed.votes.get(&member) == Some(&vote) {
            return Ok(Body::Known(kind));
        }
        let What::Agree(_) = &self.what else { return Err(self.wrong_phase(kind)) };
        match vote.verify(&announced.vote_key, &agreed.hash) {
            true => Ok(Body::Vote(vote)),
            false => Err(Rejection::OtherVote(member)),
        }
    }

    fn open_mask(&self, bytes: &[u8]) -> Opened {
        let kind = MessageKind::Mask;
        let What::Masks { agreed, masks } = &self.what else { return Err(self.wrong_phase(kind)) };
        let header = GroupMaskHeader::from_bytes(bytes)?;
        let member = header.member;
        self.announced(member)?;
        let digest = header.mask_digest().digest;
        if mask_of(masks, member).is_some_and(|(known, _)| known == digest) {
            return Ok(Body::Known(kind));
        }
        if self.phase != Phase::Sum2 {
            return Err(self.wrong_phase(kind));
        }
        header.verify(&self.round.roster, &self.round.terms, &agreed.hash)?;
        Ok(Body::Mask(Arc::new(header)))
    }

    fn open_mask_chunk(&self, member: MemberId, index: u32, data: Bytes) -> Opened {
        let kind = MessageKind::MaskChunk;
        let masks = self.what.masks().ok_or_else(|| self.wrong_phase(kind))?;
        let (digest, mask) = mask_of(masks, member).ok_or(Rejection::UnknownMask(member))?;
        if mask.is_complete() {
            return Ok(Body::Known(kind));
        }
        if self.phase != Phase::Sum2 {
            return Err(self.wrong_phase(kind));
        }
        self.check_chunk(&mask.leaves, index, &data)?;
        Ok(Body::MaskChunk { member, digest, index, data })
    }
}

/// A report accuses only those who have updated.
fn check_accused(report: &Report, entries: &Entries) -> Result<(), Rejection> {
    let member = report.member;
    let stranger = report.accused.iter().find(|(updater, _)| entries.get(updater).is_none());
    match stranger {
        None => Ok(()),
        Some(&(updater, _)) => Err(Rejection::NotAnUpdater { member, updater }),
    }
}
