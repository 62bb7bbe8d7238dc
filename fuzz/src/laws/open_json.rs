//! The JSON of an open packet.

use eio_core::buffer::Overflow;
use eio_core::open::{OPEN_MAX, Open};
use eio_core::packet::Packet;

use super::out::Out;

pub(crate) fn run(data: &[u8]) {
    let Ok(json) = std::str::from_utf8(data) else { return };
    let Ok(open) = Open::parse(json) else { return };

    let mut out = Out::new();
    open.encode(&mut out).expect("room without end");
    assert!(out.bytes.len() <= OPEN_MAX, "longer than OPEN_MAX");
    let mut small = Out::with_room(out.bytes.len() - 1);
    assert_eq!(open.encode(&mut small), Err(Overflow));
    assert!(small.bytes.is_empty());

    let written = std::str::from_utf8(&out.bytes).expect("JSON is text");
    assert_eq!(Open::parse(written), Ok(open.clone()));
    let mut memory = [0; OPEN_MAX];
    assert_eq!(open.json(&mut memory), written);
    let mut packet = format!("0{written}").into_bytes();
    assert_eq!(Packet::parse_text(&mut packet), Ok(Packet::Open(written)));

    for suffix in ["x", "{}", ",", "\0"] {
        assert!(Open::parse(&format!("{json}{suffix}")).is_err(), "{suffix:?} after the object");
    }
    // White space around it, and unknown keys, change nothing.
    let padded = format!(" \r\n\t{json}\t ");
    assert_eq!(Open::parse(&padded), Ok(open.clone()));
    let inside = json.trim_ascii().strip_prefix('{').expect("it is an object");
    assert_eq!(Open::parse(&format!("{{\"x\":[{{}},null],{inside}")), Ok(open));
}
