//! The framing of floors: it completes the handshake of the load generator only. And the TLS options of every
//! server with rustls.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The options that eio has: tickets without state.
pub fn tls(certificate: &str, key: &str) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.ticketer = Ticketer::new().unwrap();
    Arc::new(config)
}

/// The response to the generator's only key.
pub const OPENED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A WebSocket that echoes.
#[derive(Default)]
pub struct Echo {
    open: bool,
    /// The client has closed, or its text is invalid.
    pub ended: bool,
    /// Bytes of an incomplete head or frame.
    rest: Vec<u8>,
    /// Echoes to be sent.
    pub out: Vec<u8>,
}

impl Echo {
    pub fn received(&mut self, data: &mut [u8]) {
        if self.rest.is_empty() && self.open {
            let used = self.echo(data);
            self.rest.extend_from_slice(&data[used..]);
            return;
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(data);
        let used = if self.open { self.echo(&mut all) } else { self.handshake(&all) };
        all.drain(..used);
        self.rest = all;
    }

    fn handshake(&mut self, head: &[u8]) -> usize {
        if !head.ends_with(b"\r\n\r\n") {
            return 0;
        }
        self.open = true;
        self.out.extend_from_slice(OPENED);
        head.len()
    }

    /// Echoes the complete frames of `data`, and returns their length.
    fn echo(&mut self, data: &mut [u8]) -> usize {
        let mut used = 0;
        while let Some((opcode, size, payload)) = unmasked(&mut data[used..]) {
            used += size;
            if opcode == 8 {
                self.ended = true;
                self.out.extend_from_slice(&[0x88, 0]);
                break;
            }
            // The generator sends no invalid text: the check is part of the cost.
            if opcode == 1 && std::str::from_utf8(payload).is_err() {
                self.ended = true;
                break;
            }
            self.out.push(0x80 | opcode);
            match payload.len() {
                len @ 0..126 => self.out.push(len as u8),
                len @ 126..65536 => {
                    self.out.push(126);
                    self.out.extend_from_slice(&(len as u16).to_be_bytes());
                }
                len => {
                    self.out.push(127);
                    self.out.extend_from_slice(&(len as u64).to_be_bytes());
                }
            }
            self.out.extend_from_slice(payload);
        }
        used
    }
}

/// The opcode, the size and the unmasked payload of a complete frame.
pub fn unmasked(data: &mut [u8]) -> Option<(u8, usize, &mut [u8])> {
    let (head, len) = frame(data)?;
    let opcode = data[0] & 15;
    let (mask, payload) = data[head - 4..head + len].split_at_mut(4);
    unmask(payload, [mask[0], mask[1], mask[2], mask[3]]);
    Some((opcode, head + len, payload))
}

/// The lengths of the head, with its mask, and of the payload of a complete frame.
fn frame(data: &[u8]) -> Option<(usize, usize)> {
    let (head, len) = match *data.get(1)? & 127 {
        126 => (8, u16::from_be_bytes(data.get(2..4)?.try_into().ok()?).into()),
        127 => (14, u64::from_be_bytes(data.get(2..10)?.try_into().ok()?) as usize),
        short => (6, short.into()),
    };
    (data.len() >= head + len).then_some((head, len))
}

pub fn unmask(payload: &mut [u8], [a, b, c, d]: [u8; 4]) {
    let mask = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    words.iter_mut().for_each(|word| *word = (u64::from_ne_bytes(*word) ^ mask).to_ne_bytes());
    rest.iter_mut().zip([a, b, c, d].into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}
