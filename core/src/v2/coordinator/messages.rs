//! What becomes of verified messages.

use std::sync::Arc;

use super::io::{Event, Ticket};
use super::machine::Coordinator;
use super::phases::{Admission, Stage};
use super::verified::{Body, Verified};
use super::{Conflict, MessageKind, Record, Rejection};
use crate::crypto::{PublicEncryptKey, PublicSigningKey};
use crate::v2::UpdateHeader;

/// Nothing to record if it is there already.
type Taken = Result<Option<Record>, Rejection>;

impl Coordinator {
    pub(super) fn handle_message(&mut self, ticket: Ticket, message: Verified) {
        let current = self.state.round().context;
        let kind = message.kind();
        let taken = match message.context == current && self.is_listening() {
            true => self.take(message.body),
            false if message.context == current => Err(self.wrong_phase(kind)),
            false => {
                let (found, current) = (message.context.tag(), current.tag());
                Err(Rejection::OtherRound { found, current })
            }
        };
        let outcome = match taken {
            Ok(Some(record)) => {
                self.accept(record);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(rejection) => {
                if let Rejection::Conflict(conflict) = &rejection {
                    self.tell(*conflict);
                }
                Err(rejection)
            }
        };
        self.outbox.reply(ticket, outcome);
    }

    fn is_listening(&self) -> bool {
        self.phase() == self.state.stage().phase()
    }

    fn wrong_phase(&self, message: MessageKind) -> Rejection {
        Rejection::WrongPhase { message, phase: self.phase() }
    }

    fn take(&mut self, body: Body) -> Taken {
        match (body, self.state.stage()) {
            (Body::Known(_), _) => Ok(None),
            (Body::Announcement(announcement), Stage::Announce(stage)) => stage.take(announcement),
            (Body::Header { header, key }, Stage::Update(_)) => self.take_header(header, key),
            (Body::Chunk { upload, index, data }, Stage::Update(stage)) => {
                let header = &*upload.header;
                stage.take_chunk(header.updater, Some((header, index, data)))
            }
            (Body::AnyChunk { updater }, Stage::Update(stage)) => stage.take_chunk(updater, None),
            (Body::Report(_), Stage::Check(_)) if self.under_way.is_deciding() => {
                Err(Rejection::TooLate(self.phase()))
            }
            (Body::Report(report), Stage::Check(stage)) => stage.take(report),
            (Body::Vote(vote), Stage::Agree(stage)) => Ok(stage.take(vote)),
            (Body::Mask(header), Stage::Sum2(stage)) => stage.take(header),
            (Body::MaskChunk { member, digest, index, data }, Stage::Sum2(stage)) => {
                stage.take_chunk(member, digest, index, data, self.state.round())
            }
            // The phase has ended since it was opened.
            (body, _) => Err(self.wrong_phase(body.kind())),
        }
    }

    /// Takes a header, if need be in the place of an upload that has stalled.
    fn take_header(&mut self, header: Arc<UpdateHeader>, key: PublicEncryptKey) -> Taken {
        let mut admission = self.admit(&header, key)?;
        if let (Admission::NoRoom(_), Some(stalled)) = (&admission, self.stalled()) {
            self.drop_upload(stalled);
            admission = self.admit(&header, key)?;
        }
        match admission {
            Admission::Record(record) => Ok(Some(record)),
            Admission::Known => Ok(None),
            Admission::NoRoom(rejection) => Err(rejection),
        }
    }

    fn admit(
        &self,
        header: &Arc<UpdateHeader>,
        key: PublicEncryptKey,
    ) -> Result<Admission, Rejection> {
        match self.state.stage() {
            Stage::Update(stage) => {
                stage.admit(header.clone(), key, self.state.round(), &self.settings)
            }
            _ => Err(self.wrong_phase(MessageKind::Header)),
        }
    }

    /// The upload that nothing has come of for the longest time, if that is long enough.
    fn stalled(&self) -> Option<PublicSigningKey> {
        let oldest = self.under_way.active.iter().min_by_key(|(key, since)| (**since, **key));
        let (updater, since) = oldest?;
        let idle = self.clock.now().saturating_since(*since);
        (idle >= self.settings.limits.stalled_after).then_some(*updater)
    }

    fn drop_upload(&mut self, updater: PublicSigningKey) {
        self.record(Record::UploadDropped { updater });
        self.under_way.active.remove(&updater);
        let round = self.round();
        self.outbox.event(Event::UploadStalled { round, updater });
    }

    /// Records what was accepted, and shows what everybody may see of it.
    fn accept(&mut self, record: Record) {
        let (now, before) = (self.clock.now(), self.accepted());
        match &record {
            Record::Header { header, .. } => {
                self.under_way.active.insert(header.updater, now);
            }
            Record::Rekeyed { updater, .. } | Record::Chunk { updater, .. } => {
                self.under_way.active.insert(*updater, now);
            }
            Record::MaskChunk { group, digest, .. } => {
                if let Some(source) = self.under_way.sources.get_mut(&(*group, *digest)) {
                    source.since = now;
                }
            }
            Record::Announcement(_) => self.patience.heard(self.clock.elapsed()),
            _ => {}
        }
        let updater = match &record {
            Record::Chunk { updater, .. } => Some(*updater),
            _ => None,
        };
        let is_part = matches!(record, Record::Chunk { .. } | Record::MaskChunk { .. });
        self.record(record);
        let is_complete = self.accepted() > before;
        if let Some(updater) = updater.filter(|_| is_complete) {
            self.under_way.active.remove(&updater);
        }
        if !is_part || is_complete || self.choose_sources() {
            self.show();
        }
    }

    /// Tells of a conflict, the first time.
    fn tell(&mut self, conflict: Conflict) {
        if self.under_way.told.insert(conflict) {
            let round = self.round();
            self.outbox.event(Event::Conflict { round, conflict });
        }
    }
}
