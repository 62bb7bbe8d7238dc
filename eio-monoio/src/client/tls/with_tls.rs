//! TLS of a client by rustls.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage, RootCertStore,
    SignatureScheme,
};

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
        } else if options.authorities.is_empty() {
            builder.with_root_certificates(system_roots())
        } else {
            let verifier = TrustGiven::new(options, provider)
                .map_err(|why| ConnectError::Option("certificate_authority", why))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
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
        Err(error) => Err(handshake_fault(&error)),
    }
}

fn handshake_fault(error: &std::io::Error) -> Fault {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        // The first byte is not that of a TLS record.
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Fault::PlainPort,
        Some(error) => Fault::Tls(error.to_string()),
        // The connection ended.
        None => Fault::Lost,
    }
}

/// Verifies a server's certificate by the given authorities, or accepts it if it is one of the given certificates.
///
/// `openssl req -x509` makes a certificate that is its own authority. A path ends at an authority and cannot begin with
/// one, so that the verifier of rustls refuses it as the certificate of a server, although it is trusted.
#[derive(Debug)]
struct TrustGiven {
    authorities: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl TrustGiven {
    fn new(options: &TlsOptions, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let roots = Arc::new(pem::authorities(&options.authorities)?);
        let builder = WebPkiServerVerifier::builder_with_provider(roots, provider);
        let authorities = builder.build().map_err(|error| error.to_string())?;
        let mut given = Vec::new();
        for pem in &options.authorities {
            given.extend(pem::chain(pem)?);
        }
        Ok(Self { authorities, given })
    }
}

impl ServerCertVerifier for TrustGiven {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.authorities.verify_server_cert(certificate, intermediates, name, ocsp, now);
        let Err(error) = verified else { return verified };
        // Dates and purposes of the certificate itself are verified before the path is built.
        let has_no_path = match &error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
            Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.to_string().contains("CaUsedAsEndEntity")
            }
            _ => false,
        };
        if !has_no_path || !self.given.contains(certificate) {
            return Err(error);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
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
