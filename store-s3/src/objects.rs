//! Objects in a bucket.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use pet_ledger::{LedgerError, Limits};
use rusty_s3::{Bucket, Credentials, S3Action};
use ureq::Agent;
use url::Url;

use crate::{
    http::{call, client, no_bucket, Answer, Method},
    settings::S3Settings,
    ENGINE,
};

/// How long a signature is good for.
pub(crate) const SIGNED: Duration = Duration::from_secs(3600);
/// What is written to see whether that is allowed.
const PROBE: &[u8] = b"written at the start to see whether it may be";

pub(crate) struct Objects {
    agent: Agent,
    pub bucket: Bucket,
    pub credentials: Credentials,
    timeout: Duration,
    /// Whether the bucket was there.
    connected: AtomicBool,
}

impl Objects {
    pub fn new(settings: &S3Settings) -> Result<Self, LedgerError> {
        let (bucket, credentials) = settings.bucket()?;
        let agent = client(settings.authorities.as_deref())?;
        Ok(Self {
            agent,
            bucket,
            credentials,
            timeout: settings.timeout,
            connected: AtomicBool::new(false),
        })
    }

    /// A second more for each MiB.
    pub fn deadline(&self, bytes: usize) -> Duration {
        self.timeout + Duration::from_secs(bytes as u64 >> 20)
    }

    pub async fn ask(
        &self,
        method: Method,
        key: &str,
        bytes: usize,
    ) -> Result<Answer, LedgerError> {
        let Self { bucket, credentials, .. } = self;
        let (who, asked) = (Some(credentials), method.clone());
        let sign = || match &asked {
            Method::Get => bucket.get_object(who, key).sign(SIGNED),
            Method::Head => bucket.head_object(who, key).sign(SIGNED),
            Method::Delete => bucket.delete_object(who, key).sign(SIGNED),
            Method::Put(_) => bucket.put_object(who, key).sign(SIGNED),
        };
        self.call(method, self.deadline(bytes), sign).await
    }

    /// A bucket that was there is not misnamed: it may come back.
    pub async fn call(
        &self,
        method: Method,
        deadline: Duration,
        sign: impl Fn() -> Url + Send,
    ) -> Result<Answer, LedgerError> {
        let answered = call(&self.agent, method, deadline, sign).await;
        answered.map_err(|error| match error {
            error if error == no_bucket() && self.connected.load(Ordering::Relaxed) => {
                let why = "the bucket is not there any more".into();
                LedgerError::Unreachable { engine: ENGINE, why }
            }
            error => error,
        })
    }

    /// Stores an object, unless it is there already. Tells whether these are its bytes.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<bool, LedgerError> {
        if self.ask(Method::Head, key, 0).await?.found {
            let there = self.ask(Method::Get, key, bytes.len()).await?;
            if there.found {
                return Ok(there.body == bytes);
            }
        }
        self.write(key, bytes).await.map(|()| true)
    }

    async fn write(&self, key: &str, bytes: Bytes) -> Result<(), LedgerError> {
        let length = bytes.len();
        if self.ask(Method::Put(bytes), key, length).await?.found {
            return Ok(());
        }
        let why = format!("it does not take the object {key}");
        Err(LedgerError::Engine { engine: ENGINE, why })
    }

    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, LedgerError> {
        // (Nobody knows how long it is: so it is noticed at once if there is no storage, and none is waited for.)
        let there = self.ask(Method::Head, key, 0).await?.found;
        // (That it is not there is believed only if it is said in words, which an answer to HEAD does not have: what stands in
        // front of the storage may say 404, too.)
        let answer =
            self.ask(Method::Get, key, if there { Limits::ALL.part >> 4 } else { 0 }).await?;
        Ok(answer.found.then_some(answer.body))
    }

    /// Looks whether objects can be written and read, and removed: under a name of its own, as others may look at the same time.
    pub async fn probe_and_remove(&self, prefix: &str) -> Result<(), LedgerError> {
        let key = format!("{prefix}probe-{}", random()?);
        self.probe(&key).await?;
        self.ask(Method::Delete, &key, 0).await?;
        self.connected.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Looks whether objects can be written and read, and whether it is told that one is not there. What is written stays, since
    /// removing it may take more rights than all else does; so its name is always the same.
    pub async fn probe_and_keep(&self, prefix: &str) -> Result<(), LedgerError> {
        self.probe(&format!("{prefix}probe")).await?;
        let absent = self.ask(Method::Head, &format!("{prefix}probe-{}", random()?), 0).await;
        if let Err(LedgerError::Denied { engine, why, rights }) = absent {
            // (Everything else was allowed.)
            let why = format!(
                "asked for an object that is not there, it does not say so, as it does only to who may list the bucket \
                 (s3:ListBucket): {why}"
            );
            return Err(LedgerError::Denied { engine, why, rights });
        }
        absent?;
        self.connected.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn probe(&self, key: &str) -> Result<(), LedgerError> {
        self.write(key, Bytes::from_static(PROBE)).await?;
        if self.ask(Method::Get, key, 0).await?.body != PROBE {
            let why = format!("the object {key} was written, and is not there");
            return Err(LedgerError::Engine { engine: ENGINE, why });
        }
        Ok(())
    }
}

fn random() -> Result<String, LedgerError> {
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(|error| LedgerError::Engine {
        engine: "the operating system",
        why: error.to_string(),
    })?;
    Ok(number.iter().map(|byte| format!("{byte:02x}")).collect())
}
