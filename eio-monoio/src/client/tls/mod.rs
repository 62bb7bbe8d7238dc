//! Whom a client trusts over TLS, and who it says it is.

/// Options of TLS, as the user gave them: PEM text each.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsOptions {
    /// Certificates of authorities, instead of the system's.
    pub(crate) authorities: Vec<Vec<u8>>,
    /// Our certificate, with those between it and its authority, and its key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Believe anybody.
    pub(crate) insecure: bool,
}

#[cfg(feature = "tls")]
mod with_tls;
#[cfg(not(feature = "tls"))]
mod without_tls;

#[cfg(feature = "tls")]
pub(crate) use with_tls::{Trust, secure};
#[cfg(not(feature = "tls"))]
pub(crate) use without_tls::{Trust, secure};
