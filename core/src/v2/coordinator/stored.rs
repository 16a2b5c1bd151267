//! Records and completed rounds as bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::entries::Entries;
use super::ruling::Exclusions;
use super::{Completed, Large, Record, Ruling};
use crate::crypto::{Digest, PublicEncryptKey, PublicSigningKey};
use crate::model::{array, DataType, Model};
use crate::v2::wire::{Reader, Writer};
use crate::v2::{
    Accusation, Announcement, Certificate, Decision, DecodeError, GroupMaskHeader, MemberId,
    ModelHash, Report, Roster, Terms, UpdateHeader, Vote,
};

/// No part of a record is longer.
const MOST: usize = u32::MAX as usize;
/// The most bytes of a failure's reason.
const MOST_REASON: usize = 4096;

const RECORD: &str = "record";
const COMPLETED: &str = "completed round";

impl Large {
    /// Its bytes, to be written at an offset of its object's, or as a file. Takes as long as it is large.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Chunk { data, .. } => data.clone(),
            Self::Completed(completed) => completed.to_bytes().into(),
        }
    }
}

impl Record {
    /// All but the [large](Record::large) part, in a versioned form. There are no secrets in it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(128);
        writer.u8(self.tag());
        match self {
            Self::RoundBegan { terms, roster } => {
                writer.bytes(&terms.to_bytes());
                writer.bytes(&roster.to_bytes());
            }
            Self::Announcement(announcement) => writer.bytes(&announcement.to_bytes()),
            Self::Header { header, key } => {
                writer.raw(key.as_bytes());
                writer.bytes(&header.to_bytes());
            }
            Self::Rekeyed { updater, key } => {
                writer.raw(updater.as_bytes());
                writer.raw(key.as_bytes());
            }
            Self::Chunk { updater, index, .. } => {
                writer.raw(updater.as_bytes());
                writer.u32(*index);
            }
            Self::UploadDropped { updater } => writer.raw(updater.as_bytes()),
            Self::Report(report) => writer.bytes(&report.to_bytes()),
            Self::CheckEnded { ruling } => {
                writer.bytes(&ruling.decision.to_bytes());
                writer.count(ruling.disregarded.len());
                for (member, accused) in &ruling.disregarded {
                    member.write(&mut writer);
                    writer.u64(*accused);
                }
                write_exclusions(&mut writer, &ruling.excluded);
            }
            Self::Vote(vote) => writer.bytes(&vote.to_bytes()),
            Self::Mask(header) => writer.bytes(&header.to_bytes()),
            Self::MaskChunk { group, digest, index, .. } => {
                writer.u8(*group);
                writer.raw(digest.as_bytes());
                writer.u32(*index);
            }
            Self::RoundFailed { round, reason } => {
                writer.u64(*round);
                let most = MOST_REASON.min(reason.len());
                let cut = (0..=most).rev().find(|at| reason.is_char_boundary(*at));
                writer.bytes(&reason.as_bytes()[..cut.unwrap_or_default()]);
            }
            Self::AnnounceEnded
            | Self::UpdateEnded
            | Self::AgreeEnded
            | Self::Sum2Ended
            | Self::Completed(_) => {}
        }
        writer.finish()
    }

    /// Which kind it is, as it is written. Numbers are never given a second time.
    fn tag(&self) -> u8 {
        match self {
            Self::RoundBegan { .. } => 0,
            Self::Announcement(_) => 1,
            Self::AnnounceEnded => 2,
            Self::Header { .. } => 3,
            Self::Rekeyed { .. } => 4,
            Self::Chunk { .. } => 5,
            Self::UploadDropped { .. } => 6,
            Self::UpdateEnded => 7,
            Self::Report(_) => 8,
            Self::CheckEnded { .. } => 10,
            Self::Vote(_) => 11,
            Self::AgreeEnded => 12,
            Self::Mask(_) => 13,
            Self::MaskChunk { .. } => 14,
            Self::Sum2Ended => 15,
            Self::Completed(_) => 16,
            Self::RoundFailed { .. } => 17,
        }
    }

    /// Reads what [`Record::to_bytes`] has written. Of the large parts only a completed round is needed; a chunk's data
    /// stays where it is.
    ///
    /// # Errors
    /// If the bytes are something else.
    pub fn from_bytes(bytes: &[u8], large: Option<Bytes>) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned(RECORD, bytes)?;
        let tag = reader.u8("kind")?;
        let record = read(tag, &mut reader, large)?;
        reader.end()?;
        Ok(record)
    }
}

fn read(tag: u8, reader: &mut Reader<'_>, large: Option<Bytes>) -> Result<Record, DecodeError> {
    let updater = |reader: &mut Reader<'_>| reader.array("updater").map(PublicSigningKey::new);
    let key = |reader: &mut Reader<'_>| reader.array("key").map(PublicEncryptKey::new);
    let data = large.clone().unwrap_or_default();
    Ok(match tag {
        0 => Record::RoundBegan {
            terms: Arc::new(Terms::from_bytes(reader.bytes(MOST, "terms")?)?),
            roster: Arc::new(Roster::from_bytes(reader.bytes(MOST, "roster")?)?),
        },
        1 => Record::Announcement(Announcement::from_bytes(reader.bytes(MOST, "announcement")?)?),
        2 => Record::AnnounceEnded,
        3 => Record::Header {
            key: key(reader)?,
            header: Arc::new(UpdateHeader::from_bytes(reader.bytes(MOST, "header")?)?),
        },
        4 => Record::Rekeyed { updater: updater(reader)?, key: key(reader)? },
        5 => Record::Chunk { updater: updater(reader)?, index: reader.u32("index")?, data },
        6 => Record::UploadDropped { updater: updater(reader)? },
        7 => Record::UpdateEnded,
        8 => Record::Report(Arc::new(Report::from_bytes(reader.bytes(MOST, "report")?)?)),
        10 => {
            let decision = Decision::from_bytes(reader.bytes(MOST, "decision")?)?;
            let disregarded = reader.list(10, MOST, "disregarded", |reader| {
                Ok((MemberId::read(reader)?, reader.u64("disregarded")?))
            })?;
            let disregarded = disregarded.into_iter().collect();
            let excluded = Arc::new(read_exclusions(reader)?);
            Record::CheckEnded { ruling: Arc::new(Ruling { decision, disregarded, excluded }) }
        }
        11 => Record::Vote(Vote::from_bytes(reader.bytes(MOST, "vote")?)?),
        12 => Record::AgreeEnded,
        13 => Record::Mask(Arc::new(GroupMaskHeader::from_bytes(reader.bytes(MOST, "header")?)?)),
        14 => Record::MaskChunk {
            group: reader.u8("group")?,
            digest: Digest::new(reader.array("digest")?),
            index: reader.u32("index")?,
            data,
        },
        15 => Record::Sum2Ended,
        16 => {
            let missing = reader.malformed("completed round", "is not stored beside it");
            let completed = Completed::from_bytes(&large.ok_or(missing)?)?;
            Record::Completed(Arc::new(completed))
        }
        17 => Record::RoundFailed {
            round: reader.u64("round")?,
            reason: reader.text(MOST_REASON, "reason")?.to_owned(),
        },
        _ => return Err(reader.malformed("kind", "is unknown: it is of a newer version")),
    })
}

impl Completed {
    /// All of it, in a versioned form for storing. Takes as long as the model and the number of updates are large.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(self.bytes());
        writer.bytes(&self.certificate.to_bytes());
        writer.raw(self.model_hash.as_bytes());
        writer.u8(self.model.data_type().to_byte());
        let mut weights = Vec::new();
        array::write_weights(&self.model, &mut weights);
        writer.u64(weights.len() as u64);
        writer.raw(&weights);
        write_exclusions(&mut writer, &self.excluded);
        writer.count(self.entries.len() as usize);
        self.entries.iter().for_each(|header| writer.bytes(&header.to_bytes()));
        writer.finish()
    }

    /// Reads what [`Completed::to_bytes`] has written.
    ///
    /// # Errors
    /// If the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned(COMPLETED, bytes)?;
        let certificate = Certificate::from_bytes(reader.bytes(MOST, "certificate")?)?;
        let model_hash = ModelHash::new(reader.array("hash")?);
        let model = read_model(&mut reader)?;
        let excluded = read_exclusions(&mut reader)?;
        let headers: BTreeMap<_, _> = reader
            .list(4, MOST, "updates", |reader| {
                let header = UpdateHeader::from_bytes(reader.bytes(MOST, "updates")?)?;
                Ok((header.updater, Arc::new(header)))
            })?
            .into_iter()
            .collect();
        let counts = (headers.len() as u64).checked_sub(excluded.len() as u64);
        if counts != Some(certificate.decision.count) {
            return Err(reader.malformed("updates", "are not as many as were agreed on"));
        }
        reader.end()?;
        let announcements = Arc::new(certificate.announcements.clone());
        let (entries, excluded) =
            (Arc::new(Entries::new(announcements, headers)), Arc::new(excluded));
        Ok(Self::new(certificate, entries, excluded, Arc::new(model), model_hash))
    }
}

fn write_exclusions(writer: &mut Writer, excluded: &Exclusions) {
    writer.count(excluded.len());
    for (updater, (member, accusation)) in excluded {
        writer.raw(updater.as_bytes());
        member.write(writer);
        writer.u8(accusation.code());
    }
}

fn read_exclusions(reader: &mut Reader<'_>) -> Result<Exclusions, DecodeError> {
    let excluded = reader.list(35, MOST, "exclusions", |reader| {
        let updater = PublicSigningKey::new(reader.array("exclusions")?);
        let member = MemberId::read(reader)?;
        let code = reader.u8("exclusions")?;
        let known = Accusation::ALL.into_iter().find(|known| known.code() == code);
        let accusation = known.ok_or(reader.malformed("exclusions", "have no reason"))?;
        Ok((updater, (member, accusation)))
    })?;
    Ok(excluded.into_iter().collect())
}

fn read_model(reader: &mut Reader<'_>) -> Result<Model, DecodeError> {
    let data_type = DataType::from_byte(reader.u8("type of weights")?);
    let data_type = data_type.map_err(|_| reader.malformed("type of weights", "is unknown"))?;
    let length = usize::try_from(reader.u64("model")?).unwrap_or(usize::MAX);
    let weights = array::ArrayDecoder::new(reader.raw(length, "model")?, data_type);
    let broken = reader.malformed("model", "has no whole weights, or some that are not finite");
    weights.and_then(|read| read.finish()).map_err(|_| broken)
}
