//! TLS of a client by rustls: the certificates it trusts and its own.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::client::error::{ConnectError, Fault};
use crate::client::tls::TlsOptions;
use crate::io::pem;
use crate::io::stream::{Stream, TlsStream};

/// What a TLS connection is begun with.
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Trust {
    /// # Errors
    /// What cannot be used, and why.
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

/// Read once: they are many, and on disk.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    ROOTS
        .get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "some of the system's certificates cannot be read");
            }
            let mut roots = RootCertStore::empty();
            // A system has certificates that no verifier takes any more.
            roots.add_parsable_certificates(found.certs);
            Arc::new(roots)
        })
        .clone()
}

/// Puts TLS on a connection.
pub(crate) async fn secure(stream: Stream, trust: &Trust) -> Result<Stream, Fault> {
    let Stream::Plain(socket) = stream else { return Ok(stream) };
    let agreed = async {
        let tls = TlsStream::client(socket, trust.config.clone(), trust.name.clone())?;
        tls.handshake().await?;
        std::io::Result::Ok(tls)
    };
    match agreed.await {
        Ok(tls) => Ok(Stream::Tls(Box::new(tls))),
        Err(error) => Err(Fault::Tls(error.to_string())),
    }
}

/// Takes every certificate. Signatures are checked all the same: whoever it is, it is one party.
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
