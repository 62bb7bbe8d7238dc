//! The HTTP messages of one connection, as either role receives them: head, body, next head.

use eio_core::buffer::RecvBuffer;
use eio_core::http::{
    self, BodyDecoder, EMPTY, Error, Framing, HeadScanner, HeadWriter, Header, Headers,
    RequestHead, ResponseHead, Step, Target, WriteError,
};
use eio_core::ws::handshake;

use super::Input;
use super::out::Out;

const HEAD_LIMITS: [usize; 3] = [8_192, 256, 40];
const BODY_LIMITS: [usize; 3] = [4_096, 300, 0];
const SLOTS: usize = 16;

#[derive(Clone, Copy)]
enum Role {
    Server,
    /// With the method of the request.
    Client(&'static str),
}

#[derive(Clone, Copy)]
struct Limits {
    head: usize,
    body: usize,
}

pub(crate) fn requests(data: &[u8]) {
    let mut input = Input::parse(data);
    let limits = limits(&mut input);
    run(Role::Server, limits, &input);
}

pub(crate) fn responses(data: &[u8]) {
    let mut input = Input::parse(data);
    let limits = limits(&mut input);
    let method = input.pick(&["GET", "HEAD", "CONNECT"]);
    run(Role::Client(method), limits, &input);
}

fn limits(input: &mut Input<'_>) -> Limits {
    Limits { head: input.pick(&HEAD_LIMITS), body: input.pick(&BODY_LIMITS) }
}

fn run(role: Role, limits: Limits, input: &Input<'_>) {
    let whole = receive(role, limits, &[input.wire]);
    for pieces in input.cuts() {
        assert_eq!(receive(role, limits, &pieces), whole);
    }
    // The parser agrees with the scanner: only one complete head parses.
    let mut slots = [EMPTY; SLOTS];
    let parses = match role {
        Role::Server => RequestHead::parse(input.wire, &mut slots).is_ok(),
        Role::Client(_) => ResponseHead::parse(input.wire, &mut slots).is_ok(),
    };
    let scanned = HeadScanner::new().poll(input.wire, usize::MAX);
    let scans = matches!(scanned, Ok(Some(len)) if len == input.wire.len());
    assert!(!parses || scans || scanned == Err(Error::LeadingEmptyLines), "{scanned:?}");
}

/// The result of a connection.
#[derive(Debug, PartialEq)]
struct Seen {
    messages: Vec<(String, Vec<u8>)>,
    error: Option<Error>,
    /// Bytes after the last message.
    unread: Vec<u8>,
}

struct Reader {
    role: Role,
    limits: Limits,
    rx: RecvBuffer<Vec<u8>>,
    scanner: HeadScanner,
    /// The current head, and the decoder of its body.
    current: Option<(String, BodyDecoder)>,
    messages: Vec<(String, Vec<u8>)>,
}

fn receive(role: Role, limits: Limits, pieces: &[&[u8]]) -> Seen {
    let size = pieces.iter().map(|piece| piece.len()).sum();
    let mut reader = Reader {
        role,
        limits,
        rx: RecvBuffer::new(vec![0; size]),
        scanner: HeadScanner::new(),
        current: None,
        messages: Vec::new(),
    };
    let mut result = Ok(());
    for piece in pieces {
        reader.rx.append(piece).expect("there is room for all of them");
        result = reader.read();
        if let Err(error) = result {
            assert_eq!(reader.read(), Err(error), "an error is final");
            break;
        }
    }
    if let (Ok(()), Some((head, mut body))) = (result, reader.current.take()) {
        result = body.finish();
        if result.is_ok() {
            reader.messages.push((head, reader.rx.kept().into()));
        }
    }
    let unread = match result {
        Ok(()) => reader.rx.unread().into(),
        Err(_) => Vec::new(),
    };
    let bytes: usize = reader.messages.iter().map(|(_, body)| body.len()).sum();
    assert!(bytes <= size, "more output than input");
    Seen { messages: reader.messages, error: result.err(), unread }
}

impl Reader {
    fn read(&mut self) -> Result<(), Error> {
        loop {
            let Some((head, body)) = &mut self.current else {
                let Some(len) = self.scanner.poll(self.rx.unread(), self.limits.head)? else {
                    assert!(self.rx.unread().len() < self.limits.head, "a head beyond the limit");
                    return Ok(());
                };
                assert!(len <= self.limits.head);
                let (head, framing) = match self.role {
                    Role::Server => request(&self.rx.unread()[..len])?,
                    Role::Client(method) => response(&self.rx.unread()[..len], method)?,
                };
                self.current = Some((head, BodyDecoder::new(framing, self.limits.body)));
                self.rx.skip(len);
                self.scanner.reset();
                continue;
            };
            let step = body.poll(&mut self.rx)?;
            assert!(self.rx.kept().len() <= self.limits.body);
            match step {
                Step::Need(n) => {
                    assert!(n > 0);
                    return Ok(());
                }
                Step::Done => {
                    assert_eq!(body.remaining(), Some(0));
                    self.messages.push((std::mem::take(head), self.rx.kept().into()));
                    self.current = None;
                    self.rx.release();
                }
            }
        }
    }
}

fn request(bytes: &[u8]) -> Result<(String, Framing), Error> {
    let mut slots = [EMPTY; SLOTS];
    let head = RequestHead::parse(bytes, &mut slots)?;
    check(head.headers);
    let again = |head: RequestHead<'_, '_>| {
        let lines: Vec<_> = head.headers.iter().collect();
        format!("{} {} {lines:?}", head.method, head.target)
    };
    // A parsed head can be written and parses to the same. (eio-core writes HTTP/1.1 only, which needs a Host.)
    if head.minor_version == 1 {
        let mut out = Out::new();
        let written =
            write(&mut out, head.headers, |out| http::request(out, head.method, head.target));
        if written {
            let mut slots = [EMPTY; SLOTS];
            let reread = RequestHead::parse(&out.bytes, &mut slots).expect("a written head parses");
            assert_eq!(again(reread), again(head));
        }
    }
    if let Ok(target) = Target::parse(head.target) {
        assert!(target.path.starts_with('/') || target.path == "*");
    }
    let offer = handshake::check_request(head.method, head.minor_version, head.headers.iter());
    if let Ok(offer) = &offer {
        assert!(head.is_upgrade());
        assert_eq!(offer.accept().len(), 28);
        assert!(offer.protocols().all(|token| !token.is_empty()));
        let _ = offer.extensions().count();
    }
    let _ = (head.keep_alive(), head.expects_continue());
    let framing = head.framing()?;
    check_framing(head.headers, head.minor_version, framing);
    Ok((format!("{head:?}"), framing))
}

fn response(bytes: &[u8], method: &str) -> Result<(String, Framing), Error> {
    let mut slots = [EMPTY; SLOTS];
    let head = ResponseHead::parse(bytes, &mut slots)?;
    assert!((100..=599).contains(&head.status));
    check(head.headers);
    let again = |head: ResponseHead<'_, '_>| {
        let lines: Vec<_> = head.headers.iter().collect();
        format!("{} {lines:?}", head.status)
    };
    let mut out = Out::new();
    if write(&mut out, head.headers, |out| http::response(out, head.status)) {
        let mut slots = [EMPTY; SLOTS];
        let reread = ResponseHead::parse(&out.bytes, &mut slots).expect("a written head parses");
        assert_eq!(again(reread), again(head));
    }
    // The fuzzer cannot guess the accept value of this key; one seed contains it.
    let key = handshake::Key::new([7; 16]);
    let opened = handshake::check_response(&key, &["chat"], head.status, head.headers.iter());
    assert!(opened.is_err() || head.status == 101);
    let framing = head.framing(method)?;
    assert!(method != "HEAD" || framing == Framing::None);
    if framing != Framing::None {
        check_framing(head.headers, head.minor_version, framing);
    }
    let _ = head.keep_alive();
    Ok((format!("{head:?}"), framing))
}

/// A parsed header must not change its meaning when it is written again.
fn check(headers: Headers<'_, '_>) {
    assert!(headers.iter().count() <= SLOTS);
    for (name, value) in headers.iter() {
        assert!(!name.is_empty() && name.is_ascii() && !name.contains([':', ' ', '\t']));
        assert!(!value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
        assert_eq!(value.trim_ascii(), value);
        assert!(headers.all(name).any(|one| one == value));
    }
}

/// The framing is unambiguous, so that a more lenient recipient finds the same end of the message.
fn check_framing(headers: Headers<'_, '_>, minor_version: u8, framing: Framing) {
    let values = |name| headers.all(name).collect::<Vec<_>>();
    match (framing, &values("content-length")[..], &values("transfer-encoding")[..]) {
        (Framing::None | Framing::UntilClose, [], []) => {}
        (Framing::Length(length), [value], []) => {
            let digits = std::str::from_utf8(value).expect("digits");
            assert!(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
            assert_eq!(digits.trim_start_matches('0').parse().unwrap_or(0), length);
        }
        (Framing::Chunked, [], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && minor_version == 1);
        }
        (framing, lengths, codings) => panic!("{framing:?} of {lengths:?} and {codings:?}"),
    }
}

/// Writes a head; false if a value is not text, which cannot be written.
fn write(
    out: &mut Out,
    headers: Headers<'_, '_>,
    start: impl for<'o> FnOnce(&'o mut Out) -> Result<HeadWriter<'o, Out>, WriteError>,
) -> bool {
    let mut lines = Vec::new();
    for (name, value) in headers.iter() {
        let Ok(value) = std::str::from_utf8(value) else { return false };
        lines.push(Header { name, value: value.as_bytes() });
    }
    let mut writer = start(out).expect("a parsed head can be written");
    for line in lines {
        let value = std::str::from_utf8(line.value).expect("checked above");
        writer = writer.header(line.name, value).expect("a parsed head can be written");
    }
    writer.end().expect("room without end");
    true
}
