//! [`Stream`]: what bytes travel over, the socket itself or TLS on top of it.
//!
//! Both have the manners of [`Socket`]: waiting is for readiness and may be given up, receiving never blocks,
//! and a write owns its buffer. Without the feature `tls` there is only the socket, and nothing to decide.

use std::future::Future;
use std::io;
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
    /// See [`Socket::poll_readable`]. Over TLS what can then be received may still be nothing.
    #[inline]
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_readable(cx),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.poll_readable(cx),
        }
    }

    /// The socket, where what it receives needs no more work: see [`Socket::poll_recv_op`].
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

    fn socket(&self) -> &Socket {
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

    /// See [`Socket::try_send`].
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_send(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.try_send(bytes),
        }
    }

    /// Sends as much as the kernel takes at once and says how much that was; over TLS nothing.
    #[inline]
    pub(crate) fn send_now(&self, bytes: &[u8]) -> usize {
        match self {
            // What is wrong, the next write says.
            Self::Plain(socket) => socket.try_send(bytes).unwrap_or(0),
            #[cfg(feature = "tls")]
            Self::Tls(_) => 0,
        }
    }

    /// See [`Socket::write_all`].
    #[inline]
    pub(crate) fn write_all(&self, buf: Vec<u8>) -> Write<'_> {
        match self {
            Self::Plain(socket) => Write::Plain(socket.write_all(buf)),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => Write::Tls(Box::pin(tls.write_all(buf))),
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

    /// See [`Socket::raw`].
    pub(crate) fn raw(&self) -> RawFd {
        self.socket().raw()
    }

    /// Whether what passes is hidden from others.
    pub(crate) fn is_secure(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// The certificate with which the peer has proved who it is, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.peer_certificate(),
        }
    }

    /// Gives the socket up, to be moved to another core, with all that TLS knows of it. No write may be in flight.
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

    /// Takes over what another core gave up.
    pub(crate) fn attach(packed: DetachedStream) -> io::Result<Self> {
        let socket = Socket::from_fd(packed.fd)?;
        #[cfg(feature = "tls")]
        if let Some(state) = packed.tls {
            return Ok(Self::Tls(Box::new(TlsStream::from_parts(socket, state))));
        }
        Ok(Self::Plain(socket))
    }
}

/// A write operation, until it is done.
pub(crate) enum Write<'c> {
    Plain(net::Write),
    /// In a box of its own, beside what it encrypts into: not a part of every other connection.
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "only TLS does more than to write")
    )]
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

/// A carrier on its way from core to core.
pub(crate) struct DetachedStream {
    fd: OwnedFd,
    #[cfg(feature = "tls")]
    tls: Option<Box<tls::State>>,
}
