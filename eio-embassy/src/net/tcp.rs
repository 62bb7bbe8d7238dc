//! embassy-net: the only file that names it, because its next version brings another stack.

use core::fmt;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use embassy_futures::select::{Either, select};
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::{State, TcpReader, TcpSocket, TcpWriter};
use embassy_net::{IpAddress, IpEndpoint, Stack};
use embassy_time::{Duration, Instant, Timer};

use crate::error::{Error, Waiting};
use crate::net::connector::Connector;

/// A [`Connector`] over one TCP socket of embassy-net.
///
/// The socket's buffers are beside those of the client: what is under way between the two ends. Half a
/// kilobyte each is enough for a sensor; a window smaller than a segment makes both ends wait.
pub struct TcpConnector<'d> {
    stack: Stack<'d>,
    socket: TcpSocket<'d>,
    timeout: Duration,
    /// The connection that is being made, and until when.
    dialing: Option<(IpEndpoint, Instant)>,
}

impl<'d> TcpConnector<'d> {
    /// A connector on `stack`, its socket having these buffers. It gives up after 10 s each for the name
    /// and for the connection.
    pub fn new(stack: Stack<'d>, rx: &'d mut [u8], tx: &'d mut [u8]) -> Self {
        let mut socket = TcpSocket::new(stack, rx, tx);
        // What was sent should leave at once; messages are small.
        socket.set_nagle_enabled(false);
        Self { stack, socket, timeout: Duration::from_secs(10), dialing: None }
    }

    /// How long to wait for a name server, and then for a connection.
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn resolve(&self, host: &str) -> Result<IpAddress, Error> {
        let query = self.stack.dns_query(host, DnsQueryType::A);
        match select(query, Timer::after(self.timeout)).await {
            Either::First(Ok(addresses)) => addresses.first().copied().ok_or(Error::Dns),
            Either::First(Err(_)) => Err(Error::Dns),
            Either::Second(()) => Err(Error::TimedOut(Waiting::Dns)),
        }
    }

    /// Waits for the connection that is being made.
    async fn established(&self) -> Result<(), Error> {
        poll_fn(|context| match self.socket.state() {
            State::SynSent | State::SynReceived => {
                // Ready or not, it is woken when the state changes.
                let _ = pin!(self.socket.wait_write_ready()).poll(context);
                Poll::Pending
            }
            State::Established | State::CloseWait => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(Error::Connect)),
        })
        .await
    }

    /// Cuts off whatever is connected and waits until that is on its way, but not long.
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

    async fn dial(&mut self, host: &str, port: u16) -> Result<(), Error> {
        let until = match self.dialing {
            Some((_, until)) => until,
            None => {
                let endpoint = IpEndpoint::new(self.resolve(host).await?, port);
                self.reset().await;
                let until = Instant::now() + self.timeout;
                // Polled once, it is under way, and goes on when this future is dropped.
                self.dialing = Some((endpoint, until));
                if let Poll::Ready(result) =
                    embassy_futures::poll_once(self.socket.connect(endpoint))
                {
                    self.dialing = None;
                    return result.map_err(|_| Error::Connect);
                }
                until
            }
        };
        let result = match select(self.established(), Timer::at(until)).await {
            Either::First(result) => result,
            Either::Second(()) => Err(Error::TimedOut(Waiting::Connect)),
        };
        self.dialing = None;
        if result.is_err() {
            self.reset().await;
        }
        result
    }

    fn split(&mut self) -> (TcpReader<'_>, TcpWriter<'_>) {
        self.socket.split()
    }

    async fn hang_up(&mut self) {
        self.dialing = None;
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
