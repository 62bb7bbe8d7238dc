//! Programs written by others: JavaScript and Python clients and servers, Chromium and curl.
//!
//! Their scenarios are in `interop/`, next to `tests/`; each can be run by hand.

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod clients;
mod curl;
mod options;
mod requests;
mod servers;
