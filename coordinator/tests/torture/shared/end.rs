//! What must be true in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
};

use nix::sys::signal::Signal;
use reqwest::Client;

use super::{
    engine::client, site::Site, told::Told, until, verdict::Verdict, watch::Answers, FEDERATION,
};

/// What came of it.
pub struct End {
    models: usize,
    not_told: usize,
    /// Updates of participants of old.
    pub old: usize,
    /// Rounds, and why.
    failed: BTreeMap<u64, String>,
    leaders: usize,
    entries: usize,
    /// The most memory of a replica, in KiB.
    peak: u64,
    /// Of the federation's tables and indexes, in bytes.
    size: i64,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { models, not_told, old, failed, leaders, entries, peak, size } = self;
        write!(
            f,
            "{models} global models, {not_told} of their updates not acknowledged, {old} of them from \
             participants of old, {} rounds failed by name, {leaders} \
             leaderships, {entries} entries of the log seen; a replica took {} MiB at most, the tables {} KiB",
            failed.len(),
            peak >> 10,
            size >> 10
        )?;
        failed.iter().try_for_each(|(round, why)| write!(f, "\n  round {round} failed: {why}"))
    }
}

impl Site {
    /// Lets one more round end, ends all, and checks everything.
    pub async fn end(mut self) -> End {
        self.until_a_model().await;
        self.participants.shutdown().await;
        self.old.clear();
        self.all_agree().await;
        let size = self.size().await;
        self.watching.shutdown().await;
        self.check();
        for replica in &mut self.replicas {
            replica.signal(Signal::SIGTERM);
            assert_eq!(replica.wait().await, Some(0), "replica {} was ended", replica.number);
        }
        let told = self.logs();
        let seen = self.watch.seen();
        seen.check_log(&told.leaders).unwrap();
        let verdict = Verdict::of(&seen, &told, &self.books);
        let Verdict { not_told, old } = verdict.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(
            told.lost.len(),
            self.spoiled,
            "so many rounds have failed as parts were lost, and not as many lost parts: {:?}",
            told.failed
        );
        End {
            models: seen.models.len(),
            not_told,
            old,
            failed: told.failed,
            leaders: told.leaders.len(),
            entries: seen.log.len(),
            peak: self.replicas.iter().map(|replica| replica.peak).max().unwrap_or(0),
            size,
        }
    }

    /// All have the same round and the same models, and those that others had.
    async fn all_agree(&mut self) {
        let client = Client::new();
        for path in ["/params", "/models", "/model"] {
            until("all replicas agree", async || {
                let mut answers = BTreeSet::new();
                for replica in &self.replicas {
                    let from = Answers { client: client.clone(), replica: replica.address };
                    answers.insert(from.get(path).await);
                }
                answers.len() == 1 && !answers.contains(&None)
            })
            .await;
        }
        for replica in &self.replicas {
            let from = Answers { client: client.clone(), replica: replica.address };
            let mut known = BTreeSet::new();
            until("all models can be had", async || {
                self.watch.look(replica.number, &from, &mut known).await.is_some()
            })
            .await;
        }
    }

    async fn size(&self) -> i64 {
        let size = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n \
                    ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = $1";
        let client = client(self.engine.primary_url()).await;
        client.query_one(size, &[&format!("pet_{FEDERATION}")]).await.unwrap().get(0)
    }

    /// Reads all that was logged.
    pub fn logs(&self) -> Told {
        let mut told = Told::default();
        for replica in &self.replicas {
            let log = fs::read_to_string(&replica.log).unwrap();
            told.read(replica.number, &log).unwrap();
        }
        assert!(!told.leaders.is_empty(), "no log says who leads");
        told
    }
}
