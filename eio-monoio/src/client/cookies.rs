//! [`CookieJar`]: the cookies of one session.
//!
//! Load balancers route the requests of a session to one process by a cookie. Every request of a session has the same
//! host and path, so that a name and a value are enough.

use std::time::{Duration, SystemTime};

use eio_core::http::Headers;

use crate::client::cookie_date;

/// The cookies that the server has set, in order.
#[derive(Debug, Default)]
pub(crate) struct CookieJar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    /// The time from which it is not sent; `None` for a cookie of the session.
    expires: Option<SystemTime>,
}

/// The most cookies; further ones are ignored.
const MAX: usize = 32;
/// The longest `Set-Cookie` value; RFC 6265 6.1: "At least 4096 bytes per cookie".
const MAX_LEN: usize = 4096;

impl CookieJar {
    /// Stores the cookies of a response.
    pub(crate) fn store(&mut self, headers: &Headers<'_, '_>) {
        for line in headers.all("set-cookie") {
            if let Ok(line) = std::str::from_utf8(line) {
                self.store_line(line, SystemTime::now());
            }
        }
    }

    fn store_line(&mut self, line: &str, now: SystemTime) {
        let mut parts = line.split(';');
        // RFC 6265 5.2: without `=` or a name the line is ignored.
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || line.len() > MAX_LEN {
            return;
        }
        self.0.retain(|known| known.name != name);
        let expires = expiry(parts, now);
        if expires.is_none_or(|time| time > now) && self.0.len() < MAX {
            self.0.push(Cookie { name: name.into(), value: value.into(), expires });
        }
    }

    /// The value of the field `Cookie`: the cookies of the application, then those of the server. Empty without cookies.
    pub(crate) fn header(&self, own: &str, now: SystemTime) -> String {
        let mut header = String::from(own);
        for cookie in self.0.iter().filter(|cookie| cookie.expires.is_none_or(|time| time > now)) {
            if !header.is_empty() {
                header.push_str("; ");
            }
            header.push_str(&cookie.name);
            header.push('=');
            header.push_str(&cookie.value);
        }
        header
    }
}

/// The time at which a cookie expires, by its attributes. RFC 6265 section 5.3: the last of two equal attributes counts,
/// and `Max-Age` precedes `Expires`. An attribute that cannot be parsed is ignored (sections 5.2.1 and 5.2.2).
fn expiry<'a>(attributes: impl Iterator<Item = &'a str>, now: SystemTime) -> Option<SystemTime> {
    let (mut expires, mut max_age) = (None, None);
    for (key, value) in attributes.filter_map(|attribute| attribute.split_once('=')) {
        let (key, value) = (key.trim(), value.trim());
        if key.eq_ignore_ascii_case("expires") {
            expires = cookie_date::parse(value).or(expires);
        } else if key.eq_ignore_ascii_case("max-age") {
            let (negative, digits) = match value.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, value),
            };
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                let age = if negative { 0 } else { digits.parse().unwrap_or(u64::MAX) };
                // A time that the clock cannot represent is never reached.
                max_age = Some(now.checked_add(Duration::from_secs(age)));
            }
        }
    }
    max_age.unwrap_or(expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(lines: &[&str]) -> String {
        let mut jar = CookieJar::default();
        let now = SystemTime::now();
        lines.iter().for_each(|line| jar.store_line(line, now));
        jar.header("", now)
    }

    #[test]
    fn cookies_are_stored_without_attributes_and_replaced_by_name() {
        assert_eq!(jar(&["io=abc; Path=/; HttpOnly", "b = c=d ", "io=new"]), "b=c=d; io=new");
    }

    #[test]
    fn nameless_and_expired_cookies_are_not_sent() {
        assert_eq!(jar(&["abc", "=x", "", "a=b", "a=b; Max-Age=0"]), "");
        assert_eq!(jar(&["a=b; max-age=-1", "c=d; Max-Age=60"]), "c=d");
    }

    #[test]
    fn a_date_in_the_past_deletes_a_cookie() {
        let past = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(jar(&["a=b", &format!("a=; Path=/; Expires={past}")]), "");
        assert_eq!(jar(&["a=b", "a=c; expires=Thu, 01-Jan-70 00:00:00 GMT"]), "");
        assert_eq!(jar(&[&format!("a=b; Max-Age=60; Expires={past}")]), "a=b");
        assert_eq!(jar(&["a=b; Max-Age=0; Expires=Fri, 31 Dec 9999 23:59:59 GMT"]), "");
        assert_eq!(jar(&["a=b; Max-Age=x; Expires=soon"]), "a=b");
        assert_eq!(jar(&[&format!("a=b; Expires={past}; Expires=soon")]), "");
        assert_eq!(jar(&["a=b; Max-Age=99999999999999999999"]), "a=b");
        assert_eq!(jar(&["a=b; Max-Age=-99999999999999999999"]), "");
        assert_eq!(jar(&["a=b; Max-Age=+0; Max-Age=", "c=d; Max-Age=-"]), "a=b; c=d");
    }

    #[test]
    fn a_cookie_is_sent_until_it_expires() {
        let mut jar = CookieJar::default();
        let now = SystemTime::now();
        jar.store_line("a=b; Max-Age=60", now);
        assert_eq!(jar.header("", now + Duration::from_secs(59)), "a=b");
        assert_eq!(jar.header("", now + Duration::from_secs(60)), "");
    }

    #[test]
    fn number_and_length_of_cookies_are_limited() {
        let mut jar = CookieJar::default();
        let now = SystemTime::now();
        (0..1000).for_each(|n| jar.store_line(&format!("n{n}=v"), now));
        jar.store_line(&format!("long={}", "x".repeat(MAX_LEN)), now);
        assert_eq!(jar.0.len(), MAX);
    }

    #[test]
    fn cookies_of_the_application_come_first() {
        let mut jar = CookieJar::default();
        let now = SystemTime::now();
        assert_eq!(jar.header("a=1", now), "a=1");
        jar.store_line("io=2", now);
        assert_eq!(jar.header("a=1", now), "a=1; io=2");
    }
}
