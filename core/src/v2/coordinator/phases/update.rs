//! Updaters send masked models: a header first, and then the chunks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::{once, unexpected, Around, Check, End, Stage};
use crate::crypto::{EncryptKeyPair, PublicEncryptKey, PublicSigningKey};
use crate::v2::coordinator::entries::Entries;
use crate::v2::coordinator::missing::Missing;
use crate::v2::coordinator::recovery::RecoveryError;
use crate::v2::coordinator::settings::{Limits, Settings};
use crate::v2::coordinator::state::Round;
use crate::v2::coordinator::{Conflict, Phase, Record, Rejection, RoundFailure};
use crate::v2::{Announcements, UpdateHeader, UploadKey};

/// How often an updater may seal its upload anew. It does when it was started again in the middle of it.
const MOST_KEYS: u32 = 16;

/// An upload that is not complete: what its chunks are opened and checked with.
#[derive(Clone)]
pub(in crate::v2::coordinator) struct Upload {
    pub(in crate::v2::coordinator) header: Arc<UpdateHeader>,
    /// The ephemeral key that the header was sealed with: the key of the chunks follows from it.
    pub(in crate::v2::coordinator) key: PublicEncryptKey,
    /// How many such keys there were.
    keys: u32,
    /// Made by the first who opens a chunk.
    chunk_key: OnceLock<UploadKey>,
}

/// Shows no key of chunks, and not whether there is one.
impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({:?}, {}, {})", self.header, self.key, self.keys)
    }
}

impl Upload {
    fn new(header: Arc<UpdateHeader>, key: PublicEncryptKey, keys: u32) -> Self {
        Self { header, key, keys, chunk_key: OnceLock::new() }
    }

    /// The key of the chunks.
    pub(in crate::v2::coordinator) fn chunk_key(
        &self,
        keys: &EncryptKeyPair,
    ) -> Result<&UploadKey, Rejection> {
        if let Some(key) = self.chunk_key.get() {
            return Ok(key);
        }
        let key = UploadKey::of_receiver(keys, &self.key).map_err(|_| Rejection::DoesNotOpen)?;
        Ok(self.chunk_key.get_or_init(|| key))
    }
}

/// The incomplete uploads, which messages are opened with. There are few of them at a time.
pub(in crate::v2::coordinator) type Uploads = BTreeMap<PublicSigningKey, Arc<Upload>>;

/// The updates so far.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::v2::coordinator) struct Update {
    announcements: Arc<Announcements>,
    complete: BTreeMap<PublicSigningKey, Arc<UpdateHeader>>,
    uploads: Arc<Uploads>,
    missing: BTreeMap<PublicSigningKey, Missing>,
    /// The bytes of all headers.
    header_bytes: u64,
}

/// What becomes of a header.
pub(in crate::v2::coordinator) enum Admission {
    /// It is there already.
    Known,
    /// This is to be recorded.
    Record(Record),
    /// It would be taken if another upload gave way.
    NoRoom(Rejection),
}

impl Update {
    pub(super) fn new(announcements: Arc<Announcements>) -> Self {
        Self {
            announcements,
            complete: BTreeMap::new(),
            uploads: Arc::default(),
            missing: BTreeMap::new(),
            header_bytes: 0,
        }
    }

    pub(in crate::v2::coordinator) fn announcements(&self) -> &Arc<Announcements> {
        &self.announcements
    }

    pub(in crate::v2::coordinator) fn uploads(&self) -> &Arc<Uploads> {
        &self.uploads
    }

    /// How many updates are complete.
    pub(super) fn accepted(&self) -> u64 {
        self.complete.len() as u64
    }

    /// The bytes of the objects that are not complete, counted in full.
    pub(in crate::v2::coordinator) fn reserved_bytes(&self, round: &Round) -> u64 {
        round.shape.object_len().saturating_mul(self.uploads.len() as u64)
    }

    /// What becomes of a verified header.
    ///
    /// # Errors
    /// If it is a second statement, or there is no room that anything could give way to.
    pub(in crate::v2::coordinator) fn admit(
        &self,
        header: Arc<UpdateHeader>,
        key: PublicEncryptKey,
        round: &Round,
        settings: &Settings,
    ) -> Result<Admission, Rejection> {
        let updater = header.updater;
        if let Some(known) = self.complete.get(&updater) {
            return known_statement(known, &header).map(|()| Admission::Known);
        }
        if let Some(upload) = self.uploads.get(&updater) {
            known_statement(&upload.header, &header)?;
            return match upload.key == key {
                true => Ok(Admission::Known),
                false if upload.keys >= MOST_KEYS => Err(Rejection::TooManyHeaders(updater)),
                false => Ok(Admission::Record(Record::Rekeyed { updater, key })),
            };
        }
        let Limits { header_bytes, uploads, upload_bytes, .. } = settings.limits;
        let max = settings.count.max;
        if self.accepted() >= max {
            return Err(Rejection::Full);
        }
        if self.header_bytes.saturating_add(header_len(&header)) > header_bytes {
            return Ok(Admission::NoRoom(Rejection::NoRoomForHeaders));
        }
        let reserved = self.reserved_bytes(round).saturating_add(round.shape.object_len());
        let incomplete = self.uploads.len() as u64;
        if incomplete >= uploads || reserved > upload_bytes || self.accepted() + incomplete >= max {
            return Ok(Admission::NoRoom(Rejection::NoRoom));
        }
        Ok(Admission::Record(Record::Header { header, key }))
    }

    /// What becomes of a chunk that belongs to this header, if the front has one: it has checked it then.
    ///
    /// # Errors
    /// If there is no such upload.
    pub(in crate::v2::coordinator) fn take_chunk(
        &self,
        updater: PublicSigningKey,
        checked: Option<(&UpdateHeader, u32, bytes::Bytes)>,
    ) -> Result<Option<Record>, Rejection> {
        if self.complete.contains_key(&updater) {
            return Ok(None);
        }
        let (Some((header, index, data)), Some(upload), Some(missing)) =
            (checked, self.uploads.get(&updater), self.missing.get(&updater))
        else {
            return Err(Rejection::UnknownUpload(updater));
        };
        known_statement(&upload.header, header)?;
        Ok(missing.has(index).then_some(Record::Chunk { updater, index, data }))
    }

    pub(super) fn end(&self, settings: &Settings) -> End {
        match self.accepted() < settings.count.min {
            true => End::NotYet,
            false => End::AfterMinTime,
        }
    }

    pub(super) fn failure(&self, settings: &Settings) -> RoundFailure {
        RoundFailure::TooFewUpdates { accepted: self.accepted(), needed: settings.count.min }
    }

    pub(super) fn apply(
        mut self,
        record: &Record,
        around: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Header { header, key } => {
                let updater = header.updater;
                let is_new =
                    !self.complete.contains_key(&updater) && !self.uploads.contains_key(&updater);
                once(is_new, Phase::Update)?;
                let upload = Upload::new(header.clone(), *key, 1);
                Arc::make_mut(&mut self.uploads).insert(updater, Arc::new(upload));
                self.missing.insert(updater, Missing::all(around.round.shape.chunks()));
                self.header_bytes += header_len(header);
                Ok(Stage::Update(self))
            }
            Record::Rekeyed { updater, key } => {
                let uploads = Arc::make_mut(&mut self.uploads);
                let upload = uploads.get_mut(updater).ok_or(RecoveryError::NoUpload)?;
                *upload = Arc::new(Upload::new(upload.header.clone(), *key, upload.keys + 1));
                Ok(Stage::Update(self))
            }
            Record::Chunk { updater, index, .. } => {
                let missing = self.missing.get_mut(updater).ok_or(RecoveryError::NoUpload)?;
                once(missing.remove(*index), Phase::Update)?;
                if missing.left() == 0 {
                    self.missing.remove(updater);
                    let upload = Arc::make_mut(&mut self.uploads).remove(updater);
                    let upload = upload.ok_or(RecoveryError::NoUpload)?;
                    self.complete.insert(*updater, upload.header.clone());
                }
                Ok(Stage::Update(self))
            }
            Record::UploadDropped { updater } => {
                self.missing.remove(updater).ok_or(RecoveryError::NoUpload)?;
                let upload = Arc::make_mut(&mut self.uploads).remove(updater);
                let upload = upload.ok_or(RecoveryError::NoUpload)?;
                self.header_bytes -= header_len(&upload.header);
                Ok(Stage::Update(self))
            }
            Record::UpdateEnded => {
                let Self { announcements, complete, uploads, missing, .. } = self;
                let bytes =
                    uploads.values().map(|upload| header_len(&upload.header) as usize).sum();
                around.garbage.add(bytes, (uploads, missing));
                Ok(Stage::Check(Check::new(Arc::new(Entries::new(announcements, complete)))))
            }
            _ => Err(unexpected(record, Phase::Update)),
        }
    }
}

/// About how many bytes a header takes.
fn header_len(header: &UpdateHeader) -> u64 {
    let (leaves, boxes) = (header.leaves.len(), header.boxes.len());
    (256 + 32 * (leaves + header.commitments.len()) + 80 * boxes) as u64
}

/// Whether a header says the same as the one that is there. The boxes may be sealed anew: those of the first count.
pub(in crate::v2::coordinator) fn known_statement(
    known: &UpdateHeader,
    header: &UpdateHeader,
) -> Result<(), Rejection> {
    match known.commitments == header.commitments && known.leaves == header.leaves {
        true => Ok(()),
        false => Err(Rejection::Conflict(Conflict::Statement(known.updater))),
    }
}
