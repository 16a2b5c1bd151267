//! PostgreSQL with a synchronous standby, and what can be done to the two.

use std::{net::SocketAddr, path::Path, time::Instant};

use pet_store_postgres::testing::Postgres;
use tokio::task::block_in_place;
use tokio_postgres::{Client, NoTls};

use super::{disk::Disk, until};

/// The standby looks so often for a primary that is back: until then nothing is confirmed.
const RECONNECT: &str = "wal_retrieve_retry_interval = 100ms";
/// So that they have room on a small disk.
const SMALL: &str = "min_wal_size = 32MB
max_wal_size = 64MB";
/// Of each server's disk, where there can be small ones.
const MEBIBYTES: u32 = 500;

/// Two servers, one of which is a synchronous standby of the other. Each has a place in the URL of all replicas.
pub struct Engine {
    servers: [Postgres; 2],
    /// Where they are, each on its own.
    disks: Option<[Disk; 2]>,
    primary: usize,
}

impl Engine {
    /// Starts both; none where PostgreSQL is not installed, which is said.
    pub async fn start() -> Option<Self> {
        let disks = Disk::new(MEBIBYTES).and_then(|first| Some([first, Disk::new(MEBIBYTES)?]));
        let primary = block_in_place(|| match &disks {
            Some([disk, _]) => Postgres::within(disk.folder(), &[RECONNECT, SMALL]),
            None => Postgres::with(&[RECONNECT]),
        })?;
        let standby = block_in_place(|| standby(&primary, disks.as_ref().map(|[_, disk]| disk)));
        let engine = Self { servers: [primary, standby], disks, primary: 0 };
        engine.wait_for_standby().await;
        Some(engine)
    }

    /// Where the two are.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        self.servers.each_ref().map(address)
    }

    pub fn primary_url(&self) -> &str {
        self.servers[self.primary].url()
    }

    fn primary(&self) -> &Postgres {
        &self.servers[self.primary]
    }

    fn standby(&self) -> &Postgres {
        &self.servers[1 - self.primary]
    }

    pub fn kill(&self) {
        block_in_place(|| self.primary().kill());
    }

    pub fn stop(&self) {
        block_in_place(|| self.primary().stop());
    }

    /// Starts the primary again; tells when it took connections.
    pub fn start_again(&self) -> Instant {
        block_in_place(|| self.primary().start_again());
        Instant::now()
    }

    /// Whether its disk can be full.
    pub fn has_small_disks(&self) -> bool {
        self.disks.is_some()
    }

    /// The disk of the primary has no room any more.
    pub fn fill_disk(&self) {
        self.disks.as_ref().unwrap()[self.primary].fill();
    }

    /// There is room again, and the server runs, which may have ended meanwhile; tells when.
    pub async fn clear_disk(&self) -> Instant {
        self.disks.as_ref().unwrap()[self.primary].clear();
        until("the primary takes connections again", async || {
            if !runs(self.primary().folder()) {
                self.start_again();
            }
            tokio_postgres::connect(self.primary_url(), NoTls).await.is_ok()
        })
        .await;
        Instant::now()
    }

    /// Whether transactions may write nothing, unless they say that they will.
    pub async fn set_read_only(&self, value: bool) {
        let client = client(self.primary_url()).await;
        for statement in [
            "SET default_transaction_read_only = off".to_owned(),
            format!("ALTER SYSTEM SET default_transaction_read_only = {value}"),
            "SELECT pg_reload_conf()".to_owned(),
        ] {
            client.batch_execute(&statement).await.unwrap();
        }
    }

    /// Until it is started again nothing is confirmed.
    pub fn kill_standby(&self) {
        block_in_place(|| self.standby().kill());
    }

    pub fn start_standby(&self) {
        block_in_place(|| self.standby().start_again());
    }

    /// The primary is lost for good, and the standby takes its place.
    pub async fn fail_over(&mut self) {
        block_in_place(|| {
            self.primary().kill();
            self.standby().promote();
        });
        self.primary = 1 - self.primary;
        // It would wait for a standby that it does not have.
        set_standbys(&client(self.primary_url()).await, "").await;
    }

    /// Makes a standby anew, in the place of the server that was lost.
    pub async fn replace_standby(&mut self) {
        let place = 1 - self.primary;
        let disk = self.disks.as_ref().map(|disks| &disks[place]);
        let standby = block_in_place(|| standby(self.primary(), disk));
        self.servers[place] = standby;
        self.wait_for_standby().await;
    }

    /// Waits until the standby has all that was confirmed, and nothing is confirmed without it any more: before that it must
    /// not be promoted.
    pub async fn wait_for_standby(&self) {
        let client = client(self.primary_url()).await;
        set_standbys(&client, "*").await;
        until("the standby is synchronous", async || {
            let state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'";
            client.query_one(state, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) == 1)
        })
        .await;
        // What is confirmed after that is there, and so is all before it.
        client
            .batch_execute("CREATE TABLE IF NOT EXISTS caught_up (); DROP TABLE caught_up")
            .await
            .unwrap();
    }
}

fn standby(primary: &Postgres, disk: Option<&Disk>) -> Postgres {
    match disk {
        Some(disk) => primary.standby_within(disk.folder()),
        None => primary.standby(),
    }
}

/// Whether a server's first process is there.
fn runs(folder: &Path) -> bool {
    let file = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
    let Some(process) = file.lines().next() else { return false };
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // (One that nobody has waited for does not run.)
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

async fn set_standbys(client: &Client, names: &str) {
    for statement in [
        format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"),
        "SELECT pg_reload_conf()".into(),
    ] {
        client.batch_execute(&statement).await.unwrap();
    }
}

fn address(server: &Postgres) -> SocketAddr {
    let host = server.url().split('@').nth(1).and_then(|rest| rest.split('/').next());
    host.unwrap().parse().unwrap()
}

/// A connection to a server that may just have begun to take them.
pub async fn client(url: &str) -> Client {
    let mut connected = None;
    until("the server takes connections", async || {
        if let Ok((client, connection)) = tokio_postgres::connect(url, NoTls).await {
            tokio::spawn(connection);
            connected = Some(client);
        }
        connected.is_some()
    })
    .await;
    connected.unwrap()
}
