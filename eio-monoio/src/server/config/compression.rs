//! [`Config`]: compression of HTTP responses and WebSocket messages.

use super::Config;
use crate::deflate::PerMessageDeflate;

/// # Compression
///
/// Of HTTP responses and of WebSocket messages.
///
/// An attacker that can place chosen text next to a secret in one compressed message can learn the secret from the
/// lengths (BREACH, CRIME): do not mix them, or do not compress.
impl Config {
    /// Whether HTTP responses are compressed, by gzip or deflate as `Accept-Encoding` asks: responses to polling GETs,
    /// static files up to 256 KiB, and bodies that [`Handler::request`](crate::Handler::request) returns with a
    /// compressible type.
    ///
    /// **Default:** true. The first response in a coding allocates about 300 KiB on its worker.
    ///
    /// Engine.IO: `httpCompression`. python-engineio: `http_compression`.
    #[must_use]
    pub fn http_compression(mut self, compress: bool) -> Self {
        self.http_compression = compress;
        self
    }

    /// The smallest HTTP body that is compressed, in bytes.
    ///
    /// **Default:** 1,024 bytes. **Range:** 0 bytes to 2 GiB. A smaller body is sent as it is.
    ///
    /// Engine.IO: `httpCompression.threshold`. python-engineio: `compression_threshold`.
    #[must_use]
    pub fn compression_threshold(mut self, bytes: usize) -> Self {
        self.compression_threshold = bytes;
        self
    }

    /// Compression of WebSocket messages by permessage-deflate, with clients that offer it. [`PerMessageDeflate`] says
    /// how much memory it needs.
    ///
    /// **Default:** none, every offer is declined. **Range:** that of each option of [`PerMessageDeflate`].
    ///
    /// Engine.IO: `perMessageDeflate`, off there too.
    #[must_use]
    pub fn per_message_deflate(mut self, deflate: PerMessageDeflate) -> Self {
        self.per_message_deflate = Some(deflate);
        self
    }
}
