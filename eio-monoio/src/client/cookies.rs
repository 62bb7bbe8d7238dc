//! [`CookieJar`]: the cookies of one session.
//!
//! Load balancers route the requests of a session to one process by a cookie. Every request of a session has the same
//! host and path, so that a name and a value are enough.

use eio_core::http::Headers;

/// The cookies that the server has set, in order.
#[derive(Debug, Default)]
pub(crate) struct CookieJar(Vec<(String, String)>);

/// The most cookies; further ones are ignored.
const MAX: usize = 32;
/// The longest `Set-Cookie` value; RFC 6265 6.1: "At least 4096 bytes per cookie".
const MAX_LEN: usize = 4096;

impl CookieJar {
    /// Stores the cookies of a response.
    pub(crate) fn store(&mut self, headers: &Headers<'_, '_>) {
        for line in headers.all("set-cookie") {
            if let Ok(line) = std::str::from_utf8(line) {
                self.store_line(line);
            }
        }
    }

    fn store_line(&mut self, line: &str) {
        let mut parts = line.split(';');
        // RFC 6265 5.2: without `=` or a name the line is ignored.
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || line.len() > MAX_LEN {
            return;
        }
        self.0.retain(|(known, _)| known != name);
        let expired = parts.filter_map(|part| part.split_once('=')).any(|(key, age)| {
            key.trim().eq_ignore_ascii_case("max-age")
                && age.trim().parse::<i64>().is_ok_and(|age| age <= 0)
        });
        if !expired && self.0.len() < MAX {
            self.0.push((name.into(), value.into()));
        }
    }

    /// The value of the field `Cookie`: the cookies of the application, then those of the server. Empty without cookies.
    pub(crate) fn header(&self, own: &str) -> String {
        let mut header = String::from(own);
        for (name, value) in &self.0 {
            if !header.is_empty() {
                header.push_str("; ");
            }
            header.push_str(name);
            header.push('=');
            header.push_str(value);
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(lines: &[&str]) -> String {
        let mut jar = CookieJar::default();
        lines.iter().for_each(|line| jar.store_line(line));
        jar.header("")
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
    fn number_and_length_of_cookies_are_limited() {
        let mut jar = CookieJar::default();
        (0..1000).for_each(|n| jar.store_line(&format!("n{n}=v")));
        jar.store_line(&format!("long={}", "x".repeat(MAX_LEN)));
        assert_eq!(jar.0.len(), MAX);
    }

    #[test]
    fn cookies_of_the_application_come_first() {
        let mut jar = CookieJar::default();
        assert_eq!(jar.header("a=1"), "a=1");
        jar.store_line("io=2");
        assert_eq!(jar.header("a=1"), "a=1; io=2");
    }
}
