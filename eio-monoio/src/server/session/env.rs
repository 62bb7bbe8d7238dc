//! [`SessionEnv`]: the parts of the worker and of the server that a session uses.

use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use eio_core::open::OpenTail;
use eio_core::packet::Message;
use eio_core::session::Timing;
use eio_core::sid::Sid;

use crate::metrics::Counters;
use crate::server::config::Config;
use crate::server::session::Session;
use crate::server::shard::shared::ServerShared;
use crate::worker::context::WorkerContext;

/// Shared by all sessions of one worker.
pub(crate) struct SessionEnv<T> {
    pub(crate) worker: Rc<WorkerContext>,
    pub(crate) config: Arc<Config>,
    pub(crate) timing: Timing,
    pub(crate) open_tails: OpenTails,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shared: Arc<ServerShared>,
    /// Dangling after the worker has ended.
    pub(crate) server: Weak<dyn Sessions<T>>,
}

/// The open packets of sessions after the `sid`, by the transport on which they open.
pub(crate) struct OpenTails {
    pub(crate) polling: OpenTail,
    pub(crate) websocket: OpenTail,
}

impl<T> Deref for SessionEnv<T> {
    type Target = WorkerContext;

    #[inline]
    fn deref(&self) -> &WorkerContext {
        &self.worker
    }
}

/// All sessions of the server, as one of them and its handler reach them.
pub(crate) trait Sessions<T> {
    /// The state machine of the session in `slot` has ended. `busy`: its handler still runs, and the task that runs it
    /// calls the disconnect callback.
    fn session_closed(&self, slot: u32, busy: bool);

    /// Sends to every session of every worker, except to these.
    fn broadcast(&self, message: Message<'_>, except: Vec<Sid>);

    /// Sends to some sessions on any worker; unknown ones are ignored.
    fn send_many(&self, sids: Vec<Sid>, message: Message<'_>);

    /// Sends to one session on any worker; an unknown one is ignored.
    fn send_to(&self, sid: &Sid, message: Message<'_>);

    /// A session of this worker.
    fn find_here(&self, sid: &Sid) -> Option<Rc<Session<T>>>;

    /// The sessions of this worker.
    fn all_here(&self) -> Vec<Rc<Session<T>>>;

    /// Ends one session on any worker after its queued messages.
    fn disconnect(&self, sid: &Sid);
}
