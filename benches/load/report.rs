//! The JSON line at the end of a run.

use std::fmt::{self, Write as _};

use crate::net::Net;

/// A builder of a flat JSON object.
#[derive(Default)]
pub(crate) struct Report(String);

impl Report {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn key(&mut self, key: &str) {
        self.0.push_str(if self.0.is_empty() { "{" } else { "," });
        let _ = write!(self.0, "\"{key}\":");
    }

    pub(crate) fn number(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    /// With `decimals` digits after the point; NaN and infinity become `null`.
    pub(crate) fn float(mut self, key: &str, value: f64, decimals: usize) -> Self {
        self.key(key);
        let _ = if value.is_finite() {
            write!(self.0, "{value:.decimals$}")
        } else {
            write!(self.0, "null")
        };
        self
    }

    /// Over TLS, the numbers of full and of resumed handshakes.
    pub(crate) fn tls(self, net: &Net) -> Self {
        match &net.tls {
            Some(tls) => {
                self.number("full_handshakes", tls.full).number("resumed_handshakes", tls.resumed)
            }
            None => self,
        }
    }

    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.0.push('"');
        for c in value.chars() {
            let _ = match c {
                '"' | '\\' => write!(self.0, "\\{c}"),
                c if c.is_control() => write!(self.0, "\\u{:04x}", c as u32),
                c => write!(self.0, "{c}"),
            };
        }
        self.0.push('"');
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}}}", self.0)
    }
}
