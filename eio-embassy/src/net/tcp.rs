//! [`TcpConnector`]: connections over embassy-net. No other file names that crate, whose next version has another
//! stack.

use core::fmt;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use embassy_futures::select::{Either, select};
use embassy_net::tcp::{State, TcpReader, TcpSocket, TcpWriter};
use embassy_net::{IpAddress, IpEndpoint, Stack};
use embassy_time::{Duration, Instant, Timer};

use crate::error::{Error, Timeout};
use crate::net::connector::Connector;
use crate::poll::poll_once;

/// A [`Connector`] over one TCP socket of embassy-net.
///
/// It connects to addresses of IPv4; with the feature `ipv6` also to those of IPv6, in brackets; with the feature `dns` to
/// names, by A records, then (`ipv6`) AAAA records. Without `dns`, a name is [`Error::Resolve`]: the DNS client takes
/// kilobytes of flash and RAM, which the table of the crate states.
///
/// The buffers of the socket hold bytes in flight, in addition to [`Buffers`](crate::Buffers). 512 bytes each are
/// enough for a sensor. A receive window smaller than a segment makes both peers wait for each other.
///
/// ```no_run
/// use eio_embassy::tcp::TcpConnector;
/// use eio_embassy::{Buffers, Config, Error, connect};
/// use embassy_net::Stack;
/// use embassy_time::Duration;
///
/// async fn greet(stack: Stack<'_>, random: impl FnMut() -> u32) -> Result<(), Error> {
///     let (mut rx, mut tx) = ([0; 1536], [0; 1024]);
///     let mut connector =
///         TcpConnector::new(stack, &mut rx, &mut tx).connect_timeout(Duration::from_secs(5));
///     let config = Config::new("192.0.2.2:3000");
///     let mut buffers = Buffers::<1536, 512>::new();
///     let mut client = connect(&mut connector, &config, &mut buffers, random).await?;
///     client.send("hello").await?;
///     client.disconnect().await
/// }
/// ```
pub struct TcpConnector<'d> {
    #[cfg(feature = "dns")]
    stack: Stack<'d>,
    socket: TcpSocket<'d>,
    timeout: Duration,
    /// The address of a connection that is being established, and the deadline.
    connecting: Option<(IpEndpoint, Instant)>,
}

impl<'d> TcpConnector<'d> {
    /// A connector on `stack` whose socket has these buffers.
    pub fn new(stack: Stack<'d>, rx: &'d mut [u8], tx: &'d mut [u8]) -> Self {
        let mut socket = TcpSocket::new(stack, rx, tx);
        // Messages are small and should be sent at once.
        socket.set_nagle_enabled(false);
        Self {
            #[cfg(feature = "dns")]
            stack,
            socket,
            timeout: Duration::from_secs(10),
            connecting: None,
        }
    }

    /// Time for the name server, and the same time again for the connection.
    ///
    /// **Default:** 10 s. **Range:** any duration. When it expires, connecting returns
    /// [`Timeout::Resolve`](crate::Timeout::Resolve) or [`Timeout::Connect`](crate::Timeout::Connect).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn resolve(&self, host: &str) -> Result<IpAddress, Error> {
        if let Ok(address) = host.parse() {
            return Ok(IpAddress::Ipv4(address));
        }
        #[cfg(feature = "ipv6")]
        if let Ok(address) = host.parse() {
            return Ok(IpAddress::Ipv6(address));
        }
        #[cfg(feature = "dns")]
        return match select(self.query(host), Timer::after(self.timeout)).await {
            Either::First(address) => address.ok_or(Error::Resolve),
            Either::Second(()) => Err(Error::TimedOut(Timeout::Resolve)),
        };
        #[cfg(not(feature = "dns"))]
        Err(Error::Resolve)
    }

    /// The first address that a name server knows.
    #[cfg(feature = "dns")]
    async fn query(&self, host: &str) -> Option<IpAddress> {
        use embassy_net::dns::DnsQueryType;

        let addresses = self.stack.dns_query(host, DnsQueryType::A).await;
        #[cfg(feature = "ipv6")]
        let addresses = match addresses {
            Ok(addresses) if !addresses.is_empty() => Ok(addresses),
            _ => self.stack.dns_query(host, DnsQueryType::Aaaa).await,
        };
        addresses.ok()?.first().copied()
    }

    /// Waits until the connection is established.
    async fn established(&self) -> Result<(), Error> {
        poll_fn(|context| match self.socket.state() {
            State::SynSent | State::SynReceived => {
                // The result does not matter: this registers the task to be woken when the state changes.
                let _ = pin!(self.socket.wait_write_ready()).poll(context);
                Poll::Pending
            }
            State::Established | State::CloseWait => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(Error::Connect)),
        })
        .await
    }

    /// Aborts the connection and waits up to 100 ms until the reset is sent.
    async fn reset(&mut self) {
        self.socket.abort();
        let _ = select(self.socket.flush(), Timer::after(Duration::from_millis(100))).await;
    }
}

impl<'d> Connector for TcpConnector<'d> {
    type Reader<'a>
        = TcpReader<'a>
    where
        Self: 'a;
    type Writer<'a>
        = TcpWriter<'a>
    where
        Self: 'a;

    async fn connect(&mut self, host: &str, port: u16) -> Result<(), Error> {
        let until = match self.connecting {
            Some((_, until)) => until,
            None => {
                let endpoint = IpEndpoint::new(self.resolve(host).await?, port);
                self.reset().await;
                let until = Instant::now() + self.timeout;
                // Polled once, the attempt has begun, and continues if this future is dropped.
                self.connecting = Some((endpoint, until));
                if let Poll::Ready(result) = poll_once(self.socket.connect(endpoint)).await {
                    self.connecting = None;
                    return result.map_err(|_| Error::Connect);
                }
                until
            }
        };
        let result = match select(self.established(), Timer::at(until)).await {
            Either::First(result) => result,
            Either::Second(()) => Err(Error::TimedOut(Timeout::Connect)),
        };
        self.connecting = None;
        if result.is_err() {
            self.reset().await;
        }
        result
    }

    fn split(&mut self) -> (TcpReader<'_>, TcpWriter<'_>) {
        self.socket.split()
    }

    async fn close(&mut self) {
        self.connecting = None;
        self.socket.close();
        let _ = select(self.socket.flush(), Timer::after(Duration::from_millis(500))).await;
        self.reset().await;
    }
}

impl fmt::Debug for TcpConnector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpConnector {{ state: {:?} }}", self.socket.state())
    }
}
