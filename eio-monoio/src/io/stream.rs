//! [`Stream`]: a byte stream over a plain socket or TLS.
//!
//! Both behave as [`Socket`] does: a wait for readiness may be abandoned, receiving does not block, and a write owns its
//! buffer. Without the feature `tls` there is only the plain socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::worker::net::{self, Socket, Written};

#[cfg(feature = "tls")]
use crate::io::tls;
#[cfg(feature = "tls")]
pub(crate) use crate::io::tls::TlsStream;

pub(crate) enum Stream {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>),
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self::Plain(socket)
    }
}

impl Stream {
    /// See [`Socket::poll_readable`]. Over TLS a receive may still find no application data.
    #[inline]
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_readable(cx),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.poll_readable(cx),
        }
    }

    /// The socket, if its bytes are not encrypted.
    #[inline]
    pub(crate) fn plain(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            #[cfg(feature = "tls")]
            Self::Tls(_) => None,
        }
    }

    /// See [`Socket::poll_budget`].
    #[inline]
    pub(crate) fn poll_budget(&self, cx: &Context<'_>) -> Poll<()> {
        self.socket().poll_budget(cx)
    }

    /// See [`Socket::count_step`].
    #[inline]
    pub(crate) fn count_step(&self) {
        self.socket().count_step();
    }

    /// Whether the next bytes may be received by an operation of the [`socket`](Self::socket): TLS has none that are
    /// received already.
    #[inline]
    pub(crate) fn may_recv_op(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.may_recv_op(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.may_recv_op() && tls.socket().may_recv_op(),
        }
    }

    /// The socket, whose bytes are encrypted over TLS.
    #[inline]
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.socket(),
        }
    }

    /// See [`Socket::try_recv`].
    #[inline]
    pub(crate) fn try_recv(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Plain(socket) => socket.try_recv(into),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.try_recv(into),
        }
    }

    /// See [`Socket::is_drained`]. TLS may hold records that were received and not decrypted.
    #[inline]
    pub(crate) fn is_drained(&self) -> bool {
        self.plain().is_some_and(Socket::is_drained)
    }

    /// The error of TLS that ended the connection, if one did.
    pub(crate) fn failure(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.failure(),
        }
    }

    /// See [`Socket::try_send`].
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_send(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.try_send(bytes),
        }
    }

    /// Sends as many bytes as the kernel accepts without blocking and returns their number. Over TLS that is all or none;
    /// a [`write_all`](Self::write_all) of the other bytes must follow.
    #[inline]
    pub(crate) fn send_now(&self, bytes: &[u8]) -> usize {
        match self {
            // The next write returns the error.
            Self::Plain(socket) => socket.try_send(bytes).unwrap_or(0),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.send_now(bytes),
        }
    }

    /// [`send_now`](Self::send_now) of the last bytes before the socket is closed; see [`Socket::try_send_last`].
    pub(crate) fn send_last(&self, bytes: &[u8]) -> usize {
        match self {
            Self::Plain(socket) => socket.try_send_last(bytes).unwrap_or(0),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.send_now(bytes),
        }
    }

    /// See [`Socket::write_all`].
    #[inline]
    pub(crate) fn write_all(&self, buf: Vec<u8>, sent: usize) -> Write<'_> {
        match self {
            Self::Plain(socket) => Write::Plain(socket.write_all(buf, sent)),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => Write::Tls(Box::pin(tls.write_all(buf, sent))),
        }
    }

    /// See [`Socket::shutdown_both`].
    pub(crate) fn shutdown_both(&self) {
        self.socket().shutdown_both();
    }

    /// See [`Socket::shutdown_write`].
    pub(crate) fn shutdown_write(&self) {
        match self {
            Self::Plain(socket) => socket.shutdown_write(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.shutdown_write(),
        }
    }

    /// See [`Socket::peer_addr`].
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr()
    }

    /// See [`Socket::raw`].
    pub(crate) fn raw(&self) -> RawFd {
        self.socket().raw()
    }

    /// Whether the stream is encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// The verified certificate of the peer, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.peer_certificate(),
        }
    }

    /// Detaches the socket and its TLS state, to move them to another worker. No write may be in flight.
    pub(crate) fn detach(self) -> io::Result<DetachedStream> {
        match self {
            Self::Plain(socket) => Ok(DetachedStream {
                fd: socket.into_fd()?,
                #[cfg(feature = "tls")]
                tls: None,
            }),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => {
                let (socket, state) = tls.into_parts();
                Ok(DetachedStream { fd: socket.into_fd()?, tls: Some(state) })
            }
        }
    }

    /// Attaches a stream that another worker detached.
    pub(crate) fn attach(detached: DetachedStream) -> io::Result<Self> {
        let socket = Socket::from_fd(detached.fd)?;
        #[cfg(feature = "tls")]
        if let Some(state) = detached.tls {
            return Ok(Self::Tls(Box::new(TlsStream::from_parts(socket, state))));
        }
        Ok(Self::Plain(socket))
    }
}

/// A write operation, until it completes.
pub(crate) enum Write<'c> {
    Plain(net::Write),
    /// Boxed, so that it does not add to the size of plain connections.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only TLS needs a boxed write"))]
    Tls(Pin<Box<dyn Future<Output = Written> + 'c>>),
}

impl Future for Write<'_> {
    type Output = Written;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Written> {
        match self.get_mut() {
            Self::Plain(write) => Pin::new(write).poll(cx),
            Self::Tls(write) => write.as_mut().poll(cx),
        }
    }
}

/// A stream that moves from one worker to another.
pub(crate) struct DetachedStream {
    fd: OwnedFd,
    #[cfg(feature = "tls")]
    tls: Option<Box<tls::State>>,
}
