//! [`TlsRunner`]: owns the connection below and the futures of embedded-tls, which must not be dropped.

use core::fmt;
use core::future::pending;
use core::pin::pin;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_time::{Instant, Timer};
use embedded_io_async::{BufRead, Error as _, ErrorKind, ErrorType, Read, Write};
use embedded_tls::{
    Aes128GcmSha256, CryptoProvider, CryptoRngCore, FlushPolicy, MaxFragmentLength, TlsConnection,
    TlsContext, TlsError as LibraryError, TlsVerifier,
};

use crate::error::{Closed, Error, Timeout};
use crate::net::connector::Connector;
use crate::net::tls::config::TlsConfig;
use crate::net::tls::records::Records;
use crate::net::tls::shared::{Command, Shared};
use crate::net::tls::verify::Verifier;
use crate::tls_error::TlsError;

/// Runs the connections of a [`TlsConnector`](super::TlsConnector). It must run as long as the connector is used: in a
/// task of its own, or next to the session by `select`.
pub struct TlsRunner<'m, C, G> {
    pub(super) shared: &'m Shared,
    pub(super) connector: C,
    pub(super) received: &'m mut [u8],
    pub(super) sent: &'m mut [u8],
    pub(super) config: TlsConfig<'m>,
    pub(super) random: G,
}

impl<C: Connector, G: FnMut() -> u32> TlsRunner<'_, C, G> {
    /// Runs forever.
    pub async fn run(&mut self) -> ! {
        let shared = self.shared;
        let mut command = shared.command.wait().await;
        loop {
            if let Command::Connect = command {
                match select(self.connection(), shared.command.wait()).await {
                    Either::First(()) => {}
                    Either::Second(next) => {
                        // The futures of TLS are dropped with their connection.
                        shared.end(Err(ErrorKind::ConnectionAborted));
                        command = next;
                        continue;
                    }
                }
            }
            self.connector.close().await;
            shared.closed.signal(());
            command = shared.command.wait().await;
        }
    }

    /// One connection, from its start to its end.
    async fn connection(&mut self) {
        let Self { shared, connector, received, sent, config, random } = self;
        let host = shared.host.borrow().clone();
        let (record, at) = (received.len(), shared.deadline.get());
        {
            let connect = pin!(connector.connect(&host, shared.port.get()));
            match select(connect, Timer::at(at)).await {
                Either::First(Ok(())) => {}
                Either::First(Err(error)) => return shared.failed(error),
                Either::Second(()) => return shared.failed(Error::TimedOut(Timeout::Connect)),
            }
        }
        let (reader, writer) = connector.split();
        let (reader, writer) = (Mutex::new(Records::new(reader)), Mutex::new(writer));
        let halves = Halves { reader: &reader, writer: &writer };
        let name = config.server_name.unwrap_or(&host);
        // Moved out of this block, because a variable that was borrowed has memory of its own in the future.
        let tls = {
            let mut tls = TlsConnection::new(halves.clone(), received, sent);
            tls.set_flush_policy(FlushPolicy::Relaxed);
            if let Err(error) = handshake(&mut tls, name, record, *config, random, at).await {
                return shared.failed(error);
            }
            shared.opened();
            if !pump(shared, &mut tls, halves).await {
                return;
            }
            tls
        };
        // A close_notify alert.
        let _ = tls.close().await;
        shared.end(Err(ErrorKind::NotConnected));
    }
}

/// The handshake, until `deadline`.
async fn handshake<R: Read, W: Write>(
    tls: &mut TlsConnection<'_, Halves<'_, R, W>, Aes128GcmSha256>,
    name: &str,
    record: usize,
    config: TlsConfig<'_>,
    random: &mut impl FnMut() -> u32,
    deadline: Instant,
) -> Result<(), Error> {
    let mut settings = embedded_tls::TlsConfig::new();
    // A server name is not an address (RFC 6066 section 3).
    if name.parse::<core::net::IpAddr>().is_err() {
        settings = settings.with_server_name(name);
    }
    if let Some(length) = fragment_length(record) {
        settings = settings.with_max_fragment_length(length);
    }
    let mut provider = Provider { rng: Rng(random), verifier: Verifier::new(config, name) };
    let opened = {
        let open = pin!(tls.open(TlsContext::new(&settings, &mut provider)));
        select(open, Timer::at(deadline)).await
    };
    match opened {
        Either::Second(()) => Err(Error::TimedOut(Timeout::Tls)),
        // A record that is refused before it is decrypted.
        Either::First(Err(LibraryError::Io(ErrorKind::InvalidData))) => {
            Err(Error::Tls(TlsError::Protocol))
        }
        Either::First(Err(LibraryError::Io(kind))) => Err(Error::io(&kind)),
        // The end of the connection below.
        Either::First(Err(LibraryError::IoError)) => Err(Error::Closed(Closed::TransportClose)),
        Either::First(result) => provider.verifier.finished(result).map_err(Error::Tls),
    }
}

/// Moves bytes between records and pipes until the connection ends. Returns whether this side ends it.
async fn pump<R: Read, W: Write>(
    shared: &Shared,
    tls: &mut TlsConnection<'_, Halves<'_, R, W>, Aes128GcmSha256>,
    mut halves: Halves<'_, R, W>,
) -> bool {
    let (mut reader, mut writer) = tls.split();
    let receive = async {
        loop {
            match reader.fill_buf().await {
                Ok(bytes) => {
                    let n = shared.received.write(bytes).await;
                    reader.consume(n);
                }
                Err(LibraryError::ConnectionClosed) => return Ok(0),
                Err(error) => return Err(kind(error)),
            }
        }
    };
    let send = async {
        let mut chunk = [0; 128];
        let (mut taken, mut flushed) = (0_u32, 0_u32);
        loop {
            let flush =
                async { if flushed == taken { pending().await } else { halves.flush().await } };
            // Pending bytes before the end.
            match select3(shared.sent.read(&mut chunk), flush, shared.closing.wait()).await {
                Either3::First(n) => {
                    let bytes = chunk.get(..n).unwrap_or_default();
                    writer.write_all(bytes).await.map_err(kind)?;
                    taken = taken.wrapping_add(n as u32);
                    // As many bytes as possible in one record.
                    if shared.sent.is_empty() {
                        writer.flush().await.map_err(kind)?;
                    }
                }
                Either3::Second(result) => {
                    result?;
                    flushed = taken;
                    shared.flushed(flushed);
                }
                Either3::Third(()) => return Ok::<(), ErrorKind>(()),
            }
        }
    };
    let mut receive = pin!(receive);
    match select(&mut receive, pin!(send)).await {
        Either::First(end) => shared.end(end),
        Either::Second(Ok(())) => return true,
        Either::Second(Err(kind)) => {
            // The server may have said why, in bytes that were not read yet.
            shared.end_writing(kind);
            shared.end(receive.await);
        }
    }
    false
}

/// An error of an established connection as the error of a half.
fn kind(error: LibraryError) -> ErrorKind {
    match error {
        LibraryError::Io(kind) => kind,
        // The end of the connection below, without the alert that ends TLS.
        LibraryError::IoError => ErrorKind::ConnectionReset,
        LibraryError::InsufficientSpace => ErrorKind::OutOfMemory,
        _ => ErrorKind::InvalidData,
    }
}

/// The largest fragment whose record fits `buffer` bytes (RFC 6066 section 4): it may be 256 bytes longer (RFC 8446
/// section 5.2). `None`: a record of any size fits.
const fn fragment_length(buffer: usize) -> Option<MaxFragmentLength> {
    const OVERHEAD: usize = 256;
    match buffer.saturating_sub(OVERHEAD) {
        16_384.. => None,
        4_096.. => Some(MaxFragmentLength::Bits12),
        2_048.. => Some(MaxFragmentLength::Bits11),
        1_024.. => Some(MaxFragmentLength::Bits10),
        _ => Some(MaxFragmentLength::Bits9),
    }
}

/// The random generator and the checks of certificates, for embedded-tls.
struct Provider<'a, G> {
    rng: Rng<'a, G>,
    verifier: Verifier<'a>,
}

impl<G: FnMut() -> u32> CryptoProvider for Provider<'_, G> {
    type CipherSuite = Aes128GcmSha256;
    type Signature = &'static [u8];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.rng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, LibraryError> {
        Ok(&mut self.verifier)
    }
}

/// A random source for rand_core 0.6.
struct Rng<'a, G>(&'a mut G);

impl<G: FnMut() -> u32> rand_core_06::RngCore for Rng<'_, G> {
    fn next_u32(&mut self) -> u32 {
        (self.0)()
    }

    fn next_u64(&mut self) -> u64 {
        rand_core_06::impls::next_u64_via_u32(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        rand_core_06::impls::fill_bytes_via_next(self, bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl<G: FnMut() -> u32> rand_core_06::CryptoRng for Rng<'_, G> {}

/// The halves of the connection below as one socket that implements `Clone`, which embedded-tls requires to split it.
/// Each half has one user, so no lock is contended.
struct Halves<'m, R, W> {
    reader: &'m Mutex<NoopRawMutex, R>,
    writer: &'m Mutex<NoopRawMutex, W>,
}

impl<R, W> Clone for Halves<'_, R, W> {
    fn clone(&self) -> Self {
        Self { reader: self.reader, writer: self.writer }
    }
}

impl<R, W> ErrorType for Halves<'_, R, W> {
    type Error = ErrorKind;
}

impl<R: Read, W> Read for Halves<'_, R, W> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        self.reader.lock().await.read(into).await.map_err(|error| error.kind())
    }
}

impl<R, W: Write> Write for Halves<'_, R, W> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.writer.lock().await.write(bytes).await.map_err(|error| error.kind())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.writer.lock().await.flush().await.map_err(|error| error.kind())
    }
}

impl<C, G> fmt::Debug for TlsRunner<'_, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsRunner {{ shared: {:?}, record: {} }}", self.shared, self.received.len())
    }
}
