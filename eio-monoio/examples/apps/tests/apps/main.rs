//! The programs of this crate, each started as a process and used over its sockets.

mod chat;
mod deploy;
mod guide;
mod programs;
mod support;
