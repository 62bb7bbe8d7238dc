//! Sockets, time and tasks of one worker: the only module that names the runtime, and the only one with `unsafe`.
//!
//! Its interface is narrow for a reason: on io_uring, a pending read or accept operation that is dropped loses data or
//! leaks a descriptor. Therefore:
//! - Reading and accepting wait for readiness ([`Socket::poll_readable`]) and then make a system call that does not
//!   block.
//! - Writing is an operation that owns its buffer ([`Socket::write_all`]).
//! - For a peer that sends continuously, reading may be an operation too ([`Socket::poll_recv_op`]). It belongs to the
//!   socket, so a caller that stops polling loses nothing.
//!
//! | file | contents |
//! |---|---|
//! | `runtime` | [`Driver`], [`Runtime`] and [`spawn`] |
//! | `timer` | [`Timer`]: a timer of the kernel |
//! | `socket` | [`Socket`]: a connected stream socket |
//! | `shared` | the runtime's stream, shared by a socket and its operations in flight |
//! | `readiness` | waiting for readiness repeatedly, in one allocation |
//! | `recv_op` | receive operations, one at a time, in one allocation |
//! | `listener` | [`Listener`], [`Accepted`], [`listen`] and [`inherited`] |
//! | `sys` | system calls of sockets and timers, descriptor limit, signal dispositions and the allocator |
#![allow(unsafe_code)]

#[cfg(test)]
mod closing_tests;
mod listener;
mod readiness;
mod recv_op;
mod runtime;
mod shared;
mod socket;
mod sys;
mod timer;

pub(crate) use listener::{Accepted, Listener, inherited, listen};
pub use runtime::Driver;
pub(crate) use runtime::{Runtime, spawn};
pub(crate) use socket::{Received, Socket, Write, Written};
pub(crate) use sys::{abort, descriptor_limit, is_default};
pub(crate) use timer::Timer;

/// Frees the memory that this worker keeps for writes, and returns unused heap memory to the operating system,
/// including pages between allocations that are in use.
pub(crate) fn trim() {
    socket::clear_write_pool();
    sys::trim_heap();
}
