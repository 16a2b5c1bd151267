//! Parts as objects.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use pet_ledger::{LedgerError, Limits, PartName, Parts, Pending, StoredPart};
use rusty_s3::{actions::ListObjectsV2, Bucket, Credentials, S3Action};
use ureq::Agent;

use crate::{
    http::{call, client, Answer, Method},
    settings::S3Settings,
    ENGINE,
};

/// How long a signature is good for.
const SIGNED: Duration = Duration::from_secs(3600);
/// How many pages of a list are read.
const MOST_PAGES: usize = 1000;

/// Parts in a bucket. Clones share their connections.
#[derive(Clone)]
pub struct S3Parts(Arc<Shared>);

struct Shared {
    agent: Agent,
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    timeout: Duration,
    page: usize,
}

impl S3Parts {
    /// Connects, and looks whether the bucket can be listed.
    ///
    /// # Errors
    /// [`LedgerError::Setting`] if the settings make no sense, or there is no such bucket; [`LedgerError::Denied`] if the keys
    /// are wrong; [`LedgerError::Unreachable`].
    pub async fn connect(settings: &S3Settings) -> Result<Self, LedgerError> {
        let (bucket, credentials) = settings.bucket()?;
        let (agent, prefix) = (client()?, settings.prefix()?);
        let (timeout, page) = (settings.timeout, settings.page.clamp(1, 1000));
        let parts = Self(Arc::new(Shared { agent, bucket, credentials, prefix, timeout, page }));
        let list = parts.page(None).await?;
        if !list.found {
            let why = format!("there is nothing called {:?} at that address", settings.bucket);
            return Err(LedgerError::Setting { setting: "s3.buckets", why });
        }
        Ok(parts)
    }

    fn key(&self, name: &PartName) -> String {
        format!("{}{name}", self.0.prefix)
    }

    fn deadline(&self, bytes: usize) -> Duration {
        self.0.timeout + Duration::from_secs(bytes as u64 >> 20)
    }

    async fn ask(
        &self,
        method: Method,
        name: &PartName,
        bytes: usize,
    ) -> Result<Answer, LedgerError> {
        let Shared { agent, bucket, credentials, .. } = &*self.0;
        let (key, who) = (self.key(name), Some(credentials));
        let asked = method.clone();
        let sign = || match &asked {
            Method::Get => bucket.get_object(who, &key).sign(SIGNED),
            Method::Head => bucket.head_object(who, &key).sign(SIGNED),
            Method::Delete => bucket.delete_object(who, &key).sign(SIGNED),
            Method::Put(_) => bucket.put_object(who, &key).sign(SIGNED),
        };
        call(agent, method, self.deadline(bytes), sign).await
    }

    async fn page(&self, token: Option<&str>) -> Result<Answer, LedgerError> {
        let Shared { agent, bucket, credentials, prefix, page, .. } = &*self.0;
        let sign = || {
            let mut list = bucket.list_objects_v2(Some(credentials));
            list.with_prefix(prefix.as_str());
            list.with_max_keys(*page);
            if let Some(token) = token {
                list.with_continuation_token(token);
            }
            list.sign(SIGNED)
        };
        call(agent, Method::Get, self.deadline(0), sign).await
    }

    async fn put_part(&self, name: PartName, bytes: Bytes) -> Result<(), LedgerError> {
        if bytes.len() > Limits::ALL.part {
            let (what, number, most) = ("a part's length", bytes.len(), Limits::ALL.part);
            return Err(LedgerError::TooLarge { what, number, most });
        }
        if self.ask(Method::Head, &name, 0).await?.found {
            let there = self.ask(Method::Get, &name, bytes.len()).await?;
            if there.found {
                return if there.body == bytes {
                    Ok(())
                } else {
                    Err(LedgerError::PartDiffers { name })
                };
            }
        }
        let length = bytes.len();
        let stored = self.ask(Method::Put(bytes), &name, length).await?;
        if !stored.found {
            let why = format!("it does not take the object {}", self.key(&name));
            return Err(LedgerError::Engine { engine: ENGINE, why });
        }
        Ok(())
    }

    async fn list_parts(&self) -> Result<Vec<StoredPart>, LedgerError> {
        let wrong = |why: String| LedgerError::Engine { engine: ENGINE, why };
        let mut parts = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let page = self.page(token.as_deref()).await?;
            let now = page.date.unwrap_or_else(SystemTime::now);
            let text = std::str::from_utf8(&page.body).map_err(|error| wrong(error.to_string()))?;
            let list = ListObjectsV2::parse_response(text);
            let list =
                list.map_err(|error| wrong(format!("a list that makes no sense: {error}")))?;
            for object in list.contents {
                // Whatever else somebody keeps there is none of ours.
                let name =
                    object.key.strip_prefix(&self.0.prefix).and_then(|name| name.parse().ok());
                let Some(name) = name else { continue };
                let stored = object.last_modified.as_deref().unwrap_or_default();
                let stored: jiff::Timestamp = stored.parse().map_err(|error| {
                    wrong(format!("the time {stored:?} of an object makes no sense: {error}"))
                })?;
                let age = now.duration_since(SystemTime::from(stored)).unwrap_or_default();
                parts.push(StoredPart { name, age });
            }
            token = list.next_continuation_token.filter(|token| !token.is_empty());
            if token.is_none() {
                parts.sort_by(|one, other| one.name.cmp(&other.name));
                return Ok(parts);
            }
        }
        Err(wrong(format!("more than {MOST_PAGES} pages of objects")))
    }
}

impl Parts for S3Parts {
    fn put(&self, name: PartName, bytes: Bytes) -> Pending<'_, ()> {
        Box::pin(self.put_part(name, bytes))
    }

    fn get<'a>(&'a self, name: &'a PartName) -> Pending<'a, Option<Bytes>> {
        Box::pin(async move {
            // (Nobody knows how long it is: so it is noticed at once if there is no storage, and none is waited for.)
            if !self.ask(Method::Head, name, 0).await?.found {
                return Ok(None);
            }
            let answer = self.ask(Method::Get, name, Limits::ALL.part >> 4).await?;
            Ok(answer.found.then_some(answer.body))
        })
    }

    fn list(&self) -> Pending<'_, Vec<StoredPart>> {
        Box::pin(self.list_parts())
    }

    fn remove<'a>(&'a self, names: &'a [PartName]) -> Pending<'a, ()> {
        Box::pin(async move {
            for name in names {
                self.ask(Method::Delete, name, 0).await?;
            }
            Ok(())
        })
    }
}

/// Without the keys.
impl fmt::Debug for S3Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Parts")
            .field("bucket", &self.0.bucket.name())
            .field("prefix", &self.0.prefix)
            .finish_non_exhaustive()
    }
}
