//! The same input in other implementations of the same format.
//!
//! Each module is one implementation. It names every allowed difference from eio-core, with the rule that decides it.
//! Any other difference is a finding, in one or the other.

pub(crate) mod deflate;
pub(crate) mod engineioxide;
pub(crate) mod json;
pub(crate) mod picohttpparser;
pub(crate) mod tungstenite;
pub(crate) mod web;
