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

use crate::range;
use crate::worker::context::WorkerContext;

pub(crate) use compress::Outward;
pub(crate) use inflate::Inward;

/// Compression of WebSocket messages (permessage-deflate, RFC 7692) with a peer that supports it. Engine.IO:
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
/// Each worker has one compressor (312 KiB, allocated for the first message) and one decompressor (11 KiB) for all its
/// connections. With the defaults there is no more state, because each message is compressed by itself. While a message
/// is decompressed it needs a second buffer, of at most the limit on messages rounded up to a power of two.
///
/// A direction whose messages may refer to earlier ones (context takeover) needs more memory, and compresses many small
/// similar messages better:
///
/// * received messages: for each connection the last 32 KiB of them, or as much as
///   [`client_max_window_bits`](Self::client_max_window_bits) says (on a client: `server_max_window_bits`);
/// * sent messages: a compressor for each connection that sends, but at most 32 (10 MiB) for each worker. A further
///   connection takes the compressor that was idle longest, whose connection then starts again without history.
///
/// # Security
/// A message that would decompress to more than the limit is answered with close code 1009 before it does. A message
/// that is not DEFLATE data is answered with 1007, as is one of n bytes with more than 16 + n / 7 blocks.
///
/// An attacker that can place chosen text next to a secret in one message, or in messages that refer to each other, can
/// learn the secret from the lengths (CRIME): do not mix them on a connection that is compressed.
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

/// # Options
impl PerMessageDeflate {
    /// The default of every option.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The smallest message that is compressed, in bytes; the packet type of a text message counts.
    ///
    /// **Default:** 1,024 bytes. **Range:** 0 bytes to 2 GiB. A smaller message is sent as it is.
    ///
    /// Engine.IO: `threshold`.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Whether the server compresses each message by itself. A client with this option asks the server to do so; a
    /// server without it still does so for clients that ask.
    ///
    /// **Default:** true.
    ///
    /// Engine.IO: `serverNoContextTakeover`, false there.
    #[must_use]
    pub fn server_no_context_takeover(mut self, alone: bool) -> Self {
        self.server_no_context_takeover = alone;
        self
    }

    /// Whether the client compresses each message by itself.
    ///
    /// **Default:** true.
    ///
    /// Engine.IO: `clientNoContextTakeover`, false there.
    #[must_use]
    pub fn client_no_context_takeover(mut self, alone: bool) -> Self {
        self.client_no_context_takeover = alone;
        self
    }

    /// The server's window: it refers at most 2 to this power bytes back.
    ///
    /// **Default:** not set, which leaves the maximum of DEFLATE, 15. **Range:** 9 to 15. A client that asks a server
    /// for less, down to 8, gets less.
    ///
    /// The compressor of flate2's Rust backend always has a window of 15 bits. For a smaller one it starts again after
    /// each window, and after each message in spite of context takeover, which compresses less. A message of more than
    /// 64 windows is sent as it is.
    ///
    /// Engine.IO: `serverMaxWindowBits`.
    #[must_use]
    pub fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = Some(bits);
        self
    }

    /// The client's window: it refers at most 2 to this power bytes back.
    ///
    /// **Default:** not set, which leaves the maximum of DEFLATE, 15. **Range:** 9 to 15. If it is set, a server declines
    /// the offer of a client that does not support the parameter, and messages are not compressed. A client of this
    /// crate compresses for a smaller window as [described](Self::server_max_window_bits) for servers.
    ///
    /// Engine.IO: `clientMaxWindowBits`.
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
        range::check(self.threshold, range::THRESHOLD)
            .map_err(|problem| format!("threshold {problem}"))?;
        for (name, bits) in [
            ("server_max_window_bits", self.server_max_window_bits),
            ("client_max_window_bits", self.client_max_window_bits),
        ] {
            // RFC 7692 allows 8, which zlib does not implement: a peer that uses zlib could not comply.
            range::check(bits.unwrap_or(15), 9..=15)
                .map_err(|problem| format!("{name} {problem}"))?;
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
