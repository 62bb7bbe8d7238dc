//! [`Socket`]: a session as its handler sees it, and [`ServerRef`]: the server as seen from there.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

use eio_core::packet::{Message, Packet};
use eio_core::session::CloseReason;
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::error::SendError;
use crate::server::remote::Remote;
use crate::server::session::Session;

/// One session. Cheap to clone; stays on its core.
pub struct Socket<T> {
    session: Rc<Session<T>>,
}

impl<T> Socket<T> {
    pub(crate) fn new(session: Rc<Session<T>>) -> Self {
        Self { session }
    }

    /// The session's identifier.
    pub fn sid(&self) -> &Sid {
        &self.session.sid
    }

    /// What [`Handler::connect`](crate::Handler::connect) made of this session.
    pub fn data(&self) -> &T {
        &self.session.data
    }

    /// What carries the session now.
    pub fn transport(&self) -> Transport {
        self.session.transport()
    }

    /// Whether a WebSocket is being tried while polling carries the session.
    pub fn is_upgrading(&self) -> bool {
        self.session.is_upgrading()
    }

    /// The other end of the connection that opened the session; `None` for a Unix-domain socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.session.peer
    }

    /// Why the session ended, if it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.session.closed()
    }

    /// Bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.session.queued()
    }

    /// Queues a message, or says why not.
    ///
    /// # Errors
    /// [`SendError::Full`] at the [high-water mark](crate::Config::outbound_high_water). A handler that answers
    /// each message with one as large does not meet it: nothing is read from a client above the mark.
    pub fn try_send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.session.try_send(message.into())
    }

    /// Queues a message as soon as there is room.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the session ends before that.
    pub async fn send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        let message = message.into();
        loop {
            match self.session.try_send(message) {
                Err(SendError::Full) => poll_fn(|cx| self.session.poll_room(cx)).await,
                other => return other,
            }
        }
    }

    /// Queues a message if there is room, and drops it if not: for news that the next message outdates.
    pub fn send_volatile<'m>(&self, message: impl Into<Message<'m>>) {
        let _ = self.session.try_send(message.into());
    }

    /// Queues a packet, as python-engineio's `send_packet` does: a message as [`try_send`](Self::try_send), a close
    /// packet as [`disconnect`](Self::disconnect).
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send). [`SendError::Reserved`] for every other packet: the protocol says when
    /// those are due, and one more would break the session.
    pub fn try_send_packet(&self, packet: Packet<'_>) -> Result<(), SendError> {
        match packet {
            Packet::Message(message) => self.try_send(message),
            Packet::Close => {
                self.disconnect();
                Ok(())
            }
            _ => Err(SendError::Reserved),
        }
    }

    /// Completes when nothing waits any more, because the transport took it or the session has ended. JS the event
    /// `drain`, and the callback of `send`.
    pub async fn flushed(&self) {
        poll_fn(|cx| self.session.poll_flushed(cx)).await;
    }

    /// Completes when a WebSocket carries the session, or it has ended. JS the event `upgrade`.
    pub async fn upgraded(&self) {
        poll_fn(|cx| self.session.poll_upgraded(cx)).await;
    }

    /// Completes when the session has ended, and says why: for a task beside the handlers. They themselves hear of
    /// it in [`Handler::disconnect`](crate::Handler::disconnect).
    pub async fn ended(&self) -> CloseReason {
        poll_fn(|cx| self.session.poll_closed(cx)).await;
        self.closed().unwrap_or(CloseReason::TransportClose)
    }

    /// Completes when there is room for a message, or the session has ended.
    pub async fn drained(&self) {
        poll_fn(|cx| self.session.poll_room(cx)).await;
    }

    /// Ends the session after what is queued.
    pub fn disconnect(&self) {
        self.session.close();
    }

    /// Ends the session now; what is queued is dropped.
    pub fn abort(&self) {
        self.end(CloseReason::ServerDisconnect);
    }

    pub(crate) fn end(&self, reason: CloseReason) {
        self.session.abort(reason);
    }

    /// The server this session belongs to.
    pub fn server(&self) -> ServerRef<'_, T> {
        ServerRef { session: &self.session }
    }
}

impl<T> Clone for Socket<T> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone() }
    }
}

impl<T> fmt::Debug for Socket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("sid", self.sid())
            .field("transport", &self.transport())
            .finish_non_exhaustive()
    }
}

/// The server, from a handler's core: what concerns sessions of this core takes effect at once, the rest goes
/// through their mailboxes.
pub struct ServerRef<'a, T> {
    session: &'a Rc<Session<T>>,
}

impl<T: 'static> ServerRef<'_, T> {
    /// Sends to every session of every core. The message is encoded once; sessions over their high-water mark
    /// do not get it.
    pub fn broadcast<'m>(&self, message: impl Into<Message<'m>>) {
        if let Some(server) = self.session.env.server.upgrade() {
            server.broadcast(message.into());
        }
    }

    /// Sends to one session, wherever it lives; an unknown one is ignored.
    pub fn send<'m>(&self, sid: &Sid, message: impl Into<Message<'m>>) {
        if let Some(server) = self.session.env.server.upgrade() {
            server.send_to(sid, message.into());
        }
    }

    /// A session of this core by its sid: with it its data, python-engineio's `session(sid)`. `None` for one of
    /// another core, too.
    pub fn socket(&self, sid: &Sid) -> Option<Socket<T>> {
        self.session.env.server.upgrade()?.find_here(sid).map(Socket::new)
    }

    /// Ends one session, wherever it lives, after what is queued.
    pub fn disconnect(&self, sid: &Sid) {
        if let Some(server) = self.session.env.server.upgrade() {
            server.disconnect(sid);
        }
    }

    /// How many sessions there are on all cores.
    pub fn sessions(&self) -> usize {
        self.remote().sessions()
    }

    /// A handle that works from any thread.
    pub fn remote(&self) -> Remote {
        Remote::new(self.session.env.shared.clone())
    }
}

impl<T: 'static> fmt::Debug for ServerRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRef").field("sessions", &self.sessions()).finish()
    }
}
