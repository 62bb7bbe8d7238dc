//! A worker: one thread of a server or client with its own runtime, and the state that everything on it shares.
//!
//! This folder is independent of HTTP, WebSocket and Engine.IO. [`net`] is the only module that names the runtime.
//!
//! | module | contents |
//! |---|---|
//! | [`context`] | timers, buffers, tasks and connections of a worker |
//! | [`net`] | sockets, the runtime, system calls |
//! | [`clock`], [`timers`], [`deadline`] | the time, the timer wheel, and one entry in it |
//! | [`tasks`], [`task`] | counted tasks that isolate user code; the public `spawn` and `sleep` |
//! | [`pool`], [`future_pool`], [`trim`] | reusable buffers and futures, and returning memory after a burst |
//! | [`mailbox`], [`mailbox_waker`], [`yield_now`] | items from other threads, wake-ups, cooperative yielding |
//! | [`wakers`], [`task_waker`] | the tasks that wait for one event; wakers that any thread may use |
//! | [`random`], [`signal`] | random bytes; SIGINT |

pub(crate) mod blocking;
pub(crate) mod budget;
pub(crate) mod clock;
pub(crate) mod context;
pub(crate) mod deadline;
pub(crate) mod frame_input;
pub(crate) mod future_pool;
pub(crate) mod live_count;
pub(crate) mod mailbox;
pub(crate) mod mailbox_waker;
pub(crate) mod net;
pub(crate) mod pool;
pub(crate) mod random;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod task_waker;
pub(crate) mod tasks;
pub(crate) mod thread_pool;
pub(crate) mod timers;
pub(crate) mod trim;
pub(crate) mod wakers;
pub(crate) mod yield_now;
