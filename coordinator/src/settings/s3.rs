//! `[s3]`: S3-compatible storage, for what is large of what coordinators share. Its old keys, and some new ones.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use super::{PartsIn, Settings};
use crate::key;

/// `[s3]`: the storage of `storage.parts = "s3"`. Without that it has no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// The name of the access key. Default: none.
    pub access_key: Option<String>,
    /// The access key. Default: none.
    pub secret_access_key: Option<S3Secret>,
    /// The region, and where the storage is if it is not Amazon's: `["minio", "http://localhost:9000"]`, `["eu-west-1"]` or
    /// `"eu-west-1"`. Default: none.
    pub region: Option<S3Region>,
    /// Where the storage is, `http://host:port` or `https://...`, if the region does not say so. Not among the old keys. Default:
    /// Amazon's.
    pub endpoint: Option<String>,
    /// A file with the certificates of authorities that are trusted, in PEM form. Not among the old keys. Default: those that
    /// the environment names (`SSL_CERT_FILE`), or the web's.
    pub authorities: Option<PathBuf>,
    /// Which buckets.
    pub buckets: S3Buckets,
}

/// `[s3.buckets]`: buckets, which have to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Buckets {
    /// The bucket of global models, under their old names. Default: none.
    pub global_models: Option<String>,
    /// The bucket of what coordinators share, which is sealed. Not among the old keys. Default: that of the global models, in
    /// which all of it is below `pet_` and the federation's name.
    pub parts: Option<String>,
}

/// A key that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Secret(String);

impl S3Secret {
    /// Takes any text.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for S3Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3Secret")
    }
}

/// A region, and where its storage is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Region {
    /// What it is called.
    pub name: String,
    /// Where it is, unless it is one of Amazon's.
    pub endpoint: Option<String>,
}

impl S3Region {
    /// Reads a name, or an array with the name and perhaps the address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if !text.starts_with('[') {
            let is_name = !text.is_empty() && !text.contains(char::is_whitespace);
            return is_name.then(|| Self { name: text.to_owned(), endpoint: None });
        }
        // An array by itself is no document.
        let table: toml::Table = format!("region = {text}").parse().ok()?;
        let array = table.get("region")?.as_array()?;
        let texts: Option<Vec<&str>> = array.iter().map(|value| value.as_str()).collect();
        let (name, endpoint) = match texts?[..] {
            [name] => (name, None),
            [name, endpoint] => (name, Some(endpoint.to_owned())),
            _ => return None,
        };
        (!name.is_empty()).then(|| Self { name: name.to_owned(), endpoint })
    }

    pub(super) fn texts(&self) -> Vec<&str> {
        [Some(&*self.name), self.endpoint.as_deref()].into_iter().flatten().collect()
    }
}

/// Whether there is something in front of the host: it would be shown wherever the address is.
fn has_user(endpoint: &str) -> bool {
    endpoint.contains('@')
}

/// The rules that are broken: the key, the value if there is one to show, the rule.
pub(super) fn check(
    settings: &Settings,
    unreadable: &BTreeSet<String>,
) -> Vec<(&'static str, Option<String>, String)> {
    let (storage, s3) = (&settings.storage, &settings.s3);
    if storage.parts == PartsIn::Engine {
        return Vec::new();
    }
    let mut broken = Vec::new();
    if !storage.engine.is_shared() {
        let rule = format!("needs another {} than \"directory\"", key!(storage.engine));
        broken.push((key!(storage.parts), Some("\"s3\"".to_owned()), rule));
    }
    for (key, is_there) in [
        (key!(s3.access_key), s3.access_key.is_some()),
        (key!(s3.secret_access_key), s3.secret_access_key.is_some()),
        (key!(s3.region), s3.region.is_some()),
        (key!(s3.buckets.global_models), s3.buckets.global_models.is_some()),
    ] {
        if !is_there && !unreadable.contains(key) {
            broken.push((key!(storage.parts), None, format!("needs {key} as well")));
        }
    }
    if let (Some(S3Region { endpoint: Some(_), .. }), Some(_)) = (&s3.region, &s3.endpoint) {
        let rule = format!("is given twice: {} says where the storage is", key!(s3.region));
        broken.push((key!(s3.endpoint), None, rule));
    }
    let of_region = s3.region.as_ref().and_then(|region| region.endpoint.as_deref());
    for (key, endpoint) in
        [(key!(s3.endpoint), s3.endpoint.as_deref()), (key!(s3.region), of_region)]
    {
        if endpoint.is_some_and(has_user) {
            let rule = format!(
                "must have no user and no password in the address: give {} and {}",
                key!(s3.access_key),
                key!(s3.secret_access_key)
            );
            broken.push((key, None, rule));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_names_or_arrays_as_they_were() {
        let region = |name: &str, endpoint: Option<&str>| {
            Some(S3Region { name: name.into(), endpoint: endpoint.map(Into::into) })
        };
        let url = "http://localhost:9000";
        for (text, wanted) in [
            ("eu-west-1", region("eu-west-1", None)),
            (r#"["eu-west-1"]"#, region("eu-west-1", None)),
            (r#"["minio", "http://localhost:9000"]"#, region("minio", Some(url))),
            ("['minio','http://localhost:9000']", region("minio", Some(url))),
            ("", None),
            ("[]", None),
            ("['']", None),
            ("[1]", None),
            ("['a', 'b', 'c']", None),
            ("['a'", None),
            ("a b", None),
        ] {
            assert_eq!(S3Region::parse(text), wanted, "{text}");
        }
    }
}
