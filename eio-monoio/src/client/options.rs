//! [`Options`]: the options of a client, their defaults and their ranges.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use eio_core::transport::Transport;

use crate::client::error::ConnectError;
use crate::client::tls::TlsOptions;
use crate::deflate::PerMessageDeflate;
use crate::range::{self, SIZE, TIMEOUT};

/// The options of a client as the application set them; see [`Connect`](crate::client::Connect).
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) url: String,
    pub(crate) path: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timestamp: Option<String>,
    pub(crate) transports: Vec<Transport>,
    pub(crate) upgrade: bool,
    pub(crate) remember_upgrade: bool,
    pub(crate) try_all_transports: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) open_timeout: Duration,
    pub(crate) upgrade_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) max_payload: usize,
    pub(crate) separator_over_websocket: bool,
    pub(crate) outbound_high_water: usize,
    pub(crate) inbound_high_water: usize,
    pub(crate) per_message_deflate: Option<PerMessageDeflate>,
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) proxy: Option<String>,
    pub(crate) proxy_protocol: Option<ProxySource>,
    pub(crate) tls: TlsOptions,
    pub(crate) handle_sigint: bool,
}

/// The client that a [header of the PROXY protocol](crate::client::Connect::proxy_protocol) names.
///
/// ```
/// use eio_monoio::client::{Client, ProxySource};
///
/// // A gateway that connects for this client.
/// let source = ProxySource::Client("192.0.2.1:56324".parse().unwrap());
/// let connect = Client::connect("http://10.0.0.7:3000").proxy_protocol(source);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxySource {
    /// The client with this address.
    Client(SocketAddr),
    /// This program itself (`LOCAL`), for example to check the server's health.
    Local,
}

/// Linux refuses other values of TCP_KEEPIDLE, which has whole seconds.
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);

impl Options {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            path: None,
            headers: Vec::new(),
            timestamp: Some("t".into()),
            transports: vec![Transport::Polling, Transport::WebSocket],
            upgrade: true,
            remember_upgrade: false,
            try_all_transports: false,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(20),
            open_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(10),
            max_payload: 16 << 20,
            separator_over_websocket: false,
            outbound_high_water: 1 << 20,
            inbound_high_water: 1 << 20,
            per_message_deflate: None,
            nodelay: true,
            keepalive: None,
            proxy: None,
            proxy_protocol: None,
            tls: TlsOptions::default(),
            handle_sigint: false,
        }
    }

    /// Checks the values that [`Settings`](crate::client::settings::Settings) does not parse.
    ///
    /// # Errors
    /// The first option that is outside its range, and the range.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let check = |option, result: Result<(), String>| {
            result.map_err(|problem| ConnectError::Option(option, problem))
        };
        for (option, value) in [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("open_timeout", self.open_timeout),
            ("upgrade_timeout", self.upgrade_timeout),
            ("close_timeout", self.close_timeout),
        ] {
            check(option, range::check(value, TIMEOUT))?;
        }
        for (option, value) in [
            ("max_payload", self.max_payload),
            ("outbound_high_water", self.outbound_high_water),
            ("inbound_high_water", self.inbound_high_water),
        ] {
            check(option, range::check(value, SIZE))?;
        }
        let keepalive = self.keepalive;
        check("keepalive", keepalive.map_or(Ok(()), |time| range::check(time, KEEPALIVE)))?;
        let deflate = self.per_message_deflate.as_ref();
        check("per_message_deflate", deflate.map_or(Ok(()), |deflate| deflate.check()))?;
        check("timestamp", self.check_timestamp())?;
        if self.proxy_protocol.is_some() && self.proxy.is_some() {
            let problem = "cannot be combined with proxy, which would receive the header";
            return Err(ConnectError::Option("proxy_protocol", problem.into()));
        }
        if self.transports.is_empty() {
            let problem = "the list is empty; add polling, websocket or both";
            return Err(ConnectError::Option("transports", problem.into()));
        }
        Ok(())
    }

    /// The name becomes a part of the request target.
    fn check_timestamp(&self) -> Result<(), String> {
        let Some(name) = &self.timestamp else { return Ok(()) };
        let legal = |b: u8| b.is_ascii_graphic() && !matches!(b, b'&' | b'=' | b'#');
        if name.is_empty() || !name.bytes().all(legal) {
            return Err("must be visible ASCII without &, = and #".into());
        }
        if is_protocol_parameter(name) {
            return Err(format!("{name} is a parameter of the protocol"));
        }
        Ok(())
    }
}

/// Whether the protocol defines this key of the query.
pub(crate) fn is_protocol_parameter(name: &str) -> bool {
    matches!(name, "EIO" | "transport" | "sid")
}
