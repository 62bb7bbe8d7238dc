//! Without the feature `tls`: `https` and `wss` are refused.

use crate::client::error::{ConnectError, Fault};
use crate::client::tls::TlsOptions;
use crate::io::stream::Stream;

/// Cannot be constructed.
pub(crate) enum TlsConnector {}

impl TlsConnector {
    pub(crate) fn new(_: &TlsOptions, _: &str) -> Result<Self, ConnectError> {
        let why = "https and wss need the feature `tls` of this crate";
        Err(ConnectError::Option("url", why.into()))
    }
}

pub(crate) async fn tls_connect(_: Stream, connector: &TlsConnector) -> Result<Stream, Fault> {
    match *connector {}
}
