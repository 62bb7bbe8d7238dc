//! The laws: properties that hold for any input. They use `std` and `eio-core` only.
//!
//! Each module covers one parser or state machine. Its `run` takes the fuzzer's bytes, and panics if a law is broken.
//! `eio-core/tests/corpus.rs` compiles the same files and runs them over the named seeds, so they have no other
//! dependencies.

mod input;
mod out;
#[cfg(test)]
mod random;

pub(crate) mod chunked_body;
pub(crate) mod client_session;
pub(crate) mod cluster_bus;
pub(crate) mod cluster_hello;
pub(crate) mod cluster_link;
pub(crate) mod deflate;
pub(crate) mod file_path;
pub(crate) mod http;
pub(crate) mod open_json;
pub(crate) mod packet;
pub(crate) mod payload;
pub(crate) mod proxy_protocol;
pub(crate) mod query;
pub(crate) mod response_lines;
pub(crate) mod server_session;
pub(crate) mod ws;

pub(crate) use input::Input;
