//! [`Config`]: every option, its default and its range.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eio_core::packet::Message;
use eio_core::payload::SEPARATOR;
use eio_core::session::Timing;
use eio_core::transport::{Transport, TransportSet};

use crate::deflate::PerMessageDeflate;
use crate::error::SendError;
use crate::line::Limits;
use crate::message::OwnedMessage;
use crate::metrics::Counters;
use crate::net::Driver;
use crate::web::cookie::Cookie;
use crate::web::cors::Cors;
use crate::web::proxy::{ForwardedBy, Trusted};

/// The options of a [`Server`](crate::Server). Values are checked when the server is bound; see [`ConfigError`].
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{Config, Cors};
///
/// let config = Config::new()
///     .ping_interval(Duration::from_secs(25))
///     .max_payload(1_000_000)
///     .cors(Cors::SameOrigin);
/// assert!(config.check().is_ok());
/// assert_eq!(
///     config.ping_interval(Duration::ZERO).check().unwrap_err().to_string(),
///     "ping_interval: 0ns is outside 10ms to 86400s",
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) ping_interval: Duration,
    pub(crate) ping_grace: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) upgrade_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) head_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) max_payload: usize,
    pub(crate) max_polling_packets: usize,
    pub(crate) max_head_size: usize,
    pub(crate) max_headers: usize,
    pub(crate) max_connections: Option<usize>,
    pub(crate) outbound_high_water: usize,
    pub(crate) inbound_high_water: usize,
    pub(crate) mailbox_high_water: usize,
    pub(crate) transports: TransportSet,
    pub(crate) allow_upgrades: bool,
    pub(crate) path: String,
    pub(crate) cors: Cors,
    pub(crate) cors_credentials: bool,
    pub(crate) cookie: Option<Cookie>,
    pub(crate) http_compression: bool,
    pub(crate) compression_threshold: usize,
    pub(crate) per_message_deflate: Option<PerMessageDeflate>,
    pub(crate) initial_packet: Option<OwnedMessage>,
    pub(crate) max_handshakes_per_second: Option<usize>,
    pub(crate) trusted_proxies: Vec<Result<Trusted, String>>,
    pub(crate) forwarded_by: ForwardedBy,
    pub(crate) dispatch: Dispatch,
    pub(crate) workers: Option<usize>,
    pub(crate) driver: Driver,
    pub(crate) backlog: u32,
    pub(crate) unix_socket_mode: Option<u32>,
    pub(crate) handle_signals: bool,
}

/// How the messages of one session reach [`Handler::message`](crate::Handler::message).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dispatch {
    /// One after the other: the next message when the future of the one before is done.
    #[default]
    InOrder,
    /// Each as a task of its own; order is kept only up to the handler's first await. This is
    /// python-engineio's `async_handlers=True`.
    Concurrent,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_millis(25_000),
            ping_grace: Duration::ZERO,
            ping_timeout: Duration::from_millis(20_000),
            upgrade_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(65),
            write_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(1),
            max_payload: 1_000_000,
            max_polling_packets: 16,
            max_head_size: 16 * 1024,
            max_headers: 64,
            max_connections: None,
            outbound_high_water: 1 << 20,
            inbound_high_water: 1 << 20,
            mailbox_high_water: 16 << 20,
            transports: TransportSet::ALL,
            allow_upgrades: true,
            path: "/engine.io/".into(),
            cors: Cors::SameOrigin,
            cors_credentials: true,
            cookie: None,
            http_compression: true,
            compression_threshold: 1024,
            per_message_deflate: None,
            initial_packet: None,
            max_handshakes_per_second: None,
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::XForwardedFor,
            dispatch: Dispatch::InOrder,
            workers: None,
            driver: Driver::Auto,
            backlog: 1024,
            unix_socket_mode: None,
            handle_signals: false,
        }
    }
}

/// Setters, each with its default and range. JS: engine.io's name; Py: python-engineio's, where they have one.
impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Time from the handshake, and then from each pong, to the next ping. 25 s; 10 ms to a day.
    /// JS `pingInterval`, Py `ping_interval`.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// By how much the interval that clients are told is longer than the one the server keeps: a ping that a slow
    /// link delays by no more than that is not missed. 0; to a day. Py the second part of `ping_interval`.
    #[must_use]
    pub fn ping_grace(mut self, grace: Duration) -> Self {
        self.ping_grace = grace;
        self
    }

    /// How long a peer has to answer a ping, from the moment it is due, before its session ends. 20 s; 10 ms
    /// to a day. JS `pingTimeout`, Py `ping_timeout`.
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// How long an upgrade may take before its WebSocket is closed; the session goes on over polling. 10 s;
    /// 10 ms to a day. JS `upgradeTimeout`.
    #[must_use]
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.upgrade_timeout = timeout;
        self
    }

    /// How long a peer has to take its leave: a polling client to fetch the close packet, a WebSocket to
    /// answer the closing handshake. 10 s; 10 ms to a day.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// How long [`Handler::connect`](crate::Handler::connect) and [`Handler::request`](crate::Handler::request)
    /// may take before the request is answered 503. 30 s; 10 ms to a day.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a connection has to send a whole request head, from being accepted or from the head's first
    /// byte; then it is answered 408 and closed. 10 s; 10 ms to a day.
    #[must_use]
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// How long a request body may take to arrive; then it is answered 408, the connection is closed and the
    /// session ends. 30 s; 10 ms to a day.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// How long a kept-alive connection may sit between two requests. 65 s; 10 ms to a day.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How long a peer may take to receive an HTTP response. 30 s; 10 ms to a day. A WebSocket that does not
    /// read ends by its heartbeat.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How long a shutdown waits for clients and handlers before it cuts them off. 10 s; 0 to a day.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// How long a shutdown goes on accepting connections for the sake of polling clients that are between two polls:
    /// the next one tells them. It ends sooner when no session is left. 1 s; 0 to a day.
    #[must_use]
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// The largest message or polling body taken, in bytes, announced as `maxPayload`; also where a polling
    /// response is cut. A larger POST is answered 413, a larger WebSocket message closed with 1009.
    /// 1,000,000; 1 to 2^31. JS `maxHttpBufferSize`, Py `max_http_buffer_size`.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// The most packets in one polling response; what is left rides in the next. 16, because stock Python
    /// clients refuse more; 1 to 100,000.
    #[must_use]
    pub fn max_polling_packets(mut self, packets: usize) -> Self {
        self.max_polling_packets = packets;
        self
    }

    /// The largest request head, in bytes; a larger one is answered 431. 16 KiB, as in Node; 256 to 1 MiB.
    #[must_use]
    pub fn max_head_size(mut self, bytes: usize) -> Self {
        self.max_head_size = bytes;
        self
    }

    /// The most header fields in a request; more are answered 431. 64; 1 to 128.
    #[must_use]
    pub fn max_headers(mut self, fields: usize) -> Self {
        self.max_headers = fields;
        self
    }

    /// The most connections of all workers together; one more is answered 503. By default what the descriptor
    /// limit leaves after a reserve of 64; 1 to 2^31.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Bytes queued for one session above which it counts as slow: nothing more is read from it,
    /// [`Socket::try_send`](crate::Socket::try_send) answers Full and [`Socket::send`](crate::Socket::send)
    /// waits. One message may overshoot. 1 MiB; 1 to 2^31.
    #[must_use]
    pub fn outbound_high_water(mut self, bytes: usize) -> Self {
        self.outbound_high_water = bytes;
        self
    }

    /// Bytes of messages that wait for a handler that is still busy, above which nothing more is read from
    /// the session. One message, or one polling body, may overshoot. With [`Dispatch::Concurrent`] it bounds
    /// the messages at work, each counting 512 bytes more than it has. 1 MiB; 1 to 2^31.
    #[must_use]
    pub fn inbound_high_water(mut self, bytes: usize) -> Self {
        self.inbound_high_water = bytes;
        self
    }

    /// Bytes of messages that wait for one core, sent by other threads and cores, above which it is sent no more:
    /// a [`Remote`](crate::Remote) answers [`Full`](crate::SendError::Full), and what a handler sends to sessions
    /// of other cores is dropped and logged. Each counts 64 bytes more than it has; one may overshoot, and as much
    /// again may be at work. 16 MiB; 1 to 2^31.
    #[must_use]
    pub fn mailbox_high_water(mut self, bytes: usize) -> Self {
        self.mailbox_high_water = bytes;
        self
    }

    /// Which transports are served. Both; at least one. JS and Py `transports`.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.transports = transports.into_iter().fold(TransportSet::EMPTY, TransportSet::with);
        self
    }

    /// Whether a polling session may become a WebSocket session; if not, `upgrades` is announced empty and an
    /// upgrade is refused. True. JS `allowUpgrades`, Py `allow_upgrades`.
    #[must_use]
    pub fn allow_upgrades(mut self, allow: bool) -> Self {
        self.allow_upgrades = allow;
        self
    }

    /// The path Engine.IO lives under, with or without its last slash; requests are served with and without.
    /// `/engine.io/`; begins with `/`, visible ASCII without `?`, `#` and `%`. JS `path`, Py `engineio_path`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Which origins a browser may call from. [`Cors::SameOrigin`]. JS `cors`, Py `cors_allowed_origins`.
    #[must_use]
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// Whether pages of other origins that may call may do so with the user's cookies. True.
    /// JS `cors.credentials`, Py `cors_credentials`.
    #[must_use]
    pub fn cors_credentials(mut self, allow: bool) -> Self {
        self.cors_credentials = allow;
        self
    }

    /// A cookie with the sid, set by the response to a polling handshake. None. JS and Py `cookie`.
    #[must_use]
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        self.cookie = Some(cookie);
        self
    }

    /// Whether HTTP responses are compressed (gzip or deflate, by the weights in `Accept-Encoding`) for
    /// clients that ask for it: to polling GETs, files and what [`Handler::request`](crate::Handler::request)
    /// answers with a type that shrinks. True; costs a worker about 300 KiB for each coding once it is asked
    /// for. JS `httpCompression`, Py `http_compression`.
    ///
    /// Whoever can make a page reflect chosen text next to a secret in one message can learn the secret from
    /// the lengths (BREACH): do not mix them, or turn this off.
    #[must_use]
    pub fn http_compression(mut self, compress: bool) -> Self {
        self.http_compression = compress;
        self
    }

    /// The smallest body that is compressed, in bytes. 1024; 0 to 2^31. JS `httpCompression.threshold`,
    /// Py `compression_threshold`.
    #[must_use]
    pub fn compression_threshold(mut self, bytes: usize) -> Self {
        self.compression_threshold = bytes;
        self
    }

    /// Compresses WebSocket messages for clients that can do so too, by permessage-deflate. None: the extension is
    /// declined. JS `perMessageDeflate`, off there too. What it costs is told at [`PerMessageDeflate`].
    #[must_use]
    pub fn per_message_deflate(mut self, deflate: PerMessageDeflate) -> Self {
        self.per_message_deflate = Some(deflate);
        self
    }

    /// A message for every new session, ahead of all others and in the same response as the handshake. None;
    /// text without U+001E, at most [`max_payload`](Self::max_payload) bytes. JS `initialPacket`. There are
    /// clients that cannot read a handshake with more in it.
    #[must_use]
    pub fn initial_packet<'m>(mut self, message: impl Into<Message<'m>>) -> Self {
        self.initial_packet = Some(message.into().into());
        self
    }

    /// The most new sessions in one second, of all workers together, by the clock's seconds; one more is
    /// answered 503 with `Retry-After: 1`, before the application is asked. Unlimited; 1 to 2^31.
    #[must_use]
    pub fn max_handshakes_per_second(mut self, handshakes: usize) -> Self {
        self.max_handshakes_per_second = Some(handshakes);
        self
    }

    /// Proxies whose word about the client's address is believed: each an address (`10.0.0.7`), a network
    /// (`10.0.0.0/8`) or `unix` for whoever connects to a Unix-domain socket. None. The client is the nearest
    /// hop that is not one of them.
    #[must_use]
    pub fn trusted_proxies<S: AsRef<str>>(mut self, proxies: impl IntoIterator<Item = S>) -> Self {
        self.trusted_proxies = proxies.into_iter().map(|proxy| proxy.as_ref().parse()).collect();
        self
    }

    /// In which header those proxies say it. [`ForwardedBy::XForwardedFor`].
    #[must_use]
    pub fn forwarded_by(mut self, header: ForwardedBy) -> Self {
        self.forwarded_by = header;
        self
    }

    /// How messages reach the handler. [`Dispatch::InOrder`]. Py `async_handlers`.
    #[must_use]
    pub fn dispatch(mut self, dispatch: Dispatch) -> Self {
        self.dispatch = dispatch;
        self
    }

    /// Threads, each with its own listener, runtime and share of the sessions. The machine's cores; 1 to 1024.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Which kernel interface carries the I/O. [`Driver::Auto`].
    #[must_use]
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// How many connections the kernel holds for one worker before they are accepted. 1024; 1 to 65,535.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Who may connect to the socket that [`Server::bind_unix`](crate::Server::bind_unix) makes: its permissions, such
    /// as `0o660`. By default what the umask leaves; 0 to `0o777`.
    #[must_use]
    pub fn unix_socket_mode(mut self, mode: u32) -> Self {
        self.unix_socket_mode = Some(mode);
        self
    }

    /// Whether SIGINT and SIGTERM shut the server down; a second one ends the process at once. False for a
    /// [`Server`](crate::Server), true for [`serve`](crate::serve).
    #[must_use]
    pub fn handle_signals(mut self, handle: bool) -> Self {
        self.handle_signals = handle;
        self
    }

    /// Checks every value, as [`Server::bind`](crate::Server::bind) does.
    ///
    /// # Errors
    /// The first option that is outside its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (option, value, least) in [
            ("ping_interval", self.ping_interval, SHORTEST),
            ("ping_timeout", self.ping_timeout, SHORTEST),
            ("upgrade_timeout", self.upgrade_timeout, SHORTEST),
            ("close_timeout", self.close_timeout, SHORTEST),
            ("connect_timeout", self.connect_timeout, SHORTEST),
            ("head_timeout", self.head_timeout, SHORTEST),
            ("body_timeout", self.body_timeout, SHORTEST),
            ("idle_timeout", self.idle_timeout, SHORTEST),
            ("write_timeout", self.write_timeout, SHORTEST),
            ("shutdown_timeout", self.shutdown_timeout, Duration::ZERO),
            ("shutdown_grace", self.shutdown_grace, Duration::ZERO),
            ("ping_grace", self.ping_grace, Duration::ZERO),
        ] {
            check_range(option, value, least)?;
        }
        const MOST: usize = 1 << 31;
        for (option, value, least, most) in [
            ("max_payload", self.max_payload, 1, MOST),
            ("max_polling_packets", self.max_polling_packets, 1, 100_000),
            ("max_head_size", self.max_head_size, 256, 1 << 20),
            ("max_headers", self.max_headers, 1, MAX_HEADERS),
            ("max_connections", self.max_connections.unwrap_or(1), 1, MOST),
            ("outbound_high_water", self.outbound_high_water, 1, MOST),
            ("inbound_high_water", self.inbound_high_water, 1, MOST),
            ("mailbox_high_water", self.mailbox_high_water, 1, MOST),
            ("compression_threshold", self.compression_threshold, 0, MOST),
            ("max_handshakes_per_second", self.max_handshakes_per_second.unwrap_or(1), 1, MOST),
            ("workers", self.workers.unwrap_or(1), 1, 1024),
            ("backlog", self.backlog as usize, 1, 65_535),
        ] {
            if value < least || value > most {
                return Err(ConfigError::new(
                    option,
                    format!("{value} is outside {least} to {most}"),
                ));
            }
        }
        if let Some(mode) = self.unix_socket_mode.filter(|mode| *mode > 0o777) {
            let problem = format!("{mode:#o} is outside 0 to 0o777");
            return Err(ConfigError::new("unix_socket_mode", problem));
        }
        if self.transports.is_empty() {
            return Err(ConfigError::new(
                "transports",
                "none is left; name polling, websocket or both".into(),
            ));
        }
        let legal = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'%');
        if !self.path.starts_with('/') || !self.path.bytes().all(legal) {
            let rule = "must begin with / and be visible ASCII without ?, # and %";
            return Err(ConfigError::new("path", rule.into()));
        }
        self.cors.check().map_err(|rule| ConfigError::new("cors", rule))?;
        if let Some(cookie) = &self.cookie {
            cookie.check().map_err(|rule| ConfigError::new("cookie", rule))?;
        }
        if let Some(deflate) = &self.per_message_deflate {
            deflate.check().map_err(|rule| ConfigError::new("per_message_deflate", rule))?;
        }
        if let Some(wrong) = self.trusted_proxies.iter().find_map(|proxy| proxy.as_ref().err()) {
            return Err(ConfigError::new("trusted_proxies", wrong.clone()));
        }
        self.check_initial_packet().map_err(|rule| ConfigError::new("initial_packet", rule))
    }

    fn check_initial_packet(&self) -> Result<(), String> {
        let Some(message) = self.initial_packet.as_ref().map(OwnedMessage::borrow) else {
            return Ok(());
        };
        if message.len() > self.max_payload {
            return Err(format!("{} bytes are more than max_payload", message.len()));
        }
        match message {
            Message::Text(text) if text.as_bytes().contains(&SEPARATOR) => {
                Err(SendError::Separator.to_string())
            }
            _ => Ok(()),
        }
    }

    /// The networks whose word is believed.
    pub(crate) fn trusted(&self) -> Vec<Trusted> {
        self.trusted_proxies.iter().flatten().copied().collect()
    }

    pub(crate) fn timing(&self) -> Timing {
        Timing {
            ping_interval_ms: millis(self.ping_interval),
            ping_timeout_ms: millis(self.ping_timeout),
            upgrade_timeout_ms: millis(self.upgrade_timeout),
            close_timeout_ms: millis(self.close_timeout),
        }
    }

    pub(crate) fn limits(&self, counters: Arc<Counters>) -> Limits {
        Limits {
            write_timeout: millis(self.write_timeout),
            close_timeout: millis(self.close_timeout),
            high_water: self.outbound_high_water,
            linger: self.max_payload.saturating_mul(4).max(1 << 20),
            counters: Some(counters),
        }
    }
}

const SHORTEST: Duration = Duration::from_millis(10);

/// Checks a time that is an option elsewhere.
#[cfg(feature = "tls")]
pub(crate) fn check_time(option: &'static str, value: Duration) -> Result<(), ConfigError> {
    check_range(option, value, SHORTEST)
}

fn check_range(option: &'static str, value: Duration, least: Duration) -> Result<(), ConfigError> {
    const DAY: Duration = Duration::from_secs(86_400);
    if (least..=DAY).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(option, format!("{value:?} is outside {least:?} to {DAY:?}")))
}

/// The slots a parsed head has room for: the upper bound of `max_headers`.
pub(crate) const MAX_HEADERS: usize = 128;

/// Whole milliseconds; every checked duration fits.
pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// An option outside its range: names the option and the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    option: &'static str,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(option: &'static str, problem: String) -> Self {
        Self { option, problem }
    }

    /// The option's name, as the setter is called.
    pub fn option(&self) -> &'static str {
        self.option
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option, self.problem)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_in_range() {
        assert_eq!(Config::new().check(), Ok(()));
    }

    #[test]
    fn an_option_out_of_range_is_named() {
        let deflate = |deflate| Config::new().per_message_deflate(deflate);
        let day_and_more = Duration::from_secs(86_401);
        for (config, option) in [
            (Config::new().ping_interval(Duration::ZERO), "ping_interval"),
            (Config::new().ping_timeout(day_and_more), "ping_timeout"),
            (Config::new().ping_grace(day_and_more), "ping_grace"),
            (Config::new().upgrade_timeout(Duration::ZERO), "upgrade_timeout"),
            (Config::new().close_timeout(Duration::ZERO), "close_timeout"),
            (Config::new().connect_timeout(Duration::ZERO), "connect_timeout"),
            (Config::new().head_timeout(Duration::ZERO), "head_timeout"),
            (Config::new().body_timeout(Duration::ZERO), "body_timeout"),
            (Config::new().idle_timeout(Duration::ZERO), "idle_timeout"),
            (Config::new().write_timeout(Duration::ZERO), "write_timeout"),
            (Config::new().shutdown_timeout(day_and_more), "shutdown_timeout"),
            (Config::new().shutdown_grace(day_and_more), "shutdown_grace"),
            (Config::new().max_payload(0), "max_payload"),
            (Config::new().max_polling_packets(0), "max_polling_packets"),
            (Config::new().max_head_size(255), "max_head_size"),
            (Config::new().max_headers(129), "max_headers"),
            (Config::new().max_connections(0), "max_connections"),
            (Config::new().outbound_high_water(0), "outbound_high_water"),
            (Config::new().inbound_high_water(0), "inbound_high_water"),
            (Config::new().mailbox_high_water(0), "mailbox_high_water"),
            (Config::new().workers(0), "workers"),
            (Config::new().backlog(0), "backlog"),
            (Config::new().unix_socket_mode(0o1000), "unix_socket_mode"),
            (Config::new().transports([]), "transports"),
            (Config::new().path("engine.io"), "path"),
            (Config::new().path("/a b"), "path"),
            (Config::new().cors(Cors::origins(["no scheme"])), "cors"),
            (Config::new().cookie(Cookie::new("a b")), "cookie"),
            (Config::new().compression_threshold((1 << 31) + 1), "compression_threshold"),
            (deflate(PerMessageDeflate::new().threshold((1 << 31) + 1)), "per_message_deflate"),
            (deflate(PerMessageDeflate::new().server_max_window_bits(8)), "per_message_deflate"),
            (deflate(PerMessageDeflate::new().client_max_window_bits(16)), "per_message_deflate"),
            (Config::new().initial_packet("a\u{1e}b"), "initial_packet"),
            (Config::new().max_payload(2).initial_packet("abc"), "initial_packet"),
            (Config::new().max_handshakes_per_second(0), "max_handshakes_per_second"),
            (Config::new().trusted_proxies(["10.0.0.0/8", "localhost"]), "trusted_proxies"),
        ] {
            assert_eq!(config.check().unwrap_err().option(), option);
        }
    }
}
