//! One response head, as a client reads it that has no room for all header lines.

use eio_core::http::{
    self, EMPTY, Error, Framing, HeadScanner, Header, ResponseHead, ResponseLines,
};
use eio_core::ws::handshake;

use super::Input;
use super::out::Out;

pub(crate) fn run(data: &[u8]) {
    let head = Input::parse(data).wire;
    let lines = ResponseLines::parse(head);
    // Another parser of eio-core, with room for every line that the input could have.
    let mut slots = vec![EMPTY; head.len() / 4 + 1];
    match (lines, ResponseHead::parse(head, &mut slots)) {
        (Ok(lines), Ok(slots)) => same(lines, slots),
        // Which of two violations is reported may differ.
        (Err(_), Err(error)) => return assert_ne!(error, Error::TooManyHeaders),
        (lines, slots) => panic!("{lines:?} differs from {slots:?}"),
    }
    let lines = lines.expect("compared above");
    assert!((100..=599).contains(&lines.status) && lines.minor_version <= 1);
    assert_eq!(HeadScanner::new().poll(head, usize::MAX), Ok(Some(head.len())));
    for end in [0, 1, head.len() / 2, head.len() - 1] {
        assert!(ResponseLines::parse(&head[..end]).is_err(), "a cut head is not a head");
    }
    let longer = [head, b"H"].concat();
    assert_eq!(ResponseLines::parse(&longer).err(), Some(Error::NotOneHead));
    for (name, value) in lines.iter() {
        assert!(!name.is_empty() && name.is_ascii() && !name.contains([':', ' ', '\t']));
        assert!(!value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
        assert_eq!(value.trim_ascii(), value);
    }
    // The iterator ends, and can begin again in the middle.
    let mut rest = lines.iter();
    let count = rest.clone().count();
    assert_eq!(usize::from(rest.next().is_some()) + rest.count(), count);
    write(lines);
}

/// Both have the same lines and the same meaning.
fn same(lines: ResponseLines<'_>, slots: ResponseHead<'_, '_>) {
    assert_eq!((lines.status, lines.minor_version), (slots.status, slots.minor_version));
    assert!(lines.iter().eq(slots.headers.iter()), "{lines:?} differs from {slots:?}");
    assert_eq!(lines.keep_alive(), slots.keep_alive());
    for method in ["GET", "HEAD", "CONNECT"] {
        assert_eq!(lines.framing(method), slots.framing(method));
    }
    assert_eq!(lines.framing("HEAD"), Ok(Framing::None));
    // The fuzzer cannot guess the accept value of this key; one seed contains it.
    let key = handshake::Key::new([7; 16]);
    let opened = handshake::check_response(&key, &[], lines.status, lines.iter()).err();
    assert_eq!(
        opened,
        handshake::check_response(&key, &[], slots.status, slots.headers.iter()).err()
    );
}

/// A head that is written with the same lines parses to the same.
fn write(lines: ResponseLines<'_>) {
    let mut headers = Vec::new();
    for (name, value) in lines.iter() {
        // A value that is not text cannot be written.
        let Ok(_) = std::str::from_utf8(value) else { return };
        headers.push(Header { name, value });
    }
    let mut out = Out::new();
    let mut writer = http::response(&mut out, lines.status).expect("a parsed head can be written");
    for line in headers {
        let value = std::str::from_utf8(line.value).expect("checked above");
        writer = writer.header(line.name, value).expect("a parsed head can be written");
    }
    writer.end().expect("room without end");
    let again = ResponseLines::parse(&out.bytes).expect("a written head parses");
    assert_eq!(again.status, lines.status);
    assert!(again.iter().eq(lines.iter()), "{again:?} differs from {lines:?}");
}
