//! [`CookieJar`]: cookies of one session, all of one host.
//!
//! Load balancers keep a session on one process by a cookie. That is all this is for: every request of a
//! session goes to the same host and path, so a name and a value are all there is to know.

use eio_core::http::Headers;

/// The cookies a server has set, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct CookieJar(Vec<(String, String)>);

/// More are not kept: a server can only fill its own jar, and this much of our memory.
const MAX: usize = 32;
/// RFC 6265 6.1: "At least 4096 bytes per cookie".
const LONGEST: usize = 4096;

impl CookieJar {
    /// Takes every cookie of a response.
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
        if name.is_empty() || line.len() > LONGEST {
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

    /// The value of a Cookie header, after the user's own cookies; empty if there are none.
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
    fn a_cookie_is_kept_without_its_attributes_and_replaced_by_name() {
        assert_eq!(jar(&["io=abc; Path=/; HttpOnly", "b = c=d ", "io=new"]), "b=c=d; io=new");
    }

    #[test]
    fn a_cookie_without_a_name_or_with_its_time_over_is_not_sent() {
        assert_eq!(jar(&["abc", "=x", "", "a=b", "a=b; Max-Age=0"]), "");
        assert_eq!(jar(&["a=b; max-age=-1", "c=d; Max-Age=60"]), "c=d");
    }

    #[test]
    fn a_jar_does_not_grow_without_bound() {
        let mut jar = CookieJar::default();
        (0..1000).for_each(|n| jar.store_line(&format!("n{n}=v")));
        jar.store_line(&format!("long={}", "x".repeat(LONGEST)));
        assert_eq!(jar.0.len(), MAX);
    }

    #[test]
    fn the_users_cookies_stand_first() {
        let mut jar = CookieJar::default();
        assert_eq!(jar.header("a=1"), "a=1");
        jar.store_line("io=2");
        assert_eq!(jar.header("a=1"), "a=1; io=2");
    }
}
