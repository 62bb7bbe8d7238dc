//! TLS 1.3 below the client, by embedded-tls.
//!
//! The client drops its `read` future when another event comes first. The `read` of embedded-tls must not be dropped,
//! because the head of a record would be lost with it. So a loop of its own awaits that `read` and writes the plain
//! bytes to a pipe, and a `read` from a pipe may be dropped.
//!
//! ```text
//! network ──► TlsReader ──► pipe ──► Client
//!         ◄── TlsWriter ◄── pipe ◄──
//! ```

#![no_std]
#![forbid(unsafe_code)]

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_sync::pipe;
use embassy_time::Timer;
use embedded_io_async::{ErrorType, Read, Write};
use embedded_tls::{CryptoProvider, TlsConfig, TlsConnection, TlsContext, TlsError};

/// Plain bytes between TLS and the client.
pub type Pipe = pipe::Pipe<NoopRawMutex, 1024>;

/// The memory of a connection, besides the stack of the handshake: 20.5 KB.
pub struct Memory {
    /// Servers send records of up to 16 KB and 256 bytes, unless the client asks for smaller ones.
    received: [u8; 16_640],
    sent: [u8; 2_048],
    inward: Pipe,
    outward: Pipe,
}

impl Memory {
    /// Empty memory. `new` is `const`, so it can be a `static`.
    pub const fn new() -> Self {
        Self { received: [0; 16_640], sent: [0; 2_048], inward: Pipe::new(), outward: Pipe::new() }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Opens TLS on an established connection and runs `session` over it. The operations of the halves that `session` gets
/// may be dropped while they are pending, as [`Client::connect`](eio_embassy::Client::connect) requires.
///
/// # Errors
/// TLS could not be established, or ended before `session` did. Bytes received before the end were passed to `session`.
pub async fn over_tls<P: CryptoProvider, T>(
    reader: impl Read,
    writer: impl Write,
    memory: &mut Memory,
    config: &TlsConfig<'_>,
    provider: P,
    session: impl AsyncFnOnce(&Pipe, &Pipe) -> T,
) -> Result<T, TlsError>
where
    P::CipherSuite: 'static,
{
    let (reader, writer) = (Mutex::new(reader), Mutex::new(writer));
    let socket = Halves { reader: &reader, writer: &writer };
    memory.inward.clear();
    memory.outward.clear();
    let Memory { received, sent, inward, outward } = memory;
    let (inward, outward) = (&*inward, &*outward);

    let mut tls: TlsConnection<'_, _, P::CipherSuite> = TlsConnection::new(socket, received, sent);
    tls.open(TlsContext::new(config, provider)).await?;
    let (mut tls_reader, mut tls_writer) = tls.split();

    // This block owns the read future until the session ends.
    let receive = async {
        let mut chunk = [0; 256];
        loop {
            match tls_reader.read(&mut chunk).await {
                Ok(0) => return TlsError::ConnectionClosed,
                Ok(n) => inward.write_all(&chunk[..n]).await,
                Err(error) => return error,
            }
        }
    };
    let send = async {
        let mut chunk = [0; 256];
        loop {
            let n = outward.read(&mut chunk).await;
            let sent = match tls_writer.write_all(&chunk[..n]).await {
                // Flush only if no more bytes fit into the same record.
                Ok(()) if outward.is_empty() => tls_writer.flush().await,
                sent => sent,
            };
            if let Err(error) = sent {
                return error;
            }
        }
    };
    let ended = async {
        let (Either::First(error) | Either::Second(error)) = select(receive, send).await;
        while !inward.is_empty() {
            Timer::after_millis(5).await;
        }
        error
    };
    match select(session(inward, outward), ended).await {
        Either::First(result) => Ok(result),
        Either::Second(error) => Err(error),
    }
}

/// The two halves of a connection as one socket that implements `Clone`, which embedded-tls requires to split it. Each
/// half has one user, so no lock is ever contended.
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
    type Error = embedded_io_async::ErrorKind;
}

impl<R: Read, W> Read for Halves<'_, R, W> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        self.reader.lock().await.read(into).await.map_err(|e| embedded_io_async::Error::kind(&e))
    }
}

impl<R, W: Write> Write for Halves<'_, R, W> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.writer.lock().await.write(bytes).await.map_err(|e| embedded_io_async::Error::kind(&e))
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.writer.lock().await.flush().await.map_err(|e| embedded_io_async::Error::kind(&e))
    }
}
