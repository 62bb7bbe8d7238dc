//! The floor: the least work of a correct codec, on bare slices into existing buffers, without state or error values.
//!
//! It makes every check that a correct codec needs: UTF-8, the type of a packet, no separator inside a message, the
//! rules of RFC 6455 for a frame, a limit.

use base64_simd::{AsOut, STANDARD};

/// The data of a text packet.
pub fn decode_text(record: &[u8]) -> Option<&str> {
    match record.split_first()? {
        (b'4', data) => simdutf8::basic::from_utf8(data).ok(),
        _ => None,
    }
}

/// Writes a text packet and returns its length.
pub fn encode_text(data: &str, out: &mut [u8]) -> usize {
    out[0] = b'4';
    out[1..=data.len()].copy_from_slice(data.as_bytes());
    1 + data.len()
}

/// Calls `each` for every text packet of a body.
pub fn decode_payload<'b>(body: &'b [u8], mut each: impl FnMut(&'b str)) -> Option<()> {
    let mut start = 0;
    for end in memchr::memchr_iter(0x1e, body).chain([body.len()]) {
        each(decode_text(&body[start..end])?);
        start = end + 1;
    }
    Some(())
}

/// Writes text packets one after another and returns their length; `None` if one contains a separator.
pub fn encode_payload(messages: &[&str], out: &mut [u8]) -> Option<usize> {
    let mut at = 0;
    for message in messages {
        if memchr::memchr(0x1e, message.as_bytes()).is_some() {
            return None;
        }
        if at > 0 {
            out[at] = 0x1e;
            at += 1;
        }
        at += encode_text(message, &mut out[at..]);
    }
    Some(at)
}

/// The same without the search for separators.
pub fn encode_payload_unchecked(messages: &[&str], out: &mut [u8]) -> usize {
    let mut at = 0;
    for message in messages {
        if at > 0 {
            out[at] = 0x1e;
            at += 1;
        }
        at += encode_text(message, &mut out[at..]);
    }
    at
}

/// Decodes a base64 record (`b` and digits) in place.
pub fn decode_base64(record: &mut [u8]) -> Option<&[u8]> {
    STANDARD.decode_inplace(&mut record[1..]).ok().map(|data| &*data)
}

/// Writes a binary packet as a base64 record.
pub fn encode_base64<'o>(data: &[u8], out: &'o mut [u8]) -> &'o [u8] {
    out[0] = b'b';
    let len = STANDARD.encode(data, out[1..].as_out()).len();
    &out[..=len]
}

/// Masks or unmasks a payload in place.
pub fn mask(payload: &mut [u8], key: [u8; 4]) {
    let key = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    words.iter_mut().for_each(|word| *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes());
    rest.iter_mut().zip(key.to_ne_bytes()).for_each(|(byte, key)| *byte ^= key);
}

/// More than the length of any message here.
const LIMIT: usize = 1_000_000;

/// The length of a masked text frame's payload, its key, and its offset.
pub fn read_head(frame: &[u8]) -> Option<(usize, [u8; 4], usize)> {
    let [0x81, second @ 0x80..=0xff, rest @ ..] = frame else { return None };
    let (len, at, rest) = match second & 0x7f {
        126 => {
            let (len, rest) = rest.split_first_chunk()?;
            let len = usize::from(u16::from_be_bytes(*len));
            (Some(len).filter(|len| *len > 125)?, 4, rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk()?;
            let len = usize::try_from(u64::from_be_bytes(*len)).ok()?;
            (Some(len).filter(|len| *len > 0xffff)?, 10, rest)
        }
        short => (usize::from(short), 2, rest),
    };
    (len <= LIMIT).then_some((len, *rest.first_chunk()?, at + 4))
}

/// The payload of a complete masked text frame.
pub fn read_frame(frame: &mut [u8]) -> Option<&mut [u8]> {
    let (len, key, at) = read_head(frame)?;
    let payload = frame.get_mut(at..at + len)?;
    mask(payload, key);
    Some(payload)
}

/// Writes a text packet in a frame, masked if there is a key, and returns its length.
pub fn write_frame(data: &[u8], key: Option<[u8; 4]>, out: &mut [u8]) -> usize {
    let masked = if key.is_some() { 0x80 } else { 0 };
    out[0] = 0x81;
    let mut at = match data.len() + 1 {
        len @ 0..126 => {
            out[1] = masked | len as u8;
            2
        }
        len @ 126..0x1_0000 => {
            out[1] = masked | 126;
            out[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        len => {
            out[1] = masked | 127;
            out[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    if let Some(key) = key {
        out[at..at + 4].copy_from_slice(&key);
        at += 4;
    }
    out[at] = b'4';
    let end = at + 1 + data.len();
    out[at + 1..end].copy_from_slice(data);
    if let Some(key) = key {
        mask(&mut out[at..end], key);
    }
    end
}

/// Writes pieces one after another.
struct Pieces<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl Pieces<'_> {
    fn put(&mut self, piece: &[u8]) {
        self.out[self.at..self.at + piece.len()].copy_from_slice(piece);
        self.at += piece.len();
    }

    fn number(&mut self, mut n: u32) {
        let mut digits = [0; 10];
        let mut start = 10;
        loop {
            start -= 1;
            digits[start] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                break;
            }
        }
        self.put(&digits[start..]);
    }
}

/// Writes an open packet's JSON that offers WebSocket, and returns its length.
pub fn open(sid: &str, [interval, timeout, max]: [u32; 3], out: &mut [u8]) -> usize {
    let mut pieces = Pieces { out, at: 0 };
    pieces.put(br#"{"sid":""#);
    pieces.put(sid.as_bytes());
    pieces.put(br#"","upgrades":["websocket"],"pingInterval":"#);
    pieces.number(interval);
    pieces.put(br#","pingTimeout":"#);
    pieces.number(timeout);
    pieces.put(br#","maxPayload":"#);
    pieces.number(max);
    pieces.put(b"}");
    pieces.at
}

/// Parses an open packet's JSON without white space, escapes or unknown keys: sid, whether it offers WebSocket,
/// numbers.
pub fn parse_open(json: &str) -> Option<(&str, bool, [u32; 3])> {
    let mut rest = json.strip_prefix('{')?;
    let (mut sid, mut websocket, mut numbers) = (None, false, [0; 3]);
    loop {
        let (key, value) = rest.strip_prefix('"')?.split_once("\":")?;
        rest = match key {
            "sid" => {
                let (text, rest) = value.strip_prefix('"')?.split_once('"')?;
                sid = Some(text);
                rest
            }
            "upgrades" => {
                let (list, rest) = value.strip_prefix('[')?.split_once(']')?;
                websocket = list.split(',').any(|name| name == "\"websocket\"");
                rest
            }
            _ => {
                let slot =
                    ["pingInterval", "pingTimeout", "maxPayload"].iter().position(|k| *k == key)?;
                let end = value.find(|c: char| !c.is_ascii_digit())?;
                numbers[slot] = value[..end].parse().ok()?;
                &value[end..]
            }
        };
        match rest.as_bytes() {
            b"}" => return Some((sid?, websocket, numbers)),
            [b',', ..] => rest = &rest[1..],
            _ => return None,
        }
    }
}

/// Writes the head of a response to a poll, and returns its length.
pub fn answer(len: u32, out: &mut [u8]) -> usize {
    let mut pieces = Pieces { out, at: 0 };
    pieces.put(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nCache-Control: no-store\r\n");
    pieces.put(b"Content-Length: ");
    pieces.number(len);
    pieces.put(b"\r\n\r\n");
    pieces.at
}

/// Parses a request head, and checks the one header that RFC 9112 section 3.2 requires: "A server MUST respond with a
/// 400 (Bad Request) status code [...] to any request message that contains more than one Host header field line or a
/// Host header field with an invalid field value".
pub fn head<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut [httparse::Header<'b>],
) -> Option<Head<'h, 'b>> {
    let mut request = httparse::Request::new(slots);
    let len = request.parse(bytes).ok().filter(httparse::Status::is_complete)?.unwrap();
    let headers = &*request.headers;
    let mut hosts = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let host = hosts.next()?.value;
    let legal = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
    };
    if hosts.next().is_some() || !host.iter().all(legal) || len != bytes.len() {
        return None;
    }
    Some(Head { method: request.method?, target: request.path?, headers })
}

/// See [`head`].
pub struct Head<'h, 'b> {
    pub method: &'b str,
    pub target: &'b str,
    pub headers: &'h [httparse::Header<'b>],
}

/// The session of a head that is a polling GET without a body.
pub fn poll_of<'b>(head: &Head<'_, 'b>) -> Option<&'b str> {
    let body = |header: &httparse::Header<'_>| {
        header.name.eq_ignore_ascii_case("content-length")
            || header.name.eq_ignore_ascii_case("transfer-encoding")
    };
    if head.method != "GET" || head.headers.iter().any(body) {
        return None;
    }
    let (path, query) = head.target.split_once('?')?;
    let (mut polling, mut sid) = (false, None);
    for pair in query.split('&') {
        match pair.split_once('=')? {
            ("transport", transport) => polling = transport == "polling",
            ("sid", text) => sid = Some(text),
            _ => {}
        }
    }
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    sid.filter(|sid| polling && path == "/engine.io/" && sid.len() <= 64 && sid.bytes().all(legal))
}
