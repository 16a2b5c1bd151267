//! Parts as objects.

use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use pet_ledger::{LedgerError, Limits, PartName, Parts, Pending, StoredPart};
use rusty_s3::{actions::ListObjectsV2, S3Action};

use crate::{
    http::{no_bucket, Answer, Method},
    objects::{Objects, SIGNED},
    settings::S3Settings,
    ENGINE,
};

/// How many pages of a list are read.
const MOST_PAGES: usize = 1000;

/// Parts in a bucket. Clones share their connections.
#[derive(Clone)]
pub struct S3Parts(Arc<Shared>);

struct Shared {
    objects: Objects,
    prefix: String,
    page: usize,
}

impl S3Parts {
    /// Connects, and looks whether objects can be listed in the bucket, written, read and removed.
    ///
    /// # Errors
    /// [`LedgerError::Setting`] if the settings make no sense, there is no such bucket, or it is in another region;
    /// [`LedgerError::Denied`] if the keys are wrong, or may too little; [`LedgerError::Clock`]; [`LedgerError::Unreachable`].
    pub async fn connect(settings: &S3Settings) -> Result<Self, LedgerError> {
        let (objects, prefix) = (Objects::new(settings)?, settings.prefix()?);
        let parts = Self(Arc::new(Shared { objects, prefix, page: settings.page.clamp(1, 1000) }));
        if !parts.page(None).await?.found {
            return Err(no_bucket());
        }
        parts.0.objects.probe_and_remove(&parts.0.prefix).await?;
        Ok(parts)
    }

    fn key(&self, name: &PartName) -> String {
        format!("{}{name}", self.0.prefix)
    }

    async fn ask(
        &self,
        method: Method,
        name: &PartName,
        bytes: usize,
    ) -> Result<Answer, LedgerError> {
        self.0.objects.ask(method, &self.key(name), bytes).await
    }

    async fn page(&self, token: Option<&str>) -> Result<Answer, LedgerError> {
        let Shared { objects, prefix, page } = &*self.0;
        let sign = || {
            let mut list = objects.bucket.list_objects_v2(Some(&objects.credentials));
            list.with_prefix(prefix.as_str());
            list.with_max_keys(*page);
            if let Some(token) = token {
                list.with_continuation_token(token);
            }
            list.sign(SIGNED)
        };
        objects.call(Method::Get, objects.deadline(0), sign).await
    }

    async fn put_part(&self, name: PartName, bytes: Bytes) -> Result<(), LedgerError> {
        if bytes.len() > Limits::ALL.part {
            let (what, number, most) = ("a part's length", bytes.len(), Limits::ALL.part);
            return Err(LedgerError::TooLarge { what, number, most });
        }
        match self.0.objects.put(&self.key(&name), bytes).await? {
            true => Ok(()),
            false => Err(LedgerError::PartDiffers { name }),
        }
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
        Box::pin(async move { self.0.objects.get(&self.key(name)).await })
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
            .field("bucket", &self.0.objects.bucket.name())
            .field("prefix", &self.0.prefix)
            .finish_non_exhaustive()
    }
}
