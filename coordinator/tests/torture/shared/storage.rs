//! S3-compatible storage of large parts, and what can be done to it.

use std::net::SocketAddr;

use bytes::Bytes;
use pet_ledger::Parts;
use pet_store_s3::{testing::Storage, S3Parts};
use tokio::task::block_in_place;

use super::FEDERATION;

/// What becomes of parts that a round needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoiled {
    Removed,
    Damaged,
}

pub struct Objects(Storage);

impl Objects {
    /// Starts it; none where it is not installed, which is said: then the engine has all parts.
    pub fn start() -> Option<Self> {
        block_in_place(Storage::start).map(Self)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.url().strip_prefix("http://").unwrap().parse().unwrap()
    }

    pub fn kill(&self) {
        block_in_place(|| self.0.kill());
    }

    pub fn start_again(&self) {
        block_in_place(|| self.0.start_again());
    }

    pub fn pause(&self) {
        block_in_place(|| self.0.pause());
    }

    pub fn go_on(&self) {
        block_in_place(|| self.0.go_on());
    }

    /// Removes or damages all parts that rounds are made of (not the global models: without these replicas end). Tells how many.
    pub async fn spoil(&self, how: Spoiled) -> usize {
        let parts = S3Parts::connect(&self.0.settings(FEDERATION)).await.unwrap();
        let mut names = Vec::new();
        for part in parts.list().await.unwrap() {
            if !matches!(part.name.kind(), "model" | "here") {
                names.push(part.name);
            }
        }
        for name in &names {
            // (One that was swept meanwhile is needed by nobody.)
            let Some(bytes) = parts.get(name).await.unwrap() else { continue };
            parts.remove(std::slice::from_ref(name)).await.unwrap();
            if how == Spoiled::Damaged {
                let mut bytes = bytes.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                parts.put(name.clone(), Bytes::from(bytes)).await.unwrap();
            }
        }
        names.len()
    }
}
