//! The client side of HTTP/1.1 and WebSocket, as far as a load generator needs it.
//!
//! It does not use eio-core, because a defect there would then hide itself.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::TcpStream;

use memchr::memmem;

use crate::args::{Args, Url};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The accept value of that key, from RFC 6455 section 1.3.
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request with about as many headers as a polling client sends. After a POST, the caller appends the length, an
/// empty line and the body.
pub(crate) fn request(args: &Args, method: &str, query: &str) -> Vec<u8> {
    let (path, host) = (&args.url.path, &args.url.host);
    let mut request = format!(
        "{method} {path}?EIO=4&{query} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nUser-Agent: eio-load\r\n\
         Accept-Encoding: identity\r\nConnection: keep-alive\r\n"
    );
    request.push_str(match method {
        "POST" => "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: ",
        _ => "\r\n",
    });
    request.into_bytes()
}

/// A WebSocket upgrade request, for a session if `sid` is not empty.
pub(crate) fn upgrade(args: &Args, sid: &str) -> Vec<u8> {
    let (path, host) = (&args.url.path, &args.url.host);
    let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
    format!(
        "GET {path}?EIO=4&transport=websocket{sid} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: eio-load\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    head: &'a [u8],
    pub(crate) body: Cow<'a, [u8]>,
    /// Its length in bytes.
    pub(crate) len: usize,
}

impl<'a> Response<'a> {
    /// `None` if it is incomplete.
    pub(crate) fn parse(data: &'a [u8]) -> Result<Option<Self>, String> {
        let Some(end) = memmem::find(data, b"\r\n\r\n") else { return Ok(None) };
        let (head, at) = (&data[..end + 2], end + 4);
        let shown = || String::from_utf8_lossy(&head[..head.len().min(80)]).into_owned();
        let status = head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| number(rest.get(..3)?));
        let status = status.ok_or_else(|| format!("not an HTTP/1.1 response: {:?}", shown()))?;
        let whole = |body, len| Ok(Some(Self { status: status as u16, head, body, len }));
        if matches!(status, 101 | 204 | 304) {
            return whole(Cow::Borrowed(&[]), at);
        }
        if let Some(length) = header(head, "content-length") {
            let length = number(length).ok_or("an invalid Content-Length")?;
            let Some(body) = data.get(at..at + length) else { return Ok(None) };
            return whole(Cow::Borrowed(body), at + length);
        }
        if header(head, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case(b"chunked")) {
            let Some((body, len)) = chunks(&data[at..])? else { return Ok(None) };
            return whole(Cow::Owned(body), at + len);
        }
        Err("a response with neither Content-Length nor chunked encoding".into())
    }

    /// Whether it is the 101 response to [`upgrade`].
    pub(crate) fn switches(&self) -> bool {
        self.status == 101 && header(self.head, "sec-websocket-accept") == Some(ACCEPT)
    }

    pub(crate) fn shown(&self) -> String {
        format!("{} {:?}", self.status, String::from_utf8_lossy(&self.body))
    }
}

/// A chunked body and its encoded length. `None` if it is incomplete.
fn chunks(data: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = memmem::find(&data[at..], b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&data[at..at + end]).unwrap_or_default();
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| "an invalid chunk size")?;
        at += end + 2;
        let Some(chunk) = data.get(at..at + size + 2) else { return Ok(None) };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
            return Err("a chunk that does not end at its size".into());
        };
        body.extend_from_slice(chunk);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (key, rest) = line.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b":")?;
        key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

pub(crate) struct Frame<'a> {
    pub(crate) opcode: Opcode,
    pub(crate) payload: &'a [u8],
    /// Its length in bytes.
    pub(crate) len: usize,
}

impl<'a> Frame<'a> {
    /// Parses a server's frame; fragments are not supported. `None` if it is incomplete.
    #[inline]
    pub(crate) fn parse(data: &'a [u8]) -> Result<Option<Self>, String> {
        let [first, second, rest @ ..] = data else { return Ok(None) };
        let opcode = match first {
            0x81 => Opcode::Text,
            0x82 => Opcode::Binary,
            0x88 => Opcode::Close,
            0x89 => Opcode::Ping,
            0x8a => Opcode::Pong,
            _ => return Err(format!("an unsupported frame, whose first byte is {first:#x}")),
        };
        let (len, at) = match second {
            126 => match rest.first_chunk() {
                Some(len) => (u16::from_be_bytes(*len) as usize, 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(len) => (u64::from_be_bytes(*len) as usize, 10),
                None => return Ok(None),
            },
            128.. => return Err("a masked frame from a server".into()),
            short => (usize::from(*short), 2),
        };
        let Some(payload) = data.get(at..at + len) else { return Ok(None) };
        Ok(Some(Self { opcode, payload, len: at + len }))
    }
}

pub(crate) fn client_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    out.push(0x80 | opcode as u8);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A packet as a text frame.
pub(crate) fn client_packet(out: &mut Vec<u8>, packet: &[u8]) {
    client_frame(out, Opcode::Text, packet, [0x5a, 0x11, 0xc3, 0x7e]);
}

/// Opens a session over polling, with a blocking request on a connection of its own.
pub(crate) fn open_session(url: &Url) -> Result<String, String> {
    let request = format!(
        "GET {}?EIO=4&transport=polling HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        url.path, url.host
    );
    let exchange = || {
        let mut stream = TcpStream::connect(url.address)?;
        stream.write_all(request.as_bytes())?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        std::io::Result::Ok(response)
    };
    let bytes = exchange().map_err(|error| format!("{}: {error}", url.host))?;
    let response = Response::parse(&bytes)?.ok_or("half a response to a handshake")?;
    sid(&response.body)
}

/// The sid in an open packet.
pub(crate) fn sid(packet: &[u8]) -> Result<String, String> {
    const KEY: &[u8] = b"\"sid\":\"";
    let find = || {
        let json = packet.strip_prefix(b"0")?;
        let rest = &json[memmem::find(json, KEY)? + KEY.len()..];
        String::from_utf8(rest[..memchr::memchr(b'"', rest)?].to_vec()).ok()
    };
    find().ok_or_else(|| format!("not an open packet: {:?}", String::from_utf8_lossy(packet)))
}
