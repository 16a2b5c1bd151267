//! What to connect to.

use std::{fmt, path::PathBuf, time::Duration};

use pet_ledger::LedgerError;
use rusty_s3::{Bucket, Credentials, UrlStyle};

/// Which storage, which bucket, which federation, and how long to wait.
#[derive(Clone)]
#[non_exhaustive]
pub struct S3Settings {
    /// `http://host:port` or `https://...`: the second of the old setting `s3.region`.
    pub endpoint: String,
    /// The first of the old setting `s3.region`.
    pub region: String,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// The old setting `s3.access_key`.
    pub access_key: String,
    /// The old setting `s3.secret_access_key`.
    pub secret_access_key: String,
    /// The federation's name: at most 40 of `a-z`, `0-9` and `_`.
    pub federation: String,
    /// A file with certificates of authorities that are trusted, in PEM form. Default: those that the environment names, or the
    /// web's.
    pub authorities: Option<PathBuf>,
    /// How long a call may take, with all that is tried again. (Parts have a second more for each MiB.)
    pub timeout: Duration,
    /// How many names a page of a list has at most: 1 to 1000.
    pub page: usize,
}

impl S3Settings {
    /// A bucket and a federation, with the usual time.
    pub fn new(
        [region, endpoint]: [&str; 2],
        bucket: &str,
        [access_key, secret_access_key]: [&str; 2],
        federation: &str,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            region: region.into(),
            bucket: bucket.into(),
            access_key: access_key.into(),
            secret_access_key: secret_access_key.into(),
            federation: federation.into(),
            authorities: None,
            timeout: Duration::from_secs(10),
            page: 1000,
        }
    }

    pub(crate) fn bucket(&self) -> Result<(Bucket, Credentials), LedgerError> {
        let wrong = |setting, why: String| LedgerError::Setting { setting, why };
        let endpoint = self.endpoint.parse().map_err(|error| {
            let why = format!("{:?}: {error}: write it as http://host:port", self.endpoint);
            wrong("s3.region", why)
        })?;
        let (name, region) = (self.bucket.clone(), self.region.clone());
        let bucket = Bucket::new(endpoint, UrlStyle::Path, name, region);
        let bucket = bucket.map_err(|error| wrong("s3.region", error.to_string()))?;
        Ok((bucket, Credentials::new(&self.access_key, &self.secret_access_key)))
    }

    /// What the names of the federation's objects begin with.
    pub(crate) fn prefix(&self) -> Result<String, LedgerError> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        let name = &self.federation;
        if name.is_empty() || name.len() > 40 || !name.bytes().all(fits) {
            return Err(LedgerError::Setting {
                setting: "federation",
                why: format!("{name:?} must be 1 to 40 of a-z, 0-9 and _"),
            });
        }
        Ok(format!("pet_{name}/"))
    }
}

/// Without the keys.
impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("federation", &self.federation)
            .finish_non_exhaustive()
    }
}
