//! [`TlsStream`]: a TLS connection, made of a socket and the state of rustls.
//!
//! Records are decrypted in the buffer that received them, and encrypted into the buffer that is sent. Both buffers
//! belong to the thread: a connection owns bytes only while a record is incomplete, or while the application or the
//! peer does not accept them.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem::take;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, Error, InvalidMessage, ServerConfig};

use crate::io::tls_session::{Inbound, Outbound, Session, Step};
use crate::worker::net::{Socket, Written};

pub(crate) struct TlsStream {
    socket: Socket,
    state: Box<State>,
}

/// The TLS state of a connection, which moves with it from worker to worker.
pub(crate) struct State {
    session: RefCell<Session>,
    /// Decrypted bytes, or the end of the stream, are pending: the socket may not become readable again.
    pending: Cell<bool>,
    /// The peer has sent close_notify.
    ended: Cell<bool>,
    /// An error has ended the connection. Rustls must see no further bytes: it would send a second alert.
    failed: Cell<bool>,
    /// Received and not decrypted: part of a record, or complete records if `complete`.
    encrypted_rx: RefCell<Vec<u8>>,
    complete: Cell<bool>,
    /// Decrypted, but not received by the application, which had too little room.
    plain_rx: RefCell<Vec<u8>>,
    /// Records to be sent before others.
    encrypted_tx: RefCell<Vec<u8>>,
    /// `encrypted_tx` holds the records of the bytes that the next write is to send.
    in_part: Cell<bool>,
    /// The verified certificate of the peer, in DER.
    certificate: OnceCell<Box<[u8]>>,
    /// The error of TLS that ended the connection, for example an alert of the peer.
    failure: OnceCell<Box<str>>,
}

/// The largest record with its head and tag, and a part of the next.
const MAX_RECORD: usize = 18 * 1024;
/// The most bytes that are kept until a record or a handshake message is complete. Rustls has no limit for bytes that it
/// does not own, and the padding of records can make a message of 64 KiB a thousand times as long.
const MAX_INCOMPLETE: usize = 64 * 1024;
/// The most bytes of plain text that are encrypted, or received, at a time.
const CHUNK: usize = 64 * 1024;
/// Room for the heads and tags of the records of a chunk.
const OVERHEAD: usize = 2 * 1024;

thread_local! {
    static RX: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static TX: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Makes `buffer` at least `len` bytes long.
fn grow(buffer: &mut Vec<u8>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
}

impl TlsStream {
    /// The client side, before [`handshake`](Self::handshake). `name` must match the server's certificate.
    pub(crate) fn client(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let session = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::new(socket, Session::Client(session), Vec::new()))
    }

    /// The server side, before [`handshake`](Self::handshake). `received`: its first bytes, as far as they have arrived.
    pub(crate) fn server(
        socket: Socket,
        config: Arc<ServerConfig>,
        received: Vec<u8>,
    ) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self::new(socket, Session::Server(session), received))
    }

    fn new(socket: Socket, session: Session, received: Vec<u8>) -> Self {
        let state = State {
            session: RefCell::new(session),
            // Application data may directly follow the handshake.
            pending: Cell::new(true),
            ended: Cell::new(false),
            failed: Cell::new(false),
            encrypted_rx: RefCell::new(received),
            complete: Cell::new(false),
            plain_rx: RefCell::default(),
            encrypted_tx: RefCell::default(),
            in_part: Cell::new(false),
            certificate: OnceCell::new(),
            failure: OnceCell::new(),
        };
        Self::from_parts(socket, Box::new(state))
    }

    pub(crate) fn from_parts(socket: Socket, state: Box<State>) -> Self {
        Self { socket, state }
    }

    pub(crate) fn into_parts(self) -> (Socket, Box<State>) {
        (self.socket, self.state)
    }

    /// Completes the TLS handshake.
    pub(crate) async fn handshake(&self) -> io::Result<()> {
        loop {
            let processed = self.process_received();
            // After an error, the alert that states the reason.
            let flushed = self.flush().await;
            processed?;
            flushed?;
            if !self.state.session.borrow().common().is_handshaking() {
                break;
            }
            poll_fn(|cx| self.socket.poll_budget(cx)).await;
            poll_fn(|cx| self.socket.poll_readable(cx)).await?;
            self.receive_more()?;
        }
        if let Some([own, ..]) = self.state.session.borrow().common().peer_certificates() {
            _ = self.state.certificate.set(own.as_ref().into());
        }
        Ok(())
    }

    /// Receives available bytes, and decrypts none.
    fn receive_more(&self) -> io::Result<()> {
        RX.with_borrow_mut(|scratch| {
            grow(scratch, MAX_RECORD);
            match self.socket.try_recv(scratch)? {
                None => {}
                // Without the peer's close_notify, an attacker may have truncated the stream.
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(n) => self.state.encrypted_rx.borrow_mut().extend_from_slice(&scratch[..n]),
            }
            Ok(())
        })
    }

    /// Processes all received records.
    fn process_received(&self) -> io::Result<()> {
        let mut held = take(&mut *self.state.encrypted_rx.borrow_mut());
        let (used, result) = self.process(&mut held, &mut [], &mut 0, None);
        result?;
        held.drain(..used);
        if !held.is_empty() {
            self.state.encrypted_rx.replace(held);
        }
        Ok(())
    }

    /// Processes records: the application's data is decrypted into `into` from `filled` on, then into `plain_rx`, until
    /// `into` is full or no complete record is left. With `outbound`, until it is encrypted. Returns the length of the
    /// processed records, and the step that was the last.
    fn process(
        &self,
        received: &mut [u8],
        into: &mut [u8],
        filled: &mut usize,
        mut outbound: Option<Outbound<'_>>,
    ) -> (usize, io::Result<Step>) {
        let state = &*self.state;
        if state.failed.get() {
            return (0, Err(io::ErrorKind::NotConnected.into()));
        }
        let mut session = state.session.borrow_mut();
        let (plain, records) =
            (&mut *state.plain_rx.borrow_mut(), &mut *state.encrypted_tx.borrow_mut());
        let mut inbound = Inbound { into, filled, plain, records, ended: state.ended.get() };
        let mut used = 0;
        let result = loop {
            let (discard, step) =
                session.step(&mut received[used..], &mut inbound, outbound.as_mut());
            used += discard;
            match step {
                Ok(Step::Progress) if outbound.is_none() && inbound.is_full() => {
                    break Ok(Step::Progress);
                }
                Ok(Step::Progress) => {}
                Ok(last) => break Ok(last),
                Err(error) => {
                    // The alert, which rustls returns before it processes further bytes.
                    _ = session.step(&mut received[used..], &mut inbound, None);
                    state.failed.set(true);
                    break Err(io::Error::other(error));
                }
            }
        };
        state.ended.set(inbound.ended);
        if matches!(result, Ok(Step::Blocked))
            && !inbound.ended
            && received.len() - used > MAX_INCOMPLETE
        {
            state.failed.set(true);
            let error = Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge);
            return (used, Err(io::Error::other(error)));
        }
        (used, result)
    }

    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.state.certificate.get().map(|certificate| &**certificate)
    }

    /// The error of TLS that ended the connection after its handshake.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.state.failure.get().map(|failure| &**failure)
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }
}

/// Receiving.
impl TlsStream {
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.pending.get() {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_readable(cx)
    }

    /// As [`Socket::try_recv`], but `None` may also mean that the received records had no application data: a peer may send
    /// such records without a pause, so the caller decides when to receive again.
    pub(crate) fn try_recv(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let mut filled = self.take_plain(into);
        if filled == 0
            && !self.state.ended.get()
            && let Err(error) = self.receive(into, &mut filled)
        {
            return Err(self.fail(error));
        }
        Ok(self.finish_receive(filled))
    }

    /// Whether the next bytes may be received by an operation of [`socket`](Self::socket): none of the previous ones are
    /// pending.
    pub(crate) fn may_recv_op(&self) -> bool {
        !self.state.pending.get()
    }

    /// As [`try_recv`](Self::try_recv), of the bytes that an operation has received. They are decrypted where they are;
    /// without any, the stream has ended.
    pub(crate) fn decrypt_received(
        &self,
        received: &mut [u8],
        into: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let mut filled = 0;
        let mut held = take(&mut *self.state.encrypted_rx.borrow_mut());
        let result = if received.is_empty() {
            // Without the peer's close_notify, an attacker may have truncated the stream.
            Err(io::ErrorKind::UnexpectedEof.into())
        } else if held.is_empty() {
            self.decrypt(received, into, &mut filled)
        } else {
            held.extend_from_slice(received);
            self.decrypt(&mut held, into, &mut filled)
        };
        match result {
            Ok(()) => Ok(self.finish_receive(filled)),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// The outcome of a receive, and whether the next one finds bytes that are received already.
    fn finish_receive(&self, filled: usize) -> Option<usize> {
        let state = &*self.state;
        let ended = state.ended.get();
        let more = ended || state.complete.get() || !state.plain_rx.borrow().is_empty();
        state.pending.set(filled > 0 && more);
        (filled > 0 || ended).then_some(filled)
    }

    /// Ends the connection after an error.
    fn fail(&self, error: io::Error) -> io::Error {
        if let Some(cause) = error.get_ref() {
            _ = self.state.failure.set(cause.to_string().into());
        }
        self.state.pending.set(false);
        self.send_last_records();
        error
    }

    /// Takes bytes that are decrypted.
    fn take_plain(&self, into: &mut [u8]) -> usize {
        let mut plain = self.state.plain_rx.borrow_mut();
        let n = plain.len().min(into.len());
        if n == 0 {
            return 0;
        }
        into[..n].copy_from_slice(&plain[..n]);
        plain.drain(..n);
        if plain.is_empty() {
            *plain = Vec::new();
        }
        n
    }

    /// Receives available bytes, unless complete records are pending, and decrypts them.
    fn receive(&self, into: &mut [u8], filled: &mut usize) -> io::Result<()> {
        let state = &*self.state;
        RX.with_borrow_mut(|scratch| {
            let held = take(&mut *state.encrypted_rx.borrow_mut());
            // A large message is received by few calls; of other input, less has to be kept.
            let most = if into.len() < CHUNK / 4 { MAX_RECORD } else { CHUNK + OVERHEAD };
            let most = most.max(held.len() + MAX_RECORD);
            grow(scratch, most);
            scratch[..held.len()].copy_from_slice(&held);
            let mut len = held.len();
            if !state.complete.take() {
                match self.socket.try_recv(&mut scratch[len..most]) {
                    Ok(Some(n @ 1..)) => len += n,
                    other => {
                        state.encrypted_rx.replace(held);
                        // Without the peer's close_notify, an attacker may have truncated the stream.
                        return match other? {
                            Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
                            None => Ok(()),
                        };
                    }
                }
            }
            self.decrypt(&mut scratch[..len], into, filled)
        })
    }

    /// Decrypts received bytes, and keeps those of records that are not decrypted.
    fn decrypt(&self, received: &mut [u8], into: &mut [u8], filled: &mut usize) -> io::Result<()> {
        let (used, result) = self.process(received, into, filled, None);
        let last = result?;
        if used < received.len() {
            self.state.encrypted_rx.replace(received[used..].to_vec());
            self.state.complete.set(matches!(last, Step::Progress));
        }
        Ok(())
    }
}

/// Sending.
impl TlsStream {
    /// Encrypts `bytes`, and sends the records as far as the kernel accepts them. The others remain in `encrypted_tx`.
    fn send_records(&self, bytes: &[u8]) -> io::Result<()> {
        TX.with_borrow_mut(|scratch| {
            for chunk in bytes.chunks(CHUNK) {
                let len = self.encrypt(Outbound { bytes: Some(chunk), records: scratch })?;
                let mut pending = self.state.encrypted_tx.borrow_mut();
                let sent = if !pending.is_empty() {
                    0
                } else {
                    match self.socket.try_send(&scratch[..len]) {
                        Ok(sent) => sent,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                        Err(error) => return Err(error),
                    }
                };
                pending.extend_from_slice(&scratch[sent..len]);
            }
            Ok(())
        })
    }

    /// Encrypts bytes, and returns the length of their records.
    fn encrypt(&self, outbound: Outbound<'_>) -> io::Result<usize> {
        grow(outbound.records, CHUNK + OVERHEAD);
        // Rustls may refer to a part of a message in the received bytes.
        let mut held = take(&mut *self.state.encrypted_rx.borrow_mut());
        let (used, result) = self.process(&mut held, &mut [], &mut 0, Some(outbound));
        if used > 0 {
            held.drain(..used);
        }
        self.state.encrypted_rx.replace(held);
        match result? {
            Step::Encrypted(len) => Ok(len),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends all pending records.
    async fn flush(&self) -> io::Result<()> {
        // Not kept: a connection without bytes to send owns no buffer.
        let records = self.state.encrypted_tx.take();
        if records.is_empty() {
            return Ok(());
        }
        self.socket.write_all(records, 0).await.result
    }

    /// Sends all bytes, or returns 0. Then the write of the same bytes must follow, which sends the rest of their
    /// records, or returns the error.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> usize {
        if !self.state.encrypted_tx.borrow().is_empty() || self.send_records(bytes).is_err() {
            return 0;
        }
        if self.state.encrypted_tx.borrow().is_empty() {
            return bytes.len();
        }
        self.state.in_part.set(true);
        0
    }

    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        if !self.state.in_part.take() {
            self.send_records(bytes)?;
        }
        self.send_last_records();
        Ok(bytes.len())
    }

    /// As [`Socket::write_all`]. After an error no further byte counts as sent: records do not end where messages do.
    pub(crate) async fn write_all(&self, buf: Vec<u8>, sent: usize) -> Written {
        let rest = buf.get(sent..).unwrap_or_default();
        let encrypted = if self.state.in_part.take() { Ok(()) } else { self.send_records(rest) };
        let result = match encrypted {
            Ok(()) => self.flush().await,
            Err(error) => Err(error),
        };
        let sent = if result.is_ok() { buf.len() } else { sent };
        Written { result, sent, buf }
    }

    pub(crate) fn shutdown_write(&self) {
        TX.with_borrow_mut(|scratch| {
            if let Ok(len) = self.encrypt(Outbound { bytes: None, records: scratch }) {
                self.state.encrypted_tx.borrow_mut().extend_from_slice(&scratch[..len]);
            }
        });
        self.send_last_records();
        self.socket.shutdown_write();
    }

    /// Sends pending TLS records as far as the kernel accepts them and drops the rest: no record may be sent after that.
    fn send_last_records(&self) {
        let records = self.state.encrypted_tx.take();
        if !records.is_empty() {
            _ = self.socket.try_send(&records);
        }
    }
}
