//! Peers written by others: JavaScript and Python clients and servers, Chromium and curl.

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod clients;
mod options;
mod servers;
