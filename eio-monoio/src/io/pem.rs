//! Certificates and keys in PEM, and the TLS options common to server and client.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The cryptography provider of server and client.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The ALPN protocols (RFC 7301) of server and client.
pub(crate) fn protocols() -> Vec<Vec<u8>> {
    vec![b"http/1.1".to_vec()]
}

/// A certificate and its intermediate certificates, at least one.
pub(crate) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("it has no certificate".into()) } else { Ok(chain) }
}

pub(crate) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        Error::NoItemsFound => "it has no private key".into(),
        error => error.to_string(),
    })
}

/// Trusted certificate authorities.
pub(crate) fn authorities<P: AsRef<[u8]>>(
    pems: impl IntoIterator<Item = P>,
) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for pem in pems {
        for certificate in chain(pem.as_ref())? {
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
    }
    Ok(roots)
}
