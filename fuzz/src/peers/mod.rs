//! The same input, given to somebody else's implementation of the same format.
//!
//! Each module is one implementation. Where it and eio-core differ, the difference stands there by name,
//! with the rule that decides it. Whatever differs without being named is a finding, in one or the other.

pub(crate) mod deflate;
pub(crate) mod engineioxide;
pub(crate) mod json;
pub(crate) mod picohttpparser;
pub(crate) mod tungstenite;
pub(crate) mod web;
