//! Hints that something has changed: `LISTEN` on a connection of its own.

use std::{
    future::poll_fn,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_postgres::{AsyncMessage, Config};

use crate::tls::Tls;

/// How long it takes until a lost connection is made again.
const PAUSE: Duration = Duration::from_secs(1);
/// How much more seldom it is looked where hints are heard.
const SELDOM: u32 = 10;
/// For how long hints are not relied on after one was missed.
const DISTRUST: Duration = Duration::from_secs(30);

/// Hears hints until it is dropped.
#[derive(Debug)]
pub(crate) struct Hints {
    heard: watch::Receiver<u64>,
    listens: Arc<AtomicBool>,
    /// Until when hints are not relied on.
    missed: std::sync::Mutex<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Hints {
    /// Begins to listen, and goes on until this is dropped.
    pub fn new(config: Config, tls: Tls, channel: String) -> Self {
        let (bell, heard) = watch::channel(0);
        let listens = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let listens = listens.clone();
            async move {
                loop {
                    // Why it fails others say as well: all that is lost is some speed.
                    let ended = listen(&config, &tls, &channel, &bell, &listens).await;
                    listens.store(false, Ordering::Relaxed);
                    if let Err(error) = ended {
                        tracing::debug!("no hints from PostgreSQL: {error}");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Self { heard, listens, missed: std::sync::Mutex::default(), task }
    }

    /// What tells that something was heard.
    pub fn heard(&self) -> watch::Receiver<u64> {
        self.heard.clone()
    }

    /// How long to wait for a hint before looking anyway.
    pub fn patience(&self, poll: Duration) -> Duration {
        let missed = *self.missed.lock().expect("nobody panics while it is locked");
        let trusted = missed.is_none_or(|until| Instant::now() >= until);
        let hears = self.listens.load(Ordering::Relaxed) && trusted;
        if hears {
            poll * SELDOM
        } else {
            poll
        }
    }

    /// Something has changed that no hint told of, as behind PgBouncer.
    pub fn missed(&self) {
        let until = Instant::now() + DISTRUST;
        *self.missed.lock().expect("nobody panics while it is locked") = Some(until);
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens until the connection ends.
async fn listen(
    config: &Config,
    tls: &Tls,
    channel: &str,
    bell: &watch::Sender<u64>,
    listens: &AtomicBool,
) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = config.connect(tls.clone()).await?;
    let listening = async {
        client.batch_execute(&format!("LISTEN {channel}")).await?;
        listens.store(true, Ordering::Relaxed);
        // (With no client the connection would end.)
        std::future::pending::<Result<(), tokio_postgres::Error>>().await
    };
    let hearing = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(_) = message? {
                bell.send_modify(|number| *number = number.wrapping_add(1));
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = listening => ended,
        ended = hearing => ended,
    }
}
