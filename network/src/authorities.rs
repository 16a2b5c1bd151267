//! Certificates of authorities that the environment names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// The certificates of the authorities to trust instead of the web's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities {
    variable: &'static str,
    pem: Vec<u8>,
}

impl Authorities {
    /// The certificates, in PEM form.
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// The name of the environment variable that names them.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// A file, or folders (with a colon between them) of files with the names that OpenSSL gives them, or both.
    pub(crate) fn read(
        file: Option<(&'static str, &str)>,
        folders: Option<(&'static str, &str)>,
    ) -> Result<Self, Error> {
        let mut found = Self { variable: "", pem: Vec::new() };
        if let Some((variable, path)) = file {
            found.variable = variable;
            found.add(Path::new(path))?;
        }
        if let Some((variable, paths)) = folders {
            found.variable = if file.is_some() { found.variable } else { variable };
            for folder in std::env::split_paths(paths) {
                // OpenSSL does not mind folders that are missing either.
                for path in hashed(&folder) {
                    found.add(&path)?;
                }
            }
        }
        found.check()
    }

    /// A file, or a folder.
    pub(crate) fn read_bundle((variable, path): (&'static str, &str)) -> Result<Self, Error> {
        match Path::new(path).is_dir() {
            true => Self::read(None, Some((variable, path))),
            false => Self::read(Some((variable, path)), None),
        }
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let pem =
            fs::read(path).map_err(|error| self.invalid(format!("{}: {error}", path.display())))?;
        self.pem.extend(certificates(&pem));
        Ok(())
    }

    fn check(self) -> Result<Self, Error> {
        match self.pem.is_empty() {
            false => Ok(self),
            true => Err(self.invalid("there is no BEGIN CERTIFICATE".into())),
        }
    }

    fn invalid(&self, reason: String) -> Error {
        Error::Authorities { variable: self.variable, reason }
    }
}

/// Nothing but the certificates: bundles have comments, too, in any encoding.
fn certificates(pem: &[u8]) -> Vec<u8> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in pem.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        inside |= line == b"-----BEGIN CERTIFICATE-----";
        if inside {
            found.extend_from_slice(line);
            found.push(b'\n');
        }
        inside &= line != b"-----END CERTIFICATE-----";
    }
    found
}

/// The files of a folder whose names `openssl rehash` has made: eight hexadecimal digits, a dot, a number.
fn hashed(folder: &Path) -> Vec<PathBuf> {
    let is_hashed = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.split_once('.').is_some_and(|(hash, number)| {
            hash.len() == 8
                && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(is_hashed).collect();
    paths.sort();
    paths
}
