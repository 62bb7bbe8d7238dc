//! edge-nal: anything that dials by its traits, such as std sockets, OpenThread, or mbedtls over another.

use core::net::{IpAddr, SocketAddr};

use edge_nal::{AddrType, Dns, TcpConnect, TcpShutdown, TcpSplit};
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer};
use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

use crate::error::{Error, Waiting};
use crate::net::connector::Connector;

/// A [`Connector`] over a stack of edge-nal's.
///
/// Whether a `dial` that is dropped goes on is the stack's business; here it starts again.
#[derive(Debug)]
pub struct EdgeConnector<'s, N: TcpConnect> {
    stack: &'s N,
    socket: Option<N::Socket<'s>>,
    timeout: Duration,
}

impl<'s, N: TcpConnect + Dns> EdgeConnector<'s, N> {
    /// A connector on `stack`. It gives up after 10 s each for the name and for the connection.
    pub const fn new(stack: &'s N) -> Self {
        Self { stack, socket: None, timeout: Duration::from_secs(10) }
    }

    /// How long to wait for a name server, and then for a connection.
    #[must_use]
    pub const fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn within<T, E>(
        &self,
        attempt: impl Future<Output = Result<T, E>>,
        failed: Error,
        waiting: Waiting,
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

    async fn dial(&mut self, host: &str, port: u16) -> Result<(), Error> {
        self.socket = None;
        let address = match host.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => {
                let query = self.stack.get_host_by_name(host, AddrType::Either);
                self.within(query, Error::Dns, Waiting::Dns).await?
            }
        };
        let connect = self.stack.connect(SocketAddr::new(address, port));
        self.socket = Some(self.within(connect, Error::Connect, Waiting::Connect).await?);
        Ok(())
    }

    fn split(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        let (reader, writer) = self.socket.as_mut().map(TcpSplit::split).unzip();
        (Half(reader), Half(writer))
    }

    async fn hang_up(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            let _ = select(socket.abort(), Timer::after(Duration::from_millis(100))).await;
        }
    }
}

/// Half of a connection, if there is one.
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
