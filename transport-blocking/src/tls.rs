//! TLS: whom a participant trusts, and how it identifies itself.

use std::fmt;

use ureq::tls::{parse_pem, Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};

use crate::Error;

/// The TLS configuration. By default those authorities are trusted that the environment names, or else the
/// web's well-known ones, and no certificate is shown.
#[derive(Clone, Default)]
pub struct Tls {
    roots: Option<RootCerts>,
    identity: Option<ClientCert>,
}

/// Shows no key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own_roots", &self.roots.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl Tls {
    /// Trusts these authorities' certificates, in PEM form, and no others.
    ///
    /// # Errors
    /// [`Error::Certificates`] if there is none.
    pub fn trusting(mut self, authorities: &[u8]) -> Result<Self, Error> {
        self.roots = Some(RootCerts::new_with_certs(&certificates(authorities)?));
        Ok(self)
    }

    /// Presents this certificate (with those that lead from it to its authority) to coordinators that
    /// ask for one; it and its private key are in PEM form.
    ///
    /// # Errors
    /// [`Error::Certificates`] if there is no certificate, or no key.
    pub fn with_identity(mut self, certificate: &[u8], key: &[u8]) -> Result<Self, Error> {
        let chain = certificates(certificate)?;
        let key =
            PrivateKey::from_pem(key).map_err(|error| Error::Certificates(error.to_string()))?;
        self.identity = Some(ClientCert::new_with_certs(&chain, key));
        Ok(self)
    }

    /// Whether nothing was said about whom to trust.
    #[cfg_attr(shuttle, allow(dead_code))]
    pub(crate) fn trusts_the_web(&self) -> bool {
        self.roots.is_none()
    }

    #[cfg_attr(shuttle, allow(dead_code))]
    pub(crate) fn config(self) -> TlsConfig {
        let builder = TlsConfig::builder().client_cert(self.identity);
        match self.roots {
            Some(roots) => builder.root_certs(roots),
            None => builder,
        }
        .build()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, Error> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| Error::Certificates(error.to_string()))?
        {
            certificates.push(certificate);
        }
    }
    match certificates.is_empty() {
        true => Err(Error::Certificates("there is no BEGIN CERTIFICATE".into())),
        false => Ok(certificates),
    }
}
