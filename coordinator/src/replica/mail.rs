//! The mail of a replica that follows: posts letters, and fetches answers. While the engine is away it waits.

use std::collections::VecDeque;

use bytes::Bytes;
use pet_core::coordinator::relay::LetterNumber;
use pet_ledger::{Epoch, Known, Letter, LetterId, Position, ReplicaId};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::shared::Shared;
use crate::process::{
    time::{sleep, Duration},
    within,
};

/// How many letters are posted, and answers read, at once.
const PAGE: usize = 256;
/// How many bytes of letters are posted at once, about.
const PAGE_BYTES: usize = 8 << 20;
/// So soon after it has failed something is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// How long news are waited for at most until it is looked.
const POLL: Duration = Duration::from_millis(500);
/// A hint that was none does not keep anybody busy.
const PAUSE: Duration = Duration::from_millis(5);
/// So long the first letter of a page waits for others; and what was read together is followed by a pause as long, so that more
/// is read together. (Whoever leads reads and answers each page in a few statements, which cost the same however long it is.)
pub(super) const GATHER: Duration = Duration::from_millis(8);
/// Wakes for no entry of the log.
const NO_ENTRIES: Position = Position(i64::MAX as u64);

/// What has come of letters.
#[derive(Debug)]
pub(super) enum News {
    /// These were posted, and have these numbers in the engine.
    Posted(Vec<(LetterNumber, LetterId)>),
    /// This one cannot be posted, whatever is tried.
    NotPosted(LetterNumber),
    /// These were answered.
    Answers(Vec<(LetterId, Bytes)>),
}

/// Two tasks, which end with it.
pub(super) struct Mail {
    letters: mpsc::UnboundedSender<(LetterNumber, Letter)>,
    news: mpsc::Receiver<News>,
    expecting: watch::Sender<(bool, Epoch)>,
    _tasks: JoinSet<()>,
}

impl Mail {
    pub fn start(shared: &Shared, replica: ReplicaId) -> Self {
        // No more than the relay holds messages: it gives out no letter twice that is in here.
        let (letters, to_post) = mpsc::unbounded_channel();
        let (tell, news) = mpsc::channel(4);
        let (expecting, expected) = watch::channel((false, Epoch(0)));
        let mut tasks = JoinSet::new();
        tasks.spawn(within(post(shared.clone(), to_post, tell.clone())));
        tasks.spawn(within(fetch(shared.clone(), replica, expected, tell)));
        Self { letters, news, expecting, _tasks: tasks }
    }

    /// Posts a letter, once it can be.
    pub fn post(&self, number: LetterNumber, letter: Letter) {
        let _ = self.letters.send((number, letter));
    }

    /// Whether answers are expected at all.
    pub fn set_expecting(&self, expecting: bool) {
        self.expecting
            .send_if_modified(|now| std::mem::replace(&mut now.0, expecting) != expecting);
    }

    /// Which epoch is known: another one wakes whoever waits.
    pub fn set_epoch(&self, epoch: Epoch) {
        self.expecting.send_if_modified(|now| std::mem::replace(&mut now.1, epoch) != epoch);
    }

    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}

async fn post(
    shared: Shared,
    mut letters: mpsc::UnboundedReceiver<(LetterNumber, Letter)>,
    news: mpsc::Sender<News>,
) {
    let mut pages = VecDeque::new();
    loop {
        if pages.is_empty() {
            let Some(first) = letters.recv().await else { return };
            pages.push_back(vec![first]);
            // One statement posts them all, and whoever leads reads them at once.
            sleep(GATHER).await;
        }
        let Some(mut page) = pages.pop_front() else { continue };
        let mut bytes: usize = page.iter().map(|(_, letter)| letter.body.len()).sum();
        while pages.is_empty() && page.len() < PAGE && bytes < PAGE_BYTES {
            let Ok(letter) = letters.try_recv() else { break };
            bytes += letter.1.body.len();
            page.push(letter);
        }
        let sealed: Vec<_> = page.iter().map(|(_, letter)| letter.clone()).collect();
        let posted = loop {
            match shared.ledger().post(sealed.clone()).await {
                Ok(ids) => {
                    shared.load().wrote(bytes);
                    break page.iter().map(|(number, _)| *number).zip(ids).collect();
                }
                // To post what is posted already changes nothing.
                Err(error) if error.is_passing() || error.is_unknown() => {
                    tracing::debug!(%error, letters = sealed.len(), "letters are posted again");
                    sleep(RETRY).await;
                }
                Err(error) if page.len() > 1 => {
                    tracing::debug!(%error, letters = sealed.len(), "letters are posted one by one");
                    pages.extend(page.into_iter().map(|letter| vec![letter]));
                    break Vec::new();
                }
                Err(error) => {
                    // Its sender is told to come again.
                    tracing::warn!(%error, "a letter to the leader cannot be posted");
                    for (number, _) in page {
                        if news.send(News::NotPosted(number)).await.is_err() {
                            return;
                        }
                    }
                    break Vec::new();
                }
            }
        };
        if !posted.is_empty() && news.send(News::Posted(posted)).await.is_err() {
            return;
        }
    }
}

async fn fetch(
    shared: Shared,
    replica: ReplicaId,
    mut expected: watch::Receiver<(bool, Epoch)>,
    news: mpsc::Sender<News>,
) {
    // Of what was told once, and not read, there is no second hint.
    let mut is_hinted = false;
    loop {
        let epoch = match expected.wait_for(|(expecting, _)| *expecting).await {
            Ok(now) => now.1,
            Err(_) => return,
        };
        let known = Known { epoch, position: NO_ENTRIES, letters: None, answers: Some(replica) };
        let ledger = shared.ledger();
        let looked = async {
            if !is_hinted {
                ledger.changed(known, POLL).await?;
            }
            ledger.answers(replica, PAGE).await
        };
        let looked = looked.await;
        is_hinted = looked.as_ref().map_or(true, |answers| answers.len() >= PAGE);
        let answers = match looked {
            Ok(answers) if answers.is_empty() => {
                sleep(PAUSE).await;
                continue;
            }
            Ok(answers) => {
                shared.load().read(answers.iter().map(|(_, bytes)| bytes.len()).sum());
                answers
            }
            Err(error) => {
                tracing::debug!(%error, "answers are asked for again");
                sleep(RETRY).await;
                continue;
            }
        };
        let ids: Vec<_> = answers.iter().map(|(id, _)| *id).collect();
        let are_many = ids.len() > 1;
        if news.send(News::Answers(answers)).await.is_err() {
            return;
        }
        // Those that stay come again, and are of no interest then.
        if let Err(error) = ledger.taken(replica, ids).await {
            tracing::debug!(%error, "answers are taken away later");
            sleep(RETRY).await;
        } else if are_many {
            sleep(GATHER).await;
        }
    }
}

#[cfg(test)]
mod tests;
