//! HTTP features: functions from a request head to a decision, header lines or the file that a URL names.
//!
//! No module here waits, sends or opens a file. Two of them may call functions of the application:
//! [`cookie`] (the value) and [`cors`] (the predicate).
//!
//! | module | contents |
//! |---|---|
//! | [`request`], [`query`] | the request head, as the application reads it, and its query |
//! | [`proxy`] | the client's address, if the request came through trusted proxies |
//! | [`cors`] | which origins may send requests, and the header lines for them |
//! | [`cookie`] | the session cookie |
//! | [`compress`] | content codings |
//! | [`files`], [`path`], [`content_type`], [`conditional`] | static files: URLs, media types, conditions and ranges |
//! | [`persistence`] | whether the connection persists |

pub(crate) mod compress;
pub(crate) mod conditional;
pub(crate) mod content_type;
pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod files;
pub(crate) mod path;
pub(crate) mod persistence;
pub(crate) mod proxy;
pub(crate) mod query;
pub(crate) mod request;
