//! Heads and chunked bodies, as picohttpparser reads them: the parser of h2o, in C, and not related to httparse, which
//! eio-core uses.

use std::ffi::{c_char, c_int};
use std::{mem, ptr, slice};

use eio_core::buffer::RecvBuffer;
use eio_core::http::{
    BodyDecoder, EMPTY, Error, Framing, HeadScanner, Headers, RequestHead, ResponseHead, Step,
};
use picohttpparser_sys as pico;

use crate::laws::Input;
use crate::laws::chunked_body::LIMITS;

const SLOTS: usize = 16;

pub(crate) fn request(data: &[u8]) {
    let Some(bytes) = head(Input::parse(data).wire) else { return };
    let mut slots = [EMPTY; SLOTS];
    let ours = RequestHead::parse(bytes, &mut slots);
    // picohttpparser skips one empty line, eio-core two.
    let theirs = Head::request(bytes.strip_prefix(b"\r\n").unwrap_or(bytes));
    let error = match (ours, theirs) {
        (Err(_), None) => return,
        (Ok(ours), theirs) => {
            let theirs = theirs.expect("both accept it");
            assert_eq!(theirs.start, [ours.method.as_bytes(), ours.target.as_bytes()]);
            assert_eq!(theirs.minor_version, c_int::from(ours.minor_version));
            return assert_eq!(theirs.lines, lines(ours.headers));
        }
        (Err(error), Some(_)) => error,
    };
    match error {
        // Not syntax, but requirements on a request (RFC 9112 sections 2.3, 3 and 3.2).
        Error::UnsupportedVersion
        | Error::BadTarget
        | Error::MissingHost
        | Error::RepeatedHost
        | Error::BadHost => {}
        // "A server that receives an obs-fold in a request message [...] MUST either reject the message by sending a
        // 400 (Bad Request) [...] or replace" it (RFC 9112 section 5.2). picohttpparser leaves it to the caller.
        Error::ObsFold => {}
        // picohttpparser accepts any bytes up to a space as a method, which must be a token (RFC 9110 section 9.1).
        Error::BadRequestLine => {}
        other => panic!("{other:?} in ours, accepted in theirs"),
    }
}

pub(crate) fn response(data: &[u8]) {
    let Some(bytes) = head(Input::parse(data).wire) else { return };
    let mut slots = [EMPTY; SLOTS];
    let ours = ResponseHead::parse(bytes, &mut slots);
    let theirs = Head::response(bytes);
    let error = match (ours, theirs) {
        (Err(_), None) => return,
        (Ok(ours), Some(theirs)) => {
            assert_eq!(theirs.status, c_int::from(ours.status));
            assert_eq!(theirs.minor_version, c_int::from(ours.minor_version));
            return assert_eq!(theirs.lines, lines(ours.headers));
        }
        // Some servers omit the space after the status. picohttpparser requires it ("A server MUST send the space",
        // RFC 9112 section 4); eio-core does not, because it ignores the reason phrase.
        (Ok(ours), None) => {
            let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return assert!(line.ends_with(ours.status.to_string().as_bytes()));
        }
        (Err(error), Some(_)) => error,
    };
    match error {
        Error::UnsupportedVersion | Error::ObsFold => {}
        // picohttpparser accepts any number as a status ("three-digit", RFC 9110 section 15).
        Error::BadStatusLine => {}
        other => panic!("{other:?} in ours, accepted in theirs"),
    }
}

pub(crate) fn chunked(data: &[u8]) {
    let mut input = Input::parse(data);
    let limit = input.pick(&LIMITS);
    let mut rx = RecvBuffer::with_unread(input.wire.to_vec(), input.wire.len());
    let ours = BodyDecoder::new(Framing::Chunked, limit).poll(&mut rx);
    let theirs = chunks(input.wire);
    match (ours, theirs) {
        (Ok(Step::Done), theirs) => {
            let theirs = theirs.expect("both accept it");
            assert_eq!(theirs.as_ref().map(|(payload, _)| &payload[..]), Some(rx.kept()));
            assert_eq!(theirs.map(|(_, rest)| rest), Some(rx.unread().into()));
        }
        (Ok(Step::Need(_)), Ok(None)) => {}
        // picohttpparser checks a chunk size digit by digit, eio-core when its line is complete.
        (Ok(Step::Need(_)), Err(())) => assert!(!rx.unread().contains(&b'\n')),
        (Ok(Step::Need(_)), Ok(Some(end))) => panic!("{end:?} in theirs, but ours needs more"),
        // eio-core is stricter on purpose, so any result of picohttpparser is allowed.
        (Err(_), _) => {}
    }
}

/// The head at the start of the input, if it is complete and its lines end in CRLF, with at most one of the empty lines
/// before it.
fn head(wire: &[u8]) -> Option<&[u8]> {
    let len = HeadScanner::new().poll(wire, usize::MAX).ok()??;
    let bytes = &wire[..len];
    Some(bytes.strip_prefix(b"\r\n\r\n").map_or(bytes, |_| &bytes[2..]))
}

type Line = (Vec<u8>, Vec<u8>);

fn lines(headers: Headers<'_, '_>) -> Vec<Line> {
    headers.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// A head that picohttpparser accepts.
#[derive(Debug)]
struct Head {
    /// Method and target.
    start: Vec<Vec<u8>>,
    status: c_int,
    minor_version: c_int,
    lines: Vec<Line>,
}

impl Head {
    fn request(bytes: &[u8]) -> Option<Self> {
        let (mut method, mut path) = ((ptr::null(), 0), (ptr::null(), 0));
        let mut minor_version = 0;
        let mut slots = [pico::phr_header::default(); SLOTS];
        let mut count = SLOTS;
        // SAFETY: every pointer is to a value that lives until the call returns, with its length; there are `count`
        // slots.
        let len = unsafe {
            pico::phr_parse_request(
                bytes.as_ptr().cast(),
                bytes.len(),
                &mut method.0,
                &mut method.1,
                &mut path.0,
                &mut path.1,
                &mut minor_version,
                slots.as_mut_ptr(),
                &mut count,
                0,
            )
        };
        (usize::try_from(len).ok()? == bytes.len()).then(|| Self {
            start: vec![copy(method, bytes), copy(path, bytes)],
            status: 0,
            minor_version,
            lines: Self::lines(&slots[..count], bytes),
        })
    }

    fn response(bytes: &[u8]) -> Option<Self> {
        let mut reason = (ptr::null(), 0);
        let (mut minor_version, mut status) = (0, 0);
        let mut slots = [pico::phr_header::default(); SLOTS];
        let mut count = SLOTS;
        // SAFETY: as in `request`.
        let len = unsafe {
            pico::phr_parse_response(
                bytes.as_ptr().cast(),
                bytes.len(),
                &mut minor_version,
                &mut status,
                &mut reason.0,
                &mut reason.1,
                slots.as_mut_ptr(),
                &mut count,
                0,
            )
        };
        (usize::try_from(len).ok()? == bytes.len()).then(|| Self {
            start: Vec::new(),
            status,
            minor_version,
            lines: Self::lines(&slots[..count], bytes),
        })
    }

    fn lines(slots: &[pico::phr_header], bytes: &[u8]) -> Vec<Line> {
        let line = |header: &pico::phr_header| {
            let value = copy((header.value, header.value_len), bytes);
            // picohttpparser keeps white space after a value, which is not part of it (RFC 9112 section 5).
            (copy((header.name, header.name_len), bytes), value.trim_ascii_end().into())
        };
        slots.iter().map(line).collect()
    }
}

/// Copies a range that picohttpparser returns, which is part of its input.
fn copy((start, len): (*const c_char, usize), given: &[u8]) -> Vec<u8> {
    if len == 0 {
        return Vec::new();
    }
    let range = given.as_ptr_range();
    let start: *const u8 = start.cast();
    assert!(range.contains(&start) && len <= range.end as usize - start as usize);
    // SAFETY: the range is inside of `given`, as checked above.
    unsafe { slice::from_raw_parts(start, len) }.into()
}

/// A payload, and the bytes after it.
type Body = (Vec<u8>, Vec<u8>);

/// Decodes a chunked body. `None` if it is incomplete.
fn chunks(wire: &[u8]) -> Result<Option<Body>, ()> {
    let mut buffer = wire.to_vec();
    // SAFETY: the struct consists of integers, and "should be zero-filled before start".
    let mut decoder: pico::phr_chunked_decoder = unsafe { mem::zeroed() };
    decoder.consume_trailer = 1;
    let mut len = buffer.len();
    // SAFETY: `len` is the length of the buffer, which lives until the call returns.
    let left =
        unsafe { pico::phr_decode_chunked(&mut decoder, buffer.as_mut_ptr().cast(), &mut len) };
    match left {
        -2 => Ok(None),
        -1 => Err(()),
        left => {
            let left = usize::try_from(left).expect("a number of bytes");
            let rest = buffer[len..len + left].to_vec();
            buffer.truncate(len);
            Ok(Some((buffer, rest)))
        }
    }
}
