//! TLS of the generator's connections: TLS 1.3 with one cipher suite and one key exchange, so that every server does
//! the same cryptography.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore, version};

use crate::args::Args;

/// The options of all connections of a run, and a count of its handshakes.
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    pub(crate) full: u64,
    pub(crate) resumed: u64,
}

impl Connector {
    pub(crate) fn new(args: &Args) -> Result<Self, String> {
        let file = args.ca.as_ref().ok_or("--ca is missing: the certificate of the server")?;
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(file).map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        let mut provider = default_provider();
        provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![kx_group::X25519];
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| error.to_string())?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.resumption = if args.resume {
            Resumption::store(Arc::<Tickets>::default())
        } else {
            Resumption::disabled()
        };
        let name = ServerName::from(std::net::IpAddr::from(*args.url.address.ip()));
        Ok(Self { config: Arc::new(config), name, full: 0, resumed: 0 })
    }

    pub(crate) fn session(&self) -> Result<Box<ClientConnection>, rustls::Error> {
        let mut session = ClientConnection::new(self.config.clone(), self.name.clone())?;
        session.set_buffer_limit(None);
        Ok(Box::new(session))
    }

    /// Counts a completed handshake.
    pub(crate) fn completed(&mut self, session: &ClientConnection) {
        match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => self.resumed += 1,
            _ => self.full += 1,
        }
    }
}

/// The tickets of the one server: the store of rustls keeps eight, and more connections begin at a time.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        const MOST: usize = 4096;
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() < MOST {
            tickets.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    // There is no TLS 1.2 here.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}
