//! TLS of a client by rustls.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::client::error::{ConnectError, Fault};
use crate::client::tls::TlsOptions;
use crate::io::pem;
use crate::io::stream::{Stream, TlsStream};

/// The configuration of rustls, and the name that the server's certificate must have.
pub(crate) struct TlsConnector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsConnector {
    /// # Errors
    /// [`ConnectError::Option`] with the option that cannot be used.
    pub(crate) fn new(options: &TlsOptions, host: &str) -> Result<Self, ConnectError> {
        let bad = |why: &dyn std::fmt::Display| ConnectError::Option("tls", why.to_string());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| bad(&error))?;
        let provider = pem::provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?;
        let builder = if options.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(provider)))
        } else {
            builder.with_root_certificates(roots(options)?)
        };
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = pem::chain(chain).map_err(|error| bad(&error))?;
                let key = pem::key(key).map_err(|error| bad(&error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| bad(&error))?
            }
        };
        config.alpn_protocols = pem::protocols();
        Ok(Self { config: Arc::new(config), name })
    }
}

fn roots(options: &TlsOptions) -> Result<Arc<RootCertStore>, ConnectError> {
    if options.authorities.is_empty() {
        return Ok(system_roots());
    }
    match pem::authorities(&options.authorities) {
        Ok(roots) => Ok(Arc::new(roots)),
        Err(why) => Err(ConnectError::Option("certificate_authority", why)),
    }
}

/// The certificate authorities that the system trusts, read from disk once.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    ROOTS
        .get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                crate::log::warn!(%error, "cannot read a certificate of the system");
            }
            let mut roots = RootCertStore::empty();
            // Some systems have certificates that rustls does not support; they are skipped.
            roots.add_parsable_certificates(found.certs);
            Arc::new(roots)
        })
        .clone()
}

/// Performs the TLS handshake on a connection.
pub(crate) async fn tls_connect(stream: Stream, connector: &TlsConnector) -> Result<Stream, Fault> {
    let Stream::Plain(socket) = stream else { return Ok(stream) };
    let handshake = async {
        let (config, name) = (connector.config.clone(), connector.name.clone());
        let tls = TlsStream::client(socket, config, name)?;
        tls.handshake().await?;
        std::io::Result::Ok(tls)
    };
    match handshake.await {
        Ok(tls) => Ok(Stream::Tls(Box::new(tls))),
        Err(error) => Err(Fault::Tls(error.to_string())),
    }
}

/// Accepts every certificate. Signatures are verified all the same, so that the server has the key of its certificate.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
