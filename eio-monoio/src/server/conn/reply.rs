//! [`Answer`]: responses with a short constant body, such as refusals and `ok`, and responses to preflights.

use eio_core::http::{WriteError, header_line, response};
use eio_core::request::Reject;
use eio_core::session::Violation;

use crate::message::OutBuf;
use crate::server::conn::Conn;
use crate::server::hooks;
use crate::server::refusal::{MediaType, Refusal};
use crate::web::cors;
use crate::web::persistence::Persistence;

/// A response with its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// The header line, or empty.
    pub(crate) content_type: &'static [u8],
    pub(crate) body: &'a [u8],
    pub(crate) headers: &'a [(&'static str, &'static str)],
    /// The response to HEAD has the head of that to GET, and no body (RFC 9110 section 9.3.2).
    pub(crate) head_only: bool,
}

const JSON: &[u8] = b"Content-Type: application/json\r\n";
const TEXT: &[u8] = b"Content-Type: text/plain; charset=utf-8\r\n";

impl<'a> Answer<'a> {
    pub(crate) const fn empty(status: u16) -> Self {
        Self { status, content_type: b"", body: b"", headers: &[], head_only: false }
    }

    pub(crate) const fn json(status: u16, body: &'a [u8]) -> Self {
        Self { content_type: JSON, body, ..Self::empty(status) }
    }

    pub(crate) const fn reject(reject: Reject) -> Answer<'static> {
        let (status, body) = (reject.status(), reject.body().as_bytes());
        let answer =
            if body.is_empty() { Answer::empty(status) } else { Answer::json(status, body) };
        Answer { headers: reject.headers(), ..answer }
    }

    pub(crate) const fn violation(violation: Violation) -> Answer<'static> {
        match violation.reject_code() {
            Some(1) => Answer::reject(Reject::UnknownSid),
            Some(_) => Answer::reject(Reject::BadRequest),
            None => Answer::empty(violation.status()),
        }
    }
}

/// A 503 says when to try again (RFC 9110 section 15.6.4).
const RETRY: &[(&str, &str)] = &[("Retry-After", "1")];

/// The response to a handshake that the server cannot accept now.
pub(crate) const UNAVAILABLE: Answer<'static> = Answer { headers: RETRY, ..Answer::empty(503) };

/// The response to a handshake of an address that has made as many as it may in this second.
pub(crate) const TOO_MANY_HANDSHAKES_OF_ADDRESS: Answer<'static> =
    Answer { headers: RETRY, ..Answer::json(429, b"\"Too Many Requests\"") };

/// The response to a connection of an address that has as many as it may have.
pub(crate) const TOO_MANY_CONNECTIONS: Answer<'static> =
    Answer { headers: &[("Retry-After", "5")], ..Answer::empty(429) };

impl<T> Conn<T> {
    /// Writes a response into the send buffer.
    pub(crate) fn reply(&mut self, answer: Answer<'_>, persistence: Persistence) {
        if answer.status >= 400 {
            self.state.counters.refused(answer.status, Reject::code_in(answer.body));
        }
        self.set_status(answer.status);
        let Self { state, http, extra, .. } = self;
        let persistence = persistence.lines(&state.keep_alive);
        let out = http.out_mut();
        let start = out.0.len();
        if write(out, answer, persistence, &state.date(), extra).is_err() {
            // All parts are constants, except the extra lines, which were checked when they were written.
            out.0.truncate(start);
        }
    }

    /// Writes the response to a POST whose packets were handled (docs/protocol.md 2.3.1), as [`reply`](Self::reply) does.
    pub(crate) fn reply_ok(&mut self, persistence: Persistence) {
        const START: &[u8] = b"HTTP/1.1 200 OK\r\n\
            Content-Type: text/html\r\n\
            Content-Length: 2\r\n\
            Cache-Control: no-store\r\n";
        self.set_status(200);
        let Self { state, http, extra, .. } = self;
        let (date, persistence) = (state.date(), persistence.lines(&state.keep_alive));
        let out = http.out_mut();
        for lines in [START, &date, persistence, extra, b"\r\nok"] {
            out.0.extend_from_slice(lines);
        }
    }

    /// Writes the answer of the application to a request that it refuses.
    pub(crate) fn reply_refusal(
        &mut self,
        refusal: &Refusal,
        head_only: bool,
        persistence: Persistence,
    ) {
        if let Some(headers) = refusal.headers() {
            hooks::write_lines(&mut self.extra, headers);
        }
        let content_type = match refusal.media_type() {
            _ if refusal.body().is_empty() => b"",
            MediaType::None => b"",
            MediaType::Json => JSON,
            MediaType::Text => TEXT,
            MediaType::Other(media_type) => {
                let mut lines = OutBuf(std::mem::take(&mut self.extra));
                let media_type = media_type.to_str().unwrap_or("application/octet-stream");
                let written = header_line(&mut lines, "Content-Type", &[media_type]);
                debug_assert!(written.is_ok(), "visible ASCII");
                self.extra = lines.0;
                b""
            }
        };
        let status = refusal.status().as_u16();
        let body = refusal.body();
        let says_when =
            refusal.headers().is_some_and(|headers| headers.contains_key("retry-after"));
        let headers = if status == 503 && !says_when { RETRY } else { &[] };
        let answer = Answer { content_type, body, head_only, headers, ..Answer::empty(status) };
        self.reply(answer, persistence);
    }

    /// Writes the response to a preflight that asks for the headers `wanted`; `None` if its origin is not allowed.
    pub(crate) fn reply_preflight(&mut self, wanted: Option<&[u8]>, persistence: Persistence) {
        self.set_status(204);
        let extra = std::mem::take(&mut self.extra);
        let state = self.state.clone();
        let persistence = persistence.lines(&state.keep_alive);
        cors::write_preflight(self.out_mut(), wanted, &state.date(), &extra, persistence);
        self.extra = extra;
    }
}

fn write(
    out: &mut OutBuf,
    answer: Answer<'_>,
    persistence: &[u8],
    date: &[u8],
    extra: &[u8],
) -> Result<(), WriteError> {
    let mut head = response(out, answer.status)?.raw(date)?.raw(answer.content_type)?;
    for (name, value) in answer.headers {
        head = head.header(name, value)?;
    }
    // RFC 9110 section 8.6: no Content-Length in a 204, and in a 304 only that of the 200.
    if answer.status != 204 && answer.status != 304 {
        head = head.number("Content-Length", answer.body.len() as u64)?;
    }
    head = head.raw(b"Cache-Control: no-store\r\n")?.raw(persistence)?.raw(extra)?;
    head.end()?;
    if !answer.head_only {
        out.0.extend_from_slice(answer.body);
    }
    Ok(())
}
