//! What the operator asks this replica for, on its way to the machine of whoever leads: by letter, if that is another
//! replica.
//!
//! A letter is sealed, as all are, so that nobody who can write the engine can make one up. It is for one leader only, and it has
//! a number: who puts a letter back into the engine that was there before has nothing done a second time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use pet_ledger::{Beat, Epoch, Known, Letter, LetterId, Place, Position, Posted, ReplicaId, Vault};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::{shared::Shared, SharedError};
use crate::{
    admin::{Ask, Denied, Office, Passed, Told},
    process::{
        fill_random,
        time::{sleep, timeout, Instant},
    },
    route::Recent,
};

/// The kind of letters with what operators ask for.
pub(super) const ASKED: u8 = 2;
/// So long somebody who could do it is waited for: between two leaders there is nobody for a while.
const WAIT: Duration = Duration::from_secs(4);
/// So long an answer is waited for. With the wait before it less than operators' tools wait.
const PATIENCE: Duration = Duration::from_secs(6);
/// Whoever has waited so long for its turn is told that nothing was done: with both waits that is less than operators' tools wait.
const TURN: Duration = Duration::from_secs(4);
/// How long an answer is waited for at a time until it is looked.
const POLL: Duration = Duration::from_millis(500);
/// So soon after it has failed something is tried again; and a hint that was none does not keep anybody busy.
const RETRY: Duration = Duration::from_millis(50);
const CEASED: &str = "it is not sure that this replica still leads: /status of the one that leads now says what has come of it";
/// The longest that is passed on, in bytes: more than all settings together.
const LONGEST: usize = 32 << 10;
/// Why something was not done is cut off here, in characters, so that the answer fits into a letter.
const WHY: usize = 2000;
/// How many operators' desks may have something done in one epoch. (A replica that starts has a new one.)
const DESKS: usize = 4096;
/// Wakes for no entry of the log.
const NO_ENTRIES: Position = Position(i64::MAX as u64);

/// Where the operator's requests go now.
#[derive(Clone)]
pub(super) enum Desk {
    /// To the machine in this process; and how to be sure that it still leads.
    Here(Arc<Office>, Recent),
    /// To this leader, by letter.
    At { shared: Shared, epoch: Epoch, leader: String },
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// What is asked for, in a letter. As JSON: a leader of another release says what it does not know.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    /// Whoever leads in another epoch does nothing.
    epoch: u64,
    /// Grows with each letter of a desk.
    number: u64,
    /// By the engine's clock, in milliseconds since 1970: later than that nobody waits any more, and nothing is done.
    until: u64,
    ask: Ask,
}

/// Has the operator's requests done one after another, without end.
pub(super) async fn serve(mut requests: mpsc::Receiver<Passed>, mut desk: watch::Receiver<Desk>) {
    let mut mailbox = None;
    while let Some(Passed { ask, asked, reply }) = requests.recv().await {
        let told = match asked.elapsed() > TURN {
            true => Err(Denied::Nobody(
                "nothing was done: too much was asked for before, ask again".into(),
            )),
            false => deal(ask, &mut desk, &mut mailbox).await,
        };
        // Who has hung up does not want to know.
        let _ = reply.send(told);
    }
}

async fn deal(
    ask: Ask,
    desk: &mut watch::Receiver<Desk>,
    mailbox: &mut Option<Mailbox>,
) -> Result<Told, Denied> {
    let is_anywhere = |desk: &Desk| !matches!(desk, Desk::Nowhere(_));
    let found = match timeout(WAIT, desk.wait_for(is_anywhere)).await {
        Ok(Err(_)) => return Err(Denied::Stopped),
        Ok(Ok(to)) => Some(to.clone()),
        Err(_) => None,
    };
    let to = found.unwrap_or_else(|| desk.borrow().clone());
    match to {
        Desk::Here(office, recent) => match office.ask(ask).await {
            Err(Denied::Stopped) => Err(Denied::Unknown(CEASED.into())),
            // Another one may have led for a while already, and know nothing of it.
            Ok(_) if !recent.after(Instant::now()).await => Err(Denied::Unknown(CEASED.into())),
            told => told,
        },
        Desk::At { shared, epoch, leader } => {
            let mailbox = match mailbox {
                Some(mailbox) => mailbox,
                None => mailbox.insert(Mailbox::new().map_err(|error| {
                    Denied::Nobody(format!("nothing can be passed on: {error}"))
                })?),
            };
            mailbox.ask(&shared, epoch, &leader, ask).await
        }
        Desk::Nowhere(why) => Err(Denied::Nobody(format!("nothing was done: {why}"))),
    }
}

/// Where answers to an operator's letters come: a replica's own answers are fetched by its relay.
struct Mailbox {
    id: ReplicaId,
    last: u64,
}

impl Mailbox {
    fn new() -> Result<Self, SharedError> {
        let mut id = [0; 16];
        fill_random(&mut id).map_err(SharedError::Randomness)?;
        Ok(Self { id: ReplicaId(id), last: 0 })
    }

    /// Has a leader asked, and waits for what comes of it.
    async fn ask(
        &mut self,
        shared: &Shared,
        epoch: Epoch,
        leader: &str,
        ask: Ask,
    ) -> Result<Told, Denied> {
        self.last += 1;
        let began = Instant::now();
        let posted = timeout(PATIENCE, self.post(shared, epoch, leader, ask)).await;
        let (id, key) = match posted {
            Ok(Ok(posted)) => posted,
            Ok(Err(denied)) => return Err(denied),
            Err(_) => return Err(unknown(leader)),
        };
        let left = PATIENCE.saturating_sub(began.elapsed());
        timeout(left, self.answer(shared, epoch, leader, (id, &key)))
            .await
            .unwrap_or_else(|_| Err(unknown(leader)))
    }

    /// Posts a letter, if it takes some tries.
    async fn post(
        &self,
        shared: &Shared,
        epoch: Epoch,
        leader: &str,
        ask: Ask,
    ) -> Result<(LetterId, Bytes), Denied> {
        let (ledger, vault) = (shared.ledger(), shared.vault());
        let refused = |error: pet_ledger::LedgerError| {
            debug!(%error, "what the operator asks for cannot be passed on");
            Denied::Nobody("nothing was done: it cannot be passed on to the replica that leads: this replica's log says why".into())
        };
        let now = insist(|| ledger.now()).await.map_err(|failed| refused(failed.error))?;
        let until = u64::try_from((now + PATIENCE).as_millis()).unwrap_or(u64::MAX);
        let asked = Asked { epoch: epoch.0, number: self.last, until, ask };
        let letter =
            seal(vault, self.id, &asked).map_err(|error| Denied::Invalid(error.to_string()))?;
        if letter.body.len() > LONGEST {
            let why = "that is longer than what is passed on to the replica that leads";
            return Err(Denied::Invalid(format!("{why}: {LONGEST} bytes")));
        }
        // Whoever has not beaten is swept away, with its letters. This one is nobody's, and is shown to nobody.
        let beat = Beat {
            replica: self.id,
            name: String::new(),
            address: String::new(),
            info: Bytes::new(),
        };
        insist(|| ledger.beat(beat.clone())).await.map_err(|failed| refused(failed.error))?;
        // To post what is posted already changes nothing.
        let ids =
            insist(|| ledger.post(vec![letter.clone()])).await.map_err(|failed| {
                match failed.may_be_done {
                    true => unknown(leader),
                    false => refused(failed.error),
                }
            })?;
        let id = ids.first().copied();
        id.map(|id| (id, letter.key))
            .ok_or_else(|| Denied::Nobody("the engine took no letter".into()))
    }

    /// Waits for an answer, without end.
    async fn answer(
        &self,
        shared: &Shared,
        epoch: Epoch,
        leader: &str,
        (letter, key): (LetterId, &Bytes),
    ) -> Result<Told, Denied> {
        let ledger = shared.ledger();
        // Of what was told once, and not read, there is no second hint.
        let mut is_hinted = true;
        loop {
            let known =
                Known { epoch, position: NO_ENTRIES, letters: None, answers: Some(self.id) };
            let looked = async {
                if !is_hinted {
                    ledger.changed(known, POLL).await?;
                }
                ledger.answers(self.id, 16).await
            };
            let looked = looked.await;
            is_hinted = looked.is_err();
            let answers = looked.unwrap_or_default();
            let found = answers.iter().find(|(id, _)| *id == letter);
            // Nothing is what another release says. What does not open somebody else has put there.
            let told = found.and_then(|(id, answer)| match answer.is_empty() {
                true => Some(None),
                false => open_told(shared.vault(), self.id, (*id, key), answer).map(Some),
            });
            if !answers.is_empty() {
                // Also those that nobody waits for any more.
                let ids = answers.iter().map(|(id, _)| *id).collect();
                if let Err(error) = ledger.taken(self.id, ids).await {
                    debug!(%error, "an answer to the operator is taken away later");
                }
            }
            match told {
                Some(Some(Err(Denied::Stopped))) => return Err(unknown(leader)),
                Some(Some(told)) => return told,
                Some(None) => {
                    let why = format!("{leader} leads, and its release takes nothing from an operator by letter: tell it there");
                    return Err(Denied::Because(why));
                }
                None => sleep(RETRY).await,
            }
        }
    }
}

fn unknown(leader: &str) -> Denied {
    Denied::Unknown(format!(
        "{leader}, which leads as far as is known here, has not answered: it may have done it or not, /status says what is so"
    ))
}

/// Why something cannot be done, and whether an earlier try may have done it nevertheless.
struct Failed {
    error: pet_ledger::LedgerError,
    may_be_done: bool,
}

/// Tries as long as it is worth it.
async fn insist<'a, T>(act: impl Fn() -> pet_ledger::Pending<'a, T>) -> Result<T, Failed> {
    let mut may_be_done = false;
    loop {
        match act().await {
            Ok(done) => return Ok(done),
            Err(error) if error.is_passing() || error.is_unknown() => {
                may_be_done |= error.is_unknown();
                sleep(RETRY).await;
            }
            Err(error) => return Err(Failed { error, may_be_done }),
        }
    }
}

fn seal(vault: &Vault, from: ReplicaId, asked: &Asked) -> Result<Letter, serde_json::Error> {
    let key = Bytes::copy_from_slice(&asked.number.to_le_bytes());
    let place = Place::Letter { from, kind: ASKED, key: &key };
    let body = vault.close(place, &serde_json::to_vec(asked)?);
    Ok(Letter { from, kind: ASKED, key, body })
}

fn open_told(
    vault: &Vault,
    to: ReplicaId,
    (letter, key): (LetterId, &[u8]),
    answer: &[u8],
) -> Option<Result<Told, Denied>> {
    let opened = vault.open_at(Place::Answer { to, letter, kind: ASKED, key }, answer).ok()?;
    serde_json::from_slice(&opened).ok()
}

/// What was asked for in an epoch, so that nothing is done twice: also if the same replica leads twice in it.
#[derive(Debug, Default)]
pub(super) struct Done {
    epoch: Epoch,
    last: BTreeMap<ReplicaId, u64>,
}

/// What a leader has operators' letters done by.
#[derive(Clone)]
pub(super) struct Service {
    pub office: Arc<Office>,
    pub done: Arc<Mutex<Done>>,
}

impl Service {
    /// What a letter asks for, and until when, by the engine's clock; or what it is to be answered. Nothing if no replica has
    /// written it.
    pub fn read(
        &self,
        vault: &Vault,
        epoch: Epoch,
        posted: &Posted,
    ) -> Option<Result<(Ask, Duration), Denied>> {
        // Nobody panics while holding it.
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.read(vault, epoch, posted)
    }

    /// Does what was asked for, if anybody still waits for that.
    pub async fn obey(
        &self,
        shared: &Shared,
        (ask, until): (Ask, Duration),
    ) -> Result<Told, Denied> {
        // The answer may have been on its way for long.
        let began = Instant::now();
        match shared.ledger().now().await {
            Ok(now) if now + began.elapsed() <= until => self.office.ask(ask).await,
            Ok(_) => Err(Denied::Because("it came too late, and was not done".into())),
            Err(error) => {
                debug!(%error, "it is not known how late it is");
                Err(Denied::Because("it is not known how late it is: nothing was done".into()))
            }
        }
    }
}

impl Done {
    fn read(
        &mut self,
        vault: &Vault,
        epoch: Epoch,
        posted: &Posted,
    ) -> Option<Result<(Ask, Duration), Denied>> {
        let Letter { from, kind, key, body } = &posted.letter;
        let opened = vault.open_at(Place::Letter { from: *from, kind: *kind, key }, body).ok()?;
        let asked: Asked = match serde_json::from_slice(&opened) {
            Ok(asked) => asked,
            Err(_) => {
                let why = "the replica that leads is of another release, and does not know that: tell it there";
                return Some(Err(Denied::Because(why.into())));
            }
        };
        let Asked { epoch: of, number, until, ask } = asked;
        if of != epoch.0 {
            let why = "another replica leads by now: the one before may have done it or not, /status says what is so";
            return Some(Err(Denied::Unknown(why.into())));
        }
        if self.epoch != epoch {
            *self = Self { epoch, last: BTreeMap::new() };
        }
        if self.last.get(from).is_some_and(|last| *last >= number) {
            let why = "this was asked for before: /status says what has come of it";
            return Some(Err(Denied::Unknown(why.into())));
        }
        if !self.last.contains_key(from) && self.last.len() >= DESKS {
            let why = "too many replicas have asked for something: let another one lead";
            return Some(Err(Denied::Because(why.into())));
        }
        self.last.insert(*from, number);
        Some(Ok((ask, Duration::from_millis(until))))
    }
}

/// Seals what has come of a letter.
pub(super) fn seal_told(
    vault: &Vault,
    posted: &Posted,
    told: &Result<Told, Denied>,
) -> Result<Bytes, serde_json::Error> {
    let cut = |why: &String| why.chars().take(WHY).collect();
    let told = match told {
        Err(Denied::Invalid(why)) => Err(Denied::Invalid(cut(why))),
        Err(Denied::Because(why)) => Err(Denied::Because(cut(why))),
        told => told.clone(),
    };
    let Letter { from, kind, key, .. } = &posted.letter;
    let place = Place::Answer { to: *from, letter: posted.id, kind: *kind, key };
    Ok(vault.close(place, &serde_json::to_vec(&told)?))
}

#[cfg(test)]
pub(super) mod tests;
