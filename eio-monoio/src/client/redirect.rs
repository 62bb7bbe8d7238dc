//! Redirections of the request that opens a session over polling.

use eio_core::http::{Scheme, Url};

use crate::client::error::Fault;
use crate::client::options::{Options, is_protocol_parameter};

/// The most redirections of one attempt.
pub(crate) const MAX: usize = 5;

/// Where a redirection leads.
pub(crate) struct Redirect {
    /// The options of the request that follows.
    pub(crate) options: Options,
    /// Whether the new server may receive the credentials and cookies of the old one.
    pub(crate) same_server: bool,
}

/// The redirection that `fault` asks for, if the client follows it: 302, 303, 307 and 308, as engine.io-client, and not
/// from https to http. `path` is that of the request.
pub(crate) fn follow(options: &Options, path: &str, fault: &Fault) -> Option<Redirect> {
    let Fault::Status { status: 302 | 303 | 307 | 308, location: Some(location), .. } = fault
    else {
        return None;
    };
    let old = Url::parse(&options.url).ok()?;
    let target = resolve(&old, path, location);
    let new = Url::parse(&target).ok()?;
    let is_http = matches!(new.scheme, Scheme::Http | Scheme::Https);
    if !is_http || (old.secure() && !new.secure()) || new.userinfo.is_some() {
        return None;
    }
    let default_port = |url: &Url<'_>| url.port == url.scheme.default_port();
    let same_port = old.port == new.port || (default_port(&old) && default_port(&new));
    let same_server = old.host.eq_ignore_ascii_case(new.host) && same_port;
    let mut options = options.clone();
    options.url = match old.userinfo {
        Some(userinfo) if same_server => target.replacen("://", &format!("://{userinfo}@"), 1),
        _ => target.clone(),
    };
    // The next request adds its own parameters.
    let timestamp = options.timestamp.clone();
    let is_own = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        is_protocol_parameter(name) || timestamp.as_deref() == Some(name)
    };
    if let Some((base, query)) = options.url.split_once('?') {
        let kept: Vec<_> = query.split('&').filter(|pair| !is_own(pair)).collect();
        options.url = format!("{base}?{}", kept.join("&"));
    }
    options.path = Some(new.path.into());
    if !same_server {
        let is_secret = |name: &str| {
            ["authorization", "cookie", "proxy-authorization", "host"]
                .iter()
                .any(|secret| name.eq_ignore_ascii_case(secret))
        };
        options.headers.retain(|(name, _)| !is_secret(name));
    }
    Some(Redirect { options, same_server })
}

/// RFC 3986 section 5.2: `location` as an absolute URL without a fragment.
fn resolve(base: &Url<'_>, path: &str, location: &str) -> String {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = if base.secure() { "https" } else { "http" };
    // Section 4.2: the first segment of a relative path contains no colon.
    let has_scheme = location.split(['/', '?']).next().is_some_and(|start| start.contains(':'));
    if has_scheme {
        return location.into();
    }
    if location.starts_with("//") {
        return format!("{scheme}:{location}");
    }
    let (relative, query) = match location.split_once('?') {
        Some((relative, query)) => (relative, format!("?{query}")),
        None => (location, String::new()),
    };
    let path = match relative {
        "" => path.to_owned(),
        _ if relative.starts_with('/') => without_dots(relative),
        _ => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{relative}"))
        }
    };
    format!("{scheme}://{}{path}{query}", base.authority)
}

/// RFC 3986 section 5.2.4: removes the segments `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(url: &str, status: u16, location: &str) -> Option<Redirect> {
        let mut options = Options::new(url);
        for name in ["Authorization", "Cookie", "X-Token"] {
            options.headers.push((name.into(), "x".into()));
        }
        let fault = Fault::Status {
            status,
            body: String::new(),
            location: Some(location.into()),
            retry_after: None,
        };
        follow(&options, "/engine.io/", &fault)
    }

    fn target(url: &str, location: &str) -> String {
        let options = redirect(url, 302, location).expect("it is followed").options;
        format!("{} {}", options.url, options.path.unwrap())
    }

    #[test]
    fn locations_are_resolved_against_the_request() {
        for (location, expected) in [
            ("http://b/x/?EIO=4&transport=polling&t=1.0&q=1", "http://b/x/?q=1 /x/"),
            ("//b:81/x", "http://b:81/x /x"),
            ("/x/", "http://a:80/x/ /x/"),
            ("x?y=1#z", "http://a:80/engine.io/x?y=1 /engine.io/x"),
            ("../x/./y", "http://a:80/x/y /x/y"),
            ("?y", "http://a:80/engine.io/?y /engine.io/"),
            ("https://a/", "https://a/ /"),
        ] {
            assert_eq!(target("http://a:80", location), expected, "{location}");
        }
    }

    #[test]
    fn only_temporary_redirections_to_http_or_better_are_followed() {
        for status in [302, 303, 307, 308] {
            assert!(redirect("http://a", status, "/x").is_some());
        }
        for status in [200, 300, 301, 304, 305, 400] {
            assert!(redirect("http://a", status, "/x").is_none());
        }
        for location in
            ["ftp://a/", "ws://a/", "http://", "http://u:p@a/", "javascript:x", "/\u{e9}"]
        {
            assert!(redirect("http://a", 302, location).is_none(), "{location}");
        }
        assert!(redirect("https://a", 302, "http://a/").is_none());
        assert!(redirect("wss://a", 302, "http://a/").is_none());
        assert!(redirect("http://a", 302, "https://a/").is_some());
    }

    #[test]
    fn another_server_receives_no_credentials() {
        let names = |url, location| {
            let Redirect { options, same_server } = redirect(url, 307, location).unwrap();
            let names: Vec<_> = options.headers.into_iter().map(|(name, _)| name).collect();
            (options.url, names.len(), same_server)
        };
        assert_eq!(names("http://u:p@a", "/x"), ("http://u:p@a/x".into(), 3, true));
        assert_eq!(names("http://u:p@a", "https://A/x"), ("https://u:p@A/x".into(), 3, true));
        assert_eq!(names("http://u:p@a", "http://b/x"), ("http://b/x".into(), 1, false));
        assert_eq!(names("http://u:p@a", "http://a:81/x"), ("http://a:81/x".into(), 1, false));
    }
}
