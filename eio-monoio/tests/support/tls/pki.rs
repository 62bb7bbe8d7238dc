//! A certificate authority.

use std::path::PathBuf;
use std::sync::Arc;

use eio_monoio::Tls;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::support::temp_dir::TempDir;

/// An authority that certifies servers and clients.
pub(crate) struct Pki {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

pub(crate) type CertifiedKey = rcgen::CertifiedKey<KeyPair>;

impl Pki {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// The authority's own certificate.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn certify(&self, name: &str) -> CertifiedKey {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, name);
        let signing_key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&signing_key, &self.issuer).unwrap();
        CertifiedKey { cert, signing_key }
    }

    /// A server with a certificate for `name`; with `clients` it requires a certificate of its clients.
    pub(crate) fn server(&self, name: &str, clients: bool) -> ServerConfig {
        let certified = self.certify(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(self.roots().into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = certified.signing_key.serialize_der().try_into().unwrap();
        builder.with_single_cert(vec![certified.cert.der().clone()], key).unwrap()
    }

    /// A client that trusts this authority, and may have a certificate of its own.
    pub(crate) fn client(&self, own: Option<&CertifiedKey>) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let Some(own) = own else { return builder.with_no_client_auth() };
        let key = own.signing_key.serialize_der().try_into().unwrap();
        builder.with_client_auth_cert(vec![own.cert.der().clone()], key).unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }
}

/// Writes `certificate.pem` and `key.pem`.
pub(crate) fn write_identity(directory: &TempDir, own: &CertifiedKey) -> (PathBuf, PathBuf) {
    let certificate = directory.write("certificate.pem", own.cert.pem());
    (certificate, directory.write("key.pem", own.signing_key.serialize_pem()))
}

/// A server's identity for `127.0.0.1` in files, and its authority.
pub(crate) struct Identity {
    pub(crate) pki: Pki,
    pub(crate) directory: TempDir,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let (pki, directory) = (Pki::new(), TempDir::new());
        let (certificate, key) = write_identity(&directory, &pki.certify("127.0.0.1"));
        Self { pki, directory, certificate, key }
    }

    /// The options of a server with this identity.
    pub(crate) fn tls(&self) -> Tls {
        Tls::new(&self.certificate, &self.key)
    }
}
