//! HTTP heads and bodies: the result does not depend on how the bytes are split.

use eio_core::buffer::RecvBuffer;
use eio_core::http::{
    BodyDecoder, EMPTY, Error, Framing, HeadScanner, RequestHead, ResponseHead, Step,
};
use proptest::prelude::*;

const HEAD_MAX: usize = 256;
const BODY_MAX: usize = 300;

#[derive(Clone, Copy)]
enum Role {
    Server,
    Client,
}

/// A message as text, for comparison.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

/// One end of a connection that receives bytes in pieces.
struct Reader {
    role: Role,
    rx: RecvBuffer<Vec<u8>>,
    scanner: HeadScanner,
    /// The head that was parsed, and the decoder of its body.
    current: Option<(String, BodyDecoder)>,
    seen: Vec<Seen>,
}

impl Reader {
    fn new(role: Role) -> Self {
        let rx = RecvBuffer::new(vec![0; 1 << 16]);
        Self { role, rx, scanner: HeadScanner::new(), current: None, seen: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.rx.append(bytes).expect("the input fits");
        loop {
            let Some((head, body)) = &mut self.current else {
                let Some(len) = self.scanner.poll(self.rx.unread(), HEAD_MAX)? else {
                    return Ok(());
                };
                let (head, framing) = read_head(self.role, &self.rx.unread()[..len])?;
                self.current = Some((head, BodyDecoder::new(framing, BODY_MAX)));
                self.rx.skip(len);
                self.scanner.reset();
                continue;
            };
            match body.poll(&mut self.rx)? {
                Step::Need(n) => {
                    assert!(n > 0);
                    return Ok(());
                }
                Step::Done => {
                    let body = self.rx.kept().to_vec();
                    self.seen.push(Seen { head: std::mem::take(head), body });
                    self.current = None;
                    self.rx.release();
                }
            }
        }
    }

    fn end(mut self) -> Result<Vec<Seen>, (Vec<Seen>, Error)> {
        let Some((head, mut body)) = self.current.take() else { return Ok(self.seen) };
        if let Err(error) = body.finish() {
            return Err((self.seen, error));
        }
        self.seen.push(Seen { head, body: self.rx.kept().to_vec() });
        Ok(self.seen)
    }
}

fn read_head(role: Role, bytes: &[u8]) -> Result<(String, Framing), Error> {
    let mut slots = [EMPTY; 8];
    match role {
        Role::Server => {
            let head = RequestHead::parse(bytes, &mut slots)?;
            Ok((format!("{head:?}"), head.framing()?))
        }
        Role::Client => {
            let head = ResponseHead::parse(bytes, &mut slots)?;
            Ok((format!("{head:?}"), head.framing("GET")?))
        }
    }
}

/// The messages before the stream ends, or before the error that ends it.
fn read<'a>(
    role: Role,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Seen>, (Vec<Seen>, Error)> {
    let mut reader = Reader::new(role);
    for piece in pieces {
        if let Err(error) = reader.feed(piece) {
            return Err((reader.seen, error));
        }
    }
    reader.end()
}

/// Feeds `input` at once and in pieces of each size; returns the number of messages.
fn messages_under_every_split(role: Role, input: &[u8]) -> usize {
    let whole = read(role, [input]);
    for size in 1..=input.len() {
        assert_eq!(read(role, input.chunks(size)), whole, "{size} bytes at a time");
    }
    whole.expect("valid messages").len()
}

#[test]
fn pipelined_requests() {
    let input = b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nhello\r\n\r\nyou\
        \r\nPOST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;x=\"y\"\r\nhello\r\n00a\r\n\r\n0\r\n\r\nyou\r\n0\r\nA: b\r\nC:\r\n\r\n\
        POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
        OPTIONS * HTTP/1.0\r\n\r\n";
    assert_eq!(messages_under_every_split(Role::Server, input), 5);
}

#[test]
fn consecutive_responses() {
    let input = b"HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n4hi\
        HTTP/1.1 204\r\nA: b\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n4h\r\n1\r\ni\r\n0\r\n\r\n\
        HTTP/1.0 400 Bad Request\r\n\r\nuntil\r\n\r\nthe end";
    assert_eq!(messages_under_every_split(Role::Client, input), 5);
}

/// One case for each error: the same error for each split, after the same messages.
#[test]
fn invalid_messages_fail_equally_for_each_split() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (bad, error) in [
        (
            format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Error::LengthAndTransferEncoding,
        ),
        (format!("{post}Content-Length: 301\r\n\r\n"), Error::BodyTooLarge),
        (format!("{post}Content-Length: 5\r\n\r\nabc"), Error::Truncated),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"), Error::BadChunkEnd),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n1\na\r\n"), Error::BareLf),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n"), Error::BadChunkLine),
        (
            format!("{post}Transfer-Encoding: chunked\r\n\r\n1;{}", "x".repeat(2000)),
            Error::TooMuchFraming,
        ),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\n a: b\r\n\r\n"), Error::BadTrailer),
        (format!("{post}A: {}", "x".repeat(300)), Error::HeadTooLarge),
        (format!("{post}A: b\r\n c\r\n\r\n"), Error::ObsFold),
        (format!("{post}A: b\n\r\n"), Error::BareLf),
        (format!("{post}A: b\rc"), Error::BareCr),
        (format!("{post}A: b\0c"), Error::Nul),
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{bad}");
        let (before, found) = read(Role::Server, [input.as_bytes()]).unwrap_err();
        assert_eq!((before.len(), found), (1, error), "{bad:?}");
        for size in 1..=input.len() {
            let split = read(Role::Server, input.as_bytes().chunks(size));
            assert_eq!(
                split.map_err(|(seen, error)| (seen.len(), error)),
                Err((1, error)),
                "{size}"
            );
        }
    }
}

/// Splits `input` into pieces of these sizes, repeatedly.
fn split<'a>(mut input: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        let (piece, rest) = input.split_at((*size).min(input.len()));
        pieces.push(piece);
        input = rest;
        if input.is_empty() {
            break;
        }
    }
    pieces
}

/// Bytes that get further into the parsers than random ones.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        6 => prop::sample::select(vec![
            "\r\n", "\r\n\r\n", "\r", "\n", "\0", " ", ":", ";", "0", "1", "5", "f", "+", "a",
            "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\n", "HTTP/1.1 200 OK\r\n",
            "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n\r\n",
            "Content-Length: 5\r\n\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "\r\nA: b\r\n", "hello",
        ]).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..5),
        1 => prop::collection::vec(Just(b'x'), 0..400),
    ];
    prop::collection::vec(word, 0..20).prop_map(|words| words.concat())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..40, 1..8)
}

proptest! {
    #[test]
    fn random_input_has_the_same_result_for_each_split(input in plausible(), sizes in sizes()) {
        for role in [Role::Server, Role::Client] {
            prop_assert_eq!(read(role, split(&input, &sizes)), read(role, [&input[..]]));
        }
    }

    #[test]
    fn chunked_bodies_round_trip(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..20),
        upper in any::<bool>(),
        zeros in 0usize..8,
        extension in "( ?;[ -~]{0,20})?",
        trailer in "([A-Za-z-]{1,10}: ?[ -~]{0,20}\r\n){0,3}",
        sizes in sizes(),
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut encoded = Vec::new();
        for chunk in &chunks {
            let digits = match upper {
                true => format!("{:X}", chunk.len()),
                false => format!("{:x}", chunk.len()),
            };
            encoded.extend("0".repeat(zeros).bytes().chain(digits.bytes()));
            encoded.extend(extension.bytes().chain(*b"\r\n"));
            encoded.extend(chunk.iter().copied().chain(*b"\r\n"));
        }
        encoded.extend(format!("0{extension}\r\n{trailer}\r\n").bytes());
        encoded.extend(&rest);

        let payload = chunks.concat();
        let mut rx = RecvBuffer::new(vec![0; encoded.len()]);
        let mut body = BodyDecoder::new(Framing::Chunked, payload.len());
        let mut done = false;
        for piece in split(&encoded, &sizes) {
            rx.append(piece).unwrap();
            done = body.poll(&mut rx) == Ok(Step::Done);
        }
        prop_assert!(done);
        prop_assert_eq!(rx.kept(), &payload[..]);
        prop_assert_eq!(rx.unread(), &rest[..]);
    }

    #[test]
    fn need_is_a_lower_bound(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..5),
    ) {
        let mut encoded: Vec<u8> = Vec::new();
        for chunk in &chunks {
            encoded.extend(format!("{:x}\r\n", chunk.len()).bytes());
            encoded.extend(chunk.iter().copied().chain(*b"\r\n"));
        }
        encoded.extend(b"0\r\n\r\n");

        let mut rx = RecvBuffer::new(vec![0; encoded.len()]);
        let mut body = BodyDecoder::new(Framing::Chunked, 1000);
        for (at, byte) in encoded.iter().enumerate() {
            match body.poll(&mut rx) {
                Ok(Step::Need(n)) => prop_assert!(n <= encoded.len() - at),
                other => prop_assert!(false, "{other:?}"),
            }
            rx.append(&[*byte]).unwrap();
        }
        prop_assert_eq!(body.poll(&mut rx), Ok(Step::Done));
    }
}
