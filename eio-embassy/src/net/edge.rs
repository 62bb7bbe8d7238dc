//! [`EdgeConnector`]: connections over the traits of edge-nal, such as std sockets, OpenThread, or mbedtls over another
//! stack.

use core::net::{IpAddr, SocketAddr};

use edge_nal::{AddrType, Dns, TcpConnect, TcpShutdown, TcpSplit};
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer};
use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

use crate::error::{Error, Timeout};
use crate::net::connector::Connector;

/// A [`Connector`] over a network stack that implements `TcpConnect` and `Dns` of edge-nal.
///
/// A program with threads instead of an executor blocks on it: a thread of its own runs `block_on` of any executor, and other
/// threads send to a channel, as in `examples/host`.
///
/// ```no_run
/// # use eio_embassy::edge::EdgeConnector;
/// # use eio_embassy::{Buffers, Config, Error, connect};
/// # use edge_nal::{Dns, TcpConnect};
/// fn report<N: TcpConnect + Dns>(stack: &N, random: impl FnMut() -> u32, text: &str) -> Result<(), Error> {
///     let mut connector = EdgeConnector::new(stack);
///     let mut buffers = Buffers::<1536, 512>::new();
///     embassy_futures::block_on(async {
///         let config = Config::new("engine.example:3000");
///         let mut client = connect(&mut connector, &config, &mut buffers, random).await?;
///         client.send(text).await?;
///         client.disconnect().await
///     })
/// }
/// ```
///
/// `embassy_futures::block_on` polls without a pause; that of `async-io` or `futures-lite` sleeps until the stack wakes it.
///
/// A `connect` that is dropped starts again with the next call, unless the stack continues it.
///
/// ```no_run
/// use eio_embassy::edge::EdgeConnector;
/// use eio_embassy::{Buffers, Config, Error, connect};
/// use edge_nal::{Dns, TcpConnect};
///
/// async fn greet<N: TcpConnect + Dns>(stack: &N, random: impl FnMut() -> u32) -> Result<(), Error> {
///     let mut connector = EdgeConnector::new(stack);
///     let config = Config::new("engine.example:3000");
///     let mut buffers = Buffers::<1536, 512>::new();
///     let mut client = connect(&mut connector, &config, &mut buffers, random).await?;
///     client.send("hello").await?;
///     client.disconnect().await
/// }
/// ```
#[derive(Debug)]
pub struct EdgeConnector<'s, N: TcpConnect> {
    stack: &'s N,
    socket: Option<N::Socket<'s>>,
    timeout: Duration,
}

impl<'s, N: TcpConnect + Dns> EdgeConnector<'s, N> {
    /// A connector on `stack`.
    pub const fn new(stack: &'s N) -> Self {
        Self { stack, socket: None, timeout: Duration::from_secs(10) }
    }

    /// Time for the name server, and the same time again for the connection.
    ///
    /// **Default:** 10 s. **Range:** any duration. When it expires, connecting returns
    /// [`Timeout::Resolve`](crate::Timeout::Resolve) or [`Timeout::Connect`](crate::Timeout::Connect).
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn within<T, E>(
        &self,
        attempt: impl Future<Output = Result<T, E>>,
        failed: Error,
        waiting: Timeout,
    ) -> Result<T, Error> {
        match select(attempt, Timer::after(self.timeout)).await {
            Either::First(result) => result.map_err(|_| failed),
            Either::Second(()) => Err(Error::TimedOut(waiting)),
        }
    }
}

impl<'s, N: TcpConnect + Dns> Connector for EdgeConnector<'s, N> {
    type Reader<'a>
        = Half<<N::Socket<'s> as TcpSplit>::Read<'a>>
    where
        Self: 'a;
    type Writer<'a>
        = Half<<N::Socket<'s> as TcpSplit>::Write<'a>>
    where
        Self: 'a;

    async fn connect(&mut self, host: &str, port: u16) -> Result<(), Error> {
        self.socket = None;
        let address = match host.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => {
                let query = self.stack.get_host_by_name(host, AddrType::Either);
                self.within(query, Error::Resolve, Timeout::Resolve).await?
            }
        };
        let connect = self.stack.connect(SocketAddr::new(address, port));
        self.socket = Some(self.within(connect, Error::Connect, Timeout::Connect).await?);
        Ok(())
    }

    fn split(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        let (reader, writer) = self.socket.as_mut().map(TcpSplit::split).unzip();
        (Half(reader), Half(writer))
    }

    async fn close(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            let _ = select(socket.abort(), Timer::after(Duration::from_millis(100))).await;
        }
    }
}

/// A half of a connection. Without a connection its operations return [`ErrorKind::NotConnected`].
#[derive(Debug)]
pub struct Half<H>(Option<H>);

impl<H> ErrorType for Half<H> {
    type Error = ErrorKind;
}

impl<H: Read> Read for Half<H> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        let half = self.0.as_mut().ok_or(ErrorKind::NotConnected)?;
        half.read(into).await.map_err(|error| error.kind())
    }
}

impl<H: Write> Write for Half<H> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let half = self.0.as_mut().ok_or(ErrorKind::NotConnected)?;
        half.write(bytes).await.map_err(|error| error.kind())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        let half = self.0.as_mut().ok_or(ErrorKind::NotConnected)?;
        half.flush().await.map_err(|error| error.kind())
    }
}
