//! Hints that something has changed: `SUBSCRIBE` on a connection of its own.

use std::time::Duration;

use futures_util::StreamExt;
use pet_ledger::hints::{Ear, Hint, Hints};
use redis::RedisResult;

use crate::connection::Connector;

/// How long logging in may take.
const LATE: Duration = Duration::from_secs(10);

/// Hears hints until this is dropped.
pub(crate) fn hear(connector: Connector, channel: String) -> Hints {
    Hints::new("Redis", move |ear| {
        let (connector, channel) = (connector.clone(), channel.clone());
        async move { listen(&connector, &channel, &ear).await }
    })
}

/// Listens until the connection ends.
async fn listen(connector: &Connector, channel: &str, ear: &Ear) -> RedisResult<()> {
    let subscribing = async {
        let mut hints = connector.listen().await?;
        hints.subscribe(channel).await?;
        RedisResult::Ok(hints)
    };
    let Ok(hints) = tokio::time::timeout(LATE, subscribing).await else { return Ok(()) };
    let mut hints = hints?.into_on_message();
    ear.listens();
    // What was published while nobody listened is not heard: so look.
    ear.heard(Hint::Anything);
    while hints.next().await.is_some() {
        ear.heard(Hint::Anything);
    }
    Ok(())
}
