//! [`TlsStream`]: rustls's state of a connection, fed from and to a socket.

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

/// What TLS knows of a connection; goes with it from core to core.
pub(crate) struct State {
    session: RefCell<Connection>,
    /// Decrypted bytes, or the end, wait: there may be no more to come that would make the socket readable.
    pending: Cell<bool>,
    /// The peer has said that nothing more comes.
    ended: Cell<bool>,
    /// Received behind those, not decrypted yet.
    late: RefCell<Vec<u8>>,
    /// Who the peer has proved to be.
    certificate: OnceCell<Box<[u8]>>,
}

/// What one receive may bring: the largest record, with its head and tag.
const RECORD: usize = 18 * 1024;

impl TlsStream {
    /// The client's end, before [`agree`](Self::agree); the name is who the server has to be.
    pub(crate) fn client(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::new(socket, session.into()))
    }

    /// The server's end, before [`agree`](Self::agree).
    pub(crate) fn server(socket: Socket, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self::new(socket, session.into()))
    }

    fn new(socket: Socket, mut session: Connection) -> Self {
        // What a session sends is queued, and bounded, elsewhere.
        session.set_buffer_limit(None);
        let state = State {
            session: RefCell::new(session),
            // Bytes for us may come right behind the handshake.
            pending: Cell::new(true),
            ended: Cell::new(false),
            late: RefCell::default(),
            certificate: OnceCell::new(),
        };
        Self::from_parts(socket, Box::new(state))
    }

    pub(crate) fn from_parts(socket: Socket, state: Box<State>) -> Self {
        Self { socket, state }
    }

    pub(crate) fn into_parts(self) -> (Socket, Box<State>) {
        (self.socket, self.state)
    }

    /// Agrees with the peer on keys, and on who it is.
    pub(crate) async fn agree(&self) -> io::Result<()> {
        loop {
            self.flush().await?;
            if !self.state.session.borrow().is_handshaking() {
                break;
            }
            poll_fn(|cx| self.socket.poll_readable(cx)).await?;
            if let Err(error) = self.receive() {
                // With the alert that says why.
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

    /// Sends what the state has to say.
    async fn flush(&self) -> io::Result<()> {
        // Not kept: a connection that has nothing to send owns no buffer.
        let mut encrypted = Vec::new();
        self.take_encrypted(&mut encrypted)?;
        if encrypted.is_empty() {
            return Ok(());
        }
        self.socket.write_all(encrypted).await.0
    }

    fn take_encrypted(&self, into: &mut Vec<u8>) -> io::Result<()> {
        let mut state = self.state.session.borrow_mut();
        while state.wants_write() {
            state.write_tls(into)?;
        }
        Ok(())
    }

    /// Receives what is there and decrypts it up to the first bytes for us: it takes no more while some of those
    /// wait. False if nothing is there.
    fn receive(&self) -> io::Result<bool> {
        let mut memory = [0; RECORD];
        let late = self.state.late.take();
        let mut received = if late.is_empty() {
            match self.socket.try_recv(&mut memory)? {
                None => return Ok(false),
                // Without the peer's close_notify, somebody else may have cut the connection.
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(n) => &memory[..n],
            }
        } else {
            &late
        };
        let mut state = self.state.session.borrow_mut();
        while !received.is_empty() && state.read_tls(&mut received)? > 0 {
            let now = state.process_new_packets().map_err(io::Error::other)?;
            self.state.ended.set(now.peer_has_closed());
            if now.plaintext_bytes_to_read() > 0 {
                break;
            }
        }
        self.state.late.replace(received.to_vec());
        Ok(true)
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.pending.get() {
            return Poll::Ready(Ok(()));
        }
        let ready = self.socket.poll_readable(cx);
        if ready.is_pending() {
            // Rustls lets go of what it grew for large records when it sees that nothing more is there.
            _ = self.state.session.borrow_mut().read_tls(&mut Nothing);
        }
        ready
    }

    pub(crate) fn try_recv(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let read = self.state.session.borrow_mut().reader().read(into);
            match read {
                Ok(n) => {
                    let state = &self.state;
                    let late = !state.late.borrow().is_empty();
                    // After less than there was room for, nothing more is decrypted.
                    let more = n == into.len() || late || state.ended.get();
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
                    self.say_last();
                    return Err(error);
                }
            }
        }
    }

    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.state.session.borrow_mut().writer().write_all(bytes)?;
        self.say_last();
        Ok(bytes.len())
    }

    pub(crate) async fn write_all(&self, buf: Vec<u8>) -> Written {
        let encrypted = self.state.session.borrow_mut().writer().write_all(&buf);
        match encrypted {
            Ok(()) => (self.flush().await, buf),
            Err(error) => (Err(error), buf),
        }
    }

    pub(crate) fn shutdown_write(&self) {
        self.state.session.borrow_mut().send_close_notify();
        self.say_last();
        self.socket.shutdown_write();
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends what the state has to say as far as the kernel takes it; nothing may be sent after that.
    fn say_last(&self) {
        let mut encrypted = Vec::new();
        if self.take_encrypted(&mut encrypted).is_ok() && !encrypted.is_empty() {
            _ = self.socket.try_send(&encrypted);
        }
    }
}

/// A socket with nothing to receive.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
