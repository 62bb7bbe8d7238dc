//! [`Shared`]: the state that a connector and its runner share, and the halves of the connection over it.

use core::cell::{Cell, RefCell};

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::pipe::Pipe;
use embassy_sync::signal::Signal;
use embassy_time::Instant;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

use crate::error::Error;

/// Plain bytes in each direction, between a record and the buffers of the client.
const PIPE: usize = 512;
/// The longest host name (RFC 1035 section 2.3.4).
pub(super) const HOST_MAX: usize = 253;

/// A request of a connector to its runner.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// Connect to `host` and `port`.
    Connect,
    /// End the connection, in whatever state it is.
    Abort,
}

/// The result of an attempt. Its first value is zero, as that of [`Half`], so that the memory of a connector is not in
/// the initial data of firmware, in flash.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Outcome {
    Unknown,
    Open,
    Failed(Error),
}

/// One direction of a connection.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Half {
    Unconnected,
    Open,
    /// The result of operations after the last byte.
    Ended(Result<usize, ErrorKind>),
}

impl Half {
    const fn end(self) -> Option<Result<usize, ErrorKind>> {
        match self {
            Self::Unconnected => Some(Err(ErrorKind::NotConnected)),
            Self::Open => None,
            Self::Ended(end) => Some(end),
        }
    }
}

/// The state that a connector and its runner share. Each signal has one task that waits for it.
pub(super) struct Shared {
    pub(super) command: Signal<NoopRawMutex, Command>,
    pub(super) host: RefCell<heapless::String<HOST_MAX>>,
    pub(super) port: Cell<u16>,
    pub(super) deadline: Cell<Instant>,
    /// An attempt was asked for, and its result was not taken.
    pub(super) connecting: Cell<bool>,
    outcome: Cell<Outcome>,
    decided: Signal<NoopRawMutex, ()>,
    /// The handshake is complete, and the connection has not ended.
    pub(super) open: Cell<bool>,
    /// The connector wants to end an open connection after the bytes that were written.
    pub(super) closing: Signal<NoopRawMutex, ()>,
    /// The connection has ended, and the connection below is closed.
    pub(super) closed: Signal<NoopRawMutex, ()>,

    pub(super) received: Pipe<NoopRawMutex, PIPE>,
    pub(super) sent: Pipe<NoopRawMutex, PIPE>,
    /// How many bytes `sent` accepted, and how many of them the connection below has flushed; modulo 2^32.
    accepted: Cell<u32>,
    flushed: Cell<u32>,
    flush: Signal<NoopRawMutex, ()>,
    read: Cell<Half>,
    write: Cell<Half>,
    reader: Signal<NoopRawMutex, ()>,
    writer: Signal<NoopRawMutex, ()>,
}

impl Shared {
    pub(super) const fn new() -> Self {
        Self {
            command: Signal::new(),
            host: RefCell::new(heapless::String::new()),
            port: Cell::new(0),
            deadline: Cell::new(Instant::MIN),
            connecting: Cell::new(false),
            outcome: Cell::new(Outcome::Unknown),
            decided: Signal::new(),
            open: Cell::new(false),
            closing: Signal::new(),
            closed: Signal::new(),
            received: Pipe::new(),
            sent: Pipe::new(),
            accepted: Cell::new(0),
            flushed: Cell::new(0),
            flush: Signal::new(),
            read: Cell::new(Half::Unconnected),
            write: Cell::new(Half::Unconnected),
            reader: Signal::new(),
            writer: Signal::new(),
        }
    }

    /// The handshake is complete.
    pub(super) fn opened(&self) {
        self.accepted.set(0);
        self.flushed.set(0);
        self.closing.reset();
        self.read.set(Half::Open);
        self.write.set(Half::Open);
        self.open.set(true);
        self.decide(Outcome::Open);
    }

    /// There is no connection.
    pub(super) fn failed(&self, error: Error) {
        self.decide(Outcome::Failed(error));
    }

    fn decide(&self, outcome: Outcome) {
        self.outcome.set(outcome);
        self.decided.signal(());
    }

    /// Another attempt begins. Nothing of the connection before is received any more.
    pub(super) fn begin(&self) {
        self.outcome.set(Outcome::Unknown);
        self.decided.reset();
        self.open.set(false);
        self.read.set(Half::Unconnected);
        self.write.set(Half::Unconnected);
        self.received.clear();
        self.sent.clear();
    }

    /// The result of the attempt.
    pub(super) async fn result(&self) -> Result<(), Error> {
        loop {
            match self.outcome.get() {
                Outcome::Unknown => self.decided.wait().await,
                Outcome::Open => return Ok(()),
                Outcome::Failed(error) => return Err(error),
            }
        }
    }

    /// Nothing more is received after the bytes in the pipe, or sent.
    pub(super) fn end(&self, result: Result<usize, ErrorKind>) {
        self.open.set(false);
        if let Half::Open = self.read.get() {
            self.read.set(Half::Ended(result));
        }
        self.end_writing(result.err().unwrap_or(ErrorKind::NotConnected));
        self.reader.signal(());
    }

    /// Nothing more can be sent.
    pub(super) fn end_writing(&self, kind: ErrorKind) {
        if let Half::Open = self.write.get() {
            self.write.set(Half::Ended(Err(kind)));
        }
        self.writer.signal(());
    }

    /// The connection below has flushed the first `n` bytes that the pipe accepted.
    pub(super) fn flushed(&self, n: u32) {
        self.flushed.set(n);
        self.flush.signal(());
    }
}

/// The receiving half of a [`TlsConnector`](super::TlsConnector).
#[derive(Debug)]
pub struct TlsReader<'a>(pub(super) &'a Shared);

impl ErrorType for TlsReader<'_> {
    type Error = ErrorKind;
}

impl Read for TlsReader<'_> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        let shared = self.0;
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if let Ok(n) = shared.received.try_read(into) {
                return Ok(n);
            }
            if let Some(end) = shared.read.get().end() {
                return end;
            }
            match select(shared.received.read(into), shared.reader.wait()).await {
                Either::First(n) => return Ok(n),
                Either::Second(()) => {}
            }
        }
    }
}

/// The sending half of a [`TlsConnector`](super::TlsConnector).
#[derive(Debug)]
pub struct TlsWriter<'a>(pub(super) &'a Shared);

impl ErrorType for TlsWriter<'_> {
    type Error = ErrorKind;
}

impl Write for TlsWriter<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let shared = self.0;
        loop {
            if let Some(end) = shared.write.get().end() {
                return end;
            }
            if let Either::First(n) = select(shared.sent.write(bytes), shared.writer.wait()).await {
                shared.accepted.set(shared.accepted.get().wrapping_add(n as u32));
                return Ok(n);
            }
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        let shared = self.0;
        let accepted = shared.accepted.get();
        // The pipe holds fewer bytes than half of the range.
        while accepted.wrapping_sub(shared.flushed.get()).cast_signed() > 0 {
            if let Some(Err(kind)) = shared.write.get().end() {
                return Err(kind);
            }
            select(shared.flush.wait(), shared.writer.wait()).await;
        }
        Ok(())
    }
}

impl core::fmt::Debug for Shared {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Shared {{ open: {}, connecting: {} }}", self.open.get(), self.connecting.get())
    }
}
