//! TLS for the tests: certificates, and relays between TLS and plain TCP.

mod pki;
mod relay;
mod websocket;

pub(crate) use pki::{Identity, Pki, write_identity};
pub(crate) use relay::{originate, terminate};
pub(crate) use websocket::SecureWebSocket;
