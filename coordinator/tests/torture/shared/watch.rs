//! Whoever looks at all replicas and at the log all the time, and notes what they answer: it must be the same everywhere.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use pet_core::request::Call;
use pet_ledger::{EntryHash, Ledger, LedgerError, Position};
use pet_store_postgres::{PostgresLedger, PostgresSettings};
use reqwest::Client;
use tokio::time::sleep;

use super::{seen::Seen, FEDERATION};

#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }

    /// Looks at a replica, without end.
    pub async fn at(self, number: usize, replica: SocketAddr) {
        let client = Client::builder().timeout(Duration::from_secs(2)).build().unwrap();
        let from = Answers { client, replica };
        let mut models = BTreeSet::new();
        loop {
            // (It may be gone, or stand still.)
            let _ = self.look(number, &from, &mut models).await;
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Looks once. What a round had is only known to be that round's if the round is the same before and after.
    pub async fn look(&self, by: usize, from: &Answers, known: &mut BTreeSet<u64>) -> Option<()> {
        // (Nothing, of one that has just begun.)
        let before = from.get("/params").await.filter(|bytes| !bytes.is_empty())?;
        let sums = from.get("/sums").await?;
        let seed = self.seen().parameters(by, before.clone());
        let after = from.get("/params").await?;
        if let Some(seed) = seed.filter(|_| before == after && !sums.is_empty()) {
            let first = self.seen().sums(by, seed, &sums);
            if let Some(first) = first {
                let seeds = from.get(&Call::Seeds(first).path_and_query()).await?;
                if from.get("/params").await? == before && !seeds.is_empty() {
                    self.seen().seeds(by, (seed, first), seeds);
                }
            }
        }
        for round in from.rounds().await? {
            if !known.contains(&round) {
                let (name, bytes) = from.model(round).await?;
                self.seen().model(by, round, name, bytes);
                known.insert(round);
            }
        }
        Some(())
    }

    /// Reads the log as it grows, without end.
    pub async fn at_log(self, url: String) {
        let mut end = (Position(0), EntryHash::default());
        loop {
            let _ = self.follow(&url, &mut end).await;
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Until the engine cannot be asked.
    pub async fn follow(
        &self,
        url: &str,
        end: &mut (Position, EntryHash),
    ) -> Result<(), LedgerError> {
        let mut settings = PostgresSettings::new(url, FEDERATION);
        settings.connections = 2;
        let ledger = PostgresLedger::connect(&settings).await?;
        loop {
            let entries = match ledger.read(end.0, 1000, 1 << 20).await {
                Ok(entries) => entries,
                Err(LedgerError::Forgotten { .. }) => {
                    // The round is over. The first that is left is taken as it is.
                    let first = ledger.head().await?.first;
                    let before = Position(first.0.saturating_sub(1));
                    let entries = ledger.read(before, 1, 0).await?;
                    let Some(first) = entries.first() else { continue };
                    *end = (first.position, first.hash);
                    self.seen().entries(None, &entries);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.seen().entries(Some(*end), &entries);
            match entries.last() {
                Some(last) => *end = (last.position, last.hash),
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// What a replica answers.
pub struct Answers {
    pub client: Client,
    pub replica: SocketAddr,
}

impl Answers {
    async fn ask(&self, path: &str) -> Option<reqwest::Response> {
        let request = self.client.get(format!("http://{}{path}", self.replica));
        let request = request.header("accept", "application/vnd.pet.weights, */*;q=0.5");
        request.send().await.ok().filter(|response| response.status().is_success())
    }

    pub async fn get(&self, path: &str) -> Option<Bytes> {
        self.ask(path).await?.bytes().await.ok()
    }

    async fn rounds(&self) -> Option<Vec<u64>> {
        let list: serde_json::Value = serde_json::from_slice(&self.get("/models").await?).ok()?;
        list["models"].as_array()?.iter().map(|entry| entry["round_id"].as_u64()).collect()
    }

    /// The name of the model of a round, and its weights.
    async fn model(&self, round: u64) -> Option<(String, Bytes)> {
        let response = self.ask(&format!("/models/{round}")).await?;
        let tag = response.headers().get("etag")?.to_str().ok()?;
        let name = tag.trim_matches('"').split('-').next()?.to_owned();
        Some((name, response.bytes().await.ok()?))
    }
}
