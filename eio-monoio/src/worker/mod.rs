//! A worker: one thread with its own runtime, and the state that everything on it shares.
//!
//! Nothing here knows of HTTP, WebSocket or Engine.IO. [`net`] is the only module that names the runtime.

pub(crate) mod context;
pub(crate) mod deadline;
pub(crate) mod future_pool;
pub(crate) mod mailbox;
pub(crate) mod net;
pub(crate) mod pool;
pub(crate) mod random;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod tasks;
pub(crate) mod timers;
pub(crate) mod trim;
pub(crate) mod wakers;
pub(crate) mod yield_now;
