//! The examples as processes of their own.

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod driver_fallback;
mod echo;
mod embed;
mod logs;
mod restarts;
mod site;
mod socket_activation;
mod tokio_client;
