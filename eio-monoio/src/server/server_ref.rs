//! [`ServerRef`]: the server of a session, for its handler.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use eio_core::sid::Sid;

use crate::message::AsMessage;
use crate::server::remote::Remote;
use crate::server::session::Session;
use crate::server::socket::Socket;

/// The server of a session, as [`Socket::server`] returns it.
///
/// Calls take effect at once for sessions of this worker. For sessions of others they are passed to their workers'
/// mailboxes, and take effect soon. After the server has ended they have no effect.
///
/// With `Server::cluster`, messages and [`disconnect`](Self::disconnect) reach the sessions of every node; the engine
/// carries those for other nodes. `remote().here()` reaches this node only.
///
/// A session receives the messages of one handler in the order of the calls, whether they were sent by its [`Socket`], to
/// its sid or by a broadcast. A [`Remote`] always uses the mailboxes: at a session of the same worker, a message that
/// the handler sends later by another way may arrive before.
///
/// ```
/// use eio_monoio::{Sid, Socket};
///
/// fn announce(socket: &Socket<String>, to: Option<&Sid>, text: &str) {
///     let server = socket.server();
///     match to {
///         Some(sid) => server.send(sid, text),
///         None => server.broadcast(format!("{} of {}: {text}", socket.data(), server.sessions())),
///     }
/// }
/// ```
pub struct ServerRef<'a, T> {
    session: &'a Rc<Session<T>>,
}

impl<'a, T> ServerRef<'a, T> {
    pub(crate) fn new(session: &'a Rc<Session<T>>) -> Self {
        Self { session }
    }
}

impl<T: 'static> ServerRef<'_, T> {
    /// Sends to every session of every worker, including this one. The message is encoded once.
    ///
    /// It is skipped, and that is logged, for a session above its
    /// [high-water mark](crate::Config::outbound_high_water), and for all sessions of a worker whose
    /// [mailbox](crate::Config::mailbox_high_water) is full. Sessions opened later do not receive it.
    pub fn broadcast(&self, message: impl AsMessage) {
        if let Some(server) = self.session.env.server.upgrade() {
            server.broadcast(message.as_message(), Vec::new());
        }
    }

    /// Sends to every session as [`broadcast`](Self::broadcast), except to these.
    ///
    /// ```
    /// # fn say(socket: &eio_monoio::Socket<()>) {
    /// socket.server().broadcast_except([socket.sid()], "to all others");
    /// # }
    /// ```
    pub fn broadcast_except(
        &self,
        except: impl IntoIterator<Item = impl Borrow<Sid>>,
        message: impl AsMessage,
    ) {
        if let Some(server) = self.session.env.server.upgrade() {
            server.broadcast(message.as_message(), to_owned(except));
        }
    }

    /// Sends to one session on any worker. An unknown sid is ignored; a message that cannot be queued is dropped, and
    /// that is logged.
    pub fn send(&self, sid: &Sid, message: impl AsMessage) {
        if let Some(server) = self.session.env.server.upgrade() {
            server.send_to(sid, message.as_message());
        }
    }

    /// Sends to some sessions on any worker, for example to the members of a room. The message is encoded once.
    ///
    /// Unknown sids are ignored; a session whose queue is full is skipped, and that is logged.
    pub fn send_many(
        &self,
        sids: impl IntoIterator<Item = impl Borrow<Sid>>,
        message: impl AsMessage,
    ) {
        if let Some(server) = self.session.env.server.upgrade() {
            server.send_many(to_owned(sids), message.as_message());
        }
    }

    /// The session with this sid, if it is open and on this worker. `None` for sessions of other workers.
    ///
    /// python-engineio: `session(sid)`, for the data.
    pub fn socket(&self, sid: &Sid) -> Option<Socket<T>> {
        self.session.env.server.upgrade()?.find_here(sid).map(Socket::new)
    }

    /// The sessions that are open on this worker now. Those of other workers are reached by their sids; see
    /// [`Remote::sids`].
    ///
    /// The list is made at once: 8 bytes for each session of the worker. A session may have ended when the iterator
    /// returns it; [`Socket::closed`] says so.
    pub fn sockets(&self) -> impl Iterator<Item = Socket<T>> + use<T> {
        let server = self.session.env.server.upgrade();
        let sessions = server.map(|server| server.all_here()).unwrap_or_default();
        sessions.into_iter().map(Socket::new)
    }

    /// Calls `new_future` with the session of this sid on the worker of the session, and runs the future there as
    /// [`spawn`](crate::spawn) does. If there is no such session, the closure is dropped.
    ///
    /// A panic is caught and logged. [`Remote::spawn_at`] does the same from any thread.
    ///
    /// ```
    /// use eio_monoio::{Sid, Socket};
    ///
    /// /// Reads the data of another session, on any worker.
    /// fn whisper(socket: &Socket<String>, to: &Sid) {
    ///     let from = socket.data().clone();
    ///     socket.server().spawn_at(to, |other: Socket<String>| async move {
    ///         let text = format!("{from} to {}: hello", other.data());
    ///         other.send(text).await.ok();
    ///     });
    /// }
    /// ```
    pub fn spawn_at<F: Future<Output = ()> + 'static>(
        &self,
        sid: &Sid,
        new_future: impl FnOnce(Socket<T>) -> F + Send + 'static,
    ) {
        match self.socket(sid) {
            Some(socket) => {
                let context = self.session.env.worker.clone();
                let run = || drop(crate::worker::task::spawn(new_future(socket)));
                if context.tasks.call(run).is_err() {
                    crate::log::error!("a job of another session panicked");
                }
            }
            // The types agree, and an unknown session is ignored.
            None => drop(self.remote().spawn_at(sid, new_future)),
        }
    }

    /// Ends one session on any worker, as [`Socket::disconnect`]. An unknown sid is ignored.
    pub fn disconnect(&self, sid: &Sid) {
        if let Some(server) = self.session.env.server.upgrade() {
            server.disconnect(sid);
        }
    }

    /// The number of sessions of all workers.
    pub fn sessions(&self) -> usize {
        self.remote().sessions()
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        Remote::new(self.session.env.shared.clone())
    }
}

impl<T: 'static> fmt::Debug for ServerRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRef").field("sessions", &self.sessions()).finish()
    }
}

fn to_owned(sids: impl IntoIterator<Item = impl Borrow<Sid>>) -> Vec<Sid> {
    sids.into_iter().map(|sid| sid.borrow().clone()).collect()
}
