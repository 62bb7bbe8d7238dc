//! permessage-deflate (RFC 7692): messages are compressed as they are written, and inflated when they are complete.
//!
//! [`Outward`] and [`Inward`] are the sending and the receiving direction of one connection. State that they need only
//! during a call is shared by all connections of a worker: [`Codecs`].

mod codec;
mod compress;
mod inflate;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use eio_core::ws::Role;
use eio_core::ws::deflate::{Terms, WindowBits};

use crate::worker::context::WorkerContext;

pub(crate) use compress::Outward;
pub(crate) use inflate::Inward;

/// How WebSocket messages are compressed (permessage-deflate, RFC 7692) with a peer that can do so too. JS
/// `perMessageDeflate`.
///
/// ```
/// use eio_monoio::{Config, PerMessageDeflate};
///
/// let config = Config::new().per_message_deflate(PerMessageDeflate::new().threshold(4096));
/// assert!(config.check().is_ok());
/// ```
///
/// # Memory
/// Each core has one compressor (312 KiB, made with the first message) and one inflater (11 KiB) for all its
/// connections. By default that is all: every message is compressed by itself. A message that is inflated takes a second
/// buffer beside the one it was received in, of no more than the limit on messages (and a power of two).
///
/// A direction that may refer to earlier messages costs more, and is worth it for many small messages that are alike:
///
/// * what we receive: the last 32 KiB of it for each connection, or as much as
///   [`client_max_window_bits`](Self::client_max_window_bits) says (on a client: `server_max_window_bits`);
/// * what we send: a compressor for each connection that sends, but at most 32 (10 MiB) a core. Beyond that the one
///   that was idle longest goes to whoever has none, and its connection begins again without the past.
///
/// # What is refused
/// A message that inflates beyond the limit is closed with 1009 before it does; one that is no DEFLATE data, or in more
/// blocks than one for seven of its bytes, with 1007.
///
/// Whoever can make a page reflect chosen text next to a secret in one message, or in messages that refer to each
/// other, can learn the secret from the lengths (CRIME): do not mix them on a connection that is compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerMessageDeflate {
    threshold: usize,
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl Default for PerMessageDeflate {
    fn default() -> Self {
        Self {
            threshold: 1024,
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: None,
            client_max_window_bits: None,
        }
    }
}

/// Setters, each with its default and range.
impl PerMessageDeflate {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The smallest message that is compressed, in bytes, with its packet type. 1024; 0 to 2^31. JS `threshold`.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Whether the server compresses each message by itself. True; in JS `serverNoContextTakeover` is false. A
    /// client that asks for it gets it; on a client it is what is asked for.
    #[must_use]
    pub fn server_no_context_takeover(mut self, alone: bool) -> Self {
        self.server_no_context_takeover = alone;
        self
    }

    /// Whether the client compresses each message by itself. True; in JS `clientNoContextTakeover` is false.
    #[must_use]
    pub fn client_no_context_takeover(mut self, alone: bool) -> Self {
        self.client_no_context_takeover = alone;
        self
    }

    /// How far back the server refers at most: 2 to this power bytes. 15, as far as DEFLATE goes; 9 to 15. A client
    /// that asks for less, down to 8, gets it. JS `serverMaxWindowBits`.
    ///
    /// The compressor of flate2's Rust backend always has a window of 15 bits. A smaller one is kept to by beginning
    /// anew after each window, which compresses less; of a message of more than 64 windows nothing is compressed.
    #[must_use]
    pub fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = Some(bits);
        self
    }

    /// How far back the client refers at most: 2 to this power bytes. 15, as far as DEFLATE goes; 9 to 15. An offer
    /// of a client that cannot be told so is declined. JS `clientMaxWindowBits`.
    #[must_use]
    pub fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client_max_window_bits = Some(bits);
        self
    }
}

impl PerMessageDeflate {
    /// Checks every option.
    ///
    /// # Errors
    /// The first option outside its range, with the range.
    pub(crate) fn check(&self) -> Result<(), String> {
        const MAX: usize = 1 << 31;
        if self.threshold > MAX {
            return Err(format!("threshold {} is outside 0 to {MAX}", self.threshold));
        }
        for (name, bits) in [
            ("server_max_window_bits", self.server_max_window_bits),
            ("client_max_window_bits", self.client_max_window_bits),
        ] {
            // RFC 7692 allows 8, which zlib does not support: a peer that uses zlib could not comply.
            if let Some(bits) = bits.filter(|bits| !(9..=15).contains(bits)) {
                return Err(format!("{name} {bits} is outside 9 to 15"));
            }
        }
        Ok(())
    }

    /// The options as terms to offer or to answer with.
    pub(crate) fn terms(&self) -> Terms {
        let limit = |bits: Option<u8>| bits.and_then(WindowBits::new);
        Terms {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: limit(self.server_max_window_bits),
            client_max_window_bits: limit(self.client_max_window_bits),
        }
    }

    /// The two directions of a connection whose peers agreed on `terms`. A message may have at most `max` bytes.
    pub(crate) fn begin(
        &self,
        worker: &Rc<WorkerContext>,
        role: Role,
        terms: &Terms,
        max: usize,
    ) -> (Box<Outward>, Box<Inward>) {
        let server = (!terms.server_no_context_takeover, terms.server_max_window_bits);
        let client = (!terms.client_no_context_takeover, terms.client_max_window_bits);
        let (outward, inward) = match role {
            Role::Server => (server, client),
            Role::Client => (client, server),
        };
        let window = |bits: Option<WindowBits>| bits.unwrap_or(WindowBits::MAX).size();
        let outward = Outward::new(worker, self.threshold, outward.0, window(outward.1));
        let inward = Inward::new(worker, max, inward.0.then_some(window(inward.1)));
        (Box::new(outward), Box::new(inward))
    }
}

/// The state shared by all compressed connections of a worker.
#[derive(Default)]
pub(crate) struct Codecs {
    inflater: RefCell<Option<Box<codec::Inflater>>>,
    compressors: RefCell<compress::Compressors>,
    /// The number of connections that have had their own compression context: the last owner number given.
    owners: Cell<u64>,
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codecs").finish_non_exhaustive()
    }
}
