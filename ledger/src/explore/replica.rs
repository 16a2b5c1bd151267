//! What a replica does with a ledger, made small: it takes the lease, reads to the end, answers letters with entries; or else
//! posts a letter.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::gate::Gate;
use crate::{
    append_surely, Append, Appended, Ask, Epoch, Lease, Ledger, LedgerError, Letter, LetterId,
    ReplicaId,
};

pub const TTL: std::time::Duration = std::time::Duration::from_secs(5);

/// Something wrong that a replica can do with an append whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// Takes it for done.
    TakesItForDone,
    /// Takes it for not done.
    TakesItForNotDone,
    /// Does it again, behind whatever is there.
    DoesItAgain,
}

/// What a replica believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beliefs {
    /// Entries that it takes for written.
    pub written: Vec<String>,
    /// Entries that it takes for not written, for ever.
    pub not_written: Vec<String>,
    /// In these epochs it has held the lease.
    pub epochs: Vec<Epoch>,
    /// Letters that it has posted.
    pub posted: Vec<LetterId>,
}

pub struct Replica {
    pub gate: Gate,
    pub number: u8,
    pub believes: Arc<Mutex<Beliefs>>,
    /// How often it asks for the lease.
    pub terms: usize,
    pub slip: Option<Slip>,
}

impl Replica {
    pub fn id(number: u8) -> ReplicaId {
        ReplicaId([number; 16])
    }

    fn believe(&self, change: impl FnOnce(&mut Beliefs)) {
        change(&mut self.believes.lock().expect("nobody panics while it is locked"));
    }

    /// A letter of a follower, each with a key of its own: posted again, it is the same.
    fn letter(&self) -> Letter {
        let key = Bytes::copy_from_slice(&[self.number]);
        Letter { from: Self::id(self.number), kind: 1, key, body: Bytes::from_static(b"?") }
    }

    pub async fn run(self) {
        let replica = Self::id(self.number);
        for term in 0..self.terms {
            let ask = Ask { replica, name: String::new(), ttl: TTL, elapsed: None, renews: None };
            match self.gate.lease(ask).await {
                Ok(Lease::Held { epoch, .. }) => {
                    self.believe(|beliefs| beliefs.epochs.push(epoch));
                    // Whatever is lost ends the term.
                    let _ = self.lead(epoch, term).await;
                }
                Ok(Lease::HeldBy { .. }) => {
                    if let Ok(ids) = self.gate.post(vec![self.letter()]).await {
                        self.believe(|beliefs| beliefs.posted.extend(ids));
                    }
                }
                Err(_) => {}
            }
        }
    }

    async fn lead(&self, epoch: Epoch, term: usize) -> Result<(), LedgerError> {
        let head = self.gate.head().await?;
        let letters = self.gate.letters(epoch, LetterId(0), 4, usize::MAX).await?;
        let text = format!("{}.{term}", self.number);
        let entry = Bytes::from(text.clone());
        let answers = letters.iter().map(|letter| (letter.id, entry.clone())).collect();
        let append = Append {
            epoch,
            after: head.position,
            hash: head.hash,
            entries: vec![entry],
            answers,
            elapsed: None,
        };
        let appended = match self.slip {
            None => {
                let mut tries = 0;
                let again = |_: &LedgerError| {
                    tries += 1;
                    let more = tries < 3;
                    async move { more }
                };
                append_surely(&self.gate, append, again).await
            }
            Some(slip) => self.append_wrongly(slip, append).await,
        };
        match appended {
            Ok(Appended::Done(_)) => self.believe(|beliefs| beliefs.written.push(text)),
            Ok(_) => self.believe(|beliefs| beliefs.not_written.push(text)),
            // It believes nothing.
            Err(_) => {}
        }
        Ok(())
    }

    async fn append_wrongly(&self, slip: Slip, append: Append) -> Result<Appended, LedgerError> {
        match self.gate.append(append.clone()).await {
            Err(error) if error.is_unknown() => {}
            known => return known,
        }
        let head = self.gate.head().await?;
        match slip {
            Slip::TakesItForDone => Ok(Appended::Done(head)),
            Slip::TakesItForNotDone => Ok(Appended::Conflict(head)),
            Slip::DoesItAgain => {
                let append = Append { after: head.position, hash: head.hash, ..append };
                self.gate.append(append).await
            }
        }
    }
}
