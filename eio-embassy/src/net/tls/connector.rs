//! [`TlsConnector`] and the memory of its connections.

use core::fmt;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};

use crate::error::{Error, Timeout};
use crate::net::connector::Connector;
use crate::net::tls::config::TlsConfig;
use crate::net::tls::runner::TlsRunner;
use crate::net::tls::shared::{Command, HOST_MAX, Shared, TlsReader, TlsWriter};
use crate::tls_error::TlsError;

/// A record to send, with 128 bytes of overhead. The first message of the handshake must fit.
const SENT: usize = 1_024;

/// The memory of one TLS connection: `RECORD` bytes for a received record, 1 KB for a record to send, 1 KB of plain
/// bytes, and 0.4 KB of state. In addition the future of [`TlsRunner::run`] has 4.5 KB, which are in the task, and a
/// handshake uses 12 KB of stack (on a Cortex-M, as `ci/firmware.py tls` prints it).
///
/// | `RECORD` | largest fragment asked for | suits |
/// |---|---|---|
/// | 1,280 | 1,024 | a certificate of an authority of your own |
/// | 2,304 | 2,048 | a chain of two certificates on P-256 |
/// | 4,352 | 4,096 | chains of public authorities |
/// | 16,640 | 16,384, the limit of TLS | servers that send larger records than asked for |
///
/// The certificates of the server must fit one record, because embedded-tls does not assemble them from several. OpenSSL
/// (node, nginx) sends records of at most the size asked for (`max_fragment_length`, RFC 6066 section 4). rustls ignores
/// that: set `max_fragment_size` of its `ServerConfig`, or send only messages that fit. A larger record ends the
/// connection with `ErrorKind::OutOfMemory`, and a handshake with [`TlsError::TooLarge`].
///
/// Less than 1,280 does not compile.
pub struct TlsMemory<const RECORD: usize> {
    received: [u8; RECORD],
    sent: [u8; SENT],
    shared: Shared,
}

impl<const RECORD: usize> TlsMemory<RECORD> {
    /// Empty memory. `new` is `const`, so it can be a `static` (in a `ConstStaticCell`).
    pub const fn new() -> Self {
        const { assert!(RECORD >= 1_280, "a record of 1,024 bytes needs 1,280 bytes") };
        Self { received: [0; RECORD], sent: [0; SENT], shared: Shared::new() }
    }
}

impl<const RECORD: usize> Default for TlsMemory<RECORD> {
    fn default() -> Self {
        Self::new()
    }
}

/// A [`Connector`] for TLS 1.3 over another one. `connect`, `PollingClient` and the upgrades work over it.
///
/// A [`TlsRunner`] runs the connection. Without it, connecting ends with [`Timeout::Tls`].
///
/// ```no_run
/// use eio_embassy::tls::{TlsConfig, TlsConnector, TlsMemory};
/// use eio_embassy::{Buffers, Config, Connector, Error, connect};
/// use embassy_futures::select::{Either, select};
///
/// async fn greet(tcp: impl Connector, tls: TlsConfig<'_>, mut random: impl FnMut() -> u32 + Clone)
/// -> Result<(), Error> {
///     let mut memory = TlsMemory::<4352>::new();
///     let (mut connector, mut runner) = TlsConnector::new(tcp, &mut memory, tls, random.clone());
///     let session = async {
///         let config = Config::new("engine.example:443");
///         let mut buffers = Buffers::<1536, 512>::new();
///         let mut client = connect(&mut connector, &config, &mut buffers, &mut random).await?;
///         client.send("hello over TLS").await?;
///         client.disconnect().await
///     };
///     // In firmware the runner has a task of its own.
///     match select(session, runner.run()).await {
///         Either::First(result) => result,
///         Either::Second(never) => never,
///     }
/// }
/// ```
///
/// # Certificates
///
/// Those of the server must lead to an authority of [`TlsConfig::new`]; each one in between must be that of an authority
/// (`basicConstraints`, with its path length and name constraints); all must be valid at the time of the clock;
/// the server must prove that it has the key, and its certificate must be for servers and contain the name. That suits
/// public authorities. Signatures are ECDSA on P-256 with SHA-256, and with the feature `tls-p384` also on P-384 with
/// SHA-384. Not checked: revocation, and `keyUsage`. Not implemented: RSA, Ed25519, client certificates.
///
/// # Limits of embedded-tls 0.19
///
/// It sends no alert when it refuses a certificate: the server sees the connection end. It does not implement key updates,
/// after which the connection ends. It panics if a server whose certificate was accepted sends a handshake message other
/// than a session ticket after the handshake: a server that does so restarts the device. (An encrypted record without
/// content, at which it would panic as well, is refused before it decrypts it.)
pub struct TlsConnector<'m> {
    shared: &'m Shared,
    timeout: Duration,
}

impl<'m> TlsConnector<'m> {
    /// A connector over `connector`, and the runner of its connections. `random` is a source of random numbers as for
    /// [`connect`](crate::connect). It makes keys, so its output must be unpredictable.
    pub fn new<C: Connector, G: FnMut() -> u32, const RECORD: usize>(
        connector: C,
        memory: &'m mut TlsMemory<RECORD>,
        config: TlsConfig<'m>,
        random: G,
    ) -> (Self, TlsRunner<'m, C, G>) {
        let TlsMemory { received, sent, shared } = memory;
        let shared = &*shared;
        let timeout = config.timeout;
        (Self { shared, timeout }, TlsRunner { shared, connector, received, sent, config, random })
    }

    /// Asks the runner for a connection, unless an attempt to the same host is not finished.
    fn request(&self, host: &str, port: u16) -> Result<(), Error> {
        let shared = self.shared;
        let mut current = shared.host.borrow_mut();
        if shared.connecting.get() && *current == host && shared.port.get() == port {
            return Ok(());
        }
        *current =
            heapless::String::<HOST_MAX>::try_from(host).map_err(|_| Error::Tls(TlsError::Name))?;
        shared.port.set(port);
        shared.deadline.set(Instant::now() + self.timeout);
        shared.connecting.set(true);
        shared.begin();
        shared.command.signal(Command::Connect);
        Ok(())
    }
}

impl Connector for TlsConnector<'_> {
    type Reader<'a>
        = TlsReader<'a>
    where
        Self: 'a;
    type Writer<'a>
        = TlsWriter<'a>
    where
        Self: 'a;

    async fn connect(&mut self, host: &str, port: u16) -> Result<(), Error> {
        self.request(host, port)?;
        let shared = self.shared;
        // The runner has the same deadline. This one is for a runner that does not run.
        let limit = shared.deadline.get() + Duration::from_secs(1);
        let result = match select(shared.result(), Timer::at(limit)).await {
            Either::First(result) => result,
            Either::Second(()) => Err(Error::TimedOut(Timeout::Tls)),
        };
        shared.connecting.set(false);
        result
    }

    fn split(&mut self) -> (TlsReader<'_>, TlsWriter<'_>) {
        (TlsReader(self.shared), TlsWriter(self.shared))
    }

    async fn close(&mut self) {
        let shared = self.shared;
        shared.connecting.set(false);
        shared.closed.reset();
        if shared.open.get() {
            shared.closing.signal(());
            let closed = shared.closed.wait();
            if let Either::First(()) = select(closed, Timer::after_millis(1_000)).await {
                return;
            }
        }
        shared.command.signal(Command::Abort);
        let _ = select(shared.closed.wait(), Timer::after_millis(1_000)).await;
    }
}

impl fmt::Debug for TlsConnector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsConnector {{ shared: {:?} }}", self.shared)
    }
}

impl<const RECORD: usize> fmt::Debug for TlsMemory<RECORD> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsMemory<{RECORD}>")
    }
}
