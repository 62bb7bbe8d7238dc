//! [`LinkTls`]: mutual TLS of the links between nodes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use crate::error::ConfigError;
use crate::io::stream::{Stream, TlsStream};
use crate::server::tls::{Identity, Tls};
use crate::worker::net::Socket;

/// The certificates of this node, and how it verifies those of others.
pub(crate) struct LinkTls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// The name in the certificate of every node.
    name: ServerName<'static>,
    pub(crate) timeout: Duration,
}

impl LinkTls {
    pub(crate) fn new(tls: Tls, name: &str) -> Result<Self, ConfigError> {
        let client = Arc::new(tls.to_peers()?);
        let timeout = tls.handshake_timeout;
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| ConfigError::new("cluster.tls", error.to_string()))?;
        Ok(Self { server: Identity::new(tls)?.current(), client, name, timeout })
    }

    /// The side that accepts, before its handshake.
    pub(crate) fn accept(&self, socket: Socket) -> io::Result<Stream> {
        let tls = TlsStream::server(socket, self.server.clone(), Vec::new())?;
        Ok(Stream::Tls(Box::new(tls)))
    }

    /// The side that dials, before its handshake.
    pub(crate) fn dial(&self, socket: Socket) -> io::Result<Stream> {
        let tls = TlsStream::client(socket, self.client.clone(), self.name.clone())?;
        Ok(Stream::Tls(Box::new(tls)))
    }
}
