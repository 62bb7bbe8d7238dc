//! Web manners as pure functions: request head in, header lines (or a file) out.

pub(crate) mod compress;
pub(crate) mod conditional;
pub(crate) mod content_type;
pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod files;
pub(crate) mod path;
pub(crate) mod persistence;
pub(crate) mod proxy;
pub(crate) mod request;
