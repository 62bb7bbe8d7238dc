//! TLS without the feature `tls`: refused.

use crate::client::error::{ConnectError, Fault};
use crate::client::tls::TlsOptions;
use crate::io::stream::Stream;

/// There is none without the feature `tls`.
pub(crate) struct Trust;

impl Trust {
    pub(crate) fn new(_: &TlsOptions, _: &str) -> Result<Self, ConnectError> {
        let why = "https and wss need the feature `tls` of this crate";
        Err(ConnectError::Option("url", why.into()))
    }
}

pub(crate) async fn secure(stream: Stream, _: &Trust) -> Result<Stream, Fault> {
    Ok(stream)
}
