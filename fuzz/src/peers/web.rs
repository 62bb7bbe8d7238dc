//! Queries as `form_urlencoded` reads them (the rules of the WHATWG); targets and URLs as `http` reads them.

use eio_core::http::{Target, Url};
use eio_core::request::Query;
use eio_core::sid::{InvalidSid, Sid};
use eio_core::transport::Transport;
use http::Uri;

use crate::laws::Input;
use crate::laws::file_path::decode;

pub(crate) fn query(data: &[u8]) {
    let Some(text) = text(data) else { return };
    // eio-core does not decode keys: no client encodes the key `sid`.
    if text.split('&').any(|pair| pair.split('=').next().unwrap_or_default().contains(['%', '+'])) {
        return;
    }
    let ours = Query::parse(text);
    let last = |key: &str| {
        let pairs = form_urlencoded::parse(text.as_bytes());
        let value = pairs.filter(|(name, _)| name == key).last().map(|(_, value)| value);
        value.unwrap_or_default().into_owned()
    };
    assert_eq!(ours.is_v4(), last("EIO") == "4");
    assert_eq!(ours.transport(), Transport::from_name(&last("transport")));
    assert_eq!(ours.base64(), !last("b64").is_empty());
    let sid = match last("sid") {
        sid if sid.is_empty() => None,
        sid => Some(Sid::new(&sid).map_err(|_| InvalidSid)),
    };
    assert_eq!(ours.sid(), sid);
}

/// Takes a path as the value of a form: a path that eio-core accepts decodes to the same. form_urlencoded keeps
/// malformed escapes.
pub(crate) fn file_path(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(ours) = decode(text) else { return };
    let form = format!("path={}", text.replace('&', "%26").replace('+', "%2b"));
    let theirs =
        form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned());
    assert_eq!(theirs, Some(ours));
}

pub(crate) fn target(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some((ours, theirs)) = Target::parse(text).ok().zip(uri(text)) else { return };
    assert_eq!(theirs.authority().map(|authority| authority.as_str()), ours.authority);
    assert_eq!((theirs.path(), theirs.query().unwrap_or_default()), (ours.path, ours.query));
}

pub(crate) fn url(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some((ours, theirs)) = Url::parse(text).ok().zip(uri(text)) else { return };
    let scheme = format!("{:?}", ours.scheme);
    assert!(theirs.scheme_str().is_some_and(|theirs| theirs.eq_ignore_ascii_case(&scheme)));
    let host = theirs.host().map(|host| host.trim_start_matches('[').trim_end_matches(']'));
    assert_eq!(host, Some(ours.host));
    assert!(theirs.port_u16().is_none_or(|port| port == ours.port));
    assert_eq!((theirs.path(), theirs.query().unwrap_or_default()), (ours.path, ours.query));
}

/// `None` if `http` refuses it. `http` follows RFC 3986, while eio-core accepts any visible ASCII, because the server
/// decides which URLs it accepts.
fn uri(text: &str) -> Option<Uri> {
    text.parse().ok()
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(Input::parse(data).wire).ok()
}
