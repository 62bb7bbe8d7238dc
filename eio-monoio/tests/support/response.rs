//! HTTP responses.

/// A response, read to its last byte and not further.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Parses status and headers. A head that is not exactly in the form of RFC 9112 is a failure.
    #[track_caller]
    pub(super) fn parse_head(head: &[u8]) -> Self {
        let text = std::str::from_utf8(head).expect("a head in ASCII");
        let mut lines = text.strip_suffix("\r\n\r\n").expect("a complete head").split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("status line {line:?}"));
        let headers = lines.map(|line| {
            assert!(!line.contains(['\r', '\n']), "bare line end in {line:?}");
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("header {line:?}"));
            (name.to_owned(), value.trim().to_owned())
        });
        Self { status, headers: headers.collect(), body: Vec::new() }
    }

    /// A header's value, by its name in any case.
    ///
    /// # Panics
    ///
    /// If the header is repeated.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is repeated in {self:?}");
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("not UTF-8: {self:?}"))
    }

    /// Fails unless the response has this status and this body.
    #[track_caller]
    pub(crate) fn assert(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text()), (status, body), "{self:?}");
    }
}
