//! Request targets, their queries, and the URLs of clients.

use eio_core::http::{Target, Url};
use eio_core::request::{Intent, Query, Reject, Request, classify};
use eio_core::sid::Sid;
use eio_core::transport::{Transport, TransportSet};

use super::Input;

const METHODS: [&str; 5] = ["GET", "POST", "OPTIONS", "PUT", ""];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::parse(data);
    let Ok(text) = std::str::from_utf8(input.wire) else { return };
    let asked = Asked {
        method: input.pick(&METHODS),
        websocket: input.pick(&[false, true]),
        on: input.pick(&[
            TransportSet::ALL,
            TransportSet::EMPTY.with(Transport::Polling),
            TransportSet::EMPTY.with(Transport::WebSocket),
        ]),
    };
    query(text, asked);
    if let Ok(target) = Target::parse(text) {
        check_target(text, target);
        query(target.query, asked);
    }
    if let Ok(url) = Url::parse(text) {
        check_url(text, url);
    }
}

#[derive(Clone, Copy)]
struct Asked {
    method: &'static str,
    websocket: bool,
    on: TransportSet,
}

impl Asked {
    fn classify(self, query: &str) -> Result<Request, Reject> {
        classify(self.method, query, self.websocket, self.on)
    }
}

fn query(text: &str, asked: Asked) {
    let wanted = asked.classify(text);
    // Unknown keys change nothing, and the last of equal keys counts.
    for same in [format!("t=x&{text}"), format!("{text}&t=x"), format!("{text}&{text}")] {
        assert_eq!(asked.classify(&same), wanted, "{same}");
    }
    let query = Query::parse(text);
    let doubles = [
        ("sid=other", query.sid().is_some()),
        ("transport=other", query.transport().is_some()),
        ("EIO=3", query.is_v4()),
    ];
    for (earlier, _) in doubles.iter().filter(|(_, given)| *given) {
        assert_eq!(asked.classify(&format!("{earlier}&{text}")), wanted, "{earlier}");
    }
    if let Some(Ok(sid)) = query.sid() {
        check_sid(&sid);
    }
    match &wanted {
        Ok(Request { intent, jsonp, .. }) => {
            assert!(jsonp.is_none() || !asked.websocket);
            check_intent(intent, &query, asked);
        }
        Err(reject) => {
            assert_ne!(*reject, Reject::Forbidden);
            assert!(reject.code().is_some() || reject.body().is_empty());
        }
    }
    // Percent-encoding does not change a value. (A JSONP index is not decoded.)
    if !text.contains('%') && query.jsonp().is_none() {
        assert_eq!(asked.classify(&percent_encoded(text)), wanted);
    }
}

fn check_intent(intent: &Intent, query: &Query<'_>, asked: Asked) {
    let transport = query.transport();
    match intent {
        Intent::Preflight => return assert_eq!(asked.method, "OPTIONS"),
        Intent::Handshake(on) => {
            assert_eq!((Some(*on), query.sid(), asked.method), (transport, None, "GET"));
            assert!(query.is_v4());
        }
        Intent::Poll(sid) | Intent::Push(sid) | Intent::Upgrade(sid) => {
            assert_eq!(query.sid(), Some(Ok(sid.clone())));
            let upgrade = matches!(intent, Intent::Upgrade(_));
            let method = if matches!(intent, Intent::Push(_)) { "POST" } else { "GET" };
            assert_eq!((upgrade, method), (asked.websocket, asked.method));
        }
    }
    assert!(transport.is_some_and(|transport| asked.on.contains(transport)));
    assert_eq!(transport == Some(Transport::WebSocket), asked.websocket);
}

/// A sid has no character with a special meaning in a log, a header or a query.
fn check_sid(sid: &Sid) {
    let text = sid.as_str();
    assert!((1..=Sid::MAX).contains(&text.len()));
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b)));
    assert_eq!(Sid::new(text).as_ref(), Ok(sid));
}

/// The query with every byte of its values percent-encoded.
fn percent_encoded(query: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) => {
            let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            format!("{key}={value}")
        }
        None => pair.into(),
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

fn check_target(text: &str, target: Target<'_>) {
    assert!(target.path.starts_with('/') || target.path == "*");
    assert!(!target.path.contains('?'));
    let Some(authority) = target.authority else {
        // Joined again, the parts give the input.
        let again = match text.contains('?') {
            true => format!("{}?{}", target.path, target.query),
            false => target.path.into(),
        };
        return assert_eq!(again, text);
    };
    // An absolute target is a URL, unless its port is 0, to which a client cannot connect.
    if let Ok(url) = Url::parse(text) {
        assert_eq!((url.authority, url.path, url.query), (authority, target.path, target.query));
    } else {
        assert!(authority.split(':').next_back().is_some_and(|port| port.parse() == Ok(0)));
    }
}

fn check_url(text: &str, url: Url<'_>) {
    assert!(url.port > 0 && !url.host.is_empty() && url.path.starts_with('/'));
    assert!(!url.host.contains(['/', '?', '#', '@', '[', ']', ' ']));
    assert_eq!(url.ipv6, url.host.contains(':'));
    assert!(text.contains(url.authority));
    // The parts are legal in a request line and a Host header.
    let target = match url.query {
        "" => url.path.into(),
        query => format!("{}?{query}", url.path),
    };
    let target = Target::parse(&target).map(|target| (target.path, target.query));
    assert_eq!(target, Ok((url.path, url.query)));
    let absolute = format!("http://{}/", url.authority);
    assert_eq!(Target::parse(&absolute).map(|t| t.authority), Ok(Some(url.authority)));
}
