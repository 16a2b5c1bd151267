//! Hints that something has changed: `LISTEN` on a connection of its own.

use std::future::poll_fn;

use pet_ledger::{
    hints::{Ear, Hint, Hints},
    Epoch, LetterId, Position, ReplicaId,
};
use tokio_postgres::{AsyncMessage, Config};

use crate::tls::Tls;

/// Hears hints until this is dropped.
pub(crate) fn hear(config: Config, tls: Tls, channel: String) -> Hints {
    Hints::new("PostgreSQL", move |ear| {
        let (config, tls, channel) = (config.clone(), tls.clone(), channel.clone());
        async move { listen(&config, tls, &channel, &ear).await }
    })
}

/// Listens until the connection ends.
async fn listen(
    config: &Config,
    tls: Tls,
    channel: &str,
    ear: &Ear,
) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = config.connect(tls).await?;
    let listening = async {
        client.batch_execute(&format!("LISTEN {channel}")).await?;
        ear.listens();
        // (With no client the connection would end.)
        std::future::pending::<Result<(), tokio_postgres::Error>>().await
    };
    let hearing = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(said) = message? {
                ear.heard(read(said.payload()).unwrap_or(Hint::Anything));
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = listening => ended,
        ended = hearing => ended,
    }
}

/// What a hint is about, as the statements write it; nothing if it does not say (an older release), or in a way that is not known.
fn read(said: &str) -> Option<Hint> {
    let mut words = said.split(' ');
    let (what, first, second) = (words.next()?, words.next()?, words.next());
    if words.next().is_some() {
        return None;
    }
    let number = |word: &str| word.parse::<u64>().ok();
    Some(match (what, second) {
        ("log", Some(second)) => Hint::Log(Epoch(number(first)?), Position(number(second)?)),
        ("letters", None) => Hint::Letters(LetterId(number(first)?)),
        ("answers", None) => {
            let id = u128::from_str_radix(first, 16).ok().filter(|_| first.len() == 32)?;
            Hint::Answers(ReplicaId(id.to_be_bytes()))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_and_what_is_none_may_be_about_anything() {
        assert_eq!(read("log 3 70"), Some(Hint::Log(Epoch(3), Position(70))));
        assert_eq!(read("letters 12"), Some(Hint::Letters(LetterId(12))));
        let to = read("answers 000102030405060708090a0b0c0d0eff");
        let id = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        assert_eq!(to, Some(Hint::Answers(ReplicaId(id))));
        for other in ["", "log 3", "letters", "letters x", "answers 01", "news 1", "log 1 2 3"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
