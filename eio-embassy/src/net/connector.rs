//! [`Connector`]: how connections come about.

use core::future::Future;

use embedded_io_async::{Read, Write};

use crate::error::Error;

/// One connection at a time, to be made again and again.
///
/// With the feature `embassy-net` there is `tcp::TcpConnector`, with `edge-nal`
/// there is `edge::EdgeConnector`. For anything else, TLS for example,
/// implement it: whoever dials decides what lies below the halves.
pub trait Connector {
    /// The receiving half. Dropping its `read` while it waits must lose nothing.
    type Reader<'a>: Read
    where
        Self: 'a;
    /// The sending half. Dropping its `write` or `flush` while it waits must lose nothing.
    type Writer<'a>: Write
    where
        Self: 'a;

    /// Connects. Whatever was connected before is cut off.
    ///
    /// A future of it that is dropped and made anew should go on, not start again; so before another address
    /// is dialed, [`hang_up`](Self::hang_up) is due.
    ///
    /// # Errors
    /// [`Error::Dns`], [`Error::Connect`] or [`Error::TimedOut`]: it must not wait for ever.
    fn dial(&mut self, host: &str, port: u16) -> impl Future<Output = Result<(), Error>>;

    /// The halves of the connection. Before [`dial`](Self::dial) and after it failed they fail, too.
    fn split(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>);

    /// Ends the connection, if there is one; what was written goes first, if it goes at once.
    fn hang_up(&mut self) -> impl Future<Output = ()>;
}
