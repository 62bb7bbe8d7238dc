//! TLS of a client: options, and the handshake by rustls with the feature `tls`.

/// The options of TLS as the application set them, in PEM.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsOptions {
    /// Trusted certificate authorities, instead of the system's.
    pub(crate) authorities: Vec<Vec<u8>>,
    /// The client's certificate with its intermediate certificates, and its private key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Accept every certificate.
    pub(crate) insecure: bool,
}

#[cfg(feature = "tls")]
mod with_tls;
#[cfg(not(feature = "tls"))]
mod without_tls;

#[cfg(feature = "tls")]
pub(crate) use with_tls::{TlsConnector, tls_connect};
#[cfg(not(feature = "tls"))]
pub(crate) use without_tls::{TlsConnector, tls_connect};
