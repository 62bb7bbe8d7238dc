//! [`Config`]: the options of a server and their defaults. Each group of setters has a file.

// The order is that of the groups in the documentation; rustfmt sorts modules without blank lines between them.
mod heartbeat;

mod sessions;

mod http;

mod limits;

mod shares;

mod origins;

mod compression;

mod runtime;

mod shutdown;

mod observability;

mod check;

mod derived;

use std::time::Duration;

use eio_core::transport::TransportSet;

use crate::deflate::PerMessageDeflate;
use crate::message::OwnedMessage;
use crate::web::cookie::Cookie;
use crate::web::cors::Cors;
use crate::web::proxy::{ForwardedBy, ProxyProtocol, Trusted};
use crate::worker::net::Driver;
use crate::worker::thread_pool::DEFAULT_THREADS;

/// The options of a [`Server`](crate::Server).
///
/// [`Server::bind`](crate::Server::bind) checks every value; a [`ConfigError`](crate::ConfigError) names the first
/// option that is outside its range, and the range. Where engine.io or python-engineio have the option, its
/// documentation gives their name for it.
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
    pub(crate) transports: TransportSet,
    pub(crate) allow_upgrades: bool,
    pub(crate) upgrade_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) initial_packet: Option<OwnedMessage>,
    pub(crate) separator_over_websocket: bool,
    pub(crate) dispatch: Dispatch,
    pub(crate) handler_grace: Duration,
    pub(crate) tag: Option<String>,
    pub(crate) keep_request: bool,
    pub(crate) path: String,
    pub(crate) head_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) max_head_size: usize,
    pub(crate) max_headers: usize,
    pub(crate) max_payload: usize,
    pub(crate) max_polling_packets: usize,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_handshakes_per_second: Option<usize>,
    pub(crate) max_connections_per_address: Option<usize>,
    pub(crate) max_handshakes_per_address: Option<usize>,
    pub(crate) address_table_bytes: usize,
    pub(crate) refused_networks: Vec<Result<Trusted, String>>,
    pub(crate) outbound_high_water: usize,
    pub(crate) inbound_high_water: usize,
    pub(crate) mailbox_high_water: usize,
    pub(crate) memory_budget: Option<usize>,
    pub(crate) send_buffer_size: Option<usize>,
    pub(crate) cors: Cors,
    pub(crate) cors_credentials: bool,
    pub(crate) cookie: Option<Cookie>,
    pub(crate) trusted_proxies: Vec<Result<Trusted, String>>,
    pub(crate) forwarded_by: ForwardedBy,
    pub(crate) proxy_protocol: ProxyProtocol,
    pub(crate) http_compression: bool,
    pub(crate) compression_threshold: usize,
    pub(crate) per_message_deflate: Option<PerMessageDeflate>,
    pub(crate) workers: Option<usize>,
    pub(crate) driver: Driver,
    pub(crate) blocking_threads: usize,
    pub(crate) backlog: u32,
    pub(crate) defer_accept: bool,
    pub(crate) share_port: bool,
    pub(crate) bind_timeout: Duration,
    pub(crate) unix_socket_mode: Option<u32>,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) drain_wait: Duration,
    pub(crate) drain_time: Duration,
    pub(crate) handle_signals: bool,
    pub(crate) signal_window: Duration,
    pub(crate) drain_on_signal: bool,
    pub(crate) reload_on_hangup: bool,
    pub(crate) time_messages: usize,
    pub(crate) lag_interval: Duration,
    pub(crate) lag_warning: Duration,
}

/// How the messages of one session reach [`Handler::message`](crate::Handler::message).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dispatch {
    /// One after the other: a message is passed on when the future of the previous one is complete.
    #[default]
    InOrder,
    /// Each in a task of its own. Order is kept only up to the handler's first await.
    Concurrent,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_millis(25_000),
            ping_grace: Duration::ZERO,
            ping_timeout: Duration::from_millis(20_000),
            transports: TransportSet::ALL,
            allow_upgrades: true,
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(10),
            initial_packet: None,
            separator_over_websocket: false,
            dispatch: Dispatch::InOrder,
            handler_grace: Duration::from_secs(5),
            tag: None,
            keep_request: false,
            path: "/engine.io/".into(),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(65),
            write_timeout: Duration::from_secs(30),
            max_head_size: 16 * 1024,
            max_headers: 100,
            max_payload: 1_000_000,
            max_polling_packets: 16,
            max_connections: None,
            max_handshakes_per_second: None,
            max_connections_per_address: None,
            max_handshakes_per_address: None,
            address_table_bytes: 1 << 20,
            refused_networks: Vec::new(),
            outbound_high_water: 1 << 20,
            inbound_high_water: 1 << 20,
            mailbox_high_water: 16 << 20,
            memory_budget: None,
            send_buffer_size: None,
            cors: Cors::SameOrigin,
            cors_credentials: true,
            cookie: None,
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::XForwardedFor,
            proxy_protocol: ProxyProtocol::Off,
            http_compression: true,
            compression_threshold: 1024,
            per_message_deflate: None,
            workers: None,
            driver: Driver::Auto,
            blocking_threads: DEFAULT_THREADS,
            backlog: 1024,
            defer_accept: true,
            share_port: false,
            bind_timeout: Duration::from_secs(5),
            unix_socket_mode: None,
            shutdown_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(1),
            drain_wait: Duration::ZERO,
            drain_time: Duration::from_secs(5),
            handle_signals: false,
            signal_window: Duration::from_secs(1),
            drain_on_signal: false,
            reload_on_hangup: true,
            time_messages: 64,
            lag_interval: Duration::from_secs(1),
            lag_warning: Duration::from_secs(1),
        }
    }
}

/// # Defaults
impl Config {
    /// The default of every option.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The number of slots for the header fields of a request, which is the upper bound of `max_headers`.
pub(crate) const MAX_HEADERS: usize = 128;
