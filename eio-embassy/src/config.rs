//! [`Config`]: what a client asks for.

use eio_core::http::{self, Url, WriteError};
use eio_core::session::client::ClientTiming;
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use eio_core::ws::handshake::Key;

use crate::buffers::SendBuffer;
use crate::error::Error;

/// Where to connect to, and how. Everything in it is borrowed: it can be a `const`.
///
/// ```
/// use eio_embassy::Config;
///
/// let config = Config::new("sensors.example:3000")
///     .path("/engine.io/")
///     .query("room=kitchen&key=0f3a")
///     .headers(&[("Authorization", "Bearer 5e93")]);
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) timing: ClientTiming,
}

impl<'a> Config<'a> {
    /// For the server at `host`, which is `name`, `name:port`, `address` or `address:port`: the value of the
    /// Host header. The path is `/engine.io/`.
    pub const fn new(host: &'a str) -> Self {
        let timing = ClientTiming {
            open_timeout: 20_000,
            upgrade_timeout: 10_000,
            // A device that closes wants to sleep; it does not wait as long as a server.
            close_timeout: 5_000,
        };
        Self { host, path: "/engine.io/", query: "", headers: &[], timing }
    }

    /// For a URL that was taken apart. Its scheme is the business of whoever makes the connection.
    pub const fn from_url(url: &Url<'a>) -> Self {
        let mut config = Self::new(url.authority);
        // "/" is what a URL without a path has; no Engine.IO server is there unless asked to be.
        if url.path.len() > 1 {
            config.path = url.path;
        }
        config.query = url.query;
        config
    }

    /// The path of the request, with the slash it ends in.
    #[must_use]
    pub const fn path(mut self, path: &'a str) -> Self {
        self.path = path;
        self
    }

    /// Further parameters of the query, percent-encoded and joined by `&`, for the application on the server.
    #[must_use]
    pub const fn query(mut self, query: &'a str) -> Self {
        self.query = query;
        self
    }

    /// Further headers of each request, names and values.
    #[must_use]
    pub const fn headers(mut self, headers: &'a [(&'a str, &'a str)]) -> Self {
        self.headers = headers;
        self
    }

    /// How long to wait for the server at the start (20 s), for an upgrade (10 s) and at the end (5 s). How
    /// long a silent server counts as alive is the server's to say.
    #[must_use]
    pub const fn timing(mut self, timing: ClientTiming) -> Self {
        self.timing = timing;
        self
    }

    /// The host and the port to dial, that of HTTP if none is given.
    pub(crate) fn address(&self) -> Result<(&'a str, u16), Error> {
        // Only the colon behind the brackets of an IPv6 address stands before a port.
        let (host, port) = match self.host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (self.host, Some(80)),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok((host, port.ok_or(Error::Request(WriteError::IllegalValue))?))
    }

    /// Writes the request that opens a WebSocket; of the session `sid`, if it has one already.
    pub(crate) fn websocket_request(
        &self,
        out: &mut SendBuffer<'_>,
        sid: Option<&Sid>,
        key: &Key,
    ) -> Result<(), WriteError> {
        self.head(out, "GET", Transport::WebSocket, sid)?
            .header("Connection", "Upgrade")?
            .header("Upgrade", "websocket")?
            .header("Sec-WebSocket-Version", "13")?
            .header("Sec-WebSocket-Key", key.as_str())?
            .end()
    }

    /// Writes the head of a polling request, of the session `sid` if there is one already: a GET, or a POST
    /// with a body of that many bytes.
    pub(crate) fn polling_request(
        &self,
        out: &mut SendBuffer<'_>,
        sid: Option<&Sid>,
        body: Option<usize>,
    ) -> Result<(), WriteError> {
        let Some(len) = body else {
            return self.head(out, "GET", Transport::Polling, sid)?.end();
        };
        self.head(out, "POST", Transport::Polling, sid)?
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
    ) -> Result<http::HeadWriter<'o, SendBuffer<'b>>, WriteError> {
        let (sid_is, sid) = sid.map_or(("", ""), |sid| ("&sid=", sid.as_str()));
        let and = if self.query.is_empty() { "" } else { "&" };
        let target =
            [self.path, "?EIO=4&transport=", transport.name(), sid_is, sid, and, self.query];
        let mut head = http::request_parts(out, method, &target)?.header("Host", self.host)?;
        for (name, value) in self.headers {
            head = head.header(name, value)?;
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_never_taken_from_inside_an_address() {
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
