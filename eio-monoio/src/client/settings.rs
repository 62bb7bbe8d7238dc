//! [`Settings`]: the checked options of a client, and the parts that all its requests have in common.

use std::cell::Cell;
use std::rc::Rc;

use eio_core::http::{Scheme, Url, header_line};
use eio_core::session::client::ClientTiming;
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use eio_core::ws::Role;
use eio_core::ws::deflate::Terms;

use crate::client::error::ConnectError;
use crate::client::fields::{Fields, basic};
use crate::client::options::{Options, is_protocol_parameter};
use crate::client::tls::TlsConnector;
use crate::deflate::{Inward, Outward, PerMessageDeflate};
use crate::io::limits::Limits;
use crate::message::OutBuf;
use crate::worker::context::WorkerContext;
use crate::worker::deadline::millis;

/// Checked options, and what they mean for requests.
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) server: HostPort,
    pub(crate) proxy: Option<Proxy>,
    /// The configuration of TLS, if the URL's scheme asks for TLS.
    pub(crate) tls: Option<TlsConnector>,
    pub(crate) limits: Limits,
    pub(crate) fields: Fields,
    /// `http://` and the authority of the URL, if a proxy forwards polling requests: RFC 9112 section 3.2.2.
    proxied_origin: Option<String>,
    /// The path and the application's part of the query; ends with `?` or `&`.
    target: String,
    /// Whether the last upgrade succeeded: [`remember_upgrade`](crate::client::Connect::remember_upgrade).
    pub(crate) upgraded_before: Rc<Cell<bool>>,
    /// The number of timestamped requests: two of one millisecond must differ, or a cache takes them for one.
    requests: Cell<u64>,
}

/// A host and a port to connect to.
#[derive(Clone, Debug)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl HostPort {
    fn of(url: &Url<'_>) -> Self {
        Self { host: url.host.into(), port: url.port }
    }

    /// `host:port` for a CONNECT request.
    pub(crate) fn authority(&self) -> String {
        let v6 = self.host.contains(':');
        let (open, close) = if v6 { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}", self.host, self.port)
    }
}

/// A proxy: it forwards polling requests without TLS, and tunnels all other connections by CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) place: HostPort,
    /// The line of `Proxy-Authorization`, if the URL has a user.
    pub(crate) lines: Vec<u8>,
}

impl Settings {
    /// # Errors
    /// [`ConnectError::Url`] and [`ConnectError::Option`].
    pub(crate) fn new(options: Options) -> Result<Self, ConnectError> {
        let url = Url::parse(&options.url)?;
        options.check()?;
        let mut target = match &options.path {
            Some(path) => absolute(path),
            None if url.path == "/" => "/engine.io/".into(),
            None => url.path.into(),
        };
        // It becomes a part of the request line: this is the only check.
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')) {
            let problem = "must be visible ASCII without ? and #";
            return Err(ConnectError::Option("path", problem.into()));
        }
        target.push('?');
        for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !is_protocol_pair(pair))
        {
            target.push_str(pair);
            target.push('&');
        }
        let fields = Fields::new(&options, &url)?;
        let proxy = match &options.proxy {
            Some(text) => Some(proxy(text)?),
            None => None,
        };
        let tls = url.secure().then(|| TlsConnector::new(&options.tls, url.host)).transpose()?;
        Ok(Self {
            server: HostPort::of(&url),
            limits: Limits {
                write_timeout: millis(options.request_timeout),
                close_timeout: millis(options.close_timeout),
                high_water: options.outbound_high_water,
                linger: 0,
                budget: usize::MAX,
                counters: None,
            },
            proxied_origin: (proxy.is_some() && tls.is_none())
                .then(|| format!("http://{}", url.authority)),
            proxy,
            tls,
            fields,
            target,
            upgraded_before: Rc::default(),
            requests: Cell::new(0),
            options,
        })
    }

    /// The settings of a redirected attempt, which shares the memory of upgrades.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub(crate) fn redirected(&self, options: Options) -> Result<Self, ConnectError> {
        let upgraded_before = self.upgraded_before.clone();
        Ok(Self { upgraded_before, ..Self::new(options)? })
    }

    pub(crate) fn timing(&self) -> ClientTiming {
        ClientTiming {
            open_timeout_ms: millis(self.options.open_timeout),
            upgrade_timeout_ms: millis(self.options.upgrade_timeout),
            close_timeout_ms: millis(self.options.close_timeout),
        }
    }

    /// The request target for a lane of the session `sid`, or for a handshake.
    pub(crate) fn target(
        &self,
        transport: Transport,
        sid: Option<&Sid>,
        timestamped: bool,
    ) -> String {
        let mut target = format!("{}EIO=4&transport={transport}", self.target);
        if let (Some(param), true) = (&self.options.timestamp, timestamped) {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let count = self.requests.replace(self.requests.get() + 1);
            let millis = now.unwrap_or_default().as_millis();
            target.push_str(&format!("&{param}={millis:x}.{count:x}"));
        }
        if let Some(sid) = sid {
            target.push_str("&sid=");
            target.push_str(sid.as_str());
        }
        target
    }

    /// The path of every request.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The proxy that forwards polling requests, with the origin that precedes their target.
    pub(crate) fn forwarding_proxy(&self) -> Option<(&Proxy, &str)> {
        self.proxy.as_ref().zip(self.proxied_origin.as_deref())
    }

    /// The request target of a WebSocket without Engine.IO: that of the URL, with the path of the options if set.
    pub(crate) fn plain_target(&self) -> Result<String, ConnectError> {
        let url = Url::parse(&self.options.url)?;
        let path = self.options.path.as_deref().map_or_else(|| url.path.into(), absolute);
        let mark = if url.query.is_empty() { "" } else { "?" };
        Ok(format!("{path}{mark}{}", url.query))
    }

    /// The two directions of a compressed WebSocket.
    pub(crate) fn deflate(
        &self,
        worker: &Rc<WorkerContext>,
        terms: Option<Terms>,
    ) -> (Option<Box<Outward>>, Option<Box<Inward>>) {
        let both = self.options.per_message_deflate.as_ref().zip(terms);
        let begin = |(wishes, terms): (&PerMessageDeflate, Terms)| {
            wishes.begin(worker, Role::Client, &terms, self.options.max_payload)
        };
        both.map(begin).unzip()
    }
}

/// Adds the slashes that python-engineio adds: `engine.io` means `/engine.io/`.
fn absolute(path: &str) -> String {
    match path {
        "" => "/".into(),
        _ if path.starts_with('/') => path.into(),
        _ if path.ends_with('/') => format!("/{path}"),
        _ => format!("/{path}/"),
    }
}

/// Whether a pair of the query has a key that the protocol defines.
fn is_protocol_pair(pair: &str) -> bool {
    pair.split('=').next().is_some_and(is_protocol_parameter)
}

fn proxy(text: &str) -> Result<Proxy, ConnectError> {
    let bad = |why: &dyn std::fmt::Display| ConnectError::Option("proxy", why.to_string());
    let url = Url::parse(text).map_err(|error| bad(&error))?;
    if url.scheme != Scheme::Http {
        return Err(bad(&"the scheme must be http"));
    }
    let mut lines = OutBuf::default();
    if let Some(userinfo) = url.userinfo {
        header_line(&mut lines, "Proxy-Authorization", &[&basic(userinfo)])
            .map_err(|error| bad(&error))?;
    }
    Ok(Proxy { place: HostPort::of(&url), lines: lines.0 })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::client::{Client, Connect, ProxySource};
    use crate::deflate::PerMessageDeflate;

    fn settings(url: &str, adjust: impl FnOnce(&mut Options)) -> Result<Settings, ConnectError> {
        let mut options = Options { timestamp: None, ..Options::new(url) };
        adjust(&mut options);
        Settings::new(options)
    }

    fn target(url: &str, path: Option<&str>) -> String {
        settings(url, |options| options.path = path.map(Into::into)).unwrap().target(
            Transport::Polling,
            None,
            true,
        )
    }

    #[test]
    fn query_is_kept_without_protocol_parameters() {
        let ours = "EIO=4&transport=polling";
        assert_eq!(target("http://a", None), format!("/engine.io/?{ours}"));
        assert_eq!(target("http://a/x/?q=1&r", None), format!("/x/?q=1&r&{ours}"));
        assert_eq!(
            target("http://a/?EIO=3&sid=z&transport=x&EIOX=1", Some("p")),
            format!("/p/?EIOX=1&{ours}")
        );
        assert_eq!(target("ws://a/x", Some("/y")), format!("/y?{ours}"));
        let sid = Sid::new("abc").unwrap();
        let settings = settings("http://a", |_| {}).unwrap();
        assert_eq!(
            settings.target(Transport::WebSocket, Some(&sid), false),
            "/engine.io/?EIO=4&transport=websocket&sid=abc"
        );
    }

    #[test]
    fn plain_websocket_target_is_that_of_the_url() {
        let target = |url, path: Option<&str>| {
            let path = |options: &mut Options| options.path = path.map(Into::into);
            settings(url, path).unwrap().plain_target().unwrap()
        };
        assert_eq!(target("ws://a", None), "/");
        assert_eq!(target("ws://a/x?sid=1&EIO=2", None), "/x?sid=1&EIO=2");
        assert_eq!(target("ws://a/x?y", Some("/z")), "/z?y");
        assert_eq!(target("ws://a", Some("z")), "/z/");
    }

    #[test]
    fn timestamped_targets_differ() {
        let settings = Settings::new(Options::new("http://a")).unwrap();
        let target = || settings.target(Transport::Polling, None, true);
        assert_ne!(target(), target());
    }

    #[test]
    fn no_option_injects_a_parameter() {
        for path in ["/a b", "/a\r\nb", "/a#b", "/a?b"] {
            let path = |options: &mut Options| options.path = Some(path.into());
            assert!(settings("http://a", path).is_err());
        }
        for name in ["", "a b", "a\r\nb", "a&b", "a=b", "a#b", "sid"] {
            let name = |options: &mut Options| options.timestamp = Some(name.into());
            assert!(settings("http://a", name).is_err());
        }
    }

    #[test]
    fn unusable_urls_and_options_are_refused() {
        assert!(matches!(settings("ftp://a", |_| {}), Err(ConnectError::Url(_))));
        assert!(settings("http://a", |options| options.transports.clear()).is_err());
        assert!(settings("http://a", |o| o.proxy = Some("https://p".into())).is_err());
        let v6 = settings("http://[::1]:8080", |_| {}).unwrap();
        assert_eq!((v6.server.host.as_str(), v6.server.authority()), ("::1", "[::1]:8080".into()));
        assert_eq!(v6.fields.host, "[::1]:8080");
    }

    /// Clients with one option out of range, and the name of the option.
    fn out_of_range() -> Vec<(Connect, &'static str)> {
        let connect = || Client::connect("http://a");
        let deflate = PerMessageDeflate::new().server_max_window_bits(8);
        let mut table = vec![
            (connect().path("/a b"), "path"),
            (connect().header("Connection", "a"), "header"),
            (connect().timestamp(Some("a b")), "timestamp"),
            (connect().transports([]), "transports"),
            (connect().connect_timeout(Duration::ZERO), "connect_timeout"),
            (connect().request_timeout(Duration::ZERO), "request_timeout"),
            (connect().open_timeout(Duration::MAX), "open_timeout"),
            (connect().upgrade_timeout(Duration::ZERO), "upgrade_timeout"),
            (connect().close_timeout(Duration::ZERO), "close_timeout"),
            (connect().max_payload(0), "max_payload"),
            (connect().outbound_high_water(0), "outbound_high_water"),
            (connect().inbound_high_water((1 << 31) + 1), "inbound_high_water"),
            (connect().per_message_deflate(deflate), "per_message_deflate"),
            (connect().keepalive(Some(Duration::from_millis(999))), "keepalive"),
            (connect().keepalive(Some(Duration::from_secs(32_768))), "keepalive"),
            (connect().proxy("https://p"), "proxy"),
            (connect().proxy("http://p").proxy_protocol(ProxySource::Local), "proxy_protocol"),
        ];
        if cfg!(feature = "tls") {
            let connect = || Client::connect("https://a");
            table.push((connect().certificate_authority("no PEM"), "certificate_authority"));
            table.push((connect().identity("no PEM", "no PEM"), "tls"));
        } else {
            table.push((Client::connect("https://a"), "url"));
        }
        table
    }

    #[test]
    fn an_option_out_of_range_is_named() {
        for (connect, option) in out_of_range() {
            match Settings::new(connect.options) {
                Err(ConnectError::Option(name, _)) => assert_eq!(name, option),
                Err(error) => panic!("{option}: {error}"),
                Ok(_) => panic!("{option} is accepted"),
            }
        }
        let connect = Client::connect("http://a").connect_timeout(Duration::ZERO);
        assert_eq!(
            Settings::new(connect.options).err().unwrap().to_string(),
            "connect_timeout: 0ns is outside 10ms to 86400s",
        );
    }

    #[test]
    fn every_option_is_checked_or_unrestricted() {
        /// The URL has an error of its own, `tls` holds several options, and the others are booleans.
        const OTHERS: [&str; 8] = [
            "url",
            "tls",
            "upgrade",
            "remember_upgrade",
            "separator_over_websocket",
            "try_all_transports",
            "nodelay",
            "handle_sigint",
        ];
        let debug = format!("{:#?}", Options::new("http://a"));
        let fields: BTreeSet<_> = debug
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once(": "))
            .map(|(name, _)| if name == "headers" { "header" } else { name })
            .filter(|name| !name.starts_with(' '))
            .collect();
        assert!(fields.len() > 20, "{debug}");
        let checked = out_of_range().into_iter().map(|(_, option)| option);
        let listed: BTreeSet<_> = checked.chain(OTHERS).collect();
        let missing: Vec<_> = fields.difference(&listed).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
