//! HTTP/1.1 messages (RFC 9112) for both roles. This module knows nothing of Engine.IO.
//!
//! | task | use |
//! |---|---|
//! | find the end of a head | [`HeadScanner`] |
//! | parse it | [`RequestHead`], [`ResponseHead`], [`ResponseLines`], [`Headers`], [`Target`] |
//! | decode the body | [`BodyDecoder`] |
//! | write | [`request`], [`request_parts`], [`response`], [`chunk`], [`last_chunk`] |
//! | parse the URL for a client | [`Url`] |
//!
//! Framing that two implementations could interpret differently is rejected, not repaired: a proxy between the peer and
//! this endpoint may have repaired it in another way. After any [`Error`] the position in the stream is lost: answer
//! with [`Error::status`] and close the connection.
//!
//! ```
//! use eio_core::buffer::RecvBuffer;
//! use eio_core::http::{BodyDecoder, EMPTY, HeadScanner, RequestHead, Step};
//!
//! let mut rx = RecvBuffer::new([0; 256]);
//! rx.append(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /next")?;
//!
//! let mut scanner = HeadScanner::new();
//! let len = scanner.poll(rx.unread(), 8192)?.expect("the head is complete");
//! let mut slots = [EMPTY; 16];
//! let head = RequestHead::parse(&rx.unread()[..len], &mut slots)?;
//! assert_eq!((head.method, head.target), ("POST", "/x"));
//! let mut body = BodyDecoder::new(head.framing()?, 1_000_000);
//! rx.skip(len);
//! assert_eq!(body.poll(&mut rx)?, Step::Done);
//! assert_eq!((rx.kept(), rx.unread()), (&b"hi"[..], &b"GET /next"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod head;
mod headers;
mod lines;
mod scanner;
mod target;
mod url;
mod write;

pub use body::{BodyDecoder, Framing, Step};
pub use head::{RequestHead, ResponseHead};
pub use headers::{EMPTY, Header, Headers, keep_alive_timeout};
pub use lines::ResponseLines;
pub use scanner::HeadScanner;
pub use target::Target;
pub use url::{Scheme, Url, UrlError};
pub use write::{
    HeadWriter, WriteError, chunk, header_line, last_chunk, reason, request, request_parts,
    response,
};

/// Why a message of the peer was rejected. One variant for each violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The head did not end within the allowed number of bytes.
    HeadTooLarge,
    /// Not even the first line ended within the allowed number of bytes.
    StartLineTooLarge,
    /// More header lines than slots.
    TooManyHeaders,
    /// More than two empty lines before a request.
    LeadingEmptyLines,
    /// A line feed without a carriage return.
    BareLf,
    /// A carriage return without a line feed.
    BareCr,
    /// A zero byte in a head.
    Nul,
    /// A record of TLS: the peer, or its port, is for `https` or `wss`.
    Tls,
    /// The input is not exactly one head: its end is missing, or bytes follow it.
    NotOneHead,
    /// The request line is not `method SP target SP version`.
    BadRequestLine,
    /// The status line is not `version SP status SP reason`, or the status is not 100 to 599.
    BadStatusLine,
    /// A version of HTTP other than 1.0 and 1.1.
    UnsupportedVersion,
    /// A request target that is neither a path, nor an http URL, nor `*`; or that has illegal characters.
    BadTarget,
    /// A header name that is not a token.
    BadHeaderName,
    /// White space between a header name and its colon.
    SpaceBeforeColon,
    /// A folded header line (obs-fold).
    ObsFold,
    /// A control character in a header value.
    BadHeaderValue,
    /// An HTTP/1.1 request without Host.
    MissingHost,
    /// More than one Host.
    RepeatedHost,
    /// A Host that is not `host` or `host:port`.
    BadHost,
    /// A Content-Length that is not one number of at most 64 bits.
    BadContentLength,
    /// More than one Content-Length, equal or not.
    RepeatedContentLength,
    /// Content-Length together with Transfer-Encoding.
    LengthAndTransferEncoding,
    /// Transfer-Encoding in a message of HTTP/1.0, which does not define it.
    TransferEncodingInHttp10,
    /// A Transfer-Encoding other than `chunked` alone.
    UnknownTransferEncoding,
    /// The body is larger than allowed, or announced to be.
    BodyTooLarge,
    /// A chunk size that is not 1 to 16 hexadecimal digits, or an illegal chunk extension.
    BadChunkLine,
    /// A chunk longer than its announced size.
    BadChunkEnd,
    /// Too many bytes of chunk sizes, extensions and trailers for the size of the body.
    TooMuchFraming,
    /// An invalid trailer line.
    BadTrailer,
    /// The stream ended inside a body.
    Truncated,
}

impl Error {
    /// The status with which a server answers before it closes the connection. A client that gets this error in a
    /// response only closes.
    pub const fn status(self) -> u16 {
        match self {
            // "A server that receives a request-target longer than any URI it wishes to parse MUST respond
            // with a 414 (URI Too Long)" (RFC 9112 section 3).
            Self::StartLineTooLarge => 414,
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::BodyTooLarge | Self::TooMuchFraming => 413,
            // "A server that receives a request message with a transfer coding it does not understand
            // SHOULD respond with 501 (Not Implemented)" (RFC 9112 section 6.1).
            Self::UnknownTransferEncoding => 501,
            Self::UnsupportedVersion => 505,
            _ => 400,
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::HeadTooLarge => "the head is too large",
            Self::StartLineTooLarge => "the first line is too large",
            Self::TooManyHeaders => "too many headers",
            Self::LeadingEmptyLines => "too many empty lines before a head",
            Self::BareLf => "a line feed without a carriage return",
            Self::BareCr => "a carriage return without a line feed",
            Self::Nul => "a zero byte in a head",
            Self::Tls => "TLS instead of HTTP: the port or the URL is for https",
            Self::NotOneHead => "not exactly one head",
            Self::BadRequestLine => "malformed request line",
            Self::BadStatusLine => "malformed status line",
            Self::UnsupportedVersion => "unsupported version of HTTP",
            Self::BadTarget => "malformed request target",
            Self::BadHeaderName => "illegal header name",
            Self::SpaceBeforeColon => "white space before the colon of a header",
            Self::ObsFold => "folded header line",
            Self::BadHeaderValue => "illegal header value",
            Self::MissingHost => "no Host",
            Self::RepeatedHost => "more than one Host",
            Self::BadHost => "malformed Host",
            Self::BadContentLength => "malformed Content-Length",
            Self::RepeatedContentLength => "more than one Content-Length",
            Self::LengthAndTransferEncoding => "both Content-Length and Transfer-Encoding",
            Self::TransferEncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::UnknownTransferEncoding => "Transfer-Encoding other than chunked",
            Self::BodyTooLarge => "the body is too large",
            Self::BadChunkLine => "malformed chunk size or extension",
            Self::BadChunkEnd => "a chunk does not end where announced",
            Self::TooMuchFraming => "too much chunk framing",
            Self::BadTrailer => "malformed trailer",
            Self::Truncated => "the stream ended inside a body",
        })
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_of_each_kind_of_error() {
        for (error, status) in [
            (Error::StartLineTooLarge, 414),
            (Error::HeadTooLarge, 431),
            (Error::TooManyHeaders, 431),
            (Error::BodyTooLarge, 413),
            (Error::TooMuchFraming, 413),
            (Error::UnknownTransferEncoding, 501),
            (Error::UnsupportedVersion, 505),
            (Error::BareLf, 400),
            (Error::LengthAndTransferEncoding, 400),
            (Error::Truncated, 400),
        ] {
            assert_eq!(error.status(), status, "{error}");
        }
    }
}
