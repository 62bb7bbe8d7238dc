//! [`Settings`]: where a client connects and how, checked once, and what of a request never changes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use base64_simd::STANDARD;
use eio_core::http::{Scheme, Url, WriteError, header_line};
use eio_core::session::client::ClientTiming;
use eio_core::sid::Sid;
use eio_core::transport::Transport;
use eio_core::ws::Role;
use eio_core::ws::deflate::Terms;

use crate::client::error::ConnectError;
use crate::client::tls::{TlsOptions, Trust};
use crate::config::millis;
use crate::deflate::{Inward, Outward, PerMessageDeflate};
use crate::line::Limits;
use crate::local::Local;
use crate::message::OutBuf;

/// The options of a client, see [`Connect`](crate::client::Connect), as the user gave them.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) url: String,
    pub(crate) path: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) transports: Vec<Transport>,
    pub(crate) upgrade: bool,
    pub(crate) remember_upgrade: bool,
    pub(crate) try_all_transports: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) open_timeout: Duration,
    pub(crate) upgrade_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) max_receive: usize,
    pub(crate) outbound_high_water: usize,
    pub(crate) inbound_high_water: usize,
    pub(crate) timestamp: Option<String>,
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) proxy: Option<String>,
    pub(crate) handle_sigint: bool,
    pub(crate) per_message_deflate: Option<PerMessageDeflate>,
    pub(crate) tls: TlsOptions,
}

impl Options {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            path: None,
            headers: Vec::new(),
            transports: vec![Transport::Polling, Transport::WebSocket],
            upgrade: true,
            remember_upgrade: false,
            try_all_transports: false,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(20),
            open_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(10),
            max_receive: 16 << 20,
            outbound_high_water: 1 << 20,
            inbound_high_water: 1 << 20,
            timestamp: Some("t".into()),
            nodelay: true,
            keepalive: None,
            proxy: None,
            handle_sigint: false,
            per_message_deflate: None,
            tls: TlsOptions::default(),
        }
    }
}

/// Checked options.
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) server: Place,
    pub(crate) proxy: Option<Proxy>,
    /// How TLS is begun, if it is asked for.
    pub(crate) trust: Option<Trust>,
    pub(crate) limits: Rc<Limits>,
    /// The value of Host.
    authority: String,
    /// The path and the part of the query that is the user's, with a `?` or `&` to go on after.
    target: String,
    /// Header lines of every request.
    lines: Vec<u8>,
    /// The user's own cookies: they share a line with the server's.
    cookie: String,
    /// The last upgrade worked: [`remember_upgrade`](crate::client::Connect::remember_upgrade).
    pub(crate) upgraded_before: Cell<bool>,
    /// Told apart by nothing but this, two requests could be one to a cache.
    requests: Cell<u64>,
}

/// What to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
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

/// A proxy that tunnels by CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) place: Place,
    /// `Proxy-Authorization`, or nothing.
    pub(crate) lines: Vec<u8>,
}

impl Settings {
    /// # Errors
    /// What is wrong with the URL or an option.
    pub(crate) fn new(options: Options) -> Result<Self, ConnectError> {
        let url = Url::parse(&options.url)?;
        if options.transports.is_empty() {
            return Err(ConnectError::Option("transports", "none".into()));
        }
        if let Some(Err(wrong)) = options.per_message_deflate.as_ref().map(|d| d.check()) {
            return Err(ConnectError::Option("per_message_deflate", wrong));
        }
        let path = match &options.path {
            Some(path) => absolute(path),
            None if url.path == "/" => "/engine.io/".into(),
            None => url.path.into(),
        };
        let mut target = path;
        target.push('?');
        for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !is_ours(pair)) {
            target.push_str(pair);
            target.push('&');
        }
        // It goes onto a request line: checked here, once, by the only rule there is for that.
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) || target.contains('#') {
            return Err(ConnectError::Option("path", "not visible ASCII".into()));
        }
        let (lines, cookie) = lines(&options, &url)?;
        let proxy = match &options.proxy {
            Some(text) => Some(proxy(text)?),
            None => None,
        };
        let trust = url.secure().then(|| Trust::new(&options.tls, url.host)).transpose()?;
        Ok(Self {
            server: Place::of(&url),
            limits: Rc::new(Limits {
                write_timeout: millis(options.request_timeout),
                close_timeout: millis(options.close_timeout),
                high_water: options.outbound_high_water,
                linger: 0,
                counters: None,
            }),
            proxy,
            trust,
            authority: url.authority.into(),
            target,
            lines,
            cookie,
            upgraded_before: Cell::new(false),
            requests: Cell::new(0),
            options,
        })
    }

    pub(crate) fn timing(&self) -> ClientTiming {
        ClientTiming {
            open_timeout_ms: millis(self.options.open_timeout),
            upgrade_timeout_ms: millis(self.options.upgrade_timeout),
            close_timeout_ms: millis(self.options.close_timeout),
        }
    }

    /// The request target for a lane of the session `sid`, or to begin one.
    pub(crate) fn target(&self, transport: Transport, sid: Option<&Sid>, stamped: bool) -> String {
        let mut target = format!("{}EIO=4&transport={transport}", self.target);
        if let (Some(param), true) = (&self.options.timestamp, stamped) {
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

    /// The request target of a WebSocket without Engine.IO: the URL's, or the path asked for with its query.
    pub(crate) fn plain_target(&self) -> Result<String, ConnectError> {
        let url = Url::parse(&self.options.url)?;
        let path = self.options.path.as_deref().unwrap_or(url.path);
        let mark = if url.query.is_empty() { "" } else { "?" };
        Ok(format!("{path}{mark}{}", url.query))
    }

    /// The two directions of a WebSocket that is compressed.
    pub(crate) fn deflate(
        &self,
        local: &Rc<Local>,
        terms: Option<Terms>,
    ) -> (Option<Box<Outward>>, Option<Box<Inward>>) {
        let both = self.options.per_message_deflate.as_ref().zip(terms);
        let begin = |(wishes, terms): (&PerMessageDeflate, Terms)| {
            wishes.begin(local, Role::Client, &terms, self.options.max_receive)
        };
        both.map(begin).unzip()
    }

    /// What stands in every request: the value of Host, header lines, and the user's own cookies.
    pub(crate) fn common(&self) -> (&str, &[u8], &str) {
        (&self.authority, &self.lines, &self.cookie)
    }
}

fn absolute(path: &str) -> String {
    // python-engineio takes `engine.io` for `/engine.io/`.
    let (start, end) = (path.starts_with('/'), path.ends_with('/'));
    format!("{}{path}{}", if start { "" } else { "/" }, if end || start { "" } else { "/" })
}

/// Keys of the query that the protocol owns.
fn is_ours(pair: &str) -> bool {
    matches!(pair.split('=').next(), Some("EIO" | "transport" | "sid"))
}

/// Renders the headers of every request; the cookies come apart.
fn lines(options: &Options, url: &Url<'_>) -> Result<(Vec<u8>, String), ConnectError> {
    /// What the requests themselves say.
    const OURS: [&str; 10] = [
        "host",
        "connection",
        "upgrade",
        "content-length",
        "content-type",
        "transfer-encoding",
        "expect",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
    ];
    let mut lines = OutBuf::default();
    let mut cookies = Vec::new();
    let named = |name: &str| options.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let mut defaults = vec![("Accept", "*/*".to_owned())];
    if !named("user-agent") {
        let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        defaults.push(("User-Agent", agent.into()));
    }
    if let Some(userinfo) = url.userinfo
        && !named("authorization")
    {
        defaults.push(("Authorization", basic(userinfo)));
    }
    let defaults = defaults.iter().map(|(name, value)| (*name, value.as_str()));
    let own = options.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in defaults.chain(own) {
        let illegal = |_: WriteError| ConnectError::Option("header", format!("{name}: illegal"));
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(ConnectError::Option("header", format!("{name} is set by the client")));
        }
        if name.eq_ignore_ascii_case("cookie") {
            // Checked as the line it will become.
            header_line(&mut OutBuf::default(), name, &[value]).map_err(illegal)?;
            cookies.push(value);
        } else {
            header_line(&mut lines, name, &[value]).map_err(illegal)?;
        }
    }
    Ok((lines.0, cookies.join("; ")))
}

fn proxy(text: &str) -> Result<Proxy, ConnectError> {
    let bad = |why: &dyn std::fmt::Display| ConnectError::Option("proxy", why.to_string());
    let url = Url::parse(text).map_err(|error| bad(&error))?;
    if url.scheme != Scheme::Http {
        return Err(bad(&"only http:// proxies are spoken to"));
    }
    let mut lines = OutBuf::default();
    if let Some(userinfo) = url.userinfo {
        header_line(&mut lines, "Proxy-Authorization", &[&basic(userinfo)])
            .map_err(|error| bad(&error))?;
    }
    Ok(Proxy { place: Place::of(&url), lines: lines.0 })
}

/// RFC 7617: the value of Authorization for `user:password`, which a URL holds percent-encoded.
fn basic(userinfo: &str) -> String {
    let mut plain = Vec::with_capacity(userinfo.len());
    let mut rest = userinfo.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, behind @ ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    plain.push((high * 16 + low) as u8);
                    rest = behind;
                }
                _ => plain.push(*first),
            },
            _ => plain.push(*first),
        }
    }
    if !plain.contains(&b':') {
        plain.push(b':');
    }
    format!("Basic {}", STANDARD.encode_to_string(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_users_query_is_kept_but_cannot_speak_for_the_protocol() {
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
    fn a_plain_websocket_is_asked_for_as_the_url_says() {
        let target = |url, path: Option<&str>| {
            let path = |options: &mut Options| options.path = path.map(Into::into);
            settings(url, path).unwrap().plain_target().unwrap()
        };
        assert_eq!(target("ws://a", None), "/");
        assert_eq!(target("ws://a/x?sid=1&EIO=2", None), "/x?sid=1&EIO=2");
        assert_eq!(target("ws://a/x?y", Some("/z")), "/z?y");
    }

    #[test]
    fn two_requests_are_never_equal_when_stamped() {
        let settings = Settings::new(Options::new("http://a")).unwrap();
        let target = || settings.target(Transport::Polling, None, true);
        assert_ne!(target(), target());
    }

    #[test]
    fn userinfo_becomes_basic_authorization() {
        let lines = |url| String::from_utf8(settings(url, |_| {}).unwrap().lines).unwrap();
        assert!(lines("http://u:p%40ss@a").contains("Authorization: Basic dTpwQHNz\r\n"));
        assert!(lines("http://u@a").contains("Authorization: Basic dTo=\r\n"));
        assert!(!lines("http://a").contains("Authorization"));
        let own = |options: &mut Options| {
            options.headers.push(("authorization".into(), "Bearer x".into()));
        };
        let lines = String::from_utf8(settings("http://u@a", own).unwrap().lines).unwrap();
        assert!(lines.contains("Bearer x") && !lines.contains("Basic"));
    }

    #[test]
    fn no_option_can_smuggle_a_header() {
        for (name, value) in [
            ("a", "b\r\nc: d"),
            ("a\r\nb", "c"),
            ("", "x"),
            ("cookie", "a=b\r\nc: d"),
            ("Host", "x"),
            ("content-length", "5"),
            ("Sec-WebSocket-Key", "x"),
        ] {
            let header = |options: &mut Options| options.headers.push((name.into(), value.into()));
            assert!(settings("http://a", header).is_err(), "{name}: {value}");
        }
        for path in ["/a b", "/a\r\nb", "/a#b"] {
            let path = |options: &mut Options| options.path = Some(path.into());
            assert!(settings("http://a", path).is_err());
        }
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused() {
        assert!(matches!(settings("ftp://a", |_| {}), Err(ConnectError::Url(_))));
        assert!(settings("http://a", |options| options.transports.clear()).is_err());
        assert!(settings("http://a", |o| o.proxy = Some("https://p".into())).is_err());
        let v6 = settings("http://[::1]:8080", |_| {}).unwrap();
        assert_eq!((v6.server.host.as_str(), v6.server.authority()), ("::1", "[::1]:8080".into()));
        assert_eq!(v6.common().0, "[::1]:8080");
    }
}
