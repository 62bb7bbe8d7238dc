//! [`Tls`]: with what a server proves who it is, and from whom it wants to know that.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::error::ConfigError;
use crate::io::pem;
use crate::range;

/// Options of TLS for a server ([`Server::tls`](crate::Server::tls)): TLS 1.2 and 1.3, HTTP/1.1 by ALPN. The files
/// are PEM. They are read when the server is bound, and again by
/// [`Remote::reload_tls`](crate::Remote::reload_tls).
///
/// ```no_run
/// # use eio_monoio::{Server, Tls};
/// # fn server<H: eio_monoio::Handler>(make: impl Fn() -> H + Send + Sync + 'static) -> Result<(), eio_monoio::ServeError> {
/// let tls = Tls::new("/etc/eio/fullchain.pem", "/etc/eio/privkey.pem");
/// let running = Server::new(make).tls(tls).bind("0.0.0.0:443")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_authorities: Option<PathBuf>,
    allow_anonymous: bool,
    pub(crate) handshake_timeout: Duration,
}

impl Tls {
    /// A server with this certificate (itself first, then those between it and its authority) and this private
    /// key (PKCS #8, PKCS #1 or SEC 1).
    #[must_use]
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_authorities: None,
            allow_anonymous: false,
            handshake_timeout: Duration::from_secs(10),
        }
    }

    /// Clients must prove who they are, by a certificate that one of the authorities in this file has signed;
    /// [`RequestInfo::client_certificate`](crate::RequestInfo::client_certificate) shows it. None: they are not
    /// asked.
    #[must_use]
    pub fn client_authorities(mut self, file: impl Into<PathBuf>) -> Self {
        self.client_authorities = Some(file.into());
        self
    }

    /// Whether a client without a certificate is served all the same; a certificate that is shown must be right.
    /// False; without [`client_authorities`](Self::client_authorities) it says nothing.
    #[must_use]
    pub fn allow_anonymous_clients(mut self, allow: bool) -> Self {
        self.allow_anonymous = allow;
        self
    }

    /// How long a connection has for the TLS handshake before it is closed;
    /// [`head_timeout`](crate::Config::head_timeout) begins after it. 10 s; 10 ms to a day.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    fn load(&self) -> Result<Arc<ServerConfig>, ConfigError> {
        let certificate = |problem| wrong("tls.certificate", &self.certificate, problem);
        let key = |problem| wrong("tls.key", &self.key, problem);
        let chain =
            read(&self.certificate).and_then(|pem| pem::chain(&pem)).map_err(certificate)?;
        let private = read(&self.key).and_then(|pem| pem::key(&pem)).map_err(key)?;
        let clients = self.clients()?;
        let builder = ServerConfig::builder_with_provider(pem::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::new("tls", error.to_string()))?;
        let builder = match clients {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        // What can be wrong with both together is said of the key: it is the one that does not fit.
        let mut config =
            builder.with_single_cert(chain, private).map_err(|error| key(error.to_string()))?;
        config.alpn_protocols = pem::protocols();
        // A client that opens a connection for each poll does not pay for a whole handshake each time, and
        // nothing is kept here for it.
        config.ticketer =
            Ticketer::new().map_err(|error| ConfigError::new("tls", error.to_string()))?;
        Ok(Arc::new(config))
    }

    fn clients(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, ConfigError> {
        let Some(file) = &self.client_authorities else { return Ok(None) };
        let verifier = || {
            let roots = pem::authorities([read(file)?])?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), pem::provider());
            let verifier =
                if self.allow_anonymous { verifier.allow_unauthenticated() } else { verifier };
            verifier.build().map_err(|error| error.to_string())
        };
        verifier().map(Some).map_err(|problem| wrong("tls.client_authorities", file, problem))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| error.to_string())
}

fn wrong(option: &'static str, file: &Path, problem: String) -> ConfigError {
    ConfigError::new(option, format!("{}: {problem}", file.display()))
}

/// The options and what was read from the files, for all shards.
pub(crate) struct Identity {
    pub(crate) options: Tls,
    /// For new connections; those that are there keep what they began with.
    current: Mutex<Arc<ServerConfig>>,
}

impl Identity {
    pub(crate) fn new(options: Tls) -> Result<Self, ConfigError> {
        range::check(options.handshake_timeout, range::TIMEOUT)
            .map_err(|problem| ConfigError::new("tls.handshake_timeout", problem))?;
        let current = Mutex::new(options.load()?);
        Ok(Self { options, current })
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again. What is wrong with them changes nothing.
    pub(crate) fn reload(&self) -> Result<(), ConfigError> {
        let fresh = self.options.load()?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}
