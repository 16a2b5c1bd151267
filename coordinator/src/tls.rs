//! TLS: the server's certificate, and whom it lets in.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    crypto::ring,
    pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer},
    server::{danger::ClientCertVerifier, WebPkiClientVerifier},
    RootCertStore, ServerConfig,
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::{key, settings::ApiSettings};

/// Why TLS cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is not in PEM form.
    #[error("{key} = {path:?}: {source}")]
    Read {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// A file has no certificate in it.
    #[error("{key} = {path:?}: there is no certificate in PEM form (BEGIN CERTIFICATE) in it")]
    Empty {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The files cannot be used, or do not belong together.
    #[error("{key} = {path:?}: {reason}")]
    Useless {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Where certificates and keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Those whose certificates clients must have; nothing if anyone may come.
    pub client_auth: Option<PathBuf>,
}

impl TlsFiles {
    /// Those that are set; `None` if TLS is not wanted.
    pub fn of(api: &ApiSettings) -> Option<Self> {
        Some(Self {
            certificate: api.tls_certificate.clone()?,
            key: api.tls_key.clone()?,
            client_auth: api.tls_client_auth.clone(),
        })
    }
}

const CERTIFICATE: &str = key!(api.tls_certificate);
const KEY: &str = key!(api.tls_key);
const CLIENT_AUTH: &str = key!(api.tls_client_auth);

/// The certificate and key in use. The files are read at the start, and again when it is asked for.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    config: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let config = Mutex::new(Arc::new(read(&files)?));
        Ok(Self { files, config })
    }

    /// Reads the files again: for connections that begin from now on. If something is wrong, all stays as
    /// it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(read(&self.files)?);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(CERTIFICATE, &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Read {
        key: KEY,
        path: files.key.clone(),
        source,
    })?;
    let useless =
        |key, path: &Path, reason: String| TlsError::Useless { key, path: path.to_owned(), reason };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| useless(CERTIFICATE, &files.certificate, error.to_string()))?;
    let builder = match &files.client_auth {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let reason = format!("it cannot be used with the key {:?}: {error}", files.key);
        useless(CERTIFICATE, &files.certificate, reason)
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { key, path: path.to_owned(), source };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(read)?
        .collect::<Result<_, _>>()
        .map_err(read)?;
    match certificates.is_empty() {
        true => Err(TlsError::Empty { key, path: path.to_owned() }),
        false => Ok(certificates),
    }
}

/// Lets in those whose certificate comes from one of the authorities in a file.
fn verifier(
    path: &Path,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let useless = |reason| TlsError::Useless { key: CLIENT_AUTH, path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CLIENT_AUTH, path)? {
        roots.add(certificate).map_err(|error| useless(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| useless(error.to_string()))
}
