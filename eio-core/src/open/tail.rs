//! [`OpenTail`]: the constant part of a server's open packets.

use crate::buffer::{Overflow, Sink, Writer};
use crate::sid::Sid;
use crate::transport::{Transport, TransportSet};

/// The JSON of an [`Open`](super::Open) after its `sid`: the same for all sessions that a server opens on one transport.
/// Prepared once, it makes an open packet three pieces of text.
///
/// ```
/// use eio_core::open::{OPEN_MAX, Open, OpenTail};
/// use eio_core::transport::TransportSet;
///
/// let tail = OpenTail::new(TransportSet::EMPTY, 25_000, 20_000, 1_000_000);
/// let sid = "lv_VI97HAXpY6yYWAAAC".parse()?;
/// let mut memory = [0; OPEN_MAX];
/// let json = str::from_utf8(tail.json_bytes(&sid, &mut memory)).unwrap();
/// assert_eq!(Open::parse(json).unwrap().sid, sid);
/// # Ok::<(), eio_core::sid::InvalidSid>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenTail {
    memory: [u8; TAIL_MAX],
    len: usize,
}

impl OpenTail {
    /// The arguments are the fields of [`Open`](super::Open) with these names.
    pub fn new(
        upgrades: TransportSet,
        ping_interval_ms: u32,
        ping_timeout_ms: u32,
        max_payload: u32,
    ) -> Self {
        let mut memory = [0; TAIL_MAX];
        let mut out = Writer::new(&mut memory);
        // In the order of engine.io.
        let mut write = || {
            out.put(br#"","upgrades":["#)?;
            let mut first = true;
            for transport in upgrades.iter() {
                if !core::mem::take(&mut first) {
                    out.put(b",")?;
                }
                out.put(match transport {
                    Transport::Polling => br#""polling""#,
                    Transport::WebSocket => br#""websocket""#,
                })?;
            }
            out.put(br#"],"pingInterval":"#)?;
            put_decimal(&mut out, ping_interval_ms)?;
            out.put(br#","pingTimeout":"#)?;
            put_decimal(&mut out, ping_timeout_ms)?;
            out.put(br#","maxPayload":"#)?;
            put_decimal(&mut out, max_payload)?;
            out.put(b"}")
        };
        let written = write();
        debug_assert_eq!(written, Ok(()), "TAIL_MAX is the longest");
        let len = out.written().len();
        Self { memory, len }
    }

    /// Writes the JSON of the session `sid`. No character of a [`Sid`] needs escaping; a serializer that checks each
    /// character took ten times as long.
    ///
    /// # Errors
    /// [`Overflow`], with nothing written. [`OPEN_MAX`] bytes always suffice.
    pub fn encode<K: Sink>(&self, sid: &Sid, out: &mut K) -> Result<(), Overflow> {
        let tail = self.memory.get(..self.len).unwrap_or_default();
        out.put_all([HEAD, sid.as_str().as_bytes(), tail])
    }

    /// The JSON of the session `sid`.
    pub fn json_bytes<'m>(&self, sid: &Sid, memory: &'m mut [u8; OPEN_MAX]) -> &'m [u8] {
        let mut out = Writer::new(memory);
        let written = self.encode(sid, &mut out);
        debug_assert_eq!(written, Ok(()), "OPEN_MAX is the longest");
        out.into_written()
    }
}

/// The JSON before the `sid`.
const HEAD: &[u8] = br#"{"sid":""#;

/// The maximum length of the JSON after the `sid`, in bytes.
const TAIL_MAX: usize = concat!(
    r#"","upgrades":["polling","websocket"],"pingInterval":4294967295,"#,
    r#""pingTimeout":4294967295,"maxPayload":4294967295}"#
)
.len();

/// The maximum length of the JSON that [`Open::encode`](super::Open::encode) writes, in bytes.
pub const OPEN_MAX: usize = HEAD.len() + Sid::MAX + TAIL_MAX;

fn put_decimal(out: &mut Writer<'_>, mut n: u32) -> Result<(), Overflow> {
    let digits = n.checked_ilog10().map_or(1, |log| log as usize + 1);
    for digit in out.claim(digits)?.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
    Ok(())
}
