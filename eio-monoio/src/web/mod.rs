//! Web manners as pure functions: request head in, header lines out.

pub(crate) mod cors;
