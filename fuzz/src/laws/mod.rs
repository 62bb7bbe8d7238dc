//! What must hold for any input, said with nothing but `std` and `eio-core`.
//!
//! Each module is one entrance. Its `run` takes the fuzzer's bytes, and panics if a law is broken. The same
//! files are a test of eio-core (`eio-core/tests/corpus.rs`), which runs them over the named seeds; that is
//! why they depend on nothing else.

mod input;
mod out;

pub(crate) mod chunked_body;
pub(crate) mod client_session;
pub(crate) mod deflate;
pub(crate) mod file_path;
pub(crate) mod http;
pub(crate) mod open_json;
pub(crate) mod packet;
pub(crate) mod payload;
pub(crate) mod query;
pub(crate) mod server_session;
pub(crate) mod ws;

pub(crate) use input::Input;
