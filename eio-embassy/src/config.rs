//! [`Config`]: the server's address, the request, and the timeouts of a client.

use eio_core::http::{self, Url, WriteError};
use eio_core::session::client::ClientTiming;
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use eio_core::ws::handshake::Key;
use embassy_time::Duration;

use crate::buffers::SendBuffer;
use crate::error::Error;
use crate::time::clamp_ms;

/// The server's address, the request, and the timeouts of a client. All of it is borrowed, so it can be a `const`.
///
/// ```
/// use eio_embassy::Config;
/// use embassy_time::Duration;
///
/// const CONFIG: Config<'_> = Config::new("sensors.example:3000")
///     .path("/engine.io/")
///     .query("room=kitchen&key=0f3a")
///     .headers(&[("Authorization", "Bearer 5e93")])
///     .open_timeout(Duration::from_secs(10));
/// # let _ = CONFIG;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) timing: ClientTiming,
}

/// # The server
impl<'a> Config<'a> {
    /// A client of the server at `host`, which is also the value of the Host header.
    ///
    /// **Range:** `name`, `name:port`, `address` or `address:port`; an IPv6 address in brackets. Without a port it is
    /// 80. Any other text is [`Error::Request`] when the client connects.
    pub const fn new(host: &'a str) -> Self {
        let timing = ClientTiming {
            open_timeout_ms: 20_000,
            upgrade_timeout_ms: 10_000,
            // A device that disconnects wants to sleep, so it does not wait as long as a server.
            close_timeout_ms: 5_000,
        };
        Self { host, path: "/engine.io/", query: "", headers: &[], timing }
    }

    /// A client of the server at `url`: its authority, its query, and its path unless that is `/`. The scheme is not
    /// used: the connector decides about TLS.
    ///
    /// ```
    /// use eio_embassy::{Config, Url};
    ///
    /// let url = Url::parse("http://192.0.2.2:3000/?room=kitchen")?;
    /// let config = Config::from_url(&url);
    /// # let _ = config;
    /// # Ok::<(), eio_core::http::UrlError>(())
    /// ```
    pub const fn from_url(url: &Url<'a>) -> Self {
        let mut config = Self::new(url.authority);
        // A URL without a path has "/", where no Engine.IO server is by default.
        if url.path.len() > 1 {
            config.path = url.path;
        }
        config.query = url.query;
        config
    }
}

/// # The request
///
/// Its head, with all of these, must fit the send buffer ([`Buffers`](crate::Buffers)); else connecting returns
/// [`Error::Request`] with [`Overflow`](WriteError::Overflow). A character that HTTP does not allow there is
/// [`IllegalValue`](WriteError::IllegalValue).
impl<'a> Config<'a> {
    /// The path of the request, with the trailing slash that the server expects.
    ///
    /// **Default:** `/engine.io/`. **Range:** a path of RFC 3986, percent-encoded.
    #[must_use]
    pub const fn path(mut self, path: &'a str) -> Self {
        self.path = path;
        self
    }

    /// Parameters for the application on the server, appended to those of Engine.IO.
    ///
    /// **Default:** none. **Range:** `name=value` pairs joined by `&`, percent-encoded.
    #[must_use]
    pub const fn query(mut self, query: &'a str) -> Self {
        self.query = query;
        self
    }

    /// Header fields of each request, as names and values.
    ///
    /// **Default:** none besides those of HTTP and Engine.IO. **Range:** field names and values of RFC 9110.
    #[must_use]
    pub const fn headers(mut self, headers: &'a [(&'a str, &'a str)]) -> Self {
        self.headers = headers;
        self
    }
}

/// # Timeouts
///
/// How long a silent server counts as alive is not an option: the server announces `pingInterval` and `pingTimeout`.
impl Config<'_> {
    /// Time from the request to the open packet. Establishing the connection has a timeout in the connector.
    ///
    /// **Default:** 20 s. **Range:** 1 ms to 49 days; durations beyond count as that limit. When it expires, connecting
    /// returns [`Timeout::Open`](crate::Timeout::Open).
    #[must_use]
    pub const fn open_timeout(mut self, timeout: Duration) -> Self {
        self.timing.open_timeout_ms = clamp_ms(timeout);
        self
    }

    /// Time from the open packet to the end of an upgrade. A server has a timeout of its own (10 s by default); a
    /// longer one here has no use.
    ///
    /// **Default:** 10 s. **Range:** 1 ms to 49 days; durations beyond count as that limit. When it expires,
    /// [`connect_and_upgrade`](crate::connect_and_upgrade) returns [`Error::UpgradeFailed`], and
    /// [`connect_any`](crate::connect_any) continues by polling.
    #[must_use]
    pub const fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.timing.upgrade_timeout_ms = clamp_ms(timeout);
        self
    }

    /// Time for the closing handshake of `disconnect`, with the messages that are still queued.
    ///
    /// **Default:** 5 s. **Range:** 1 ms to 49 days; durations beyond count as that limit. When it expires,
    /// `disconnect` returns [`Timeout::Close`](crate::Timeout::Close).
    #[must_use]
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.timing.close_timeout_ms = clamp_ms(timeout);
        self
    }
}

impl<'a> Config<'a> {
    /// The host and the port to connect to; without a port that of HTTP.
    pub(crate) fn address(&self) -> Result<(&'a str, u16), Error> {
        // Colons within the brackets of an IPv6 address do not precede a port.
        let (host, port) = match self.host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (self.host, Some(80)),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok((host, port.ok_or(Error::Request(WriteError::IllegalValue))?))
    }

    /// Writes the request that opens a WebSocket, for the session `sid` if it was opened by polling.
    pub(crate) fn websocket_request(
        &self,
        out: &mut SendBuffer<'_>,
        sid: Option<&Sid>,
        cookies: &str,
        key: &Key,
    ) -> Result<(), WriteError> {
        self.head(out, "GET", Transport::WebSocket, sid, cookies)?
            .header("Connection", "Upgrade")?
            .header("Upgrade", "websocket")?
            .header("Sec-WebSocket-Version", "13")?
            .header("Sec-WebSocket-Key", key.as_str())?
            .end()
    }

    /// Writes the head of a polling request, for the session `sid` if it is open: a GET, or a POST with a body of
    /// `body` bytes.
    pub(crate) fn polling_request(
        &self,
        out: &mut SendBuffer<'_>,
        sid: Option<&Sid>,
        cookies: &str,
        body: Option<usize>,
    ) -> Result<(), WriteError> {
        let Some(len) = body else {
            return self.head(out, "GET", Transport::Polling, sid, cookies)?.end();
        };
        self.head(out, "POST", Transport::Polling, sid, cookies)?
            .header("Content-Type", "text/plain;charset=UTF-8")?
            .number("Content-Length", len as u64)?
            .end()
    }

    fn head<'o, 'b>(
        &self,
        out: &'o mut SendBuffer<'b>,
        method: &str,
        transport: Transport,
        sid: Option<&Sid>,
        cookies: &str,
    ) -> Result<http::HeadWriter<'o, SendBuffer<'b>>, WriteError> {
        let (sid_is, sid) = sid.map_or(("", ""), |sid| ("&sid=", sid.as_str()));
        let and = if self.query.is_empty() { "" } else { "&" };
        let target =
            [self.path, "?EIO=4&transport=", transport.name(), sid_is, sid, and, self.query];
        let mut head = http::request_parts(out, method, &target)?.header("Host", self.host)?;
        if !cookies.is_empty() {
            return self.fields_with_cookies(head, cookies);
        }
        for (name, value) in self.headers {
            head = head.header(name, value)?;
        }
        Ok(head)
    }

    /// Writes the fields of the application and the cookies. Not inlined, so that a client without cookies does not contain
    /// it.
    #[inline(never)]
    fn fields_with_cookies<'o, 'b>(
        &self,
        mut head: http::HeadWriter<'o, SendBuffer<'b>>,
        mut cookies: &str,
    ) -> Result<http::HeadWriter<'o, SendBuffer<'b>>, WriteError> {
        for &(name, value) in self.headers {
            if name.eq_ignore_ascii_case("cookie") {
                // A request has at most one such field (RFC 6265 section 5.4).
                head = head.header_parts(name, &[value, "; ", core::mem::take(&mut cookies)])?;
            } else {
                head = head.header(name, value)?;
            }
        }
        if cookies.is_empty() { Ok(head) } else { head.header("Cookie", cookies) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_splits_host_and_port() {
        let address = |host| Config::new(host).address();
        assert_eq!(address("a"), Ok(("a", 80)));
        assert_eq!(address("a.b:3000"), Ok(("a.b", 3000)));
        assert_eq!(address("192.0.2.2:1"), Ok(("192.0.2.2", 1)));
        assert_eq!(address("[2001:db8::1]"), Ok(("2001:db8::1", 80)));
        assert_eq!(address("[2001:db8::1]:81"), Ok(("2001:db8::1", 81)));
        for bad in ["a:", "a:b", "a:65536", "a:-1"] {
            assert_eq!(address(bad), Err(Error::Request(WriteError::IllegalValue)), "{bad}");
        }
    }
}
