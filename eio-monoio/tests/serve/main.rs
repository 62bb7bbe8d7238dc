//! The program `eio-server` as a process of its own, and the files in `deploy/`.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod deploy;
mod logs;
mod options;
mod server;
mod service_manager;
mod tls;
