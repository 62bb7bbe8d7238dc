//! [`Tls`]: rustls's state of a connection, fed from and to a socket.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::net::Stream;

pub(crate) struct Tls {
    stream: Stream,
    state: RefCell<ClientConnection>,
    /// Decrypted bytes wait: there may be no more to come that would make the socket readable.
    pending: Cell<bool>,
    /// Received behind those, not decrypted yet.
    late: Cell<Vec<u8>>,
    /// Memory for the next write.
    encrypted: Cell<Vec<u8>>,
}

/// What one receive may bring: the largest record, with its head and tag.
const RECORD: usize = 18 * 1024;
/// A write that has grown past this is not kept.
const KEEP: usize = 64 * 1024;

impl Tls {
    /// Agrees with the server; the name is who it has to be.
    pub(crate) async fn connect(
        stream: Stream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let mut state = ClientConnection::new(config, name).map_err(io::Error::other)?;
        // What a session sends is queued, and bounded, elsewhere.
        state.set_buffer_limit(None);
        let this = Self {
            stream,
            state: RefCell::new(state),
            // Bytes for us may come right behind the handshake.
            pending: Cell::new(true),
            late: Cell::default(),
            encrypted: Cell::default(),
        };
        loop {
            this.flush().await?;
            if !this.state.borrow().is_handshaking() {
                return Ok(this);
            }
            poll_fn(|cx| this.stream.poll_readable(cx)).await?;
            if let Err(error) = this.receive() {
                // With the alert that says why.
                _ = this.flush().await;
                return Err(error);
            }
        }
    }

    /// Sends what the state has to say.
    async fn flush(&self) -> io::Result<()> {
        let mut encrypted = self.encrypted.take();
        self.take_encrypted(&mut encrypted)?;
        let result = if encrypted.is_empty() {
            Ok(())
        } else {
            let (result, buf) = self.stream.write_all(encrypted).await;
            encrypted = buf;
            result
        };
        encrypted.clear();
        if encrypted.capacity() <= KEEP {
            self.encrypted.set(encrypted);
        }
        result
    }

    fn take_encrypted(&self, into: &mut Vec<u8>) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        while state.wants_write() {
            state.write_tls(into)?;
        }
        Ok(())
    }

    /// Receives what is there and decrypts it up to the first bytes for us: it takes no more while some of those
    /// wait. False if nothing is there.
    fn receive(&self) -> io::Result<bool> {
        let mut memory = [0; RECORD];
        let late = self.late.take();
        let mut received = if late.is_empty() {
            match self.stream.try_recv(&mut memory)? {
                None => return Ok(false),
                // Without the peer's close_notify, somebody else may have cut the connection.
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(n) => &memory[..n],
            }
        } else {
            &late
        };
        let mut state = self.state.borrow_mut();
        while !received.is_empty() && state.read_tls(&mut received)? > 0 {
            let now = state.process_new_packets().map_err(io::Error::other)?;
            if now.plaintext_bytes_to_read() > 0 {
                break;
            }
        }
        self.late.set(received.to_vec());
        Ok(true)
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pending.get() {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_readable(cx)
    }

    pub(crate) fn try_recv(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let read = self.state.borrow_mut().reader().read(into);
            match read {
                Ok(n) => {
                    self.pending.set(n > 0);
                    return Ok(Some(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.pending.set(false);
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
        self.state.borrow_mut().writer().write_all(bytes)?;
        self.say_last();
        Ok(bytes.len())
    }

    pub(crate) async fn write_all(&self, buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let encrypted = self.state.borrow_mut().writer().write_all(&buf);
        match encrypted {
            Ok(()) => (self.flush().await, buf),
            Err(error) => (Err(error), buf),
        }
    }

    pub(crate) fn shutdown_write(&self) {
        self.state.borrow_mut().send_close_notify();
        self.say_last();
        self.stream.shutdown_write();
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Sends what the state has to say as far as the kernel takes it; nothing may be sent after that.
    fn say_last(&self) {
        let mut encrypted = Vec::new();
        if self.take_encrypted(&mut encrypted).is_ok() && !encrypted.is_empty() {
            _ = self.stream.try_send(&encrypted);
        }
    }
}
