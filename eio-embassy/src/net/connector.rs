//! [`Connector`]: establishes connections.

use core::future::Future;

use embedded_io_async::{Read, Write};

use crate::error::Error;

/// Establishes one connection at a time, again after each loss.
///
/// With the feature `embassy-net` there is `tcp::TcpConnector`, with `edge-nal` there is `edge::EdgeConnector`.
/// Implement the trait for any other network, or for TLS:
///
/// ```
/// use eio_embassy::{Connector, Error};
/// use embedded_io_async::{Read, Write};
///
/// /// A serial line to a modem, which connects by itself.
/// struct Modem<R, W> {
///     receiver: R,
///     sender: W,
/// }
///
/// impl<R: Read, W: Write> Connector for Modem<R, W> {
///     type Reader<'a> = &'a mut R where Self: 'a;
///     type Writer<'a> = &'a mut W where Self: 'a;
///
///     async fn connect(&mut self, _host: &str, _port: u16) -> Result<(), Error> {
///         Ok(())
///     }
///
///     fn split(&mut self) -> (&mut R, &mut W) {
///         (&mut self.receiver, &mut self.sender)
///     }
///
///     async fn close(&mut self) {}
/// }
/// ```
pub trait Connector {
    /// The receiving half. A pending `read` that is dropped must not lose bytes.
    type Reader<'a>: Read
    where
        Self: 'a;
    /// The sending half. A pending `write` or `flush` that is dropped must not lose bytes.
    type Writer<'a>: Write
    where
        Self: 'a;

    /// Establishes a connection. An earlier connection is aborted.
    ///
    /// If the future is dropped, the next call should continue its attempt instead of starting another. So call
    /// [`close`](Self::close) before a connection to another address.
    ///
    /// # Errors
    /// [`Error::Resolve`], [`Error::Connect`] or [`Error::TimedOut`]. It must not wait forever.
    fn connect(&mut self, host: &str, port: u16) -> impl Future<Output = Result<(), Error>>;

    /// The halves of the connection. Without a connection their operations return an error.
    fn split(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>);

    /// Closes the connection, if there is one, after the bytes that were written, as far as the peer accepts them soon.
    fn close(&mut self) -> impl Future<Output = ()>;
}
