//! [`TlsStream`]: a TLS connection, made of a socket and the state of rustls.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::worker::net::{Socket, Written};

pub(crate) struct TlsStream {
    socket: Socket,
    state: Box<State>,
}

/// The TLS state of a connection, which moves with it from worker to worker.
pub(crate) struct State {
    session: RefCell<Connection>,
    /// Decrypted bytes, or the end of the stream, are pending: the socket may not become readable again.
    pending: Cell<bool>,
    /// The peer has sent close_notify.
    ended: Cell<bool>,
    /// Received after the pending bytes, and not decrypted yet.
    encrypted_rx: RefCell<Vec<u8>>,
    /// The verified certificate of the peer, in DER.
    certificate: OnceCell<Box<[u8]>>,
    /// The error of TLS that ended the connection, for example an alert of the peer.
    failure: OnceCell<Box<str>>,
}

/// The most bytes of one receive: the largest record, with its head and tag.
const MAX_RECORD: usize = 18 * 1024;

impl TlsStream {
    /// The client side, before [`handshake`](Self::handshake). `name` must match the server's certificate.
    pub(crate) fn client(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::new(socket, session.into()))
    }

    /// The server side, before [`handshake`](Self::handshake). `received`: its first bytes, as far as they have arrived.
    pub(crate) fn server(
        socket: Socket,
        config: Arc<ServerConfig>,
        received: Vec<u8>,
    ) -> io::Result<Self> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        let stream = Self::new(socket, session.into());
        stream.state.encrypted_rx.replace(received);
        Ok(stream)
    }

    fn new(socket: Socket, mut session: Connection) -> Self {
        // Messages are queued, and the queue bounded, before they reach this session.
        session.set_buffer_limit(None);
        let state = State {
            session: RefCell::new(session),
            // Application data may directly follow the handshake.
            pending: Cell::new(true),
            ended: Cell::new(false),
            encrypted_rx: RefCell::default(),
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
            self.flush().await?;
            if !self.state.session.borrow().is_handshaking() {
                break;
            }
            if self.state.encrypted_rx.borrow().is_empty() {
                poll_fn(|cx| self.socket.poll_readable(cx)).await?;
            }
            if let Err(error) = self.receive() {
                // Sends the alert, which states the reason.
                _ = self.flush().await;
                return Err(error);
            }
        }
        if let Some([own, ..]) = self.state.session.borrow().peer_certificates() {
            _ = self.state.certificate.set(own.as_ref().into());
        }
        Ok(())
    }

    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.state.certificate.get().map(|certificate| &**certificate)
    }

    /// The error of TLS that ended the connection after its handshake.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.state.failure.get().map(|failure| &**failure)
    }

    /// Sends all pending TLS records.
    async fn flush(&self) -> io::Result<()> {
        // Not kept: a connection without bytes to send owns no buffer.
        let mut encrypted = Vec::new();
        self.take_encrypted(&mut encrypted)?;
        if encrypted.is_empty() {
            return Ok(());
        }
        self.socket.write_all(encrypted, 0).await.result
    }

    fn take_encrypted(&self, into: &mut Vec<u8>) -> io::Result<()> {
        let mut state = self.state.session.borrow_mut();
        while state.wants_write() {
            state.write_tls(into)?;
        }
        Ok(())
    }

    /// Receives available bytes and decrypts them up to the first application data, since rustls accepts no more
    /// records while it has some. Returns false if no bytes are available.
    fn receive(&self) -> io::Result<bool> {
        let mut memory = [0; MAX_RECORD];
        let rest = self.state.encrypted_rx.take();
        let mut received = if rest.is_empty() {
            match self.socket.try_recv(&mut memory)? {
                None => return Ok(false),
                // Without the peer's close_notify, an attacker may have truncated the stream.
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(n) => &memory[..n],
            }
        } else {
            &rest
        };
        let mut state = self.state.session.borrow_mut();
        while !received.is_empty() && state.read_tls(&mut received)? > 0 {
            let now = state.process_new_packets().map_err(io::Error::other)?;
            self.state.ended.set(now.peer_has_closed());
            if now.plaintext_bytes_to_read() > 0 {
                break;
            }
        }
        self.state.encrypted_rx.replace(received.to_vec());
        Ok(true)
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.pending.get() {
            return Poll::Ready(Ok(()));
        }
        let ready = self.socket.poll_readable(cx);
        if ready.is_pending() {
            // Rustls frees its buffer for large records when a read finds no bytes.
            _ = self.state.session.borrow_mut().read_tls(&mut NoBytes);
        }
        ready
    }

    pub(crate) fn try_recv(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let read = self.state.session.borrow_mut().reader().read(into);
            match read {
                Ok(n) => {
                    let state = &self.state;
                    let encrypted = !state.encrypted_rx.borrow().is_empty();
                    // If `into` was not filled, no more decrypted bytes are pending.
                    let more = n == into.len() || encrypted || state.ended.get();
                    state.pending.set(n > 0 && more);
                    return Ok(Some(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.state.pending.set(false);
            match self.receive() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    if let Some(cause) = error.get_ref() {
                        _ = self.state.failure.set(cause.to_string().into());
                    }
                    self.send_last_records();
                    return Err(error);
                }
            }
        }
    }

    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.state.session.borrow_mut().writer().write_all(bytes)?;
        self.send_last_records();
        Ok(bytes.len())
    }

    /// As [`Socket::write_all`]. After an error no further byte counts as sent: records do not end where messages do.
    pub(crate) async fn write_all(&self, buf: Vec<u8>, sent: usize) -> Written {
        let rest = buf.get(sent..).unwrap_or_default();
        let encrypted = self.state.session.borrow_mut().writer().write_all(rest);
        let result = match encrypted {
            Ok(()) => self.flush().await,
            Err(error) => Err(error),
        };
        let sent = if result.is_ok() { buf.len() } else { sent };
        Written { result, sent, buf }
    }

    pub(crate) fn shutdown_write(&self) {
        self.state.session.borrow_mut().send_close_notify();
        self.send_last_records();
        self.socket.shutdown_write();
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends pending TLS records as far as the kernel accepts them and drops the rest: no record may be sent after that.
    fn send_last_records(&self) {
        let mut encrypted = Vec::new();
        if self.take_encrypted(&mut encrypted).is_ok() && !encrypted.is_empty() {
            _ = self.socket.try_send(&encrypted);
        }
    }
}

/// A reader without available bytes.
struct NoBytes;

impl Read for NoBytes {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
