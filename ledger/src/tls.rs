//! TLS to engines, with rustls.

use std::{path::Path, sync::Arc};

use pet_network::Environment;
use rustls::{
    pki_types::{pem::PemObject, CertificateDer},
    ClientConfig, RootCertStore,
};

use crate::LedgerError;

/// Connections that check the server's certificate: they trust the authorities in a file (`sslrootcert`), or those that the
/// environment names, or the web's. `setting` is what names the engine, such as `postgres.url`.
///
/// # Errors
/// [`LedgerError::Setting`] if a file cannot be read, or has no certificate in it.
pub fn client(
    setting: &'static str,
    file: Option<&Path>,
) -> Result<Arc<ClientConfig>, LedgerError> {
    let wrong = |why: String| LedgerError::Setting { setting, why };
    let pem = match file {
        Some(path) => {
            let unread = |error| wrong(format!("sslrootcert={}: {error}", path.display()));
            Some(std::fs::read(path).map_err(unread)?)
        }
        None => {
            let named = Environment::of_process().authorities();
            named.map_err(|error| wrong(error.to_string()))?.map(|named| named.pem().to_vec())
        }
    };
    let mut roots = RootCertStore::empty();
    match pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            roots.add_parsable_certificates(certificates);
            if roots.is_empty() {
                return Err(wrong("the file with authorities has no certificate in it".into()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
