//! [`Tls`]: TLS options of a server: certificate, key and optional verification of client certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::error::ConfigError;
use crate::io::pem;
use crate::io::validity;
use crate::log;
use crate::range;

/// TLS options of a server, for [`Server::tls`](crate::Server::tls).
///
/// TLS 1.2 and 1.3 are supported, with HTTP/1.1 by ALPN (RFC 7301). The files are PEM. They are read when the server is
/// bound, and again by [`Remote::reload_tls`](crate::Remote::reload_tls). A file that cannot be read or parsed is a
/// [`ConfigError`].
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
    record_size: usize,
    pub(crate) handshake_timeout: Duration,
}

impl Tls {
    /// A server with this certificate (followed in the file by its intermediate certificates) and this private key
    /// (PKCS #8, PKCS #1 or SEC 1). A certificate that has expired or is not valid yet is used, with a warning in the log.
    #[must_use]
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_authorities: None,
            allow_anonymous: false,
            record_size: 16_384,
            handshake_timeout: Duration::from_secs(10),
        }
    }

    /// Requires clients to have a certificate that one of the certificate authorities in this file has signed. A client
    /// without it fails the TLS handshake. [`RequestInfo::client_certificate`](crate::RequestInfo::client_certificate)
    /// returns the certificate.
    ///
    /// **Default:** no client certificate is requested.
    #[must_use]
    pub fn client_authorities(mut self, file: impl Into<PathBuf>) -> Self {
        self.client_authorities = Some(file.into());
        self
    }

    /// Whether clients without a certificate are accepted. A certificate that a client does send must be valid. Without
    /// [`client_authorities`](Self::client_authorities) this option has no effect.
    ///
    /// **Default:** false.
    #[must_use]
    pub fn allow_anonymous_clients(mut self, allow: bool) -> Self {
        self.allow_anonymous = allow;
        self
    }

    /// The time allowed for the TLS handshake, after which the connection is closed.
    /// [`head_timeout`](crate::Config::head_timeout) begins after the handshake.
    ///
    /// **Default:** 10 s. **Range:** 10 ms to 24 h.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// The most bytes of plain text in a TLS record that the server sends. A smaller record costs 22 bytes more per
    /// record. It is for clients that hold a record in little memory, such as microcontrollers; the request of such a
    /// client for smaller records (RFC 6066 section 4) is not supported by rustls.
    ///
    /// **Default:** 16384, the limit of TLS. **Range:** 512 to 16384.
    #[must_use]
    pub fn record_size(mut self, bytes: usize) -> Self {
        self.record_size = bytes;
        self
    }

    /// Reads the files and checks every value, as [`Server::bind`](crate::Server::bind) does.
    ///
    /// # Errors
    /// The first option that is outside its range, or whose file cannot be used.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.load().map(drop)
    }

    fn load(&self) -> Result<Arc<ServerConfig>, ConfigError> {
        range::check(self.handshake_timeout, range::TIMEOUT)
            .map_err(|problem| ConfigError::new("tls.handshake_timeout", problem))?;
        range::check(self.record_size, 512..=16_384)
            .map_err(|problem| ConfigError::new("tls.record_size", problem))?;
        let certificate = |problem| invalid("tls.certificate", &self.certificate, problem);
        let key = |problem| invalid("tls.key", &self.key, problem);
        let chain =
            read(&self.certificate).and_then(|pem| pem::chain(&pem)).map_err(certificate)?;
        let private = read(&self.key).and_then(|pem| pem::key(&pem)).map_err(key)?;
        for (position, certificate) in chain.iter().enumerate() {
            if let Some(problem) = validity::problem(certificate, SystemTime::now()) {
                let file = self.certificate.display();
                log::warn!(%file, position, problem, "clients will refuse this certificate");
            }
        }
        let verifier = self.client_verifier()?;
        let builder = ServerConfig::builder_with_provider(pem::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::new("tls", error.to_string()))?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        // An error of the pair is reported for the key: it does not match the certificate.
        let mut config =
            builder.with_single_cert(chain, private).map_err(|error| key(error.to_string()))?;
        config.alpn_protocols = pem::protocols();
        // rustls counts the five bytes of the header.
        config.max_fragment_size = Some(self.record_size + 5);
        // A client that opens a connection for each poll can resume its session instead of a full handshake, and the
        // server keeps no state for it.
        config.ticketer =
            Ticketer::new().map_err(|error| ConfigError::new("tls", error.to_string()))?;
        Ok(Arc::new(config))
    }

    /// The options with which this server connects to others that have the same options: links of a cluster. Both sides
    /// need certificates of [`client_authorities`](Self::client_authorities).
    #[cfg(feature = "nats")]
    pub(crate) fn to_peers(&self) -> Result<rustls::ClientConfig, ConfigError> {
        let Some(file) = self.client_authorities.as_ref().filter(|_| !self.allow_anonymous) else {
            let problem = "links need Tls::client_authorities, and no anonymous clients".into();
            return Err(ConfigError::new("cluster.tls", problem));
        };
        let certificate = |problem| invalid("tls.certificate", &self.certificate, problem);
        let key = |problem| invalid("tls.key", &self.key, problem);
        let chain =
            read(&self.certificate).and_then(|pem| pem::chain(&pem)).map_err(certificate)?;
        let private = read(&self.key).and_then(|pem| pem::key(&pem)).map_err(key)?;
        let roots = read(file).and_then(|pem| pem::authorities([pem]));
        let roots = roots.map_err(|problem| invalid("tls.client_authorities", file, problem))?;
        rustls::ClientConfig::builder_with_provider(pem::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::new("cluster.tls", error.to_string()))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private)
            .map_err(|error| key(error.to_string()))
    }

    fn client_verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, ConfigError> {
        let Some(file) = &self.client_authorities else { return Ok(None) };
        let verifier = || {
            let roots = pem::authorities([read(file)?])?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), pem::provider());
            let verifier =
                if self.allow_anonymous { verifier.allow_unauthenticated() } else { verifier };
            verifier.build().map_err(|error| error.to_string())
        };
        verifier().map(Some).map_err(|problem| invalid("tls.client_authorities", file, problem))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| error.to_string())
}

fn invalid(option: &'static str, file: &Path, problem: String) -> ConfigError {
    ConfigError::new(option, format!("{}: {problem}", file.display()))
}

/// The options and the contents of the files, for all workers.
pub(crate) struct Identity {
    pub(crate) options: Tls,
    /// For new connections; open connections keep the configuration that they began with.
    current: Mutex<Arc<ServerConfig>>,
}

impl Identity {
    pub(crate) fn new(options: Tls) -> Result<Self, ConfigError> {
        let current = Mutex::new(options.load()?);
        Ok(Self { options, current })
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again. After an error the previous configuration stays in use.
    pub(crate) fn reload(&self) -> Result<(), ConfigError> {
        let reloaded = self.options.load()?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = reloaded;
        Ok(())
    }
}
