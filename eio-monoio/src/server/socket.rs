//! [`Socket`]: the handle of a session.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use eio_core::packet::Packet;
use eio_core::session::CloseReason;
use eio_core::sid::Sid;
use eio_core::transport::Transport;

use crate::error::SendError;
use crate::io::receipt::Receipt;
use crate::message::{AsMessage, OwnedMessage};
use crate::server::request::KeptRequest;
use crate::server::server_ref::ServerRef;
use crate::server::session::Session;

/// A handle to one session, for handlers and tasks of its worker.
///
/// It is cheap to clone and not `Send`: other threads use a [`Remote`](crate::Remote) and the [`sid`](Self::sid). A
/// handle does not keep the session open, only its [`data`](Self::data).
///
/// Messages are sent in the order in which they were queued. They are queued until the transport takes them: over a
/// WebSocket at the end of the current turn of the worker, over polling when the client's GET arrives.
///
/// The futures of all async methods are cancel safe: one that is dropped before it completes has had no effect.
///
/// ```
/// use std::time::Duration;
/// use eio_monoio::{SendError, Socket, sleep, spawn};
///
/// /// Sends the lines, one each second, until the session ends.
/// fn feed(socket: &Socket<()>, lines: Vec<String>) {
///     let socket = socket.clone();
///     spawn(async move {
///         for line in &lines {
///             // Waits while the client reads slowly.
///             match socket.send(line).await {
///                 Ok(()) => sleep(Duration::from_secs(1)).await,
///                 Err(SendError::Closed) => return,
///                 Err(error) => eprintln!("{}: {error}", socket.sid()),
///             }
///         }
///         socket.disconnect();
///     });
/// }
/// ```
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

    /// The value that [`Handler::connect`](crate::Handler::connect) returned for this session. Clones of the socket share
    /// it: a value that changes is a `Cell` or `RefCell`, which must not be borrowed across an await.
    pub fn data(&self) -> &T {
        &self.session.data
    }

    /// The transport that carries the session now.
    pub fn transport(&self) -> Transport {
        self.session.transport()
    }

    /// Whether an upgrade is in progress: polling carries the session and a WebSocket is probed.
    pub fn is_upgrading(&self) -> bool {
        self.session.is_upgrading()
    }

    /// The time since the last packet of the client: a message, a pong, or the handshake before the first of them.
    ///
    /// It may be too long by 100 ms. The first call on a worker starts a timer there that keeps it so, and may itself
    /// return up to a ping interval too much: without it, messages are not worth reading the clock.
    pub fn last_seen(&self) -> Duration {
        self.session.last_seen()
    }

    /// The time from the last ping that the client answered to its pong, in milliseconds; `None` before the first.
    ///
    /// Over polling it includes the time until the client sends its POST. A busy client answers late.
    pub fn round_trip(&self) -> Option<Duration> {
        self.session.round_trip()
    }

    /// The address of the client that opened the session, as [`RequestInfo::peer_addr`](crate::RequestInfo::peer_addr)
    /// returned it; `None` for a Unix-domain socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.session.peer()
    }

    /// The request that opened the session, if [`keep_request`](crate::Config::keep_request) is set.
    ///
    /// Engine.IO: `socket.request`. python-engineio: `environ`.
    pub fn request(&self) -> Option<&KeptRequest> {
        self.session.kept_request()
    }

    /// The close reason, if the session has ended.
    pub fn closed(&self) -> Option<CloseReason> {
        self.session.closed()
    }

    /// The number of bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.session.queued()
    }

    /// Takes the messages that the server has not sent, in order: for storage until the user connects again. Call it in
    /// [`Handler::disconnect`](crate::Handler::disconnect), after which they are dropped.
    ///
    /// It waits until the session has ended and its WebSocket has stopped sending: after a lost connection that is at
    /// once, after [`disconnect`](Self::disconnect) or the client's close packet at most
    /// [`close_timeout`](crate::Config::close_timeout), during which messages may still leave.
    ///
    /// A message is listed unless the kernel has accepted all of its bytes. What the kernel has accepted counts as sent,
    /// although the client may not have read it: on Linux up to 4 MiB for each connection (`tcp_wmem`). Only an answer of
    /// the client shows that it has a message. Not listed besides:
    /// - over polling, the messages of a response that is being sent when the session ends for another reason than the
    ///   loss of that response, and those of a response that was lost and compressed
    ///   ([`http_compression`](crate::Config::http_compression));
    /// - over a WebSocket with context takeover ([`PerMessageDeflate`](crate::PerMessageDeflate)), the first compressed
    ///   message that waits in the send buffer, and those after it there;
    /// - the bytes of a write that [`shutdown_timeout`](crate::Config::shutdown_timeout) cuts.
    ///
    /// Together they are at most [`outbound_high_water`](crate::Config::outbound_high_water) and one message. Cancel
    /// safe.
    ///
    /// Engine.IO: `writeBuffer` in the event `close`.
    pub async fn undelivered(&self) -> Vec<OwnedMessage> {
        poll_fn(|cx| self.session.poll_stopped(cx)).await;
        self.session.take_undelivered().into_messages()
    }

    /// Queues a message.
    ///
    /// # Errors
    /// - [`SendError::Full`]: [`outbound_high_water`](crate::Config::outbound_high_water) bytes or more wait. A handler
    ///   that answers each message with one message does not reach it unless the answers are much larger: above the
    ///   mark no message is read from the client.
    /// - [`SendError::Closed`]: the session has ended or is closing.
    /// - [`SendError::TooLarge`]: the message has 4 GiB or more.
    /// - [`SendError::Separator`]: text with U+001E; see
    ///   [`separator_over_websocket`](crate::Config::separator_over_websocket).
    pub fn try_send(&self, message: impl AsMessage) -> Result<(), SendError> {
        self.session.try_send(message.as_message())
    }

    /// Queues a message as soon as fewer than [`outbound_high_water`](crate::Config::outbound_high_water) bytes wait.
    ///
    /// Cancel safe: a future that is dropped before it completes has not queued the message. The order among several
    /// futures that wait is not defined.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), except [`SendError::Full`]; [`SendError::Closed`] also if the session ends
    /// while this waits.
    pub async fn send(&self, message: impl AsMessage) -> Result<(), SendError> {
        let message = message.as_message();
        loop {
            match self.session.attempt(message) {
                Err(SendError::Full) => poll_fn(|cx| self.session.poll_room(cx)).await,
                other => return self.session.counted(other),
            }
        }
    }

    /// Queues a message, or drops it where [`try_send`](Self::try_send) returns an error: for values that the next
    /// message replaces.
    pub fn send_volatile(&self, message: impl AsMessage) {
        let _ = self.session.try_send(message.as_message());
    }

    /// Queues a message, and returns a receipt that says whether it was handed to the kernel.
    ///
    /// Engine.IO: the callback of `send`.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub fn try_send_with_receipt(&self, message: impl AsMessage) -> Result<Receipt, SendError> {
        self.session.try_send_confirmed(message.as_message(), true)
    }

    /// Sends messages that are compressed as [configured](crate::Config::per_message_deflate), or never: for a secret
    /// next to bytes of others (its compressed length tells of it), and for data that is compressed already.
    ///
    /// A polling response with a message that is not to be compressed is sent uncompressed.
    ///
    /// Engine.IO: the option `compress` of `send`.
    ///
    /// ```
    /// # fn send(socket: &eio_monoio::Socket<()>, picture: &[u8]) {
    /// socket.compress(false).try_send(picture).ok();
    /// # }
    /// ```
    pub fn compress(&self, compress: bool) -> Compress<'_, T> {
        Compress { session: &self.session, compress }
    }

    /// Queues a packet: a message as [`try_send`](Self::try_send), a close packet as [`disconnect`](Self::disconnect).
    ///
    /// python-engineio: `send_packet`.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send). [`SendError::Reserved`]: any other packet. The session sends those when the
    /// protocol requires them, and one more would be a violation.
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

    /// Completes when no bytes wait to be sent, or the session has ended. The kernel has them then, not necessarily the
    /// client. Cancel safe.
    ///
    /// Engine.IO: event `drain`, callback of `send`.
    pub async fn flushed(&self) {
        poll_fn(|cx| self.session.poll_flushed(cx)).await;
    }

    /// Completes when an upgrade is in progress (a WebSocket of the session is connected), a WebSocket carries the
    /// session, or the session has ended. Cancel safe.
    ///
    /// Engine.IO: event `upgrading`.
    pub async fn upgrading(&self) {
        poll_fn(|cx| self.session.poll_upgrading(cx)).await;
    }

    /// Completes when a WebSocket carries the session, or the session has ended. Cancel safe.
    ///
    /// Engine.IO: event `upgrade`.
    pub async fn upgraded(&self) {
        poll_fn(|cx| self.session.poll_upgraded(cx)).await;
    }

    /// Completes with the close reason when the session has ended. Cancel safe.
    ///
    /// For tasks besides the handler, which is notified by [`Handler::disconnect`](crate::Handler::disconnect).
    pub async fn ended(&self) -> CloseReason {
        poll_fn(|cx| self.session.poll_closed(cx)).await;
        self.closed().unwrap_or(CloseReason::TransportClose)
    }

    /// Completes when fewer than [`outbound_high_water`](crate::Config::outbound_high_water) bytes wait to be sent, or
    /// the session has ended. Cancel safe.
    pub async fn drained(&self) {
        poll_fn(|cx| self.session.poll_room(cx)).await;
    }

    /// Ends the session after its queued messages and a close packet are sent, within
    /// [`close_timeout`](crate::Config::close_timeout). Later sends return [`SendError::Closed`].
    pub fn disconnect(&self) {
        self.session.close();
    }

    /// Ends the session now, with [`CloseReason::ServerDisconnect`]. Queued messages are dropped. A message that was sent
    /// over a WebSocket while none was queued is in its send buffer already, and still leaves.
    pub fn abort(&self) {
        self.end(CloseReason::ServerDisconnect);
    }

    pub(crate) fn end(&self, reason: CloseReason) {
        self.session.abort(reason);
    }

    /// The server of this session.
    pub fn server(&self) -> ServerRef<'_, T> {
        ServerRef::new(&self.session)
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

/// Sends messages on a session with a choice of compression, as [`Socket::compress`] returns it.
pub struct Compress<'a, T> {
    session: &'a Rc<Session<T>>,
    compress: bool,
}

impl<T> Compress<'_, T> {
    /// As [`Socket::try_send`].
    ///
    /// # Errors
    /// As [`Socket::try_send`].
    pub fn try_send(&self, message: impl AsMessage) -> Result<(), SendError> {
        self.session.try_send_with(message.as_message(), self.compress)
    }

    /// As [`Socket::send`].
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub async fn send(&self, message: impl AsMessage) -> Result<(), SendError> {
        let message = message.as_message();
        loop {
            match self.session.attempt_with(message, self.compress) {
                Err(SendError::Full) => poll_fn(|cx| self.session.poll_room(cx)).await,
                other => return self.session.counted(other),
            }
        }
    }

    /// As [`Socket::try_send_with_receipt`].
    ///
    /// # Errors
    /// As [`Socket::try_send`].
    pub fn try_send_with_receipt(&self, message: impl AsMessage) -> Result<Receipt, SendError> {
        self.session.try_send_confirmed(message.as_message(), self.compress)
    }
}

impl<T> fmt::Debug for Compress<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compress").field("compress", &self.compress).finish_non_exhaustive()
    }
}
